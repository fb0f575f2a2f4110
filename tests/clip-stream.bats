# clip-stream(5): the page's examples, and msgpack-numpy as the other reader and writer.
load helper

# example NAME: the page's literal block behind the comment "test: NAME".
example() {
    sed -n "/^\.\\\\\" test: $1\$/,/^\.Ed/p" "$SRC/man/clip-stream.5" | sed '1,2d; $d'
}

@test "the dump in the page is what the library writes" {
    diff <(example dump) <("$BUILD/tests/tools/stream-example" -x)
}

@test "the page's Python writes the same bytes" {
    need_python numpy msgpack_numpy
    example write >"$BATS_TEST_TMPDIR/write.py"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/write.py")" -eq 6 ]
    python "$BATS_TEST_TMPDIR/write.py" | cmp - <("$BUILD/tests/tools/stream-example")
}

@test "the page's Python reads a stream, and sees a cut one" {
    need_python numpy msgpack_numpy
    local cut size
    cd "$BATS_TEST_TMPDIR"
    example read >read.py
    [ "$(wc -l <read.py)" -eq 6 ]
    "$BUILD/tests/tools/stream-example" >stream
    size=$(wc -c <stream)
    [ "$(python read.py <stream)" = 'cat/7 (4,)' ]
    for cut in 0 1 9 50 $((size - 10)) $((size - 1)); do
        run -1 --separate-stderr python read.py < <(head -c "$cut" stream)
        [[ $stderr == *"the stream was cut"* ]]
    done
}
