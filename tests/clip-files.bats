load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
}

png=$SRC/share/samples/star.png
jpg=$SRC/share/samples/tree.jpg

# photos/: pictures under names of all kinds, and what is not a picture; the names of the pictures, sorted, in `want`.
photos() {
    mkdir -p photos/sub photos/.cache
    cp "$png" photos/a.b.png
    cp "$png" photos/a.c.png
    cp "$jpg" photos/$'two\nlines.jpg'
    cp "$jpg" 'photos/two words.jpg'
    cp "$jpg" photos/-x.jpg
    cp "$jpg" photos/$'\xff.jpg'
    cp "$jpg" photos/sub.jpg
    cp "$jpg" photos/sub-a
    cp "$png" photos/sub/wrong.jpg
    cp "$SRC/share/samples/boat.webp" photos/sub/plain
    find photos -type f -print0 | LC_ALL=C sort -z >want
    cp "$jpg" photos/.hidden.jpg
    cp "$jpg" photos/.cache/a.jpg
    echo text >photos/readme.txt
    : >photos/empty.png
    ln -s .. photos/sub/up
    ln -s sub.jpg photos/link.jpg
    ln -s nowhere photos/dangling.jpg
    mkfifo photos/fifo
}

# keys [ARGUMENT...]: the keys that clip-files writes, each ended by a NUL.
keys() {
    clip-files "$@" | python -c '
import sys, msgpack
for o in msgpack.Unpacker(sys.stdin.buffer, unicode_errors="surrogateescape", max_buffer_size=1 << 30):
    if "__key__" in o: sys.stdout.buffer.write(o["__key__"].encode("utf-8", "surrogateescape") + b"\0")'
}

@test "a record is the file, under the type of its content, with size and time" {
    need_python msgpack
    cp "$jpg" a.b.png
    touch -d @1700000000.25 a.b.png
    clip-files a.b.png >out
    [ "$(clip-dump out)" = '{"__key__":"a.b.png","jpg":{"bin":3727,"type":"jpeg","hex":"ffd8ffe000104a464946000101000001..."},"__size__":3727,"__mtime__":1700000000.25}' ]
    python -c '
import os, msgpack
record = next(iter(msgpack.Unpacker(open("out", "rb"))))
assert record["jpg"] == open("a.b.png", "rb").read()
assert record["__mtime__"] == os.stat("a.b.png").st_mtime and record["__size__"] == os.stat("a.b.png").st_size'
    cp "$png" p
    cp "$SRC/share/samples/boat.webp" w
    [ "$(clip-files p w | clip-dump | cut -d : -f 1-3 | cut -d , -f 2)" = $'"png":{"bin"\n"webp":{"bin"' ]
}

