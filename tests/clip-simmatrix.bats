load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
}

pictures() {
    stream <<'END'
{"__key__": "p1", "image_embedding": {"f4": [2, 0]}}
{"__key__": "p2", "image_embedding": {"f4": [0, 3]}}
{"__key__": "p3", "image_embedding": {"f4": [-3, 4]}}
END
}

captions() {
    stream <<'END'
{"__key__": "c1", "txt": {"bin": "a\tcat\n"}, "text_embedding": {"f4": [1, 0]}}
{"__key__": "c2", "txt": "a dog", "text_embedding": {"f4": [3, 4]}}
END
}

# numbered N FIELD [START]: N unit vectors of width 8 and some, all different.
numbered() {
    awk -v n="$1" -v field="$2" -v seed="${3:-1}" 'BEGIN {
        for (i = 0; i < n; i++) {
            printf "{\"__key__\": \"%s%d\", \"%s\": {\"f4\": [", substr(field, 1, 1), i, field
            for (d = 0; d < 24; d++) printf "%s%.6f", d ? ", " : "", sin(seed * 1000 + i * 7.3 + d * d * 1.7)
            print "]}}"
        }
    }' | stream
}

@test "cosines as a table, labels escaped" {
    pictures >a
    captions >b
    diff <(clip-simmatrix --tsv a b) <(printf '\ta\\tcat\ta dog\np1\t1\t0.6\np2\t0\t0.8\np3\t-0.6\t0.28\n')
    diff <(clip-simmatrix --tsv --label key b a) <(printf '\tp1\tp2\tp3\nc1\t1\t0\t-0.6\nc2\t0.6\t0.8\t0.28\n')
    equal <(clip-simmatrix --tsv --scale 10 - b <a) <(clip-simmatrix --tsv --scale 10 a - <b)
}

@test "--softmax without --scale: a hint, once, not with -q" {
    pictures >a
    captions >b
    run -0 --separate-stderr clip-simmatrix --tsv --softmax a b
    [ "$stderr" = "clip-simmatrix: the softmax of unscaled cosines is nearly uniform: did you mean --scale model -m MODEL?" ]
    run -0 --separate-stderr clip-simmatrix --tsv --softmax -m MODEL a b
    [ "$stderr" = "clip-simmatrix: the softmax of unscaled cosines is nearly uniform: did you mean --scale model?" ]
    for words in "-q --softmax" "--softmax --scale 1" "--scale 2" ""; do
        run -0 --separate-stderr clip-simmatrix --tsv $words a b
        [ -z "$stderr" ] || complain "$words: $stderr"
    done
}

@test "softmax is over all columns, also with --top" {
    pictures >a
    captions >b
    run -0 clip-simmatrix --tsv --label key --scale 2 --softmax a b
    [ "${lines[1]}" = "p1	0.6899745	0.31002554" ]
    run -0 clip-simmatrix --tsv --label key --scale 2 --softmax --top 1 a b
    [ "${lines[0]}" = "p1	c1	0.6899745" ]
    [ "${lines[1]}" = "p2	c2	0.8320184" ]
}

@test "the best come first, of equal ones the first" {
    captions >b
    stream >a <<'END'
{"__key__": "q", "text_embedding": {"f4": [1, 1]}}
{"__key__": "r", "text_embedding": {"f4": [1, 0]}}
END
    stream >four <<'END'
{"__key__": "w", "image_embedding": {"f4": [0, 1]}}
{"__key__": "x", "image_embedding": {"f4": [5, 0]}}
{"__key__": "y", "image_embedding": {"f4": [2, 2]}}
{"__key__": "z", "image_embedding": {"f4": [1, 0]}}
END
    [ "$(clip-simmatrix --tsv --top 3 a four | cut -f 1,2 | tr '\n\t' ' -')" = "q-y q-w q-x r-x r-z r-y " ]
    [ "$(clip-simmatrix --tsv --top 9 a four | wc -l)" -eq 8 ]
}

@test "JSON lines and records" {
    pictures >a
    captions >b
    run -0 clip-simmatrix --jsonl --top 1 a b
    [ "${lines[0]}" = '{"key": "p1", "label": "p1", "matches": [{"key": "c1", "label": "a\tcat", "score": 1}]}' ]
    run -0 bash -c 'clip-simmatrix a b | clip-dump --values'
    [ "${lines[0]}" = '{"__columns__":["c1","c2"]}' ]
    [[ ${lines[1]} == '{"__key__":"p1","scores":{"tensor":"f4","shape":[2],"values":[1,0.6'* ]]
    run -0 bash -c 'clip-simmatrix --top 1 b a | clip-dump --values'
    [[ ${lines[1]} == '{"__key__":"c2","label":"a dog","keys":["p2"],"scores":{'* ]]
}

