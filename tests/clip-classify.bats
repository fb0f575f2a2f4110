load helper
load programs

setup_file() {
    make_model
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    mkdir -p 'my pictures/v1.2'
    cp "$SRC/share/samples/boat.webp" 'my pictures/v1.2/a.webp'
    cp "$SRC/share/samples/star.png" 'my pictures/v1.2/a.png'
    cp "$SRC/share/samples/face.jpg" 'my pictures/no ending'
    cp "$SRC/share/samples/face.jpg" 'it'"'"'s a\tb.old.jpg'
}

@test "pictures of any path, each under the name that was given" {
    run -0 --separate-stderr clip-classify -m "$SMALL/model" my\ pictures/v1.2/* 'my pictures/no ending' it*.jpg \
        "$PWD/my pictures/v1.2/a.png" my\ pictures/v1.2/a.png -- boat cat
    [ -z "$stderr" ]
    diff <(grep -v %  <<<"$output") <(printf '%s\n' 'my pictures/v1.2/a.png' 'my pictures/v1.2/a.webp' \
        'my pictures/no ending' 'it'"'"'s a\tb.old.jpg' "$PWD/my pictures/v1.2/a.png" 'my pictures/v1.2/a.png')
    [ "$(grep -c %  <<<"$output")" -eq 12 ]
}

@test "probabilities sum to one, the best first, --top cuts" {
    need_python json
    clip-classify -m "$SMALL/model" --jsonl my*/v1.2/a.png -- boat cat 'a red "dog"' >out
    python - out <<'END'
import json, sys
row = json.loads(open(sys.argv[1]).read())
scores = [m["score"] for m in row["matches"]]
assert row["key"] == "my pictures/v1.2/a.png" and abs(sum(scores) - 1) < 1e-6
assert scores == sorted(scores, reverse=True) and {m["label"] for m in row["matches"]} == {"boat", "cat", 'a red "dog"'}
END
    clip-classify -m "$SMALL/model" my*/v1.2/a.png --top 1 -- boat cat 'a red "dog"' >one
    [ "$(wc -l <one)" -eq 2 ]
}

@test "--sigmoid: the probability of each class by itself" {
    need_python json
    clip-classify -m "$SMALL/model" --sigmoid --jsonl my*/v1.2/a.png -- boat cat >two
    clip-classify -m "$SMALL/model" --sigmoid --jsonl my*/v1.2/a.png -- cat >one
    python - one two <<'END'
import json, sys
one, two = ({m["label"]: m["score"] for m in json.loads(open(path).read())["matches"]} for path in sys.argv[1:])
assert one["cat"] == two["cat"] and one["cat"] != 1 and len(two) == 2
END
    [[ $(clip-classify --dry-run --sigmoid -m "$SMALL/model" my*/v1.2/a.png -- cat) == *"--scale model -m"*" --sigmoid --top 5 --bars"* ]]
}

@test "bars of blocks in UTF-8, of # elsewhere" {
    run -0 clip-classify -m "$SMALL/model" my*/v1.2/a.png -- boat
    [ "${lines[1]}" = "  100.00 % ████████████████████ boat" ]
    LC_ALL=C run -0 clip-classify -m "$SMALL/model" my*/v1.2/a.png -- boat
    [ "${lines[1]}" = "  100.00 % #################### boat" ]
}

@test "a class's prompts are averaged: what the long way gives" {
    printf 'a {c}\r\n\nthe {c} and {c}' >prompts
    clip-classify -m "$SMALL/model" -p prompts --jsonl my*/v1.2/a.png -- 'x&y' '{c}\' |
        grep -oE '"label": "[^"]*", "score": [0-9.]*' >got
    printf '%s\n' 'a x&y' 'the x&y and x&y' | clip-tokenize --lines --truncate -m "$SMALL/model" >x
    printf '%s\n' 'a {c}\' 'the {c}\ and {c}\' | clip-tokenize --lines --truncate -m "$SMALL/model" >c
    for group in x c; do
        clip-encode-text -m "$SMALL/model" $group | clip-project-normalize -m "$SMALL/model" >$group.clip
        clip-dump --values $group.clip |
            sed -E 's/.*"values":\[([^]]*)\].*/{"__key__": "'$group'", "group": "'$group'", "text_embedding": {"f4": [\1]}}/' |
            stream | clip-average --by group >$group.mean
    done
    tar -cf - my*/v1.2/a.png | clip-untar --loose png | clip-preprocess -m "$SMALL/model" |
        clip-encode-image -m "$SMALL/model" | clip-project-normalize -m "$SMALL/model" >picture
    cat x.mean c.mean picture | clip-simmatrix --scale model -m "$SMALL/model" --softmax --top 2 --jsonl |
        grep -oE '"label": "[^"]*", "score": [0-9.]*' >want
    equal <(sed 's/.*"score"//' got) <(sed 's/.*"score"//' want)
}

