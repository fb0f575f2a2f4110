load helper

setup() {
    # Below it, for bats puts files of its own there.
    mkdir "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work"
    export CLIP_MODEL_PATH=
}

# A small architecture of each kind, with as many tokens as the vocabulary below.
small_vit() {
    cat >vit.json <<'END'
{"embed_dim": 24, "quick_gelu": true,
 "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "mlp_ratio": 2.5},
 "text_cfg": {"context_length": 12, "vocab_size": 516, "width": 24, "heads": 3, "layers": 1}}
END
}
small_resnet() {
    cat >resnet.json <<'END'
{"embed_dim": 16, "vision_cfg": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8, "patch_size": null},
 "text_cfg": {"context_length": 8, "vocab_size": 514, "width": 16, "heads": 2, "layers": 1}}
END
}
# Two merges, "a b" and "ab c</w>".
small_vocabulary() {
    printf '%s\n' '#version: 0.2' 'a b' 'ab c</w>' >vocab.txt
}

# --- info ---

@test "the nine architectures: parameters" {
    while read -r name parameters; do
        [ "$(clip-model info "$name" | sed -n 's/^parameters *\([^ ]*\).*/\1/p')" = "$parameters" ] ||
            complain "$name"
    done <<'END'
RN50 102,007,137
RN101 119,688,033
RN50x4 178,300,601
RN50x16 290,979,217
RN50x64 623,258,305
ViT-B/32 151,277,313
ViT-B/16 149,620,737
ViT-L/14 427,616,513
ViT-L/14@336px 427,944,193
END
}

@test "architectures in JSON: shapes as PyTorch's" { # names: families.bats
    need_shared oracle/clip_torch.py
    need_python torch msgpack_numpy
    local name
    local names=("$SHARED/golden/models/vit-b/arch.json"
        "$SHARED/golden/models/rn-b/arch.json")
    # One process for all: PyTorch takes a second to start.
    python - "$SHARED/oracle" "${names[@]}" >want <<'END'
import sys
sys.path.insert(0, sys.argv[1])
import clip_torch
names = sys.argv[2:]
for name in names:
    sys.argv[1:] = ["shapes", name]
    clip_torch.main()
END
    for name in "${names[@]}"; do
        clip-model info --shapes "$name"
    done >got
    diff got want
    [ "$(grep -c '^parameters: ' want)" -eq "${#names[@]}" ]
}

@test "what info says of a model" {
    small_vit
    small_vocabulary
    clip-model init vit.json --vocab vocab.txt -o model
    diff <(clip-model info model) - <<'END'
model         model
parameters    65,353 (vision 44,832, text 20,520)
embedding     24
vision        image 32, transformer, patch 16, width 32, 2 layers, 2 heads, mlp 80, quick_gelu
text          context 12, vocabulary 516, width 24, 1 layers, 3 heads, mlp 96, quick_gelu
end token     the largest id
pictures      mean [0.48145466, 0.4578275, 0.40821073], std [0.26862954, 0.26130258, 0.27577711], converted to RGB after resizing
resizing      shortest, bicubic
path          model
form          open_clip folder, safetensors
dtype         f32 (50 tensors)
vocabulary    model/vocab.json
logit scale   2.65926, a factor of 14.2857
END
    need_python json
    clip-model info --json model | python -c '
import json, sys
o = json.load(sys.stdin)
assert o["parameters"] == 65353 and o["vision"]["mlp"] == 80 and o["folder"] == "open_clip", o
assert o["dtypes"] == {"f32": 50} and o["vocabulary"] == "model/vocab.json", o'
}

# preprocessed CFG FOLDER: makes a model of vit.json in FOLDER, with this preprocess_cfg.
preprocessed() {
    jq --argjson cfg "$1" '{model_cfg: ., preprocess_cfg: $cfg}' vit.json >preprocessed.json
    clip-model init -q preprocessed.json -o "$2"
}

@test "how pictures are resized is kept by folders and files, and shown" {
    small_vit
    local cfg='{"size":[32,32],"mode":"RGB","mean":[0.5,0.5,0.5],"std":[0.5,0.5,0.5],"interpolation":"bilinear","resize_mode":"longest","fill_color":7}'
    preprocessed "$cfg" a
    clip-model convert -q a -o b.safetensors
    clip-model convert -q b.safetensors -o c
    for model in a b.safetensors c; do
        [[ $(clip-model info $model) == *$'\nresizing      longest, bilinear, filled with 7\n'* ]]
        [ "$(clip-model info --json $model | jq -c '.preprocess | [.mean[0], .resize_mode, .interpolation, .fill_color]')" = \
            '[0.5,"longest","bilinear",7]' ]
    done
    cmp a/open_clip_config.json c/open_clip_config.json
    preprocessed '{"interpolation":"random","resize_mode":"squash"}' d
    [[ $(clip-model info d) == *$'\nresizing      squash, bicubic\n'* ]]
}

@test "a name is looked up in CLIP_MODEL_PATH" {
    small_vit
    mkdir -p some/models
    clip-model init -q vit.json -o some/models/tiny-vit
    CLIP_MODEL_PATH=/nowhere:some/models run -0 clip-model info tiny/vit
    [[ $output == *"path          some/models/tiny-vit"* ]]
    run -1 --separate-stderr clip-model info tiny/vit
    one_line
}

# --- init ---

