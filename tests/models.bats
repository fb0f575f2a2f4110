# Models as people have them: checkpoints of any build, weights named themselves, in shards, of one tower, and what is
# none. Expected values come from the same weights in the plain form.
load helper

setup() {
    mkdir "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work"
    export CLIP_MODEL_PATH=
}

# A small model whose heads and activation only its configuration says: folder `model`.
make_model() {
    cat >arch.json <<'END'
{"embed_dim": 24,
 "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16, "mlp_ratio": 1.25},
 "text_cfg": {"context_length": 12, "vocab_size": 520, "width": 64, "heads": 2, "layers": 1}}
END
    printf '%s\n' '#version: 0.2' 'a b' 'ab c</w>' 'm o' 'd e' 'mo de' 'mode l</w>' >vocab.txt
    clip-model init arch.json --vocab vocab.txt -s 3 -o model
    tar -cf photos.tar -C "$SRC/share/samples/photos" airplane.jpg cat.jpg
    printf 'abc model\na b c\nmode\n' >captions.txt
}

# images|texts MODEL [OPTION...]: unit embeddings.
images() {
    clip-untar photos.tar | clip-preprocess -m "$@" | clip-encode-image -m "$@" | clip-project-normalize -m "$@"
}
texts() {
    clip-tokenize --lines -m "$@" captions.txt | clip-encode-text -m "$@" | clip-project-normalize -m "$@"
}

# as_model MODEL [OPTION...]: every program takes it for what the folder `model` is, without a word.
as_model() {
    local side
    [ -e want-images ] || images model >want-images
    [ -e want-texts ] || texts model >want-texts
    for side in images texts; do
        $side "$@" >got-$side 2>words || complain "$*: $(cat words)"
        cmp want-$side got-$side || complain "$* $side"
        [ ! -s words ] || complain "$*: $(cat words)"
    done
}

# models CODE: Python with what tests/models.py has, and `t`, the tensors of the folder `model`.
models() {
    need_python json
    PYTHONPATH=$SRC/tests PYTHONDONTWRITEBYTECODE=1 python -c '
import os, shutil
from models import *
t = load("model/open_clip_model.safetensors")
'"$1"
}

# --- vocabularies ---

