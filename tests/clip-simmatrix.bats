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
    # -0.36 + 0.64: 0.28000003 where the product is not fused with the sum, as in the sanitizer build.
    fused() {
        if sanitized; then sed 's/\t0\.28000003$/\t0.28/'; else cat; fi
    }
    diff <(clip-simmatrix --tsv a b | fused) <(printf '\ta\\tcat\ta dog\np1\t1\t0.6\np2\t0\t0.8\np3\t-0.6\t0.28\n')
    diff <(clip-simmatrix --tsv --label key b a | fused) <(printf '\tp1\tp2\tp3\nc1\t1\t0\t-0.6\nc2\t0.6\t0.8\t0.28\n')
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

@test "--sigmoid: each probability by itself, in the order of scores, with --top, --min and --pairs" {
    pictures >a
    captions >b
    diff <(clip-simmatrix --tsv --label key --scale 2 --sigmoid a b) \
        <(printf '\tc1\tc2\np1\t0.8807971\t0.76852477\np2\t0.5\t0.8320184\np3\t0.2314752\t0.63645256\n')
    diff <(clip-simmatrix --tsv --label key --scale 2 --sigmoid --top 1 a b) \
        <(printf 'p1\tc1\t0.8807971\np2\tc2\t0.8320184\np3\tc2\t0.63645256\n')
    # What is compared is what is written, and a probability that is not reached is not.
    diff <(clip-simmatrix --tsv --label key --scale 2 --sigmoid --min 0.8320184 a b) <(printf 'p1\tc1\t0.8807971\np2\tc2\t0.8320184\n')
    diff <(clip-simmatrix --tsv --label key --scale 2 --sigmoid --min 0.8320185 a b) <(printf 'p1\tc1\t0.8807971\n')
    run -0 clip-simmatrix --tsv --scale 2 --sigmoid --min 1.1 a b
    [ -z "$output" ]
    [ "$(clip-simmatrix --tsv --scale 2 --sigmoid --min 0 a b | wc -l)" -eq 6 ]
    # Both are 1: the better score comes first.
    [ "$(clip-simmatrix --tsv --label key --scale 100 --sigmoid --top 2 b a | head -n 2)" = $'c1\tp1\t1\nc1\tp2\t0.5' ]
    diff <(clip-simmatrix --tsv --label key --scale 100 --sigmoid --top 1 a b | sed -n 2p) <(printf 'p2\tc2\t1\n')
    diff <(clip-simmatrix --tsv --label key --scale -100 --sigmoid --top 2 b a | head -n 1) <(printf 'c1\tp3\t1\n')
    diff <(clip-simmatrix --tsv --label key --scale 2 --sigmoid --pairs --top 1 a) <(printf 'p2\tp3\t0.8320184\n')
    diff <(clip-simmatrix --bars --sigmoid --top 1 --scale 2 --label key a b | head -n 2 | tail -n 1 | cut -c 1-11) <(printf '   88.08 %% \n')
    clip-simmatrix --scale 2 --sigmoid a b | clip-dump >dump
    grep -q 0.8807 dump
    run -2 clip-simmatrix --softmax --sigmoid a b
    run -2 clip-simmatrix --bars --sigmoid a b
    run -0 --separate-stderr clip-simmatrix --tsv --sigmoid a b
    [[ $stderr == *"the sigmoid of unscaled cosines is nearly uniform"* ]]
}

# Of scores that differ less than their probabilities in f32: the order is that of the scores.
@test "--sigmoid: probabilities that are the same number stay in the order of the scores" {
    printf '%s\n' '{"__key__": "q", "text_embedding": {"f4": [1, 0]}}' | stream >q
    printf '%s\n' '{"__key__": "far", "image_embedding": {"f4": [0.6, 0.8]}}' '{"__key__": "near", "image_embedding": {"f4": [0.8, 0.6]}}' | stream >p
    diff <(clip-simmatrix --tsv --label key --scale 90 --sigmoid --top 2 q p) <(printf 'q\tnear\t1\nq\tfar\t1\n')
    diff <(clip-simmatrix --tsv --label key --scale 90 --sigmoid --min 1 q p) <(printf 'q\tnear\t1\nq\tfar\t1\n')
}

