# The captions of pictures, for clip-tokenize --lines --tab __key__: reads the table of clip-dump --tsv __key__,txt,
# writes a line for each line of a picture's txt: the key, a tab, the caption. Lines of nothing but space are none.
BEGIN {
    FS = "\t"
    backslash = "\001" # stands for \\ while the other escapes are looked for
}

{
    gsub(/\\\\/, backslash)
    gsub(/\\r/, "")
    gsub(/\\t/, " ")
    found = 0
    n = split($2, lines, /\\n/)
    gsub(backslash, "\\", $1)
    for (i = 1; i <= n; i++) {
        gsub(backslash, "\\", lines[i])
        if (lines[i] ~ /[^ ]/) {
            print $1 "\t" lines[i]
            found = 1
        }
    }
    if (!found) {
        print "clip-eval: picture " $1 " has no caption" >"/dev/stderr"
        exit 1
    }
}
