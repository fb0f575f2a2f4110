load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
}

embeddings() {
    stream <<'JSON'
{"__key__": "a/1", "e": {"f4": [1, 0.5]}, "n": {"i8": [[1, 2], [3, -4]]}}
{"__step__": 1}
{"__key__": "b", "e": {"f4": [-1, 1e10]}, "n": {"i8": [[5, 6], [7, 8]]}}
{"__key__": "c", "e": {"f4": [0, 3]}, "n": {"i8": [[9, 1], [2, 3]]}}
JSON
}

@test "fields are members, in the order of their extensions" {
    stream >in <<'JSON'
{"__key__": "d/a", "__url__": "x.tar", "txt": "a caption", "jpg": {"hex": "ffd8"}, "cls": -7, "_note": "x", "scale": 0.1, "seg.png": {"bin": ""}, "": {"bin": "e"}}
{"__key__": "b", "cls": 5, "json": {"bin": "{}"}}
JSON
    clip-tar in >t.tar
    run -0 tar tf t.tar
    [ "$output" = $'d/a.\nd/a.cls\nd/a.jpg\nd/a.scale\nd/a.seg.png\nd/a.txt\nb.cls\nb.json' ]
    [ "$(tar xOf t.tar d/a.txt)" = "a caption" ]
    [ "$(tar xOf t.tar d/a.cls)" = -7 ]
    [ "$(tar xOf t.tar d/a.scale)" = 0.1 ]
    [ "$(tar xOf t.tar d/a.jpg | od -An -tx1)" = " ff d8" ]
    run -0 tar tvf t.tar --full-time --utc
    [[ ${lines[0]} =~ ^-r--r--r--\ 0/0\ +1\ 1970-01-01\ 00:00:00\ d/a\.$ ]] || complain "${lines[0]}"
    [ $(($(stat -c %s t.tar) % 512)) -eq 0 ]
}

@test "tar, untar, tar: the same samples and the same bytes" {
    local long=$(printf 'x%.0s' {1..95})
    stream >in <<JSON
{"__key__": "a", "cls": {"bin": "1"}, "jpg": {"hex": "00ff"}}
{"__key__": "$long/$long/$long", "jpg": {"bin": "long"}}
{"__key__": "$long/$long", "jpg": {"bin": "prefix"}}
{"__key__": "$long.d/$long", "a.b": {"bin": "prefix"}}
{"__key__": "é/猫", "jpg": {"bin": "UTF-8"}, "ü": {"bin": ""}}
{"__key__": "./x//y", "txt": {"bin": ""}}
JSON
    clip-tar in >1.tar
    clip-untar 1.tar >out
    clip-tar out >2.tar
    cmp 1.tar 2.tar
    equal <(clip-dump --values in) <(clip-dump --values out | sed 's/"__url__":"1.tar",//')
    equal <(tar tf 1.tar --quoting-style=literal) <(tar tf 2.tar --quoting-style=literal)
    [ "$(tar xPOf 1.tar "$long/$long/$long.jpg")" = long ]
    [ "$(tar xPOf 1.tar "$long/$long.jpg")" = prefix ]
}

@test "names of every length around ustar's limits are read back, by GNU tar and by us" {
    local n names=()
    for n in {92..104} {150..160} {245..262}; do
        names+=("$(printf 'x%.0s' $(seq $((n / 2))))/$(printf 'y%.0s' $(seq $((n - n / 2 - 5))))")
    done
    printf '{"__key__": "%s", "txt": {"bin": "1"}}\n' "${names[@]}" | stream | clip-tar >t.tar
    diff <(printf '%s\n' "${names[@]}") <(clip-untar t.tar | clip-dump --keys)
    diff <(printf '%s.txt\n' "${names[@]}") <(tar tf t.tar)
}

