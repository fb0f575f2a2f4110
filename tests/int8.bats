# 8 bits: products (where the processor has AVX-512 VNNI), and models that are stored so (everywhere).
load helper
load pictures

setup() {
    need_shared golden/models
    need_python numpy msgpack_numpy
    cd "$BATS_TEST_TMPDIR"
    GOLDEN=$SHARED/golden/models
}

int8() {
    python "$SRC/tests/tools/int8.py" "$@"
}

has_int8() {
    [[ $(clip-encode-image --version) == *int8* ]]
}

need_int8() {
    has_int8 || skip VNNI
}

# embed MODEL...: embeddings of the pictures and captions of a golden model, $name or vit-a; $options are the encoders'.
embed() {
    clip-encode-image -q -m "$@" $options "$GOLDEN/${name:-vit-a}/batch.msgpack" | clip-encode-text -q -m "$@" $options |
        clip-project-normalize -q -m "$@"
}

@test "convert -d int8: the matrices of blocks by rows, token embeddings in f16, the rest as it was" {
    clip-model convert "$GOLDEN/vit-a/open_clip" -q -o whole
    clip-model convert whole -q -d int8 -o small
    int8 stored whole/open_clip_model.safetensors small/open_clip_model.safetensors
    clip-model convert "$GOLDEN/vit-a/hf" -q -t hf -o whole-hf
    clip-model convert whole-hf -q -d int8 -t hf -o small-hf
    int8 stored whole-hf/model.safetensors small-hf/model.safetensors
    python - small/open_clip_config.json small-hf/config.json <<'END'
import json, sys
for name in sys.argv[1:]:
    config = json.load(open(name))["quantization_config"]
    group = config["config_groups"]["group_0"]
    assert config["quant_method"] == "compressed-tensors" and config["format"] == "int-quantized", config
    assert group["weights"] == {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
    assert group["input_activations"]["dynamic"] is True and group["targets"] == ["Linear"]
assert config["ignore"] == ["text_projection", "visual_projection"], config["ignore"]
END
    clip-model info small >info
    grep -q '^dtype .*i8 ([0-9]* tensors)' info
    grep -q '^int8 *vision, text$' info
    [ "$(clip-model info --json small | python -c 'import json, sys; print(json.load(sys.stdin)["int8"])')" = "['vision', 'text']" ]
}

@test "a rounded model goes from form to form and back unchanged, and to floats as its scales say" {
    clip-model convert "$GOLDEN/vit-a/open_clip" -q -d int8 -o small
    clip-model convert small -q -t hf -o hf
    clip-model convert hf -q -o back
    cmp small/open_clip_model.safetensors back/open_clip_model.safetensors
    diff small/open_clip_config.json back/open_clip_config.json
    clip-model convert small -q -d int8 -o again
    cmp small/open_clip_model.safetensors again/open_clip_model.safetensors
    clip-model convert small -q --shard-size 100k -o shards
    clip-model convert shards -q -o whole-again
    cmp small/open_clip_model.safetensors whole-again/open_clip_model.safetensors
    clip-model convert small -q -o lone.safetensors
    clip-model convert lone.safetensors -q -o from-lone.safetensors
    cmp lone.safetensors from-lone.safetensors
    clip-model convert small -q -d f32 -o floats
    ! grep -q quantization floats/open_clip_config.json || complain "floats with a quantization_config"
    int8 plain small/open_clip_model.safetensors plain.safetensors
    clip-model convert floats -q -o floats.safetensors
    clip-model convert plain.safetensors --arch "$GOLDEN/vit-a/arch.json" -q -o same.safetensors
    clip-encode-text -q -m floats "$GOLDEN/vit-a/batch.msgpack" >want
    clip-encode-text -q -m plain.safetensors --arch "$GOLDEN/vit-a/arch.json" "$GOLDEN/vit-a/batch.msgpack" >got
    equal want got
}

@test "a rounded model in f32 gives what its numbers as floats give; where int8 is lacking this is said once" {
    clip-model convert "$GOLDEN/vit-a/open_clip" -q -d int8 -o small
    clip-model convert small -q -d f32 -o floats
    local options="--precision f32"
    embed floats >want
    embed small >got
    equal want got
    ONEDNN_MAX_CPU_ISA=AVX2 run -0 --separate-stderr bash -c 'clip-encode-text -m small "$1" >out' - "$GOLDEN/vit-a/batch.msgpack"
    [[ $stderr == "clip-encode-text: small: the weights are rounded to 8 bits, but int8 needs a processor with AVX-512 VNNI; this one has "*": products are computed in f32" ]] ||
        [[ $stderr == *"f32 only"* ]] || complain "$stderr"
    [ "${#stderr_lines[@]}" -eq 1 ]
    clip-encode-text -q -m small --precision auto "$GOLDEN/vit-a/batch.msgpack" >got
    clip-encode-text -q -m floats "$GOLDEN/vit-a/batch.msgpack" >want
    equal want got
}

@test "the matrices that others round, with scales in bf16, are read" {
    clip-model convert "$GOLDEN/vit-a/hf" -q -t hf -o whole
    int8 foreign whole/model.safetensors foreign.safetensors
    int8 plain foreign.safetensors plain.safetensors
    cp -r whole foreign
    cp -r whole plain
    mv foreign.safetensors foreign/model.safetensors
    mv plain.safetensors plain/model.safetensors
    local options="--precision f32"
    embed foreign >got
    embed plain >want
    equal want got
    # The projections, which are not blocks', become floats.
    clip-model convert foreign -q -o own
    clip-model info own | grep -q '^int8 *vision, text$'
    embed own >got
    equal want got
}

@test "int8 is refused where it cannot be, in a line" {
    echo '{"embed_dim": 32, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 32, "head_width": 32, "patch_size": null},
        "text_cfg": {"context_length": 16, "vocab_size": 600, "width": 64, "heads": 1, "layers": 2}}' >rn.json
    clip-model init -q rn.json -o rn
    clip-model convert rn -q -d int8 -o rn-small
    clip-model info rn-small | grep -q '^int8 *text$'
    run -1 --separate-stderr clip-encode-image -m rn --precision int8 </dev/null
    one_line
    if has_int8; then [[ $stderr == *"int8 is for the blocks of transformers; the model's vision tower is a ResNet" ]]; fi
    has_int8 || [[ $stderr == *"int8 needs a processor with AVX-512 VNNI; this one has "* || $stderr == *"f32 only"* ]] || complain "$stderr"
    run -2 --separate-stderr clip-encode-text -m rn --int8-keep 1 </dev/null
    [[ ${stderr_lines[0]} == *"--int8-keep needs --precision int8" ]]
    run -2 --separate-stderr clip-encode-text -m rn --int8-keep 1 --precision bf16 </dev/null
    run -2 --separate-stderr clip-encode-text --train run --precision int8 </dev/null
    [[ ${stderr_lines[0]} == *"--precision int8 is for inference, not for --train" ]]
    run -2 --separate-stderr clip-model convert rn --int8-keep 1 -d f16 -o x
    [[ ${stderr_lines[0]} == *"--int8-keep needs --dtype int8" ]]
    run -1 --separate-stderr clip-model convert rn -q --int8-keep 1 -d int8 -o x
    one_line
    [[ $stderr == *"--int8-keep leaves none" ]]
    CLIP_ENGINE=openblas run -1 --separate-stderr clip-encode-text -m rn --precision int8 </dev/null
    one_line
    [[ $stderr == *"f32 only"* ]]
    [ ! -e x ]
}

