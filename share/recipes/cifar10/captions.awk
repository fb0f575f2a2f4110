# Captions for the samples of an extracted shard, in its folder:
#
#     ls | awk -f captions.awk CLASSES TEMPLATES -
#
# For each KEY.cls among the names, KEY.txt is written: one of the templates, chosen by the key alone, with the name of
# the sample's class in the place of {c}, and in that of {n} what KEY.txt said before (the class where there was none).
# Prompts come around it later, another one each epoch (clip-train --prompts).
function fill(text, mark, word,   at) {
    while ((at = index(text, mark)) > 0)
        text = substr(text, 1, at - 1) word substr(text, at + length(mark))
    return text
}

function choose(key,   i, n) { # the same for the same key, everywhere
    for (i = 1; i <= length(key); i++)
        n = (n * 31 + index("0123456789abcdefghijklmnopqrstuvwxyz", tolower(substr(key, i, 1)))) % 65521
    return n * 40503 % 65536 % count
}

FNR == 1 {
    file++
}

file == 1 {
    class[FNR - 1] = $0
    next
}

file == 2 {
    template[count++] = $0
    next
}

sub(/\.cls$/, "") {
    key = $0
    if ((getline number <(key ".cls")) <= 0 || !((number + 0) in class)) {
        printf "%s", "captions.awk: " key ".cls is not a class\n" >"/dev/stderr"
        exit 1
    }
    close(key ".cls")
    if ((getline noun <(key ".txt")) <= 0)
        noun = class[number + 0]
    close(key ".txt")
    print fill(fill(template[choose(key)], "{n}", noun), "{c}", class[number + 0]) >(key ".txt")
    close(key ".txt")
}
