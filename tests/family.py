"""Training of a golden family in PyTorch, by autograd of the shared oracle's forward: family.py COMMAND ARGUMENT..."""
import gzip
import hashlib
import json
import math
import os
import re
import signal
import struct
import sys
import traceback

try:
    import msgpack
    import numpy as np
except ImportError:  # `named` needs neither
    pass

sys.path.insert(0, os.environ["SHARED"] + "/oracle")

RATE, BETA1 = 1e-3, 0.9
OPENAI = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}


def batches(folder, count, first=1):
    """The family's records, in steps `first` to `count` each time a batch that is saved."""
    records = [o for o in msgpack.Unpacker(open(folder + "/batch.msgpack", "rb")) if "__key__" in o]
    every = []
    for step in range(int(first), int(count) + 1):
        every += records + [{"__step__": step, "count": len(records), "lr": RATE, "save": True}]
    for o in every + [{"__end__": sum("__key__" in o for o in every)}]:
        sys.stdout.buffer.write(msgpack.packb(o))


def pairs(config, count):
    """Records of pictures, squares of colour and noise, and of captions, as the architecture takes them."""
    model = json.load(open(config))
    model = model.get("model_cfg", model)
    side, text = model["vision_cfg"]["image_size"], model["text_cfg"]
    draw = np.random.default_rng(side)

    def tensor(x, kind):
        return {b"nd": True, b"type": kind, b"kind": b"", b"shape": x.shape, b"data": x.astype(kind).tobytes()}
    for i in range(int(count)):
        at = np.arange(side) * 4 // side
        image = draw.integers(0, 192, (3, 4, 4))[:, at][:, :, at] + draw.integers(0, 64, (3, side, side))
        tokens = draw.integers(1, text["vocab_size"] - 2, text["context_length"])
        tokens[-1] = text["vocab_size"] - 1
        sys.stdout.buffer.write(msgpack.packb({"__key__": str(i), "image": tensor(image, "|u1"), "tokens": tensor(tokens, "<i4")}))
    sys.stdout.buffer.write(msgpack.packb({"__end__": int(count)}))


def records(path):
    """The stream's records, tensors as arrays."""
    def decode(o):
        return np.frombuffer(o[b"data"], o[b"type"]).reshape(o[b"shape"]) if b"nd" in o else o
    return [r for r in msgpack.Unpacker(open(path, "rb"), object_hook=decode, strict_map_key=False) if "__key__" in r]


def logits(want, scores, tolerance):
    """Rows of clip-simmatrix against the golden logits."""
    theirs = {r["__key__"]: r["logits"] for r in records(want)}
    ours = {r["__key__"]: r["scores"] for r in records(scores)}
    if not theirs or theirs.keys() != ours.keys():
        sys.exit("rows are missing")
    off = max(np.abs(ours[key] - row).max() for key, row in theirs.items())
    if not off <= float(tolerance):
        sys.exit(f"logits differ by {off}")


def turned(path, count):
    """The stream's records, several times, in changing order; a key ends in the number that a record has there."""
    some = [o for o in msgpack.Unpacker(open(path, "rb")) if "__key__" in o]
    every = [{**some[i * 3 % len(some)], "__key__": f"{i}/{i * 3 % len(some)}"} for i in range(int(count))]
    for o in every + [{"__end__": len(every)}]:
        sys.stdout.buffer.write(msgpack.packb(o))


