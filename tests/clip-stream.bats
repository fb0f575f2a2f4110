# clip-stream(5): the page's examples, and msgpack-numpy as the other reader and writer.
load helper

# example NAME: the page's literal block after the comment "test: NAME".
example() {
    sed -n "/^\.\\\\\" test: $1\$/,/^\.Ed/p" "$SRC/man/clip-stream.5" | sed '1,2d; $d'
}

@test "the dump in the page is what the library writes" {
    equal <(example dump) <("$BUILD/tests/tools/stream-example" -x)
}

@test "the page's Python writes the same bytes" {
    need_python numpy msgpack_numpy
    example write >"$BATS_TEST_TMPDIR/write.py"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/write.py")" -eq 6 ]
    equal <(python "$BATS_TEST_TMPDIR/write.py") <("$BUILD/tests/tools/stream-example")
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

# Arrays of every type and of odd shapes and layouts, packed by msgpack-numpy.
make_arrays='
import sys, numpy, msgpack, msgpack_numpy
random = numpy.random.RandomState(1)
arrays = []
for kind in "b1 i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8".split():
    for shape in [(), (1,), (0,), (3, 5), (2, 0, 3), (1,) * 8, (2, 3, 2)]:
        values = random.randint(0, 2**63, shape, dtype="u8") if kind == "u8" else random.uniform(-99, 99, shape)
        arrays.append(numpy.asarray(values).astype("<" + kind))
arrays += [numpy.asfortranarray(a) for a in arrays if a.ndim > 1] + [a[::-1] for a in arrays if a.ndim > 0]
arrays += [numpy.array([numpy.nan, numpy.inf, -numpy.inf, -0.0, 1e-45, 3.4e38], "<f4"), numpy.arange(9)]
'

@test "what Debian's msgpack-numpy writes, we read" {
    need_python numpy msgpack_numpy
    cd "$BATS_TEST_TMPDIR"
    python -c "$make_arrays"'
for i, a in enumerate(arrays):
    sys.stdout.buffer.write(msgpack.packb({"__key__": str(i), "a": a}, default=msgpack_numpy.encode))
sys.stdout.buffer.write(msgpack.packb({"__end__": len(arrays)}))' >stream
    clip-dump --values stream >json
    python -c "$make_arrays"'
import json
lines = [json.loads(line) for line in open("json")]
assert len(lines) == len(arrays) > 100
for line, a in zip(lines, arrays):
    ours = line["a"]
    assert ours["tensor"] == a.dtype.str[1:] and ours["shape"] == list(a.shape), (ours, a)
    values = numpy.array(ours["values"], "f8" if a.dtype.kind == "f" else object).astype(a.dtype).reshape(a.shape)
    assert values.tobytes() == a.tobytes() or numpy.isnan(a).any(), (ours, a)'
    # What passes through stays as it came, to the byte.
    clip-batch -n 2 --schedule constant stream | python -c '
import sys, msgpack
read = lambda file: [o["a"] for o in msgpack.Unpacker(file) if "a" in o]
ours, theirs = read(sys.stdin.buffer), read(open("stream", "rb"))
assert len(ours) > 100 and ours == theirs'
}

@test "what we write, Debian's msgpack-numpy reads" {
    need_python numpy msgpack_numpy
    cd "$BATS_TEST_TMPDIR"
    stream >pictures <<JSON
{"__key__": "face", "__url__": "é.tar", "jpg": {"hex": "$(od -An -v -tx1 "$SRC/share/samples/face.jpg" | tr -d ' \n')"}}
{"__key__": "star", "png": {"hex": "$(od -An -v -tx1 "$SRC/share/samples/star.png" | tr -d ' \n')"}, "cls": 3}
JSON
    clip-preprocess --size 8 pictures >u8
    clip-preprocess --size 8 --dtype f32 pictures >f32
    for type in u8 f32; do
        clip-dump --values $type >json
        python - $type <<'PY'
import json, sys, numpy, msgpack, msgpack_numpy
name = sys.argv[1]
items = list(msgpack.Unpacker(open(name, "rb"), object_hook=msgpack_numpy.decode))
assert items[-1] == {"__end__": 2} and len(items) == 3
assert [list(item) for item in items[:2]] == [["__key__", "__url__", "image"], ["__key__", "cls", "image"]]
assert items[0]["__url__"] == "é.tar" and items[1]["cls"] == 3
for item, line in zip(items, open("json")):
    image = item["image"]
    assert image.dtype.str == {"u8": "|u1", "f32": "<f4"}[name] and image.shape == (3, 8, 8)
    assert (image == numpy.array(json.loads(line)["image"]["values"], image.dtype)).all() and len(set(image.flat)) > 9
PY
    done
}

@test "a damaged byte is reported where it is, wherever that is in a stream" {
    need_python
    cd "$BATS_TEST_TMPDIR"
    printf '%s\n' '{"__key__": "a", "x": [1, 2]}' '{"__key__": "b", "x": {"y": 3}}' '{"__key__": "c", "x": "text"}' |
        stream >good
    python - <<'END'
import re, subprocess
good = open("good", "rb").read()
begins = [good.index(b"\xa7__key__\xa1" + c) - 1 for c in (b"a", b"b", b"c")] + [good.index(b"\xa7__end__") - 1, len(good)]
exact = 0
for i in range(begins[1], begins[3]):  # of the second and the third record
    begin = max(b for b in begins if b <= i)
    for bad in (b"\xc1", b"\x01"):
        open("bad", "wb").write(good[:i] + bad + good[i + 1:])
        says = subprocess.run(["clip-dump", "bad"], capture_output=True, text=True).stderr
        at = re.search(r"at byte (\d+)", says)
        if not at:
            continue  # a number or a letter that may be another, or a length that leads past the end
        at = int(at[1])
        if "0xc1" in says:
            assert at == i, (i, says)
            exact += 1
        else:
            assert begin <= at, (i, says)
assert exact >= 10, exact
END
    head -c -3 good >cut
    run -1 --separate-stderr clip-dump good cut
    [ "$stderr" = "clip-dump: cut: cut short inside an object that begins at byte $(($(stat -c %s good) - 10)), after 6 records" ]
}

@test "what is not a stream at all is told from one that is damaged, and where it may go is said" {
    local hint="not a stream (clip-untar reads tar archives, clip-tokenize --lines text)"
    cd "$BATS_TEST_TMPDIR"
    echo "a caption" >text
    tar cf tar text
    gzip -k tar
    printf '\x89PNG\r\n\x1a\n' >png # begins like a map of nine
    echo '{"__key__": "a"}' | stream >good
    for input in text tar tar.gz png; do
        run -1 --separate-stderr clip-dump good $input
        [ "$stderr" = "clip-dump: $input: $hint" ]
        [ "${#lines[@]}" -eq 1 ]
    done
    run -1 --separate-stderr clip-dump <(cat good text)
    [[ $stderr == *"after 1 records: an object that is not a map" ]]
}
