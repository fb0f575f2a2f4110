# A table of Tiny ImageNet's pictures, as JSON lines for clip-table:
#
#     find train -name '*.JPEG' | sort | awk -v part_of=train -f tiny.awk classes.tsv -
#     awk -v part_of=val -f tiny.awk classes.tsv val/val_annotations.txt
#
# Training pictures get the captions of their class, those of validation its number, from 0, in the order of
# classes.tsv (classes.awk).
BEGIN {
    FS = "\t"
}

NR == FNR {
    cls[$1] = FNR - 1
    captions[$1] = $3
    next
}

{
    n = split($1, part, "/")
    name = part[n]
    class = part_of == "train" ? part[2] : $2
    sub(/\.JPEG$/, "", name)
    if (!(class in cls)) {
        printf "%s\n", "tiny.awk: " $1 ": " class " is not a class" >"/dev/stderr"
        exit 1
    }
    if (part_of == "train")
        printf "{\"key\": \"%s\", \"image\": \"%s\", \"class\": \"%s\", \"txt\": %s}\n", name, $1, class, captions[class]
    else
        printf "{\"key\": \"%s\", \"image\": \"val/images/%s\", \"cls\": %d}\n", name, $1, cls[class]
}
