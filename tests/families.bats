# Families of models beside OpenAI's: golden results through the programs, their forms, names, refusals and training.
load helper
load family
load pictures
load train

# Folders of golden/families/families and models of golden/text/models that are read, and those that are not yet:
# whoever adds one moves it, with its configuration in share/architectures.
families=(clipa coca coca-base convnext convnext-mlp convnext-xxlarge eva01 eva02 eva02-e mobileclip-b mobileclip-s mobileclip2-l mobileclip2-s3 naflex naflex-resized naflex-siglip2 pe-core pe-core-g
    siglip siglip-floor siglip-i18n siglip2 siglip2-mixed swin vit-attn-pool vit-cosine vit-custom vit-gap vit-layer-scale vit-relpos vitamin vitamin-nopos)
families_refused=()
texts=(hf-altclip hf-bert-cls-linear hf-bert-max-none hf-chinese-clip hf-mt5-mean-mlp hf-nllb-cls-linear hf-roberta-cls-clap hf-roberta-mean-linear hf-xlmr-mean-mlp
    modern-bidir-map modern-causal-eos modern-extra tt-clipa tt-coca tt-custom tt-custom-cosine tt-eos tt-first-noproj tt-last-causal-bias tt-siglip)
texts_refused=()

setup_file() {
    start_family
}

teardown_file() {
    stop_family
}

setup() {
    mkdir "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work"
    FAMILIES=$SHARED/golden/families/families TEXTS=$SHARED/golden/text/models
}

# golden NAME: sets folder, the golden results; model, how the programs take it (MODEL [--arch ARCH]); weights, its
# file, which a recipe may have to make.
golden() {
    folder=$FAMILIES/$1
    model=("$folder/open_clip")
    weights=$folder/open_clip/open_clip_model.safetensors
    if [ -d "$TEXTS/$1" ]; then
        folder=$TEXTS/$1
        weights=$folder/model.safetensors
        model=("$weights" --arch "$folder/arch.json")
        [ -e "$folder/arch.json" ] || model=("$folder")
    elif [ -e "$folder/recipe.json" ]; then
        model=("$BATS_TEST_TMPDIR/recipe-$1")
        weights=${model[0]}/open_clip_model.safetensors
        [ -e "${model[0]}" ] || expand "$folder" "${model[0]}"
    fi
}

# expand FOLDER MODEL: the model that a golden folder's recipe stands for.
expand() {
    mkdir "$2"
    cp "$1/open_clip/open_clip_config.json" "$2"
    python "$SHARED/oracle/weights.py" "$1/recipe.json" "$2/open_clip_model.safetensors"
}

# embed MODEL...: embeddings of the records on stdin, features beside them; $options are the encoders'.
embed() {
    clip-encode-image --keep -m "$@" $options | clip-encode-text -m "$@" $options |
        clip-project-normalize --keep -m "$@"
}

# shapes MODEL [--arch ARCH]: the names and shapes of its parameters, sorted.
shapes() {
    local subject=$1
    shift
    (set -o pipefail && clip-model info --shapes "$subject" "$@" | LC_ALL=C sort)
}

# --- golden results ---

@test "every golden folder is among those that are read or refused" {
    need_shared golden/families
    need_shared golden/text/models
    equal <(ls "$FAMILIES") <(printf '%s\n' "${families[@]}" "${families_refused[@]%% *}" | LC_ALL=C sort)
    equal <(ls "$TEXTS") <(printf '%s\n' "${texts[@]}" "${texts_refused[@]%% *}" | LC_ALL=C sort)
}

@test "unit embeddings within 2e-6, logits with scale and bias within 2e-5" {
    need_shared golden/text/models
    need_python msgpack numpy
    local name
    for name in "${families[@]}" "${texts[@]}" siglip2/hf; do
        golden "${name%/hf}"
        [ "${name#*/}" != hf ] || model=("$folder/hf")
        embed "${model[@]}" <"$folder/batch.msgpack" >got
        clip-cmp -q -t 2e-6 -f image_embedding,text_embedding got "$folder/forward.msgpack" || complain "$name"
        clip-simmatrix --scale model -m "${model[@]}" got >scores
        family logits "$folder/forward.msgpack" scores 2e-5 || complain "$name"
    done
}

@test "no byte changes with -b, -j and the order of the records" {
    need_shared golden/text/models
    need_python msgpack numpy
    local name options
    for name in eva02 mobileclip-b vitamin vit-relpos swin naflex-resized naflex-siglip2 pe-core siglip-floor siglip2 coca vit-attn-pool vit-custom vit-cosine clipa vit-gap \
        hf-xlmr-mean-mlp hf-bert-max-none hf-nllb-cls-linear tt-coca tt-custom modern-bidir-map modern-extra; do
        golden "$name"
        family turned "$folder/batch.msgpack" 11 >in
        options="-b 1 -j 1"
        embed "${model[@]}" <in >want
        for options in "-b 5 -j 1" "-b 4 -j 2" "-b 64 -j 3"; do
            embed "${model[@]}" <in >got
            cmp want got || complain "$name: $options"
        done
        family same want || complain "$name: the same record differs elsewhere"
        options="-b 3 -j 2 --precision bf16"
        if embed "${model[@]}" <in >got 2>/dev/null; then
            options="-b 64 -j 1 --precision bf16"
            embed "${model[@]}" <in >half
            cmp got half || complain "$name: bf16"
            family cosine want got 0.999 || complain "$name: bf16"
        fi
        # Swin, which has blocks of its own, is in f32 or bf16 alone.
        options="-b 3 -j 2 --precision int8"
        if embed "${model[@]}" <in >got 2>/dev/null; then
            options="-b 64 -j 1 --precision int8"
            embed "${model[@]}" <in >half
            cmp got half || complain "$name: int8"
            family cosine want got 0.99 || complain "$name: int8"
        fi
    done
}