@test "pictures against captions of one stream, together or apart" {
    stream >both <<'END'
{"__key__": "a", "image_embedding": {"f4": [1, 0]}, "text_embedding": {"f4": [0.6, 0.8]}}
{"__key__": "b", "image_embedding": {"f4": [0, 1]}, "text_embedding": {"f4": [1, 0]}}
END
    diff <(clip-simmatrix --tsv <both) <(printf '\ta\tb\na\t0.6\t1\nb\t0.8\t0\n')
    pictures >a
    captions >b
    equal <(cat a b | clip-simmatrix --tsv) <(clip-simmatrix --tsv a b)
    diff <(clip-simmatrix --tsv --rows text_embedding --columns text_embedding b) \
        <(printf '\ta\\tcat\ta dog\na\\tcat\t1\t0.6\na dog\t0.6\t1\n')
    run -1 --separate-stderr clip-simmatrix --tsv a
    [ "$stderr" = "clip-simmatrix: a: no record with field 'text_embedding'" ]
}

@test "whichever side is larger, however it is cut, on any number of threads: the same bytes" {
    numbered 700 image_embedding >large
    numbered 30 text_embedding 2 >small
    clip-simmatrix --scale 50 --softmax --jsonl -j 1 large small >one
    clip-simmatrix --scale 50 --softmax --jsonl -j 2 - small <large | cmp - one
    (head -c 30000 large && sleep 0.3 && tail -c +30001 large) | clip-simmatrix --scale 50 --softmax --jsonl - small | cmp - one
    # The larger side as columns: all of them, and the best alone, which keeps no columns. These kernels' sums depend
    # on a column's place.
    export OPENBLAS_CORETYPE=Haswell
    clip-simmatrix --scale 50 --softmax --tsv --label key small large >full
    clip-simmatrix --scale 50 --softmax --tsv --label key --top 3 small large >top
    awk -F '\t' 'NR == 1 { split($0, name) } NR > 1 {
        for (k = 0; k < 3; k++) {
            best = 0
            for (c = 2; c <= NF; c++) if ($c != "" && (!best || $c + 0 > $best + 0)) best = c
            print $1 "\t" name[best] "\t" $best
            $best = ""
        }
    }' OFS='\t' full | diff - top
    # Rows that come when 300 columns and a part of one have been read.
    mkfifo pipe
    (head -c 60000 large && sleep 0.6 && tail -c +60001 large) >pipe &
    (sleep 0.3 && cat small) | clip-simmatrix --scale 50 --softmax --tsv --label key --top 3 - pipe | cmp - top
    wait
}

@test "a row is answered before its stream ends" {
    pictures >a
    captions >b
    mkfifo pipe
    clip-simmatrix --tsv - b <pipe >out &
    exec 9>pipe
    local first
    first=$(echo '{"__key__": "p1", "image_embedding": {"f4": [2, 0]}}' | stream -n | wc -c)
    head -c "$first" a >&9
    for _ in $(seq 100); do
        [ "$(wc -l <out)" -lt 2 ] || break
        sleep 0.05
    done
    [ "$(sed -n 2p out | cut -f 1,2)" = "p1	1" ]
    tail -c +$((first + 1)) a >&9
    exec 9>&-
    wait $!
    [ "$(wc -l <out)" -eq 4 ]
}

@test "bad records: named, and with --skip-bad left out" {
    captions >b
    stream >bad <<'END'
{"__key__": "good", "image_embedding": {"f4": [1, 0]}}
{"__key__": "zero", "image_embedding": {"f4": [0, 0]}}
{"__key__": "nan", "image_embedding": {"f4": ["NaN", 0]}}
{"__key__": "wide", "image_embedding": {"f4": [1, 0, 0]}}
{"__key__": "none", "txt": "x"}
END
    run -1 --separate-stderr clip-simmatrix --tsv bad b
    [ "$stderr" = "clip-simmatrix: bad: sample zero: field 'image_embedding': a vector of length 0 cannot be normalised" ]
    [ "${lines[1]}" = "good	1	0.6" ]
    run -0 --separate-stderr clip-simmatrix --tsv --skip-bad bad b
    [ "${#lines[@]}" -eq 2 ]
    [ "${stderr_lines[2]}" = "clip-simmatrix: bad: sample wide: field 'image_embedding' has width 3, but the embeddings before it have 2 (skipped)" ]
    [ "${stderr_lines[3]}" = "clip-simmatrix: bad: sample none: no field 'image_embedding' or 'text_embedding' (skipped)" ]
    [ "${stderr_lines[4]}" = "clip-simmatrix: 4 bad records skipped" ]
}

