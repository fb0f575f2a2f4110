load helper
load encode

setup() {
    cd "$BATS_TEST_TMPDIR"
    program=clip-encode-image consumed=image field=image_features
}

@test "golden features, from every file form" {
    check_golden "vit-a vit-b rn-a rn-b"
}

@test "the bytes do not depend on batches, threads, pauses, order" {
    check_same vit-a vit-b rn-a rn-b
    check_same_levels vit-a rn-a
}

@test "all levels of the processor agree" {
    check_levels vit-b
    check_levels rn-a
}

@test "bf16 is near f32" {
    check_bf16 vit-a vit-b rn-a
}

@test "the image goes, features come, the rest stays" {
    check_fields vit-a
}

@test "floats are taken as they are, aligned or not" {
    models
    need_python msgpack_numpy numpy
    python - "$GOLDEN/vit-a/batch.msgpack" <<'END'
import sys, msgpack, msgpack_numpy, numpy
mean = numpy.array([0.48145466, 0.4578275, 0.40821073])[:, None, None]
std = numpy.array([0.26862954, 0.26130258, 0.27577711])[:, None, None]
with open("floats", "wb") as out:
    for i, r in enumerate(msgpack.Unpacker(open(sys.argv[1], "rb"), object_hook=msgpack_numpy.decode)):
        if "__key__" not in r:
            out.write(msgpack.packb(r))
            continue
        image = ((r["image"] / 255 - mean) / std).astype("f4")
        out.write(msgpack.packb({"__key__": r["__key__"], "x": "x" * (i % 4), "image": image}, default=msgpack_numpy.encode))
END
    clip-encode-image -m "$GOLDEN/vit-a/model.safetensors" floats >out
    clip-encode-image -m "$GOLDEN/vit-a/model.safetensors" "$GOLDEN/vit-a/batch.msgpack" >want
    clip-cmp --fields image_features --tolerance 2e-6 out want
}

@test "bytes and floats of clip-preprocess give the same features, byte by byte" {
    models
    local model engine precision
    for model in vit-a rn-a; do
        tar -cf - -C "$SRC/share/samples/photos" cat.jpg owl.jpg horses.jpg | clip-untar >pictures
        clip-preprocess -m "$GOLDEN/$model/model.safetensors" --arch "$GOLDEN/$model/arch.json" pictures >u8
        clip-preprocess -m "$GOLDEN/$model/model.safetensors" --arch "$GOLDEN/$model/arch.json" --dtype f32 pictures >f32
        while read -r engine precision; do
            for form in u8 f32; do
                CLIP_ENGINE=$engine clip-encode-image -m "$GOLDEN/$model/model.safetensors" \
                    --arch "$GOLDEN/$model/arch.json" --precision "$precision" $form >$form.features
            done
            cmp u8.features f32.features || complain "$model, $engine $precision"
        done < <(engines)
    done
}

@test "bad images are refused by name, or skipped" {
    refused "no field 'image'" '{"__key__": "k"}'
    refused 'image: ' '{"__key__": "k", "image": 5}'
    refused '[3, 1, 2]' '{"__key__": "k", "image": {"u1": [1, 2, 3, 4, 5, 6], "shape": [3, 1, 2]}}'
    refused '[6]' '{"__key__": "k", "image": {"u1": [1, 2, 3, 4, 5, 6]}}'
    refused 'i4 [3, 32, 32]' '{"__key__": "k", "image": {"i4": ['"$(seq -s, 3072)"'], "shape": [3, 32, 32]}}'
}

@test "engines and precisions: chosen, told, refused" {
    check_engine_choice
}

@test "wrong usage, and models that are not there" {
    check_usage
}
