# What every program must stand. The list of programs is the build's, so a new one is tested here or fails for lack of
# an entry in programs.bash.
load helper
load programs

setup_file() {
    make_small
}

setup() {
    cd "$BATS_TEST_TMPDIR"
}

# each FUNCTION: calls it for every program, its entry set. The last one named is the one that failed.
each() {
    local program
    for program in $(programs); do
        echo "$program"
        entry "$program"
        "$@"
    done
}

# Its own options of the usual ones, each: output is the same, and only -v and --progress say something.
says_more() {
    local option
    "$program" "${args[@]}" <"$SMALL/$input" >want
    for option in -q -v --no-progress --progress; do
        "$program" --help | grep -q -e " $option\b" || continue
        "$program" "$option" "${args[@]}" <"$SMALL/$input" >out 2>err
        cmp out want || [ "$program $option" = "clip-cmp -q" ] || complain "$program $option: another output"
        case $option in
        --progress) grep -q "$program: 2 records in [0-9.]* s, [0-9.]*/s, waited [0-9]* % for input, [0-9]* % for output" err ;;
        -v) [ "$(grep -c "^clip-[a-z-]*: " err)" = "$(grep -c '' err)" ] ;; # one that runs others lets them speak
        *) [ ! -s err ] || complain "$program $option: $(cat err)" ;;
        esac
    done
}

@test "-q, -v and --progress change what is said on stderr alone" {
    each says_more
}

no_end() {
    [ "$(grep -c __end__ "$1")" -eq 0 ] || complain "$program wrote an end object"
}

# Runs the program of the entry on its input; "$1" is a redirection of its output.
attempt() {
    run --separate-stderr bash -c '"$@" <"$0" '"$1" "${2:-$SMALL/$input}" "$program" "${args[@]}"
}

# expect STATUS: of the last run, with one line on stderr where it is not 0.
expect() {
    [ "$status" -eq "$1" ] || complain "$program: status $status: $stderr"
    [ "$1" -eq 0 ] || one_line
}

succeeds() {
    attempt '| cat; exit ${PIPESTATUS[0]}'
    expect 0
    [ -n "$output" ]
}

@test "every program has an entry, and runs on its small input" {
    each succeeds
}

helps() {
    run -0 --separate-stderr "$program" --help
    [[ $output == "Usage: $program "* && -z $stderr ]] || complain "$program --help: $output"
    [ "$output" = "$("$program" -h)" ]
    run -0 --separate-stderr "$program" --version
    [[ ${lines[0]} =~ ^"$program (clip-tools) "[0-9]+\.[0-9]+ && -z $stderr ]] || complain "$program --version: $output"
    [ "$output" = "$("$program" -V)" ]
}

# What a program says at once is one write(2): of wrong usage both lines.
writes_once() {
    run -2 python "$SRC/tests/writes.py" "$program" --no-such-option
    [ "${#lines[@]}" -eq 1 ] || complain "$program: wrong usage in ${#lines[@]} writes"
    [[ ${lines[0]} == "\"$program: "*"\\nTry '$program --help'.\\n\"" ]] || complain "$program: ${lines[0]}"
}

@test "a message is one write(2), so that those of programs that fail together do not mix" {
    need_python json
    each writes_once
    run -1 python "$SRC/tests/writes.py" clip-dump "$BATS_TEST_TMPDIR/nowhere"
    [ "$output" = "\"clip-dump: $BATS_TEST_TMPDIR/nowhere: No such file or directory\\n\"" ]
    run -1 python "$SRC/tests/writes.py" clip-eval -m "$SMALL/model" nowhere
    [ "$output" = '"clip-eval: nowhere/test: there is no such folder\n"' ]
    printf 'p1\np1\n' >pictures
    run -1 python "$SRC/tests/writes.py" awk -f "$SRC/share/awk/retrieval.awk" pictures
    [ "$output" = '"clip-eval: two pictures of the key p1\n"' ]
    run -0 python "$SRC/tests/writes.py" clip-dump --progress "$SMALL/raw"
    [ "${#lines[@]}" -le 4 ] || complain "$output"
}

@test "--help and --version" {
    each helps
}

refuses_options() {
    local words
    for words in --no-such-option -@ --help=x; do
        run -2 --separate-stderr "$program" "$words"
        [ -z "$output" ]
        [ "${#stderr_lines[@]}" -eq 2 ]
        [[ ${stderr_lines[0]} == "$program: "* && ${stderr_lines[1]} == "Try '$program --help'." ]]
    done
}

@test "an unknown option is wrong usage" {
    each refuses_options
}

sees_full_output() {
    attempt '>/dev/full'
    expect 1
    [[ $stderr == *"No space left on device"* ]] || complain "$stderr"
    run -1 --separate-stderr bash -c '"$0" --help >/dev/full' "$program"
    one_line
    run -1 --separate-stderr bash -c '"$0" --version >/dev/full' "$program"
    one_line
}

@test "a full disk is seen" {
    each sees_full_output
}

sees_closed_output() {
    attempt '>&-'
    expect 1
    run -1 --separate-stderr bash -c '"$0" --help >&-' "$program"
    one_line
}

@test "a closed standard output is seen" {
    each sees_closed_output
}

sees_closed_input() {
    [ "$input" != nothing ] || return 0
    attempt '>out <&-'
    expect 1
    no_end out
}

@test "a closed standard input is seen" {
    each sees_closed_input
}

sees_empty_input() {
    [ "$input" != nothing ] || return 0
    attempt '>out' /dev/null
    expect 1
    no_end out
}

@test "an empty input is an error" {
    each sees_empty_input
}