@test "modern text towers of other options and sizes, of captions that are short, padded between, without end" {
    need_shared golden/text/models
    need_python msgpack numpy torch
    local option sizes='"text_arch": "modern", "vocab_size": 90, "pad_id": 87, "eos_id": 88, "layers": 3'
    while read -r option; do
        echo "{\"embed_dim\": 24, \"custom_text\": true, \"vision_cfg\": {\"image_size\": 32, \"patch_size\": 16, \"width\": 64,
            \"layers\": 1}, \"text_cfg\": {$sizes, $option}}" >arch.json
        rm -rf model
        clip-model init -q arch.json -o model
        family trained model/open_clip_model.safetensors
        family captions model >in
        clip-encode-text --keep -m model in | clip-project-normalize -m model >got
        family texts model got 2e-6 || complain "$option"
        clip-encode-text --keep -b 1 -j 2 -m model in | clip-project-normalize -m model >again
        cmp got again || complain "$option: the batch"
    done <<'END'
"width": 40, "heads": 5, "context_length": 11, "pool_type": "argmax", "norm_type": "layernorm", "mlp_type": "mlp"
"width": 40, "heads": 2, "context_length": 19, "pool_type": "eos", "value_residual": true, "attention_mode": "bidirectional", "qk_norm": true
"width": 48, "heads": 4, "context_length": 9, "pool_type": "map", "reg_tokens": 2, "attention_bias": true, "mlp_bias": true, "pos_embed": "none"
"width": 36, "heads": 3, "context_length": 17, "pool_type": "mean", "value_residual": true, "attn_gated": true, "gate_bias": true, "reg_tokens": 1
"width": 48, "heads": 4, "context_length": 13, "pool_type": "eos", "reg_tokens": 5, "norm_placement": "sandwich", "pre_norm": true, "rope_temperature": 100
"width": 64, "heads": 2, "context_length": 8, "pool_type": "map", "attention_mode": "bidirectional", "mlp_type": "relu2", "ls_init_value": 0.5, "proj_bias": true, "qk_norm": true
END
}

# In full size, as published; the weights are expanded from a recipe.
@test "models of full size: EVA02-B-16, PE-Core-T-16-384, ViTamin-S" {
    [ -n "${CLIP_LONG:-}" ] || skip CLIP_LONG
    need_shared golden/families/real
    need_python msgpack numpy
    local name options=
    for name in EVA02-B-16 PE-Core-T-16-384 ViTamin-S; do
        folder=$SHARED/golden/families/real/real-$name
        expand "$folder" "$name"
        equal <(shapes "$name/open_clip_config.json") <(shapes "$name")
        embed "$name" <"$folder/batch.msgpack" >got
        clip-cmp -q -t 2e-6 -f image_embedding,text_embedding got "$folder/forward.msgpack" || complain "$name"
        clip-simmatrix --scale model -m "$name" got >scores
        family logits "$folder/forward.msgpack" scores 2e-5 || complain "$name"
        rm -r "$name"
    done
    # a lone file is recognised by its shapes, with its preprocessing
    clip-model init -q PE-Core-T-16-384 -o model.safetensors
    [[ $(clip-model info model.safetensors) == *"[0.5, 0.5, 0.5]"*"resizing      squash, bilinear"* ]]
    clip-model init -q --image-size 512 ViT-B-16-SigLIP -o large.safetensors
    [[ $(clip-model info large.safetensors) == *"image 512, vit_base_patch16_siglip_512"* ]]
}

@test "picture towers of other sizes and options, against PyTorch" {
    need_shared oracle/famref.py
    need_python msgpack numpy torch
    local size options
    while read -r size options; do
        tower_like_pytorch "$size" "$options"
        clip-model convert -q model -o again.safetensors
        equal want <(clip-encode-image --keep -m again.safetensors in)
        rm -r model again.safetensors
    done <<'END'
91 vit_base_mci_224", "timm_proj": "linear", "timm_pool": "token", "timm_model_kwargs": {"img_size": 91, "depth": 2, "num_heads": 8, "mlp_ratio": 0.5, "init_values": 0.1}
32 vit_base_mci_224", "timm_proj": null, "timm_pool": "token", "timm_model_kwargs": {"depth": 1, "mlp_ratio": 1, "pos_embed": "none"}
91 vitamin_small_224", "timm_pool": "", "timm_proj": "linear", "timm_model_kwargs": {"img_size": 91, "depth": 1, "num_heads": 4, "mlp_ratio": 0.5}
50 vitamin_large2_336", "timm_pool": "avg", "timm_proj": "mlp", "timm_model_kwargs": {"img_size": 50, "depth": 1, "mlp_ratio": 0.25, "init_values": 0.1}
33 vitamin_xlarge_384", "timm_pool": "", "timm_proj": "linear", "timm_model_kwargs": {"depth": 1, "mlp_ratio": 0.5}
60 vit_relpos_medium_patch16_cls_224", "timm_pool": "token", "timm_proj": null, "timm_model_kwargs": {"img_size": 60, "patch_size": 20, "embed_dim": 24, "depth": 2, "num_heads": 3, "rel_pos_dim": 5, "mlp_ratio": 3}
48 vit_relpos_small_patch16_224", "timm_pool": "", "timm_model_kwargs": {"img_size": 48, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
48 vit_relpos_base_patch16_plus_240", "timm_pool": "avg", "timm_proj": "none", "timm_model_kwargs": {"img_size": 48, "patch_size": 12, "embed_dim": 20, "depth": 1, "num_heads": 4}
90 swin_tiny_patch4_window7_224", "timm_pool": "", "timm_model_kwargs": {"img_size": 90, "embed_dim": 12, "depths": [2, 3], "num_heads": [2, 3], "mlp_ratio": 1.3}
66 swin_base_patch4_window12_384", "timm_pool": "avg", "timm_proj": null, "timm_model_kwargs": {"img_size": 66, "patch_size": 3, "embed_dim": 8, "depths": [2, 1, 1], "num_heads": [1, 2, 4], "window_size": 5}
64 swin_s3_tiny_224", "timm_pool": "", "timm_proj": "linear", "timm_model_kwargs": {"img_size": 64, "embed_dim": 6, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 3, 4], "window_size": [4, 4, 4, 4]}
64 naflexvit_base_patch16_gap", "timm_model_kwargs": {"embed_dim": 24, "depth": 2, "num_heads": 2, "patch_size": 8, "pos_embed_grid_size": [3, 7], "mlp_ratio": 2, "reg_tokens": 1}
63 naflexvit_so150m2_patch16_reg1_gap", "timm_pool": "avg", "timm_model_kwargs": {"embed_dim": 24, "depth": 1, "num_heads": 3, "patch_size": 7, "init_values": null, "reg_tokens": 0}
64 naflexvit_base_patch16_map", "timm_pool": "map", "timm_proj": "mlp", "timm_model_kwargs": {"embed_dim": 36, "depth": 2, "num_heads": 3, "swiglu_mlp": true, "mlp_ratio": 2.6666667, "attn_pool_mlp_ratio": 4.0}
48 naflexvit_so150m2_patch16_reg1_map", "timm_pool": "map", "timm_proj": "none", "timm_model_kwargs": {"embed_dim": 20, "depth": 1, "num_heads": 2, "reg_tokens": 3, "attn_pool_num_heads": 4, "patch_size": 12}
96 naflexvit_so400m_patch16_siglip", "image_seq_len": 64, "timm_pool": "map", "timm_proj": "none", "timm_model_kwargs": {"embed_dim": 20, "depth": 1, "num_heads": 2, "patch_size": 6, "pos_embed_grid_size": [20, 9]}
END
}

