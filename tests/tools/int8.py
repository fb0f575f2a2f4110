"""Models in 8 bits, by numpy alone.

int8.py stored WHOLE ROUNDED     the file ROUNDED holds the file WHOLE as `convert -d int8` should write it
int8.py plain ROUNDED OUT        its numbers as f32, scales multiplied in
int8.py foreign WHOLE OUT        every matrix of Hugging Face's linear layers rounded, with scales in bf16, as other tools write
int8.py spoil HOW ROUNDED OUT    scales that are missing, too few, integers
int8.py cosine A B FIELD LEAST MEAN
                                 the cosines of a field of two streams are at least LEAST, on average MEAN
"""
import json
import re
import struct
import sys

import numpy as np

TYPES = {"F32": "<f4", "F16": "<f2", "I8": "i1", "I64": "<i8", "I32": "<i4", "BF16": "<u2"}


def load(path):
    data = open(path, "rb").read()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        a, b = t["data_offsets"]
        out[name] = np.frombuffer(data[8 + size + a : 8 + size + b], TYPES[t["dtype"]]).reshape(t["shape"])
    return out


def save(path, tensors):
    names = {np.dtype(v): k for k, v in TYPES.items()}
    header, at, parts = {}, 0, []
    for name, t in sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize):
        part = np.ascontiguousarray(t).tobytes()
        header[name] = {"dtype": names[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + len(part)]}
        at += len(part)
        parts.append(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def rounded(w):
    scale = (np.abs(w).max(1, keepdims=True) / np.float32(127)).astype(np.float32)
    return np.rint(w / np.where(scale > 0, scale, 1)).astype(np.int8), scale


def is_matrix(name, t):
    return t.ndim == 2 and re.search(
        r"(resblocks|blocks|layers?)\.\d+\..*(in_proj_weight|(out_proj|c_fc|c_proj|qkv|proj|fc1|fc2|[qkv]_proj)\.weight)$", name
    )


def stored(whole, small):
    count = 0
    for name, t in whole.items():
        if is_matrix(name, t):
            q, scale = rounded(t)
            assert small[name].dtype == np.int8 and np.array_equal(small[name], q), name
            assert np.array_equal(small[name + "_scale"], scale), name
            count += 1
        elif "token_embedding" in name:
            assert small[name].dtype == np.float16 and np.array_equal(small[name], t.astype(np.float16)), name
        else:
            assert small[name].dtype == t.dtype and np.array_equal(small[name], t), name
    assert count and len(small) == len(whole) + count, count


def plain(small):
    out = {}
    for name, t in small.items():
        if name + "_scale" in small:
            scale = small[name + "_scale"]
            if scale.dtype == np.uint16:
                scale = (scale.astype(np.uint32) << 16).view(np.float32)
            t = (t.astype(np.float32) * scale.astype(np.float32)).astype(np.float32)
        if not name.endswith("_scale") or name == "logit_scale":
            out[name] = t.astype(np.float32) if t.dtype == np.float16 else t
    return out


def foreign(whole):
    out = {}
    for name, t in whole.items():
        out[name] = t
        if t.ndim == 2 and name.endswith(".weight") and "embedding" not in name:
            scale = ((rounded(t)[1].view(np.uint32) >> 16) + 1).astype(np.uint16)
            number = (scale.astype(np.uint32) << 16).view(np.float32)
            out[name] = np.clip(np.rint(t / number), -128, 127).astype(np.int8)
            out[name + "_scale"] = scale
    return out


def spoil(how, small):
    name = next(n for n in sorted(small) if n.endswith("out_proj.weight_scale"))
    out = dict(small)
    if how == "missing":
        del out[name]
    elif how == "few":
        out[name] = small[name][:-1]
    elif how == "integers":
        out[name] = small[name].astype(np.int8)
    elif how == "flat":
        out[name] = small[name][:, 0]
    elif how == "lonely":
        out["visual.ln_post.weight_scale"] = small[name]
    return out


def cosine(a, b, field, least, mean):
    import msgpack
    import msgpack_numpy

    def read(path):
        records = msgpack.Unpacker(open(path, "rb"), object_hook=msgpack_numpy.decode)
        return np.stack([r[field].astype("f8") for r in records if "__key__" in r])

    x, y = read(a), read(b)
    cosines = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    print(f"least {cosines.min():.6f}, mean {cosines.mean():.6f} of {len(cosines)}")
    assert cosines.min() >= float(least) and cosines.mean() >= float(mean)


if __name__ == "__main__":
    what, args = sys.argv[1], sys.argv[2:]
    if what == "stored":
        stored(load(args[0]), load(args[1]))
    elif what == "plain":
        save(args[1], plain(load(args[0])))
    elif what == "foreign":
        save(args[1], foreign(load(args[0])))
    elif what == "spoil":
        save(args[2], spoil(args[0], load(args[1])))
    else:
        cosine(*args)
