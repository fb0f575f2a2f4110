load helper

@test "the demo runs, in the source tree, and draws its figure" {
    cd "$BATS_TEST_TMPDIR"
    run -0 --separate-stderr "$SRC/share/demo.sh" figure.png
    [[ ${lines[0]} == *untrained* ]]
    [ "$(grep -c '^boat ' <<<"$output")" -eq 1 ]
    [ "$(head -c 4 figure.png | od -An -tx1)" = " 89 50 4e 47" ]
    [ -z "$stderr" ]
}

@test "the photographs are small, and each has its source and its class" {
    cd "$SRC/share/samples/photos"
    [ "$(cat -- * | wc -c)" -le 200000 ]
    diff <(ls -- *.jpg) <(awk -F ' *[|] *' '$2 ~ /[.]jpg$/ { print $2 }' SOURCES.md)
    local classes
    classes=$(paste -sd '|' "$SRC/share/recipes/cifar10/classnames.txt")
    run -1 grep -vE "^\| [a-z]+\.jpg \| ($classes) \|.*\| .*public domain.* \|\$" <(grep '\.jpg |' SOURCES.md)
}
