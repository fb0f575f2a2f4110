# Picture towers of convolutions, beside ResNets: golden families, their oracle in PyTorch, open_clip's names.
load helper
load family
load pictures
load train

setup_file() {
    start_family
}

teardown_file() {
    stop_family
}

setup() {
    mkdir "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work"
    FAMILIES=$SHARED/golden/families/families
}

# embed MODEL [OPTION...]: features and embeddings of the records on stdin; the options are the image encoder's.
embed() {
    local model=$1
    shift
    clip-encode-image --keep -m "$model" "$@" | clip-encode-text -m "$model" | clip-project-normalize --keep -m "$model"
}

@test "golden ConvNeXts: features, embeddings" {
    need_shared golden/families
    local name
    for name in convnext convnext-mlp convnext-xxlarge; do
        embed "$FAMILIES/$name/open_clip" <"$FAMILIES/$name/batch.msgpack" >got
        clip-cmp -q -t 2e-6 -f image_embedding,text_embedding got "$FAMILIES/$name/forward.msgpack" ||
            complain "$name"
        clip-cmp -q -r 2e-6 -f image_features,text_features got "$FAMILIES/$name/forward.msgpack" ||
            complain "$name"
    done
}

@test "a ConvNeXt's picture has the same bytes in any batch, with any number of threads" {
    need_python msgpack numpy
    local batch
    picture_arch '{"timm_model_name": "convnext_tiny", "image_size": 76,
        "timm_model_kwargs": {"depths": [1, 2, 1, 1], "dims": [24, 16, 40, 32], "ls_init_value": 0.5}}'
    clip-model init -q arch.json -o model 2>/dev/null
    pictures 76 19 >in
    clip-encode-image -m model -b 1 -j 1 in >want
    [ "$(clip-dump --keys want | wc -l)" -eq 19 ]
    for batch in 2 7 16 64; do
        equal want <(clip-encode-image -m model -b "$batch" -j $((batch % 3 + 1)) in)
    done
    if clip-encode-image -m model --precision bf16 in >half 2>/dev/null; then
        clip-cmp -q -r 2e-2 -f image_features want half
        equal half <(clip-encode-image -m model --precision bf16 -b 1 -j 1 in)
    fi
}

# Sizes that 32 does not divide leave a row and a column out; strips of columns, kernels and heads of all kinds.
@test "ConvNeXts of other sizes and options, against PyTorch" {
    need_shared oracle/famref.py
    need_python msgpack numpy torch
    local size options
    while read -r size options; do
        picture_arch "{\"image_size\": $size, \"timm_model_name\": \"convnext_$options}"
        clip-model init -q arch.json -o model 2>/dev/null || complain "$options"
        pictures "$size" 3 >in
        clip-encode-image --keep -m model in | clip-project-normalize -m model >got
        family embeddings model got 2e-6 || complain "$size $options"
        rm -r model
    done <<'END'
32 tiny", "timm_proj": "mlp", "timm_model_kwargs": {"depths": [1,1,1,1], "dims": [8,16,24,32], "ls_init_value": 0.3}
100 base", "timm_proj": "mlp", "timm_proj_bias": true, "timm_model_kwargs": {"depths": [2,1,3,1], "dims": [32,20,12,40], "ls_init_value": -1}
228 xxlarge", "timm_proj": null, "timm_pool": "avg", "timm_model_kwargs": {"depths": [1,1,1,2], "dims": [16,16,48,17], "ls_init_value": 1}
90 small", "timm_proj": "linear", "timm_proj_bias": true, "timm_model_kwargs": {"depths": [1,1,1,1], "dims": [16,32,64,20], "kernel_sizes": 3, "patch_size": 2, "ls_init_value": 1}
72 large", "timm_proj": "none", "timm_model_kwargs": {"depths": [1,1,1,1], "dims": [16,8,24,20], "kernel_sizes": [5,5,5,5], "ls_init_value": 1}
END
}

# check_training FAMILY...: three steps of training are PyTorch's.
check_training() {
    need_shared golden/families
    need_python msgpack numpy torch
    local name
    for name; do
        mkdir "$name"
        clip-model convert -q "$FAMILIES/$name/open_clip" -o "$name/init"
        family batches "$FAMILIES/$name" 3 >steps
        (set -o pipefail && stages "$name" <steps >"$name/log")
        family check "$FAMILIES/$name" "$name" 3 1e-4 5e-4 || complain "$name"
    done
}

