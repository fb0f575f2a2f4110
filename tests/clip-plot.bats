load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
    printf '\ta cat\ta dog\nx/1\t0.5\t-0.25\nx/2\t0.125\t1\n' >table
}

# Prints width and height of a whole PNG.
python_png='
import sys, struct
data = open(sys.argv[1], "rb").read()
assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[-8:-4] == b"IEND"
print(*struct.unpack(">II", data[16:24]))'

@test "a table becomes a PNG, an SVG, a PDF" {
    clip-plot table >a.png
    [ "$(head -c 4 a.png | od -An -tx1)" = " 89 50 4e 47" ]
    clip-plot -o b.svg table
    grep -q '<svg' b.svg
    [ "$(tail -n 1 b.svg)" = "</svg>" ]
    clip-plot -f pdf <table >c.pdf
    [ "$(head -c 5 c.pdf)" = %PDF- ]
    tail -c 6 c.pdf | grep -q EOF
}

@test "the name's ending decides, --format overrides it, another ending is refused" {
    clip-plot -o A.PNG table
    [ "$(head -c 4 A.PNG | od -An -tx1)" = " 89 50 4e 47" ]
    clip-plot -o x.dat -f svg table
    grep -q '<svg' x.dat
    run -2 --separate-stderr clip-plot -o x.gif table
    [[ $stderr == *"x.gif: the name does not end in .png, .svg or .pdf"* ]]
    [ ! -e x.gif ]
}

@test "the same table gives the same bytes" {
    clip-plot table >a.png
    clip-plot - <table >b.png
    cmp a.png b.png
}

@test "values and labels are in the figure" {
    clip-plot -f svg table >with.svg
    clip-plot -f svg --no-values table >without.svg
    [ "$(wc -c <with.svg)" -gt "$(wc -c <without.svg)" ]
    clip-plot -f svg -t Title table >title.svg
    [ "$(wc -c <title.svg)" -gt "$(wc -c <with.svg)" ]
}

@test "the figure grows with the matrix: 8 x 8 and 200 x 200" {
    need_python struct
    local n
    for n in 8 200; do
        awk -v n=$n 'BEGIN {
            for (c = 0; c < n; c++) printf "\tcolumn %d", c; print ""
            for (r = 0; r < n; r++) { printf "row %d", r; for (c = 0; c < n; c++) printf "\t%g", (r * c) % 7; print "" }
        }' >t$n
        clip-plot -o $n.png t$n
    done
    run -0 python -c "$python_png" 8.png
    [ "${output% *}" -gt 500 ]
    [ "${output% *}" -lt 1000 ]
    run -0 python -c "$python_png" 200.png
    [ "${output% *}" -gt 2400 ]
    [ "${output% *}" -lt 4000 ]
}

# refused_table REASON: the table on stdin is not drawn.
refused_table() {
    cat >t
    run -1 --separate-stderr clip-plot -o x.png t
    [ "$stderr" = "clip-plot: t: $1" ] || complain "$stderr"
}

@test "malformed tables are refused with file and line" {
    printf '' | refused_table "no rows"
    printf '\ta\tb\nr\t1\n' | refused_table "line 2: 1 cells where the first line has 2 columns"
    printf '\ta\nr\t1\t2\n' | refused_table "line 2: more cells than the first line has columns (1)"
    printf '\ta\nr\tone\n' | refused_table "line 2: 'one' is not a number"
    printf '\ta\nr\t1\nr\xff\t2\n' | refused_table "line 3: not UTF-8 text"
    printf 'cat\n' >t
    run -1 --separate-stderr clip-plot -o x.png t
    [[ $stderr == "clip-plot: t: line 1: no columns"* ]]
    [ ! -e x.png ]
}

@test "cells that are not finite numbers are drawn" {
    printf '\ta\tb\nr\tnan\tinf\n' | clip-plot >x.png
    [ -s x.png ]
}

@test "pictures go along the edge that has as many labels, or the one that is asked for" {
    need_python msgpack msgpack_numpy numpy
    python - <<'END' >three.clip
import sys, msgpack, msgpack_numpy, numpy
pack = msgpack.Packer(default=msgpack_numpy.encode, use_bin_type=True).pack
for i in range(3):
    sys.stdout.buffer.write(pack({"__key__": str(i), "image": numpy.full((3, 4, 4), 80 * i, numpy.uint8)}))
sys.stdout.buffer.write(pack({"__end__": 3}))
END
    printf '\ta\tb\tc\nr\t1\t2\t3\n' >columns
    printf '\ta\nx\t1\ny\t2\nz\t3\n' >rows
    clip-plot -f svg -i three.clip columns | grep -c '<image' | grep -qx 3
    clip-plot -f svg -i three.clip rows | grep -c '<image' | grep -qx 3
    run -1 --separate-stderr clip-plot -i three.clip --edge left columns
    [ "$stderr" = "clip-plot: three.clip: 3 pictures, but the table has 1 rows and 3 columns" ]
    run -1 --separate-stderr clip-plot -i three.clip table
    [[ $stderr == "clip-plot: three.clip: more than 2 pictures"* ]]
    head -c 40 three.clip >cut.clip
    run -1 --separate-stderr clip-plot -i cut.clip columns
    [[ $stderr == "clip-plot: cut.clip: cut short"* ]]
}

