# Zero-shot accuracy: reads the classes' names, a line each, and the table of clip-simmatrix --top 5 --label cls --tsv,
# in which a picture has a line for each of its best classes: its own class, that one, the score. Pictures without a
# class do not count. Mean per-class recall is over the classes that occur.
function complain(text) {
    printf "%s", "clip-eval: " text "\n" >"/dev/stderr" # in one write
    failed = 1
    exit 1
}

BEGIN {
    FS = "\t"
}

FNR == NR {
    classes++
    next
}

FNR == 1 {
    lines = classes < 5 ? classes : 5
}

{
    place = (FNR - 1) % lines + 1
    class = $1
    gsub(/\\[nrt]| /, "", class)
    if (class == "") {
        without += place == 1
        next
    }
    if (class !~ /^[0-9]+$/ || class + 0 >= classes)
        complain("class '" class "' is not one of the " classes)
    of[class + 0] += place == 1
    pictures += place == 1
    right = class + 0 == $2 + 0
    first[class + 0] += right && place == 1
    top1 += right && place == 1
    top5 += right
}

END {
    if (failed)
        exit 1
    if (!pictures)
        complain("no picture has a class (.cls)")
    for (class in of) {
        recall += first[class] / of[class]
        occur++
    }
    if (json) {
        printf "{\"task\":\"zeroshot\",\"pictures\":%d,\"without_class\":%d,\"classes\":%d,", pictures, without, classes
        printf "\"acc1\":%.6f,\"acc5\":%.6f,", top1 / pictures, top5 / pictures
        printf "\"mean_per_class_recall\":%.6f}\n", recall / occur
        exit
    }
    printf "zero-shot: %d pictures, %d classes", pictures, classes
    print without ? " (" without " pictures without a class left out)" : ""
    printf "  top-1                  %6.2f %%\n", 100 * top1 / pictures
    printf "  top-5                  %6.2f %%\n", 100 * top5 / pictures
    printf "  mean per-class recall  %6.2f %%\n", 100 * recall / occur
}
