load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
    stream >in <<'JSON'
{"__key__": "a/1", "jpg": {"hex": "ffd8ffe000104a46494600010100000100010000"}, "txt": {"bin": "a \"dog\"\n"}, "x": {"f4": [[0, 1, 0.1], [1e10, "NaN", "-Infinity"]]}}
{"__step__": 1, "lr": 0.0005, "save": true}
{"__key__": "b\t2", "n": null, "list": [1, -2, [3, {"k": {"u1": [1, 2]}}]]}
JSON
}

@test "records and control objects are lines of JSON" {
    run -0 --separate-stderr clip-dump in
    diff - <(echo "$output") <<'JSON'
{"__key__":"a/1","jpg":{"bin":20,"type":"jpeg","hex":"ffd8ffe000104a464946000101000001..."},"txt":{"bin":8,"text":"a \"dog\"\n"},"x":{"tensor":"f4","shape":[2,3],"first":[0,1,0.1,1e+10,"NaN","-Infinity"]}}
{"__step__":1,"lr":0.0005,"save":true}
{"__key__":"b\t2","n":null,"list":[1,-2,[3,{"k":{"tensor":"u1","shape":[2],"first":[1,2]}}]]}
JSON
    [ -z "$stderr" ]
}

@test "--values prints everything, --keys the keys alone" {
    run -0 clip-dump --values in
    diff - <(echo "${lines[0]}") <<'JSON'
{"__key__":"a/1","jpg":{"bin":20,"type":"jpeg","hex":"ffd8ffe000104a46494600010100000100010000"},"txt":{"bin":8,"text":"a \"dog\"\n"},"x":{"tensor":"f4","shape":[2,3],"values":[[0,1,0.1],[1e+10,"NaN","-Infinity"]]}}
JSON
    run -0 clip-dump --keys in
    [ "$output" = $'a/1\nb\\t2' ]
}

@test "long members and tensors are cut, unless --values" {
    stream >long <<<"{\"__key__\": \"a\", \"txt\": {\"bin\": \"$(printf 'é%.0s' {1..120})\"}, \"t\": {\"i4\": [1,2,3,4,5,6,7,8,9]}}"
    run -0 clip-dump long
    [ "$output" = "{\"__key__\":\"a\",\"txt\":{\"bin\":240,\"begins\":\"$(printf 'é%.0s' {1..50})\"},\"t\":{\"tensor\":\"i4\",\"shape\":[9],\"first\":[1,2,3,4,5,6,7,8]}}" ]
    run -0 clip-dump --values long
    [ "$output" = "{\"__key__\":\"a\",\"txt\":{\"bin\":240,\"text\":\"$(printf 'é%.0s' {1..120})\"},\"t\":{\"tensor\":\"i4\",\"shape\":[9],\"values\":[1,2,3,4,5,6,7,8,9]}}" ]
}

@test "any msgpack value is JSON: extensions, keys that are not strings, numbers at the edges, text that is not UTF-8" {
    # {"__key__": "k", "e": ext 5 "ab", "m": {1: 2}, "u": 2^64-1, "i": -2^63, "f": f32 0.1, "s": bad UTF-8, "t": i8}
    printf '\x88\xa7__key__\xa1k\xa1e\xd5\x05ab\xa1m\x81\x01\x02\xa1u\xcf\xff\xff\xff\xff\xff\xff\xff\xff' >odd
    printf '\xa1i\xd3\x80\0\0\0\0\0\0\0\xa1f\xca\x3d\xcc\xcc\xcd\xa1s\xa3a\xff\x01' >>odd
    printf '\xa1t\x85\xc4\x02nd\xc3\xc4\x04type\xa3<i8\xc4\x04kind\xc4\0\xc4\x05shape\x90\xc4\x04data\xc4\x08\xff\xff\xff\xff\xff\xff\xff\x7f' >>odd
    printf '\x81\xa7__end__\x01' >>odd
    run -0 clip-dump odd
    [ "$output" = '{"__key__":"k","e":{"ext":5,"hex":"6162"},"m":{"map":[[1,2]]},"u":18446744073709551615,"i":-9223372036854775808,"f":0.1,"s":"a�\u0001","t":{"tensor":"i8","shape":[],"first":[9223372036854775807]}}' ]
    run -0 clip-dump --values odd
    [[ $output == *'"t":{"tensor":"i8","shape":[],"values":9223372036854775807}}' ]]
}

@test "tensors without elements" {
    stream <<<'{"__key__": "k", "a": {"f4": [], "shape": [0, 3]}, "b": {"f4": [], "shape": [1099511627776, 0]}}' >none
    run -0 clip-dump --values none
    [ "$output" = '{"__key__":"k","a":{"tensor":"f4","shape":[0,3],"values":[]},"b":{"tensor":"f4","shape":[1099511627776,0],"values":[]}}' ]
}

@test "what came before a cut is printed" {
    head -c -10 in >cut
    run -1 --separate-stderr clip-dump cut
    [ "${#lines[@]}" -eq 3 ]
    one_line
    "$BUILD/tests/tools/cut-everywhere" in clip-dump
}

@test "a record is printed while the stream stays open" {
    mkfifo fifo out
    clip-dump fifo >out &
    exec 8<out 7>fifo
    stream -n <<<'{"__key__": "first"}' >&7
    read -r -t 10 line <&8
    [ "$line" = '{"__key__":"first"}' ]
    exec 7>&- 8<&-
    local status=0
    wait $! || status=$?
    [ "$status" -eq 1 ]
}

@test "several streams, one after another" {
    run -0 clip-dump --keys in - in <in
    [ "${#lines[@]}" -eq 6 ]
}

@test "every line of a real stream is JSON" {
    need_shared golden/models/vit-a/forward.msgpack
    need_python json
    clip-dump --values "$SHARED/golden/models/vit-a/forward.msgpack" >json
    python - json <<'PY'
import json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
assert len(records) == 12 and len(records[3]['image_embedding']['values']) == 48
PY
}

@test "--tsv: fields as cells of a table" {
    cd "$BATS_TEST_TMPDIR"
    printf '%s\n' '{"__key__": "a\t\\", "n": 3, "txt": {"bin": "two\nlines"}}' '{"__step__": 1}' '{"__key__": "b", "n": -0.5}' |
        stream >in
    diff <(clip-dump --tsv n,txt,__key__ in) <(printf '3\ttwo\\nlines\ta\\t\\\\\n-0.5\t\tb\n')
    equal <(clip-dump --tsv __key__ in) <(clip-dump --keys in)
    run -2 clip-dump --tsv n --keys in
}
