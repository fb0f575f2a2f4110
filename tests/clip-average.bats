load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
}

@test "the mean of unit embeddings, made unit, groups in order of their first record" {
    stream >in <<'END'
{"__key__": "1", "class": "cat", "text_embedding": {"f4": [5, 0]}, "txt": "x"}
{"__key__": "2", "class": "dog", "text_embedding": {"f4": [0, 1]}}
{"__key__": "3", "class": "cat", "text_embedding": {"f4": [0, 0.1]}}
END
    run -0 bash -c 'clip-average --by class in | clip-dump --values'
    [ "${lines[0]}" = '{"__key__":"cat","class":"cat","text_embedding":{"tensor":"f4","shape":[2],"values":[0.70710677,0.70710677]}}' ]
    [ "${lines[1]}" = '{"__key__":"dog","class":"dog","text_embedding":{"tensor":"f4","shape":[2],"values":[0,1]}}' ]
    [ "${#lines[@]}" -eq 2 ]
}

@test "groups may be numbers or bytes; both embeddings are averaged" {
    stream >in <<'END'
{"__key__": "1", "cls": 7, "text_embedding": {"f4": [1, 0]}, "image_embedding": {"f4": [1, 0, 0]}}
{"__key__": "2", "cls": {"bin": "7\n"}, "text_embedding": {"f4": [0, 1]}}
{"__key__": "3", "cls": 7, "image_embedding": {"f4": [0, 1, 0]}}
END
    run -0 bash -c 'clip-average --by cls in | clip-dump'
    [[ ${lines[0]} == '{"__key__":"7","cls":7,"image_embedding":{"tensor":"f4","shape":[3],"first":[0.70710677,'*'"text_embedding":{"tensor":"f4","shape":[2],"first":[1,0]}}' ]]
    [[ ${lines[1]} == '{"__key__":"7","cls":{"bin":2,'* ]]
}

@test "another field may be averaged" {
    stream >in <<'END'
{"__key__": "1", "g": "a", "v": {"f4": [3, 4]}}
END
    run -0 bash -c 'clip-average --by g --field v in | clip-dump --values'
    [ "$output" = '{"__key__":"a","g":"a","v":{"tensor":"f4","shape":[2],"values":[0.6,0.8]}}' ]
}

@test "bad records are named" {
    stream >in <<'END'
{"__key__": "ok", "g": "a", "text_embedding": {"f4": [1, 0]}}
{"__key__": "nogroup", "text_embedding": {"f4": [1, 0]}}
{"__key__": "novector", "g": "a"}
{"__key__": "wide", "g": "a", "text_embedding": {"f4": [1, 0, 0]}}
{"__key__": "zero", "g": "a", "text_embedding": {"f4": [0, 0]}}
{"__key__": "list", "g": [1], "text_embedding": {"f4": [1, 0]}}
END
    run -1 --separate-stderr clip-average --by g in
    [ "$stderr" = "clip-average: in: sample nogroup: no field 'g'" ]
    run -0 --separate-stderr bash -c 'clip-average --skip-bad --by g in | clip-dump'
    [ "${#lines[@]}" -eq 1 ]
    [ "${stderr_lines[1]}" = "clip-average: in: sample novector: no field 'image_embedding' or 'text_embedding' (skipped)" ]
    [ "${stderr_lines[2]}" = "clip-average: in: sample wide: field 'text_embedding' has width 3, but its group has 2 (skipped)" ]
    [[ ${stderr_lines[3]} == *"sample zero: field 'text_embedding': a vector of length 0"* ]]
    [[ ${stderr_lines[4]} == *"sample list: field 'g' is neither text nor a whole number"* ]]
}

@test "embeddings that cancel have no mean" {
    stream >in <<'END'
{"__key__": "1", "g": "a", "text_embedding": {"f4": [1, 0]}}
{"__key__": "2", "g": "a", "text_embedding": {"f4": [-1, 0]}}
END
    run -1 --separate-stderr clip-average --by g in
    [ "$stderr" = "clip-average: group a: a vector of length 0 cannot be normalised" ]
}

@test "the group must be named" {
    run -2 --separate-stderr clip-average
    [ "${stderr_lines[0]}" = "clip-average: give the field of the group (--by FIELD)" ]
}

@test "nothing of a bad record counts, and it makes no group" {
    stream >in <<'END'
{"__key__": "1", "g": "a", "image_embedding": {"f4": [1, 0]}, "text_embedding": {"f4": [0, 1]}}
{"__key__": "2", "g": "a", "image_embedding": {"f4": [0, 1]}, "text_embedding": {"f4": [0, 1, 0]}}
{"__key__": "3", "g": "b", "image_embedding": {"f4": [0, 1]}, "text_embedding": {"f4": [0, 0]}}
END
    run -0 --separate-stderr bash -c 'clip-average --skip-bad --by g in | clip-dump --values'
    [ "$output" = '{"__key__":"a","g":"a","image_embedding":{"tensor":"f4","shape":[2],"values":[1,0]},"text_embedding":{"tensor":"f4","shape":[2],"values":[0,1]}}' ]
    [[ $stderr == *"sample 2: field 'text_embedding' has width 3, but its group has 2"* ]]
    [[ $stderr == *"sample 3: field 'text_embedding': "* ]]
}