# --- forms ---

@test "converted to open_clip's folder and to a lone file and back: the same tensors, the same embeddings" {
    need_shared golden/text/models
    need_python msgpack numpy
    local name source options=
    for name in "${families[@]}" "${texts[@]}" siglip2/hf; do
        golden "${name%/hf}"
        [ "${name#*/}" != hf ] || model=("$folder/hf")
        clip-model convert -q "${model[@]}" -o model
        source=$weights
        if [ -e "$folder/config.json" ]; then # the names are Hugging Face's
            clip-model convert -q --to hf model -o hf
            family tensors "$weights" hf/model.safetensors || complain "$name"
            rm -r hf
            source=model/open_clip_model.safetensors
        fi
        family tensors "$source" model/open_clip_model.safetensors || complain "$name"
        embed "${model[@]}" <"$folder/batch.msgpack" >want
        embed model <"$folder/batch.msgpack" >got
        cmp want got || complain "$name: the folder"
        clip-model convert -q model -o lone.safetensors
        family tensors "$source" lone.safetensors || complain "$name"
        embed lone.safetensors <"$folder/batch.msgpack" >got
        cmp want got || complain "$name: the file"
        clip-model convert -q lone.safetensors -o again
        diff -r model again || complain "$name: back"
        equal <(clip-model info model | grep -v '^path ' | sed 1d) <(clip-model info again | grep -v '^path ' | sed 1d)
        rm -r model again
    done
}

# Byte for byte, but for what files may leave out.
@test "Hugging Face's SiglipModel becomes open_clip's folder and the other way round, byte for byte" {
    need_shared golden/families
    need_python msgpack numpy
    local name options=
    clip-model convert -q "$FAMILIES/siglip2/hf" -o from-hf
    clip-model convert -q "$FAMILIES/siglip2/open_clip" -o from-open-clip
    cmp from-hf/open_clip_model.safetensors from-open-clip/open_clip_model.safetensors
    cmp from-hf/open_clip_model.safetensors "$FAMILIES/siglip2/open_clip/open_clip_model.safetensors"
    clip-model convert -q --to hf from-open-clip -o hf
    cmp hf/model.safetensors "$FAMILIES/siglip2/hf/model.safetensors"
    for name in siglip siglip-floor siglip2 siglip2-mixed; do
        golden "$name"
        rm -rf hf back
        clip-model convert -q --to hf "${model[@]}" -o hf
        grep -q '"model_type": "siglip",' hf/config.json
        grep -q SiglipImageProcessor hf/preprocessor_config.json
        clip-model convert -q hf -o back
        cmp "$folder/open_clip/open_clip_model.safetensors" back/open_clip_model.safetensors || complain "$name"
        embed "${model[@]}" <"$folder/batch.msgpack" >want
        embed hf <"$folder/batch.msgpack" >got
        cmp want got || complain "$name"
    done
    clip-model convert -q --to hf --shard-size 64kB "${model[@]}" -o shards
    [ -e shards/model.safetensors.index.json ]
    embed shards <"$folder/batch.msgpack" >got
    cmp want got
}

@test "a SiglipModel folder without preprocessor_config.json has SigLIP's preprocessing; with one of no type, its defaults" {
    need_shared golden/families
    cp -r "$FAMILIES/siglip2/hf" hf
    chmod -R u+w hf
    rm -f hf/preprocessor_config.json
    [[ $(clip-model info hf) == *"mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5], converted to RGB before resizing"*"resizing      squash, bicubic"* ]]
    echo '{"resample": 2}' >hf/preprocessor_config.json
    [[ $(clip-model info hf) == *"mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5]"*"resizing      squash, bilinear"* ]]
    echo '{"image_processor_type": "CLIPImageProcessor"}' >hf/preprocessor_config.json
    [[ $(clip-model info hf) == *"mean [0.48145466,"*"resizing      shortest, bicubic"* ]]
}

@test "a text encoder of transformers keeps its name: XLM-R's is not RoBERTa's, which has the same arithmetic" {
    need_shared golden/text/models
    local name type
    while read -r name type; do
        golden "$name"
        rm -rf model
        clip-model convert -q "${model[@]}" -o model
        grep -q "\"hf_model_name\": \"$type\"" model/open_clip_config.json || complain "$name"
        clip-model convert -q model -o lone.safetensors
        [[ $(clip-model info --json lone.safetensors) == *"\"model_type\":\"${type%-base*}\""* ]] || complain "$name"
    done <<'END'
hf-xlmr-mean-mlp xlm-roberta-base
hf-roberta-mean-linear roberta-base
hf-bert-max-none bert-base-uncased
END
    [[ $(clip-model info xlm-roberta-large-ViT-H-14) == *", xlm-roberta, "* ]]
    [[ $(clip-model info coca_roberta-ViT-B-32) == *"context 77, roberta, "*"projection linear"*"mean_pooler"* ]]
}

