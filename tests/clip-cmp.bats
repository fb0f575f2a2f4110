load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
    stream >a <<'JSON'
{"__key__": "x", "txt": {"bin": "dog"}, "e": {"f4": [3, 4]}, "n": 1}
{"__step__": 1}
{"__key__": "y", "txt": {"bin": "cat"}, "e": {"f4": [0, 1]}, "n": 2}
JSON
    stream >b <<'JSON'
{"__key__": "x", "txt": {"bin": "dog"}, "e": {"f4": [3, 4.5]}, "n": 1.25}
{"__step__": 1}
{"__key__": "y", "e": {"f4": [0, 1]}, "n": 2}
JSON
}

same() {
    run -0 --separate-stderr clip-cmp "$@"
    [ -z "$stderr" ]
}

differ() {
    run -1 --separate-stderr clip-cmp "$@"
    [ -z "$stderr" ] || complain "$stderr"
}

@test "operands are two, and one standard input" {
    for words in "" "a" "a b a" "- -"; do
        run -2 clip-cmp $words
    done
    run -2 clip-cmp --tolerance x a b
    run -2 clip-cmp --tolerance -1 a b
}

@test "the table: fields, where they are, how far apart" {
    differ a b
    diff - <(echo "$output") <<'TSV'
field	both	only A	only B	unequal	absolute	relative	at
__key__	2	0	0	0	-	-	-
txt	1	1	0	0	-	-	y
e	2	0	0	1	0.5	0.0925	x
n	2	0	0	1	0.25	0.2	x
__step__	1	0	0	0	0	0	-
TSV
}

@test "equal streams are equal, whatever the order of fields" {
    same a a
    diff - <(echo "$output" | cut -f 1,5,6) <<'TSV'
field	unequal	absolute
__key__	0	-
txt	0	-
e	0	0
n	0	0
__step__	0	0
TSV
    stream >turned <<'JSON'
{"n": 1, "e": {"f4": [3, 4]}, "__key__": "x", "txt": {"bin": "dog"}}
{"__step__": 1}
{"txt": {"bin": "cat"}, "__key__": "y", "e": {"f4": [0, 1]}, "n": 2}
JSON
    same -q a turned
    [ -z "$output" ]
}

@test "tolerances: absolute, or relative to the length" {
    differ --fields e --tolerance 0.49 a b
    same --fields e --tolerance 0.5 a b
    differ --fields e --relative 0.09 a b
    same --fields e --relative 0.0925 a b
    differ --fields e,n --tolerance 0.3 a b
    same --fields e,n --tolerance 0.3 --relative 0.1 a b
    differ --fields txt --tolerance 100 a b
}

@test "a field that neither stream has is not a success" {
    run -1 --separate-stderr clip-cmp --fields e,embeding a a
    [ "$stderr" = "clip-cmp: no record has a field 'embeding'" ]
}

@test "NaN equals NaN alone; kinds and shapes must agree" {
    stream >n1 <<<'{"__key__": "x", "e": {"f4": ["NaN", 1]}}'
    stream >n2 <<<'{"__key__": "x", "e": {"f4": [1, 1]}}'
    stream >n3 <<<'{"__key__": "x", "e": {"f4": [[1, 1]]}}'
    stream >n4 <<<'{"__key__": "x", "e": {"f8": [1, 1]}}'
    stream >n5 <<<'{"__key__": "x", "e": 1}'
    same n1 n1
    differ --tolerance 1e300 n1 n2
    differ --tolerance 1e300 n2 n3
    differ --tolerance 1e300 n2 n4
    differ --tolerance 1e300 n2 n5
    [ "${lines[2]}" = "e	1	0	0	1	-	-	x" ]
}

@test "whole numbers are told apart beyond what a double holds" {
    stream >i1 <<<'{"__key__": "x", "i": 9007199254740992, "t": {"i8": [9007199254740992]}}'
    stream >i2 <<<'{"__key__": "x", "i": 9007199254740993, "t": {"i8": [9007199254740993]}}'
    differ i1 i2
    [ "$(cut -f 5 <<<"$output" | tr '\n' ' ')" = "unequal 0 1 1 " ]
}

@test "a stream that is longer differs" {
    stream >one <<<'{"__key__": "x", "n": 1}'
    stream >two < <(echo '{"__key__": "x", "n": 1}'; echo '{"__key__": "y", "n": 1}')
    differ one two
    [ "${lines[1]}" = "__key__	1	0	1	0	-	-	y" ]
    differ two one
    [ "${lines[1]}" = "__key__	1	1	0	0	-	-	y" ]
}

@test "--by-key finds records in any order" {
    stream >c < <(clip-dump --keys a | tac | while read -r key; do
        [ "$key" = x ] && echo '{"__key__": "x", "txt": {"bin": "dog"}, "e": {"f4": [3, 4]}, "n": 1}' ||
            echo '{"__key__": "y", "txt": {"bin": "cat"}, "e": {"f4": [0, 1]}, "n": 2}'
    done)
    differ -q a c
    same --by-key a c
    stream >d <<<'{"__key__": "z"}'
    differ --by-key a d
    [ "${lines[1]}" = "__key__	0	2	1	0	-	-	x" ]
    cat d d >dd
    run -1 --separate-stderr clip-cmp --by-key a dd
    [ "$stderr" = "clip-cmp: dd: sample z: occurs twice" ]
}

@test "a cut stream is an error after what was compared" {
    head -c -10 a >cut
    run -1 --separate-stderr clip-cmp a cut
    [ "${#lines[@]}" -eq 6 ]
    one_line
    "$BUILD/tests/tools/cut-everywhere" a clip-cmp a -
}