def pixels(side, count):
    """A stream of pictures: squares of colour, and noise."""
    draw = np.random.default_rng(5)
    side, count = int(side), int(count)
    for i in range(count):
        a = draw.integers(0, 256, (3, side, side)).astype("u1") // 4
        a[:, side // 4:side // 2 + i, i:side // 2] += np.array([190, 40, 90 + 30 * i], "u1")[:, None, None]
        tensor = {b"nd": True, b"type": "|u1", b"kind": b"", b"shape": [3, side, side], b"data": a.tobytes()}
        sys.stdout.buffer.write(msgpack.packb({"__key__": str(i), "image": tensor}))
    sys.stdout.buffer.write(msgpack.packb({"__end__": count}))


def resampled(source, path, before):
    """The second file's positions against PyTorch's resampling of the first one's; all else is the same.
    `before`: rows that stay; "-" where nothing is resampled."""
    import torch
    import clipref
    ours, theirs = clipref.load_safetensors(path), clipref.load_safetensors(source)
    theirs = {n: t for n, t in theirs.items() if not n.startswith("text_decoder")}
    changed = [n for n, t in theirs.items() if t.shape != ours[n].shape]
    for name in set(theirs) - set(changed):
        if not torch.equal(theirs[name], ours[name]):
            sys.exit(f"{name} differs")
    if (not changed) != (before == "-"):
        sys.exit(f"resampled: {changed}")
    for name in changed:
        x, y = theirs[name].double(), ours[name].double()
        width, interpolate = x.shape[-1], torch.nn.functional.interpolate
        if name in ("positional_embedding", "text.positional_embedding"):
            want = interpolate(x.T[None], size=len(y), mode="linear", align_corners=False)[0].T
        else:
            first = int(before)
            rows, grid = x.reshape(-1, width)[:first], x.reshape(-1, width)[first:]
            side, to = math.isqrt(len(grid)), math.isqrt(y.numel() // width - first)
            grid = interpolate(grid.reshape(1, side, side, width).permute(0, 3, 1, 2), size=(to, to), mode="bicubic",
                               antialias=True, align_corners=False)
            want = torch.cat([rows, grid.permute(0, 2, 3, 1).reshape(to * to, width)]).reshape(y.shape)
        if not (want - y).abs().max() <= (2e-6 if ours[name].dtype == torch.float32 else 2e-3):
            sys.exit(f"{name} differs by {(want - y).abs().max()}")


def shorter(path, tokens):
    """The stream's records whose captions end before so many tokens, without the padding after."""
    count, n = 0, int(tokens)
    for o in msgpack.Unpacker(open(path, "rb"), strict_map_key=False):
        if "__key__" not in o:
            continue
        rows = np.frombuffer(o["tokens"][b"data"], "<i4")
        if not (rows[n:] == rows[-1]).all():
            continue
        o["tokens"][b"shape"], o["tokens"][b"data"] = [n], rows[:n].tobytes()
        sys.stdout.buffer.write(msgpack.packb(o))
        count += 1
    sys.stdout.buffer.write(msgpack.packb({"__end__": count}))


def rows(path, other, least):
    """Each text_features of the one stream is the other's of that key, to the byte; `least` of them."""
    theirs = {r["__key__"]: r["text_features"].tobytes() for r in records(other)}
    ours = records(path)
    if len(ours) < int(least) or any(theirs[r["__key__"]] != r["text_features"].tobytes() for r in ours):
        sys.exit(f"features of {len(ours)} records differ")


def same(path):
    """Records of `turned` with the same number have the same embeddings, others other ones."""
    seen = {}
    for r in records(path):
        mine = r["image_embedding"].tobytes(), r["text_embedding"].tobytes()
        if seen.setdefault(r["__key__"].split("/")[1], mine) != mine:
            sys.exit(f"{r['__key__']} differs")
    if len(seen) < 2 or len({image for image, _ in seen.values()}) != len(seen):
        sys.exit("all pictures are alike")


def cosine(path, other, least):
    """Each embedding of the one stream against the other's."""
    pairs = list(zip(records(path), records(other)))
    lowest = min(float(a[f] @ b[f]) for a, b in pairs for f in ("image_embedding", "text_embedding"))
    if not lowest >= float(least):
        sys.exit(f"a cosine of {lowest}")


def finite(path):
    """Unit embeddings, and not all the same."""
    some = records(path)
    for field in "image_embedding", "text_embedding":
        every = np.stack([r[field] for r in some])
        if not np.isfinite(every).all() or not np.abs(np.linalg.norm(every, axis=1) - 1).max() < 1e-5:
            sys.exit(f"{field} is not of unit length")
        if np.abs(every - every[0]).max() < 1e-6:
            sys.exit(f"each {field} is the same")


def contents(path):
    """Of a safetensors file: what each tensor is, and its bytes."""
    data = open(path, "rb").read()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[start + t["data_offsets"][0]:start + t["data_offsets"][1]])
            for name, t in header.items()}


def tensors(source, path):
    """The same tensors, bit for bit, but for those that no embedding needs."""
    theirs = {n: t for n, t in contents(source).items() if not re.search("position_ids$|embed_positions.weights$|^text_decoder", n)}
    ours = contents(path)
    if theirs.keys() != ours.keys():
        sys.exit(f"names differ: {sorted(theirs.keys() ^ ours.keys())[:4]}")
    for name, t in theirs.items():
        if ours[name] != t:
            sys.exit(f"{name}: {ours[name][:2]}, {t[:2]} is expected")


def expanded(name):
    """blocks.[0-2].weight: the three names."""
    run = re.search(r"\[(\d+)(?:-(\d+))?\]", name)
    if not run:
        return [name]
    return [n for i in range(int(run[1]), int(run[2] or run[1]) + 1)
            for n in expanded(name[:run.start()] + str(i) + name[run.end():])]


