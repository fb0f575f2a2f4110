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
    [ -z "$(clip-tokenize --lines --vocab bpe.txt </dev/null | clip-dump)" ]
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
    [ "$stderr" = "clip-tokenize: in: sample k: field 'cls' is no text" ]
}

@test "too long is an error that names the caption and the count; --truncate cuts and counts" {
    printf 'the\nthe the the\nthe the\n' >in
    run -1 --separate-stderr clip-tokenize --lines --vocab bpe.txt --context 4 in
    [ "$stderr" = "clip-tokenize: in: sample 2: 5 tokens with start and end, but the context is 4 (--truncate cuts)" ]
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
    cmp <(clip-tokenize --prompts prompts --vocab bpe.txt in) <(clip-tokenize --prompts prompts --vocab bpe.txt in)
    ! cmp -s <(clip-tokenize --prompts prompts --vocab bpe.txt in) <(clip-tokenize --prompts prompts --seed 1 --vocab bpe.txt in)
    [ "$(clip-tokenize --prompts prompts --vocab bpe.txt in | clip-dump | grep -c '"txt":"the"')" -eq 8 ]
    echo 'a photo' >bad
    run -1 --separate-stderr clip-tokenize --prompts bad --vocab bpe.txt in
    [ "$stderr" = "clip-tokenize: bad: prompt 1 has no {c} for its caption" ]
    : >none
    run -1 --separate-stderr clip-tokenize --prompts none --vocab bpe.txt in
    [ "$stderr" = "clip-tokenize: none: there are no prompts" ]
    run -2 clip-tokenize --seed 1 --vocab bpe.txt in
}
