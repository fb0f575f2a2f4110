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

@test "--weight: the weighted sum, made unit, with weights of any sign and form" {
    stream >in <<'END'
{"__key__": "1", "g": "a", "w": 2, "text_embedding": {"f4": [5, 0]}}
{"__key__": "2", "g": "a", "w": "-1.5\n", "text_embedding": {"f4": [0, 0.1]}}
{"__key__": "3", "g": "b", "w": {"bin": "1e-3"}, "text_embedding": {"f4": [0.6, 0.8]}}
{"__key__": "4", "g": "b", "w": 0, "text_embedding": {"f4": [1, 0]}}
{"__key__": "5", "g": "c", "w": -3.0, "text_embedding": {"f4": [1, 0]}}
END
    run -0 bash -c 'clip-average --by g --weight w in | clip-dump --values'
    [[ ${lines[0]} == *'"values":[0.8,-0.6]}}' ]]
    [[ ${lines[1]} == *'"values":[0.6,0.8]}}' ]]
    [[ ${lines[2]} == *'"values":[-1,0]}}' || ${lines[2]} == *'"values":[-1,-0]}}' ]]
    for w in '' '"w": "x",' '"w": "",' '"w": [1],' '"w": "1 2",' '"w": "inf",' '"w": "1e999",'; do
        echo '{"__key__": "k", "g": "a", '"$w"' "text_embedding": {"f4": [1, 0]}}' | stream >in
        refuses "sample k: " bash -c 'clip-average --by g --weight w in >out'
        [[ $stderr == *"no field 'w'" || $stderr == *"field 'w' is not a number" ]]
    done
    echo '{"__key__": "k", "g": "a", "w": 0, "text_embedding": {"f4": [1, 0]}}' | stream >in
    refuses "group a: a vector of length 0" bash -c 'clip-average --by g --weight w in >out'
}

@test "--into: pictures and texts in one sum" {
    stream >in <<'END'
{"__key__": "1", "g": "a", "w": 2, "text_embedding": {"f4": [5, 0]}}
{"__key__": "2", "g": "a", "w": -1.5, "image_embedding": {"f4": [0, 0.1]}}
{"__key__": "3", "g": "b", "w": 1, "image_embedding": {"f4": [0, 2]}, "text_embedding": {"f4": [1, 0]}}
END
    run -0 bash -c 'clip-average --by g --weight w --into text_embedding in | clip-dump --values'
    [ "${lines[0]}" = '{"__key__":"a","g":"a","text_embedding":{"tensor":"f4","shape":[2],"values":[0.8,-0.6]}}' ]
    [ "${lines[1]}" = '{"__key__":"b","g":"b","text_embedding":{"tensor":"f4","shape":[2],"values":[0.70710677,0.70710677]}}' ]
    echo '{"__key__": "k", "g": "a", "image_embedding": {"f4": [1]}, "text_embedding": {"f4": [1, 0]}}' | stream >in
    refuses "sample k: field 'text_embedding' has width 2, but its group has 1" bash -c 'clip-average --by g --into v in >out'
    for words in '--into v --field x' "--into ''" '--into g' '--into __key__'; do
        run -2 --separate-stderr bash -c "clip-average --by g $words in >out"
    done
}
