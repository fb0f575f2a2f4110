# Prompts of classes, for clip-tokenize --lines --tab class:
#
#     awk -f prompts.awk [-v number=1] PROMPTS CLASSES
#
# A line for each class and each prompt: the class (its number, from 0, with number=1), a tab, the prompt with the class
# in the place of {c}. Empty prompts are passed over.
{
    sub(/\r$/, "")
}

FNR == NR {
    if ($0 != "")
        prompts[count++] = $0
    next
}

{
    for (i = 0; i < count; i++) {
        text = ""
        for (rest = prompts[i]; (at = index(rest, "{c}")) > 0; rest = substr(rest, at + 3))
            text = text substr(rest, 1, at - 1) $0
        print (number ? class + 0 : $0) "\t" text rest
    }
    class++
}