@test "OpenAI's vocabulary in every form and through every program" {
    need_shared golden/tokenizer
    need_python json
    local gz=$SHARED/golden/tokenizer/bpe_simple_vocab_16e6.txt.gz form
    cat >arch.json <<'END'
{"embed_dim": 8, "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
 "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}}
END
    python - "$SHARED/golden/tokenizer/lines.jsonl" >lines.txt <<'END'
import json, sys
for line in open(sys.argv[1]):
    row = json.loads(line)
    if 'text' in row and '\n' not in row['text'] and '\r' not in row['text'] and '\t' not in row['text']:
        print(row['text'])
END
    [ "$(wc -l <lines.txt)" -gt 1000 ]
    clip-model init arch.json --vocab "$gz" -o init
    clip-model convert init --to hf -o hf
    clip-model convert init -o open_clip
    clip-model convert init --vocab "$gz" -o again
    clip-tokenize -q --lines --truncate --vocab "$gz" --context 16 lines.txt >want
    for form in init hf open_clip again; do
        clip-tokenize -q --lines --truncate -m $form lines.txt | cmp - want || complain "-m $form"
        clip-tokenize -q --lines --truncate --context 16 --vocab $form lines.txt | cmp - want || complain "$form"
    done
    for form in vocab.json merges.txt tokenizer.json; do
        clip-tokenize -q --lines --truncate --context 16 --vocab init/$form lines.txt | cmp - want || complain "$form"
    done
    clip-classify -m init "$SRC/share/samples/photos/cat.jpg" -- 'a model' 'a dog' >classes
    grep -q 'a model' classes
}

@test "a learned vocabulary with a token named 'model'" {
    for i in 1 2 3 4; do echo 'modeling modelled modelling models'; done >text
    clip-model vocab -n 519 -o learned text
    grep -q '"model": ' learned/vocab.json
    echo modeling | clip-tokenize --lines --vocab learned | clip-dump >tokens
    printf '{"model": {"x": 1}, "version": "1.0"}' >learned/vocab.json
    refuses "model has no vocab" clip-tokenize --lines --vocab learned text
    printf '{"tokens": {"x": 1}}' >learned/vocab.json
    refuses "neither a vocabulary" clip-tokenize --lines --vocab learned text
}

# --- what says the architecture ---

@test "the configuration beside weights that are named themselves counts" {
    make_model
    as_model model/open_clip_model.safetensors
    (cd model && clip-model info open_clip_model.safetensors) >info
    grep -q '4 heads, mlp 80, gelu' info
    grep -q '^vocabulary *./vocab.json' info
    clip-model convert model --to hf -o hf
    images hf >hf-images
    images hf/model.safetensors | cmp - hf-images
    texts hf >hf-texts
    texts hf/model.safetensors | cmp - hf-texts
    # The pictures' order of steps and values come along.
    sed -i 's/0.48145466/0.25/' hf/preprocessor_config.json
    [[ $(clip-model info hf/model.safetensors) == *"mean [0.25, "*"converted to RGB before"* ]]
    # Unless --arch says otherwise.
    sed 's/"head_width": 16/"head_width": 32/' arch.json >other.json
    [[ $(clip-model info --arch other.json model/open_clip_model.safetensors) == *", 2 heads, mlp 80"* ]]
    # A configuration that does not fit is named with the file.
    sed -i 's/"width": 64/"width": 128/' model/open_clip_config.json
    refuses "model/open_clip_model.safetensors, by model/open_clip_config.json" clip-model info model/open_clip_model.safetensors
}

@test "a lone file whose heads nothing says warns once, and names --arch" {
    make_model
    models 'save("lone.safetensors", t)'
    clip-untar photos.tar | clip-preprocess -m lone.safetensors >pixels
    clip-encode-image -m lone.safetensors pixels >features 2>words
    [ "$(wc -l <words)" -eq 1 ]
    grep -q '^clip-encode-image: lone.safetensors: .*heads of 64.*--arch' words
    images lone.safetensors >/dev/null 2>words
    [ "$(wc -l <words)" -eq 1 ] || complain "$(cat words)"
    clip-encode-image -q -m lone.safetensors pixels 2>words >/dev/null
    [ ! -s words ]
    run -0 --separate-stderr clip-model info lone.safetensors
    one_line
    cp model/*.json model/merges.txt .
    rm open_clip_config.json
    images lone.safetensors --arch arch.json >got 2>words
    [ ! -s words ]
    images model | cmp - got
    # OpenAI's widths say their heads.
    echo '{"embed_dim": 8, "quick_gelu": true, "vision_cfg": {"image_size": 32, "layers": 1, "width": 768, "patch_size": 32},
           "text_cfg": {"context_length": 8, "vocab_size": 514, "width": 512, "heads": 8, "layers": 1}}' >wide.json
    clip-model init wide.json -o wide.safetensors
    models 'save("plain.safetensors", load("wide.safetensors"))'
    run -0 --separate-stderr clip-model info plain.safetensors
    [ -z "$stderr" ]
    [[ $output == *"width 768, 1 layers, 12 heads"* ]]
}

@test "convert writes the architecture into the file, and every program reads it from there" {
    make_model
    clip-model convert model -o lone.safetensors
    mkdir elsewhere
    mv lone.safetensors elsewhere/x.safetensors
    images model >want
    images elsewhere/x.safetensors >got 2>words
    cmp want got
    [ ! -s words ]
    texts model | clip-dump >want
    clip-tokenize --lines -m elsewhere/x.safetensors --vocab vocab.txt captions.txt |
        clip-encode-text -m elsewhere/x.safetensors | clip-project-normalize -m elsewhere/x.safetensors |
        clip-dump | cmp - want
    models 'm = metadata("elsewhere/x.safetensors")
assert m["format"] == "pt" and all(type(v) is str for v in m.values()), m
c = json.loads(m["open_clip_config"])
assert c["model_cfg"]["text_cfg"]["heads"] == 2 and len(c["preprocess_cfg"]["mean"]) == 3, c'
    # The file's own word stands against what lies beside it, another library's or another model's.
    echo '{"model_type": "bert"}' >elsewhere/config.json
    equal <(images elsewhere/x.safetensors) <(images model)
    rm elsewhere/config.json
    clip-model convert model --to hf -o hf
    sed 's/"num_attention_heads": 4/"num_attention_heads": 8/; s/"num_attention_heads": 2/"num_attention_heads": 1/' \
        hf/config.json >elsewhere/config.json
    equal <(images elsewhere/x.safetensors) <(images model)
    [[ $(clip-model info elsewhere/x.safetensors) == *", 4 heads, "* ]]
    # Preprocessing goes along, in Hugging Face's order too.
    sed -i 's/0.48145466/0.25/' hf/preprocessor_config.json
    clip-model convert hf -o hf.safetensors
    [[ $(clip-model info hf.safetensors) == *"mean [0.25, "*"converted to RGB before"* ]]
    clip-model init arch.json -s 3 -o init.safetensors
    models 'same("init.safetensors", "model/open_clip_model.safetensors")'
    equal <(images init.safetensors) <(images model)
    # Metadata of others is nobody's trouble, however long.
    models 'save("theirs.safetensors", t, ss_tag_frequency="x" * 100000, open_clip_config=metadata("elsewhere/x.safetensors")["open_clip_config"])'
    equal <(images theirs.safetensors) <(images model)
    models 'save("wrong.safetensors", t, open_clip_config="{}")'
    refuses "the architecture in its metadata" clip-model info wrong.safetensors
    models 'save("named.safetensors", t, open_clip_config="ViT-B-32")'
    clip-model info --arch arch.json named.safetensors >info
    clip-model info named.safetensors >info 2>&1
}

@test "a config.json that is not a CLIP model's is not taken for the file's" {
    make_model
    models 'save("lone.safetensors", t)'
    echo '{"model_type": "bert", "hidden_size": 32}' >config.json
    refuses "./config.json is not the configuration of a CLIP model" clip-model info lone.safetensors
    echo '{"lr": 1e-4}' >config.json
    refuses "./config.json is not the configuration of a CLIP model" clip-model info lone.safetensors
    clip-model info lone.safetensors --arch arch.json >info
    # A folder of such a configuration is no model.
    mkdir folder
    cp config.json lone.safetensors folder
    refuses "not the configuration of a CLIP model" clip-model info folder
    # One that is CLIP's, and not supported, is not passed over.
    echo '{"model_type": "clip", "text_config": {}, "vision_config": {"hidden_act": "mish"}}' >config.json
    refuses "hidden_act" clip-model info lone.safetensors
}

# --- checkpoints ---

@test "state dicts under any key, with any prefix, beside anything" {
    make_model
    clip-model convert model -o want.safetensors
    models '
import argparse, datetime, enum, pathlib
p = prefixed
state = {"state": {0: {"step": floats(1, shape=[]), "exp_avg": floats(1, 2, 3)}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.98), "params": [0]}]}
class Color(enum.Enum): RED = 1
args = argparse.Namespace(lr=1e-3, path=pathlib.PurePosixPath("/x"), when=datetime.datetime(2024, 1, 2), seed=2 ** 64 - 1, big=2 ** 200, words={"a", "b"}, c=complex(1, 2))
scalar = call("numpy.core.multiarray.scalar", call("numpy.dtype", "f8", False, True), b"abcdefgh")
def w(name, value): torch_save(name + ".pt", value)
w("plain", t)
w("model", {"model": t, "optimizer": state, "args": args, "epoch": 3, "best": scalar, "rng": floats(1)})
w("model_state_dict", {"epoch": 1, "model_state_dict": p("module.", t), "optimizer_state_dict": state})
w("state_dict", {"name": "x", "state_dict": p("module._orig_mod.", t), "optimizer": state})
w("module", {"module": p("model.clip.", t), "lr_scheduler": None, "dp_world_size": 8})
w("net", {"net": p("_orig_mod.module.model.", t), "size": call("torch.Size", (1, 2)), "dtype": make("torch.float8_e4m3fn")})
w("deep", {"checkpoint": {"model": p("clip.", t)}})
w("lightning", {"epoch": 1, "global_step": 7, "pytorch-lightning_version": "2.1.0",
  "state_dict": {**p("model.", t), "loss.weight": floats(1, 2), "val_acc.correct": floats(0, shape=[])},
  "loops": {}, "callbacks": {"ModelCheckpoint": {"best_model_score": floats(0.5, shape=[]), "dir": pathlib.PurePosixPath("/y")}},
  "optimizer_states": [state], "lr_schedulers": [{"base_lrs": [1e-3]}], "hparams_name": "kwargs", "hyper_parameters": args})
w("lightning-net", {"state_dict": {**p("net._orig_mod.", t), "criterion.logits": floats(1)}, "hyper_parameters": {}})
w("middle", {"visual._orig_mod." + k[7:] if k.startswith("visual.") else k: x for k, x in t.items()})
w("swa", {"n_averaged": floats(4, shape=[]), **p("module.", t)})
w("twice", {"model": t, "state_dict": t})
w("ema", {"state_dict": t, "state_dict_ema": {k: floats(*[0] * (len(x.data) // 4), shape=x.shape) for k, x in t.items()}})
w("nested", {"model": {"visual": {k[7:]: x for k, x in t.items() if k.startswith("visual.")}, **{k: x for k, x in t.items() if not k.startswith("visual.")}}})
w("flat", {**t, "optimizer": state, "step": 3})
w("lightning-self", {"state_dict": {**t, "loss.weight": floats(1), "metrics.top1.total": floats(1)}, "hyper_parameters": {}})
d = collections.defaultdict(list)
d.update(t)
w("defaultdict", {"weights": d})
save("prefix.safetensors", p("module.model.", t))'
    local file
    for file in *.pt prefix.safetensors; do
        run -0 --separate-stderr clip-model convert "$file" --arch arch.json -o got.safetensors
        cmp want.safetensors got.safetensors || complain "$file"
    done
}

@test "Hugging Face's names under any key" {
    make_model
    clip-model convert model --to hf -o hf
    clip-model convert model -o want.safetensors
    models 't = load("hf/model.safetensors")
torch_save("a.pt", {"state_dict": prefixed("model._orig_mod.", t), "epoch": 1})
torch_save("b.pt", {"module": prefixed("module.", t)})
save("c.safetensors", prefixed("clip.", t))'
    local file
    for file in a.pt b.pt c.safetensors; do
        clip-model convert $file --arch arch.json -o got.safetensors
        cmp want.safetensors got.safetensors || complain "$file"
    done
}

@test "--weights chooses among several; a message lists the keys" {
    make_model
    models '
zero = {k: floats(*[0] * (len(x.data) // 4), shape=x.shape) for k, x in t.items()}
torch_save("ema.pt", {"state_dict": t, "state_dict_ema": zero})
torch_save("models.pt", {"model": t, "model_ema": prefixed("module.", zero), "teacher": {"x": 1}})
torch_save("shadow.pt", {"model": t, "ema": {"decay": 0.99, "shadow": zero}})
torch_save("flat.pt", {"state_dict": {**prefixed("model.", t), **prefixed("ema_model.module.", zero)}})
torch_save("two.pt", {"student": t, "teacher": zero})
torch_save("only.pt", {"ema": zero})
save("zero.safetensors", zero)'
    clip-model convert model -o want.safetensors
    clip-model convert zero.safetensors --arch arch.json -o zeros.safetensors
    local file key
    while read -r file key; do
        clip-model convert $file --arch arch.json -o got.safetensors
        cmp want.safetensors got.safetensors || complain "$file"
        clip-model convert $file --arch arch.json --weights "$key" -o got.safetensors
        cmp zeros.safetensors got.safetensors || complain "$file $key"
    done <<'END'
ema.pt state_dict_ema
models.pt model_ema
models.pt model_ema.module
shadow.pt ema
shadow.pt ema.shadow
flat.pt ema_model
flat.pt state_dict.ema_model
END
    clip-model convert only.pt --arch arch.json -o got.safetensors
    cmp zeros.safetensors got.safetensors
    refuses "(--weights KEY chooses one): student, teacher" clip-model info two.pt
    clip-model convert two.pt --weights student --arch arch.json -o got.safetensors
    cmp want.safetensors got.safetensors
    refuses "under 'nothing'; there are under: student, teacher" clip-model info two.pt --weights nothing
    refuses "under 'stud'; there are under" clip-model info two.pt --weights stud
    # Every program takes it.
    local program
    for program in clip-tokenize clip-preprocess clip-encode-image clip-encode-text clip-project-normalize; do
        refuses "student, teacher" $program -m two.pt --arch arch.json </dev/null
        refuses "no end object" $program -m two.pt --arch arch.json --weights student </dev/null || [ $program = clip-tokenize ]
    done
    equal <(images two.pt --arch arch.json --weights student) <(images model)
    run -0 clip-classify -m two.pt --arch arch.json --weights student --dry-run "$SRC/share/samples/photos/cat.jpg" -- a b
    [[ $output == *"clip-encode-image -q -m two.pt --arch arch.json --weights student"* ]]
}

@test "a whole object is refused, with what to do; 'no tensors' is said of none that has some" {
    make_model
    models '
net = make("torch.nn.modules.container.Sequential")()
net.__dict__.update(_modules={"0": 1}, _parameters={"w": t["ln_final.bias"]})
torch_save("net.pt", net)
torch_save("inside.pt", {"model": net, "optimizer": {"state": {0: {"exp_avg": floats(1)}}}})
other = make("project.State")()
other.__dict__.update(params=t)
torch_save("state.pt", {"state": other})
torch_save("optimizer.pt", {"state": {0: {"exp_avg": floats(1)}}})
torch_save("list.pt", list(t.values()))
torch_save("one.pt", floats(1))
torch_save("none.pt", {"epoch": 1})'
    local file
    for file in net.pt inside.pt; do
        refuses "a whole object of torch.nn.modules.container.Sequential" clip-model info $file
        [[ $stderr == *"save the model's state_dict() instead"* ]]
    done
    refuses "a whole object of project.State" clip-model info state.pt
    refuses "not a CLIP model: none of its 1 tensors" clip-model info optimizer.pt
    refuses "not a CLIP model: none of its" clip-model info list.pt
    refuses "one tensor without a name" clip-model info one.pt
    refuses "the pickle holds no tensors" clip-model info none.pt
}

# --- shards ---

@test "weights in shards: written past a size, read as one, and what is wrong with them" {
    make_model
    clip-model convert model --to hf -o hf
    clip-model convert hf -o want.safetensors
    clip-model convert hf --to hf --shard-size 100k -o sharded
    local count=$(ls sharded/*.safetensors | wc -l)
    [ "$count" -gt 2 ]
    [ -e "sharded/model-00002-of-0000$count.safetensors" ]
    [ ! -e sharded/model.safetensors ]
    clip-model convert sharded -o got.safetensors
    cmp want.safetensors got.safetensors
    clip-model convert sharded/model.safetensors.index.json -o got.safetensors
    cmp want.safetensors got.safetensors
    equal <(images sharded) <(images hf)
    models '
index = json.load(open("sharded/model.safetensors.index.json"))
files = {f: load("sharded/" + f) for f in set(index["weight_map"].values())}
assert set(index["weight_map"]) == set(load("hf/model.safetensors"))
assert all(n in files[f] for n, f in index["weight_map"].items())
assert index["metadata"]["total_size"] == sum(len(x.data) for f in files.values() for x in f.values())
assert all(sum(len(x.data) for x in f.values()) <= 100 << 10 or len(f) == 1 for f in files.values())'
    clip-model convert model --shard-size 100k -o oc
    [ -e oc/open_clip_model.safetensors.index.json ]
    as_model oc
    # One file where it fits.
    clip-model convert model --shard-size 1G -o whole
    diff -r whole model
    # PyTorch's shards.
    models '
t = load("hf/model.safetensors")
names = sorted(t)
os.mkdir("bin")
shutil.copy("hf/config.json", "bin"), shutil.copy("hf/preprocessor_config.json", "bin")
halves = names[:30], names[30:]
for i, half in enumerate(halves):
    torch_save("bin/pytorch_model-0000%d-of-00002.bin" % (i + 1), collections.OrderedDict((n, t[n]) for n in half))
m = {n: "pytorch_model-0000%d-of-00002.bin" % (1 + (n in halves[1])) for n in names}
def write(name, m, folder="bin"): json.dump({"metadata": {}, "weight_map": m}, open(f"{folder}/{name}", "w"))
write("pytorch_model.bin.index.json", m)
write("missing.json", {**m, "x": "pytorch_model-00003-of-00002.bin"})
write("absent.json", {**m, "x": m[names[0]]})
write("other.json", {**m, names[0]: m[names[-1]]})
write("leaves.json", {**m, "x": "../hf/model.safetensors"})
write("root.json", {**m, "x": "/etc/passwd"})
write("number.json", {**m, "x": 3})
write("empty.json", {})
torch_save("bin/both.bin", {n: t[n] for n in names[:2]})
write("both.json", {**m, names[0]: "both.bin", names[1]: "both.bin"})
for n in "missing absent other leaves root number empty both".split(): os.rename(f"bin/{n}.json", f"bin/{n}.index.json")'
    clip-model convert bin -o got.safetensors
    cmp want.safetensors got.safetensors
    refuses "bin/pytorch_model-00003-of-00002.bin: No such file" clip-model info bin/missing.index.json
    refuses "pytorch_model-00001-of-00002.bin: tensor x is missing from the file that the index names" clip-model info bin/absent.index.json
    refuses "is missing from the file that the index names" clip-model info bin/other.index.json
    refuses "'../hf/model.safetensors' is not a file of this folder" clip-model info bin/leaves.index.json
    refuses "'/etc/passwd' is not a file of this folder" clip-model info bin/root.index.json
    refuses "tensor x has no file" clip-model info bin/number.index.json
    refuses "it is empty" clip-model info bin/empty.index.json
    refuses "is in two files" clip-model info bin/both.index.json
    refuses "one of several files of a model" clip-model info bin/pytorch_model-00001-of-00002.bin
    refuses "one of several files of a model" clip-model info "sharded/model-00002-of-0000$count.safetensors"
}

# --- one tower ---

# One-tower folders of the Hugging Face folder `hf`: vision, vision-plain, text, text-plain.
take_apart() {
    make_model
    clip-model convert model --to hf -o hf
    models '
t = load("hf/model.safetensors")
c = json.load(open("hf/config.json"))
for side, cls in ("vision", "CLIPVisionModel"), ("text", "CLIPTextModel"):
    part = {k: x for k, x in t.items() if k.startswith(side + "_model.")}
    projection = {"vision": "visual", "text": "text"}[side] + "_projection.weight"
    for name, tensors, made in (side, {**part, projection: t[projection]}, cls + "WithProjection"), (side + "-plain", part, cls):
        os.mkdir(name)
        save(name + "/model.safetensors", tensors)
        json.dump({**c[side + "_config"], "architectures": [made]}, open(name + "/config.json", "w"))
        for f in ["preprocessor_config.json"] if side == "vision" else ["vocab.json", "merges.txt", "tokenizer.json"]:
            shutil.copy("hf/" + f, name)
        save(name + ".safetensors", tensors)'
}

@test "models of one tower give what the whole model gives" {
    take_apart
    local side
    images hf >want-images
    texts hf >want-texts
    images vision | cmp - want-images
    texts text | cmp - want-texts
    # Without a projection: the features.
    clip-untar photos.tar | clip-preprocess -m vision-plain | clip-encode-image -m vision-plain >got
    clip-untar photos.tar | clip-preprocess -m hf | clip-encode-image -m hf | cmp - got
    clip-project-normalize --no-projection got >unit
    refuses "vision-plain: the model has no projection; --no-projection" clip-project-normalize -m vision-plain got
    clip-tokenize --lines -m text-plain captions.txt | clip-encode-text -m text-plain >got
    clip-tokenize --lines -m hf captions.txt | clip-encode-text -m hf | cmp - got
    refuses "text-plain: the model has no projection" clip-project-normalize -m text-plain got
    # Lone files, by names alone and --arch.
    images vision.safetensors --arch arch.json >got
    images model | cmp - got
    # The configuration of the whole, of which the class is a tower.
    models '
c = json.load(open("hf/config.json"))
json.dump({**c, "architectures": ["CLIPVisionModelWithProjection"]}, open("vision/config.json", "w"))'
    images vision | cmp - want-images
    # And the weights of the whole.
    cp hf/model.safetensors vision
    images vision | cmp - want-images
    cp hf/model.safetensors text
    texts text | cmp - want-texts
}

@test "the program of the missing tower says which is missing" {
    take_apart
    refuses "text: the model has no vision tower" clip-preprocess -m text </dev/null
    refuses "text: the model has no vision tower" clip-encode-image -m text </dev/null
    mkdir run
    ln -s ../text run/init
    refuses "run/init: the model has no vision tower" clip-encode-image --train run --grad-in none </dev/null
    refuses "run/init: the model has no vision tower" clip-project-normalize --train run --grad-in none </dev/null
    refuses "vision: the model has no text tower" clip-tokenize -m vision </dev/null
    refuses "vision-plain: the model has no text tower" clip-encode-text -m vision-plain </dev/null
    refuses "vision: the model has no logit scale" clip-simmatrix --scale model -m vision </dev/null
    refuses "text: the model has no logit scale" clip-contrastive-step -m text </dev/null
    clip-tokenize --lines -m hf captions.txt | clip-encode-text -m hf >features
    refuses "text_features': vision: the model has no text tower" clip-project-normalize -m vision features
    [ "$(clip-model info vision | grep -E '^(text|logit scale|embedding) ')" = $'embedding     24\ntext          none\nlogit scale   none' ]
    [ "$(clip-model info text-plain | grep -E '^(vision|embedding) ')" = $'embedding     none: there is no projection\nvision        none' ]
    clip-model info --json vision-plain | grep -q '"text":null'
    # Each form says what it can hold.
    clip-model convert vision --to hf -o again
    models 'same("vision/model.safetensors", "again/model.safetensors")
assert json.load(open("again/config.json"))["architectures"] == ["CLIPVisionModelWithProjection"]'
    equal <(images again) <(images hf)
    clip-model convert text-plain --to hf -q -o text-again
    equal <(clip-tokenize --lines -m text-again captions.txt | clip-encode-text -m text-again) <(clip-tokenize --lines -m hf captions.txt | clip-encode-text -m hf)
    clip-model convert vision -o lone.safetensors
    equal <(images lone.safetensors) <(images hf)
    refuses "open_clip's form has both towers" clip-model convert vision -q -o open_clip
    [ ! -e open_clip ]
}

# --- tokens that were added ---

# ids TEXT [OPTION...]: the tokens of a caption between start and end.
ids() {
    local text=$1
    shift
    printf '%s\n' "$text" | clip-tokenize --lines "$@" | clip-dump --values |
        sed 's/.*"values":\[[0-9]*,//; s/]}}*$//; s/,517,.*//; s/,517$//'
}

@test "added tokens become their ids, as Hugging Face's tokenizers find them" {
    printf '%s\n' '#version: 0.2' 'a b' 'ab c</w>' 'd o' 'do g</w>' >vocab.txt
    echo '{"embed_dim": 8, "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
           "text_cfg": {"context_length": 12, "vocab_size": 524, "width": 8, "heads": 2, "layers": 1}}' >arch.json
    clip-model init arch.json --vocab vocab.txt -o model
    [ "$(ids 'abc dog' -m model)" = 513,515 ]
    models '
j = json.load(open("model/tokenizer.json"))
def token(i, content, **k): return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **k}
j["added_tokens"] += [token(518, "<sks>"), token(519, "<SKS>"), token(520, "<sk"), token(521, "<New>", normalized=True), token(522, "dog", single_word=True), token(523, "<strip>", lstrip=True, rstrip=True)]
os.mkdir("json")
json.dump(j, open("json/tokenizer.json", "w"))
shutil.copytree("model", "beside")
json.dump(j, open("beside/tokenizer.json", "w"))
for name in "decoder", "names":
    os.mkdir(name)
    for f in "vocab.json", "merges.txt": shutil.copy("model/" + f, name)