@test "init: the same seed gives the same bytes, with any number of threads; another seed others" {
    small_resnet
    clip-model init -q resnet.json -s 7 -j 1 -o a
    clip-model init -q resnet.json -s 7 -j 3 -o b
    clip-model init -q resnet.json -s 8 -o c
    diff -r a b
    run -1 cmp -s a/open_clip_model.safetensors c/open_clip_model.safetensors
    # On every machine: these bytes.
    [ "$(sha256sum <a/open_clip_model.safetensors)" = "5e594d5b11a392e7cb10ff1691a22bc77641e6485bffa52ce57ccbb8d8cfcb80  -" ]
    small_vit
    clip-model init -q vit.json -s 7 -o d
    [ "$(sha256sum <d/open_clip_model.safetensors)" = "f51f53c2e518eab012053ba6bbfd247efb12ba203614bb86d2250e1bd21ae2b4  -" ]
}

@test "init: PyTorch takes what it made, and the numbers are spread as OpenAI's" {
    need_shared oracle/clipref.py
    need_python torch msgpack_numpy
    cat >medium.json <<'END'
{"embed_dim": 256, "vision_cfg": {"image_size": 64, "layers": 2, "width": 256, "patch_size": 16},
 "text_cfg": {"context_length": 77, "vocab_size": 4000, "width": 256, "heads": 4, "layers": 2}}
END
    cat >medium-rn.json <<'END'
{"embed_dim": 256, "vision_cfg": {"image_size": 64, "layers": [2, 2, 2, 2], "width": 32, "patch_size": null},
 "text_cfg": {"context_length": 77, "vocab_size": 4000, "width": 256, "heads": 4, "layers": 2}}
END
    local name
    for name in medium medium-rn; do
        clip-model init -q $name.json -s 1 -o $name
        PYTHONPATH=$SHARED/oracle python - $name <<'END'
import sys, torch, clipref as ref
torch.manual_seed(0)
dir = sys.argv[1]
ours = ref.load_safetensors(f'{dir}/open_clip_model.safetensors')
model = ref.Clip(ref.config(f'{dir}/open_clip_config.json'))
theirs = {k: v.clone() for k, v in model.state_dict().items()}
model.load_state_dict(ours)
for name, y in theirs.items():
    x, y = ours[name].double(), y.double()
    if y.numel() == 1 or y.std() == 0:
        assert (x - y).abs().max() < 1e-6, name
        continue
    n = x.numel()
    # Five standard errors of a mean and of a deviation (a normal's kurtosis; a uniform's is smaller).
    assert abs(x.mean()) < 5 * x.std() / n ** .5, (name, x.mean())
    assert abs(x.std() / y.std() - 1) < 5 * 2 ** .5 / (2 * n) ** .5, (name, x.std(), y.std())
    uniform = y.abs().max() < 1.75 * y.std() and n > 500
    assert not uniform or x.abs().max() < 1.01 * 3 ** .5 * y.std() * (1 + 5 / n ** .5), (name, x.abs().max())
END
    done
}

@test "init: the shipped vocabulary where it fits, none where it does not, --vocab" {
    small_vit
    small_vocabulary
    run -0 --separate-stderr clip-model init vit.json -o a
    one_line
    [[ $stderr == "clip-model: a: no vocabulary: "* ]]
    [ "$(ls a)" = $'open_clip_config.json\nopen_clip_model.safetensors' ]
    clip-model init vit.json --vocab vocab.txt -o b
    [ "$(ls b)" = $'merges.txt\nopen_clip_config.json\nopen_clip_model.safetensors\ntokenizer.json\ntokenizer_config.json\nvocab.json' ]
    echo '{"embed_dim": 8, "vision_cfg": {"image_size": 16, "width": 64}, "text_cfg": {"vocab_size": 6000, "width": 8, "layers": 1}}' >large.json
    run -0 --separate-stderr clip-model init large.json -o d
    [ -z "$stderr" ]
    equal <(grep -v version d/merges.txt) <(grep -v version "$SRC/share/vocab/default/merges.txt")
    small_resnet
    run -1 --separate-stderr clip-model init resnet.json --vocab vocab.txt -o c
    one_line
    [[ $stderr == *"516 tokens"*"do not fit the model's 514" ]]
    [ ! -e c ]
    [ -z "$(ls -A | grep '^c\.')" ]
}

# --- convert ---

# same_tensors A B: two safetensors files hold the same bytes under the same names.
same_tensors() {
    need_python json
    PYTHONPATH=$SRC/tests PYTHONDONTWRITEBYTECODE=1 python -c 'import sys, models; models.same(*sys.argv[1:])' "$1" "$2"
}

@test "convert: there and back is the same, tensor by tensor and file by file" {
    need_shared golden/models
    local golden=$SHARED/golden/models name
    for name in vit-a vit-b rn-a rn-b; do
        mkdir $name
        clip-model convert "$golden/$name/model.safetensors" --arch "$golden/$name/arch.json" -q -o $name/open_clip
        same_tensors "$golden/$name/model.safetensors" $name/open_clip/open_clip_model.safetensors
        clip-model convert $name/open_clip -o $name/again.safetensors
        same_tensors $name/again.safetensors $name/open_clip/open_clip_model.safetensors
        diff <(clip-model info --json $name/open_clip | sed 's/"path.*//; s/"model":"[^"]*"//') \
            <(clip-model info --json $name/again.safetensors --arch "$golden/$name/arch.json" | sed 's/"path.*//; s/"model":"[^"]*"//')
    done
    for name in vit-a vit-b; do
        clip-model convert $name/open_clip --to hf -q -o $name/hf
        same_tensors "$golden/$name/hf/model.safetensors" $name/hf/model.safetensors
        clip-model convert $name/hf -q -o $name/back
        cmp $name/back/open_clip_model.safetensors $name/open_clip/open_clip_model.safetensors
        diff $name/back/open_clip_config.json $name/open_clip/open_clip_config.json
        # The vocabulary goes along, as it is.
        clip-model convert "$golden/$name/hf" -o $name/with
        diff $name/with/vocab.json "$golden/$name/hf/vocab.json"
        diff $name/with/tokenizer.json "$golden/$name/hf/tokenizer.json"
    done
}