@test "Chinese-CLIP and AltCLIP: Hugging Face's folder back from open_clip's names, byte for byte" {
    need_shared golden/text/models
    local name
    for name in hf-chinese-clip hf-altclip; do
        golden "$name"
        rm -rf hf open_clip back
        clip-model convert -q --to hf "${model[@]}" -o hf
        clip-model convert -q "${model[@]}" -o open_clip
        clip-model convert -q --to hf open_clip -o back
        cmp hf/model.safetensors back/model.safetensors || complain "$name"
        cmp hf/config.json back/config.json || complain "$name"
    done
    
    golden hf-chinese-clip
    run -0 clip-model info "${model[@]}"
    [[ $output == *"context 22, bert,"*"cls_last_hidden_state_pooler"* ]] || complain "$output"
}

# A caption may be shorter than the context where nothing sees padding; what is published cuts and pads to 52.
@test "Chinese-CLIP: the context of published models; captions that are shorter" {
    need_shared golden/text/models
    need_python msgpack numpy
    golden hf-chinese-clip
    cp -r "$folder" long
    chmod -R u+w long
    sed -i 's/"max_position_embeddings": 22/"max_position_embeddings": 80/' long/config.json
    refuses "[22, 48], but should be [80, 48]" clip-model info long
    cp "$folder/model.safetensors" long
    run -0 clip-model info --json "${model[@]}"
    [[ $output == *'"context_length":22,'* ]] || complain "$output"
    clip-encode-text -m "${model[@]}" "$folder/batch.msgpack" >text
    local name
    for name in hf-bert-cls-linear hf-mt5-mean-mlp modern-causal-eos modern-extra; do
        golden "$name"
        family shorter "$folder/batch.msgpack" 8 >in
        clip-encode-text -m "${model[@]}" in >got
        clip-encode-text -m "${model[@]}" "$folder/batch.msgpack" >want
        family rows got want 2 || complain "$name"
    done
}

@test "MetaCLIP 2: the first token of the configuration's id is the end, 2 too, and convert goes both ways" {
    need_python msgpack numpy
    local options=
    cat >arch.json <<'END'
{"embed_dim": 16, "quick_gelu": true,
 "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 64, "layers": 1},
 "text_cfg": {"context_length": 8, "vocab_size": 40, "width": 32, "heads": 2, "layers": 2, "pool_type": "eos", "eos_id": 2}}
END
    clip-model init -q arch.json -o model
    clip-model convert -q --to hf model -o hf
    grep -q '"model_type": "metaclip_2"' hf/config.json
    grep -q '"eos_token_id": 2' hf/config.json
    clip-model convert -q hf -o back
    cmp model/open_clip_model.safetensors back/open_clip_model.safetensors
    [[ $(clip-model info hf) == *"end token     2"* ]]
    sed 's/"metaclip_2/"clip/' hf/config.json >config.json
    mv config.json hf
    [[ $(clip-model info hf) == *"end token     the largest id"* ]]
    [ -d "$TEXTS" ] || return 0
    golden tt-eos
    clip-model convert -q --to hf "${model[@]}" -o eos
    embed "${model[@]}" <"$folder/batch.msgpack" >want
    embed eos <"$folder/batch.msgpack" >got
    cmp want got
}

@test "what Hugging Face's form of CLIP cannot say is refused before anything is made" {
    need_shared golden/text/models
    local name words
    while read -r name words; do
        golden "$name"
        refuses "$words" clip-model convert -q --to hf "${model[@]}" -o hf
        [ ! -e hf ] || complain "$name"
    done <<'END'
siglip-i18n only text towers without a mask
eva02 only image towers like SigLIP's own
pe-core only image towers like SigLIP's own
mobileclip2-l only image towers like SigLIP's own
vit-gap only image towers like SigLIP's own
convnext no ConvNeXts
mobileclip-b no timm hybrid vision transformers
vitamin no ViTamins
swin no Swin transformers
vit-relpos only image towers like SigLIP's own
naflex only image towers like SigLIP's own
naflex-siglip2 only image towers like SigLIP's own
clipa only image towers with ln_pre
coca only image towers with ln_pre
vit-attn-pool only image towers with ln_pre
vit-layer-scale no blocks like those of the vision tower
vit-custom only image towers with ln_pre
vit-cosine no blocks like those of the vision tower
hf-roberta-mean-linear no such transformers text encoder
hf-nllb-cls-linear no such transformers text encoder
modern-extra no modern text transformers
tt-first-noproj only causal text towers
tt-siglip only causal text towers
tt-last-causal-bias only causal text towers
tt-custom no blocks like those of the text tower
tt-coca only causal text towers
END
}

@test "what info says of a SigLIP, of an EVA02, of RoBERTa" {
    need_shared golden/text/models
    golden siglip
    run -0 clip-model info "${model[@]}"
    [[ $output == *"vit_base_patch16_siglip_224"*"gelu"*"mask          none"*"the last position"* ]] || complain "$output"
    [[ $(clip-model info --json "${model[@]}") == *timm_model_name*vit_base_patch16_siglip_224* ]]
    golden eva02
    run -0 clip-model info "${model[@]}"
    [[ $output == *"eva02_base_patch16_clip_224"*"silu"* ]] || complain "$output"
    golden hf-roberta-mean-linear
    run -0 clip-model info "${model[@]}"
    [[ $output == *"roberta"*"mean_pooler"* ]] || complain "$output"
}

@test "each architecture can be initialised, and its first embeddings are finite and differ" {
    need_shared golden/text/models
    need_python msgpack numpy
    local name options=
    for name in "${families[@]}" "${texts[@]}"; do
        golden "$name"
        [ -e "$folder/arch.json" ] || continue # a folder of Hugging Face
        clip-model init -q "$folder/arch.json" -o model.safetensors
        embed model.safetensors <"$folder/batch.msgpack" >got || complain "$name"
        family finite got || complain "$name"
    done
}

