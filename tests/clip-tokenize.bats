load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
    # The 512 bytes in the order of OpenAI's table, two merges, start and end.
    printf '#version\nt h\nth e</w>\n' >bpe.txt
}

tokens() {
    clip-dump --values "$@" | sed -n 's/.*"values":\[\([^]]*\)\].*/\1/p'
}

@test "bytes, merges, start and end, zeros" {
    printf 'The cat\n' | clip-tokenize --lines --vocab bpe.txt --context 8 >out
    # "the" is merge 1 (id 513); c, a, t are 66, 64 and, ending a piece, 256 + 83; start and end 514, 515.
    [ "$(tokens out)" = "514,513,66,64,339,515,0,0" ]
}

@test "lines: numbers are keys over all inputs, the caption stays, the last line may lack its newline" {
    printf 'a\r\n\nb' >one
    printf 'c\n' >two
    run -0 bash -c 'clip-tokenize --lines --vocab bpe.txt --context 4 one two | clip-dump'
    [ "${#lines[@]}" -eq 4 ]
    [[ ${lines[0]} == '{"__key__":"1","txt":{"bin":1,"text":"a"},"tokens":'* ]]
    [[ ${lines[1]} == '{"__key__":"2","txt":{"bin":0,'*'"first":[514,515,0,0]'* ]]
    [[ ${lines[3]} == '{"__key__":"4","txt":{"bin":1,"text":"c"},'* ]]
    clip-tokenize --lines --vocab bpe.txt </dev/null >none
    run -0 clip-dump none
    [ -z "$output" ]
}

@test "--field, --drop, and records pass through" {
    stream >in <<'END'
{"__key__": "k", "cap": "the", "txt": "no", "cls": 3}
END
    run -0 bash -c 'clip-tokenize --field cap --drop --vocab bpe.txt --context 3 in | clip-dump'
    [ "$output" = '{"__key__":"k","txt":"no","cls":3,"tokens":{"tensor":"i4","shape":[3],"first":[514,513,515]}}' ]
    run -1 --separate-stderr clip-tokenize --field x --vocab bpe.txt in
    [ "$stderr" = "clip-tokenize: in: sample k: no field 'x'" ]
    run -1 --separate-stderr clip-tokenize --field cls --vocab bpe.txt in
    [ "$stderr" = "clip-tokenize: in: sample k: field 'cls' is not text" ]
}

@test "too long is an error that names the caption and the count; --truncate cuts and counts" {
    printf 'the\nthe the the\nthe the\n' >in
    run -1 --separate-stderr clip-tokenize --lines --vocab bpe.txt --context 4 in
    [ "$stderr" = "clip-tokenize: in: sample 2: 5 tokens with start and end, but the context is 4 (see --truncate)" ]
    clip-tokenize --lines --vocab bpe.txt --context 4 --truncate in >out 2>err
    [ "$(tokens out | sed -n 2p)" = "514,513,513,515" ]
    [ "$(cat err)" = "clip-tokenize: 1 captions truncated to 4 tokens" ]
    clip-tokenize --lines --vocab bpe.txt --context 4 --skip-bad in >out 2>err
    [ "$(tokens out | wc -l)" -eq 2 ]
    [ "$(tail -n 1 err)" = "clip-tokenize: 1 bad records skipped" ]
}

@test "lines are answered as they come" {
    mkfifo pipe
    clip-tokenize --lines --vocab bpe.txt <pipe >out &
    exec 9>pipe
    echo the >&9
    for _ in $(seq 100); do
        [ ! -s out ] || break
        sleep 0.05
    done
    [ -s out ]
    exec 9>&-
    wait $!
}

@test "vocabularies that are missing, cut or something else are refused in one line" {
    run -1 --separate-stderr clip-tokenize --lines --vocab nowhere </dev/null
    one_line
    gzip -c bpe.txt | head -c 20 >cut.txt.gz
    run -1 --separate-stderr clip-tokenize --lines --vocab cut.txt.gz </dev/null
    one_line
    echo '{"model": 7}' >tokenizer.json
    run -1 --separate-stderr clip-tokenize --lines --vocab tokenizer.json </dev/null
    one_line
    printf '#version\nt h\nq zz\n' >bad.txt
    run -1 --separate-stderr clip-tokenize --lines --vocab bad.txt </dev/null
    one_line
    run -1 --separate-stderr clip-tokenize --lines --max-record 10 --vocab bpe.txt <<<"a line of more than ten bytes"
    [[ $stderr == *"a line of more than 10 bytes"* ]]
}