@test "convert: every form of a model gives the same weights" {
    need_shared golden/models
    local golden=$SHARED/golden/models form
    clip-model convert "$golden/vit-a/model.safetensors" -o want.safetensors
    for form in open_clip hf hf/pytorch_model.bin state.pt legacy.pt checkpoint.pt; do
        clip-model convert "$golden/vit-a/$form" -o got.safetensors
        same_tensors want.safetensors got.safetensors || complain "$form"
    done
    for form in model.safetensors openai.pt; do
        clip-model convert "$golden/vit-a/$form" -d f16 -o "${form%.*}-f16.safetensors"
    done
    # openai.pt holds norms and embeddings in f32, the rest rounded to f16 already.
    cmp model-f16.safetensors openai-f16.safetensors
}

@test "convert --dtype rounds as PyTorch does" {
    need_shared golden/models
    need_python torch msgpack_numpy
    local type
    for type in f16 bf16 f32; do
        clip-model convert "$SHARED/golden/models/rn-b/model.safetensors" -d $type -o $type.safetensors
    done
    cmp f32.safetensors <(clip-model convert "$SHARED/golden/models/rn-b/model.safetensors" -o x.safetensors; cat x.safetensors)
    PYTHONPATH=$SHARED/oracle python - "$SHARED/golden/models/rn-b/model.safetensors" <<'END'
import sys, torch, clipref as ref
whole = ref.load_safetensors(sys.argv[1])
for name, type in ('f16', torch.float16), ('bf16', torch.bfloat16):
    for k, x in ref.load_safetensors(f'{name}.safetensors').items():
        want = whole[k].to(type) if whole[k].is_floating_point() else whole[k]
        assert x.dtype == want.dtype and torch.equal(x, want), k
END
}

@test "convert: what a form cannot hold, or a type, is refused" {
    small_resnet
    clip-model init -q resnet.json -o rn
    run -1 --separate-stderr clip-model convert rn --to hf -q -o out
    one_line
    [[ $stderr == *"no ResNets"* ]]
    [ ! -e out ]
    [ -z "$(ls -A | grep '^out')" ]
    need_python torch msgpack_numpy
    need_shared oracle/clipref.py
    PYTHONPATH=$SHARED/oracle python -c '
import clipref as ref
t = ref.load_safetensors("rn/open_clip_model.safetensors")
t["visual.layer1.0.bn1.running_var"][3] = 1e6
ref.save_safetensors("large.safetensors", t)'
    run -1 --separate-stderr clip-model convert large.safetensors --arch resnet.json -d f16 -o out.safetensors
    one_line
    [[ $stderr == *"visual.layer1.0.bn1.running_var"*"too large for F16" ]]
    [ ! -e out.safetensors ]
}

@test "a folder is not written over, a file is, and nothing half-written stays" {
    small_vit
    clip-model init -q vit.json -o model
    run -1 --separate-stderr clip-model init -q vit.json -o model
    one_line
    run -1 --separate-stderr clip-model convert model -q -o model
    one_line
    echo old >file.safetensors
    clip-model convert model -o file.safetensors
    same_tensors file.safetensors model/open_clip_model.safetensors
    run -1 --separate-stderr clip-model convert model -o missing/file.safetensors
    one_line
    run -1 --separate-stderr clip-model convert model -q -o missing/folder
    one_line
    [ "$(ls -A)" = $'file.safetensors\nmodel\nvit.json' ]
}

@test "an output that fills up is an error" {
    [ -e /dev/full ] || skip /dev/full
    run -1 --separate-stderr bash -c 'clip-model info RN50 >/dev/full'
    one_line
    run -1 --separate-stderr bash -c 'clip-model info RN50 >&-'
    one_line
    small_vit
    run -1 --separate-stderr bash -c 'ulimit -f 10; trap "" XFSZ; clip-model init -q vit.json -o model'
    one_line
    [ "$(ls -A)" = vit.json ]
}

# --- vocab ---

@test "vocab: pairs by frequency, as a list of merges and as a folder" {
    printf 'a big boat\na small boat\nboats\n' >text
    clip-model vocab -n 519 <text >vocab.txt
    diff vocab.txt - <<'END'
#version: 0.2
b o
bo a
boa t</w>
a l
b i
END
    clip-model vocab --size 519 text -o again.txt
    cmp vocab.txt again.txt
    clip-model vocab -n 519 -o folder - <text
    [ "$(ls folder)" = $'merges.txt\ntokenizer.json\nvocab.json' ]
    equal <(grep -v version folder/merges.txt) <(grep -v version vocab.txt)
    refuses "standard input" clip-model vocab -n 600 <text
    refuses "No such file" clip-model vocab -n 600 missing
    refuses "it already exists" clip-model vocab -n 519 text -o folder
}

# rewrite CODE: changes the tensors `t` of the golden model vit-a in Hugging Face's form and saves them here.
rewrite() {
    need_shared golden/models
    need_python torch msgpack_numpy
    PYTHONPATH=$SHARED/oracle python -c '
import json, sys, torch, clipref as ref
golden = sys.argv[1]
'"$1" "$SHARED/golden/models/vit-a"
}

