# Golden models through the whole pipeline: what the reference computes in double precision from the same bytes.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
}

# The largest distance of unit embeddings and of logits from the golden ones, against their tolerances.
compare='
import msgpack, msgpack_numpy, sys
def stream(path):
    records = msgpack.Unpacker(open(path, "rb"), object_hook=msgpack_numpy.decode, strict_map_key=False)
    return [r for r in records if "__key__" in r]
want = {r["__key__"]: r for r in stream(sys.argv[1])}
got = stream(sys.argv[2])
assert len(got) == len(want) == 12
e = max(abs(r[f] - want[r["__key__"]][f]).max() for r in got for f in ("image_embedding", "text_embedding"))
rows = {r["__key__"]: r["scores"] for r in stream(sys.argv[3])}
l = max(abs(rows[k] - r["logits"]).max() for k, r in want.items())
print(sys.argv[4], "embeddings", e, "logits", l)
assert e <= 2e-6 and l <= 2e-5'

# through MODEL EXPECTED [OPTION...]: batch.msgpack through the pipeline with MODEL.
through() {
    local model=$1 expected=$2
    shift 2
    clip-encode-image -m "$model" "$@" "${model%%/golden/models/*}/golden/models/$name/batch.msgpack" |
        clip-encode-text -m "$model" "$@" | clip-project-normalize -m "$model" "$@" >out
    clip-simmatrix --scale model -m "$model" "$@" out >scores
    python -c "$compare" "$expected" out scores "$model"
}

@test "unit embeddings within 2e-6 and logits within 2e-5, every model, every file form" {
    need_shared golden/models
    need_python numpy msgpack msgpack_numpy
    local name form golden
    for name in vit-a vit-b rn-a rn-b; do
        golden=$SHARED/golden/models/$name
        for form in model.safetensors state.pt legacy.pt checkpoint.pt open_clip hf hf/pytorch_model.bin openai.pt; do
            [ -e "$golden/$form" ] || continue
            case $form in
            openai.pt) through "$golden/$form" "$golden/forward_f16.msgpack" ;;
            open_clip | hf) through "$golden/$form" "$golden/forward.msgpack" ;;
            *) through "$golden/$form" "$golden/forward.msgpack" --arch "$golden/arch.json" ;;
            esac
        done
    done
}