# --- image sizes ---

@test "convert --image-size: positions resampled as PyTorch does, embeddings as the reference's of that size" {
    need_shared golden/families
    need_python msgpack numpy torch
    local name size before options=
    while read -r name size before; do
        golden "$name"
        rm -rf model
        clip-model convert -q --image-size "$size" "${model[@]}" -o model
        family resampled "$weights" model/open_clip_model.safetensors "$before" || complain "$name"
        family pixels "$size" 3 >in
        clip-encode-image --keep -m model in | clip-project-normalize -m model >got
        family embeddings model got 2e-6 || complain "$name"
    done <<'END'
siglip 48 0
siglip-floor 22 0
eva02 64 1
pe-core 72 1
pe-core-g 24 0
mobileclip2-l 56 1
clipa 56 1
vit-custom 64 1
coca 24 1
mobileclip-b 96 0
vitamin 96 0
naflex 48 -
swin 140 -
vit-relpos 48 -
END
}

@test "a size that does not fit is refused in a line that names those that do; other towers just take it" {
    need_shared golden/families
    golden vit-custom
    refuses "image size 41 is not a multiple of the patch size 8, as 40 and 48 are" clip-model convert -q --image-size 41 "${model[@]}" -o model
    refuses "sizes from 8 on fit" clip-model convert -q --image-size 7 "${model[@]}" -o model
    refuses "image size 250 is not a multiple of the stride 32, as 224 and 256 are" clip-model init -q --image-size 250 RN50 -o model
    refuses "the least is 32" clip-model init -q --image-size 31 convnext_tiny -o model
    [ ! -e model ]
    echo '{"embed_dim": 8, "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 224}, "text_cfg": {"vocab_size": 600, "width": 64, "heads": 1, "layers": 1}}' >rn.json
    clip-model init -q --image-size 64 rn.json -o small
    [[ $(clip-model info --shapes small) == *"visual.attnpool.positional_embedding [5, 256]"* ]]
    refuses "for images of 64 alone" clip-model convert -q --image-size 96 small -o more
    golden swin
    refuses "windows are for sizes from 112 to 16384" clip-model convert -q --image-size 96 "${model[@]}" -o more
    refuses "the least is 16" clip-model init -q --image-size 12 "$folder/open_clip/open_clip_config.json" -o more
    golden naflex
    refuses "not a multiple of the patch size 8, as 48 and 56 are" clip-model convert -q --image-size 50 "${model[@]}" -o more
    [ ! -e more ]
    golden vit-custom
    run -2 clip-model convert --image-size 0 "${model[@]}" -o model
    run -2 clip-model info --image-size 32 "${model[@]}"
    golden convnext
    clip-model convert -q --image-size 96 "${model[@]}" -o model
    [[ $(clip-model info model) == *"image 96"* ]]
    cmp {"$folder/open_clip",model}/open_clip_model.safetensors
    echo '{"embed_dim": 8, "vision_cfg": {"layers": 1, "width": 64, "image_size": 224, "patch_size": 32}, "text_cfg": {"vocab_size": 600, "width": 64, "heads": 1, "layers": 1}}' >vit.json
    clip-model init -q --image-size 448 vit.json -o large.safetensors
    [[ $(clip-model info --shapes large.safetensors) == *"visual.positional_embedding [197, 64]"* ]]
}

# As open_clip: of its own towers alone, where the file has another number of positions than the configuration.
@test "an open_clip folder whose configuration has another image size or context: positions are resampled on loading" {
    need_shared golden/families
    need_python msgpack numpy torch
    local options=
    golden vit-custom
    cp -r "$folder/open_clip" other
    chmod -R u+w other
    sed -i 's/"image_size": [0-9]*/"image_size": 64/; s/"context_length": [0-9]*/"context_length": 20/' other/open_clip_config.json
    [ "$(grep -c '"image_size": 64\|"context_length": 20' other/open_clip_config.json)" -eq 2 ]
    clip-model convert -q other -o model
    family resampled other/open_clip_model.safetensors model/open_clip_model.safetensors 1
    family pixels 64 3 >in
    clip-encode-image -m other in >want
    clip-encode-image -m model in >got
    cmp want got
    clip-model convert -q -d f16 "${model[@]}" -o half
    clip-model convert -q --image-size 48 half -o half-48
    family resampled half/open_clip_model.safetensors half-48/open_clip_model.safetensors 1
    golden siglip
    cp -r "$folder/open_clip" timm
    chmod -R u+w timm
    sed -i 's/"image_size": 32/"image_size": 64/; s/"img_size": 32/"img_size": 64/' timm/open_clip_config.json
    refuses "visual.trunk.pos_embed is [1, 16, 48], but should be [1, 64, 48]" clip-encode-image -m timm in
    # A configuration that lies does not fill the memory.
    sed -i 's/"image_size": 64/"image_size": 16384/' other/open_clip_config.json
    refuses "visual.positional_embedding is [17, 48], but should be [4194305, 48]" "$BUILD/tests/tools/peak" kb clip-encode-image -m other in
    [ "$(cat kb)" -lt 100000 ]
}

# --- names ---

@test "clip-model list: OpenAI's names, then the files of share/architectures; each is an architecture" {
    local name
    clip-model list >names
    equal <(head -n 9 names) <(printf '%s\n' RN50 RN101 RN50x4 RN50x16 RN50x64 ViT-B/32 ViT-B/16 ViT-L/14 ViT-L/14@336px)
    equal <(tail -n +10 names) <(find "$SRC/share/architectures" -name '*.json' -printf '%f\n' | sed 's/\.json$//' | LC_ALL=C sort)
    while read -r name; do
        clip-model info "$name" >info || complain "$name"
        grep -q '^parameters ' info || complain "$name"
    done <names
    run -2 clip-model list RN50
    run -2 clip-model list -o x
    refuses "clip-model list" clip-model info ViT-B-33
    refuses "No such file" clip-model init ../architectures/EVA02-B-16 -o model
    # A file of that name does not stand before it.
    cp "$SRC/share/architectures/ViT-B-32-256.json" EVA02-B-16.json
    equal <(clip-model info --shapes EVA02-B-16) <(clip-model info --shapes "$SRC/share/architectures/EVA02-B-16.json")
}