@test "open_clip folders: preferred weights, names of CustomTextCLIP, an end token, a logit bias" {
    rewrite '
t = ref.load_safetensors(golden + "/model.safetensors")
visual = ("visual.", "logit_scale")
text = {k if k.startswith(visual) else "text." + k: v for k, v in t.items()}
import os
os.mkdir("a"), os.mkdir("b")
text["logit_bias"] = torch.tensor(-10.)
ref.save_safetensors("a/open_clip_model.safetensors", text)
open("a/open_clip_pytorch_model.bin", "w").write("worse")
torch.save({"module." + k: v for k, v in t.items()}, "b/open_clip_pytorch_model.bin")
open("b/model.safetensors", "w").write("worse")
c = json.load(open(golden + "/arch.json"))
json.dump({"model_cfg": c}, open("b/open_clip_config.json", "w"))
c["custom_text"], c["init_logit_bias"], c["init_logit_scale"] = True, -10, 2.3025850929940455
c["text_cfg"].update(pool_type="eos", eos_id=7)
json.dump({"model_cfg": c}, open("a/open_clip_config.json", "w"))'
    clip-model convert b -o b.safetensors
    clip-model convert "$SHARED/golden/models/vit-a/model.safetensors" -o want.safetensors
    cmp b.safetensors want.safetensors
    [ "$(clip-model info a | grep '^end')" = "end token     7" ]
    # What the form says comes back as it was.
    clip-model convert -q a -o c
    diff <(clip-model info --json a | sed 's/"path.*//; s/"model":"a"//') \
        <(clip-model info --json c | sed 's/"path.*//; s/"model":"c"//')
    grep -q '"init_logit_bias": -10' c/open_clip_config.json
    refuses "has no logit bias" clip-model convert -q a --to hf -o d
}

# resizing FOLDER: how its pictures are resized, by clip-model.
resizing() {
    clip-model info --json "$1" | jq -c '.preprocess | [.convert_first, .resize_mode, .interpolation, .mean[0]]'
}

@test "Hugging Face's processors: CLIP's and SigLIP's, their filters and crops, are read and written" {
    need_shared golden/models/vit-a/hf
    cp -r "$SHARED/golden/models/vit-a/hf" model
    local config want
    while IFS='|' read -r config want; do
        echo "$config" >model/preprocessor_config.json
        [ "$(resizing model)" = "$want" ] || complain "$config: $(resizing model)"
        rm -rf again open_clip
        clip-model convert -q --to hf model -o again
        [ "$(resizing again)" = "$want" ] || complain "$config: written: $(resizing again)"
        clip-model convert -q --to open_clip model -o open_clip
        [ "$(resizing open_clip)" = "[false${want#\[true}" ] || complain "$config: open_clip: $(resizing open_clip)"
    done <<'END'
{}|[true,"shortest","bicubic",0.48145467]
{"image_processor_type":"CLIPImageProcessorFast","size":{"shortest_edge":32},"resample":2}|[true,"shortest","bilinear",0.48145467]
{"feature_extractor_type":"CLIPFeatureExtractor","size":32,"crop_size":32,"resample":3}|[true,"shortest","bicubic",0.48145467]
{"image_processor_type":"CLIPImageProcessor","size":{"height":32,"width":32},"do_center_crop":false,"crop_size":7}|[true,"squash","bicubic",0.48145467]
{"image_processor_type":"CLIPImageProcessor","size":{"height":32,"width":32},"resample":2}|[true,"squash","bilinear",0.48145467]
{"image_processor_type":"SiglipImageProcessor","size":{"height":32,"width":32},"image_mean":[0.5,0.5,0.5],"do_convert_rgb":null}|[true,"squash","bicubic",0.5]
{"image_processor_type":"SiglipImageProcessorFast","size":{"height":32,"width":32},"image_mean":0.5,"resample":2}|[true,"squash","bilinear",0.5]
{"image_processor_type":"SiglipImageProcessor"}|[true,"squash","bicubic",0.5]
END
    clip-model convert -q --to open_clip model -o longest
    jq '.preprocess_cfg.resize_mode = "longest"' longest/open_clip_config.json >config
    mv config longest/open_clip_config.json
    refuses 'CLIPImageProcessor does not resize pictures in the mode "longest"' clip-model convert --to hf longest -o x
    [ ! -e x ]
}