sees_cuts() {
    local whole=()
    [ "$input" != lines ] || return 0 # text has no end that could be missing
    [ "$input" != table ] && [ "$input" != nothing ] || return 0
    if [ "$writes" = records ]; then
        "$program" "${args[@]}" <"$SMALL/$input" >whole
        whole=(-p whole)
    fi
    "$BUILD/tests/tools/cut-everywhere" "${whole[@]}" "$SMALL/$input" "$program" "${args[@]}"
}

@test "an input cut at any byte is an error, and what is written is a beginning without an end" {
    each sees_cuts
}

# A pipe that stays open after the first record: what was written by then must be what a run on that record alone
# writes in the end.
answers() {
    local tries
    [ "$writes" = records ] || return 0
    attempt '>want' "$SMALL/$input.first"
    expect 1
    [ -s want ]
    rm -f held
    : >out
    mkfifo held
    exec 7<>held
    "$program" "${args[@]}" <held >out 2>err 3>&- 7>&- &
    cat "$SMALL/$input.first" >&7
    for ((tries = 0; tries < 300; tries++)); do
        [ "$(stat -c %s out)" -lt "$(stat -c %s want)" ] || break
        sleep 0.1
    done
    kill -0 $! || complain "$program ended: $(cat err)"
    cmp out want
    exec 7>&-
    wait $! || status=$?
    [ "$status" -eq 1 ]
}

@test "a filter answers while its input is held open" {
    each answers
}

refuses_bad_streams() {
    local file
    [ "$input" != lines ] && [ "$input" != table ] && [ "$input" != tar ] && [ "$input" != nothing ] || return 0
    for file in "$SMALL"/bad-*; do
        attempt '>out' "$file"
        expect 1
        no_end out
    done
}

@test "what is not a stream is refused" {
    printf 'GIF89a' >"$SMALL/bad-gif"
    printf '\xdf\xff\xff\xff\xff' >"$SMALL/bad-map"
    printf '\x81\xa1k\xdd\xff\xff\xff\xff' >"$SMALL/bad-array"
    printf '\x81\xa1k\xc6\xff\xff\xff\xff' >"$SMALL/bad-bin"
    printf '\x81\xa1k\xdb\xff\xff\xff\xff' >"$SMALL/bad-str"
    printf '\x81\xa1k\xc9\xff\xff\xff\xff\x05' >"$SMALL/bad-ext"
    printf '\x81\xa7__end__\x05' >"$SMALL/bad-count"
    printf '\x81\xa7__end__\xff' >"$SMALL/bad-negative"
    { printf '\x82\xa7__key__\xa1k\xa1n' && head -c 100000 /dev/zero | tr '\0' '\221'; } >"$SMALL/bad-nesting"
    { printf '\x81\xa7__key__\xa1k' && printf '\xc1'; } >"$SMALL/bad-byte"
    each refuses_bad_streams
}

# A limit below what the program needs: it says so; nothing hangs or crashes. Where it cannot even print its help, the loader,
# or a library's constructor (oneDNN's, by an abort), has ended it before main.
under_limits() {
    local limit status
    for limit in 20000 26000 32000 40000 48000 56000 64000 76000 88000 100000 115000 130000 150000 180000 220000 270000 \
        330000 400000 600000 1000000; do
        (ulimit -v $limit && exec "$program" --help) >/dev/null 2>&1 || continue
        status=0
        (ulimit -v $limit && exec timeout -s KILL 30 "$program" "${args[@]}") <"$SMALL/$input" >out 2>err || status=$?
        [ $status -eq 0 ] || [ $status -eq 1 ] || [ $status -eq 127 ] || [ $status -eq 2 ] ||
            complain "$program ends with status $status at $limit kB: $(cat err)"
        [ $status -eq 0 ] || [ -s err ] || complain "$program says nothing at $limit kB"
    done
}

@test "a memory limit ends a program with a message" {
    sanitized && skip memory
    each under_limits
}

# as_type TYPE FILE: the stream, its floats, and images, rounded to f2 and then of this type.
as_type() {
    python - "$@" <<'END'
import sys, msgpack, numpy
type, path = sys.argv[1:]
for o in msgpack.Unpacker(open(path, "rb"), strict_map_key=False):
    for name, value in o.items():
        if isinstance(value, dict) and (value[b"type"] == "<f4" or name == "image"):
            array = numpy.frombuffer(value[b"data"], value[b"type"]).astype("<f2").astype("<" + type)
            value[b"type"], value[b"data"] = "<" + type, array.tobytes()
    sys.stdout.buffer.write(msgpack.packb(o))
END
}

@test "floats of two and of eight bytes are taken where those of four are, with the same result" {
    need_python msgpack numpy
    local program type
    for program in clip-average clip-contrastive-step clip-encode-image clip-project-normalize clip-simmatrix; do
        entry "$program"
        for type in f4 f2 f8; do
            as_type $type "$SMALL/$input" >in.$type
            "$program" "${args[@]}" <in.$type >out.$type
            cmp out.f4 out.$type || complain "$program $type"
        done
        run -1 cmp -s in.f4 in.f2
    done
    equal <(clip-project-normalize -m "$SMALL/model" <(as_type f8 "$SMALL/features")) <(
        clip-project-normalize -m "$SMALL/model" <(as_type f4 "$SMALL/features"))
    echo '{"__key__": "k", "text_embedding": {"f8": [1e300, 1]}}' | stream >in # too large for f4
    run -1 --separate-stderr clip-average --by __key__ in
    one_line
    [[ $stderr == *"sample k: field 'text_embedding'"* ]] || complain "$stderr"
}