# Those of the decoder, which makes captions, are not read; batch norm's statistics are no parameters.
@test "the names of open_clip: parameters, names and shapes as published" {
    need_shared golden/families/named.jsonl.gz
    need_python json
    family named "$SHARED/golden/families/named.jsonl.gz" >want
    [ "$(wc -l <want)" -eq 143 ]
    local name parameters sum
    while read -r name parameters sum; do
        shapes "$name" >shapes
        [ "$(sed -n 's/^parameters: //p' shapes)" = "$parameters" ] || complain "$name: parameters"
        [ "$(grep -v '^parameters: ' shapes | sha256sum | cut -d ' ' -f 1)" = "$sum" ] || complain "$name: names"
    done <want
}

# Tags of published weights that agree: SigLIP, CLIPA, PE-Core, MobileCLIP and those of 378 have ways of their own.
@test "the names of open_clip: the preprocessing of published weights" {
    need_shared golden/families/named.jsonl.gz
    need_python json
    local names n
    mapfile -t names < <(clip-model list)
    [ "${#names[@]}" -gt 100 ]
    for n in "${!names[@]}"; do
        clip-model info --json "${names[n]}" >"info-$n"
    done
    family prepared "$SHARED/golden/families/named.jsonl.gz" "${names[@]}"
    grep -q '"clean": "canonicalize"' "$SRC/share/architectures/ViT-B-16-SigLIP.json"
}

# open_clip's own counts, of its table of models; the decoder of captions aside.
@test "names with a text tower of transformers: parameters" {
    local name parameters
    while read -r name parameters; do
        [ "$(clip-model info "$name" | sed -n 's/^parameters *\([0-9,]*\) .*/\1/p')" = "$parameters" ] || complain "$name"
        [ -n "$(clip-model info --shapes "$name" | sed -n '/^text\.transformer\./p')" ] || complain "$name"
        run -1 grep -E '^(transformer|proj)\.' <(clip-model info --shapes "$name")
    done <<'END'
roberta-ViT-B-32 212,723,457
xlm-roberta-base-ViT-B-32 366,121,473
xlm-roberta-large-ViT-H-14 1,193,014,785
mt5-base-ViT-B-32 365,708,673
mt5-xl-ViT-H-14 2,306,754,049
nllb-clip-base 501,885,185
nllb-clip-base-siglip 507,474,178
nllb-clip-large 1,399,216,641
nllb-clip-large-siglip 1,195,496,514
coca_roberta-ViT-B-32 212,297,473
END
}

# --- refusals ---

@test "families that are not supported are refused in a line that names the option" {
    need_shared golden/text/models
    local name words
    while read -r name words; do
        folder=$FAMILIES/$name
        [ -d "$folder" ] || folder=$TEXTS/$name
        if [ -e "$folder/arch.json" ]; then
            refuses "$words" clip-model info "$folder/arch.json"
            refuses "$words" clip-model init "$folder/arch.json" -o model
        else
            refuses "$words" clip-model info "$folder"
        fi
        [ ! -e model ] || complain "$name"
    done < <(printf '%s\n' "${families_refused[@]}" "${texts_refused[@]}")
}