@test "Hugging Face folders: old configurations, position ids, the end token, preprocessing" {
    rewrite '
import os, shutil
t = ref.load_safetensors(golden + "/hf/model.safetensors")
t["text_model.embeddings.position_ids"] = torch.arange(16)[None]
os.mkdir("old")
ref.save_safetensors("old/model.safetensors", t)
c = json.load(open(golden + "/hf/config.json"))
c["text_config_dict"], c["vision_config_dict"] = c["text_config"], c["vision_config"]
c["text_config"], c["vision_config"] = dict(c["text_config"], hidden_size=99), dict(c["vision_config"], hidden_size=99)
c["text_config_dict"]["eos_token_id"] = 2
json.dump(c, open("old/config.json", "w"))
def preprocessor(**k): json.dump({"crop_size": 32, "size": 32, "image_mean": [0.5, 0.25, 0.75], **k}, open("old/preprocessor_config.json", "w"))
preprocessor()
for name, wrong in ("size", dict(size={"shortest_edge": 40})), ("resample", dict(resample=1)), ("do_resize", dict(do_resize=False)), ("size", dict(size={"height": 32, "width": 33})), \
        ("size", dict(size={"longest_edge": 32})), ("size", dict(do_center_crop=False)), ("crop_size", dict(crop_size=40)), \
        ("image_processor_type", dict(image_processor_type="BlipImageProcessor")), \
        ("image_processor_type", dict(image_processor_type="Siglip2ImageProcessor")), \
        ("size", dict(image_processor_type="SiglipImageProcessor")):
    i = len(os.listdir())
    shutil.copytree("old", f"wrong-{name}-{i}")
    p = json.load(open("old/preprocessor_config.json"))
    json.dump({**p, **wrong}, open(f"wrong-{name}-{i}/preprocessor_config.json", "w"))'
    run -0 clip-model info old
    [[ $output == *"the largest id"* && $output == *"mean [0.5, 0.25, 0.75], std [0.26862954, "*"converted to RGB before"* ]]
    clip-model convert old -o old.safetensors
    clip-model convert "$SHARED/golden/models/vit-a/model.safetensors" -o want.safetensors
    same_tensors old.safetensors want.safetensors
    local folder
    for folder in wrong-*; do
        refuses "preprocessor_config.json: $(cut -d- -f2 <<<"$folder")" clip-model info "$folder"
    done
}

@test "a tensor that is missing, has another shape, is too many, or holds no numbers of the kind" {
    rewrite '
def change(name, **k):
    t = ref.load_safetensors(golden + "/model.safetensors")
    for key, x in k.items():
        key = key.replace("__", ".")
        if x is None: del t[key]
        else: t[key] = x
    ref.save_safetensors(name + ".safetensors", t)
change("missing", ln_final__bias=None)
change("shape", ln_final__bias=torch.zeros(65))
change("extra", visual__ln_pre__gamma=torch.zeros(64))
change("integer", ln_final__bias=torch.zeros(64, dtype=torch.int32))
change("square", visual__positional_embedding=torch.zeros(16, 64))
change("ignored", attn_mask=torch.zeros(16, 16), context_length=torch.tensor(16))
change("array", logit_scale=torch.tensor([2.5]))'
    rewrite '
t = ref.load_safetensors(golden + "/hf/model.safetensors")
q = "text_model.encoder.layers.1.self_attn.q_proj.weight"
whole = "transformer.resblocks.1.attn.in_proj_weight"
ref.save_safetensors("no-q.safetensors", {k: x for k, x in t.items() if k != q})
ref.save_safetensors("twice.safetensors", {**t, whole: torch.zeros(192, 64)})
ref.save_safetensors("both.safetensors", {whole: torch.zeros(192, 64), **{k: x for k, x in t.items() if k != q}})
t[q] = torch.zeros(64, 63)
ref.save_safetensors("unlike.safetensors", t)'
    refuses "lacks a part" clip-model info no-q.safetensors
    refuses "occurs twice" clip-model info twice.safetensors
    refuses "occurs both whole and in parts" clip-model info both.safetensors
    refuses "its parts differ" clip-model info unlike.safetensors
    refuses "tensor ln_final.bias is missing" clip-model info missing.safetensors
    refuses "tensor ln_final.bias is [65], but should be [64]" clip-model info shape.safetensors
    refuses "tensor visual.ln_pre.gamma is not one of the architecture's" clip-model info extra.safetensors
    refuses "tensor ln_final.bias holds I32" clip-model info integer.safetensors
    refuses "are not a square number plus one" clip-model info square.safetensors
    clip-model info ignored.safetensors
    [[ $(clip-model info array.safetensors) == *"logit scale   2.5"* ]]
    refuses "but should be" clip-model info --arch ViT-B/32 "$SHARED/golden/models/vit-a/model.safetensors"
}

@test "what a hostile file claims costs no memory" {
    sanitized && skip memory
    need_python struct
    python - <<'END'
import struct
entry = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
head = ('{' + ','.join(entry % i for i in range(400000)) + '}').encode()
open('tensors.safetensors', 'wb').write(struct.pack('<Q', len(head)) + head)
legacy = b'\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02'
open('values.pt', 'wb').write(legacy + b'N' * (64 << 20))
open('marks.pt', 'wb').write(legacy + b'(' * (64 << 20))
open('memo.pt', 'wb').write(legacy + b'N' + b''.join(b'r' + struct.pack('<I', i * 65537 % 2 ** 19) for i in range(10 ** 6)))
open('lists.pt', 'wb').write(legacy + b'](' + b']]]]' * (16 << 20) + b'e.')
END
    local file
    for file in tensors.safetensors values.pt marks.pt memo.pt lists.pt; do
        run -1 --separate-stderr "$BUILD/tests/tools/peak" kb clip-model info $file
        one_line
        [ "$(cat kb)" -lt 100000 ] || complain "$file: $(cat kb) kB"
    done
}

@test "a model of our own vocabulary" {
    printf 'a big boat\na small boat\nboats\n' >text
    clip-model vocab -n 516 text -o words
    small_vit
    clip-model init vit.json --vocab words -o model
    diff words/vocab.json model/vocab.json
    clip-model convert model --to hf -o hf
    diff words/tokenizer.json hf/tokenizer.json
    diff model/tokenizer_config.json hf/tokenizer_config.json
}

# --- what is wrong ---

