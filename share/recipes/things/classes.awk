# The names of classes and of their kinds, out of WordNet:
#
#     awk -f classes.awk KINDS CLASSES data.noun
#
# CLASSES has a synset a line, n and its eight digits, and perhaps, after a tab, the name of the class, which is otherwise
# the synset's first word. KINDS has the first word of synsets whose hyponyms are to be called by it, or by what stands
# after a tab. data.noun is WordNet's file of nouns. A line of the result is the synset, the class's name, and a JSON
# array of captions, tabs between: two in three are the name, the others its synonyms and the kinds that it is one of.
function number(digits,   i, n) { # of two hexadecimal digits
    for (i = 1; i <= length(digits); i++)
        n = 16 * n + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return n
}

function fail(message) {
    printf "%s\n", "classes.awk: " message >"/dev/stderr"
    failed = 1
    exit 1
}

function plain(word) {
    sub(/\([a-z]+\)$/, "", word)
    gsub(/_/, " ", word)
    return word
}

# Adds a caption to `captions` unless it is there, in upper or lower case.
function add(word) {
    if (tolower(word) in seen)
        return
    seen[tolower(word)] = 1
    captions[++count] = word
}

# The kinds of a synset, nearest first.
function add_kinds(synset,   i, n, above) {
    n = split(up[synset], above, " ")
    for (i = 1; i <= n; i++) {
        if (first[above[i]] in kind)
            add(kind[first[above[i]]])
        add_kinds(above[i])
    }
}

function quote(word) {
    gsub(/\\/, "\\\\", word)
    gsub(/"/, "\\\"", word)
    return "\"" word "\""
}

# The class's name twice as often as all other captions together.
function array(   i, name, list) {
    name = quote(captions[1])
    for (i = 2; i <= count; i++)
        list = list ", " name ", " name ", " quote(captions[i])
    return "[" (count > 1 ? substr(list, 3) : name) "]"
}

function print_class(synset, name,   i, n, words) {
    if (!(synset in first))
        fail("n" synset " is not a noun of WordNet")
    split("", seen)
    count = 0
    add(name != "" ? name : plain(first[synset]))
    n = split(synonyms[synset], words, " ")
    for (i = 1; i <= n; i++)
        add(plain(words[i]))
    add_kinds(synset)
    print "n" synset "\t" captions[1] "\t" array()
}

BEGIN {
    FS = "\t"
}

FNR == 1 {
    file++
}

file == 1 {
    kind[$1] = $2 != "" ? $2 : $1
    next
}

file == 2 {
    if ($1 !~ /^n[0-9]+$/ || length($1) != 9)
        fail(FILENAME ": line " FNR ": " $1 " is not a synset")
    synset[++classes] = substr($1, 2)
    name[classes] = $2
    FS = "\t"
    next
}

/^[0-9]/ {
    n = split($0, field, " ")
    words = number(field[4])
    first[field[1]] = field[5]
    for (i = 0; i < words; i++)
        synonyms[field[1]] = synonyms[field[1]] " " field[5 + 2 * i]
    at = 5 + 2 * words
    for (i = 0; i < field[at] + 0; i++)
        if (field[at + 1 + 4 * i] ~ /^@i?$/)
            up[field[1]] = up[field[1]] " " field[at + 2 + 4 * i]
}

END {
    if (failed)
        exit 1
    for (i = 1; i <= classes; i++)
        print_class(synset[i], name[i])
}