@test "three steps of training of golden ConvNeXts, against PyTorch; their gradients" {
    check_training convnext convnext-mlp convnext-xxlarge
}

@test "a ConvNeXt's gradients are the same kept or computed again, in chunks, with any number of threads" {
    need_shared golden/families
    need_python msgpack numpy
    local run
    family batches "$FAMILIES/convnext-mlp" 2 >steps
    for run in kept again one; do
        mkdir "$run"
        clip-model convert -q "$FAMILIES/convnext-mlp/open_clip" -o "$run/init"
    done
    stages kept --chunk 3 -j 2 <steps >log
    stages again --chunk 3 -j 2 --memory 0 <steps >log
    stages one --chunk 3 -j 1 <steps >log
    diff -r kept/step-00000002 again/step-00000002
    diff -r kept/step-00000002 one/step-00000002
}

@test "open_clip's names of ConvNeXts: parameters, names and shapes" {
    need_shared golden/families/named.jsonl.gz
    need jq
    local name parameters sum count=0
    while read -r name parameters sum; do
        clip-model info --shapes "$name" >shapes
        [ "$(sed -n 's/^parameters: //p' shapes)" = "$parameters" ] || complain "$name"
        [ "$(grep -v '^parameters: ' shapes | LC_ALL=C sort | sha256sum | cut -d ' ' -f 1)" = "$sum" ] || complain "$name"
        count=$((count + 1))
    done < <(gunzip -c "$SHARED/golden/families/named.jsonl.gz" |
        jq -r 'select(.name | startswith("convnext")) | "\(.name) \(.parameters) \(.sha256)"')
    [ "$count" -eq 11 ]
}

@test "a ConvNeXt's folder and file are converted to the same bytes; its configuration reads back" {
    need_shared golden/families
    local name
    for name in convnext convnext-mlp convnext-xxlarge; do
        clip-model convert -q "$FAMILIES/$name/open_clip" -o "$name"
        cmp "$name/open_clip_model.safetensors" "$FAMILIES/$name/open_clip/open_clip_model.safetensors"
        clip-model convert -q "$name" -o "$name.safetensors"
        clip-model convert -q "$name.safetensors" -o "$name.again"
        diff -r "$name" "$name.again"
        equal <(clip-model info "$name" | sed -n '/^vision/p') \
            <(clip-model info "$FAMILIES/$name/open_clip" | sed -n '/^vision/p')
    done
    refuses "no ConvNeXts" clip-model convert -q --to hf convnext-mlp -o hf
    cp convnext/open_clip_model.safetensors lone.safetensors
    refuses "image size" clip-model info lone.safetensors
}

@test "ConvNeXts that are not supported, or that lie, are refused by name" {
    local words cfg
    while IFS='|' read -r words cfg; do
        picture_arch "$cfg"
        refuses "$words" clip-model info arch.json
    done <<'END'
convnext_atto|{"timm_model_name": "convnext_atto"}
convnextv2_base|{"timm_model_name": "convnextv2_base"}
timm_proj: "conv"|{"timm_model_name": "convnext_tiny", "timm_proj": "conv"}
timm_pool: "abs_attn"|{"timm_model_name": "convnext_tiny", "timm_pool": "abs_attn"}
timm_pool: ""|{"timm_model_name": "convnext_tiny", "timm_pool": "", "timm_proj": null}
use_grn|{"timm_model_name": "convnext_tiny", "timm_model_kwargs": {"use_grn": true}}
depths|{"timm_model_name": "convnext_tiny", "timm_model_kwargs": {"depths": [1, 2, 3]}}
depths|{"timm_model_name": "convnext_tiny", "timm_model_kwargs": {"depths": [1, 2, 1000000000, 1]}}
dims|{"timm_model_name": "convnext_tiny", "timm_model_kwargs": {"dims": [8, 8, "8", 8]}}
kernel size of 4|{"timm_model_name": "convnext_tiny", "timm_model_kwargs": {"kernel_sizes": 4}}
without layer scale|{"timm_model_name": "convnext_tiny", "timm_model_kwargs": {"ls_init_value": null}}
least is 32|{"timm_model_name": "convnext_tiny", "image_size": 31}
768 features|{"timm_model_name": "convnext_tiny", "timm_proj": "none"}
pos_embed_type|{"timm_model_name": "convnext_tiny", "pos_embed_type": "learnable"}
END
}

