load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
}

# Two shards: 0.tar holds a (jpg, txt) and b (jpg); 1.tar holds c (jpg) and d/e (cls).
shards() {
    mkdir -p files/d
    echo 'a picture' >files/a.jpg
    echo 'a caption' >files/a.txt
    echo 'another' >files/b.jpg
    echo 'a third' >files/c.jpg
    echo 7 >files/d/e.cls
    tar cf 0.tar -C files a.jpg a.txt b.jpg
    tar cf 1.tar -C files c.jpg d/e.cls
}

# keys [ARGUMENT...]: the keys that clip-untar writes, in one line.
keys() {
    clip-untar "$@" | clip-dump --keys | paste -sd ' '
}

# What WebDataset would show of a stream: a line of JSON a sample, with the MD5 sums of the fields.
digest() {
    python -c '
import sys, json, hashlib, msgpack
count = 0
for o in msgpack.Unpacker(sys.stdin.buffer, raw=False, unicode_errors="surrogateescape"):
    if "__key__" not in o:
        assert o == {"__end__": count}
        continue
    count += 1
    fields = {k: hashlib.md5(v).hexdigest() for k, v in o.items() if k not in ("__key__", "__url__")}
    print(json.dumps({"key": o["__key__"], "fields": fields}))'
}

@test "a sample is a record: key, shard, members in their order" {
    shards
    clip-untar 0.tar >out
    run -0 clip-dump out
    [ "${lines[0]}" = '{"__key__":"a","__url__":"0.tar","jpg":{"bin":10,"text":"a picture\n"},"txt":{"bin":10,"text":"a caption\n"}}' ]
    [ "${lines[1]}" = '{"__key__":"b","__url__":"0.tar","jpg":{"bin":8,"text":"another\n"}}' ]
    [ "${#lines[@]}" -eq 2 ]
    run -0 bash -c 'clip-untar - <1.tar | clip-dump'
    [ "${lines[1]}" = '{"__key__":"d/e","__url__":"-","cls":{"bin":2,"text":"7\n"}}' ]
    equal <(clip-untar <1.tar) <(clip-untar - <1.tar)
}

