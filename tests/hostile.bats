# Input made to do harm: refused with one line, in little memory, whatever it claims.
load helper
load programs

MOST_MEMORY=100000 # kB

setup_file() {
    make_small
}

setup() {
    need_python json
    cd "$BATS_TEST_TMPDIR"
}

# measured COMMAND...: runs it with its input from ./in, and looks at its memory.
measured() {
    run --separate-stderr bash -c '"$@" <in >out' - "$BUILD/tests/tools/peak" kb "$@"
    sanitized || [ "$(cat kb)" -lt "$MOST_MEMORY" ] || complain "$(cat kb) kB: $*"
}

refused() {
    measured "$@"
    [ "$status" -eq 1 ] || complain "status $status: $*: $stderr"
    one_line
    [ "$(grep -c __end__ out)" -eq 0 ]
}

accepted() {
    measured "$@"
    [ "$status" -eq 0 ] || complain "status $status: $*: $stderr"
}

# --- shards ---

@test "a member of 10 GB, sparse or only claimed" {
    truncate -s 10G big.jpg
    tar -c --sparse -f in big.jpg
    rm big.jpg
    [ "$(stat -c %s in)" -lt 100000 ]
    refused clip-untar
    [[ $stderr == *big.jpg* ]]
    tar -c --sparse --format=pax -f in --files-from /dev/null
    echo x >a.jpg
    tar -c --format=gnu -f in a.jpg
    # The size field of the header, then its checksum for it.
    python - <<'PY'
blob = bytearray(open("in", "rb").read())
blob[124:136] = b"77777777777\0"
blob[148:156] = b" " * 8
blob[148:156] = b"%06o\0 " % sum(blob[:512])
open("in", "wb").write(blob)
PY
    refused clip-untar
    [[ $stderr == *a.jpg* ]]
}

@test "absolute names, and names with parents" {
    echo secret >target.txt
    local name
    for name in "$PWD/target.txt" ../"${PWD##*/}"/target.txt; do
        tar -c -P -f in "$name"
        refused clip-untar
        [[ $stderr == *"sample ${name%.txt}: member $name at offset 0: absolute names, and '..' in them, are refused" ]]
    done
}

@test "links: nothing outside the archive is followed or written" {
    echo secret >target.txt
    echo 1 >a.txt
    ln -s target.txt link.txt
    ln target.txt hard.txt
    tar -c -f in a.txt target.txt link.txt hard.txt
    accepted clip-untar
    run -0 clip-dump --tsv __key__,txt out
    [ "$output" = 'a	1\n
target	secret\n
hard	secret\n' ] # its bytes are in the archive
    tar --delete -f in target.txt
    accepted clip-untar
    run -0 clip-dump --keys out
    [ "$output" = a ]
    [ "$(ls -I 'separate-stderr*' | tr '\n' ' ')" = "a.txt hard.txt in kb link.txt out target.txt " ]
}

@test "an extension twice in a sample" {
    echo 1 >a.txt
    tar -c --hard-dereference -f in a.txt a.txt
    refused clip-untar
    [[ $stderr == *a* ]]
}

# --- pictures ---

picture() {
    tar -c -f tar "$@"
    clip-untar tar >in
}

@test "a PNG of 60,000 x 60,000 pixels, or without any, or whose data inflate without end" {
    python "$SRC/tests/hostile.py" pictures
    for name in wide bomb zero; do
        picture "$name.png"
        if [ "$name" = bomb ]; then
            measured clip-preprocess --size 8 # too much data is no fault of an 8 x 8 picture
        else
            refused clip-preprocess --size 8
            [[ $stderr == *"$name"* ]]
        fi
    done
}

@test "a JPEG cut in half" {
    head -c $(($(stat -c %s "$SRC/share/samples/face.jpg") / 2)) "$SRC/share/samples/face.jpg" >half.jpg
    picture half.jpg
    refused clip-preprocess --size 8
    [[ $stderr == *half* ]]
}

# --- streams ---

@test "maps, arrays and strings that claim 4 GB, and nesting 100,000 deep, in every program that reads streams" {
    local program claim
    for program in $(programs); do
        entry "$program"
        case $input in tar | table | lines | nothing | pixels) continue ;; esac
        for claim in '\xdf\xff\xff\xff\xff' '\x81\xa1k\xdd\xff\xff\xff\xff' '\x81\xa1k\xc6\xff\xff\xff\xff' \
            '\x81\xdb\xff\xff\xff\xff' '\x81\xa1k\xc9\xff\xff\xff\xff\x01'; do
            { printf "$claim" && head -c 200000 /dev/zero; } >in
            refused "$program" "${args[@]}"
        done
        { printf '\x82\xa7__key__\xa1a\xa1b' && head -c 100000 /dev/zero | tr '\0' '\221'; } >in
        refused "$program" "${args[@]}"
    done
}

