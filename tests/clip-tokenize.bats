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
    run -2 clip-tokenize --lines --field __key__ --vocab bpe.txt in
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

# --- tokenizers of every kind ---

# as_stream FILE [NAME]: a golden file's texts as a stream.
as_stream() {
    python - "$1" <<'END'
import json, msgpack, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
for i, row in enumerate(rows):
    text = bytes.fromhex(row["hex"]) if "hex" in row else row["text"].encode("utf-8", "surrogatepass")
    sys.stdout.buffer.write(msgpack.packb({"__key__": str(i), "txt": text}))
sys.stdout.buffer.write(msgpack.packb({"__end__": len(rows)}))
END
}

# same_tokens FILE KEY STREAM: the stream's tokens are those of the file's lines.
same_tokens() {
    python - "$@" <<'END'
import json, msgpack, struct, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
records = [r for r in msgpack.Unpacker(open(sys.argv[3], "rb"), strict_map_key=False) if "__key__" in r]
assert len(rows) == len(records) > 50
for row, record in zip(rows, records):
    data = record["tokens"][b"data"]
    ids = list(struct.unpack("<%di" % (len(data) // 4), data))
    assert ids == row[sys.argv[2]], (row, ids)
END
}

# golden_lines VOCAB LINES [OPTION...]: a vocabulary's own ids are those of the golden lines.
golden_lines() {
    as_stream "$2" >in
    clip-tokenize --bare --clean none --vocab "$1" "${@:3}" in >out
    same_tokens "$2" tokens out
}

@test "golden: each kind of tokenizer through the program, by file and by folder" {
    need_shared golden/text/tokenizers
    need_python json msgpack
    local t=$SHARED/golden/text/tokenizers name file
    for name in bert-wordpiece bert-wordpiece-cased clip-bpe gemma-bpe gemma-bpe-siglip2 mt5-unigram nllb-bpe roberta-bpe \
        t5-unigram t5-unigram-old xlmr-unigram xlmr-unigram-old; do
        golden_lines "$t/$name/tokenizer.json" "$t/$name/lines.jsonl"
        golden_lines "$t/$name" "$t/$name/lines.jsonl"
    done
    for file in "$t"/*/*.model; do
        golden_lines "$file" "${file%/*}/lines.spm.jsonl"
    done
    for name in r50k cl100k; do
        cp "$t/tiktoken/small.tiktoken" ${name}_base.tiktoken
        golden_lines ${name}_base.tiktoken "$t/tiktoken/lines.$name.jsonl"
    done
    golden_lines "$t/bert-wordpiece/vocab.txt" "$t/bert-wordpiece/lines.jsonl"
    golden_lines "$t/roberta-bpe/vocab.json" "$t/roberta-bpe/lines.jsonl"
    golden_lines "$t/roberta-bpe/merges.txt" "$t/roberta-bpe/lines.jsonl"
    # The ids of XLM-R and its kin are those of their folder, not SentencePiece's own.
    mkdir xlmr cased
    cp "$t/xlmr-unigram/sentencepiece.bpe.model" xlmr
    clip-tokenize --bare --clean none --vocab xlmr <(echo '{"__key__": "k", "txt": "a</s>b <mask>"}' | stream) | tokens >got
    clip-tokenize --bare --clean none --vocab "$t/xlmr-unigram/tokenizer.json" \
        <(echo '{"__key__": "k", "txt": "a</s>b <mask>"}' | stream) | tokens | cmp - got
    # What stands beside vocab.txt counts.
    cp "$t/bert-wordpiece-cased/vocab.txt" cased
    echo '{"do_lower_case": false}' >cased/tokenizer_config.json
    golden_lines cased "$t/bert-wordpiece-cased/lines.jsonl"
}

# As in the tokenizer.json that lists them: BERT's vocab.txt and RoBERTa's vocab.json and merges.txt list none.
@test "tokens that were added stand beside vocab.txt and vocab.json: tokenizer_config.json, added_tokens.json, special tokens" {
    need_shared golden/text/tokenizers
    need_python json
    local t=$SHARED/golden/text/tokenizers name form
    python - "$t" <<'END'
import json, os, shutil, sys
for name, files, first in ("bert-wordpiece", ["vocab.txt"], 9001), ("roberta-bpe", ["vocab.json", "merges.txt"], 9001):
    token = lambda i, text, **more: {"id": first + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                                     "normalized": True, "special": False, **more}
    plain = [token(0, "<sks>"), token(1, "<Sk"), token(2, "[NEW]", normalized=False, special=True)]
    more = [token(3, "dog", single_word=True), token(4, "<left>", lstrip=True), token(5, "<both>", lstrip=True, rstrip=True, normalized=False)]
    whole = json.load(open(f"{sys.argv[1]}/{name}/tokenizer.json"))
    for form, tokens in ("names", plain), ("decoder", plain + more):
        for kind in form, form + "-whole":
            os.makedirs(f"{name}/{kind}")
        json.dump({**whole, "added_tokens": whole["added_tokens"] + tokens}, open(f"{name}/{form}-whole/tokenizer.json", "w"))
        for file in files:
            shutil.copy(f"{sys.argv[1]}/{name}/{file}", f"{name}/{form}")
    json.dump({t["content"]: t["id"] for t in plain}, open(f"{name}/names/added_tokens.json", "w"))
    json.dump({"additional_special_tokens": ["[NEW]"]}, open(f"{name}/names/special_tokens_map.json", "w"))
    json.dump({"added_tokens_decoder": {str(t.pop("id")): t for t in plain + more}}, open(f"{name}/decoder/tokenizer_config.json", "w"))
    json.dump({"<sks>": 5}, open(f"{name}/decoder/added_tokens.json", "w")) # which counts only without the other
END
    printf '%s\n' 'a <sks> dog' '<SKS>dog <sk [NEW]x [new]' 'a <Sks>  <left> b  <both>  c' 'hotdog dogs dog.' '[MASK]<mask></s>[SEP]' |
        awk '{ printf "{\"__key__\": \"%d\", \"txt\": \"%s\"}\n", NR, $0 }' | stream >in
    for name in bert-wordpiece roberta-bpe; do
        for form in names decoder; do
            clip-tokenize --bare --clean none --vocab $name/$form in | tokens >got
            clip-tokenize --bare --clean none --vocab $name/$form-whole in | tokens >want
            cmp got want || complain "$name $form: $(paste -d '|' got want)"
            grep -q 9001 got
        done
        # One without an id gets the next.
        mkdir $name/next
        cp $name/names/vocab* $name/next
        [ $name = bert-wordpiece ] || cp $name/names/merges.txt $name/next
        echo '{"additional_special_tokens": ["<<x>>", {"content": "<<y>>"}]}' >$name/next/special_tokens_map.json
        clip-tokenize --bare --clean none --vocab $name/next <(echo '{"__key__": "k", "txt": "<<y>><<x>>"}' | stream) | tokens >got
        awk -F , '{ exit !(NF == 2 && $1 == $2 + 1 && $2 > 1000) }' got || complain "$(cat got)"
        echo '{"<x>": -1}' >$name/next/added_tokens.json
        refuses "added_tokens.json: token '<x>' has no valid id" clip-tokenize --bare --vocab $name/next in
        echo '{"added_tokens_decoder": {"x": {"content": "y"}}}' >$name/next/tokenizer_config.json
        refuses "added_tokens_decoder: added_tokens holds a token without id" clip-tokenize --bare --vocab $name/next in
    done
}

@test "golden: templates, truncation and padding, of each kind" {
    need_shared golden/text/tokenizers
    need_python json msgpack
    local t=$SHARED/golden/text/tokenizers name
    for name in bert-wordpiece bert-wordpiece-cased gemma-bpe gemma-bpe-siglip2 mt5-unigram nllb-bpe roberta-bpe t5-unigram \
        t5-unigram-old xlmr-unigram xlmr-unigram-old clip-bpe; do
        mkdir $name
        cp "$t/$name/tokenizer.json" $name
        case $name in t5*) echo '{"pad_token": {"content": "</s>"}}' >$name/special_tokens_map.json ;; esac
        as_stream "$t/$name/padded.jsonl" >in
        clip-tokenize -q --truncate --context 32 --clean none --vocab $name in >out
        same_tokens "$t/$name/padded.jsonl" tokens out
    done
}

# model_of TEXT_CFG: a folder of a model with this text_cfg and no weights.
model_of() {
    rm -rf model
    mkdir model
    echo "{\"model_cfg\": {\"embed_dim\": 8, \"vision_cfg\": {\"image_size\": 16, \"width\": 64, \"layers\": 1},
        \"text_cfg\": {\"vocab_size\": 6000, \"width\": 8, \"heads\": 1, \"layers\": 1, $1}}}" >model/open_clip_config.json
    touch model/open_clip_model.safetensors
    rm model/open_clip_model.safetensors
}

ids_of() {
    printf '%s\n' "$1" | clip-tokenize --lines -m model "${@:2}" | tokens
}

@test "a model's configuration chooses the tokenizer and the cleaning" {
    need_shared golden/text/tokenizers
    need_python json msgpack
    local t=$SHARED/golden/text/tokenizers
    model_of '"context_length": 8, "hf_tokenizer_name": "bert-base-uncased", "tokenizer_kwargs": {"strip_sep_token": true}'
    cp "$t/bert-wordpiece/vocab.txt" model
    [ "$(ids_of '<b>bold</b>' --truncate)" = 7,198,29,157,2709,1326,198,0 ]
    as_stream "$t/bert-wordpiece/padded.jsonl" >in
    clip-tokenize -q --truncate -m model --context 32 --clean none in >out
    same_tokens "$t/bert-wordpiece/padded.jsonl" stripped out
    # SigLIP: canonical text, padded with the end token.
    model_of '"context_length": 12, "hf_tokenizer_name": "timm/ViT-B-16-SigLIP", "tokenizer_kwargs": {"clean": "canonicalize"}'
    cp "$t/t5-unigram/tokenizer.json" model
    [ "$(ids_of 'A_Photo, of: &lt;BOLD&gt;!')" = "$(ids_of 'a photo of bold' --clean none)" ]
    [[ $(ids_of 'a') = *,1,1,1,1,1,1 ]]
    [ "$(ids_of 'A  b' --clean whitespace)" = "$(ids_of 'A b' --clean none)" ]
    [ "$(ids_of 'A_b' --clean whitespace_underscore)" = "$(ids_of 'A b' --clean none)" ]
    [ "$(ids_of 'A_B' --clean lower)" = "$(ids_of 'a_b' --clean none)" ]
    # NLLB: the language comes first.
    model_of '"context_length": 8, "hf_tokenizer_name": "facebook/nllb-200-distilled-600M", "tokenizer_kwargs": {"language": "fra_Latn"}'
    cp "$t/nllb-bpe/tokenizer.json" model
    # whatever the file's template is
    sed -i 's/"single": *\[{"SpecialToken": *{"id": *"eng_Latn", *"type_id": *0}}, */"single": [/' model/tokenizer.json
    [[ $(ids_of 'a') = 1603,*,2,1,1,1,1 || $(ids_of 'a') = 1603,*,2,1,1,1,1,1 ]]
    # tiktoken: start, end and padding are beyond its own tokens.
    model_of '"context_length": 6, "tokenizer_type": "tiktoken", "tiktoken_name": "r50k_base"'
    cp "$t/tiktoken/small.tiktoken" model/r50k_base.tiktoken
    local n
    n=$(($(wc -l <"$t/tiktoken/small.tiktoken") + 1))
    [ "$(ids_of 'a')" = "$((n + 2)),64,$n,$((n + 1)),$((n + 1)),$((n + 1))" ]
    model_of '"context_length": 6, "tokenizer_type": "tiktoken", "tiktoken_name": "r50k_base", "tokenizer_kwargs": {"add_bos": false}'
    cp "$t/tiktoken/small.tiktoken" model/r50k_base.tiktoken
    [ "$(ids_of 'a')" = "64,$n,$((n + 1)),$((n + 1)),$((n + 1)),$((n + 1))" ]
    # clips: the class token is the last.
    model_of '"context_length": 8, "hf_tokenizer_name": "x", "tokenizer_mode": "clips"'
    cp "$t/roberta-bpe/tokenizer.json" model
    [[ $(ids_of 'a') = 0,*,2,1,1,1,1,0 ]]
    [[ $(ids_of 'a b c d e f g h i j k' --truncate) = 0,*,2,0 ]]
}

@test "what a configuration names and the folder lacks is an error that names the file" {
    model_of '"hf_tokenizer_name": "bert-base-uncased"'
    refuses "put tokenizer.json and tokenizer_config.json of https://huggingface.co/bert-base-uncased" \
        clip-tokenize -m model --lines /dev/null
    model_of '"tokenizer_type": "tiktoken"'
    refuses "put cl100k_base.tiktoken of" clip-tokenize -m model --lines /dev/null
    model_of '"tokenizer_type": "other"'
    refuses 'text_cfg.tokenizer_type: "other" is not supported' clip-tokenize -m model --lines /dev/null
    model_of '"hf_tokenizer_name": "x", "tokenizer_kwargs": {"clean": "none"}'
    refuses 'tokenizer_kwargs.clean: "none" is not supported' clip-tokenize -m model --lines /dev/null
    model_of '"tokenizer_kwargs": {"reduction_mask": "random"}'
    refuses 'tokenizer_kwargs.reduction_mask' clip-tokenize -m model --lines /dev/null
    model_of '"tokenizer_mode": "clops"'
    refuses 'text_cfg.tokenizer_mode: "clops"' clip-tokenize -m model --lines /dev/null
}

@test "Hugging Face's folders: SigLIP's own canonical form, SigLIP 2's lower case" {
    need_shared golden/text/tokenizers
    local t=$SHARED/golden/text/tokenizers
    mkdir model
    echo '{"model_type": "siglip", "text_config": {"vocab_size": 6000, "hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1,
        "intermediate_size": 8, "max_position_embeddings": 9}, "vision_config": {"hidden_size": 8, "num_attention_heads": 1,
        "num_hidden_layers": 1, "intermediate_size": 8, "image_size": 16, "patch_size": 8}}' >model/config.json
    cp "$t/t5-unigram/spiece.model" model
    [ "$(ids_of 'A_Photo,  OF: a')" = "$(ids_of 'aphoto of a')" ]
    # Neither HTML nor mojibake is repaired, and a special token is its id, outside of which text is canonical.
    [ "$(ids_of '&lt;')" = "$(ids_of 'lt')" ]
    [[ $(ids_of 'a</s>') = *,1,1,1,1,1,1,1 ]]
    [ "$(ids_of 'A!</s>' --bare)" = "$(ids_of 'a' --bare),1" ]
    [ "$(clip-tokenize --lines --bare --vocab model/spiece.model <(echo 'a</s>') | tokens)" != "$(ids_of 'a</s>' --bare)" ]
    rm model/spiece.model
    cp "$t/gemma-bpe/tokenizer.json" model
    echo '{"tokenizer_class": "GemmaTokenizer", "pad_token": "<pad>"}' >model/tokenizer_config.json
    [ "$(ids_of 'A_Photo, OF')" = "$(ids_of 'a_photo, of')" ]
    [ "$(ids_of 'a_photo')" != "$(ids_of 'aphoto')" ]
    [[ $(ids_of 'a') = *,1,0,0,0,0,0,0,0 ]]
    local own
    own=$(ids_of 'a' --bare)
    echo '{"tokenizer_class": "GemmaTokenizer", "pad_token": "<pad>", "add_bos_token": true, "add_eos_token": false}' >model/tokenizer_config.json
    [ "$(ids_of 'a')" = 2,$own,0,0,0,0,0,0,0 ]
}

@test "--bare: a caption's own ids, and how many" {
    printf 'the cat\n\n' | clip-tokenize --lines --bare --vocab bpe.txt >out
    [ "$(tokens out | paste -sd ' ')" = "513,66,64,339 " ]
    [ "$(clip-dump out | sed -n 's/.*"shape":\(\[[0-9]*\]\).*/\1/p' | paste -sd ' ')" = "[4] [0]" ]
    run -2 clip-tokenize --bare --context 5 --vocab bpe.txt
    run -2 clip-tokenize --bare --truncate --vocab bpe.txt
    run -2 clip-tokenize --clean some --vocab bpe.txt
}

@test "--clean: OpenAI's tokenizer of text in its own case" {
    tokens_of() { printf '%s\n' "$1" | clip-tokenize --lines --bare --vocab bpe.txt "${@:2}" | tokens; }
    [ "$(tokens_of 'THE&amp;amp;')" = "$(tokens_of 'the&')" ]
    [ "$(tokens_of '  THE &lt; ' --clean whitespace)" = "$(tokens_of 'THE <' --clean none)" ]
    [ "$(tokens_of 'A' --clean whitespace)" != "$(tokens_of 'a')" ]
    [ "$(tokens_of 'the_a.!' --clean canonicalize)" = "$(tokens_of 'the a')" ]
    # A byte order mark is part of a text that is not cleaned.
    printf '{"__key__": "k", "txt": {"hex": "efbbbf61"}}\n' | stream >in
    [ "$(tokens <(clip-tokenize --bare --clean none --vocab bpe.txt in))" != "$(tokens <(clip-tokenize --bare --vocab bpe.txt in))" ]
    # Contractions are found in any case.
    [ "$(tokens_of "IT'S" --clean none)" = 40,307,6,306 ]
}

# vast KIND: a file that is bad at its end, of tens of millions of bytes.
vast() {
    awk -v kind="$1" 'BEGIN {
        if (kind == "deep.json") { printf "{\"model\":"; for (i = 0; i < 3000000; i++) printf "[" }
        if (kind == "wide.json") { printf "{\"added_tokens\":["; for (i = 0; i < 3000000; i++) printf "{},"; printf "{}],\"model\":{}}" }
        if (kind == "merges.json") {
            printf "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":["
            for (i = 0; i < 3000000; i++) printf "\"a b\","
            printf "\"a c\"]}}"
        }
        if (kind == "words.txt") { print "[UNK]"; for (i = 0; i < 9000000; i++) print "a" }
        if (kind == "pieces.model") for (i = 0; i < 6000000; i++) printf "\n\003\n\001a"
    }'
}

@test "vast files that are bad are refused in one line, in little memory" {
    sanitized && skip "memory"
    local kind
    for kind in deep.json wide.json merges.json words.txt pieces.model; do
        vast $kind >$kind
        run -1 --separate-stderr "$BUILD/tests/tools/peak" kb clip-tokenize --lines --vocab $kind </dev/null
        [[ $stderr == "clip-tokenize: $kind: "* && ${#stderr_lines[@]} -eq 1 ]] || complain "$stderr"
        [ "$(cat kb)" -lt 100000 ] || complain "$kind: $(cat kb) kB"
        rm $kind
    done
}
