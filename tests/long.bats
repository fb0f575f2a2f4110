# What takes minutes; `make check-long` runs it. Memory does not grow with the input: 1,000 and 100,000 records through
# every program. Full-size models agree with PyTorch.
load helper
load programs
load train

setup_file() {
    [ "${CLIP_LONG:-0}" = 1 ] || return 0 # setup says so
    make_small
}

setup() {
    [ "${CLIP_LONG:-0}" = 1 ] || skip CLIP_LONG
    ! sanitized || skip memory
    cd "$BATS_TEST_TMPDIR"
}

repeat() {
    local i
    for ((i = 0; i < $2; i++)); do
        cat "$1"
    done
}

# many FILE N: N thousand times the first record of FILE, and the end. Each has 1 kB more than the tests' small
# ones, so that a thousand fill every buffer.
many() {
    [ -e "$SMALL/$1.json" ] || complain "no records of $1"
    local padding
    padding=$(printf '%01024d' 0)
    head -n 1 "$SMALL/$1.json" | sed "s/^{/{\"padding\": {\"bin\": \"$padding\"}, /" | stream -n >one
    repeat one 1000 >thousand
    repeat thousand "$2"
    printf '\x81\xa7__end__\xce'"$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' 0 $(($2 * 1000 / 65536)) \
        $(($2 * 1000 / 256 % 256)) $(($2 * 1000 % 256)))"
}

# The same for a tar of two samples, for two lines, a row of a table, a picture of a binary batch.
many_tar() {
    head -c 2048 "$SMALL/tar" >one # two samples
    repeat one 500 >thousand
    repeat thousand "$1"
    head -c 1024 /dev/zero
}
many_lines() {
    repeat "$SMALL/lines" 500 >thousand
    repeat thousand "$1"
}
many_table() {
    head -n 1 "$SMALL/table"
    sed -n 2p "$SMALL/table" >one
    repeat one 1000 >thousand
    repeat thousand "$1"
}
many_pixels() {
    repeat "$SMALL/pixels" 1000 >thousand
    repeat thousand "$1"
}

# least_peak FILE PROGRAM...: kB that the program takes on FILE, the least of five runs: the kernel counts pages in
# steps of up to 256 kB, a tenth of what a small program has.
least_peak() {
    local file=$1 least=
    shift
    for run in 1 2 3 4 5; do
        "$BUILD/tests/tools/peak" kb "$@" <"$file" >/dev/null 2>err || complain "$1: $(cat err)"
        [ -n "$least" ] && [ "$least" -le "$(cat kb)" ] || least=$(cat kb)
    done
    echo "$least"
}

# flat PROGRAM...: it takes no more memory on the file `most` than on `few`, within 5 %, a step of the kernel's count and
# $more kB.
flat() {
    local few most
    few=$(least_peak few "$@")
    most=$(least_peak most "$@")
    echo "# $1: $few kB, $most kB" >&3
    [ $((most * 100)) -le $((few * 105 + 100 * (256 + ${more:-0}))) ] || complain "$1: $few kB for 1,000 records, $most kB for 100,000"
}

@test "memory is flat between 1,000 and 100,000 records" {
    local program made=
    for program in $(programs); do
        entry "$program"
        [ "$input" != nothing ] || continue # no records come in
        case $program in
        clip-plot) continue ;;                 # a figure has no records
        clip-contrastive-step) continue ;;     # holds a batch: see below
        clip-page) continue ;;                 # holds the page's results
        clip-cmp) args=(- /dev/stdin) ;;       # a file with itself
        clip-simmatrix) args=(- "$SMALL/embeddings" --top 1) ;;
        esac
        if [ "$input" != "$made" ]; then
            for n in 1 100; do
                case $input in
                tar | lines | table | pixels) "many_$input" $n ;;
                *) many "$input" $n ;;
                esac >$n
            done
            mv 1 few
            mv 100 most
            made=$input
        fi
        if [ "$program" = clip-index ]; then # it answers up to 4,096 queries at once
            many "$input" 5 >few
            made=
        fi
        flat "$program" "${args[@]}"
    done
}

@test "memory of a shuffle: 16 bytes a sample, or what its buffer holds" {
    many_tar 1 >few
    many_tar 100 >most
    more=$((16 * 99000 / 1024)) flat clip-untar --shuffle 1
    flat clip-untar --shuffle 1 --shuffle-buffer 100
}

@test "memory of a training run is that of one batch" {
    for n in 1 100; do
        many embeddings $n | clip-batch -n 100 --schedule constant >$n
    done
    mv 1 few
    mv 100 most
    flat clip-contrastive-step --scale 10
}

# embed PRECISION: batch.msgpack through the full-size model in model.safetensors.
embed() {
    clip-encode-image -m model.safetensors --precision "$1" batch.msgpack |
        clip-encode-text -m model.safetensors --precision "$1" |
        clip-project-normalize -m model.safetensors
}