# A scale and a bias of [1], as in Hugging Face's SigLIP folders, and of [], as in open_clip's.
@test "--sigmoid --scale model: SigLIP's probabilities, from its scale and bias; a note where there is no bias" {
    cat >arch.json <<'END'
{"preprocess_cfg": {"resize_mode": "squash"}, "model_cfg": {"embed_dim": 2, "custom_text": true, "init_logit_scale": 2, "init_logit_bias": -3,
 "vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none", "image_size": 16,
   "timm_model_kwargs": {"img_size": 16, "patch_size": 8, "embed_dim": 2, "depth": 1, "num_heads": 1}},
 "text_cfg": {"context_length": 4, "vocab_size": 9, "width": 2, "heads": 1, "layers": 1, "no_causal_mask": true, "proj_bias": true,
   "pool_type": "last", "norm_kwargs": {"eps": 1e-6}}}}
END
    clip-model init -q arch.json -o model
    clip-model convert -q --to hf model -o hf
    pictures >a
    captions >b
    for model in model hf; do
        clip-simmatrix --tsv --label key -m "$model" --scale model --sigmoid a b >got
        awk -F '\t' 'NR > 1 { split("1 0.6 0 0.8 -0.6 0.28", cosines, " ")
            for (c = 2; c <= 3; c++) {
                want = 1 / (1 + exp(3 - exp(2) * cosines[2 * (NR - 2) + c - 1]))
                if (($c - want) ^ 2 > 1e-13) exit 1
                n++
            } } END { if (n != 6) exit 1 }' got || complain "$model: $(cat got)"
    done
    sed 's/"init_logit_bias": -3,//' arch.json >plain.json
    clip-model init -q plain.json -o plain
    run -0 --separate-stderr clip-simmatrix --tsv -m plain --scale model --sigmoid a b
    [[ $stderr == *"plain: the model has no logit bias"*"--softmax"* ]]
}