@test "a model that does not exist, is empty, or is not one" {
    refuses "neither a model nor an architecture" clip-model info no-such-model
    refuses "no such model" clip-model convert no-such-model -o x.safetensors
    : >empty
    refuses "an empty file" clip-model info ./empty
    head -c 1000 /dev/zero >zeros
    refuses "neither safetensors nor" clip-model info zeros
    mkdir folder
    refuses "neither open_clip_config.json nor config.json" clip-model info folder
    echo '{"embed_dim": 4, "vision_cfg": {}, "text_cfg": {}}' >folder/open_clip_config.json
    refuses "no weights there" clip-model info folder
    echo '{"embed_dim": 4, "vision_cfg": {}' >folder/open_clip_config.json
    refuses "not JSON" clip-model info folder
    mkfifo fifo
    refuses "not a regular file" clip-model info fifo
}

@test "a file cut anywhere is refused, in every form" {
    need_shared golden/models
    local file size at step
    for file in model.safetensors openai.pt state.pt legacy.pt; do
        cp "$SHARED/golden/models/vit-a/$file" whole
        size=$(stat -c %s whole)
        step=$((size / 60))
        for ((at = 1; at < size; at += step)); do
            head -c $at whole >"cut-$file"
            run -1 --separate-stderr clip-model info "cut-$file"
            one_line
        done
        head -c $((size - 1)) whole >"cut-$file"
        run -1 --separate-stderr clip-model info "cut-$file"
        one_line
    done
}

# safetensors HEADER [BYTES]: a file of that header and as many zeros.
safetensors() {
    printf "\\x$(printf %02x $((${#1} % 256)))\\x$(printf %02x $((${#1} / 256)))\0\0\0\0\0\0%s" "$1"
    head -c "${2:-0}" /dev/zero
}

@test "safetensors that lie" {
    safetensors '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}' 12 >x
    refuses "overlaps another" clip-model info ./x
    safetensors '{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}' 12 >x
    refuses "follows a gap" clip-model info ./x
    safetensors '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 12 >x
    refuses "4 bytes after the last tensor" clip-model info ./x
    safetensors '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 4 >x
    refuses "is truncated, or its header is wrong" clip-model info ./x
    safetensors '{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}' 8 >x
    refuses "is truncated, or its header is wrong" clip-model info ./x
    safetensors '{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}' 8 >x
    refuses "its shape needs 12 bytes" clip-model info ./x
    safetensors '{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}}' 0 >x
    refuses "overflows" clip-model info ./x
    safetensors '{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,0]}}' 0 >x
    refuses "a number that overflows" clip-model info ./x
    safetensors '{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}' 8 >x
    refuses "tensor a occurs twice" clip-model info ./x
    safetensors '{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}' 4 >x
    refuses "a key that occurs twice" clip-model info ./x
    safetensors '{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}' 4 >x
    refuses "dtype F8_E4M3 is not supported" clip-model info ./x
    safetensors '{"a":[[[[[[' >x
    refuses "'{' expected" clip-model info ./x
    printf '\xff\xff\xff\xff\xff\xff\xff\x7f{}' >x
    refuses "a safetensors header of 9223372036854775807 bytes" clip-model info ./x
    # Tensors without end, none of them CLIP's: memory stays small.
    safetensors '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' 4 >x
    refuses "not a CLIP model" clip-model info ./x
}