@test "keys that lead out of the folder of an extraction are refused" {
    local key
    for key in /etc/x // ../x a/../x a/b/../../../x; do
        echo '{"__key__": "'"$key"'", "txt": {"bin": "x"}}' | stream >in
        run -1 --separate-stderr clip-tar in
        [ "$stderr" = "clip-tar: in: sample $key: a member '$key.txt' would be extracted elsewhere: absolute names, and '..' in them, are refused" ]
        clip-tar --skip-bad in >t.tar 2>/dev/null
        run -0 tar tf t.tar
        [ -z "$output" ]
    done
}

@test "WebDataset's rule: what would be read back as something else is refused" {
    local record
    while read -r record; do
        echo "$record" | stream >in
        run -1 --separate-stderr clip-tar in
        one_line
        [[ $stderr == "clip-tar: in: sample "*": "* ]] || complain "$stderr"
        run -0 --separate-stderr bash -c 'clip-tar --skip-bad in | clip-untar | clip-dump --keys'
        [ -z "$output" ] || complain "$record"
    done <<'JSON'
{"__key__": "v1.2", "jpg": {"bin": "x"}}
{"__key__": ".a", "jpg": {"bin": "x"}}
{"__key__": "", "jpg": {"bin": "x"}}
{"__key__": "a/", "jpg": {"bin": "x"}, "x/y": {"bin": "x"}}
{"__key__": "a", "JPG": {"bin": "x"}}
{"__key__": "a", "x/y": {"bin": "x"}}
{"__key__": "__a__/b", "jpg": {"bin": "x"}}
{"__key__": "a\u0000b", "jpg": {"bin": "x"}}
{"__key__": "a", "_jpg": {"bin": "x"}}
{"__key__": "a", "x": null}
{"__key__": "a", "x": [1]}
{"__key__": "a", "x": {"f4": [1]}, "x.npy": {"bin": "x"}}
JSON
}

@test "two records of one key, one after the other, are refused" {
    stream >in <<'JSON'
{"__key__": "a", "jpg": {"bin": "x"}}
{"__key__": "a", "txt": {"bin": "y"}}
{"__key__": "b", "txt": {"bin": "z"}}
JSON
    run -1 --separate-stderr clip-tar in
    [[ $stderr == "clip-tar: in: sample a: the record before it has the same key"* ]]
    run -0 --separate-stderr bash -c 'clip-tar --skip-bad in | tar t'
    [ "$output" = $'a.jpg\nb.txt' ]
    [[ ${stderr_lines[1]} == "clip-tar: 1 bad records skipped" ]]
}

@test "a cut input makes a cut archive, or none" {
    embeddings | head -c -12 >cut
    run -1 bash -c 'clip-tar cut >t.tar'
    run -1 --separate-stderr clip-untar t.tar
    [[ $stderr == *"no end-of-archive blocks" ]]
    run -1 --separate-stderr clip-tar -o u.tar cut
    one_line
    run -1 --separate-stderr clip-tar --npy e -o e.npy --keys k cut
    run -1 --separate-stderr clip-tar --npy e cut
    [ -z "$output" ]
    run ls u.tar* e.npy* k k.*
    [ "${#lines[@]}" -eq 4 ] || complain "left behind: $output" # four times "cannot access"
}

@test "-o FILE is what standard output would get" {
    embeddings >in
    clip-tar -o t.tar in
    clip-tar <in | cmp - t.tar
    clip-tar --npy e -o e.npy in
    clip-tar --npy e <in | cmp - e.npy
    clip-tar --npy e in >f.npy
    cmp e.npy f.npy
    run -1 --separate-stderr clip-tar -o nosuch/t.tar in
    one_line
}

@test "-o NAME of a FIFO writes into it, of a link into what it means: neither is replaced" {
    local options
    embeddings >in
    mkfifo fifo
    ln -s target.tar link.tar
    for options in "" "--npy e"; do
        clip-tar $options in >whole
        cat fifo >through &
        clip-tar $options -o fifo in
        wait $!
        cmp whole through
        [ -p fifo ]
        : >target.tar
        clip-tar $options -o link.tar in
        cmp whole target.tar
        [ -L link.tar ]
    done
    mkdir folder
    run -1 --separate-stderr clip-tar -o folder in
    [ "$stderr" = "clip-tar: folder: Is a directory" ]
    [ -z "$(compgen -G '*.??????')" ] # no temporary file is left
}