json.dump({"added_tokens_decoder": {str(t.pop("id")): t for t in j["added_tokens"]}}, open("decoder/tokenizer_config.json", "w"))
json.dump({"<sks>": 518, "<New>": 519}, open("names/added_tokens.json", "w"))'
    local form
    for form in json json/tokenizer.json beside beside/vocab.json decoder; do
        [ "$(ids 'abc<sks>abc' --vocab $form)" = 513,518,513 ] || complain $form
        [ "$(ids '<SKS>  <sks>' --vocab $form)" = 519,518 ]
        [ "$(ids '<sk ' --vocab $form)" = 520 ]
        [ "$(ids '<new><NEW>' --vocab $form)" = 521,521 ]
        [ "$(ids 'dog dogdog dog!' --vocab $form)" = "522,514,$(ids gdog --vocab model),522,256" ]
        [ "$(ids 'DOG' --vocab $form)" = 515 ]
        [ "$(ids 'abc <strip> abc' --vocab $form)" = 513,523,513 ]
    done
    [ "$(ids 'abc <SKS> <new>' --vocab names)" = 513,518,519 ]
    [ "$(ids 'abc <sks>' -m beside)" = 513,518 ]
    # They stay what they are when they are written.
    clip-model init arch.json --vocab json -o written
    [ "$(ids '<SKS> <sks> dog DOG <NEW>' -m written)" = 519,518,522,515,521 ]
    [ "$(ids '<sks>' --vocab written/tokenizer.json)" = 518 ]
    clip-model convert written -o copied
    [ "$(ids '<sks>' -m copied)" = 518 ]
    # An id beyond the model's is named where a caption has it.
    sed 's/524/518/' arch.json >small.json
    clip-model init small.json --vocab vocab.txt -o small
    [ "$(ids 'abc dog' -m small --vocab names)" = 513,515 ]
    refuses "token '<sks>' has the id 518, but the model has 518 tokens" clip-tokenize --lines -m small --vocab names <(echo 'abc <sks>')
}

