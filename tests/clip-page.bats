load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
}

# pictures: photos/ with pictures of awkward names, the stream pics of them, and results of two rows.
pictures() {
    mkdir photos
    cp "$SRC/share/samples/star.png" 'photos/<script>window.hit=1<.png'
    cp "$SRC/share/samples/tree.jpg" $'photos/a"b\'c&\nd\xff.jpg'
    cp "$SRC/share/samples/boat.webp" 'photos/javascript:x.webp'
    clip-files photos >pics
    stream >results <<'END'
{"__key__": "q1", "label": "<b>first</b> & \"more\"", "keys": ["photos/<script>window.hit=1<.png", "photos/javascript:x.webp", "nowhere"], "scores": {"f4": [0.75, 0.5, 0.25]}}
{"__key__": "q2", "keys": ["photos/javascript:x.webp"], "scores": {"f4": [0.125]}}
END
}

# figures FILE: the names of its pictures, in order.
figures() {
    grep -o '<figure tabindex="0" data-name="[^"]*"' "$1" | cut -d '"' -f 4
}

@test "results: a section a row, pictures as data, links to files, and all from outside escaped" {
    pictures
    clip-page -i pics -t 'A <title> & more' -o page.html results
    [ "$(figures page.html)" = 'photos/&#60;script&#62;window.hit=1&#60;.png
photos/javascript:x.webp
nowhere
photos/javascript:x.webp' ]
    grep -qx '<title>A &#60;title&#62; &#38; more</title>' page.html
    grep -qx '<h2>&#60;b&#62;first&#60;/b&#62; &#38; &#34;more&#34;</h2>' page.html
    grep -qx '<h2>q2</h2>' page.html
    [ "$(grep -o 'href="\./[^"]*"' page.html)" = 'href="./photos/%3Cscript%3Ewindow.hit%3D1%3C.png"
href="./photos/javascript%3Ax.webp"
href="./photos/javascript%3Ax.webp"' ]
    [ "$(grep -o 'src="data:image/webp;base64,' page.html | wc -l)" -eq 3 ]
    [ "$(grep -o '<span class="none">' page.html | wc -l)" -eq 1 ]
    [ "$(grep -c '<script' page.html)" -eq 1 ]
    grep -q "default-src 'none'; img-src data:" page.html
    run -1 grep -E 'src="[^d]|https?:' page.html
    [ "$(grep -o 'data-score="[^"]*"' page.html | cut -d '"' -f 2 | paste -sd ' ')" = "0.75 0.5 0.25 0.125" ]
    grep -o 'base64,[^"]*' page.html | head -n 1 | cut -d , -f 2 | base64 -d | head -c 12 | tail -c 4 | grep -qx WEBP
    equal page.html <(clip-page -i pics -t 'A <title> & more' <results)
    clip-page -t 'A <title> & more' -i - results <pics | equal - page.html
    clip-page results | grep -c '<span class="none">' | grep -qx 4
}

@test "names of bytes that are not UTF-8 find their pictures, from records and from text" {
    need_python msgpack
    pictures
    python - <<'END' >odd
import sys, msgpack
key = b"photos/a\"b'c&\nd\xff.jpg"
out = sys.stdout.buffer
out.write(b"\x83" + msgpack.packb("__key__") + msgpack.packb("q") + msgpack.packb("keys") + b"\x91\xd9" + bytes([len(key)]) + key)
out.write(msgpack.packb("scores") + msgpack.packb({b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [1], b"data": b"\0\0\x80\x3f"}))
out.write(msgpack.packb({"__end__": 1}))
END
    clip-page -i pics odd >page.html
    [ "$(figures page.html)" = 'photos/a&#34;b&#39;c&#38;↵d�.jpg' ]
    grep -q "href=\"./photos/a%22b%27c%26%0Ad%FF.jpg\"><img" page.html
    printf 'q\tphotos/a"b'"'"'c&\\nd\xef\xbf\xbd.jpg\t0.5\n' >text
    clip-page -i pics text >page.html
    [ "$(figures page.html)" = 'photos/a&#34;b&#39;c&#38;↵d�.jpg' ]
    [ "$(grep -c '<img' page.html)" -eq 1 ]
    iconv -f UTF-8 -t UTF-8 page.html >/dev/null
}

@test "JSON lines and tables are read as records are" {
    printf '%s\n' '{"__key__":"a","image_embedding":{"f4":[1,0]}}' '{"__key__":"b","image_embedding":{"f4":[0.6,0.8]}}' | stream >in
    clip-simmatrix --top 2 in in | clip-page >want
    [ "$(figures want | paste -sd ' ')" = "a b b a" ]
    clip-simmatrix --top 2 --jsonl in in | clip-page | equal - want
    clip-simmatrix --top 2 --tsv in in | clip-page | equal - want
    clip-simmatrix --top 2 --tsv in in >table && clip-page table | equal - want
}

@test "groups: what matches connect, the most alike first, each picture once" {
    printf '%s\t%s\t%s\n' a b 0.9 c d 0.95 b e 0.8 f f 1 >pairs
    clip-page --view pairs pairs >page.html
    [ "$(grep -o '<h2>[^<]*' page.html | paste -sd ' ')" = "<h2>Group 1 <h2>Group 2" ]
    [ "$(figures page.html | paste -sd ' ')" = "c d a b e" ]
    [ "$(grep -o '<b>[0-9.]*' page.html | paste -sd ' ')" = "<b>0.9500 <b>0.9500 <b>0.9000 <b>0.9000 <b>0.8000" ]
}

@test "classes: a section each, the least sure first, with what else it may be" {
    cat >lines <<'END'
{"key": "1", "matches": [{"key": "1", "label": "dog", "score": 0.9}, {"key": "2", "label": "<cat>", "score": 0.1}]}
{"key": "2", "matches": [{"key": "2", "label": "<cat>", "score": 0.6}, {"key": "1", "label": "dog", "score": 0.4}]}
{"key": "3", "matches": [{"key": "1", "label": "dog", "score": 0.7}, {"key": "2", "label": "<cat>", "score": 0.3}]}
{"key": "4", "matches": []}
END
    clip-page --view classes lines >page.html
    [ "$(grep -o '<h2>[^<]*' page.html | paste -sd ' ')" = "<h2>&#60;cat&#62; <h2>dog" ]
    [ "$(figures page.html | paste -sd ' ')" = "2 3 1" ]
    [ "$(grep -c '<i> or &#60;cat&#62;</i>' page.html)" -eq 2 ]
}

@test "an evaluation: confusion, recall, the worst mistakes" {
    mkdir saved
    printf '{"__key__": "%s"}\n' 0 1 2 | stream >saved/classes.clip
    printf '{"__key__": "p%s"}\n' 0 1 2 3 4 | stream >saved/pictures.clip
    printf 'cat\n<dog>\nowl\n' >names
    {
        printf '0\\n\t%s\t%s\n' 0 0.9 1 0.5 2 0.1
        printf '0\t%s\t%s\n' 1 0.9 0 0.8 2 0.1
        printf '1\t%s\t%s\n' 0 0.9 1 0.5 2 0.1
        printf '\t%s\t%s\n' 0 0.9 1 0.5 2 0.1
        printf ' 2\t%s\t%s\n' 2 0.9 1 0.5 0 0.1
    } >saved/best.tsv
    clip-page --classes names saved >page.html
    grep -q '<p class="about">4 pictures, 3 classes, 50.00 % right</p>' page.html
    [ "$(figures page.html | paste -sd ' ')" = "p2 p1" ]
    [ "$(grep -o '<i>[^/]*' page.html | paste -sd ' ')" = "<i>&#60;dog&#62; taken for cat< <i>cat taken for &#60;dog&#62;<" ]
    [ "$(grep -o 'data-score="[^"]*"' page.html | paste -sd ' ')" = 'data-score="0.4" data-score="0.1"' ]
    [ "$(sed -n '/<table class="matrix">/,/<\/table>/p' page.html | grep -o '<td[^/]*/td>' | grep -oE '>[0-9]*<' | tr -d '<>' | paste -sd ,)" = ",1,1,,1,,,,,1" ]
    grep -q '<tr><td>cat</td><td class="number">2</td><td class="number">1</td><td class="number">50.00 %</td></tr>' page.html
    clip-page saved | grep -q '<tr><td>0</td><td class="number">2</td>'
    printf 'cat\ndog\n' >few
    refuses "few: 2 names, but there are 3 classes" bash -c 'clip-page --classes few saved >out'
    head -n 7 saved/best.tsv >cut
    mv cut saved/best.tsv
    refuses "saved/best.tsv: 7 lines, but there are 5 pictures of 3 lines each" bash -c 'clip-page saved >out'
    printf '9\t0\t1\n' >saved/best.tsv
    refuses "saved/best.tsv: line 1: not the number of one of 3 classes" bash -c 'clip-page saved >out'
    rm saved/best.tsv
    refuses "saved/best.tsv: No such file or directory (clip-eval --save writes it" bash -c 'clip-page saved >out'
}

@test "what is malformed is refused, and no page is left" {
    pictures
    printf 'a\tb\n' >bad
    refuses "bad: line 1: not two names and a number" clip-page -o x.html bad
    printf 'a\tb\tc\n' >bad
    refuses "bad: line 1: not two names and a number" clip-page -o x.html bad
    printf '{"key": "a", "matches": [{"label": "x"}]}\n' >bad
    refuses "bad: line 1: an object without a text 'key'" clip-page bad
    printf '{"key": "a"}\n' >bad
    refuses "bad: line 1: no array 'matches'" clip-page bad
    echo '{"__key__": "a", "scores": {"f4": [1]}}' | stream >bad
    refuses "bad: sample a: no field 'keys'" clip-page bad
    echo '{"__key__": "a", "keys": ["b", "c"], "scores": {"f4": [1]}}' | stream >bad
    refuses "bad: sample a: as many scores as keys" clip-page bad
    echo '{"__key__": "a", "keys": [1], "scores": {"f4": [1]}}' | stream >bad
    refuses "bad: sample a: field 'keys' holds what is not text" clip-page bad
    head -c 60 results >bad
    refuses "bad: cut short" clip-page -i pics -o x.html bad
    head -c 6000 pics >bad
    refuses "bad: cut short" clip-page -i bad -o x.html results
    echo '{"__key__": "photos/javascript:x.webp", "png": {"bin": "x"}}' | stream >bad
    refuses "bad: sample photos/javascript:x.webp: png: neither JPEG, PNG nor WebP" clip-page -i bad -o x.html results
    clip-page --skip-bad -i bad -o y.html results 2>err
    grep -q skipped err
    [ -e y.html ]
    [ ! -e x.html ]
    refuses "nowhere: No such file or directory" clip-page nowhere
    run -0 --separate-stderr bash -c 'clip-files "$0" | clip-page -i - results >out' "$SRC/share/samples/star.png"
    [ "$stderr" = "clip-page: - has no picture with a key of the results" ]
    for words in '-i - -' '--classes x results' 'a b' '--view none' '--thumb 5'; do
        run -2 bash -c "clip-page $words <pics >out"
    done
}

@test "a page of 1,000 pictures has less than 15 megabytes" {
    need_python msgpack
    clip-files "$SRC"/share/samples/photos/*.jpg >pics
    python - >many <<'END'
import msgpack, sys
records = [r for r in msgpack.Unpacker(open("pics", "rb")) if "__key__" in r]
out = sys.stdout.buffer
for i in range(1000): out.write(msgpack.packb({**records[i % 9], "__key__": str(i)}))
out.write(msgpack.packb({"__end__": 1000}))
END
    awk 'BEGIN { for (i = 0; i < 1000; i++) printf "query %d\t%d\t%g\n", i / 100, i, 1 - i % 100 / 100 }' >results
    clip-page -i many -o page.html results
    [ "$(grep -c '<img' page.html)" -eq 1000 ]
    [ "$(stat -c %s page.html)" -lt 15000000 ] || complain "$(stat -c %s page.html) bytes"
    command -v chromedriver >/dev/null || skip chromedriver # which quickstart does not install
    timeout 100 /usr/bin/python3 "$SRC/tests/browser.py" page.html 1000
}

@test "a browser shows the pictures, filters and sorts them, and asks for nothing else" {
    command -v chromedriver >/dev/null || skip chromedriver # which quickstart does not install
    pictures
    clip-page -i pics -o page.html results
    timeout 100 /usr/bin/python3 "$SRC/tests/browser.py" page.html 3
    run timeout 100 /usr/bin/python3 "$SRC/tests/browser.py" page.html 4 # the test sees what is missing
    [ "$status" -eq 1 ]
    printf '%s\t%s\t%s\n' 'photos/javascript:x.webp' 'photos/<script>window.hit=1<.png' 0.9 >pairs
    clip-page --view pairs -i pics -o pairs.html pairs
    timeout 100 /usr/bin/python3 "$SRC/tests/browser.py" pairs.html 2
}
