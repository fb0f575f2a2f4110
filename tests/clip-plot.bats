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

@test "malformed tables are refused with file and line" {
    printf '' >t
    run -1 --separate-stderr clip-plot -o x.png t
    [ "$stderr" = "clip-plot: t: no rows" ]
    printf '\ta\tb\nr\t1\n' >t
    run -1 --separate-stderr clip-plot -o x.png t
    [ "$stderr" = "clip-plot: t: line 2: 1 cells where the first line has 2 columns" ]
    printf '\ta\nr\t1\t2\n' >t
    run -1 --separate-stderr clip-plot -o x.png t
    [ "$stderr" = "clip-plot: t: line 2: more cells than the first line has columns (1)" ]
    printf '\ta\nr\tone\n' >t
    run -1 --separate-stderr clip-plot -o x.png t
    [ "$stderr" = "clip-plot: t: line 2: 'one' is not a number" ]
    printf '\ta\nr\t1\nr\xff\t2\n' >t
    run -1 --separate-stderr clip-plot -o x.png t
    [ "$stderr" = "clip-plot: t: line 3: not UTF-8 text" ]
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