@test "a folder gives each of its pictures once, in the order of the paths, and nothing else" {
    need_python msgpack
    photos
    keys -q photos | cmp - want
    keys -q photos/ | cmp - want
    equal <(cd photos && keys -q .) <(sed -z 's/^photos/./' want)
    equal <(keys -q ./photos/sub photos/sub/plain) <(printf '%s\0' ./photos/sub/{plain,wrong.jpg} photos/sub/plain)
    run -0 --separate-stderr bash -c 'clip-files photos >out'
    [ "$stderr" = "clip-files: left out: files that are not pictures: 2, symbolic links: 3, devices and the like: 1 (-v names them)" ]
    run -0 --separate-stderr bash -c 'clip-files -v photos >out'
    [ "${stderr%$'\n'*}" = "clip-files: photos/dangling.jpg: a symbolic link (left out)
clip-files: photos/empty.png: empty (left out)
clip-files: photos/fifo: not a regular file (left out)
clip-files: photos/link.jpg: a symbolic link (left out)
clip-files: photos/readme.txt: neither JPEG, PNG nor WebP (left out)
clip-files: photos/sub/up: a symbolic link (left out)
clip-files: left out: files that are not pictures: 2, symbolic links: 3, devices and the like: 1" ]
}

@test "a list of find is read once, with and without the folders in it" {
    need_python msgpack
    photos
    rm -r photos/.cache photos/.hidden.jpg
    sort -z want >sorted
    find photos -print0 | keys -q0 | sort -z | cmp - sorted
    find photos -depth -print0 | keys -q0 | sort -z | cmp - sorted
    find photos -type f -print0 | keys -q -0 - | sort -z | cmp - sorted
    printf 'photos\n' | keys -q | cmp - want
    printf '%s\0' photos/sub/{plain,wrong.jpg} photos/a.b.png >some
    printf 'photos/sub\n\nphotos/a.b.png' | keys | cmp - some
    keys </dev/null | cmp - /dev/null
    refuses "entry 1 has a NUL byte (is the list separated by them? -0)" bash -c 'find photos -print0 | clip-files >out'
    run -1 grep -c __end__ out
    refuses "entry 1 is longer than 65536 bytes" bash -c 'seq 100000 | clip-files -0 >out'
    refuses "two words: No such file or directory" bash -c 'printf "photos/sub.jpg\ntwo words" | clip-files >out'
    [ "$(clip-dump --keys out 2>/dev/null)" = photos/sub.jpg ]
}

@test "a list that stays open is answered" {
    mkfifo list
    exec 7<>list
    clip-files <list >out 3>&- 7>&- &
    echo "$png" >&7
    for ((tries = 0; tries < 300; tries++)); do
        [ "$(stat -c %s out)" -lt 6984 ] || break
        sleep 0.1
    done
    [ "$(clip-dump --keys out 2>/dev/null)" = "$png" ]
    exec 7>&-
    wait $!
}

@test "links are followed where that is asked for, and loops end" {
    photos
    mkdir other
    cp "$png" other/o.png
    ln -s ../other photos/other
    run -0 --separate-stderr bash -c 'clip-files --follow photos | clip-dump --keys | grep -E "link|other|up"'
    [ "$output" = $'photos/link.jpg\nphotos/other/o.png' ]
    [[ $stderr == *"symbolic links: 2"* ]]
    run -0 --separate-stderr bash -c 'clip-files -v --follow photos 2>&1 >out | grep -E "up|dangling"'
    [ "$output" = "clip-files: photos/dangling.jpg: a symbolic link (left out)
clip-files: photos/sub/up: a symbolic link to a folder that it is in (left out)" ]
    [ "$(clip-files photos/link.jpg photos/other | clip-dump --keys)" = $'photos/link.jpg\nphotos/other/o.png' ]
    refuses "photos/dangling.jpg: No such file or directory" bash -c 'clip-files photos/dangling.jpg >out'
    [ "$(echo photos/link.jpg | clip-files -q --follow | clip-dump --keys)" = photos/link.jpg ]
}

@test "hidden names and patterns" {
    photos
    [ "$(clip-files -q --hidden photos | clip-dump --keys | head -n 2 | tail -n 1)" = photos/.cache/a.jpg ]
    [ "$(clip-files -q photos/.cache photos/.hidden.jpg | clip-dump --keys)" = $'photos/.cache/a.jpg\nphotos/.hidden.jpg' ]
    [ "$(clip-files -q --exclude '*.png' --exclude sub --exclude 't*' --exclude '?.jpg' photos | clip-dump --keys)" = $'photos/-x.jpg\nphotos/sub-a\nphotos/sub.jpg' ]
    [ "$(clip-files -q --exclude 'sub/pl*' --exclude '*.?.*' photos | clip-dump --keys | grep -c 'plain\|a\.')" -eq 0 ] ||
        complain "a pattern with a slash"
    [ "$(cd photos && clip-files -q --exclude '.*' --exclude 'sub/' . | clip-dump --keys | grep -c sub)" -eq 2 ]
    [ "$(find photos -name '*.png' | clip-files -q --exclude 'a.b*' | clip-dump --keys)" = photos/a.c.png ]
}

@test "--except leaves out what a stream has with the same size and time" {
    photos
    clip-files -q photos/a.b.png photos/a.c.png photos/sub | clip-preprocess -q -m things >old
    touch photos/a.c.png
    printf 'more' >>photos/sub/wrong.jpg
    touch -r photos/sub/plain photos/sub/wrong.jpg
    [ "$(clip-files -q --except old photos/a.b.png photos/a.c.png photos/sub | clip-dump --keys)" = $'photos/a.c.png\nphotos/sub/wrong.jpg' ]
    clip-files -q photos/a.c.png photos/sub >new
    run -0 --separate-stderr bash -c 'clip-files -v --except old --except new photos/a.?.png photos/sub | clip-dump --keys'
    [ -z "$output" ]
    [[ $stderr == *$'\nclip-files: unchanged: 4\n'* ]]
    clip-files -q --except - photos/sub <new >out
    printf '\x81\xa7__end__\0' | cmp - out
    head -c 100 new >cut
    refuses "cut: cut short inside an object" bash -c 'clip-files --except cut photos >out'
    [ ! -s out ]
    echo '{"__key__": "a"}' | stream >without
    run -0 --separate-stderr bash -c 'clip-files --except without photos/sub.jpg >out'
    [ "$stderr" = "clip-files: --except: 1 records have no __size__ and __mtime__, and are not compared" ]
}

@test "--except leaves out what an index has with the same size and time" {
    photos
    clip-files -q photos | clip-preprocess -q -m things | clip-encode-image -q -m things |
        clip-project-normalize -q -m things >all
    clip-index build -o x.index all
    run -0 --separate-stderr bash -c 'clip-files -v --except x.index photos | clip-dump --keys'
    [ -z "$output" ]
    [[ $stderr == *$'\nclip-files: unchanged: 10\n'* ]]
    touch photos/a.c.png
    cp "$png" photos/new.png
    [ "$(clip-files -q --except x.index/ photos | clip-dump --keys)" = $'photos/a.c.png\nphotos/new.png' ]
    # What was removed, or is there without size and time, is read; several indexes and streams may be given.
    printf 'photos/sub.jpg\0photos/\xff.jpg\0' | clip-index remove -0 x.index
    [ "$(clip-files -q --except x.index photos | clip-dump --keys | wc -l)" -eq 4 ]
    [ "$(clip-files -q --except x.index --except all photos | clip-dump --keys)" = $'photos/a.c.png\nphotos/new.png' ]
    echo '{"__key__": "photos/new.png", "image_embedding": {"f4": [1, 0]}}' | stream | clip-index build -o y.index
    run -0 --separate-stderr bash -c 'clip-files --except y.index photos/new.png | clip-dump --keys'
    [ "$output" = photos/new.png ]
    [ "$stderr" = "clip-files: --except: 1 records have no __size__ and __mtime__, and are not compared" ]
    mkdir folder
    refuses "folder: not an index" clip-files --except folder photos
    echo '{}' >x.index/index.json
    refuses "x.index/index.json: " clip-files --except x.index photos
}

@test "--except: what was rejected is counted, and named with the reason, until it changes" {
    photos
    head -c 500 "$jpg" >photos/cut.jpg
    clip-files -q photos | clip-preprocess -q --skip-bad --rejects rejects -m things >good
    run -0 --separate-stderr bash -c 'clip-files --except good --except rejects photos | clip-dump --keys'
    [ -z "$output" ]
    [[ $stderr == "clip-files: left out: files that are not pictures: 2, pictures that were rejected before: 1, "* ]]
    run -0 --separate-stderr bash -c 'clip-files -v --except good --except rejects photos | clip-dump --keys'
    [[ $stderr == *'clip-files: photos/cut.jpg: jpg: '*' (left out)'* ]]
    cp "$jpg" photos/cut.jpg
    [ "$(clip-files -q --except good --except rejects photos | clip-dump --keys)" = photos/cut.jpg ]
}

@test "--ignore-others reports files that are not pictures only where their names say that they are" {
    mkdir photos
    echo text | tee photos/{a.txt,b.JPG,c.jpeg.old,d.webp,jpg,png.d} >/dev/null
    run -0 --separate-stderr bash -c 'clip-files --ignore-others photos >out'
    [ "$stderr" = "clip-files: left out: files that are not pictures: 3 (-v names them)" ]
    run -0 --separate-stderr bash -c 'clip-files -v --ignore-others photos >out'
    [ "$(grep -c 'neither JPEG' <<<"$stderr")" -eq 6 ]
    rm photos/{b.JPG,d.webp,jpg}
    run -0 --separate-stderr bash -c 'clip-files --ignore-others photos >out'
    [ -z "$stderr" ]
}

@test "--progress: the total is what must be read" {
    photos
    clip-files -q photos/sub >old
    run -0 --separate-stderr bash -c 'clip-files --progress --except old photos 2>&1 >out'
    [[ $output == *"clip-files: 0 of 10 records, "*"clip-files: 8 records in "* ]] || complain "$output"
}

@test "what was asked for and is not there or too large ends the run, or is skipped" {
    photos
    refuses "clip-files: nowhere: No such file or directory" bash -c 'clip-files photos/sub.jpg nowhere >out'
    [ "$(clip-dump --keys out 2>/dev/null)" = photos/sub.jpg ]
    run -0 --separate-stderr bash -c 'clip-files --skip-bad nowhere photos/sub.jpg | clip-dump --keys'
    [ "$output" = photos/sub.jpg ]
    [ "$stderr" = $'clip-files: nowhere: No such file or directory (skipped)\nclip-files: 1 bad files skipped' ]
    refuses "photos/a.b.png: larger than" bash -c 'clip-files --max-record 5000 photos >out'
    [ "$(clip-files -q --skip-bad --max-record 5000 photos 2>/dev/null | clip-dump --tsv __size__ | sort -nr | head -n 1)" -lt 5000 ]
    clip-files -q --max-record 7100 photos/a.b.png | clip-dump --max-record 7100 | grep -q a.b.png
    [ "$(clip-files -q /dev/zero photos/sub | clip-dump --keys | wc -l)" -eq 2 ]
    [ "$(cat "$jpg" | clip-files /dev/stdin | clip-dump --tsv __size__)" = 3727 ]
    for words in '-0 photos' "''" '--exclude "" photos' '- -' '--except - -'; do
        run -2 --separate-stderr bash -c "clip-files $words </dev/null >out"
    done
}

@test "files and folders that cannot be read are counted" {
    [ "$(id -u)" != 0 ] || need setpriv
    photos
    chmod 000 photos/sub photos/sub.jpg
    as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --reuid 65534 --clear-groups)
    chmod 755 . && "${as[@]}" test -r photos/a.b.png || skip setpriv
    run -0 --separate-stderr bash -c '"$@" clip-files -v photos 2>&1 >out | grep Permission' - "${as[@]}"
    [ "$output" = $'clip-files: photos/sub.jpg: Permission denied (left out)\nclip-files: photos/sub: Permission denied (left out)' ]
    refuses "photos/sub.jpg: Permission denied" "${as[@]}" clip-files photos/sub.jpg
    chmod 755 photos/sub
}

@test "a folder of 5,000 pictures with odd names: records are pictures" {
    need_python msgpack
    mkdir many
    python - "$jpg" <<'END'
import os, sys
data = open(sys.argv[1], "rb").read()
for i in range(5000):
    name = [b"%d.x.jpg", b"-%d.jpg", b"%d .png", b"n\n%d", b"\xff%d.jpg", b"%d.x.png", b"d/%d..jpeg"][i % 7] % (i // 7)
    path = os.path.join(b"many", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "wb").write(data)
END
    keys many | sort -z >got
    find many -type f -print0 | sort -z | cmp - got
    [ "$(tr -cd '\0' <got | wc -c)" -eq 5000 ]
    find many -print0 | keys -0 | sort -z | cmp - got
}