@test "the golden shards give what WebDataset gives, or an error" {
    need_shared golden/shards/expected.jsonl
    need_python msgpack json
    local golden=$SHARED/golden/shards line file wanted tested=0
    while read -r line; do
        file=$(python -c 'import sys, json; print(json.loads(sys.argv[1])["file"])' "$line")
        wanted=$(python -c '
import sys, json
o = json.loads(sys.argv[1])
if "error" in o or o.get("ours") == "error": print("error")
else: [print(json.dumps(s)) for s in o["samples"]]' "$line")
        tested=$((tested + 1))
        if [ "$file" = two.tar ]; then # what WebDataset does not read is an error, after what it does
            run -1 --separate-stderr bash -c 'clip-untar "$1" >out' - "$golden/$file"
            one_line
            [ "$(grep -v '^$' <(python -c '
import sys, hashlib, json, msgpack
for o in msgpack.Unpacker(open("out", "rb"), raw=False):
    fields = {k: hashlib.md5(v).hexdigest() for k, v in o.items() if k not in ("__key__", "__url__")}
    print(json.dumps({"key": o["__key__"], "fields": fields}))'))" = "$wanted" ]
        elif [ "$wanted" = error ]; then
            run -1 --separate-stderr clip-untar "$golden/$file"
            [[ $stderr == "clip-untar: $golden/$file: "* ]]
            one_line
        else
            clip-untar -q "$golden/$file" >out
            [ "$(digest <out)" = "$wanted" ] || complain "$file: $(digest <out)"
        fi
    done <"$golden/expected.jsonl"
    [ "$tested" -eq "$(ls "$golden" | grep -vc expected)" ]
}

@test "what the rule passes over" {
    mkdir -p f/d.d f/__m__
    (cd f && touch a.jpg .hidden README __meta__ __meta__.json __m__/x.jpg d.d/x.TXT && ln a.jpg b.jpg && ln -s a.jpg c.jpg)
    tar cf t.tar -C f a.jpg b.jpg c.jpg .hidden README __meta__ __meta__.json __m__/x.jpg d.d
    run -0 --separate-stderr bash -c 'clip-untar t.tar | clip-dump'
    [ "${lines[0]}" = '{"__key__":"a","__url__":"t.tar","jpg":{"bin":0,"text":""}}' ]
    [ "${lines[1]}" = '{"__key__":"b","__url__":"t.tar","jpg":{"bin":0,"text":""}}' ] # a hard link
    [ "${lines[2]}" = '{"__key__":"__meta__","__url__":"t.tar","json":{"bin":0,"text":""}}' ]
    [ "${lines[3]}" = '{"__key__":"d.d/x","__url__":"t.tar","txt":{"bin":0,"text":""}}' ]
    [ "${#lines[@]}" -eq 4 ]
    [ "$stderr" = "clip-untar: left out: symbolic links: 1" ]
    run -0 --separate-stderr bash -c 'clip-untar -q t.tar >out'
    [ -z "$stderr" ]
}

@test "every form of tar, long names too" {
    local long=$(printf 'x%.0s' {1..90}) format
    mkdir -p "f/$long/$long"
    echo 1 >"f/$long/$long/é.jpg"
    for format in gnu oldgnu posix pax; do
        tar -c --format=$format -C f -f t.tar "$long/$long/é.jpg"
        [ "$(keys t.tar)" = "$long/$long/é" ] || complain "$format"
    done
    echo 1 >f/a.jpg
    for format in v7 ustar; do
        tar -c --format=$format -C f -f t.tar a.jpg
        [ "$(keys t.tar)" = a ] || complain "$format"
    done
}

@test "a name that is not UTF-8 stays the bytes it is" {
    need_python msgpack
    touch $'\xff\xe9.jpg'
    tar cf t.tar *.jpg
    [ "$(clip-untar t.tar | digest)" = '{"key": "\udcff\udce9", "fields": {"jpg": "d41d8cd98f00b204e9800998ecf8427e"}}' ]
}

@test "lists and braces are understood when the shell did not expand them" {
    shards
    [ "$(keys 0.tar 1.tar)" = "a b c d/e" ]
    [ "$(keys '{0..1}.tar')" = "a b c d/e" ]
    [ "$(keys '{1,0}.tar')" = "c d/e a b" ]
    [ "$(keys '1.tar::{0..1}.tar')" = "c d/e a b c d/e" ]
    cp 0.tar 000.tar
    cp 1.tar 001.tar
    [ "$(keys '{000..001}.tar')" = "a b c d/e" ]
    cp 1.tar 'x{0,1}::y.tar'
    [ "$(keys 'x{0,1}::y.tar')" = "c d/e" ]
    [ "$(keys 0.tar::- <1.tar)" = "a b c d/e" ]
    run -2 --separate-stderr clip-untar '{0..1.tar'
    [ "${stderr_lines[0]}" = 'clip-untar: {0..1.tar: unbalanced braces' ]
    run -1 --separate-stderr clip-untar '{0..2}.tar'
    [ "$stderr" = 'clip-untar: 2.tar: No such file or directory' ]
}

@test "compressed shards, whatever they are called" {
    shards
    local program tried=0
    clip-untar 0.tar >whole
    mkdir packed
    for program in gzip bzip2 xz zstd lz4 'xz --format=lzma' compress; do
        command -v ${program%% *} >/dev/null || continue
        $program -c <0.tar >packed/0.tar
        (cd packed && clip-untar 0.tar) | cmp - whole || complain "$program"
        for cut in 1 9 40; do
            head -c -$cut packed/0.tar >cut.tar
            run -1 --separate-stderr clip-untar cut.tar
            one_line
            [[ $stderr == "clip-untar: cut.tar: "*offset* || $stderr == *"after the end"* ]] || complain "$program: $stderr"
        done
        tried=$((tried + 1))
    done
    [ "$tried" -ge 3 ]
}

@test "compressed in pieces, as parallel compressors do" {
    shards
    local program
    clip-untar 0.tar >whole
    mkdir packed
    for program in gzip bzip2 xz zstd; do
        command -v $program >/dev/null || continue
        { head -c 1300 0.tar | $program -c && tail -c +1301 0.tar | $program -c; } >packed/0.tar
        (cd packed && clip-untar 0.tar) | cmp - whole || complain "$program"
    done
}

@test "a damaged checksum of compressed data is seen, though it comes after the archive" {
    shards
    need xz
    xz -c --check=crc64 0.tar >0.tar.xz # the index, of 4 + 12 bytes before the end, has a checksum of its own
    printf '\xde\xad\xbe\xef' | dd of=0.tar.xz bs=1 seek=$(($(stat -c %s 0.tar.xz) - 16)) conv=notrunc status=none
    run -1 --separate-stderr clip-untar 0.tar.xz
    one_line
}

@test "slices are every n-th shard and together the whole" {
    local i
    for i in {0..6}; do
        echo $i >s$i.cls
        tar cf $i.tar s$i.cls
    done
    [ "$(keys --slice 1/3 {0..6}.tar)" = "s0 s3 s6" ]
    [ "$(keys --slice 3/3 '{0..6}.tar')" = "s2 s5" ]
    [ "$(keys --slice 1/1 '{0..6}.tar')" = "s0 s1 s2 s3 s4 s5 s6" ]
    run -0 --separate-stderr clip-untar --slice 8/8 '{0..6}.tar'
    [ "$stderr" = "clip-untar: slice 8/8 of 7 shards is empty" ]
    local bad
    for bad in 0/2 3/2 1 /2 1/ -1/2 1/2x ' 1/2' 1/0; do
        run -2 clip-untar --slice "$bad" 0.tar
    done
    run -2 clip-untar --slice 1/2 </dev/null
}

@test "-n stops after so many samples, and waits for no more" {
    shards
    [ "$(keys -n 3 0.tar 1.tar)" = "a b c" ]
    [ "$(keys -n 9 0.tar 1.tar)" = "a b c d/e" ]
    clip-untar -n 0 0.tar >none
    run -0 clip-dump --keys none
    [ -z "$output" ]
    [ "$(keys -n 2 0.tar nosuch.tar)" = "a b" ]
}

@test "--only keeps these members; nothing at all is an error" {
    shards
    run -0 bash -c 'clip-untar --only TXT,cls 0.tar 1.tar 2>err | clip-dump'
    [ "${lines[0]}" = '{"__key__":"a","__url__":"0.tar","txt":{"bin":10,"text":"a caption\n"}}' ]
    [ "${lines[1]}" = '{"__key__":"d/e","__url__":"1.tar","cls":{"bin":2,"text":"7\n"}}' ]
    [ "${#lines[@]}" -eq 2 ]
    [ "$(cat err)" = "clip-untar: 2 samples had none of 'TXT,cls'" ]
    run -1 --separate-stderr clip-untar --only png 0.tar
    [ "$stderr" = "clip-untar: --only: no sample has a member 'png'" ]
}

@test "an archive without members is an empty stream" {
    tar cf t.tar -T /dev/null
    run -0 --separate-stderr bash -c 'clip-untar t.tar | od -An -tx1 | tr -d " "'
    [ "$output" = 81a75f5f656e645f5f00 ]
}

@test "cut at every block, it is an error that names shard, member and offset" {
    shards
    tar -b 2 -cf t.tar -C files a.jpg a.txt b.jpg c.jpg
    local size=$(stat -c %s t.tar) cut
    [ "$size" -eq 5120 ]
    for ((cut = 512; cut < size; cut += 512)); do
        head -c $cut t.tar >cut.tar
        run -1 --separate-stderr bash -c 'clip-untar cut.tar | { clip-dump --keys 2>/dev/null; :; }; exit ${PIPESTATUS[0]}'
        one_line
        [[ $stderr =~ ^"clip-untar: cut.tar: ".*member\ [abc]\.(jpg|txt)\ at\ offset\ [0-9]+ ]] || complain "$cut: $stderr"
        case $output in
        '') [ $cut -le 2048 ] ;;
        a) ((cut > 2048 && cut <= 3072)) ;;
        $'a\nb') [ $cut -gt 3072 ] ;;
        *) complain "$cut: $output" ;;
        esac
    done
    head -c 700 t.tar >cut.tar
    run -1 --separate-stderr clip-untar cut.tar
    [ "$stderr" = "clip-untar: cut.tar: member a.jpg at offset 0: cut short (324 bytes are missing)" ]
    [ -z "$output" ]
    head -c 3072 t.tar >cut.tar
    run -1 --separate-stderr clip-untar cut.tar
    [ "$stderr" = "clip-untar: cut.tar: at offset 3072, after member b.jpg at offset 2048: cut short: no end-of-archive blocks" ]
}