@test "options of a configuration that would change the arithmetic are refused by name" {
    local line option words
    while IFS='|' read -r line words; do
        printf '%s' "$line" >x.json
        refuses "$words" clip-model info x.json
    done <<'END'
{"embed_dim":8,"vision_cfg":{"timm_model_name":"vit_base"},"text_cfg":{}}|vision_cfg.timm_model_name
{"embed_dim":8,"vision_cfg":{"timm_model_name":"vit_base_patch16_siglip_224","timm_pool":"avg","timm_proj":"none"},"text_cfg":{}}|vision_cfg.timm_pool
{"embed_dim":8,"vision_cfg":{"timm_model_name":"vit_base_patch16_siglip_224","timm_pool":"map","timm_proj":"none"},"text_cfg":{}}|768 features, but the embedding has 8
{"embed_dim":8,"vision_cfg":{"timm_model_name":"eva02_base_patch16_clip_224","timm_proj":null,"timm_pool":"token","timm_model_kwargs":{"embed_dim":30,"num_heads":3}},"text_cfg":{}}|heads of 10
{"embed_dim":8,"vision_cfg":{"timm_model_name":"eva02_base_patch16_clip_224","timm_proj":null,"timm_pool":"token","image_size":336},"text_cfg":{}}|vision_cfg.image_size is 336
{"embed_dim":8,"vision_cfg":{"timm_model_name":"eva02_base_patch16_clip_224","timm_proj":null,"timm_pool":"token","timm_model_kwargs":{"reg_tokens":4}},"text_cfg":{}}|timm_model_kwargs.reg_tokens
{"embed_dim":8,"vision_cfg":{"attentional_pool":"parallel"},"text_cfg":{}}|vision_cfg.attentional_pool
{"embed_dim":8,"vision_cfg":{"attentional_pool":true,"attn_pooler_heads":3},"text_cfg":{}}|3 heads
{"embed_dim":8,"vision_cfg":{"attentional_pool":true,"pool_type":"avg","attn_pooler_queries":1},"text_cfg":{}}|needs two
{"embed_dim":8,"vision_cfg":{"pool_type":"none"},"text_cfg":{}}|vision_cfg.pool_type
{"embed_dim":8,"vision_cfg":{"norm_kwargs":{"eps":1e-6,"bias":false}},"text_cfg":{}}|norm_kwargs.bias
{"embed_dim":8,"vision_cfg":{"act_kwargs":{"approximate":"sigmoid"}},"text_cfg":{}}|vision_cfg.act_kwargs
{"embed_dim":8,"quick_gelu":true,"vision_cfg":{"act_kwargs":{"approximate":"tanh"}},"text_cfg":{}}|vision_cfg.act_kwargs
{"embed_dim":8,"vision_cfg":{"qk_norm":true,"scaled_cosine_attn":true},"text_cfg":{}}|vision_cfg: qk_norm and scaled_cosine_attn
{"embed_dim":8,"vision_cfg":{"patch_size":15},"text_cfg":{}}|image size 224 is not a multiple of the patch size 15
{"embed_dim":8,"vision_cfg":{"image_size":[224,330]},"text_cfg":{}}|image width 330 is not a multiple of the patch size 16
{"embed_dim":8,"vision_cfg":{"image_size":[224,0]},"text_cfg":{}}|vision_cfg.image_size is neither a number nor [height, width] of 1 to 16384
{"embed_dim":8,"vision_cfg":{"image_size":[224]},"text_cfg":{}}|vision_cfg.image_size is neither a number nor [height, width] of 1 to 16384
{"embed_dim":8,"vision_cfg":{"image_size":[224,1e2]},"text_cfg":{}}|vision_cfg.image_size is neither a number nor [height, width] of 1 to 16384
{"embed_dim":8,"vision_cfg":{"image_size":[224,336],"pos_embed_type":"sin_cos_2d"},"text_cfg":{}}|positions of sines and cosines need square images, not 224 x 336
{"embed_dim":8,"vision_cfg":{"image_size":[224,336],"layers":[1,1,1,1]},"text_cfg":{}}|vision_cfg.image_size: [224, 336] is not supported
{"embed_dim":8,"vision_cfg":{"layers":[1,2,3]},"text_cfg":{}}|vision_cfg.layers
{"embed_dim":8,"vision_cfg":{"width":-3},"text_cfg":{}}|vision_cfg.width is -3
{"embed_dim":8,"vision_cfg":{"width":1e3},"text_cfg":{}}|vision_cfg.width is not a whole number
{"embed_dim":8,"vision_cfg":{"width":805,"head_width":96},"text_cfg":{}}|8 heads
{"embed_dim":8,"vision_cfg":{},"text_cfg":{"hf_model_name":"roberta-tiny"}}|text_cfg.hf_model_name
{"embed_dim":8,"vision_cfg":{},"text_cfg":{"embed_cls":true}}|text_cfg.embed_cls
{"embed_dim":8,"vision_cfg":{},"text_cfg":{"pool_type":"none"}}|text_cfg.pool_type
{"embed_dim":8,"vision_cfg":{},"text_cfg":{"pool_type":"eos"}}|eos_id
{"embed_dim":8,"vision_cfg":{},"text_cfg":{"proj_type":"mlp"}}|text_cfg.proj_type
{"embed_dim":8,"vision_cfg":{},"text_cfg":{"proj_type":"none"}}|512 features, but the embedding has 8
{"embed_dim":8,"custom_text":true,"vision_cfg":{},"text_cfg":{"embed_cls":true,"pad_id":49408}}|padding, 49408
{"embed_dim":8,"vision_cfg":{},"text_cfg":{"heads":7}}|7 heads
{"embed_dim":8,"vision_cfg":{},"text_cfg":{"new_thing":1}}|text_cfg.new_thing
{"model_cfg":{"embed_dim":8,"vision_cfg":{},"text_cfg":{}},"preprocess_cfg":{"interpolation":"lanczos"}}|preprocess_cfg.interpolation: "lanczos"
{"model_cfg":{"embed_dim":8,"vision_cfg":{},"text_cfg":{}},"preprocess_cfg":{"interpolation":["bilinear"]}}|preprocess_cfg.interpolation is not a string
{"model_cfg":{"embed_dim":8,"vision_cfg":{},"text_cfg":{}},"preprocess_cfg":{"resize_mode":"crop"}}|preprocess_cfg.resize_mode: "crop"
{"model_cfg":{"embed_dim":8,"vision_cfg":{},"text_cfg":{}},"preprocess_cfg":{"fill_color":256}}|preprocess_cfg.fill_color is 256
{"model_cfg":{"embed_dim":8,"vision_cfg":{},"text_cfg":{}},"preprocess_cfg":{"mode":"L"}}|preprocess_cfg.mode
{"model_cfg":{"embed_dim":8,"vision_cfg":{},"text_cfg":{}},"preprocess_cfg":{"std":[0,1,1]}}|preprocess_cfg.std
{"vision_cfg":{},"text_cfg":{}}|embed_dim
[1]|not a JSON object
END
    # These say nothing of inference.
    echo '{"embed_dim":512,"vision_cfg":{"patch_dropout":0.5,"ls_init_value":null,"no_ln_pre":false},"text_cfg":{"qk_norm":false},"custom_text":true}' >x.json
    clip-model info x.json
}

@test "a checkpoint that would run code is refused by the name of what it would run" {
    need_python zipfile
    python - <<'END'
import os, pickle, zipfile
class Attack:
    def __reduce__(self):
        return os.system, ('touch owned',)
def write(name, data):
    with zipfile.ZipFile(name, 'w') as z:
        z.writestr('x/data.pkl', data)
write('reduce.pt', pickle.dumps({'state_dict': Attack()}, protocol=2))
write('inst.pt', b'\x80\x02(S"touch owned"\nios\nsystem\n.')
write('stack.pt', pickle.dumps({'state_dict': Attack()}, protocol=4))
write('builtin.pt', b'\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.')
write('compressed.pt', b'\x80\x02}.')
with zipfile.ZipFile('deflated.pt', 'w', zipfile.ZIP_DEFLATED) as z:
    z.writestr('x/data.pkl', b'\x80\x02}.' * 100)
END
    refuses "refuses the global posix.system" clip-model info reduce.pt
    refuses "refuses the opcode STRING" clip-model info inst.pt
    refuses "refuses protocol 4" clip-model info stack.pt
    refuses "refuses the global __builtin__.eval" clip-model info builtin.pt
    refuses "holds no tensors" clip-model info compressed.pt
    refuses "is compressed" clip-model info deflated.pt
    [ ! -e owned ]
}