@test "what a tokenizer.json asks for that is not CLIP's is refused by name" {
    printf '%s\n' '#version: 0.2' 'a b' >vocab.txt
    clip-model vocab -n 516 -o model <(printf 'a big boat\na big boat\n')
    need_python json
    python - <<'END'
import copy, json
whole = json.load(open('model/tokenizer.json'))
cases = []
def case(words, model=None, **parts):
    j = copy.deepcopy(whole)
    j.update(parts)
    j['model'].update(model or {})
    json.dump(j, open(f'{len(cases)}.json', 'w'))
    cases.append(words)
split, bytes_ = whole['pre_tokenizer']['pretokenizers']
nfc, spaces, lower = whole['normalizer']['normalizers']
S = lambda key, *parts: {'type': 'Sequence', key: list(parts)}
special = dict(split, pattern={'Regex': r'<\|startoftext\|>|<\|endoftext\|>|' + split['pattern']['Regex']})
token = lambda i: {'SpecialToken': {'id': i, 'type_id': 0}}
case('')
case('', model={'byte_fallback': False, 'ignore_merges': False, 'dropout': None})
case('', pre_tokenizer=bytes_)
case('', pre_tokenizer=S('pretokenizers', special, bytes_))
case('', post_processor=None)
case('', post_processor={'type': 'ByteLevel', 'trim_offsets': False})
case('', post_processor={'type': 'TemplateProcessing', 'single': [token('<|startoftext|>'), {'Sequence': {'id': 'A', 'type_id': 0}}, token('<|endoftext|>')], 'pair': []})
case('model.type: "WordPiece"', model={'type': 'WordPiece'})
case('model.end_of_word_suffix', model={'end_of_word_suffix': None})
case('model.end_of_word_suffix: "@"', model={'end_of_word_suffix': '@'})
case('model.dropout: 0.1', model={'dropout': 0.1})
case('model.ignore_merges', model={'ignore_merges': True})
case('model.byte_fallback', model={'byte_fallback': True})
case('model.continuing_subword_prefix: "##"', model={'continuing_subword_prefix': '##'})
case('normalizer: BertNormalizer', normalizer={'type': 'BertNormalizer'})
case('normalizer: null', normalizer=None)
case('normalizer: it does not make the text lower case', normalizer=S('normalizers', nfc, spaces))
case('normalizer: NFKC', normalizer=S('normalizers', {'type': 'NFKC'}, lower))
case('normalizer: Replace', normalizer=S('normalizers', {'type': 'Replace', 'pattern': {'String': 'a'}, 'content': 'b'}, lower))
case('pre_tokenizer: Whitespace', pre_tokenizer={'type': 'Whitespace'})
case('pre_tokenizer: null', pre_tokenizer=None)
case('pre_tokenizer: Split', pre_tokenizer=S('pretokenizers', dict(split, pattern={'Regex': r'\d'}), bytes_))
case('pre_tokenizer: ByteLevel', pre_tokenizer=dict(bytes_, add_prefix_space=True))
case('pre_tokenizer: it has no ByteLevel', pre_tokenizer=split)
case('post_processor: BertProcessing', post_processor={'type': 'BertProcessing', 'sep': ['[SEP]', 1], 'cls': ['[CLS]', 0]})
case('post_processor: RobertaProcessing', post_processor={'type': 'RobertaProcessing', 'sep': ['</s>', 1], 'cls': ['<s>', 0]})
open('cases', 'w').write('\n'.join(cases) + '\n')
END
    local words number=0
    while IFS= read -r words; do
        if [ -z "$words" ]; then
            clip-tokenize --lines --vocab $number.json <(echo a) >tokens
        else
            refuses "$number.json: $words" clip-tokenize -q --lines --vocab $number.json <(echo a)
        fi
        number=$((number + 1))
    done <cases
    [ $number -eq 26 ]
}