# --- models ---

# model_refused PROGRAM MODEL
model_refused() {
    entry "$1"
    cp "$SMALL/$input" in
    with_model "$1" "$2"
    refused "$1" "${args[@]}"
    [[ $stderr == *"${2##*/}"* ]] || complain "$1: $stderr"
}

# Each of the models, to each program that takes one.
models_refused() {
    local program model
    for program in $(model_programs); do
        for model; do
            model_refused "$program" "$model"
        done
    done
}

# Each of the models, to clip-model and to one of the other programs, which all open models by the same function.
models_refused_in_turn() {
    local all model n=0
    mapfile -t all < <(model_programs | grep -vx clip-model)
    [ "${#all[@]}" -gt 4 ]
    for model; do
        model_refused clip-model "$model"
        model_refused "${all[n++ % ${#all[@]}]}" "$model"
    done
}

@test "a model that does not exist, is empty, a folder of nothing, or no model" {
    : >empty.safetensors
    mkdir folder
    models_refused nowhere/at/all no-such-name empty.safetensors folder /dev/null "$SRC/share/samples/face.jpg"
}

@test "safetensors whose header lies, or that are cut" {
    local weights
    weights=$(find "$SMALL/model" -name '*.safetensors')
    python "$SRC/tests/hostile.py" safetensors "$weights"
    models_refused_in_turn lie-*.safetensors
}

@test "PyTorch files whose zip lies, and pickles that would run code" {
    python "$SRC/tests/hostile.py" zips
    models_refused_in_turn lie-*.pt
    [ ! -e ran ]
}

@test "PyTorch files that are cut" {
    need_shared golden/models/vit-a
    local form size cut
    for form in openai.pt state.pt legacy.pt; do
        [ -e "$SHARED/golden/models/vit-a/$form" ] || complain "no $form"
        size=$(stat -c %s "$SHARED/golden/models/vit-a/$form")
        for cut in 1 100 $((size / 3)) $((size - 1000)) $((size - 1)); do
            head -c "$cut" "$SHARED/golden/models/vit-a/$form" >"cut-$cut-$form"
        done
    done
    models_refused_in_turn cut-*
}

@test "a model's configuration that lies" {
    local change n=0
    for change in 's/"width": *64/"width": 4294967296/' 's/"width": *64/"width": 0/' 's/"width": *64/"width": -64/' \
        's/"layers": *1/"layers": 1000000000/' 's/"patch_size": *4/"patch_size": 0/' \
        's/"image_size": *4/"image_size": 1000000000/' 's/"context_length": *8/"context_length": 4611686018427387904/' \
        's/"vocab_size": *[0-9]*/"vocab_size": 1e300/' 's/"embed_dim": *8/"embed_dim": "8"/' 's/"heads": *2/"heads": 0/' \
        's/^{/[/'; do
        n=$((n + 1))
        cp -r "$SMALL/model" "lie-$n"
        sed -i "$change" "lie-$n/open_clip_config.json"
        ! cmp -s "lie-$n/open_clip_config.json" "$SMALL/model/open_clip_config.json" || complain "$change changes nothing"
    done
    models_refused_in_turn lie-*
}