def named(path):
    """A line for each named configuration: its name, parameters, and SHA-256 of the sorted lines "name shape" of those
    parameters that embeddings need."""
    for line in gzip.open(path, "rt"):
        one = json.loads(line)
        every = {n: shape for name, shape in one["collapsed"].items() for n in expanded(name)}
        text = "".join(f"{n} {shape}\n" for n, shape in sorted(every.items()))
        if hashlib.sha256(text.encode()).hexdigest() != one["sha256"]:
            sys.exit(f"{one['name']}: the list is not the published one")
        ours = {n: shape for n, shape in every.items()
                if not re.search(r"^text_decoder|\.(running_(mean|var)|num_batches_tracked)$", n)}
        text = "".join(f"{n} {shape}\n" for n, shape in sorted(ours.items()))
        parameters = sum(math.prod(shape) for shape in ours.values())
        if len(ours) == len(every) and parameters != one["parameters"]:
            sys.exit(f"{one['name']}: {parameters} parameters")
        print(one["name"], parameters, hashlib.sha256(text.encode()).hexdigest())


def prepared(path, *names):
    """What clip-model info --json, in the files info-0, info-1 and so on, tells of named configurations' pictures, against
    the tags of their published weights; OpenAI's way where they differ or there are none."""
    tags = {one["name"]: one["preprocess"] for one in map(json.loads, gzip.open(path, "rt"))}
    for number, name in enumerate(names):
        compare_preprocessing(tags, name, f"info-{number}")


def compare_preprocessing(tags, name, info):
    usual = {**OPENAI, "interpolation": "bicubic", "resize_mode": "shortest"}
    ways = {json.dumps({key: tag[key] for key in usual}) for tag in tags.get(name, {}).values()}
    want = json.loads(ways.pop()) if len(ways) == 1 else usual
    if name.startswith("nllb-clip") and name.endswith("siglip"):
        want = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    ours = json.load(open(info))["preprocess"]
    for key, value in want.items():
        if ours[key] != value if isinstance(value, str) else any(abs(a - b) > 1e-7 for a, b in zip(ours[key], value)):
            sys.exit(f"{name}: {key} is {ours[key]}, {value} is expected")


def read(path):
    import torch
    import clipref
    return {name: t.double() if t.dtype.is_floating_point else t for name, t in clipref.load_safetensors(path).items()}