@test "pictures may be files: a tar of them is enough" {
    tar -cf - -C "$SRC/share/samples" boat.webp house.jpg star.png | clip-untar >pictures.clip
    printf '\ta\tb\tc\nr\t1\t2\t3\n' >columns
    clip-plot -f svg -i pictures.clip columns | grep -c '<image' | grep -qx 3
    stream >broken.clip <<<'{"__key__": "k", "jpg": {"bin": "no picture"}}'
    run -1 --separate-stderr clip-plot -i broken.clip columns
    [[ $stderr == "clip-plot: broken.clip: sample k: jpg: "* ]]
    stream >none.clip <<<'{"__key__": "k", "txt": "x"}'
    run -1 --separate-stderr clip-plot -i none.clip columns
    [ "$stderr" = "clip-plot: none.clip: sample k: no field 'image'" ]
}

@test "curves of a log: panels, gaps, every format" {
    awk 'BEGIN { for (i = 1; i <= 300; i++) printf "{\"step\":%d,\"loss\":%g,\"a\":%s,\"b\":%g}\n", i, 5 / i, i % 7 ? i / 300 : "\"NaN\"", 1 }' >log
    clip-plot -c loss,a+b -t 'A run' -o x.png log
    [ "$(head -c 4 x.png | od -An -tx1)" = " 89 50 4e 47" ]
    clip-plot -c loss -f svg <log >one.svg
    clip-plot -c loss,a+b -f svg <log >two.svg
    clip-plot -c loss,a,b -f svg <log >three.svg
    height() { sed -nE '/<svg/s/.* height="([0-9]+).*/\1/p' "$1"; }
    [ "$(height two.svg)" -gt "$(height one.svg)" ]
    [ "$(height three.svg)" -gt "$(height two.svg)" ]
    head -n 1 log | clip-plot -c loss,b >one-point.png
    [ -s one-point.png ]
}

@test "curves of numbers that leave axes no room are drawn, and soon" {
    for pair in 1e16,10000000000000002 0,5e-324 5e-324,1e-323 -1e300,1e300 1,1.0000000000000002; do
        printf '{"step":%s,"loss":%s,"other":1}\n' "${pair%,*}" "${pair%,*}" "${pair#*,}" "${pair#*,}" >log
        timeout 60 clip-plot -c loss+other -f svg log >out.svg || complain "$pair"
        ! grep -i 'nan' out.svg || complain "$pair"
    done
}

@test "what is not a log, and curves that are not there" {
    printf '{"step":1,"loss":2}\nnone\n' >log
    run -1 --separate-stderr clip-plot -c loss -o x.png log
    [ "$stderr" = "clip-plot: log: line 2: not JSON: null expected at byte 1" ]
    printf '[1]\n' >log
    run -1 --separate-stderr clip-plot -c loss -o x.png log
    [ "$stderr" = "clip-plot: log: line 1: not a JSON object" ]
    printf '{"loss":1} {"loss":2}\n' >log
    run -1 --separate-stderr clip-plot -c loss -o x.png log
    [ "$stderr" = "clip-plot: log: line 1: not JSON: unexpected character at byte 11" ]
    printf '{"loss":1}\0{"loss":2}\n' >log
    run -1 --separate-stderr clip-plot -c loss -o x.png log
    [ "$stderr" = "clip-plot: log: line 1: not JSON: a zero at byte 10" ]
    printf '{"loss":1.1e300}\n' >log
    run -1 --separate-stderr clip-plot -c loss -o x.png log
    [ "$stderr" = "clip-plot: log: no line has a number 'loss'" ]
    printf '{"step":1,"loss":2}\n' >log
    run -1 --separate-stderr clip-plot -c loss+lost -o x.png log
    [ "$stderr" = "clip-plot: log: no line has a number 'lost'" ]
    run -1 clip-plot -c loss -o x.png /dev/null
    [ ! -e x.png ]
    run -2 clip-plot -c loss,,b log
    run -2 clip-plot -c '' log
    run -2 clip-plot -c loss -i log log
}

