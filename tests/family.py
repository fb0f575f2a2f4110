"""Training of a golden family in PyTorch, by autograd of the shared oracle's forward: family.py COMMAND ARGUMENT..."""
import json
import math
import os
import sys

import msgpack
import numpy as np

sys.path.insert(0, os.environ["SHARED"] + "/oracle")

RATE, BETA1 = 1e-3, 0.9


def batches(folder, count):
    """The family's four records, `count` times, each time a batch that is saved."""
    records = [o for o in msgpack.Unpacker(open(folder + "/batch.msgpack", "rb")) if "__key__" in o]
    every = []
    for step in range(1, int(count) + 1):
        every += records + [{"__step__": step, "count": len(records), "lr": RATE, "save": True}]
    for o in every + [{"__end__": len(records) * int(count)}]:
        sys.stdout.buffer.write(msgpack.packb(o))


def read(path):
    import torch
    import clipref
    return {name: t.double() if t.dtype.is_floating_point else t for name, t in clipref.load_safetensors(path).items()}


def image_embeddings(weights, config, rows):
    """Projected, not of unit length."""
    import torch
    import famref

    class P(famref.P):
        """Any patch and kernel of a ConvNeXt, where the oracle knows 4 and 7."""

        def __truediv__(self, name):
            return P(self.sd, f"{self.at}{name}.")

        def conv(self, x, stride=1, padding=0):
            side = self["weight"].shape[-1]
            return super().conv(x, side if stride == 4 else stride, side // 2 if padding == 3 else padding)

    model, pre = config["model_cfg"], config["preprocess_cfg"]
    mean, std = (np.array(pre[name])[:, None, None] for name in ("mean", "std"))
    pixels = torch.tensor((np.stack([r["image"] for r in rows]) / 255.0 - mean) / std)
    return famref.image(P(weights) / "visual", model["vision_cfg"], pixels, model.get("quick_gelu", False))


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


def trained(path):
    """Gives a file's batch norms and layer scales values as if it had been trained."""
    import struct
    data = bytearray(open(path, "rb").read())
    size = struct.unpack("<Q", data[:8])[0]
    draw = np.random.default_rng(1)
    for name, t in json.loads(data[8:8 + size]).items():
        if not name.endswith(("running_mean", "running_var", ".gamma", "bn.weight", "identity.weight", "bn.bias")):
            continue
        begin, end = (8 + size + at for at in t["data_offsets"])
        n = (end - begin) // 4
        values = draw.normal(0, 0.3, n) if name.endswith(("running_mean", "bias")) else draw.uniform(0.3, 1.5, n)
        data[begin:end] = values.astype("<f4").tobytes()
    open(path, "wb").write(data)


def loss(weights, config, rows):
    """The contrastive loss of the batch."""
    import torch
    import famref
    model = config["model_cfg"]
    tokens = torch.tensor(np.stack([r["tokens"] for r in rows]).astype(np.int64))
    p = famref.P(weights)
    image = image_embeddings(weights, config, rows)
    text = famref.text(p / "text" if "text." in p else p, model["text_cfg"], tokens, model.get("quick_gelu", False))
    unit = torch.nn.functional.normalize
    logits = weights["logit_scale"].exp() * unit(image, dim=-1) @ unit(text, dim=-1).T
    labels = torch.arange(len(rows))
    return (torch.nn.functional.cross_entropy(logits, labels) + torch.nn.functional.cross_entropy(logits.T, labels)) / 2


def differ(ours, theirs, name, tolerance, least):
    difference, norm = np.linalg.norm(ours - theirs), np.linalg.norm(theirs)
    if not difference <= float(tolerance) * max(norm, least):
        sys.exit(f"{name} differs by {difference} of {norm}")


def check(folder, run, count, gradient_tolerance, tolerance):
    """The run's steps against AdamW in f64: the first one's gradients (from the optimizer's first moments), the losses
    in run/log, the weights in the end."""
    import torch
    import clipref
    config = json.load(open(folder + "/open_clip/open_clip_config.json"))
    weights = read(folder + "/open_clip/open_clip_model.safetensors")
    rows = [r for r in clipref.read_stream(folder + "/batch.msgpack") if "__key__" in r]
    learn = {n: t.requires_grad_() for n, t in weights.items() if t.dtype.is_floating_point and "running_" not in n}
    plain = [t for n, t in learn.items() if clipref.no_decay(n, t)]
    others = [t for n, t in learn.items() if not clipref.no_decay(n, t)]
    optimizer = torch.optim.AdamW([{"params": plain, "weight_decay": 0.0}, {"params": others, "weight_decay": 0.2}],
                                  lr=RATE, betas=(BETA1, 0.98), eps=1e-6)
    ours = [json.loads(line)["loss"] for line in open(run + "/log")]
    moments = {}
    for part in "image", "text", "projection", "loss":
        moments.update(read(f"{run}/step-00000001/optimizer/{part}.safetensors"))
    for step in range(int(count)):
        optimizer.zero_grad()
        value = loss(weights, config, rows)
        value.backward()
        if not abs(ours[step] - value.item()) <= 1e-4:
            sys.exit(f"loss {ours[step]} but {value.item()} is expected")
        if step == 0:
            whole = math.sqrt(sum(t.grad.norm().item() ** 2 for t in learn.values()))
            for name, t in learn.items():
                # A gradient that is 0 but for rounding has no relative error.
                differ(moments[name + ".exp_avg"].numpy() / (1 - BETA1), t.grad.numpy(), "the gradient of " + name,
                       gradient_tolerance, 1e-5 * whole)
        optimizer.step()
        with torch.no_grad():
            weights["logit_scale"].clamp_(0, math.log(100))
    trained = read(f"{run}/step-{int(count):08}/open_clip_model.safetensors")
    if trained.keys() != weights.keys():
        sys.exit(f"names differ: {sorted(trained.keys() ^ weights.keys())[:3]}")
    for name, t in weights.items():
        differ(trained[name].detach().numpy(), t.detach().numpy(), name, tolerance, 1e-30)


globals()[sys.argv[1]](*sys.argv[2:])