@test "tensors are .npy members that NumPy reads, to the byte what it writes" {
    need_python numpy
    embeddings | clip-tar >t.tar
    [ "$(tar tf t.tar | head -2)" = $'a/1.e.npy\na/1.n.npy' ]
    python -c '
import io, tarfile, numpy
t = tarfile.open("t.tar")
read = lambda name: t.extractfile(name).read()
for name, want in (("a/1.e.npy", numpy.array([1, 0.5], "<f4")), ("a/1.n.npy", numpy.array([[1, 2], [3, -4]], "<i8"))):
    out = io.BytesIO()
    numpy.save(out, want)
    assert read(name) == out.getvalue(), (read(name), out.getvalue())'
}

@test "--npy writes one array of all records, --keys whose they are" {
    need_python numpy
    embeddings >in
    clip-tar --npy e -o e.npy --keys k in
    clip-tar --npy n <in >n.npy
    [ "$(cat k)" = $'a/1\nb\nc' ]
    python -c '
import io, numpy
for name, want in (("e", numpy.array([[1, 0.5], [-1, 1e10], [0, 3]], "<f4")),
                   ("n", numpy.array([[[1, 2], [3, -4]], [[5, 6], [7, 8]], [[9, 1], [2, 3]]], "<i8"))):
    out = io.BytesIO()
    numpy.save(out, want)
    assert open(name + ".npy", "rb").read() == out.getvalue(), name
    got = numpy.load(name + ".npy")
    assert got.shape == want.shape and got.dtype == want.dtype and (got == want).all()'
}

@test "--npy: a record without the field, of another shape, a stream without records" {
    stream >in <<'JSON'
{"__key__": "a", "e": {"f4": [1, 2]}}
{"__key__": "b", "e": {"f4": [1, 2, 3]}}
{"__key__": "c", "e": {"f8": [1, 2]}}
{"__key__": "d", "f": {"f4": [1, 2]}}
{"__key__": "e", "e": {"bin": "x"}}
{"__key__": "f\ng", "e": {"f4": [3, 4]}}
JSON
    run -1 --separate-stderr clip-tar --npy e in
    [ "$stderr" = "clip-tar: in: sample b: field 'e' is f4 [3], unlike the first record's" ]
    [ -z "$output" ]
    run -0 --separate-stderr clip-tar --skip-bad --npy e -o e.npy --keys k in
    [ "${stderr_lines[1]}" = "clip-tar: in: sample c: field 'e' is f8 [2], unlike the first record's (skipped)" ]
    [ "${stderr_lines[2]}" = "clip-tar: in: sample d: no field 'e' (skipped)" ]
    [ "${stderr_lines[3]}" = "clip-tar: in: sample e: field 'e' is not a tensor (skipped)" ]
    [ "${stderr_lines[5]}" = "clip-tar: 5 bad records skipped" ]
    [ "$(cat k)" = a ]
    [ "$(stat -c %s e.npy)" -eq 136 ]
    stream </dev/null >none
    run -1 --separate-stderr clip-tar --npy e -o none.npy none
    [ "$stderr" = "clip-tar: no record: an array without one has no shape" ]
    [ ! -e none.npy ]
    run -2 clip-tar --keys k in
}

@test "a full disk is seen, also where an array waits for its end" {
    embeddings >in
    run -1 --separate-stderr bash -c 'clip-tar --npy e in >/dev/full'
    one_line
    TMPDIR=$PWD/nosuch run -1 --separate-stderr clip-tar --npy e in
    one_line
}

@test "real shards: CIFAR-10 out of a tar, into one, and out again" {
    need_shared data/cifar10/test/0.tar.zst
    clip-untar -n 1000 "$SHARED/data/cifar10/test/0.tar.zst" >in
    clip-tar in >t.tar
    clip-untar t.tar | clip-tar | cmp - t.tar
    equal <(clip-untar t.tar | clip-dump --keys) <(clip-dump --keys in)
}
