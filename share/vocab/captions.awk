# Captions made of words.txt, the same ones every time:
#
#     awk -f captions.awk words.txt | clip-model vocab --size 5120 -o FOLDER

function number(n) { # the next of a fixed sequence, in [0, n)
    state = (state * 69069 + 12345) % 4294967296
    return int(state / 4294967296 * n)
}

function draw(kind,   i, j) { # the smaller of two draws: earlier words come more often
    i = number(count[kind])
    j = number(count[kind])
    return word[kind, i < j ? i : j]
}

function plural(noun) {
    if (noun ~ /(s|x|ch|sh)$/)
        return noun "es"
    if (noun ~ /[^aeiou]y$/)
        return substr(noun, 1, length(noun) - 1) "ies"
    return noun "s"
}

function things(   noun) { # "a red car", "two sheeps": how a caption names what it shows
    noun = (number(3) ? "" : draw("adjective") " ") draw("noun")
    if (number(5) == 0)
        return draw("number") " " plural(noun)
    if (number(4) == 0)
        return "the " noun
    return (noun ~ /^[aeiou]/ ? "an " : "a ") noun
}

function caption(   form) {
    form = number(12)
    if (form < 2)
        return "a photo of " things() "."
    if (form == 2)
        return "a " draw("adjective") " " draw("style") " of " things()
    if (form == 3)
        return "a " draw("style") " of the " draw("adjective") " " draw("noun") "."
    if (form == 4)
        return things() " is " draw("verb") " " things() " " draw("relation") " the " draw("place")
    if (form == 5)
        return things() " and " things()
    if (form == 6)
        return things() ", " things() ", " things() " " draw("relation") " a " draw("place")
    if (form == 7)
        return "itap of my " draw("noun") "! It's so " draw("adjective") "..."
    if (form == 8)
        return "there are many " plural(draw("noun")) " that are " draw("adjective") " and " draw("adjective")
    if (form == 9)
        return draw("adjective") " " draw("noun") " " draw("relation") " " things() " with " plural(draw("noun"))
    if (form == 10)
        return "this is " things() " " draw("verb") " " draw("relation") " " things()
    return "people " draw("verb") " " things() " at the " draw("place") (number(10) ? "" : ", " draw("loan"))
}

!/^#/ && NF > 1 {
    for (i = 2; i <= NF; i++)
        word[$1, count[$1]++] = $i
}

END {
    state = 1
    for (n = 0; n < 100000; n++)
        print caption()
}