@test "scales that are missing or do not fit are named" {
    clip-model convert "$GOLDEN/vit-a/open_clip" -q -d int8 -o small
    local how
    for how in missing few integers flat lonely; do
        rm -rf bad
        cp -r small bad
        int8 spoil $how small/open_clip_model.safetensors bad/open_clip_model.safetensors
        run -1 --separate-stderr clip-encode-image -m bad "$GOLDEN/vit-a/batch.msgpack"
        one_line
        [[ $stderr == *_scale* ]] || complain "$how: $stderr"
    done
}

@test "a weight that is not finite is refused by convert" {
    clip-model convert "$GOLDEN/vit-a/open_clip" -q -o whole
    python - "$SRC" whole/open_clip_model.safetensors <<'END'
import sys
sys.path.insert(0, sys.argv[1] + "/tests/tools")
import int8
t = {k: v.copy() for k, v in int8.load(sys.argv[2]).items()}
t["visual.transformer.resblocks.1.mlp.c_fc.weight"][3, 5] = float("inf")
int8.save("bad.safetensors", t)
END
    run -1 --separate-stderr clip-model convert bad.safetensors --arch "$GOLDEN/vit-a/arch.json" -d int8 -o out.safetensors
    one_line
    [[ $stderr == *"tensor visual.transformer.resblocks.1.mlp.c_fc.weight holds a number that is not finite" ]]
    [ ! -e out.safetensors ]
}