@test "a ConvNeXt is initialised as timm does it" {
    need_python json numpy
    picture_arch '{"timm_model_name": "convnext_tiny", "image_size": 64, "timm_proj": "mlp",
        "timm_model_kwargs": {"depths": [1, 1, 1, 1], "dims": [32, 64, 96, 128]}}'
    clip-model init -q arch.json -o model 2>/dev/null
    python - "$BATS_TEST_DIRNAME" <<'END'
import sys
sys.argv, folder = ["train.py", "tensors", "model/open_clip_model.safetensors"], sys.argv[1]
exec(open(folder + "/train.py").read())
t = tensors("model/open_clip_model.safetensors")
trunk = "visual.trunk.stages.3."
for name in "downsample.1.weight", "blocks.0.mlp.fc1.weight", "blocks.0.conv_dw.weight":
    assert abs(t[trunk + name].std() - 0.02) < 1e-3, name
    assert abs(t[trunk + name]).max() > 0.05, name
assert (abs(t[trunk + "blocks.0.gamma"] - 1e-6) < 1e-9).all() and (t[trunk + "blocks.0.norm.weight"] == 1).all()
assert (t[trunk + "blocks.0.mlp.fc1.bias"] == 0).all() and (t[trunk + "blocks.0.conv_dw.bias"] == 0).all()
head = t["visual.head.mlp.fc1.weight"]
bound = 128 ** -0.5
assert abs(head).max() <= bound and abs(head.std() - bound / 3 ** 0.5) < 1e-3 and t["visual.head.mlp.fc1.bias"].std() > 0
END
}

# --- FastViT of MobileCLIP ---

@test "golden FastViTs: features, embeddings" {
    need_shared golden/families
    local name
    for name in mobileclip-s mobileclip2-s3; do
        embed "$FAMILIES/$name/open_clip" <"$FAMILIES/$name/batch.msgpack" >got
        clip-cmp -q -t 2e-6 -f image_embedding,text_embedding got "$FAMILIES/$name/forward.msgpack" ||
            complain "$name"
        clip-cmp -q -r 4e-6 -f image_features,text_features got "$FAMILIES/$name/forward.msgpack" ||
            complain "$name"
    done
}

@test "FastViTs of other sizes, against PyTorch, with the same bytes in any batch, with any number of threads" {
    need_shared oracle/famref.py
    need_python msgpack numpy torch
    local size options
    while read -r size options; do
        tower_like_pytorch "$size" "fastvit_$options"
        rm -r model
    done <<'END'
64 mci0", "timm_proj": null, "timm_pool": "avg", "timm_model_kwargs": {"layers": [1,1,1,1], "embed_dims": [8,16,48,96]}
91 mci2", "timm_proj": "linear", "timm_pool": "avg", "timm_model_kwargs": {"layers": [2,1,1,2], "embed_dims": [20,20,40,160]}
70 mci4", "timm_proj": "mlp", "timm_proj_bias": true, "timm_pool": "avg", "timm_model_kwargs": {"layers": [1,2,1,1,1], "embed_dims": [4,12,24,96,96]}
END
}

@test "a FastViT is converted to the same bytes" {
    need_shared golden/families
    local name=mobileclip-s
    clip-model convert -q "$FAMILIES/$name/open_clip" -o folder
    clip-model convert -q folder -o lone.safetensors
    clip-model convert -q lone.safetensors -o again
    diff -r folder again
    equal <(clip-encode-image -m folder "$FAMILIES/$name/batch.msgpack") \
        <(clip-encode-image -m "$FAMILIES/$name/open_clip" "$FAMILIES/$name/batch.msgpack")
}

@test "three steps of training of golden FastViTs, against PyTorch: gradients, running statistics, counts of batches" {
    check_training mobileclip-s mobileclip2-s3
}