@test "a contact sheet: pictures whole, in rows, with captions or keys" {
    (cd "$SRC/share/samples" && clip-files star.png boat.webp house.jpg) >pictures
    clip-plot --sheet -f svg pictures >one
    [ "$(grep -c '<image' one)" -eq 3 ]
    width() { sed -nE '/<svg/s/.* width="([0-9]+).*/\1/p' "$1"; }
    height() { sed -nE '/<svg/s/.* height="([0-9]+).*/\1/p' "$1"; }
    [ "$(width one) $(height one)" = "528 212" ] # 2 * 16 + 3 * (160 + 8) - 8, and a line of 20
    clip-plot -s --columns 2 --size 64 -f svg pictures >two
    [ "$(width two) $(height two)" = "168 208" ]
    clip-plot -s -t title -f pdf <pictures | head -c 5 | grep -qx %PDF-
    clip-plot -s -o sheet.png pictures
    [ "$(head -c 4 sheet.png | od -An -tx1)" = " 89 50 4e 47" ]
    clip-plot -s --label __size__ -f svg pictures >sizes
    run -1 cmp -s sizes one
    clip-plot -s --label __key__ -f svg pictures | equal - one
    clip-preprocess --size 32 pictures | clip-plot -s -f svg | grep -c '<image' | grep -qx 3
    refuses "there are no pictures" bash -c "printf '\x81\xa7__end__\0' | clip-plot -s >out"
    echo '{"__key__": "k", "txt": "x"}' | stream >none
    refuses "none: sample k: no picture" bash -c 'clip-plot -s none >out'
    run -0 --separate-stderr bash -c 'clip-plot -s --skip-bad none pictures >out; cat pictures none | clip-plot -s --skip-bad -f svg | grep -c "<image"'
    [ "$output" = 3 ]
    head -c 3000 pictures >cut
    refuses "cut: cut short" clip-plot -s -o cut.png cut
    [ ! -e cut.png ]
    for words in '-s -i x' '-s -c loss' '--columns 3' '--label x' '-s --size 3' '--skip-bad'; do
        run -2 bash -c "clip-plot $words pictures >out"
    done
}

@test "more pictures than a sheet has room for are refused, with bounded memory" {
    clip-files "$SRC/share/samples/star.png" >one
    python - one <<'END' >many
import sys, msgpack
record = next(iter(msgpack.Unpacker(open("one", "rb"))))
for i in range(40): sys.stdout.buffer.write(msgpack.packb(record))
sys.stdout.buffer.write(msgpack.packb({"__end__": 40}))
END
    refuses "more than 15 pictures do not fit on a sheet of 1 columns" clip-plot -s --size 2048 --columns 1 -o x.png many
    refuses "20 pictures of 2048 pixels are too wide to draw" clip-plot -s --size 2048 --columns 20 -o x.png many
}

@test "pictures on a sheet are upright" {
    need_python numpy msgpack msgpack_numpy
    cp "$SRC/tests/data/pictures/restart.jpg" 1.jpg
    python - <<'END'
import struct
data = open("1.jpg", "rb").read()
for turn in range(2, 9):
    order = "<" if turn % 2 else ">"
    tiff = (b"II*\0" if turn % 2 else b"MM\0*") + struct.pack(order + "IH", 8, 2)
    tiff += struct.pack(order + "HHIHH", 271, 2, 1, 0, 0) + struct.pack(order + "HHIHH", 274, 3, 1, turn, 0)
    exif = b"Exif\0\0" + tiff
    open(f"{turn}.jpg", "wb").write(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
END
    for i in 1 2 3 4 5 6 7 8; do
        clip-files $i.jpg | clip-plot -s --size 64 --label none -o sheet-$i.png
    done
    clip-files sheet-?.png | clip-preprocess --size 96 >out
    python - <<'END'
import msgpack, msgpack_numpy, numpy
images = [r["image"][:, 6:70, 16:80] for r in msgpack.Unpacker(open("out", "rb"), object_hook=msgpack_numpy.decode) if "__key__" in r]
one = images[0].transpose(1, 2, 0)
assert one.std() > 10
turns = [one, one[:, ::-1], one[::-1, ::-1], one[::-1], one.transpose(1, 0, 2), numpy.rot90(one, -1),
         numpy.rot90(one, 2).transpose(1, 0, 2), numpy.rot90(one)]
for i, (image, want) in enumerate(zip(images, turns)):
    assert abs(image.transpose(1, 2, 0).astype(int) - want).max() <= 2, i + 1
END
}

@test "scripts without a font are named" {
    printf '\t\xf0\x93\x80\x80 x\t\xf0\x90\x80\x80\nr\t1\t2\n' >odd
    run -0 --separate-stderr clip-plot -o x.png odd
    [ "$stderr" = "clip-plot: no font that is installed has these scripts, which are drawn as boxes: Egyptian Hieroglyphs, Linear B" ]
    run -0 --separate-stderr clip-plot -q -o x.png odd
    [ -z "$stderr" ]
    run -0 --separate-stderr clip-plot -o x.png <<<$'\tabc é Ж\nr\t1'
    [ -z "$stderr" ]
}