@test "golden: every line of OpenAI's tokenizer through the program" {
    need_shared golden/tokenizer/lines.jsonl
    need_python json msgpack
    local t=$SHARED/golden/tokenizer
    python - "$t/lines.jsonl" <<'END' >in
import json, msgpack, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
for i, row in enumerate(rows):
    text = bytes.fromhex(row["hex"]) if "hex" in row else row["text"].encode("utf-8", "surrogatepass")
    sys.stdout.buffer.write(msgpack.packb({"__key__": str(i), "txt": text}))
sys.stdout.buffer.write(msgpack.packb({"__end__": len(rows)}))
END
    clip-tokenize --vocab "$t/bpe_simple_vocab_16e6.txt.gz" --context 4096 in >out
    python - "$t/lines.jsonl" <<'END'
import json, msgpack, struct, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
records = [r for r in msgpack.Unpacker(open("out", "rb"), strict_map_key=False) if "__key__" in r]
assert len(rows) == len(records) == 3000
for row, record in zip(rows, records):
    ids = [i for i in struct.unpack("<4096i", record["tokens"][b"data"])]
    want = [49406] + row["tokens"] + [49407]
    assert ids == want + [0] * (4096 - len(want)), (row, ids[:len(want)])
END
}

@test "--tab: what is before the tab is another field, also the key" {
    run -0 bash -c 'printf "7\tthe\tcat\n\t\n" | clip-tokenize --lines --tab n --vocab bpe.txt | clip-dump --tsv __key__,n,txt'
    [ "$output" = '1	7	the\tcat
2		' ]
    run -0 bash -c 'printf "a/7\tthe\n" | clip-tokenize --lines --tab __key__ --vocab bpe.txt | clip-dump --tsv __key__,txt'
    [ "$output" = 'a/7	the' ]
    run -1 --separate-stderr bash -c 'printf "a\tb\nno\n" | clip-tokenize --lines --tab n --vocab bpe.txt >out'
    [ "$stderr" = "clip-tokenize: standard input: sample 2: no tab (--tab n)" ]
    run -2 clip-tokenize --tab n --vocab bpe.txt
    run -2 clip-tokenize --lines --tab txt --vocab bpe.txt
}

@test "--prompts: a caption goes into one of them, by seed, epoch and key" {
    printf 'c {c} a\n\n{c} a {c}\n' >prompts
    for epoch in 1 2 3 4 5 6 7 8; do
        printf '{"__key__": "k", "txt": "the", "__epoch__": %d}\n' $epoch
    done | stream >in
    run -0 tokens <(clip-tokenize --prompts prompts --vocab bpe.txt --context 6 in)
    # Each is one of the two; both come.
    [ -z "$(grep -vxE '514,(322,513,320|513,320,513),515,0' <<<"$output")" ] || complain "$output"
    [ "$(sort -u <<<"$output" | wc -l)" -eq 2 ]
    equal <(clip-tokenize --prompts prompts --vocab bpe.txt in) <(clip-tokenize --prompts prompts --vocab bpe.txt in)
    differ <(clip-tokenize --prompts prompts --vocab bpe.txt in) <(clip-tokenize --prompts prompts --seed 1 --vocab bpe.txt in)
    [ "$(clip-tokenize --prompts prompts --vocab bpe.txt in | clip-dump | grep -c '"txt":"the"')" -eq 8 ]
    echo 'a photo' >bad
    run -1 --separate-stderr clip-tokenize --prompts bad --vocab bpe.txt in
    [ "$stderr" = "clip-tokenize: bad: line 1: the prompt has neither {c} nor {} for its caption: a photo" ]
    : >none
    run -1 --separate-stderr clip-tokenize --prompts none --vocab bpe.txt in
    [ "$stderr" = "clip-tokenize: none: there are no prompts" ]
    run -2 clip-tokenize --seed 1 --vocab bpe.txt in
}

# epochs FIELD VALUE [N]: a stream of N records of one key, of epoch 1 to N, with FIELD the bytes VALUE.
epochs() {
    local epoch
    for epoch in $(seq "${3:-8}"); do
        printf '{"__key__": "k", "%s": {"hex": "%s"}, "__epoch__": %d}\n' "$1" \
            "$(printf '%b' "$2" | od -An -v -tx1 | tr -d ' \n')" "$epoch"
    done | stream
}

@test "--prompts: {} is {c}, each of both is a place, a caption with braces stays" {
    printf 'c {} a\r\n\n' >prompts
    [ "$(tokens <(echo the | clip-tokenize --lines --prompts prompts --vocab bpe.txt --context 5))" = "514,322,513,320,515" ]
    printf '{}{c}{c}{}{d}' >prompts
    [ "$(tokens <(echo a | clip-tokenize --lines --prompts prompts --vocab bpe.txt --context 20))" = \
        "$(tokens <(echo 'aaaa{d}' | clip-tokenize --lines --vocab bpe.txt --context 20))" ]
    printf '{}' >prompts
    [ "$(tokens <(echo '{c}{}' | clip-tokenize --lines --prompts prompts --vocab bpe.txt --context 20))" = \
        "$(tokens <(echo '{c}{}' | clip-tokenize --lines --vocab bpe.txt --context 20))" ]
    local line
    for line in 'a photo' 'a {0}' 'a { } of {C}' 'a {name}' '}{'; do
        printf 'a {c}\n\n%s\na {}\n' "$line" >prompts
        run -1 --separate-stderr clip-tokenize --lines --prompts prompts --vocab bpe.txt </dev/null
        [ "$stderr" = "clip-tokenize: prompts: line 3: the prompt has neither {c} nor {} for its caption: $line" ]
    done
    for line in "    'a photo of a {}.'," '    lambda c: f"a photo of a {c}.",' '["a {c}", "the {c}"]'; do
        echo "$line" >prompts
        run -1 --separate-stderr clip-tokenize --lines --prompts prompts --vocab bpe.txt </dev/null
        [ "$stderr" = "clip-tokenize: prompts: line 1: a line of code instead of a prompt: $line" ]
    done
}

@test "text in UTF-16 and with a byte order mark: lines, fields, prompts, classes, JSON" {
    need iconv
    local form mark i
    printf 'a the\nthe ☃ 🎈 é\r\nc' >plain
    for form in UTF-16LE:'\xff\xfe' UTF-16BE:'\xfe\xff' UTF-8:'\xef\xbb\xbf'; do
        mark=${form#*:}
        marked() { printf "$mark" && iconv -f UTF-8 -t "${form%%:*}"; }
        marked <plain >text
        equal <(clip-tokenize --lines --vocab bpe.txt text) <(clip-tokenize --lines --vocab bpe.txt plain | sed 's/plain/text/g')
        # As it comes through a pipe byte by byte.
        for i in $(seq "$(stat -c %s text)"); do tail -c +$i text | head -c 1; done | clip-tokenize --lines --vocab bpe.txt >got
        cmp got <(clip-tokenize --lines --vocab bpe.txt <plain)
        [ "$(clip-tokenize --lines --vocab bpe.txt text text | clip-dump --tsv txt | head -n 4 | tail -n 1)" = "a the" ]
        echo "{\"__key__\": \"k\", \"txt\": {\"hex\": \"$(od -An -v -tx1 text | tr -d ' \n')\"}}" | stream >in
        echo "{\"__key__\": \"k\", \"txt\": {\"hex\": \"$(od -An -v -tx1 plain | tr -d ' \n')\"}}" | stream >want
        equal <(tokens <(clip-tokenize --vocab bpe.txt in)) <(tokens <(clip-tokenize --vocab bpe.txt want))
        printf 'a {}\r\nc {c}\r\n' | marked >prompts
        printf 'the\r\né\r\n\r\n' | marked >classes
        run -0 bash -c 'clip-tokenize --classes classes --prompts prompts --vocab bpe.txt | clip-dump --tsv cls,class,txt'
        [ "$output" = $'0\tthe\ta the\n0\tthe\tc the\n1\té\ta é\n1\té\tc é' ]
        printf '{"a": "the é"}' | marked | od -An -v -tx1 | tr -d ' \n' >hex
        echo "{\"__key__\": \"k\", \"json\": {\"hex\": \"$(cat hex)\"}}" | stream >in
        [ "$(tokens <(clip-tokenize --field json:a --vocab bpe.txt in))" = \
            "$(tokens <(echo 'the é' | clip-tokenize --lines --vocab bpe.txt))" ]
        marked <plain >captions
        clip-model vocab --size 518 captions >got
        clip-model vocab --size 518 plain >want
        cmp got want
    done
    printf '\xff\xfea\0\n\0\0\xd8b\0' >lone
    run -1 --separate-stderr bash -c 'clip-tokenize --lines --vocab bpe.txt lone >out'
    [ "$stderr" = "clip-tokenize: lone: line 2: a lone surrogate of UTF-16" ]
    [ "$(clip-dump --keys out 2>/dev/null)" = 1 ]
    printf '\xff\xfea\0\n\0b' >half
    run -1 --separate-stderr clip-tokenize --lines --vocab bpe.txt half
    [ "$stderr" = "clip-tokenize: half: line 2: half a character of UTF-16" ]
    run -1 --separate-stderr clip-model vocab --size 518 lone
    [ "$stderr" = "clip-model: lone: line 2: a lone surrogate of UTF-16" ]
}

@test "a caption of several lines: one an epoch in training, one text elsewhere" {
    epochs txt 'a\r\n \t\nthe\nc\n' 40 >in
    tokens <(clip-tokenize --vocab bpe.txt --context 3 in) >got
    [ "$(sort -u got | paste -sd ' ')" = "514,320,515 514,322,515 514,513,515" ]
    equal <(clip-tokenize --vocab bpe.txt --context 3 in) <(clip-tokenize --captions one --vocab bpe.txt --context 3 in)
    differ <(clip-tokenize --captions one --vocab bpe.txt in) <(clip-tokenize --captions one --seed 1 --vocab bpe.txt in)
    differ <(tokens <(clip-tokenize --vocab bpe.txt in)) <(clip-dump in | sed 's/"k"/"l"/; s/{"bin":[0-9]*,"text":\("[^}]*"\)}/\1/' |
        stream | clip-tokenize --vocab bpe.txt | tokens)
    tokens <(clip-tokenize --captions whole --vocab bpe.txt --context 5 in) >got
    [ "$(sort -u got)" = "514,320,513,322,515" ]
    # Without an epoch the text is one.
    echo '{"__key__": "k", "txt": "a\nthe"}' | stream >in
    [ "$(tokens <(clip-tokenize --vocab bpe.txt --context 4 in))" = "514,320,513,515" ]
    epochs txt ' \n\r\n' 1 >in
    run -1 --separate-stderr clip-tokenize --vocab bpe.txt in
    [ "$stderr" = "clip-tokenize: in: sample k: the caption 'txt' is empty" ]
    run -2 clip-tokenize --lines --captions one --vocab bpe.txt
    run -2 clip-tokenize --captions some --vocab bpe.txt
}

@test "--captions all: a record of each line" {
    stream >in <<'END'
{"__key__": "k", "txt": "a\nthe\r\n\n", "x": 1}
{"__key__": "empty", "txt": ""}
{"__key__": "l", "txt": "c"}
END
    run -0 --separate-stderr bash -c 'clip-tokenize --captions all --skip-bad --vocab bpe.txt --context 3 in | clip-dump'
    [ "${lines[0]}" = '{"__key__":"k","txt":{"bin":1,"text":"a"},"tokens":{"tensor":"i4","shape":[3],"first":[514,320,515]}}' ]
    [ "${lines[1]}" = '{"__key__":"k","txt":{"bin":3,"text":"the"},"tokens":{"tensor":"i4","shape":[3],"first":[514,513,515]}}' ]
    [[ ${lines[2]} == '{"__key__":"l","txt":{"bin":1,"text":"c"},'* && ${#lines[@]} -eq 3 ]]
    [ "${stderr_lines[0]}" = "clip-tokenize: in: sample empty: the caption 'txt' is empty (skipped)" ]
    run -1 --separate-stderr clip-tokenize --captions all --vocab bpe.txt in
    [ "$stderr" = "clip-tokenize: in: sample empty: the caption 'txt' is empty" ]
    # Nothing of a record of which one line is too long.
    echo '{"__key__": "k", "txt": "a\nthe the"}' | stream >in
    run -1 --separate-stderr bash -c 'clip-tokenize --captions all --vocab bpe.txt --context 3 in >out'
    [ "$stderr" = "clip-tokenize: in: sample k: 4 tokens with start and end, but the context is 3 (see --truncate)" ]
    [ ! -s out ]
}

@test "--field NAME:PATH: captions in JSON" {
    json() { echo "{\"__key__\": \"k\", \"json\": {\"hex\": \"$(printf %s "$1" | od -An -v -tx1 | tr -d ' \n')\"}}" | stream >in; }
    of() { tokens <(clip-tokenize --field "$1" --vocab bpe.txt --context 4 in); }
    json '{"caption": "the", "a": {"b": "c", "n": 3, "list": ["a", "", "the"]}, "a.b": "a", "x": [{"t": "c"}, {"t": "a"}], "e": ""}'
    [ "$(of json:caption)" = 514,513,515,0 ]
    [ "$(of json:a.b)" = 514,320,515,0 ] # a key that is spelt so comes first
    [ "$(of json:a.list)" = 514,320,513,515 ]
    [ "$(of json:x.t)" = 514,322,320,515 ]
    [ "$(clip-tokenize --field json:a.list --captions all --vocab bpe.txt in | clip-dump --tsv txt | paste -sd,)" = a,the ]
    [ "$(clip-tokenize --field json:caption --drop --vocab bpe.txt in | clip-dump | grep -c '"json"')" = 0 ]
    json '{"a": {"b": "c"}}'
    [ "$(of json:a.b)" = 514,322,515,0 ]
    local path why
    while IFS='|' read -r path why; do
        run -1 --separate-stderr clip-tokenize --field "json:$path" --vocab bpe.txt in
        [ "$stderr" = "clip-tokenize: in: sample k: field 'json': '$path' $why" ] || complain "$stderr"
    done <<'END'
caption|is not there
a.c|is not there
a.b.c|is not there
a|is not text
END
    json '{"caption": '
    run -1 --separate-stderr clip-tokenize --field json:caption --vocab bpe.txt in
    [[ $stderr == "clip-tokenize: in: sample k: field 'json': not JSON: "* ]]
    run -1 --separate-stderr clip-tokenize --field txt:caption --vocab bpe.txt in
    [ "$stderr" = "clip-tokenize: in: sample k: no field 'txt' (but there is a field 'json': give a path into it, such as json:caption)" ]
    clip-tokenize --skip-bad --field json:caption --vocab bpe.txt in 2>err >out
    [ "$(tail -n 1 err)" = "clip-tokenize: 1 bad records skipped" ]
    run -2 clip-tokenize --field json: --vocab bpe.txt in
    run -2 clip-tokenize --field :a --vocab bpe.txt in
    run -2 clip-tokenize --lines --field json:a --vocab bpe.txt in
}

@test "--classes: a record for each class in each prompt; blank lines at the end are not classes" {
    printf 'the\r\nc {c}\r\n\r\n \r\n' >classes
    printf 'a {}\n{c} c' >prompts
    run -0 bash -c 'clip-tokenize --classes classes --prompts prompts --vocab bpe.txt | clip-dump --tsv __key__,cls,class,txt'
    [ "$output" = '0/0	0	the	a the
0/1	0	the	the c
1/0	1	c {c}	a c {c}
1/1	1	c {c}	c {c} c' ]
    [ "$(clip-tokenize --classes - --vocab bpe.txt <classes | clip-dump --tsv cls,txt | paste -sd ' ')" = $'0\tthe 1\tc {c}' ]
    printf 'a\n\nb\n' >classes
    run -1 --separate-stderr clip-tokenize --classes classes --vocab bpe.txt
    [ "$stderr" = "clip-tokenize: classes: line 3: a class after an empty line, line 2" ]
    : >classes
    run -1 --separate-stderr clip-tokenize --classes classes --vocab bpe.txt
    [ "$stderr" = "clip-tokenize: classes: there are no classes" ]
    echo 'the the the' >classes
    run -1 --separate-stderr clip-tokenize --classes classes --context 4 --vocab bpe.txt
    [ "$stderr" = "clip-tokenize: class 'the the the': 5 tokens with start and end, but the context is 4 (see --truncate)" ]
    run -2 clip-tokenize --classes classes --vocab bpe.txt in
    run -2 clip-tokenize --classes classes --lines --vocab bpe.txt
}
