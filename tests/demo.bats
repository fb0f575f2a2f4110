load helper

setup_file() {
    export CARD=$SRC/share/models/things/README.md
}

# class_of FILE: what SOURCES.md says is on a photograph.
class_of() {
    awk -F ' *[|] *' -v file="$1" '$2 == file { print $3 }' "$SRC/share/samples/photos/SOURCES.md"
}

@test "the demo runs in the source tree: a table of the photographs, a search, a picture and a page" {
    cd "$BATS_TEST_TMPDIR"
    run -0 --separate-stderr "$SRC/share/demo.sh" figure.png
    [ -z "$stderr" ]
    local photo
    for photo in "$SRC"/share/samples/photos/*.jpg; do
        grep -A 1 -x "samples/photos/${photo##*/}" <<<"$output" | grep -qE '^ *[0-9.]+ % ' || complain "no $photo"
    done
    [[ $output == *"$SRC/share/models/things/README.md"* ]]
    [[ $output == *$'clip-search -d samples/photos -t 3 a photo of a horse\n'*$'\tsamples/photos/horses.jpg\n'* ]]
    [[ $output == *"Drawn in $BATS_TEST_TMPDIR/figure.png. "* ]]
    [ "${lines[-1]}" = "Written to $BATS_TEST_TMPDIR/figure.html." ]
    [ "$(grep -o '<img ' figure.html | wc -l)" -eq 9 ]
    [ "$(head -c 4 figure.png | od -An -tx1)" = " 89 50 4e 47" ]
}

@test "the demo writes demo.png and demo.html into the current folder, and nothing else anywhere" {
    mkdir "$BATS_TEST_TMPDIR/here" "$BATS_TEST_TMPDIR/tmp"
    cd "$BATS_TEST_TMPDIR/here"
    HOME=$PWD TMPDIR=$BATS_TEST_TMPDIR/tmp run -0 env -u XDG_CACHE_HOME "$SRC/share/demo.sh"
    [ "$(ls -A)" = $'demo.html\ndemo.png' ]
    [ -z "$(ls -A ../tmp)" ]
}

@test "the commands that the demo prints can be pasted" {
    mkdir "$BATS_TEST_TMPDIR/here"
    cd "$BATS_TEST_TMPDIR/here"
    "$SRC/share/demo.sh" "it's one.png" >out
    mv "it's one.png" two.png
    mv "it's one.html" two.html
    sed -n 's/^    //p' out | grep -vE '^ *[0-9.]+ %' >commands
    [ "$(wc -l <commands)" -ge 10 ] || complain "$(cat commands)"
    TMPDIR=$PWD bash -eu -o pipefail commands >/dev/null
    cmp "it's one.png" two.png
    cmp "it's one.html" two.html
}

@test "the default model names most of the photographs right" {
    local photo right=0 all=0 best
    cd "$SRC/share/samples/photos"
    clip-classify -m things -k 1 -p "$SRC/share/recipes/things/templates.txt" --jsonl *.jpg -- \
        $(cat "$SRC/share/recipes/cifar10/classnames.txt") >"$BATS_TEST_TMPDIR/rows"
    for photo in *.jpg; do
        best=$(sed -nE 's/.*"key": "'"$photo"'".*"matches": \[[^]]*"label": "([^"]*)".*/\1/p' "$BATS_TEST_TMPDIR/rows")
        [ -n "$best" ]
        all=$((all + 1))
        [ "$best" != "$(class_of "$photo")" ] || right=$((right + 1))
    done
    echo "$right of $all"
    [ "$all" -eq 9 ]
    [ "$right" -ge 7 ]
}

@test "the default model is small, whole, and found by its name" {
    cd "$BATS_TEST_TMPDIR"
    [ "$(cat "$SRC"/share/models/things/* | wc -c)" -le 12000000 ]
    run -0 clip-model info things
    [[ $output == *"f16 ("* ]]
    [ "$(ls "$SRC"/share/models)" = things ]
}

@test "its card says data, architecture, recipe, accuracy, training, limits and licence, and is filled in" {
    local section
    for section in Data Architecture Recipe Accuracy Training Limits Licence; do
        grep -qx "## $section" "$CARD" || complain "no section $section"
    done
    grep -q 'Krizhevsky' "$CARD"
    grep -q 'Tiny ImageNet' "$CARD"
    grep -qx '    make -f share/recipes/things/Makefile TINY=folder CIFAR=folder' "$CARD"
    grep -qE '^    \$ clip-eval -m model' "$CARD"
    grep -qE 'top-1 +[0-9.]+' "$CARD"
    run -1 grep -nE '@[A-Z]+@' "$CARD"
}

@test "the photographs are small, and each has its source and its class" {
    cd "$SRC/share/samples/photos"
    [ "$(cat -- * | wc -c)" -le 200000 ]
    equal <(ls -- *.jpg) <(awk -F ' *[|] *' '$2 ~ /[.]jpg$/ { print $2 }' SOURCES.md)
    local classes
    classes=$(paste -sd '|' "$SRC/share/recipes/cifar10/classnames.txt")
    run -1 grep -vE "^\| [a-z]+\.jpg \| ($classes) \|.*\| .*public domain.* \|\$" <(grep '\.jpg |' SOURCES.md)
}