@test "fused FastViTs, as timm's inference_mode: read, converted, trained as they are" {
    need_shared golden/families
    need_python msgpack numpy torch
    local name
    for name in mobileclip-s mobileclip2-s3; do
        mkdir -p "$name/golden"
        cp "$FAMILIES/$name/batch.msgpack" "$name/golden"
        family fuse "$FAMILIES/$name/open_clip" "$name/golden/open_clip"
        embed "$name/golden/open_clip" <"$name/golden/batch.msgpack" >got
        clip-cmp -q -t 2e-6 -f image_embedding,text_embedding got "$FAMILIES/$name/forward.msgpack" || complain "$name"
        clip-model convert -q "$name/golden/open_clip" -o "$name/lone.safetensors"
        clip-model convert -q "$name/lone.safetensors" -o "$name/init"
        family tensors "$name/golden/open_clip/open_clip_model.safetensors" "$name/init/open_clip_model.safetensors"
        [ "$(jq .model_cfg.vision_cfg.timm_model_kwargs.inference_mode "$name/init/open_clip_config.json")" = true ]
        [[ $(clip-model info "$name/init") == *", fused branches, "* ]]
        family batches "$name/golden" 3 >steps
        (set -o pipefail && stages "$name" <steps >"$name/log")
        family check "$name/golden" "$name" 3 1e-4 5e-4 || complain "$name"
        # Weights that are fused although their configuration does not say so, and the other way round.
        jq 'del(.model_cfg.vision_cfg.timm_model_kwargs.inference_mode)' "$name/init/open_clip_config.json" >config
        cp config "$name/init/open_clip_config.json"
        equal got <(embed "$name/init" <"$name/golden/batch.msgpack")
        mkdir "$name/plain"
        cp "$FAMILIES/$name/open_clip/open_clip_model.safetensors" "$name/golden/open_clip/open_clip_config.json" "$name/plain"
        equal <(embed "$name/plain" <"$name/golden/batch.msgpack") \
            <(embed "$FAMILIES/$name/open_clip" <"$name/golden/batch.msgpack")
    done
}

@test "Apple's own files of MobileCLIP are the models that open_clip makes of them" {
    need_shared golden/families
    need_python msgpack numpy
    local name prefix
    while read -r name prefix; do
        family apple "$FAMILIES/$name/open_clip" apple.safetensors plain.safetensors "$prefix"
        clip-model convert -q apple.safetensors --arch "$FAMILIES/$name/arch.json" -o "$name"
        clip-model convert -q plain.safetensors --arch "$FAMILIES/$name/arch.json" -o plain
        diff "$name/open_clip_model.safetensors" plain/open_clip_model.safetensors
        embed "$name" <"$FAMILIES/$name/batch.msgpack" >got
        clip-cmp -q -t 2e-6 -f text_embedding got "$FAMILIES/$name/forward.msgpack" || complain "$name"
        rm -r plain
    done <<'END'
mobileclip-s
mobileclip2-s3 module.
END
    # MobileCLIP-B, whose tower is another.
    picture_arch '{"timm_model_name": "vit_base_mci_224", "timm_pool": "token", "timm_proj": null, "image_size": 224,
        "timm_model_kwargs": {"depth": 2}}'
    sed -i 's/"embed_dim": 20/"embed_dim": 20, "custom_text": true/' arch.json
    clip-model init -q arch.json -o hybrid 2>/dev/null
    family apple hybrid hybrid.safetensors plain.safetensors
    clip-model convert -q hybrid.safetensors --arch arch.json -o apple
    clip-model convert -q plain.safetensors --arch arch.json -o plain
    diff apple/open_clip_model.safetensors plain/open_clip_model.safetensors
    refuses "the weights of a FastViT do not say its image size (see --arch)" clip-model info apple.safetensors
    family apple_s0 apple.safetensors s0.safetensors
    refuses "MobileCLIP-S0: its text tower" clip-model info s0.safetensors
}

# Odd sides, widths that no vector divides, heads of all kinds.
@test "three steps of FastViTs of other sizes, against PyTorch" {
    need_shared oracle/famref.py
    need_python msgpack numpy torch
    local size options text=--freeze
    while read -r size options; do
        picture_arch "{\"image_size\": $size, \"timm_model_name\": \"fastvit_$options}"
        mkdir -p run golden
        clip-model init -q arch.json -o golden/open_clip 2>/dev/null || complain "$options"
        family trained golden/open_clip/open_clip_model.safetensors
        cp -r golden/open_clip run/init
        family pairs arch.json 6 >golden/batch.msgpack
        family batches golden 3 >steps
        (set -o pipefail && stages run <steps >run/log)
        family check golden run 3 1e-4 5e-4 "^(transformer|token|positional|ln_final)" || complain "$size $options"
        rm -r run golden
    done <<'END'
64 mci0", "timm_proj": null, "timm_pool": "avg", "timm_model_kwargs": {"layers": [1,1,1,1], "embed_dims": [8,16,48,96]}
91 mci2", "timm_proj": "linear", "timm_pool": "avg", "timm_model_kwargs": {"layers": [2,1,1,2], "embed_dims": [20,20,40,160]}
70 mci4", "timm_proj": "mlp", "timm_proj_bias": true, "timm_pool": "avg", "timm_model_kwargs": {"layers": [1,2,1,1,1], "embed_dims": [4,12,24,96,96]}
END
}