@test "a cut input: its rows, no end object" {
    pictures >a
    captions >b
    head -c 120 a >cut
    run -1 --separate-stderr clip-simmatrix --tsv cut b
    [[ $stderr == "clip-simmatrix: cut: cut short"* ]]
    [ "${#lines[@]}" -ge 2 ]
    clip-simmatrix cut b 2>/dev/null >out || true
    [ "$(grep -c __end__ out)" = 0 ]
    run -1 --separate-stderr clip-simmatrix a cut
    [[ $stderr == "clip-simmatrix: cut: cut short"* ]]
}

@test "wrong usage" {
    run -2 --separate-stderr clip-simmatrix --scale x a b
    [ "${stderr_lines[0]}" = "clip-simmatrix: --scale: 'x' is neither a number nor 'model'" ]
    run -2 --separate-stderr clip-simmatrix --scale model a b
    [ "${stderr_lines[0]}" = "clip-simmatrix: --scale model needs a model (-m)" ]
    run -2 --separate-stderr clip-simmatrix - -
    run -2 --separate-stderr clip-simmatrix --tsv --jsonl a b
    run -2 --separate-stderr clip-simmatrix a b c
}

@test "published: the probabilities of CLIP's README, COCO's names of seven pictures" {
    need_shared golden/published/clip_png.json
    need_python json
    local p=$SHARED/golden/published
    clip-simmatrix --scale 100 --softmax --tsv "$p/clip_png.image.msgpack" "$p/clip_png.text.msgpack" >png.tsv
    clip-simmatrix --scale 100 --softmax --top 3 --tsv --label key "$p/clip_retrieval.image.msgpack" \
        "$p/coco_names.text.msgpack" >top.tsv
    python - "$p" <<'END'
import json, sys
want = json.load(open(sys.argv[1] + "/clip_png.json"))["probabilities"]
got = [float(x) for x in open("png.tsv").read().split("\n")[1].split("\t")[1:]]
assert len(got) == 3 and all(abs(a - b) < 1e-6 for a, b in zip(got, want)), (got, want)
top = json.load(open(sys.argv[1] + "/coco_names.json"))["top3"]
rows = [line.split("\t") for line in open("top.tsv").read().splitlines()]
assert len(rows) == 3 * len(top)
for key, names in top.items():
    mine = [row[1:] for row in rows if row[0] == key]
    assert [m[0] for m in mine] == [n[0] for n in names], (key, mine, names)
    assert all(abs(float(m[1]) - n[1]) < 1e-5 for m, n in zip(mine, names)), (key, mine, names)
END
}

@test "--label FIELD: text, bytes or a whole number, and nothing where there is none" {
    stream >a <<'END'
{"__key__": "1", "cls": 7, "image_embedding": {"f4": [1, 0]}}
{"__key__": "2", "cls": {"bin": "x"}, "image_embedding": {"f4": [1, 0]}}
{"__key__": "3", "image_embedding": {"f4": [1, 0]}}
END
    stream >b <<'END'
{"__key__": "c", "cls": "7", "text_embedding": {"f4": [1, 0]}}
END
    diff <(clip-simmatrix --tsv --label cls --top 1 a b) <(printf '7\t7\t1\nx\t7\t1\n\t7\t1\n')
}

@test "--bars draws probabilities in the characters of the locale" {
    pictures >a
    captions >b
    diff <(clip-simmatrix --bars --softmax --top 2 --scale 2 --label key a b | head -n 3) - <<'END'
p1
   69.00 % █████████████▊       c1
   31.00 % ██████▎              c2
END
    diff <(LC_ALL=C clip-simmatrix --bars --softmax --top 1 --scale 2 a b | head -n 2) - <<END
p1
   69.00 % ##############       a$(printf '\357\277\275')cat
END
    run -2 clip-simmatrix --bars --top 1 a b
    run -2 clip-simmatrix --bars --softmax a b
    run -2 clip-simmatrix --bars --softmax --top 1 --tsv a b
}
