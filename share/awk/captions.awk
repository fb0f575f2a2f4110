# Captions out of a table of clip-dump --tsv txt, a line each, as they were before they were escaped: a tab becomes a
# space, a return nothing.
BEGIN {
    backslash = "\001" # stands for \\ while the other escapes are looked for
}

{
    gsub(/\\\\/, backslash)
    gsub(/\\r/, "")
    gsub(/\\t/, " ")
    gsub(backslash, "\\")
    print
}