@test "a zip that lies" {
    need_shared golden/models
    need_python struct
    cp "$SHARED/golden/models/vit-a/state.pt" whole
    python - <<'END'
import struct
whole = open('whole', 'rb').read()
end = whole.rfind(b'PK\5\6')
size, at = struct.unpack_from('<II', whole, end + 12)
entries, p = [], at
while whole[p:p + 4] == b'PK\1\2':
    n, x, c = struct.unpack_from('<HHH', whole, p + 28)
    entries.append((p, whole[p + 46:p + 46 + n]))
    p += 46 + n + x + c
def write(name, *changes):
    data = bytearray(whole)
    for place, form, value in changes:
        struct.pack_into(form, data, place, value)
    open(name, 'wb').write(data)
first, second = entries[1][0], entries[2][0]
local = lambda p: struct.unpack_from('<I', whole, p + 42)[0]
write('overlap.pt', (second + 42, '<I', local(first)))
write('large.pt', (first + 20, '<I', 2 ** 31), (first + 24, '<I', 2 ** 31))
write('sizes.pt', (first + 24, '<I', 4097))
write('outside.pt', (first + 42, '<I', 2 ** 32 - 2))
write('count.pt', (end + 8, '<H', 9), (end + 10, '<H', 9))
write('directory.pt', (end + 16, '<I', at + 46))
write('other.pt', (local(first) + 30, 'B', ord('X')))
pickle = whole.find(b'positional_embedding')
write('crc.pt', (pickle, 'B', ord('P')))
END
    refuses "the local header of another entry" clip-model info overlap.pt
    refuses "larger than the file" clip-model info large.pt
    refuses "sizes that disagree" clip-model info sizes.pt
    refuses "outside of the file" clip-model info outside.pt
    refuses "end records disagree" clip-model info count.pt
    refuses "end records disagree" clip-model info directory.pt
    refuses "the local header of another entry" clip-model info other.pt
    refuses "checksum" clip-model info crc.pt
}

# --- usage ---

@test "usage errors" {
    local words
    while read -r words; do
        run -2 --separate-stderr clip-model $words
        [ -z "$output" ]
    done <<'END'

nothing
info
info RN50 RN101
info --json --shapes RN50
info -o x RN50
info --dtype f16 RN50
init RN50
init -o x
init --json RN50 -o x
init --arch x RN50 -o x
convert x
convert --seed 3 x -o y
convert --dtype f8 x -o y
convert --to onnx x -o y
convert --vocab v x -o y.safetensors
vocab
vocab --size 100
vocab --size 600 a b
vocab --size 600 -m x
--unknown
END
    run -0 clip-model --help
    run -0 clip-model --version
}

@test "a tokenizer other than OpenAI's: its files and what the configuration says of it go along" {
    cat >bert.json <<'END'
{"embed_dim": 8, "vision_cfg": {"image_size": 16, "width": 64, "layers": 1, "patch_size": 8},
 "text_cfg": {"context_length": 8, "vocab_size": 6, "width": 8, "heads": 1, "layers": 1, "hf_tokenizer_name": "bert-base-uncased",
              "tokenizer_kwargs": {"strip_sep_token": true, "clean": "canonicalize"}}}
END
    printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' a '##b' >words.txt
    ids() { clip-tokenize --lines "$@" <(echo 'A.B a') | clip-dump --values | sed -n 's/.*"values":\[\([^]]*\)\].*/\1/p'; }
    run -0 --separate-stderr clip-model init bert.json -o without
    [ "$stderr" = "clip-model: without: no vocabulary: its tokenizer is bert-base-uncased; see --vocab" ]
    clip-model init bert.json --vocab words.txt -o model
    cmp words.txt model/vocab.txt
    [ "$(ids -m model)" = 2,4,5,4,0,0,0,0 ]
    [ "$(ids -m model --clean whitespace)" = 2,4,1,1,4,0,0,0 ]
    clip-model convert model -o again
    cmp words.txt again/vocab.txt
    [ "$(ids -m again)" = 2,4,5,4,0,0,0,0 ]
    grep -q '"hf_tokenizer_name": "bert-base-uncased"' again/open_clip_config.json
    clip-model convert model -o lone.safetensors
    [ "$(ids -m lone.safetensors --vocab words.txt)" = 2,4,5,4,0,0,0,0 ]
    # All files that describe it.
    echo '{"do_lower_case": false}' >model/tokenizer_config.json
    cp words.txt model/x.tiktoken
    clip-model convert model -o third
    [ "$(ls third)" = $'open_clip_config.json\nopen_clip_model.safetensors\ntokenizer_config.json\nvocab.txt\nx.tiktoken' ]
    sed 's/"vocab_size": 6/"vocab_size": 3/' bert.json >small.json
    refuses "its template has the token 3, but the model has 3 tokens" clip-model init small.json --vocab words.txt -o fourth
    [ ! -e fourth ]
}
