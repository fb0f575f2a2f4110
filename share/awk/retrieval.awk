# Recall both ways: reads the pictures and the captions, lines that begin with the picture's key, then two tables of
# clip-simmatrix --top 10 --label key --tsv: captions against pictures, pictures against captions. A query counts at k
# where any of its first k is right, that is, of the same key.
function complain(text) {
    printf "%s", "clip-eval: " text "\n" >"/dev/stderr" # in one write
    failed = 1
    exit 1
}

function least(a, b) {
    return a < b ? a : b
}

BEGIN {
    FS = "\t"
}

FNR == 1 {
    file++
}

file == 1 {
    if ($1 in seen)
        complain("two pictures of the key " $1)
    seen[$1]
    pictures++
    next
}

file == 2 {
    captions++
    next
}

# The first right one of a query; its lines are as many as there are answers, ten at most.
{
    place = (FNR - 1) % least(file == 3 ? pictures : captions, 10) + 1
    if (place == 1)
        found = 0
    if (found || $1 != $2)
        next
    found = 1
    at1[file] += place <= 1
    at5[file] += place <= 5
    at10[file]++
}

function as_json(name, n, i) {
    printf "\"%s_recall@1\":%.6f,\"%s_recall@5\":%.6f,", name, at1[i] / n, name, at5[i] / n
    printf "\"%s_recall@10\":%.6f", name, at10[i] / n
}

function as_line(name, n, i) {
    printf "  %-17s %6.2f %%  %6.2f %%  %6.2f %%\n", name, 100 * at1[i] / n, 100 * at5[i] / n, 100 * at10[i] / n
}

END {
    if (failed)
        exit 1
    if (json) {
        printf "{\"task\":\"retrieval\",\"pictures\":%d,\"captions\":%d,", pictures, captions
        as_json("image_retrieval", captions, 3)
        printf ","
        as_json("text_retrieval", pictures, 4)
        print "}"
        exit
    }
    printf "retrieval: %d pictures, %d captions\n", pictures, captions
    printf "  %-17s %8s  %8s  %8s\n", "recall", "@1", "@5", "@10"
    as_line("text to picture", captions, 3)
    as_line("picture to text", pictures, 4)
}