@test "configurations that lie are refused by name" {
    local words cfg
    while IFS='|' read -r words cfg; do
        echo "{\"embed_dim\": 48, \"custom_text\": true, $cfg}" >arch.json
        refuses "$words" clip-model info arch.json
    done <<'END'
heads|"vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none", "timm_model_kwargs": {"embed_dim": 48, "num_heads": 5}}, "text_cfg": {}
depth|"vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none", "timm_model_kwargs": {"depth": 1000000000}}, "text_cfg": {}
image_size|"vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none", "image_size": 256}, "text_cfg": {}
timm_pool|"vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "avg", "timm_proj": "none"}, "text_cfg": {}
768 features|"vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none"}, "text_cfg": {}
wrong|"vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_model_kwargs": {"wrong": 1}}, "text_cfg": {}
embed_dim is 384, but the convolutions of vit_base_mci_224 have 768|"vision_cfg": {"timm_model_name": "vit_base_mci_224", "timm_pool": "token", "timm_proj": null, "timm_model_kwargs": {"embed_dim": 384}}, "text_cfg": {}
patch_size|"vision_cfg": {"timm_model_name": "vit_base_mci_224", "timm_pool": "token", "timm_proj": null, "timm_model_kwargs": {"patch_size": 2}}, "text_cfg": {}
pos_embed: "sines"|"vision_cfg": {"timm_model_name": "vit_base_mci_224", "timm_pool": "token", "timm_proj": null, "timm_model_kwargs": {"pos_embed": "sines"}}, "text_cfg": {}
pos_embed_grid_size|"vision_cfg": {"timm_model_name": "naflexvit_base_patch16_gap", "timm_model_kwargs": {"pos_embed_grid_size": [7]}}, "text_cfg": {}
pos_embed_grid_size|"vision_cfg": {"timm_model_name": "naflexvit_base_patch16_gap", "timm_model_kwargs": {"pos_embed_grid_size": [7, 100000]}}, "text_cfg": {}
not a multiple of the patch size|"vision_cfg": {"timm_model_name": "naflexvit_base_patch16_gap", "image_size": 225}, "text_cfg": {}
swiglu_mlp|"vision_cfg": {"timm_model_name": "naflexvit_base_patch16_gap", "timm_model_kwargs": {"swiglu_mlp": true}}, "text_cfg": {}
rope_type|"vision_cfg": {"timm_model_name": "naflexvit_base_patch16_gap", "timm_model_kwargs": {"rope_type": "axial"}}, "text_cfg": {}
image_size is 256, but the pictures of vitamin_large_224 are of 224|"vision_cfg": {"timm_model_name": "vitamin_large_224", "timm_pool": "", "image_size": 256}, "text_cfg": {}
embed_dim is 512|"vision_cfg": {"timm_model_name": "vitamin_small_224", "timm_pool": "", "timm_model_kwargs": {"embed_dim": 512}}, "text_cfg": {}
rel_pos_type|"vision_cfg": {"timm_model_name": "vit_relpos_medium_patch16_cls_224", "timm_pool": "", "timm_model_kwargs": {"rel_pos_type": "swin"}}, "text_cfg": {}
depths: number 2|"vision_cfg": {"timm_model_name": "swin_base_patch4_window7_224", "timm_pool": "", "timm_model_kwargs": {"depths": [2, 0]}}, "text_cfg": {}
depths is not a list|"vision_cfg": {"timm_model_name": "swin_base_patch4_window7_224", "timm_pool": "", "timm_model_kwargs": {"depths": [1, 1, 1, 1, 1, 1]}}, "text_cfg": {}
num_heads: there are 3 stages|"vision_cfg": {"timm_model_name": "swin_base_patch4_window7_224", "timm_pool": "", "timm_model_kwargs": {"depths": [1, 1, 1], "num_heads": [1, 2]}}, "text_cfg": {}
cannot be split into 3 heads|"vision_cfg": {"timm_model_name": "swin_base_patch4_window7_224", "timm_pool": "", "timm_model_kwargs": {"num_heads": [3, 3, 3, 3]}}, "text_cfg": {}
window_size|"vision_cfg": {"timm_model_name": "swin_base_patch4_window7_224", "timm_pool": "", "timm_model_kwargs": {"window_size": [7, 7, 7]}}, "text_cfg": {}
too small for 4 stages|"vision_cfg": {"timm_model_name": "swin_base_patch4_window7_224", "timm_pool": "", "image_size": 28, "timm_model_kwargs": {"img_size": 28}}, "text_cfg": {}
does not fit the windows of stage 1, which are of 7|"vision_cfg": {"timm_model_name": "swin_base_patch4_window7_224", "timm_pool": "", "image_size": 228, "timm_model_kwargs": {"img_size": 228}}, "text_cfg": {}
ape|"vision_cfg": {"timm_model_name": "swin_base_patch4_window7_224", "timm_pool": "", "timm_model_kwargs": {"ape": true}}, "text_cfg": {}
vit_base_patch16_siglip_225|"vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_225"}, "text_cfg": {}
rotary|"vision_cfg": {"timm_model_name": "eva02_base_patch16_clip_224", "timm_pool": "token", "timm_proj": null, "timm_model_kwargs": {"embed_dim": 66, "num_heads": 11}}, "text_cfg": {}
layer scale|"vision_cfg": {"timm_model_name": "eva02_base_patch16_clip_224", "timm_pool": "token", "timm_proj": null, "timm_model_kwargs": {"init_values": 0.1}}, "text_cfg": {}
init_logit_bias|"init_logit_bias": "ten", "vision_cfg": {}, "text_cfg": {}
7 heads|"vision_cfg": {"attentional_pool": true, "attn_pooler_heads": 7}, "text_cfg": {}
attentional_pool|"vision_cfg": {"attentional_pool": "parallel"}, "text_cfg": {}
pool_type|"vision_cfg": {"pool_type": "none"}, "text_cfg": {}
qk_norm|"vision_cfg": {"qk_norm": true, "scaled_cosine_attn": true}, "text_cfg": {}
pool_type|"vision_cfg": {}, "text_cfg": {"pool_type": "middle"}
proj_type|"vision_cfg": {}, "text_cfg": {"proj_type": "mlp"}
hf_model_name|"vision_cfg": {}, "text_cfg": {"hf_model_name": "roberta-tiny"}
hf_pooler_type|"vision_cfg": {}, "text_cfg": {"hf_model_name": "roberta-base", "hf_pooler_type": "sum_pooler"}
hf_proj_type|"vision_cfg": {}, "text_cfg": {"hf_model_name": "roberta-base", "hf_proj_type": "quadratic"}
heads|"vision_cfg": {}, "text_cfg": {"hf_model_name": "roberta-base", "hf_model_config": {"num_attention_heads": 7}}
num_hidden_layers|"vision_cfg": {}, "text_cfg": {"hf_model_name": "roberta-base", "hf_model_config": {"num_hidden_layers": 1000000000}}
positions|"vision_cfg": {}, "text_cfg": {"hf_model_name": "roberta-base", "context_length": 513}
rotary|"vision_cfg": {}, "text_cfg": {"text_arch": "modern", "eos_id": 2, "width": 60, "heads": 20}
eos_id|"vision_cfg": {}, "text_cfg": {"text_arch": "modern"}
pool_type|"vision_cfg": {}, "text_cfg": {"text_arch": "modern", "eos_id": 2, "pool_type": "last"}
mlp_type|"vision_cfg": {}, "text_cfg": {"text_arch": "modern", "eos_id": 2, "mlp_type": "geglu"}
reg_tokens|"vision_cfg": {}, "text_cfg": {"text_arch": "modern", "eos_id": 2, "reg_tokens": 1000000000}
end token|"vision_cfg": {}, "text_cfg": {"text_arch": "modern", "eos_id": 49408}
padding|"vision_cfg": {}, "text_cfg": {"text_arch": "modern", "eos_id": 2, "pad_id": 49408}
wrong|"vision_cfg": {}, "text_cfg": {"text_arch": "modern", "eos_id": 2, "wrong": 1}
text_arch|"vision_cfg": {}, "text_cfg": {"text_arch": "ancient"}
hf_model_name|"vision_cfg": {}, "text_cfg": {"hf_model_name": "Alibaba-NLP/gte-modernbert-base"}
position_embedding_type|"vision_cfg": {}, "text_cfg": {"hf_model_name": "bert-base-uncased", "hf_model_config": {"position_embedding_type": "relative_key"}}
hidden_act|"vision_cfg": {}, "text_cfg": {"hf_model_name": "roberta-base", "hf_model_config": {"hidden_act": "mish"}}
padding|"vision_cfg": {}, "text_cfg": {"hf_model_name": "roberta-base", "hf_model_config": {"pad_token_id": 60000}}
END
}