def swin(p, name, kw, x):
    """As famref.swin, of grids that windows do not fill, or that are smaller or odd."""
    import torch
    import torch.nn.functional as F
    from famref import attend
    target, eps = kw.get("window_size", 12 if "window12" in name else 7), 1e-5
    patch = kw.get("patch_size", 4)
    planned = x.shape[2] // patch
    x = F.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], patch).permute(0, 2, 3, 1)
    x = (p / "patch_embed" / "norm").norm(x, eps)
    for i in range((p / "layers").count()):
        stage = p / "layers" / i
        if i:
            planned //= 2
            n, h, v, c = x.shape
            x = F.pad(x, (0, 0, 0, v % 2, 0, h % 2))
            x = torch.cat([x[:, a::2, b::2] for b in (0, 1) for a in (0, 1)], -1)
            x = (stage / "downsample" / "reduction").lin((stage / "downsample" / "norm").norm(x, eps))
        w = min(planned, target)
        row, column = torch.arange(w).repeat_interleave(w), torch.arange(w).repeat(w)
        place = (row[:, None] - row + w - 1) * (2 * w - 1) + column[:, None] - column + w - 1
        for j in range((stage / "blocks").count()):
            b = stage / "blocks" / j
            n, h, v, c = x.shape
            shift = target // 2 if j % 2 and planned > target else 0
            y = torch.roll((b / "norm1").norm(x, eps), (-shift, -shift), (1, 2))
            y = F.pad(y, (0, 0, 0, -v % w, 0, -h % w))
            side = y.shape[1]
            cut = lambda t: t.reshape(-1, side // w, w, side // w, w, t.shape[-1]).transpose(2, 3).reshape(-1, w * w, t.shape[-1])
            bias = b["attn.relative_position_bias_table"][place].permute(2, 0, 1)[None]
            if shift:
                region = torch.tensor([0] * (side - w) + [1] * (w - shift) + [2] * shift)
                part = cut((region[:, None] * 3 + region)[None, :, :, None])[:, :, 0]
                bias = bias + ((part[:, :, None] != part[:, None]).double() * -100).repeat(n, 1, 1)[:, None]
            y = (b / "attn" / "proj").lin(attend(*(b / "attn" / "qkv").lin(cut(y)).chunk(3, -1), kw["num_heads"][i], bias))
            y = y.reshape(n, side // w, side // w, w, w, c).transpose(2, 3).reshape(n, side, side, c)[:, :h, :v]
            x = x + torch.roll(y, (shift, shift), (1, 2))
            x = x + (b / "mlp" / "fc2").lin(F.gelu((b / "mlp" / "fc1").lin((b / "norm2").norm(x, eps))))
    return (p / "norm").norm(x, eps).mean((1, 2))


def naflex(p, name, kw, x):
    """As famref.naflex, of blocks with a gate too, and pools that see the patches alone."""
    import torch
    import torch.nn.functional as F
    from famref import attend, gelu, latent_pool, resample
    side, heads, act = kw.get("patch_size", 16), kw.get("num_heads", 12), gelu("tanh" if "siglip" in name else "erf")
    n, c, h, w = x.shape
    e = p / "embeds"
    x = x.reshape(n, c, h // side, side, w // side, side).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    positions = e["pos_embed"][0]
    rows, columns = resample(positions.shape[0], h // side), resample(positions.shape[1], w // side)
    x = (e / "proj").lin(x) + torch.einsum("ia,jb,abc->ijc", rows, columns, positions).flatten(0, 1)
    prefix = e["reg_token"].shape[1] if "reg_token" in e else 0
    if prefix:
        x = torch.cat([e["reg_token"].expand(n, -1, -1), x], 1)
    for i in range((p / "blocks").count()):
        b = p / "blocks" / i
        a, m = b / "attn", b / "mlp"
        bias = torch.cat([a["q_bias"], 0 * a["q_bias"], a["v_bias"]]) if "q_bias" in a else a.get("qkv.bias")
        scales = [b.get(f"gamma_{k}") if f"gamma_{k}" in b else b.get(f"ls{k}.gamma") for k in (1, 2)]
        y = F.linear((b / "norm1").norm(x, 1e-6), a["qkv.weight"], bias)
        y = (a / "proj").lin(attend(*y.chunk(3, -1), heads))
        x = x + (y if scales[0] is None else scales[0] * y)
        y = (m / "fc1").lin((b / "norm2").norm(x, 1e-6))
        if y.shape[-1] != m["fc2.weight"].shape[1]:
            gate, y = y.chunk(2, -1)
            y = F.silu(gate) * y
        else:
            y = act(y)
        y = (m / "fc2").lin(y)
        x = x + (y if scales[1] is None else scales[1] * y)
    if "attn_pool" in p:
        x = (p / "norm").norm(x, 1e-6)[:, prefix:]
        return latent_pool(p / "attn_pool", x, kw.get("attn_pool_num_heads", heads), act, 1e-6)
    return (p / "fc_norm").norm(x[:, prefix:].mean(1), 1e-6)


def fused_fastvit(p, x):
    """As the oracle's fastvit, of one whose branches are fused; P is its class of tensors."""
    import famref
    import torch
    gelu = torch.nn.functional.gelu

    def block(q, x, stride=1):
        return gelu(famref.se(q / "se", (q / "reparam_conv").conv(x, stride, q["reparam_conv.weight"].shape[-1] // 2)))
    for i, stride in enumerate((2, 2, 1)):
        x = block(p / "stem" / i, x, stride)
    for i in range((p / "stages").count()):
        s = p / "stages" / i
        if "downsample" in s:
            x = block(s / "downsample" / "proj" / 1, block(s / "downsample" / "proj" / 0, x, 2))
        if "pos_emb" in s:
            x = (s / "pos_emb" / "reparam_conv").conv(x, 1, 3)
        for j in range((s / "blocks").count()):
            b = s / "blocks" / j
            m, t = b / "mlp", b / "token_mixer"
            if "qkv" in t:
                y = (b / "norm").bn(x) if "norm.running_var" in b else (b / "norm").norm2d(x, 1e-5)
                y = y.flatten(2).transpose(1, 2)
                y = (t / "proj").lin(famref.attend(*(t / "qkv").lin(y).chunk(3, -1), y.shape[-1] // 32))
                x = x + b["layer_scale_1.gamma"] * y.transpose(1, 2).reshape(x.shape)
            else:
                x = (t / "reparam_conv").conv(x, 1, 1)
            gamma = b["layer_scale_2.gamma" if "qkv" in t else "layer_scale.gamma"]
            x = x + gamma * (m / "fc2").conv(gelu((m / "fc1").conv((m / "conv" / "bn").bn((m / "conv" / "conv").conv(x, 1, 3)))))
    return block(p / "final_conv", x).mean((2, 3))


def arrays(path):
    """The tensors of a safetensors file, in f64 or i64."""
    return {n: np.frombuffer(data, {"F32": "<f4", "I64": "<i8"}[kind]).reshape(shape).astype("f8" if kind == "F32" else "i8")
            for n, (kind, shape, data) in contents(path).items()}


def store(path, tensors):
    header, data = {}, b""
    for name, x in tensors.items():
        some = x.astype("<f4" if x.dtype == "f8" else "<i8").tobytes()
        header[name] = {"dtype": "F32" if x.dtype == "f8" else "I64", "shape": x.shape, "data_offsets": [len(data), len(data) + len(some)]}
        data += some
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def apple(folder, target, other, prefix=""):
    """The folder's MobileCLIP under the names of Apple's own files, whose projection has no bias; the same in open_clip's."""
    tensors = arrays(folder + "/open_clip_model.safetensors")
    hybrid = "visual.trunk.cls_token" in tensors
    tensors["visual.trunk.head.bias" if hybrid else "visual.trunk.head.fc.bias"][:] = 0
    store(other, tensors)
    text = [("text_projection", "projection_layer"), ("token_embedding", "embedding_layer"), ("ln_final", "final_layer_norm"),
            ("positional_embedding", "positional_embedding.pos_embed.pos_embed"), ("transformer.resblocks", "transformer"),
            ("ln_1", "pre_norm_mha.0"), ("attn.in_proj_", "pre_norm_mha.1.qkv_proj."), ("attn", "pre_norm_mha.1"),
            ("ln_2", "pre_norm_ffn.0"), ("mlp.c_fc", "pre_norm_ffn.1"), ("mlp.c_proj", "pre_norm_ffn.4")]
    image = [("stem", "patch_embed"), ("conv_kxk", "rbr_conv"), ("conv_scale", "rbr_scale"), ("identity", "rbr_skip"),
             ("final_conv", "conv_exp"), ("large_conv", "lkb_origin"), (".mlp.", ".convffn."), ("se.fc1", "se.reduce"),
             ("se.fc2", "se.expand"), (".gamma", "")]
    if hybrid:
        image = [("patch_embed.backbone.2.conv", "patch_emb.2.block.conv"), ("patch_embed.backbone", "patch_emb"), ("0.conv", "0.block.conv"),
                 ("1.conv", "1.block.conv"), (".bn", ".block.norm"), ("pos_embed", "pos_embed.pos_embed.pos_embed"), ("norm1", "pre_norm_mha.0"),
                 ("attn.qkv", "pre_norm_mha.1.qkv_proj"), ("attn.proj", "pre_norm_mha.1.out_proj"), ("norm2", "pre_norm_ffn.0"),
                 ("mlp.fc1", "pre_norm_ffn.1"), ("mlp.fc2", "pre_norm_ffn.4"), ("blocks", "transformer")]
    network = {}  # of each stage's parts
    for stage in range(6):
        for part in ("downsample", "pos_emb", "blocks"):
            if any(n.startswith(f"visual.trunk.stages.{stage}.{part}.") for n in tensors):
                network[f"{stage}.{part}"] = len(network)
    named = {}
    for name, x in tensors.items():
        if name.startswith("visual.trunk."):
            name = name.removeprefix("visual.trunk.")
            if name in ("head.fc.bias", "head.bias"):
                continue
            if name == "head.weight":
                name, x = "classifier.proj", np.ascontiguousarray(x.T)
            if hybrid and name.startswith("norm."):
                name = "post_transformer_" + name
            if name == "pos_embed":
                x = x[None]
            if name == "head.fc.weight":
                name, x = "head.proj", np.ascontiguousarray(x.T)
            stage = re.match(r"stages\.(\d\.(?:downsample|pos_emb|blocks))\.", name)
            if stage:
                rest = name[stage.end():].replace("pos_enc", "pe")
                name = f"network.{network[stage[1]]}.{rest}"
            for ours, theirs in image:
                name = name.replace(ours, theirs)
            name = "image_encoder.model." + name
        elif name.startswith("text."):
            name = name.removeprefix("text.")
            if name == "positional_embedding":
                x = x[None, None]
            for ours, theirs in text:
                name = name.replace(ours, theirs, 1)
            name = "text_encoder." + name
        named[prefix + name] = x
    store(target, named)


def apple_s0(source, target):
    """Apple's file with a tensor that only the text tower of its S0 has."""
    tensors = arrays(source)
    tensors["module.text_encoder.transformer.0.token_mixer.layer_scale"] = np.zeros((4, 1, 1))
    store(target, tensors)


def fuse(source, target):
    """The open_clip folder of a FastViT, with its branches fused as timm's reparameterize does."""
    tensors = arrays(source + "/open_clip_model.safetensors")

    def norm(name):
        w, b, mean, variance = (tensors.pop(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var"))
        del tensors[name + ".num_batches_tracked"]
        scale = w / np.sqrt(variance + 1e-5)
        return scale, b - mean * scale

    def branch(conv, bn, side, inputs):
        scale, shift = norm(bn)
        w = tensors.pop(conv + ".weight") if conv else None
        if w is None:
            w = np.zeros((len(scale), inputs, 1, 1))
            for o in range(len(w)):
                w[o, o if inputs > 1 else 0] = 1
        rim = (side - w.shape[-1]) // 2
        return np.pad(w * scale[:, None, None, None], ((0, 0), (0, 0), (rim, rim), (rim, rim))), shift

    def join(at, branches, side, inputs):
        found = [branch(conv and at + conv, at + bn, side, inputs) for conv, bn in branches if at + bn + ".weight" in tensors]
        return sum(w for w, _ in found), sum(b for _, b in found)

    one = (".conv_kxk.0.conv", ".conv_kxk.0.bn"), (".conv_scale.conv", ".conv_scale.bn"), ("", ".identity")
    large = (".large_conv.conv", ".large_conv.bn"), (".small_conv.conv", ".small_conv.bn")
    for name in sorted(tensors):
        for end, branches in (".conv_kxk.0.conv.weight", one), (".large_conv.conv.weight", large):
            if not name.endswith(end):
                continue
            at, shape = name.removesuffix(end), tensors[name].shape
            w, b = join(at, branches, shape[-1], shape[1])
            if at.endswith(".mixer"):
                at = at.removesuffix(".mixer")
                less, shift = join(at + ".norm", one, shape[-1], 1)
                gamma = tensors.pop(at + ".layer_scale.gamma")
                w, b = (w - less) * gamma[..., None], (b - shift) * gamma[:, 0, 0]
                w[:, 0, 1, 1] += 1
            tensors[at + ".reparam_conv.weight"], tensors[at + ".reparam_conv.bias"] = w, b
        if name.endswith("pos_enc.weight"):
            at = name.removesuffix("pos_enc.weight") + "reparam_conv."
            tensors[at + "weight"] = tensors.pop(name)
            tensors[at + "weight"][:, 0, 3, 3] += 1
            tensors[at + "bias"] = tensors.pop(name.removesuffix("weight") + "bias")
    os.makedirs(target)
    store(target + "/open_clip_model.safetensors", tensors)
    config = json.load(open(source + "/open_clip_config.json"))
    config["model_cfg"]["vision_cfg"]["timm_model_kwargs"]["inference_mode"] = True
    json.dump(config, open(target + "/open_clip_config.json", "w"))


def image_embeddings(weights, config, rows, training=False):
    """Projected, not of unit length. In training batch norms have the statistics of the rows, and update the running ones."""
    import torch
    import famref

    class P(famref.P):
        """Any patch and kernel of a ConvNeXt, where the oracle knows 4 and 7."""

        def __truediv__(self, name):
            return P(self.sd, f"{self.at}{name}.")

        def conv(self, x, stride=1, padding=0):
            side = self["weight"].shape[-1]
            return super().conv(x, side if stride == 4 else stride, side // 2 if padding == 3 else padding)

        def bn(self, x):
            if not training:
                return super().bn(x)
            self["num_batches_tracked"].add_(1)
            return torch.nn.functional.batch_norm(x, self["running_mean"], self["running_var"], self["weight"],
                                                  self["bias"], True, 0.1, 1e-5)

    plain = famref.fastvit
    famref.fastvit = lambda p, name, kw, x: fused_fastvit(p, x) if kw.get("inference_mode") else plain(p, name, kw, x)
    famref.biases = biases = getattr(famref, "biases", famref.log_bias) # without a class token where there is none
    famref.log_bias = lambda p, g: biases(p, g) if "visual.trunk.cls_token" in p.sd else biases(p, g)[:, 1:, 1:]
    famref.swin, famref.naflex = swin, naflex
    model, pre = config["model_cfg"], config.get("preprocess_cfg", OPENAI)
    mean, std = (np.array(pre[name])[:, None, None] for name in ("mean", "std"))
    pixels = torch.tensor((np.stack([r["image"] for r in rows]) / 255.0 - mean) / std)
    features = famref.image(P(weights) / "visual", model["vision_cfg"], pixels, model.get("quick_gelu", False))
    famref.fastvit = plain
    return features


def embeddings(folder, stream, tolerance):
    """The stream's image_embedding, of the open_clip folder's model, against the oracle's."""
    import torch
    import clipref
    config = json.load(open(folder + "/open_clip_config.json"))
    rows = [r for r in clipref.read_stream(stream) if "__key__" in r]
    with torch.no_grad():
        theirs = image_embeddings(read(folder + "/open_clip_model.safetensors"), config, rows)
    theirs = torch.nn.functional.normalize(theirs, dim=-1).numpy()
    off = np.abs(np.stack([r["image_embedding"] for r in rows]) - theirs).max()
    spread = np.abs(theirs[0] - theirs[1]).max() # or else the pictures would not matter
    if not off <= float(tolerance) or not spread > 50 * float(tolerance):
        sys.exit(f"embeddings differ by {off}, those of two pictures by {spread}")


def captions(folder):
    """A stream of captions that an open_clip folder's tower may meet: full, short, with padding between tokens, without
    an end token, with two, of nothing but padding."""
    t = json.load(open(folder + "/open_clip_config.json"))["model_cfg"]["text_cfg"]
    n, pad, end = t["context_length"], t["pad_id"], t["eos_id"]
    draw = np.random.default_rng(3)
    some = draw.integers(0, t["vocab_size"] - 4, (8, n)).astype("<i4")
    for i, length in enumerate([n, n // 2, 3, 1]):
        some[i, length - 1] = end
        some[i, length:] = pad
    some[4, 2:4] = pad
    some[5, n // 2:] = pad
    some[6, 1] = some[6, 5] = end
    some[7] = pad
    tensor = lambda a: {b"nd": True, b"type": "<i4", b"kind": b"", b"shape": list(a.shape), b"data": a.tobytes()}
    for o in [{"__key__": str(i), "tokens": tensor(row)} for i, row in enumerate(some)] + [{"__end__": len(some)}]:
        sys.stdout.buffer.write(msgpack.packb(o))


def texts(folder, stream, tolerance):
    """The stream's text_embedding, of the open_clip folder's model, against the oracle's."""
    import torch
    import clipref
    config = json.load(open(folder + "/open_clip_config.json"))
    rows = [r for r in clipref.read_stream(stream) if "__key__" in r]
    with torch.no_grad():
        theirs = text_embeddings(read(folder + "/open_clip_model.safetensors"), config, rows)
    theirs = torch.nn.functional.normalize(theirs, dim=-1).numpy()
    off = np.abs(np.stack([r["text_embedding"] for r in rows]) - theirs).max()
    if not off <= float(tolerance) or not np.abs(theirs[0] - theirs[1]).max() > 50 * float(tolerance):
        sys.exit(f"embeddings differ by {off}")


def trained(path):
    """Gives a file's batch norms and layer scales values as if it had been trained."""
    import struct
    data = bytearray(open(path, "rb").read())
    size = struct.unpack("<Q", data[:8])[0]
    draw = np.random.default_rng(1)
    for name, t in json.loads(data[8:8 + size]).items():
        if not name.endswith(("running_mean", "running_var", ".gamma", "gamma_1", "gamma_2", "bn.weight", "identity.weight", "bn.bias",
                              "reg_tokens", "vr_lambda", "norm1.weight", "q_norm.weight", "gate.bias", "qkv.bias")):
            continue
        begin, end = (8 + size + at for at in t["data_offsets"])
        n = (end - begin) // 4
        values = draw.normal(0, 0.3, n) if name.endswith(("running_mean", "bias")) else draw.uniform(0.3, 1.5, n)
        data[begin:end] = values.astype("<f4").tobytes()
    open(path, "wb").write(data)


def text_embeddings(weights, config, rows):
    """Projected, not of unit length."""
    import torch
    import famref
    import textref
    model = config["model_cfg"]
    tokens = torch.tensor(np.stack([r["tokens"] for r in rows]).astype(np.int64))
    p = famref.P(weights)
    if "hf_model_name" in model["text_cfg"]:
        return textref.huggingface(textref.sub(weights, "text."), model["text_cfg"], tokens)
    if model["text_cfg"].get("text_arch") == "modern":
        return textref.modern(textref.sub(weights, "text."), model["text_cfg"], tokens)
    return famref.text(p / "text" if "text." in p else p, model["text_cfg"], tokens, model.get("quick_gelu", False))


def loss(weights, config, rows):
    """The contrastive loss of the batch; SigLIP's where the model has a bias."""
    import torch
    image, text = image_embeddings(weights, config, rows, True), text_embeddings(weights, config, rows)
    unit = torch.nn.functional.normalize
    logits = weights["logit_scale"].exp() * unit(image, dim=-1) @ unit(text, dim=-1).T
    if "logit_bias" in weights:
        signs = 2 * torch.eye(len(rows), dtype=logits.dtype) - 1
        return -torch.nn.functional.logsigmoid(signs * (logits + weights["logit_bias"])).sum() / len(rows)
    labels = torch.arange(len(rows))
    return (torch.nn.functional.cross_entropy(logits, labels) + torch.nn.functional.cross_entropy(logits.T, labels)) / 2


def differ(ours, theirs, name, tolerance, least):
    difference, norm = np.linalg.norm(ours - theirs), np.linalg.norm(theirs)
    if not difference <= float(tolerance) * max(norm, least):
        sys.exit(f"{name} differs by {difference} of {norm}")


def opened(folder):
    """A golden folder's configuration, and its weights that embeddings need."""
    if os.path.exists(folder + "/arch.json") and not os.path.exists(folder + "/open_clip"):
        config, path = {"model_cfg": json.load(open(folder + "/arch.json"))}, folder + "/model.safetensors"
    else:
        config = json.load(open(folder + "/open_clip/open_clip_config.json"))
        path = folder + "/open_clip/open_clip_model.safetensors"
    return config, {n: t for n, t in read(path).items() if not re.search("position_ids$|^text_decoder", n)}


def check(folder, run, count, gradient_tolerance, tolerance, frozen="$^"):
    """The run's steps against AdamW in f64: the first one's gradients (from the optimizer's first moments), the losses
    in run/log, the weights in the end; those whose names match `frozen` are as they were."""
    import torch
    import clipref
    config, weights = opened(folder)
    rows = [r for r in clipref.read_stream(folder + "/batch.msgpack") if "__key__" in r]
    learn = {n: t.requires_grad_() for n, t in weights.items()
             if t.dtype.is_floating_point and "running_" not in n and not re.search(frozen, n)}
    plain = [t for n, t in learn.items() if clipref.no_decay(n, t)]
    others = [t for n, t in learn.items() if not clipref.no_decay(n, t)]
    optimizer = torch.optim.AdamW([{"params": plain, "weight_decay": 0.0}, {"params": others, "weight_decay": 0.2}],
                                  lr=RATE, betas=(BETA1, 0.98), eps=1e-6)
    ours = [json.loads(line)["loss"] for line in open(run + "/log")]
    moments = {}
    for part in "image", "text", "projection", "loss":
        path = f"{run}/step-00000001/optimizer/{part}.safetensors"
        moments.update(read(path) if os.path.exists(path) else {})
    for step in range(int(count)):
        optimizer.zero_grad()
        value = loss(weights, config, rows)
        value.backward()
        if not abs(ours[step] - value.item()) <= 1e-4:
            sys.exit(f"loss {ours[step]} but {value.item()} is expected")
        if step == 0:
            grads = {n: torch.zeros_like(t) if t.grad is None else t.grad for n, t in learn.items()}
            whole = math.sqrt(sum(g.norm().item() ** 2 for g in grads.values()))
            for name, g in grads.items():
                # A gradient that is 0 but for rounding has no relative error; one that is 0 in f64, as of a bias of
                # keys, is in f32 what the rounding of the others leaves.
                least = whole * (1e-3 if g.norm() < 1e-12 * whole else 1e-5)
                differ(moments[name.removeprefix("text.") + ".exp_avg"].numpy() / (1 - BETA1), g.numpy(),
                       "the gradient of " + name, gradient_tolerance, least)
        optimizer.step()
        with torch.no_grad():
            weights["logit_scale"].clamp_(0, math.log(100))
    trained = read(f"{run}/step-{int(count):08}/open_clip_model.safetensors")
    if trained.keys() != weights.keys():
        sys.exit(f"names differ: {sorted(trained.keys() ^ weights.keys())[:3]}")
    for name, t in weights.items():
        differ(trained[name].detach().numpy(), t.detach().numpy(), name, tolerance, 1e-30)


def run(words):
    """Runs a command; returns its exit status, as Python would."""
    try:
        globals()[words[0]](*words[1:])
        return 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


def serve(fifo):
    """Runs commands, a line each: where the answer goes, a folder, words, with tabs between; each in a process of its own.
    The answer is the status; the output is in the files ANSWER.out and ANSWER.err."""
    try:
        import torch.nn.functional
    except ImportError:  # the tests that need it skip
        pass
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in os.fdopen(os.open(fifo, os.O_RDWR)):  # so that it has no end
        if os.fork():
            continue
        answer, folder, *words = line.rstrip("\n").split("\t")
        os.chdir(folder)
        for descriptor, name in (1, ".out"), (2, ".err"):
            os.dup2(os.open(answer + name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        status = run(words)
        sys.stdout.flush()
        with open(answer, "w") as f:
            print(status, file=f)
        os._exit(0)


if sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    sys.exit(run(sys.argv[1:]))