@test "a FastViT's chunks: the same kept or computed again, with any number of threads; what they are is said" {
    need_shared golden/families
    need_python msgpack numpy
    local run
    family batches "$FAMILIES/mobileclip-s" 2 >steps
    for run in kept again one; do
        mkdir "$run"
        clip-model convert -q "$FAMILIES/mobileclip-s/open_clip" -o "$run/init"
    done
    stages kept --chunk 2 -j 3 <steps >log 2>err
    stages again --chunk 2 -j 2 --memory 0 <steps >/dev/null 2>&1
    stages one --chunk 2 -j 1 <steps >/dev/null 2>&1
    diff -r kept/step-00000002 again/step-00000002
    diff -r kept/step-00000002 one/step-00000002
    grep -q '"image.batch_norm_chunk":2[,}]' log
    grep -q "clip-encode-image: batch norm statistics are per chunk of 2 records, not per batch of 4" err
}

@test "a run on a FastViT goes on from its checkpoint to the same bytes; frozen it stays, running statistics too" {
    need_shared golden/families
    need_python msgpack numpy
    local run
    family batches "$FAMILIES/mobileclip2-s3" 4 >steps
    family batches "$FAMILIES/mobileclip2-s3" 2 >some
    for run in whole halves frozen; do
        mkdir "$run"
        clip-model convert -q "$FAMILIES/mobileclip2-s3/open_clip" -o "$run/init"
    done
    (set -o pipefail && stages whole <steps >log)
    (set -o pipefail && stages halves <some >log)
    family batches "$FAMILIES/mobileclip2-s3" 4 3 >rest
    (set -o pipefail && stages halves <rest >log)
    [ "$(jq -r .step log | paste -sd ' ')" = "3 4" ]
    diff -r whole/step-00000004 halves/step-00000004
    image=--freeze
    (set -o pipefail && stages frozen <some >log)
    equal <(clip-encode-image -m frozen/latest "$FAMILIES/mobileclip2-s3/batch.msgpack") \
        <(clip-encode-image -m frozen/init "$FAMILIES/mobileclip2-s3/batch.msgpack")
}

# Pictures of one pixel in the last stage: alone, one has no variance there.
@test "batch norm of one value is refused" {
    need_python msgpack numpy
    picture_arch '{"image_size": 32, "timm_model_name": "fastvit_mci0", "timm_pool": "avg",
        "timm_model_kwargs": {"layers": [1, 1, 1, 1], "embed_dims": [8, 16, 32, 64]}}'
    mkdir -p run golden
    clip-model init -q arch.json -o run/init 2>/dev/null
    family pairs arch.json 1 >golden/batch.msgpack
    family batches golden 1 >steps
    run -1 --separate-stderr clip-encode-image --train run --grad-in run/image steps
    [[ $stderr == *"batch norm needs more than one value per channel: use a larger chunk"* ]]
}

@test "FastViTs that are not supported, or that lie, are refused by name" {
    local words cfg
    while IFS='|' read -r words cfg; do
        picture_arch "$cfg"
        refuses "$words" clip-model info arch.json
    done <<'END'
fastvit_t8|{"timm_model_name": "fastvit_t8", "timm_pool": "avg"}
timm_pool: ""|{"timm_model_name": "fastvit_mci0", "timm_pool": ""}
layers is not a list of 5|{"timm_model_name": "fastvit_mci3", "timm_pool": "avg", "timm_model_kwargs": {"layers": [1, 2, 3, 4]}}
number 2 is not between|{"timm_model_name": "fastvit_mci0", "timm_pool": "avg", "timm_model_kwargs": {"layers": [1, -2, 3, 4]}}
width of 100 is not a multiple of the 64|{"timm_model_name": "fastvit_mci0", "timm_pool": "avg", "timm_model_kwargs": {"embed_dims": [64, 100, 200, 400]}}
heads of 32|{"timm_model_name": "fastvit_mci0", "timm_pool": "avg", "timm_model_kwargs": {"embed_dims": [6, 12, 24, 48]}}
mlp_ratios|{"timm_model_name": "fastvit_mci0", "timm_pool": "avg", "timm_model_kwargs": {"mlp_ratios": [3, 3, 3, 3]}}
END
}