@test "full-size ViT-B/32 and RN50: within 1e-5 of PyTorch in double precision, bf16 a cosine of 0.999" {
    need_shared oracle/clip_torch.py
    need_python torch numpy msgpack msgpack_numpy
    local arch cosine
    for arch in ViT-B/32 RN50; do
        python "$SRC/tests/full-size.py" make "$SHARED/oracle" "$arch" 6 .
        embed f32 >out
        run -0 clip-cmp --tolerance 1e-5 --fields image_embedding,text_embedding out want.msgpack
        echo "# $arch: $(tr '\t\n' '  ' <<<"$output")" >&3
        [[ $(clip-encode-image --version) == *bf16* ]] || continue
        embed bf16 >out
        cosine=$(python "$SRC/tests/full-size.py" cosines out want.msgpack)
        echo "# $arch: least cosine in bf16 $cosine" >&3
        awk -v cosine="$cosine" 'BEGIN { exit !(cosine >= 0.999) }' || complain "$arch: bf16 $cosine"
    done
}

# A run of 40 steps on pictures of CIFAR-10, each augmented, with a vision transformer.
forty() {
    clip-untar -n 1280 "$SHARED"/data/cifar10/train/0.tar.zst |
        clip-preprocess --augment -m run/init | clip-tokenize -m run/init |
        clip-batch -n 32 -s 40 --lr 1e-3 --save-steps 3 --keep 2 --train run | stages run
}

@test "forty steps, killed twenty times: the last checkpoint is the same, to the byte" {
    need_shared data/cifar10/train
    local i j kills=0 pid length start image='' text='' projection='' loss=''
    mkdir run
    echo '{"embed_dim": 32, "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 16, "width": 64, "heads": 2, "layers": 2}}' >arch.json
    clip-model init arch.json --seed 1 -o run/init
    start=$(date +%s)
    forty >log
    length=$(($(date +%s) - start + 1))
    mv run whole
    mkdir run
    cp -r whole/init run/init
    for ((i = 0; i < 200; i++)); do
        (forty >/dev/null 2>&1) &
        pid=$!
        if ((kills < 20)); then
            sleep "$((RANDOM % length)).$((RANDOM % 10))"
            [ ! -e run/step-00000040 ] || { wait "$pid" && rm -r run/step-* run/latest; }
            if kill_one "$pid"; then kills=$((kills + 1)); fi
        fi
        wait "$pid" || true
        for j in run/step-*; do
            [ ! -e "$j" ] || clip-model info "$j" >/dev/null
        done
        ((kills < 20)) || [ ! -e run/step-00000040 ] || break
    done
    diff -r whole/step-00000040 run/step-00000040
}

# Streams of unit vectors, keys k0 and so on: `base` has $1, 1 to 20 have $2 each, `sample` each hundredth of all.
make_vectors() {
    python - "$1" "$2" <<'END'
import msgpack, numpy, sys
base, step = map(int, sys.argv[1:])
random = numpy.random.default_rng(1)
sample = []

def write(name, first, count):
    vectors = random.standard_normal((count, 512), dtype=numpy.float32)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    records = [msgpack.packb({"__key__": "k%d" % (first + i), "image_embedding": {
        b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [512], b"data": x.tobytes()}}) for i, x in enumerate(vectors)]
    sample.extend(records[-first % 100::100])
    with open(name, "wb") as out:
        out.write(b"".join(records) + msgpack.packb({"__end__": count}))

write("base", 0, base)
for i in range(20):
    write(str(i + 1), base + i * step, step)
with open("sample", "wb") as out:
    out.write(b"".join(sample) + msgpack.packb({"__end__": len(sample)}))
END
}

# holds INDEX LEAST MOST: it has the first LEAST or the first MOST keys, each once, and those of the sample are found, each
# as what is most like itself.
holds() {
    clip-index list "$1" | clip-dump | jq -r 'select(.__key__).__key__' | sort >keys
    seq 0 $(($2 - 1)) | sed 's/^/k/' | sort >least
    seq 0 $(($3 - 1)) | sed 's/^/k/' | sort >most
    cmp -s keys least || equal most keys
    clip-index search --tsv --top 1 "$1" sample | awk -F '\t' -v least="$2" '
        substr($1, 2) + 0 < least { n++; bad += $1 != $2 || $3 < 0.99999 }
        END { if (bad || n != least / 100) { print n " searched, " bad " not found"; exit 1 } }'
}

@test "an index of 100,000, killed twenty times at random while adding, searched after each: nothing is lost" {
    need_python numpy msgpack
    local base=50000 step=2500 i pid start length kills=0 kept=0 status
    make_vectors $base $step
    clip-index build -q -o x base
    cp -r x y
    start=$(date +%s%3N)
    clip-index add -q y 1
    length=$(($(date +%s%3N) - start))
    for ((i = 1; i <= 20; i++)); do
        while :; do
            clip-index add -q x $i &
            pid=$!
            sleep "$(awk -v most=$length -v random=$RANDOM 'BEGIN { print most * random / 32768 / 1000 }')"
            kill -9 $pid 2>/dev/null || true
            status=0
            wait $pid || status=$?
            [ "$status" -eq 0 ] || break # it was killed; else it had ended
            length=$((length * 3 / 4 + 1))
        done
        [ "$status" -eq 137 ]
        kills=$((kills + 1))
        holds x $((base + (i - 1) * step)) $((base + i * step))
        [ "$(wc -l <keys)" -eq $((base + (i - 1) * step)) ] || kept=$((kept + 1))
        clip-index add -q x $i # nobody holds the lock
    done
    echo "# $kills killed, $kept of them after what they added was in" >&3
    holds x 100000 100000
    clip-index build -q -o whole base {1..20}
    clip-index search --tsv --top 10 whole sample >want
    clip-index search --tsv --top 10 x sample >got
    cmp want got
    [ -z "$(find x -name '*.new*')" ]
}
