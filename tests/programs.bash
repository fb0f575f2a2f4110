# What tests/programs.bats must know of each program, and the small inputs on which it runs them.

# entry PROGRAM: sets
#   input   what it reads from standard input: a file in $SMALL; the empty file "nothing" where it reads none
#   args    its arguments then
#   writes  "records": a stream, each record as soon as it can be;
#           "stream": a stream, that may come only at the end;
#           "text", "file": something else
entry() {
    input= args=() writes=
    case $1 in
    clip-average) input=embeddings args=(--by group) writes=stream ;;
    clip-batch) input=raw args=(-n 2 --schedule constant) writes=stream ;;
    clip-classify) input=nothing args=(-m "$SMALL/model" "$SMALL/picture.png" -- red) writes=text ;;
    clip-cmp) input=raw args=(- "$SMALL/raw") writes=text ;;
    clip-contrastive-step) input=embeddings args=(--scale 10) writes=text ;;
    clip-dump) input=raw writes=text ;;
    clip-encode-image) input=image args=(-m "$SMALL/model") writes=records ;;
    clip-encode-text) input=tokens args=(-m "$SMALL/model") writes=records ;;
    clip-eval) input=nothing args=(-m "$SMALL/model" -t retrieval "$SMALL/data") writes=text ;;
    clip-files) input=nothing args=("$SMALL/picture.png" "$SMALL/shard/star.png") writes=stream ;;
    clip-index) input=embeddings args=(search "$SMALL/index") writes=records ;;
    clip-model) input=lines args=(vocab --size 516) writes=file ;;
    clip-page) input=results args=(-i "$SMALL/raw") writes=text ;;
    clip-plot) input=table writes=file ;;
    clip-preprocess) input=raw args=(--size 8) writes=records ;;
    clip-project-normalize) input=features args=(-m "$SMALL/model") writes=records ;;
    clip-ranks) input=nothing args=(-n 1 clip-dump "$SMALL/raw") writes=text ;;
    clip-search) input=nothing args=(-m "$SMALL/model" -d "$SMALL/shard" red) writes=text ;;
    clip-simmatrix) input=embeddings writes=stream ;;
    clip-table) input=table args=(--caption a) writes=stream ;;
    clip-tar) input=raw writes=file ;;
    clip-tokenize) input=raw args=(-m "$SMALL/model") writes=records ;;
    clip-train)
        input=nothing writes=text
        args=(--dry-run --data "$SMALL/tar" --arch "$SMALL/arch.json" --batch 2 --out run)
        ;;
    clip-unbin) input=pixels args=(--size 2) writes=stream ;;
    clip-untar) input=tar writes=records ;;
    *) complain "tests/programs.bash has no entry for $1" ;;
    esac
}

# model_programs: those that take a model. with_model PROGRAM MODEL: sets args to how one uses it.
model_programs() {
    local program
    for program in $(programs); do
        if "$program" --help | grep -q -e ' --model MODEL'; then
            echo "$program"
        fi
    done
}
with_model() {
    case $1 in
    clip-classify) args=(-m "$2" "$SMALL/picture.png" -- red) ;;
    clip-eval) args=(-m "$2" "$SMALL/data") ;;
    clip-model) args=(info "$2") ;;
    clip-search) args=(-m "$2" -d "$SMALL/shard" red) ;;
    clip-simmatrix) args=(--scale model -m "$2") ;;
    *) args=(-m "$2") ;;
    esac
}

# records_of FILE LINE...: a stream of the records in $SMALL/FILE, and of the first alone, cut, in $SMALL/FILE.first;
# the lines themselves in $SMALL/FILE.json.
records_of() {
    local file=$1
    shift
    printf '%s\n' "$@" >"$SMALL/$file.json"
    printf '%s\n' "$@" | stream >"$SMALL/$file"
    printf '%s\n' "$1" | stream -n >"$SMALL/$file.first"
}

numbers() {
    seq -s, "$1" "$2"
}

# make_model: the folder SMALL, with a model whose numbers are those of the inputs that make_small makes.
make_model() {
    export SMALL=$BATS_FILE_TMPDIR/small
    mkdir -p "$SMALL"
    printf '%s\n' 'a small boat' 'a big boat' >"$SMALL/lines"
    cat >"$SMALL/arch.json" <<'END'
{"embed_dim": 8, "quick_gelu": true,
 "vision_cfg": {"image_size": 4, "layers": 1, "width": 64, "patch_size": 4},
 "text_cfg": {"context_length": 8, "vocab_size": 514, "width": 16, "heads": 2, "layers": 1}}
END
    clip-model vocab --size 514 -o "$SMALL/vocab" <"$SMALL/lines"
    clip-model init "$SMALL/arch.json" --seed 1 --vocab "$SMALL/vocab" -o "$SMALL/model"
}

# make_small: the model, and the inputs, of two samples each.
make_small() {
    make_model
    local red=89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de
    red+=0000000c4944415478da63f8cfc0000003010100f70341430000000049454e44ae426082
    mkdir -p "$SMALL/shard"
    records_of raw '{"__key__": "a", "txt": {"bin": "red"}, "png": {"hex": "'$red'"}}' \
        '{"__key__": "b", "txt": {"bin": "a dot"}, "png": {"hex": "'$red'"}}'
    records_of tokens '{"__key__": "a", "tokens": {"i4": [510, 7, 511, 0, 0, 0, 0, 0]}}' \
        '{"__key__": "b", "tokens": {"i4": [510, 8, 9, 511, 0, 0, 0, 0]}}'
    records_of image '{"__key__": "a", "image": {"u1": ['"$(numbers 1 48)"'], "shape": [3, 4, 4]}}' \
        '{"__key__": "b", "image": {"u1": ['"$(numbers 5 52)"'], "shape": [3, 4, 4]}}'
    records_of features '{"__key__": "a", "image_features": {"f4": ['"$(numbers 1 64)"']}}' \
        '{"__key__": "b", "text_features": {"f4": ['"$(numbers 1 16)"']}}'
    records_of embeddings \
        '{"__key__": "a", "group": "x", "image_embedding": {"f4": [1, 0]}, "text_embedding": {"f4": [0.6, 0.8]}}' \
        '{"__key__": "b", "group": "y", "image_embedding": {"f4": [0, 1]}, "text_embedding": {"f4": [0.8, 0.6]}}'
    records_of results '{"__key__": "q", "label": "red", "keys": ["a", "b"], "scores": {"f4": [0.5, 0.25]}}' \
        '{"__key__": "r", "keys": ["b"], "scores": {"f4": [0.75]}}'
    clip-index build -o "$SMALL/index" "$SMALL/embeddings"
    : >"$SMALL/nothing"
    printf '\001aaaabbbbcccc' >"$SMALL/pixels"
    mkdir -p "$SMALL/data/test"
    cp "$SRC/share/samples/star."* "$SRC/share/samples/tree."* "$SMALL/shard"
    tar -cf "$SMALL/data/test/0.tar" -C "$SMALL/shard" star.png star.txt tree.jpg tree.txt
    cp "$SRC/share/samples/star.png" "$SMALL/picture.png"
    printf '\ta\tb\nx\t0.5\t0.25\ny\t0\t1\n' >"$SMALL/table"
    echo 'a caption' >"$SMALL/shard/s1.txt"
    echo 'another caption' >"$SMALL/shard/s2.txt"
    tar -c --format=ustar -b 2 -C "$SMALL/shard" -f "$SMALL/tar" s1.txt s2.txt
    head -c 1536 "$SMALL/tar" >"$SMALL/tar.first" # up to the second sample's header
}
