# A table of CIFAR-10's training pictures, as JSON lines for clip-table, in the folder of an extracted shard:
#
#     ls | sort | awk -f cifar.awk classes.tsv -
#
# A picture whose KEY.txt has a noun gets it as one caption of four, beside those of its class in classes.tsv (classes.awk).
function line(file,   text) {
    if ((getline text <file) <= 0)
        text = ""
    close(file)
    return text
}

BEGIN {
    FS = "\t"
}

NR == FNR {
    class[FNR - 1] = $1
    captions[FNR - 1] = $3
    count[FNR - 1] = split($3, ignored, ", ")
    next
}

/\.(jpg|png|webp)$/ {
    picture = key = $0
    sub(/\.[a-z]+$/, "", key)
    number = line(key ".cls")
    if (number == "" || !(number in class)) {
        printf "%s\n", "cifar.awk: " key ".cls is not a class" >"/dev/stderr"
        exit 1
    }
    noun = line(key ".txt")
    gsub(/["\\]/, "\\\\&", noun)
    list = substr(captions[number], 2, length(captions[number]) - 2)
    if (noun != "")
        for (i = int((count[number] + 2) / 3); i > 0; i--)
            list = list ", \"" noun "\""
    printf "{\"key\": \"%s\", \"image\": \"%s\", \"class\": \"%s\", \"txt\": [%s]}\n", key, picture, class[number], list
}