@test "int8: the bytes of a stored model are those of its floats, whatever the batch, threads and order; near f32" {
    need_int8
    local name keep options want_options
    for name in vit-a vit-b; do
        clip-model convert "$GOLDEN/$name/model.safetensors" --arch "$GOLDEN/$name/arch.json" -q -o $name
        options="--precision f32"
        embed $name >exact
        for keep in 0 1; do
            clip-model convert $name -q -d int8 --int8-keep $keep -o $name-$keep 2>err ||
                { grep -q 'leaves none' err && continue; }
            options="--precision int8 --int8-keep $keep -b 1 -j 1"
            embed $name >want
            for options in "--precision int8 --int8-keep $keep -b 7 -j 2" "--precision int8 --int8-keep $keep -b 48 -j 3"; do
                embed $name >got
                equal want got || complain "$name: $options"
            done
            options="-b 5"
            embed $name-$keep >got
            equal want got || complain "$name: stored, keep $keep"
            clip-model convert $name-$keep -q -t hf -o $name-$keep-hf
            embed $name-$keep-hf >got
            equal want got || complain "$name: stored in Hugging Face's form, keep $keep"
            int8 cosine exact want image_embedding 0.999 0.999
            int8 cosine exact want text_embedding 0.999 0.999
        done
    done
}

@test "int8: with a row of zeros, and with numbers that are not finite" {
    need_int8
    clip-model convert "$GOLDEN/vit-a/model.safetensors" --arch "$GOLDEN/vit-a/arch.json" -q -o model
    python - "$GOLDEN/vit-a/batch.msgpack" <<'END'
import sys, msgpack, msgpack_numpy, numpy
first = next(r for r in msgpack.Unpacker(open(sys.argv[1], "rb"), object_hook=msgpack_numpy.decode) if "__key__" in r)
shape = first["image"].shape
with open("in", "wb") as out:
    for key, value in ("zeros", 0), ("nan", numpy.nan), ("infinite", numpy.inf):
        out.write(msgpack.packb({"__key__": key, "image": numpy.full(shape, value, "f4")}, default=msgpack_numpy.encode))
    out.write(msgpack.packb({"__end__": 3}))
END
    clip-encode-image -m model --precision f32 in >want
    clip-encode-image -m model --precision int8 in >got
    python - <<'END'
import msgpack, msgpack_numpy, numpy
def read(name):
    return [r["image_features"] for r in msgpack.Unpacker(open(name, "rb"), object_hook=msgpack_numpy.decode) if "__key__" in r]
want, got = read("want"), read("got")
assert numpy.isfinite(got[0]).all()
for i in 1, 2:
    assert (numpy.isfinite(want[i]) == numpy.isfinite(got[i])).all(), i
END
}