@test "a damaged header ends the shard" {
    shards
    printf x | dd of=0.tar bs=1 seek=1050 conv=notrunc status=none
    run -1 --separate-stderr clip-untar 0.tar
    [ "$stderr" = "clip-untar: 0.tar: at offset 1024, after member a.jpg at offset 0: no header of a member, or a damaged one" ]
}

@test "--skip-bad goes on with the next sample, and the next shard" {
    shards
    tar cf dup.tar -C files a.jpg b.jpg --transform s/c.jpg/b.JPG/ c.jpg a.txt
    head -c 2000 1.tar >cut.tar
    run -1 --separate-stderr clip-untar dup.tar
    [ "$stderr" = "clip-untar: dup.tar: sample b: member b.JPG at offset 2048: extension 'jpg' occurs twice" ]
    run -0 --separate-stderr bash -c 'clip-untar --skip-bad dup.tar nosuch.tar cut.tar 1.tar | clip-dump --keys'
    [ "$output" = $'a\na\nc\nc\nd/e' ]
    [ "${stderr_lines[0]}" = "clip-untar: dup.tar: sample b: member b.JPG at offset 2048: extension 'jpg' occurs twice (skipped)" ]
    [ "${stderr_lines[1]}" = "clip-untar: nosuch.tar: No such file or directory (the rest of the shard is skipped)" ]
    [ "${stderr_lines[2]}" = "clip-untar: cut.tar: member d/e.cls at offset 1024: cut short (48 bytes are missing) (the rest of the shard is skipped)" ]
    [ "${stderr_lines[3]}" = "clip-untar: 1 bad samples and 2 bad shards skipped" ]
    [ "${#stderr_lines[@]}" -eq 4 ]
}

@test "hostile members: absolute paths and parents are refused; links out, a name of nothing but slashes are not samples" {
    need_python tarfile
    python -c '
import tarfile, io
t = tarfile.open("t.tar", "w")
for name, kind, link in (("z.txt", b"2", "/etc/passwd"), ("h.txt", b"1", "/etc/passwd"), ("///", b"0", ""),
                         ("c.txt", b"3", ""), ("/etc/x.txt", b"0", ""), ("/etc/x.jpg", b"0", ""),
                         ("../../y.txt", b"0", ""), ("a/../y.txt", b"0", ""), ("..a/b../c.txt", b"0", "")):
    m = tarfile.TarInfo(name)
    m.type, m.linkname, m.size = kind, link, 2 if kind == b"0" else 0
    t.addfile(m, io.BytesIO(b"hi"))
t.close()'
    run -1 --separate-stderr clip-untar t.tar
    [ "$stderr" = "clip-untar: t.tar: sample /etc/x: member /etc/x.txt at offset 2560: absolute names, and '..' in them, are refused" ]
    run -0 --separate-stderr bash -c 'clip-untar --skip-bad t.tar >out'
    [ "${#stderr_lines[@]}" -eq 5 ] # and how many
    [ "${stderr_lines[3]}" = "clip-untar: left out: symbolic links: 1, hard links to no earlier member: 1, devices and other special members: 1" ]
    [ "$(clip-dump --keys out)" = "..a/b../c" ]
    [ "$(ls -I 'separate-*' | tr '\n' ' ')" = "out t.tar " ]
}

@test "a sparse member of 10 GB is refused by name, in little memory" {
    truncate -s 10G big.bin
    echo 1 >ok.txt
    local format
    for format in gnu posix; do
        tar -c --format=$format -S -f t.tar big.bin ok.txt
        [ "$(stat -c %s t.tar)" -lt 20000 ]
        run -1 --separate-stderr "$BUILD/tests/tools/peak" kb clip-untar t.tar
        [ "$stderr" = "clip-untar: t.tar: sample big: member big.bin at offset 0: 10737418240 bytes (at most 67108864, see --max-member)" ]
        sanitized || [ "$(cat kb)" -lt 20000 ]
        [ "$(keys --skip-bad t.tar 2>/dev/null)" = ok ]
    done
}