# --- training ---

@test "picture towers for inference alone are not trained: the text is, beside them" {
    need_shared golden/families
    need_python msgpack numpy
    local name words image
    while read -r name words; do
        golden "$name"
        mkdir run
        clip-model convert -q "${model[@]}" -o run/init
        family batches "$folder" 1 >steps
        refuses "$words, cannot be trained" clip-encode-image --train run --grad-in run/image steps
        [ "$(ls run)" = init ]
        [ "$(clip-model info --json run/init | jq .vision.trainable)" = false ]
        image=--freeze
        (set -o pipefail && stages run <steps >log)
        [ "$(jq -r .step log)" = 1 ]
        rm -r run
    done <<'END'
vitamin a ViTamin
swin a Swin transformer
END
}

# train NAME [OPTION...]: three steps of a golden model's batch in the run NAME; $image, $text, $loss as of `stages`.
train() {
    local name=$1
    shift
    golden "$name"
    mkdir "$name"
    clip-model convert -q "${model[@]}" -o "$name/init"
    family batches "$folder" 3 >steps
    (set -o pipefail && stages "$name" "$@" <steps >"$name/log")
}

@test "three steps of training against PyTorch: SigLIP with its loss and bias, EVA02, NaFlex, relative positions, CoCa, RoBERTa, a modern text tower" {
    need_shared golden/text/models
    need_python msgpack numpy torch
    local name loss
    for name in siglip eva02 naflex-resized vit-relpos coca hf-roberta-mean-linear modern-extra modern-bidir-map; do
        loss=
        [ "$name" != siglip ] || loss="--loss sigmoid"
        train "$name"
        family check "$folder" "$name" 3 1e-4 5e-4 || complain "$name"
    done
}

# Pictures of 32 x 32, with the golden captions of NaFlex. A tape that is not kept changes no byte, nor do threads.
@test "three steps of training against PyTorch, of picture towers that have no golden results" {
    need_shared golden/families
    need_python msgpack numpy torch
    local options folder=own
    mkdir -p own/open_clip
    cp "$FAMILIES/naflex/batch.msgpack" own
    family batches own 3 >steps
    while read -r options; do
        jq --argjson vision "{\"image_size\": 32, \"timm_model_name\": \"$options}" '.vision_cfg = $vision' "$FAMILIES/naflex/arch.json" >arch.json
        rm -rf run init
        clip-model init -q arch.json -o init
        family trained init/open_clip_model.safetensors
        cp init/open_clip_{config.json,model.safetensors} own/open_clip
        mkdir run
        mv init run
        (set -o pipefail && stages run <steps >run/log)
        family check own run 3 1e-4 5e-4 || complain "$options"
        mkdir again
        cp -r run/init again
        (set -o pipefail && stages again -j 1 --memory 0 <steps >log)
        diff -r run/step-00000003 again/step-00000003 || complain "$options: other bytes"
        rm -r again
    done <<'END'
naflexvit_base_patch16_map", "timm_pool": "map", "timm_proj": "linear", "timm_model_kwargs": {"embed_dim": 36, "depth": 2, "num_heads": 3, "patch_size": 8, "swiglu_mlp": true, "mlp_ratio": 2.6666667, "attn_pool_mlp_ratio": 4.0}
vit_base_mci_224", "timm_pool": "token", "timm_proj": null, "timm_model_kwargs": {"img_size": 32, "depth": 1, "mlp_ratio": 0.5}
vit_relpos_small_patch16_224", "timm_pool": "", "timm_proj": "linear", "timm_model_kwargs": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
END
}

@test "a frozen image tower stays; a tape that is not kept changes no byte" {
    need_shared golden/families
    need_python msgpack numpy torch
    local loss="--loss sigmoid" image=--freeze
    train siglip
    family check "$folder" siglip 3 1e-4 5e-4 "^visual" || complain "frozen"
    mv siglip frozen
    image=
    train siglip --chunk 3
    mv siglip kept
    train siglip --chunk 3 --memory 0 -j 1
    diff -r kept/step-00000003 siglip/step-00000003
    run -1 cmp -s kept/step-00000003/open_clip_model.safetensors frozen/step-00000003/open_clip_model.safetensors
}

@test "a run that starts from Hugging Face's SiglipModel stays one, and has the weights of open_clip's" {
    need_shared golden/families
    need_python msgpack numpy
    local loss="--loss sigmoid" run
    for run in hf open_clip; do
        mkdir "$run"
        cp -r "$FAMILIES/siglip2/$run" "$run/init"
        family batches "$FAMILIES/siglip2" 2 >steps
        (set -o pipefail && stages "$run" <steps >log)
    done
    clip-model convert -q hf/step-00000002 -o back
    cmp {back,open_clip/step-00000002}/open_clip_model.safetensors
    [ -e hf/latest/config.json ]
    clip-encode-text -m hf/latest "$FAMILIES/siglip2/batch.msgpack" >text
}

@test "a run of clip-train on a SigLIP goes on from its checkpoint, its vocabulary kept" {
    need_shared golden/families
    sed 's/"vocab_size": 600/"vocab_size": 5120/; s/"context_length": 12/"context_length": 16/' \
        "$FAMILIES/siglip/arch.json" >arch.json
    tar --sort=name -cf pairs.tar -C "$SRC/share/samples" --exclude=photos .
    local options=(-q --data pairs.tar --arch arch.json -n 4 --lr 1e-3 --schedule constant --warmup 0 --loss sigmoid)
    clip-train "${options[@]}" -e 4 -o whole
    clip-train "${options[@]}" -e 2 -o halves
    clip-train "${options[@]}" -e 4 -o halves
    diff -r whole/latest/ halves/latest/
    [ -e whole/latest/tokenizer.json ]
    cmp whole/latest/tokenizer.json whole/init/tokenizer.json
    run -0 clip-classify -m whole/latest "$SRC/share/samples/star.png" -- "a star" "a tree"
    [[ $output == *star* ]]
}
