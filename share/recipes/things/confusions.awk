# What a model confuses, most often first:
#
#     awk -f confusions.awk classnames.txt best.tsv | sort -t '	' -k 1,1nr -k 2
#
# best.tsv is the table that clip-eval --save keeps of a zero-shot evaluation: a line for each of a picture's best five
# classes, with its own class first. A line of the result: how many pictures, of how many of their class, whose class,
# and what they are taken for.
BEGIN {
    FS = OFS = "\t"
}

NR == FNR {
    name[classes++] = $0
    next
}

FNR == 1 {
    lines = classes < 5 ? classes : 5
}

FNR % lines == 1 % lines {
    gsub(/\\[nrt]| /, "", $1)
    pictures[$1]++
    if ($1 != $2)
        wrong[$1 OFS $2]++
}

END {
    for (pair in wrong) {
        split(pair, class, OFS)
        print wrong[pair], pictures[class[1]], name[class[1]], name[class[2]]
    }
}