@test "memory does not grow with what compressed data claims or holds" {
    sanitized && skip memory
    truncate -s 300M hole
    echo 1 >a.txt
    tar -c -f - hole a.txt | gzip -1 >bomb.tar.gz
    run -0 --separate-stderr "$BUILD/tests/tools/peak" kb clip-untar bomb.tar.gz
    [ "$(cat kb)" -lt 20000 ]
    mv hole hole.bin
    tar -c -f - hole.bin | gzip -1 >bomb.tar.gz
    run -1 --separate-stderr "$BUILD/tests/tools/peak" kb clip-untar bomb.tar.gz
    [[ $stderr == *"314572800 bytes (at most"* ]]
    [ "$(cat kb)" -lt 20000 ]
}

@test "a record over --max-record, a member over --max-member" {
    shards
    run -1 --separate-stderr clip-untar --max-record 40 0.tar
    [[ $stderr == *"a sample of more than 40 bytes (see --max-record)" ]]
    run -1 --separate-stderr clip-untar --max-member 9 0.tar
    [ "$stderr" = "clip-untar: 0.tar: sample a: member a.jpg at offset 0: 10 bytes (at most 9, see --max-member)" ]
}

@test "what follows the end of an archive is an error, after its samples; --ignore-zeros reads on" {
    shards
    local form at=10240
    cat 0.tar 1.tar >two.tar
    for form in 'clip-untar two.tar' 'clip-untar <two.tar' 'cat two.tar | clip-untar' 'gzip -c two.tar | clip-untar' \
        'cat <(gzip -c 0.tar) <(gzip -c 1.tar) | clip-untar' 'cat 0.tar <(echo text) | clip-untar'; do
        run -1 --separate-stderr bash -c "set -o pipefail; $form >out"
        [[ $stderr == "clip-untar: "*": data follows the end of the archive, at offset $at (if it is another archive, --ignore-zeros reads it)" ]] ||
            complain "$form: $stderr"
        one_line
        run -1 --separate-stderr clip-dump --keys out # without an end object
        [ "$output" = $'a\nb' ]
        [[ $form != *text* ]] || continue
        [ "$(bash -c "${form//clip-untar/clip-untar --ignore-zeros}" | clip-dump --keys | paste -sd ' ')" = "a b c d/e" ]
    done
    run -1 --separate-stderr clip-untar --shuffle 1 two.tar
    [[ $stderr == "clip-untar: two.tar: data follows the end of the archive, at offset 10240 "* ]]
    [ "$(clip-untar -i --shuffle 1 two.tar | clip-dump --keys | sort | paste -sd ' ')" = "a b c d/e" ]
    run -0 --separate-stderr bash -c 'clip-untar --skip-bad two.tar 1.tar | clip-dump --keys'
    [ "$output" = $'a\nb\nc\nd/e' ]
    [ "${stderr_lines[1]}" = "clip-untar: 0 bad samples and 1 bad shards skipped" ]
    # Zeros are padding, also of no whole block; a last archive that is cut is not whole.
    cat 0.tar <(head -c 5000 /dev/zero) >padded.tar
    [ "$(keys padded.tar)" = "a b" ]
    [ "$(keys -i padded.tar)" = "a b" ]
    [ "$(keys -i 0.tar)" = "a b" ]
    cat padded.tar 1.tar >both.tar # a header must begin at a whole block
    run -1 clip-untar -i both.tar
    head -c $((10240 + 2048)) two.tar >cut.tar
    run -1 --separate-stderr clip-untar -i cut.tar
    [ "$stderr" = "clip-untar: cut.tar: at offset 12288, after member d/e.cls at offset 11264: cut short: no end-of-archive blocks" ]
    head -c 1500 two.tar >cut.tar
    run -1 clip-untar -i cut.tar
    tar cf none.tar -T /dev/null
    [ "$(keys -i <(cat none.tar 0.tar none.tar))" = "a b" ]
}

# linked DIR: DIR/t.tar with hard links near and far, by long names, to a link's name, over a sample's border.
linked() {
    local long=$(printf 'x%.0s' {1..90}) i
    mkdir -p "$1/$long"
    (
        cd "$1"
        for i in 1 2 3; do head -c 100$i /dev/urandom >$i.jpg; done
        cp 2.jpg "$long/a.jpg"
        ln 1.jpg 4.jpg
        ln 1.jpg 5.txt
        ln 3.jpg 2.png
        ln "$long/a.jpg" "$long/b.jpg"
        ln "$long/a.jpg" c.jpg
        tar -c --format="${2:-gnu}" -f t.tar 1.jpg 2.jpg 3.jpg 4.jpg 5.txt 2.png "$long/a.jpg" "$long/b.jpg" c.jpg
    )
}

@test "hard links are the bytes of the member they are to: files, pipes, compressed, shuffled, loose" {
    need_python msgpack
    local format how
    for format in gnu posix ustar; do
        rm -rf d
        linked d $format
        [ "$(tar tvf d/t.tar | grep -c ' link to ')" -eq 5 ]
        # The same members, each with its own bytes.
        tar -c --hard-dereference --format=$format -C d -f plain.tar $(tar tf d/t.tar)
        [ "$(tar tvf plain.tar | grep -c ' link to ')" -eq 0 ]
        clip-untar plain.tar | digest | sort >want
        for how in 'clip-untar d/t.tar' 'clip-untar <d/t.tar' 'cat d/t.tar | clip-untar' 'gzip -c d/t.tar | clip-untar' \
            'clip-untar -q --shuffle 1 d/t.tar' 'clip-untar -q --shuffle 1 <d/t.tar' 'cat d/t.tar | clip-untar --shuffle 1 --shuffle-buffer 3'; do
            eval "$how" | python -c '
import sys, msgpack
for o in msgpack.Unpacker(sys.stdin.buffer, raw=False):
    o.pop("__epoch__", None)
    sys.stdout.buffer.write(msgpack.packb(o))' >got.clip
            digest <got.clip | sort | diff - want || complain "$format: $how"
        done
        equal <(clip-untar --loose x plain.tar | digest) <(clip-untar --loose x d/t.tar | digest)
        equal <(clip-untar --only jpg plain.tar | digest) <(clip-untar --only jpg d/t.tar | digest)
        equal <(clip-untar -q --only png plain.tar | digest) <(cat d/t.tar | clip-untar -q --only png | digest)
    done
}

@test "hard links in many shuffled shards, limits, links to later members" {
    local i
    mkdir f
    for i in $(seq 70); do
        echo "$i" >f/$i.txt
        ln f/$i.txt f/$i.cls
        tar -c -f $i.tar -C f $i.txt $i.cls
    done
    clip-untar --shuffle 1 --epochs 2 {1..70}.tar | clip-dump --tsv __key__,txt,cls |
        awk '$1 "\\n" != $2 || $2 != $3 { exit failed = 1 } END { exit failed || NR != 140 }'
    echo 'a long line' >f/a.txt
    ln f/a.txt f/b.txt
    tar -cf t.tar -C f a.txt b.txt
    run -1 --separate-stderr clip-untar --max-member 11 t.tar
    [[ $stderr == *"sample a: "*"12 bytes (at most 11, see --max-member)" ]]
    clip-untar --max-member 11 --skip-bad t.tar 2>err | clip-dump >/dev/null
    [ "$(grep -c 'skipped' err)" -eq 3 ]
    tar -cf late.tar -C f 1.txt a.txt b.txt
    tar --delete -f late.tar a.txt
    run -0 --separate-stderr bash -c 'clip-untar late.tar | clip-dump --keys'
    [[ $stderr == "clip-untar: left out: hard links to no earlier member: 1" && $output == 1 ]]
    tar -rf late.tar -C f a.txt # too late
    run -0 --separate-stderr bash -c 'clip-untar late.tar | clip-dump --keys'
    [[ $stderr == "clip-untar: left out: hard links to no earlier member: 1" && $output == $'1\na' ]]
}

@test "a hard link through a pipe to a member that is no longer kept is an error that says so" {
    mkdir f
    head -c 100 /dev/urandom >f/a.bin
    ln f/a.bin f/z.bin
    for i in 1 2 3; do head -c 3500000 /dev/zero >f/m$i.bin; done
    tar -cf t.tar -C f a.bin m1.bin m2.bin m3.bin z.bin
    [ "$(keys t.tar)" = "a m1 m2 m3 z" ]
    run -1 --separate-stderr bash -c 'cat t.tar | clip-untar >out'
    [ "$stderr" = "clip-untar: standard input: sample z: member z.bin at offset 10502656: a hard link to a.bin, which is not among the last members that are kept of a pipe or a compressed archive: decompress it into a file" ]
    tar -cf near.tar -C f a.bin m1.bin z.bin
    [ "$(cat near.tar | keys)" = "a m1 z" ]
    cat t.tar | "$BUILD/tests/tools/peak" kb clip-untar --skip-bad >/dev/null 2>&1
    sanitized || [ "$(cat kb)" -lt 30000 ]
}

@test "a shard with members and no sample is an error; one without members is not" {
    mkdir -p f/d
    echo 1 >f/README
    ln -s nowhere f/a.jpg
    mkfifo f/p.jpg
    tar cf t.tar -C f a.jpg p.jpg
    run -1 --separate-stderr clip-untar t.tar
    [ "$stderr" = "clip-untar: t.tar: members, but no sample (symbolic links: 1, devices and other special members: 1)" ]
    run -1 --separate-stderr clip-untar --shuffle 1 t.tar
    [ "$stderr" = "clip-untar: t.tar: members, but no sample (symbolic links: 1, devices and other special members: 1)" ]
    tar cf t.tar -C f a.jpg README
    run -1 --separate-stderr clip-untar t.tar
    [ "$stderr" = "clip-untar: t.tar: members, but no sample (names that are not KEY.EXTENSION: 1, symbolic links: 1)" ]
    mv f g
    shards
    [ "$(keys --skip-bad t.tar 0.tar 2>err)" = "a b" ]
    grep -q "t.tar: members, but no sample" err
    tar cf t.tar -C g d
    run -0 keys t.tar
    [ -z "$output" ]
}

@test "members of a sample that lie apart are said, and how to order them" {
    local i
    mkdir f
    for i in 1 2 3; do echo $i >f/$i.jpg && echo $i >f/$i.txt; done
    tar cf apart.tar -C f 1.jpg 2.jpg 3.jpg 1.txt 2.txt 3.txt
    local note="apart.tar: sample 2 occurs in several places, each a sample of its own: the members of a sample must be adjacent (tar --sort=name orders them)"
    for i in "" "--shuffle 1 --epochs 2" "--shuffle 1 --shuffle-buffer 2"; do
        run -0 --separate-stderr bash -c "clip-untar $i apart.tar >out"
        [ "$stderr" = "clip-untar: $note" ] || complain "$stderr"
    done
    run -1 --separate-stderr bash -c 'clip-untar -q apart.tar | clip-tokenize >out'
    [ "$stderr" = "clip-tokenize: apart.tar: sample 1: no field 'txt' (the members of a sample must be adjacent in a shard: tar --sort=name orders them)" ]
    run -1 --separate-stderr bash -c 'clip-untar -q --only txt apart.tar | clip-preprocess -s 9 >out'
    [[ $stderr == *": no picture: "*" (the members of a sample must be adjacent in a shard: tar --sort=name orders them)" ]]
    tar --sort=name -cf t.tar -C f .
    run -0 --separate-stderr bash -c 'clip-untar t.tar t.tar >out' # the same keys in two shards
    [ -z "$stderr" ]
}

@test "all of CIFAR-10's test set: 10,000 samples in order, the same from stdin and from two slices" {
    need_shared data/cifar10/test/0.tar.zst
    need zstd
    cd "$SHARED/data/cifar10/test"
    local all=$(clip-untar '{0..3}.tar.zst' | clip-dump --keys | md5sum) i
    [ "$(clip-untar '{0..3}.tar.zst' | clip-dump --keys | wc -l)" -eq 10000 ]
    [ "$(for i in {0..3}; do zstdcat $i.tar.zst | tar t; done | sed -n 's/\.webp$//p' | md5sum)" = "$all" ]
    [ "$(for i in {0..3}; do clip-untar <$i.tar.zst | clip-dump --keys; done | md5sum)" = "$all" ]
    [ "$(for i in {0..3}; do zstdcat $i.tar.zst | clip-untar | clip-dump --keys; done | md5sum)" = "$all" ]
    equal <(cat <(clip-untar --slice 1/2 *.tar.zst) <(clip-untar --slice 2/2 *.tar.zst) | clip-dump --keys | sort) \
        <(clip-untar *.tar.zst | clip-dump --keys | sort)
}

@test "--loose: each member is a sample, its whole name the key" {
    mkdir d
    for name in d/a.b.jpg d/a.png d/.hidden d/plain; do echo "$name" >"$name"; done
    run -0 bash -c 'tar -cf - d/a.b.jpg d/a.png d/.hidden d/plain | clip-untar --loose jpg | clip-dump --tsv __key__,jpg,png'
    [ "$output" = 'd/a.b.jpg	d/a.b.jpg\n	
d/a.png	d/a.png\n	
d/.hidden	d/.hidden\n	
d/plain	d/plain\n	' ]
    run -2 clip-untar --loose jpg --only jpg
    run -2 clip-untar --loose ''
}

# many N: shards 0.tar … 3.tar of N samples (jpg, cls) each, the keys their numbers; a long name and a big member too.
many() {
    local shard i long
    mkdir many
    for shard in 0 1 2 3; do
        for ((i = shard * $1; i < (shard + 1) * $1; i++)); do
            echo "picture $i" >many/$i.jpg
            echo "$i" >many/$i.cls
        done
        head -c 100000 /dev/urandom >many/$((shard * $1)).jpg
        long=$(printf 'x%.0s' {1..150})
        mv many/$((shard * $1 + 1)).jpg many/$long$shard.jpg
        mv many/$((shard * $1 + 1)).cls many/$long$shard.cls
        (cd many && ls -v | tar cf ../$shard.tar -T -)
        rm many/*
    done
}

# sorted STREAM...: the records of streams, a line each, without their epoch, sorted.
sorted() {
    clip-dump --values "$@" | sed 's/,"__epoch__":[0-9]*//' | sort
}

# epoch E STREAM: the keys of an epoch, in order.
epoch() {
    clip-dump "$2" | grep "\"__epoch__\":$1[,}]" | sed 's/{"__key__":"\([^"]*\)".*/\1/'
}

@test "--shuffle: each epoch is every sample once, in an order of its own" {
    many 25
    clip-untar {0..3}.tar >plain
    clip-untar --shuffle 7 --epochs 3 {0..3}.tar >shuffled
    cat plain plain plain >thrice
    equal <(sorted thrice) <(sorted shuffled)
    for e in 1 2 3; do
        epoch $e shuffled >keys.$e
        [ "$(sort -u keys.$e | wc -l)" -eq 100 ]
    done
    [ "$(cat keys.? | paste - - - - | sort -u | wc -l)" -eq 75 ] # no run of four occurs twice
    clip-untar --shuffle 7 --epochs 3 {0..3}.tar | cmp - shuffled
    clip-untar --shuffle 7 {0..3}.tar >first
    cmp <(epoch 1 first) keys.1
    clip-untar --shuffle 8 {0..3}.tar >other
    differ <(epoch 1 other) keys.1
    clip-untar --shuffle 7 --epochs 3 -n 150 {0..3}.tar >part
    equal <(clip-dump --keys part) <(clip-dump --keys shuffled | head -n 150)
    # All places are as likely for a sample: over 200 seeds the mean place of the first one is in the middle.
    for seed in {1..200}; do
        clip-untar --shuffle $seed --only cls 1.tar | clip-dump --keys | grep -n '^25$' | cut -d : -f 1
    done | awk '{ sum += $1; seen[$1] = 1 } END { mean = sum / NR; exit !(mean > 11.5 && mean < 14.5 && length(seen) == 25) }'
}

@test "--shuffle with --slice and --only" {
    many 5
    for i in 1 2; do
        clip-untar --shuffle 3 --slice $i/2 --only cls {0..3}.tar >slice.$i
    done
    clip-untar --only cls {0..3}.tar >plain
    equal <(sorted plain) <(sorted slice.1 slice.2)
    shards
    run -0 --separate-stderr bash -c 'clip-untar --shuffle 1 --epochs 2 --only cls 0.tar 1.tar | clip-dump --keys'
    [ "$output" = $'d/e\nd/e' ]
    [ "$stderr" = "clip-untar: 3 samples had none of 'cls'" ] || complain "$stderr"
}

@test "--epochs without --shuffle: the shards again, in order" {
    shards
    clip-untar --epochs 2 0.tar 1.tar >twice
    run -0 clip-dump twice
    [ "${#lines[@]}" -eq 8 ]
    [[ ${lines[0]} == '{"__key__":"a",'*',"__epoch__":1}' && ${lines[7]} == '{"__key__":"d/e",'*',"__epoch__":2}' ]]
    clip-untar 0.tar 1.tar >once
    equal <(sorted twice) <(cat once once | sorted -)
    run -2 --separate-stderr clip-untar --epochs 2 - <0.tar
    [ "${stderr_lines[0]}" = "clip-untar: --epochs: standard input comes only once" ]
}

@test "--shuffle reads what can be read in any order, and says what to do with the rest" {
    shards
    gzip -k 0.tar
    run -1 --separate-stderr clip-untar --shuffle 1 1.tar 0.tar.gz
    [ "$stderr" = "clip-untar: 0.tar.gz: compressed, so it cannot be read in another order (decompress it, as by zstd -d, or see --shuffle-buffer)" ] ||
        complain "$stderr"
    run -1 --separate-stderr bash -c 'cat 0.tar | clip-untar --shuffle 1'
    [ "$stderr" = "clip-untar: -: not a file, so it cannot be read in another order (see --shuffle-buffer)" ] || complain "$stderr"
    clip-untar --shuffle 1 <0.tar >out # a file after all
    equal <(clip-untar <0.tar | sorted -) <(sorted out)
    run -2 clip-untar --shuffle-buffer 2 0.tar
}

@test "--shuffle names what is cut or bad before the first sample" {
    shards
    head -c 1300 1.tar >cut.tar
    run -1 --separate-stderr clip-untar --shuffle 1 0.tar cut.tar
    [ "$stderr" = "clip-untar: cut.tar: at offset 1024, after member c.jpg at offset 0: cut short inside a header" ] ||
        complain "$stderr"
    [ -z "$output" ]
    cp files/a.jpg files/A.JPG
    tar rf 0.tar -C files --transform 's/A.JPG/b.JPG/' A.JPG
    run -1 --separate-stderr clip-untar --shuffle 1 0.tar
    [[ $stderr == "clip-untar: 0.tar: sample b: member b.JPG at offset "*": extension 'jpg' occurs twice" ]] || complain "$stderr"
    run -0 --separate-stderr bash -c 'clip-untar --shuffle 1 --epochs 2 --skip-bad 0.tar cut.tar none.tar | clip-dump --keys | sort | paste -sd " "'
    [ "$output" = "a a" ] || complain "$output"
    [ "${stderr_lines[-1]}" = "clip-untar: 1 bad samples and 2 bad shards skipped" ] || complain "$stderr"
}

@test "--shuffle-buffer: every sample once an epoch, of compressed shards and pipes too" {
    many 25
    clip-untar {0..3}.tar >plain
    clip-untar --shuffle 7 --shuffle-buffer 10 --epochs 2 {0..3}.tar >shuffled
    equal <(sorted shuffled) <(cat plain plain | sorted -)
    gzip -k {0..3}.tar
    clip-untar --shuffle 7 --shuffle-buffer 10 --epochs 2 {0..3}.tar.gz >zipped
    equal <(clip-dump --keys shuffled) <(clip-dump --keys zipped)
    differ <(epoch 1 shuffled) <(epoch 2 shuffled)
    cat 0.tar | clip-untar --shuffle 7 --shuffle-buffer 10 | clip-dump --keys >piped
    clip-untar 0.tar | clip-dump --keys >plain
    equal <(sort plain) <(sort piped)
    run -1 cmp plain piped
    # Nothing comes more than its place in the buffer too early.
    awk 'NR == FNR { place[$0] = FNR; next } place[$0] > FNR + 10 { exit 1 }' plain piped
    equal <(cat 0.tar | clip-untar --shuffle 7 --shuffle-buffer 1000 | clip-dump --keys | sort) <(sort plain)
    equal <(cat 0.tar | clip-untar --shuffle 7 --shuffle-buffer 10 -n 3 | clip-dump --keys) <(head -n 3 piped)
}

# npy NAME EXPRESSION: NumPy's file of an array, of which the rest are numpy.lib.format's options.
npy() {
    python -c '
import sys, numpy
array = eval(sys.argv[2], {"numpy": numpy, "a": numpy.arange(24).reshape(2, 3, 4)})
version = tuple(map(int, sys.argv[3].split("."))) if len(sys.argv) > 3 else None
with open(sys.argv[1], "wb") as f:
    numpy.lib.format.write_array(f, numpy.asanyarray(array), version)' "$@"
}

@test "NumPy's arrays become tensors: every type, both orders, any shape" {
    need_python numpy msgpack_numpy
    local type
    for type in '|b1' '|i1' '|u1' '<i2' '<u2' '<i4' '<u4' '<i8' '<u8' '<f2' '<f4' '<f8'; do
        npy "k.c${type:1}.npy" "(a - 7).astype('$type')"
        npy "k.big${type:1}.npy" "(a - 7).astype('$type').astype('>${type:1}')"
        npy "k.f${type:1}.npy" "numpy.asfortranarray((a - 7).astype('$type'))"
    done
    npy k.zero.npy 'numpy.float32(5)'
    npy k.none.npy 'numpy.zeros((2, 0, 3), "f4")'
    npy k.npy 'numpy.array([1, 2, 3], "u1")' 3.0
    npy k.two.npy 'numpy.array([1, 2, 3], "u1")' 2.0
    echo 'no array' >k.other.npy
    tar --sort=name -cf t.tar k.*
    for how in 'clip-untar t.tar' 'cat t.tar | clip-untar' 'clip-untar -q --shuffle 1 t.tar'; do
        eval "$how" >out
        python - <<'END'
import msgpack, msgpack_numpy, numpy
record = next(msgpack.Unpacker(open("out", "rb"), object_hook=msgpack_numpy.decode))
for type in "b1 i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8".split():
    want = (numpy.arange(24).reshape(2, 3, 4) - 7).astype(type)
    for order in "c", "big", "f":
        got = record[order + type]
        assert got.dtype == want.dtype and got.shape == (2, 3, 4) and (got == want).all(), (order, type, got)
assert record["zero"] == 5 and record["zero"].shape == () and record["none"].shape == (2, 0, 3)
assert list(record["npy"]) == list(record["two"]) == [1, 2, 3]
assert record["other.npy"] == b"no array\n" and len(record) in (12 * 3 + 7, 12 * 3 + 8)
END
    done
    [ "$(clip-untar --only cu1 t.tar | clip-dump | grep -o '"[a-z0-9]*":{"tensor"')" = '"cu1":{"tensor"' ]
    [ "$(clip-untar --only cu1.npy t.tar | clip-dump | grep -o '"[a-z0-9]*":{"tensor"')" = '"cu1":{"tensor"' ]
    [ "$(clip-untar --only npy t.tar | clip-dump | grep -o '"[a-z0-9]*":{"tensor"')" = '"npy":{"tensor"' ]
}

@test "NumPy's arrays that no tensor can be, or that are cut, are bad samples" {
    need_python numpy
    local row
    while IFS='|' read -r row why; do
        npy k.x.npy "$row"
        tar cf t.tar k.x.npy
        run -1 --separate-stderr clip-untar t.tar
        [ "$stderr" = "clip-untar: t.tar: sample k: member k.x.npy at offset 0: $why" ] || complain "$stderr"
    done <<'END'
numpy.zeros(2, 'c8')|an array of type '<c8', which is not supported
numpy.array(['text'])|an array of type '<U4', which is not supported
numpy.array([1, 'x', None], object)|an array of type '|O', which is not supported
numpy.zeros(2, [('a', 'f4')])|an array of structures, which is not supported
numpy.zeros((1,) * 9, 'u1')|an array of more than 8 dimensions
END
    npy whole 'a.astype("f4")'
    local cut
    for cut in 6 9 11 60 128 200 223; do
        head -c $cut whole >k.x.npy
        tar cf t.tar k.x.npy
        run -1 --separate-stderr clip-untar t.tar
        [[ $stderr == "clip-untar: t.tar: sample k: member k.x.npy at offset 0: a .npy file that is cut"* ]] || complain "$cut: $stderr"
    done
    cat whole - <<<more >k.x.npy
    tar cf t.tar k.x.npy
    run -1 --separate-stderr clip-untar t.tar
    [[ $stderr == *"a .npy file that is cut, or too long: its array does not take 101 bytes" ]]
    : >k.x.npy
    tar cf t.tar k.x.npy
    run -1 --separate-stderr clip-untar t.tar
    [[ $stderr == *"member k.x.npy at offset 0: an empty .npy file" ]]
    cp whole k.x
    cp whole k.x.npy
    tar cf t.tar k.x k.x.npy
    run -1 --separate-stderr clip-untar t.tar
    [[ $stderr == *"member k.x.npy at offset 1024: extension 'x' occurs twice" ]]
}

@test "clip-tar and back: tensors are what they were, and feed the next programs" {
    need_python msgpack_numpy numpy
    python - >in <<'END'
import sys, msgpack, msgpack_numpy, numpy
rng = numpy.random.default_rng(1)
out = sys.stdout.buffer
for i in range(3):
    fields = {t: (100 * rng.random((2, 3))).astype(t) for t in "b1 i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8".split()}
    out.write(msgpack.packb({"__key__": f"k{i}", "image": rng.integers(0, 256, (3, 4, 4), "u1"), **fields,
                             "text_embedding": rng.random(4).astype("f4")}, default=msgpack_numpy.encode))
out.write(msgpack.packb({"__end__": 3}))
END
    clip-tar in | clip-untar >out
    clip-cmp --fields "$(printf '%s,' image b1 i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8)text_embedding" in out
    clip-tar in >a.tar
    clip-tar out >b.tar
    cmp a.tar b.tar
    clip-simmatrix --tsv --rows text_embedding --columns text_embedding out in >got
    clip-simmatrix --tsv --rows text_embedding --columns text_embedding in in | diff - got
}

@test "a sample with several pictures is reported once" {
    mkdir -p d
    cp "$SRC/share/samples/star.png" d/a.1.png
    cp d/a.1.png d/a.2.png
    cp d/a.1.png d/b.1.png
    cp d/a.1.png d/b.2.PNG
    cp d/a.1.png d/c.png
    echo text >d/c.seg.txt
    tar -cf t.tar --sort=name d
    for how in 'clip-untar t.tar' 'clip-untar -t t.tar' 'clip-untar --shuffle 3 --epochs 2 t.tar'; do
        run -0 --separate-stderr bash -c "$how >out"
        one_line
        [[ $stderr == "clip-untar: t.tar: sample d/"[ab]": holds 2 pictures, of which programs use one: "*clip-files* ]]
    done
    run -0 --separate-stderr bash -c 'clip-untar -q t.tar >out; clip-untar --only 1.png t.tar >out; clip-untar --loose png t.tar >out'
    [ "$stderr" = "clip-untar: 1 samples had none of '1.png'" ]
}
