#!/usr/bin/python3
"""export.py SHARED MODEL image|text N OUT: an encoder of a model folder as ONNX, by the oracle's PyTorch, so that ONNX
Runtime runs the weights that clip-encode-image and clip-encode-text run. OUT gets model.onnx: `x` is f32 [n, 3, S, S],
normalised, or i64 [n, context]; `y` is f32 [n, embed], projected and not normalised. n is N: famref.py's traces hold it
as a number. Needs python3-torch, python3-onnx."""
import json
import os
import sys

import torch

shared, folder, what, n, out = sys.argv[1:]
sys.path.insert(0, shared + "/oracle")
import clipref
import famref

# famref.py computes in f64, and so says .double() in places.
torch.Tensor.double = torch.Tensor.float


def convolve(p, x, stride=1, padding=0):
    """famref.P.conv with sizes that a trace holds as numbers."""
    w = p["weight"]
    groups = int(x.shape[1]) // int(w.shape[1])
    return torch.nn.functional.conv2d(x, w, p.get("bias"), int(stride), int(padding), groups=groups)


def normalize(p, x, eps):
    """famref.P.norm, likewise."""
    return torch.nn.functional.layer_norm(x, [p["weight"].numel()], p["weight"], p["bias"], eps)


famref.P.conv, famref.P.norm = convolve, normalize


def rotation(g, d, reference, offset, x_first, prefix):
    """famref.rotation, whose slices of every second number the export of PyTorch 1.13 gets wrong."""
    g, d = int(g), int(d)
    turn = rotation_of_famref(g, d, reference, offset, x_first, prefix)
    even = torch.zeros(1, 1, prefix + g * g, d)
    even[..., ::2] = 1
    both = turn(even)[:, :, prefix:]  # cosines and sines, by turns
    cos, sin = both[..., ::2].clone(), both[..., 1::2].clone()

    def rotate(x):
        y = x[:, :, prefix:].reshape(x.shape[0], x.shape[1], g * g, d // 2, 2)
        a, b = y[..., 0], y[..., 1]
        y = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(x.shape[0], x.shape[1], g * g, d)
        return torch.cat([x[:, :, :prefix], y], 2)
    return rotate


rotation_of_famref, famref.rotation = famref.rotation, rotation


class Family(torch.nn.Module):
    def __init__(self, config, tensors):
        super().__init__()
        self.config, self.p = config, famref.P(tensors)

    def forward(self, x):
        quick = self.config.get("quick_gelu", False)
        if what == "image":
            return famref.image(self.p / "visual", self.config["vision_cfg"], x, quick)
        return famref.text(self.p / "text" if "text." in self.p else self.p, self.config["text_cfg"], x, quick)


class Plain(torch.nn.Module):
    def __init__(self, config, tensors):
        super().__init__()
        self.model = clipref.Clip(config)
        self.model.load_state_dict(tensors)

    def forward(self, x):
        if what == "image":
            return self.model.visual.project(self.model.image_features(x))
        return self.model.text_features(x) @ self.model.text_projection


config = json.load(open(folder + "/open_clip_config.json"))
config = config.get("model_cfg", config)
tensors = {name: t.float() if t.is_floating_point() else t
           for name, t in clipref.load_safetensors(folder + "/open_clip_model.safetensors").items()}
plain = "timm_model_name" not in config["vision_cfg"] and not config.get("custom_text")
module = (Plain if plain else Family)(config, tensors).eval()
size, text = config["vision_cfg"]["image_size"], config["text_cfg"]
x = torch.randn(int(n), 3, size, size)
if what == "text":
    x = torch.ones(int(n), text["context_length"], dtype=torch.long)
    x[:, 1] = text["vocab_size"] - 1
os.makedirs(out, exist_ok=True)
with torch.no_grad():
    torch.onnx.export(module, x, out + "/model.onnx", opset_version=17, input_names=["x"], output_names=["y"])