@test "the page of --dry-run runs in sh and in bash, and gives the same" {
    printf 'a {c}\n' >prompts
    clip-classify -m "$SMALL/model" -p prompts my*/v1.2/* it*.jpg -- "a dog's" cat >want
    clip-classify -m "$SMALL/model" -p prompts my*/v1.2/* it*.jpg --dry-run -- "a dog's" cat >page
    diff <(sh <page) want
    diff <(bash -o pipefail page) want
}

@test "wrong usage, pictures that are missing or none" {
    run -2 --separate-stderr clip-classify a.png -- cat
    [ "${stderr_lines[0]}" = "clip-classify: give a model (-m MODEL)" ]
    run -2 --separate-stderr clip-classify -m "$SMALL/model" a.png
    [ "${stderr_lines[0]}" = "clip-classify: give classes (PICTURE... -- CLASS...)" ]
    run -2 --separate-stderr clip-classify -m "$SMALL/model" -- cat
    [ "${stderr_lines[0]}" = "clip-classify: give pictures (PICTURE... -- CLASS...)" ]
    run -2 --separate-stderr clip-classify -m "$SMALL/model" a -- cat cat
    [ "${stderr_lines[0]}" = "clip-classify: class 'cat' occurs twice" ]
    run -2 clip-classify -m "$SMALL/model" -k 0 a -- cat
    run -1 --separate-stderr clip-classify -m "$SMALL/model" nowhere.png -- cat
    [ "$stderr" = "clip-classify: nowhere.png: there is no such file" ]
    run -1 --separate-stderr clip-classify -m "$SMALL/model" my* -- cat
    [ "$stderr" = "clip-classify: my pictures: not a readable file" ]
    echo GIF >bad.png
    run -1 --separate-stderr clip-classify -m "$SMALL/model" my*/v1.2/a.png bad.png -- cat
    [[ $stderr == "clip-preprocess: "*"sample bad.png: "* ]]
    clip-classify --skip-bad -m "$SMALL/model" my*/v1.2/a.png bad.png -- cat >out 2>err
    [ "$(head -n 1 out)" = "my pictures/v1.2/a.png" ]
    grep -q 'bad.png' err
}

@test "prompts: {} is {c}; what has neither, and an empty file, are errors before anything is computed" {
    printf 'a {c}\nthe {c}\n' >prompts
    clip-classify -m "$SMALL/model" -p prompts --jsonl my*/v1.2/a.png -- boat cat >want
    printf '\xef\xbb\xbfa {}\r\nthe {}\r\n\r\n' >braces
    clip-classify -m "$SMALL/model" -p braces --jsonl my*/v1.2/a.png -- boat cat | cmp - want
    echo 'a photo' >>prompts
    run -1 --separate-stderr clip-classify -m "$SMALL/model" -p prompts my*/v1.2/a.png -- boat cat
    [ "$stderr" = "clip-tokenize: prompts: line 3: the prompt has neither {c} nor {} for its caption: a photo" ]
    : >prompts
    run -1 --separate-stderr clip-classify -m "$SMALL/model" -p prompts my*/v1.2/a.png -- boat cat
    [ "$stderr" = "clip-tokenize: prompts: there are no prompts" ]
    run -1 --separate-stderr clip-classify -m "$SMALL/model" -p nowhere my*/v1.2/a.png -- boat cat
    [ "$stderr" = "clip-tokenize: nowhere: No such file or directory" ]
}

@test "JSON is JSON where the locale has decimal commas, class names stay" {
    comma_locale
    clip-classify -m "$SMALL/model" --jsonl my*/v1.2/a.png -- boat Kätzchen >want
    grep -q Kätzchen want
    LC_ALL=de_DE.UTF-8 clip-classify -m "$SMALL/model" --jsonl my*/v1.2/a.png -- boat Kätzchen | cmp - want
    clip-classify -m "$SMALL/model" my*/v1.2/a.png -- boat Kätzchen >want
    LC_ALL=de_DE.UTF-8 clip-classify -m "$SMALL/model" my*/v1.2/a.png -- boat Kätzchen | cmp - want
}
