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

# oblong HEIGHT WIDTH FOLDER: a model of pictures of these sides.
oblong() {
    echo "{\"embed_dim\": 24, \"quick_gelu\": true,
        \"vision_cfg\": {\"image_size\": [$1, $2], \"layers\": 2, \"width\": 32, \"head_width\": 16, \"patch_size\": 16},
        \"text_cfg\": {\"context_length\": 5, \"vocab_size\": 514, \"width\": 24, \"heads\": 3, \"layers\": 1}}" >arch.json
    clip-model init -q -s 3 arch.json -o "$3"
}

@test "pictures that are not square: PyTorch's features" {
    need_shared oracle/clipref.py
    need_python torch msgpack_numpy
    oblong 32 48 model
    cp "$SRC"/tests/data/pictures/{420.jpg,rgba8.png} .
    tar -cf in.tar 420.jpg rgba8.png
    clip-untar -q in.tar | clip-preprocess -m model >images
    clip-encode-image -m model images >out
    PYTHONPATH=$SHARED/oracle python - <<'END'
import msgpack, msgpack_numpy, torch, clipref as ref
def read(name): return [r for r in msgpack.Unpacker(open(name, "rb"), object_hook=msgpack_numpy.decode) if "__key__" in r]
weights = ref.load_safetensors("model/open_clip_model.safetensors")
tower = ref.VisionTransformer(32, 16, 32, 2, 2, 24, True, 4.0)
tower.positional_embedding = torch.nn.Parameter(torch.empty(1 + 2 * 3, 32))
tower.load_state_dict({k[7:]: v for k, v in weights.items() if k.startswith("visual.")})
mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], dtype=torch.float64)[:, None, None]
std = torch.tensor([0.26862954, 0.26130258, 0.27577711], dtype=torch.float64)[:, None, None]
images = torch.tensor([r["image"].tolist() for r in read("images")], dtype=torch.float64)
assert images.shape == (2, 3, 32, 48), images.shape
want = tower.double().features((images / 255 - mean) / std)
got = torch.tensor([r["image_features"].tolist() for r in read("out")], dtype=torch.float64)
assert (got - want).abs().max() < 5e-6, (got - want).abs().max()
END
    [[ $(clip-model info model) == *"image 32 x 48, transformer"* ]]
    clip-model convert -q model -o model.safetensors
    clip-encode-image -m model.safetensors images | cmp - out
    refuses "Hugging Face's form has no images of 32 x 48, only squares" clip-model convert -q --to hf model -o hf
    clip-preprocess --size 48 <(clip-untar -q in.tar) >square
    run -1 --separate-stderr clip-encode-image -m model square
    [[ $stderr == *": image: u1 [3, 48, 48], but the model takes u1 or f4 [3, 32, 48]" ]]
}

@test "patches beside each other and below each other are the same to a tower, in training too" {
    need_python msgpack_numpy numpy
    load train
    image='' text='' projection='' loss=''
    oblong 16 48 wide.init
    oblong 48 16 tall.init
    cmp wide.init/open_clip_model.safetensors tall.init/open_clip_model.safetensors
    python - <<'END'
import msgpack, msgpack_numpy, numpy
random = numpy.random.default_rng(1)
with open("wide.in", "wb") as wide, open("tall.in", "wb") as tall:
    for i in range(8):
        image = random.integers(0, 256, (3, 16, 48), "u1")
        tokens = numpy.array([512, i + 1, 2 * i + 1, 513, 0], "i4")
        for file, picture in (wide, image), (tall, numpy.concatenate([image[:, :, at:at + 16] for at in (0, 16, 32)], 1)):
            file.write(msgpack.packb({"__key__": f"{i}", "image": picture, "tokens": tokens}, default=msgpack_numpy.encode))
    for file in wide, tall:
        file.write(msgpack.packb({"__end__": 8}))
END
    for shape in wide tall; do
        mkdir $shape
        mv $shape.init $shape/init
        clip-encode-image -m $shape/init $shape.in | clip-dump --tsv image_features --values >$shape.features
        clip-batch -q -n 4 -s 2 --lr 1e-3 --train $shape $shape.in | stages $shape >/dev/null
    done
    cmp wide.features tall.features
    [ "$(cut -f 1 wide.features | sort -u | wc -l)" -ge 8 ]
    cmp wide/latest/open_clip_model.safetensors tall/latest/open_clip_model.safetensors
    run -1 cmp -s wide/latest/open_clip_model.safetensors wide/init/open_clip_model.safetensors
}