# The weights of a ConvNeXt do not say its image size, and the text tower is not whole: neither is needed.
@test "--scale model needs no other tensor than the logit scale" {
    local names='{"visual.trunk.stem.0.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "token_embedding.weight":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}'
    { printf '\0\2\0\0\0\0\0\0%-512s' "$names"',"logit_scale":{"dtype":"F32","shape":[],"data_offsets":[8,12]}}' &&
        printf '\0\0\0\0\0\0\0\0\0\0\040\100'; } >lone.safetensors # 2.5
    pictures >a
    captions >b
    run -0 --separate-stderr clip-simmatrix --tsv --label key -m lone.safetensors --scale model --softmax a b
    [ -z "$stderr" ]
    equal <(printf '%s\n' "$output") <(clip-simmatrix --tsv --label key --scale 12.182493960703473 --softmax a b)
    { printf '\0\2\0\0\0\0\0\0%-512s' "$names}" && printf '\0\0\0\0\0\0\0\0'; } >lone.safetensors
    refuses "lone.safetensors: tensor logit_scale is missing" clip-simmatrix --tsv -m lone.safetensors --scale model a b
    { printf '\0\2\0\0\0\0\0\0%-512s' '{"token_embedding.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' &&
        printf '\0\0\0\0'; } >lone.safetensors
    refuses "it has only a text tower" clip-simmatrix --tsv -m lone.safetensors --scale model a b
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

@test "--min: scores from there on, best first, with --top and alone, whichever side is longer" {
    stream >a <<'END'
{"__key__": "q", "text_embedding": {"f4": [1, 0]}}
{"__key__": "r", "txt": "none", "text_embedding": {"f4": [-1, -1]}}
END
    stream >b <<'END'
{"__key__": "w", "image_embedding": {"f4": [0, 1]}}
{"__key__": "x", "image_embedding": {"f4": [3, 4]}}
{"__key__": "y", "image_embedding": {"f4": [4, 3]}}
{"__key__": "z", "txt": "last", "image_embedding": {"f4": [5, 0]}}
END
    diff <(clip-simmatrix --tsv --min 0.6 a b) <(printf 'q\tlast\t1\nq\ty\t0.8\nq\tx\t0.6\n')
    diff <(clip-simmatrix --tsv --min 0.6 --top 2 a b) <(printf 'q\tlast\t1\nq\ty\t0.8\n')
    diff <(clip-simmatrix --tsv --min 0.6 b a) <(printf 'x\tq\t0.6\ny\tq\t0.8\nlast\tq\t1\n')
    diff <(clip-simmatrix --tsv --min 6.5 --scale 10 a b) <(printf 'q\tlast\t10\nq\ty\t8\n')
    # A row of which none reaches it is there, and empty.
    run -0 clip-simmatrix --jsonl --min 0.9 a b
    [ "${lines[0]}" = '{"key": "q", "label": "q", "matches": [{"key": "z", "label": "last", "score": 1}]}' ]
    [ "${lines[1]}" = '{"key": "r", "label": "none", "matches": []}' ]
    run -0 bash -c 'clip-simmatrix --min 0.9 a b | clip-dump --values'
    [[ ${lines[1]} == '{"__key__":"r","label":"none","keys":[],"scores":{"tensor":"f4","shape":[0],'* ]]
    # What is compared with X is what is printed: here probabilities, over all columns.
    diff <(clip-simmatrix -q --tsv --softmax --scale 2 --min 0.3 a b) \
        <(clip-simmatrix -q --tsv --softmax --scale 2 --top 4 a b | awk -F '\t' '$3 >= 0.3')
    diff <(clip-simmatrix -q --tsv --softmax --scale 2 --min 0.3 a b) \
        <(clip-simmatrix -q --tsv --softmax --scale 2 --min 0.3 --top 4 a b)
}

@test "--min: all that the whole matrix has, in streams of many tiles" {
    numbered 700 image_embedding >large
    numbered 30 text_embedding 2 >small
    clip-simmatrix --tsv --label key small large |
        awk -F '\t' 'NR == 1 { split($0, name) } NR > 1 { for (c = 2; c <= NF; c++) if ($c >= 0.5) print $1 "\t" name[c] "\t" $c }' \
            >want
    [ "$(wc -l <want)" -gt 100 ]
    clip-simmatrix --tsv --label key --min 0.5 small large >got
    sort got >sorted
    sort want | diff sorted -
    awk -F '\t' '$1 == row && $3 > score { exit 1 } { row = $1; score = $3 }' got
    clip-simmatrix --tsv --label key --min 0.5 -j 1 - large <small | cmp - got
    mkfifo pipe
    (head -c 60000 large && sleep 0.3 && tail -c +60001 large) >pipe &
    clip-simmatrix --tsv --label key --min 0.5 small pipe | cmp - got
    wait
    clip-simmatrix --tsv --label key --min 0.5 --top 5 small large |
        diff - <(awk -F '\t' '$1 != row { n = 0 } { row = $1 } n++ < 5' got)
}

@test "--pairs: each pair once, none with itself, best first" {
    stream >a <<'END'
{"__key__": "p", "image_embedding": {"f4": [1, 0]}}
{"__key__": "q", "txt": "the second", "image_embedding": {"f4": [3, 4]}}
{"__key__": "r", "text_embedding": {"f4": [2, 0]}}
{"__key__": "s", "image_embedding": {"f4": [0, 1]}}
END
    printf 'p\tr\t1\nthe second\ts\t0.8\np\tthe second\t0.6\nthe second\tr\t0.6\np\ts\t0\nr\ts\t0\n' >want
    diff <(clip-simmatrix --pairs --tsv a) want
    head -n 3 want | diff <(clip-simmatrix --pairs --tsv --top 3 <a) -
    head -n 4 want | diff <(clip-simmatrix --pairs --tsv --min 0.6 a) -
    head -n 1 want | diff <(clip-simmatrix --pairs --tsv --min 0.6 --top 1 a) -
    diff <(clip-simmatrix --pairs --tsv --min 5 --scale 10 a) <(printf 'p\tr\t10\nthe second\ts\t8\np\tthe second\t6\nthe second\tr\t6\n')
    run -0 clip-simmatrix --pairs --jsonl --top 1 a
    [ "$output" = '{"key": "p", "label": "p", "matches": [{"key": "r", "label": "r", "score": 1}]}' ]
    run -0 bash -c 'clip-simmatrix --pairs --min 0.7 a | clip-dump --values'
    [ "${lines[1]}" = '{"__key__":"q","label":"the second","keys":["s"],"scores":{"tensor":"f4","shape":[1],"values":[0.8]}}' ]
    # One embedding has no pair.
    echo '{"__key__": "p", "image_embedding": {"f4": [1, 0]}}' | stream >one
    run -0 clip-simmatrix --pairs --tsv one
    [ -z "$output" ]
}

@test "--pairs: those of the whole matrix, across tiles and threads" {
    numbered 700 image_embedding >large
    clip-simmatrix --tsv --label key --columns image_embedding large large | awk -F '\t' 'NR == 1 { split($0, name) }
        NR > 1 { for (c = NR + 1; c <= NF; c++) if ($c >= 0.7) print $1 "\t" name[c] "\t" $c }' >want
    [ "$(wc -l <want)" -gt 1000 ]
    clip-simmatrix --pairs --tsv --label key --min 0.7 large >got
    sort got >sorted
    sort want | diff sorted -
    sort -s -c -t "$(printf '\t')" -k 3,3gr got
    head -n 100 got | cmp <(clip-simmatrix --pairs --tsv --label key --top 100 -j 1 large) -
}

@test "all pairs of more than fits into memory go through a temporary file" {
    numbered 1800 image_embedding >large
    mkdir tmp
    TMPDIR=$PWD/tmp clip-simmatrix --pairs --tsv --label key large >all
    [ "$(wc -l <all)" -eq $((1800 * 1799 / 2)) ]
    sort -s -c -t "$(printf '\t')" -k 3,3gr all
    head -n 1000000 all | cmp <(clip-simmatrix --pairs --tsv --label key --top 1000000 large) -
    head -n 1000 all | cmp <(clip-simmatrix --pairs --tsv --label key --top 1000 large) -
    [ -z "$(ls tmp)" ]
    refuses 'none' env TMPDIR="$PWD/none" clip-simmatrix --pairs --tsv large
}

@test "wrong usage of --min and --pairs" {
    pictures >a
    captions >b
    run -2 --separate-stderr clip-simmatrix --min x a b
    [ "${stderr_lines[0]}" = "clip-simmatrix: --min: 'x' is not a number" ]
    run -2 --separate-stderr clip-simmatrix --min nan a b
    run -2 --separate-stderr clip-simmatrix --pairs a b
    [ "${stderr_lines[0]}" = "clip-simmatrix: --pairs takes one stream" ]
    run -2 --separate-stderr clip-simmatrix --pairs --softmax a
    [ "${stderr_lines[0]}" = "clip-simmatrix: --pairs and --softmax are mutually exclusive" ]
    run -2 --separate-stderr clip-simmatrix --pairs --columns x a
    [ "${stderr_lines[0]}" = "clip-simmatrix: --pairs has no columns: use --rows" ]
    refuses "a: sample p1: no field 'other'" clip-simmatrix --pairs --rows other a
}

@test "a cosine is the same number wherever its two embeddings stand" {
    numbered 700 image_embedding >large
    numbered 30 text_embedding 2 >small
    clip-simmatrix --tsv --label key small large >full
    clip-simmatrix --tsv --label key large small >turned
    awk -F '\t' 'NR == FNR { for (c = 1; c <= NF; c++) cell[FNR "," c] = $c; next }
        { for (c = 1; c <= NF; c++) if (cell[c "," FNR] != $c) { print FNR, c, $c; exit 1 } }' full turned
    clip-simmatrix --tsv --label key --min -1 small large | sort >all
    awk -F '\t' 'NR == 1 { split($0, name) } NR > 1 { for (c = 2; c <= NF; c++) print $1 "\t" name[c] "\t" $c }' full |
        sort | cmp - all
}