# --- big_vision's archives ---

# make_siglip [OPTION]: a small SigLIP, drawn, in the folder `model`; heads of 2 and 4.
make_siglip() {
    cat >arch.json <<END
{"embed_dim": 24, "init_logit_bias": -10, "custom_text": true,
 "vision_cfg": {"timm_model_name": "${1:-vit_base_patch16_siglip_224}", "timm_pool": "map", "timm_proj": "none", "image_size": 32,
  "timm_model_kwargs": {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 3, "num_heads": 2}},
 "text_cfg": {"context_length": 5, "vocab_size": 40, "width": 24, "heads": 4, "layers": 2, "no_causal_mask": true,
  "proj_bias": true, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}}}
END
    clip-model init -q arch.json -o model 2>/dev/null
}

@test "big_vision's archives are the models that open_clip makes of them" {
    need_python numpy
    make_siglip
    # Biases and positions that init draws as zeros would hide what is mixed up.
    models '
import numpy as np
draw = np.random.default_rng(1)
for x in t.values():
    x.data = draw.standard_normal(len(x.data) // 4).astype("<f4").tobytes()
save("model/open_clip_model.safetensors", t)
np.savez("params.npz", **big_vision(t, (2, 4)), **{"opt/0/mu/img/cls": np.zeros(3), "chrono/steps": np.int64(7)})
np.savez("bare.npz", **big_vision(t, (2, 4), ""))
np.savez("flax.npz", **big_vision(t, (2, 4), "opt/target/"), **{"opt/state/step": np.int64(7)})
np.savez("stacked.npz", **big_vision(t, (2, 4), stacked=True))
half = {n: x.astype("<f2") for n, x in big_vision(t, (2, 4)).items()}
np.savez("half.npz", **half)
brain = {n: (x.copy().view("<u4") >> 16).astype("<u2").view("V2") for n, x in big_vision(t, (2, 4)).items()}
np.savez("brain.npz", **brain)
for x in t.values():
    whole = x.data
    x.dtype, x.data = "F16", np.frombuffer(whole, "<f4").astype("<f2").tobytes()
    x.brain = (np.frombuffer(whole, "<u4") >> 16).astype("<u2").tobytes()
for name in "half", "brain":
    shutil.copytree("model", name)
save("half/open_clip_model.safetensors", t)
for x in t.values():
    x.dtype, x.data = "BF16", x.brain
save("brain/open_clip_model.safetensors", t)'
    local name want
    for name in params:model bare:model flax:model stacked:model half:half brain:brain; do
        want=${name#*:} name=${name%:*}
        clip-model convert -q $want -o want.safetensors
        clip-model convert -q $name.npz --arch arch.json -o got.safetensors
        cmp got.safetensors want.safetensors || complain $name
    done
    [[ $(clip-model info params.npz --arch arch.json) == *"NumPy archive"* ]]
    # An image size other than the archive's: positions are resampled on loading.
    sed 's/"image_size": 32/"image_size": 64/; s/"img_size": 32/"img_size": 64/' arch.json >large.json
    clip-model convert -q --image-size 64 model -o want.safetensors
    clip-model convert -q params.npz --arch large.json -o got.safetensors
    cmp got.safetensors want.safetensors
    # Beside the configuration, and by the programs.
    cp params.npz model/siglip.npz
    printf '%s\n' '{"__key__": "a", "tokens": {"i4": [3, 4, 5, 1, 1]}}' | "$BUILD/tests/tools/make-stream" >tokens
    clip-encode-text -m model tokens >want
    clip-encode-text -m model/siglip.npz tokens | cmp - want
    clip-untar <(tar -cf - -C "$SRC/share/samples/photos" cat.jpg) | clip-preprocess -m model >pixels
    clip-encode-image -m model pixels | clip-project-normalize -m model >want
    clip-encode-image -m stacked.npz --arch arch.json pixels | clip-project-normalize -m model >got
    cmp got want
    rm -r model
    make_siglip naflexvit_base_patch16_siglip
    models 'import numpy as np
np.savez("naflex.npz", **big_vision(t, (2, 4)))'
    clip-model convert -q model -o want.safetensors
    clip-model convert -q naflex.npz --arch arch.json -o got.safetensors
    cmp got.safetensors want.safetensors
}

@test "archives of NumPy that are broken, or hold what is not a model" {
    need_python numpy
    make_siglip
    models '
import io, numpy as np, zipfile
arrays = big_vision(t, (2, 4))

def other(path, name, value):
    np.savez(path, **{**arrays, name: value})

bias, kernel = "params/txt/head/bias", "params/img/Transformer/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel"
np.savez_compressed("packed.npz", **arrays)
np.savez("some.npz", a=np.zeros(3, "f4"), b=np.zeros((2, 2), "f4"))
other("fortran.npz", kernel, np.asfortranarray(arrays[kernel]))
other("big.npz", bias, arrays[bias].astype(">f4"))
other("unsigned.npz", bias, arrays[bias].astype("u4"))
other("complex.npz", bias, arrays[bias].astype("c8"))
other("void.npz", bias, arrays[bias].view("V4"))
other("objects.npz", bias, np.array([{}, []], dtype=object))
other("struct.npz", bias, np.zeros(24, [("a", "f4")]))
other("integers.npz", bias, arrays[bias].astype("i4"))
other("shape.npz", bias, arrays[bias][None])
other("rows.npz", kernel, arrays[kernel][:-1])
other("flat.npz", kernel, arrays[kernel].reshape(24, 24))
other("more.npz", "params/txt/more/bias", arrays[bias])
less = {n: x for n, x in arrays.items() if n != kernel}
np.savez("less.npz", **less)
whole = open("more.npz", "rb").read()
open("cut.npz", "wb").write(whole[:-100])
open("lies.npz", "wb").write(whole.replace(b"(24,), }", b"(99,), }"))
with zipfile.ZipFile("note.npz", "w") as z:
    for n, x in arrays.items():
        data = io.BytesIO()
        np.save(data, x)
        z.writestr(n + ".npy", data.getvalue())
    z.writestr("note.txt", "hello")
with zipfile.ZipFile("text.npz", "w") as z:
    z.writestr("a.npy", "hello")
with zipfile.ZipFile("huge.npz", "w") as z:
    head = b"{\"descr\": \"<f4\", \"fortran_order\": True, \"shape\": (4611686018427387904, 4)}\n"
    z.writestr("params/img/embedding/kernel.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head)
np.savez("blocks.npz", **{"img/embedding/kernel": np.zeros(3), "img/Transformer/encoderblock/LayerNorm_0/scale": np.zeros((1 << 30, 0), "f4")})'
    local file words
    while read -r file words; do
        refuses "$file.npz: $words" clip-model info --arch arch.json $file.npz || complain $file
    done <<'END'
packed entry params/b.npy of the NumPy archive: compressed, so that it cannot be mapped: save it with np.savez
some not a CLIP model: none of its 2 tensors (a ...)
fortran tensor params/img/Transformer/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel: the numbers of its heads do not lie side by side
big entry params/txt/head/bias.npy of the NumPy archive: its numbers are not little-endian
unsigned entry params/txt/head/bias.npy of the NumPy archive: unsigned integers are not weights
complex entry params/txt/head/bias.npy of the NumPy archive: an array of type '<c8', which is not supported
void entry params/txt/head/bias.npy of the NumPy archive: an array of type '|V4', which is not supported
objects entry params/txt/head/bias.npy of the NumPy archive: an array of type '|O', which is not supported
struct entry params/txt/head/bias.npy of the NumPy archive: an array of structures
integers tensor text_projection.bias holds I32, not floating-point numbers
shape tensor text_projection.bias is [1, 24], but should be [24]
rows tensor visual.trunk.blocks.0.attn.qkv.weight: its parts differ, or one is missing
flat tensor params/img/Transformer/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel has 2 dimensions, but should have 3
more tensor params/txt/more/bias is not one of the architecture's
less tensor visual.trunk.blocks.0.attn.qkv.weight lacks a part
cut a zip without its end record: it is cut
lies entry params/img/MAPHead_0/LayerNorm_0/bias.npy of the NumPy archive: a .npy file that is cut, or too long
note entry note.txt of the NumPy archive: not an array
text entry a.npy of the NumPy archive: not an array
huge entry params/img/embedding/kernel.npy of the NumPy archive: a .npy file that is cut, or too long
blocks more than 65536 tensors
END
    models 'import numpy as np
np.savez("alone.npz", **big_vision(t, (2, 4)))'
    refuses "the weights of a timm tower do not say which one it is (see --arch)" clip-model info alone.npz
}

# --- what is none ---

@test "pointers, pages, empty files, indexes and others' files are named as what they are" {
    make_model
    printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 605247071\n' >lfs.pt
    printf '\n<!DOCTYPE html>\n<html><head><title>403</title></head></html>\n' >page.safetensors
    : >empty.bin
    printf '{"metadata": {}, "other": {}}' >some.index.json
    printf '\211HDF\r\n\032\n012345678901234567890' >keras.h5
    printf 'IxFI0123\0\0\0\0' >image.index
    (head -c 90 /dev/zero && printf '\127\373\200\213\044\165\107\333') >variables.index
    echo 'hello, this is no model' >note.pt
    gzip -c model/open_clip_model.safetensors >packed.safetensors.gz
    models 'pickle.dump({"a": 1}, open("bare.pkl", "wb"), 2)'
    local file words
    while read -r file words; do
        refuses "$file: $words" clip-model info ./$file
        refuses "$file: $words" clip-encode-image -m $file </dev/null
    done <<'END'
lfs.pt a Git LFS pointer
page.safetensors an HTML or XML page
empty.bin an empty file
some.index.json JSON, not weights
keras.h5 an HDF5 file
image.index a FAISS index
variables.index the index of a TensorFlow checkpoint
note.pt text, not weights
packed.safetensors.gz compressed with gzip
bare.pkl a bare pickle
END
    for file in open_clip_model.safetensors open_clip_config.json vocab.json merges.txt; do
        rm -rf broken
        cp -r model broken
        cp lfs.pt broken/$file
        refuses "broken/$file: a Git LFS pointer" clip-tokenize --lines -m broken captions.txt
    done
    refuses "lfs.pt: a Git LFS pointer" clip-tokenize --lines --vocab lfs.pt captions.txt
}

@test "clip-tokenize and clip-preprocess do not read the weights of a folder, nor the data of a file" {
    make_model
    clip-model convert model --to hf -o hf
    local form file want
    for form in model hf; do
        clip-tokenize --lines -m $form captions.txt >tokens
        clip-untar photos.tar | clip-preprocess -m $form >pixels
        file=$(cd $form && echo *.safetensors)
        cp -r $form bare-$form
        for want in "not a safetensors file" "no weights there"; do
            rm bare-$form/$file
            [ "$want" = "no weights there" ] || head -c 5 /dev/zero >bare-$form/$file
            clip-tokenize --lines -m bare-$form captions.txt | cmp - tokens
            clip-untar photos.tar | clip-preprocess -m bare-$form | cmp - pixels
            refuses "$want" clip-encode-text -m bare-$form tokens
        done
    done
    # What the architecture says is missing is named where it is used.
    models '
t.pop("visual.ln_post.bias")
save("lone.safetensors", t)'
    clip-untar photos.tar | clip-preprocess -m lone.safetensors >pixels
    refuses "lone.safetensors: tensor visual.ln_post.bias is missing" clip-encode-image -q -m lone.safetensors pixels
}

@test "a logit scale that is not a logarithm, or not finite, is an error where it is used" {
    make_model
    { images model; texts model; } >embeddings
    models '
for name, x in ("factor", 100), ("small", 14.2857), ("nan", float("nan")), ("inf", float("inf")), ("most", 4.6051702):
    t["logit_scale"] = floats(x, shape=[])
    os.mkdir(name)
    save(name + "/open_clip_model.safetensors", t)
    shutil.copy("model/open_clip_config.json", name)'
    local program
    for program in "clip-simmatrix --tsv --scale model" clip-contrastive-step; do
        refuses "factor: logit_scale is 100, which would be a factor of exp(100): the factor itself" $program -m factor embeddings
        refuses "small: logit_scale is 14.2857" $program -m small embeddings
        refuses "nan: logit_scale is nan, not a finite number" $program -m nan embeddings
        refuses "inf: logit_scale is inf" $program -m inf embeddings
    done
    clip-simmatrix --tsv --scale model -m most embeddings >scores
    [[ $(clip-model info factor) == *"logit scale   100, which is not the logarithm of a factor"* ]]
    clip-model info --json nan | grep -q '"logit_scale":null'
    run -2 clip-simmatrix --scale nan embeddings
    run -2 clip-simmatrix --scale 1e999 embeddings
    run -2 clip-contrastive-step --scale nan embeddings
    refuses "is not finite (the scale is 1e+300)" clip-simmatrix --tsv --scale 1e300 embeddings
    refuses "is not finite" clip-simmatrix --tsv --softmax --top 1 --scale 1e300 embeddings
}

@test "a model file that is cut while it is mapped ends a program with a line that names it" {
    make_model
    clip-tokenize --lines -m model captions.txt >tokens
    clip-untar photos.tar | clip-preprocess -m model >pixels
    local part file
    # The embeddings of tokens are read when there are some.
    cp -r model cut
    mkfifo pipe
    clip-encode-text -m cut pipe >out 2>words &
    exec 5>pipe
    # It has opened the model once it waits for the stream: /proc says that its input is open.
    while ! ls -l /proc/$!/fd 2>/dev/null | grep -q 'pipe$'; do sleep 0.02; done
    truncate -s 4096 cut/open_clip_model.safetensors
    cat tokens >&5
    exec 5>&-
    local status=0
    wait $! || status=$?
    [ "$status" -eq 1 ] || complain "$status"
    [ "$(cat words)" = "clip-encode-text: cut/open_clip_model.safetensors: the file was truncated while it was read" ]
    # Renamed over is fine.
    cp -r model kept
    clip-encode-text -m kept pipe >out 2>words &
    exec 5>pipe
    while ! ls -l /proc/$!/fd 2>/dev/null | grep -q 'pipe$'; do sleep 0.02; done
    echo other >kept/new
    mv kept/new kept/open_clip_model.safetensors
    cat tokens >&5
    exec 5>&-
    wait $!
    clip-encode-text -m model tokens | cmp - out
    # Every other program that maps weights: cut at any moment, none dies of a signal.
    for part in encode-image project-normalize; do
        rm -rf cut
        cp -r model cut
        clip-$part -m cut pipe >out 2>words &
        exec 5>pipe
        truncate -s 4096 cut/open_clip_model.safetensors
        cat pixels >&5 2>/dev/null || true
        exec 5>&-
        status=0
        wait $! || status=$?
        [ "$status" -le 1 ] || complain "$part: $status"
    done
}

# --- names of what is written ---

@test "convert and init write no folder under the name of a file" {
    make_model
    local name
    for name in model.bin x.pt x.pth x.ckpt x.json x.onnx; do
        run -2 --separate-stderr clip-model convert model -o $name
        [[ $stderr == *"'$name'"*"a file that ends in .safetensors"* ]] || complain "$stderr"
        [ ! -e $name ]
        run -2 clip-model convert model --to hf -o $name
        run -2 clip-model init arch.json -o $name
        [ ! -e $name ]
    done
    run -2 --separate-stderr clip-model convert model --to hf -o x.safetensors
    [[ $stderr == *"not of a folder"* ]]
    run -2 clip-model convert model --shard-size 1M -o x.safetensors
    run -2 clip-model init arch.json --vocab vocab.txt -o x.safetensors
    run -2 clip-model vocab -n 514 -o vocab.json captions.txt
    [ ! -e x.safetensors ]
}
