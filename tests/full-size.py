#!/usr/bin/python3
"""What full-size models must give, by the reference in shared/oracle.

full-size.py make ORACLE ARCH N FOLDER: a model of ARCH with random weights in which every parameter matters, N random
records, and their embeddings in double precision: model.safetensors, batch.msgpack, want.msgpack.
full-size.py cosines A B: the least cosine of the embeddings of two streams."""
import sys

import msgpack
import msgpack_numpy
import numpy

FIELDS = "image_embedding", "text_embedding"


def make(oracle, name, count, folder):
    sys.path.insert(0, oracle)
    import clip_torch
    import clipref
    import torch

    arch = clipref.config(name)
    model = clip_torch.random_model(arch, 7)
    clipref.save_safetensors(folder + "/model.safetensors", model.state_dict())
    pictures, tokens = clip_torch.random_batch(arch, int(count), numpy.random.default_rng(7))
    keys = [f"{i:03d}" for i in range(int(count))]
    clipref.write_stream(folder + "/batch.msgpack",
                         [{"__key__": k, "image": p, "tokens": t} for k, p, t in zip(keys, pictures, tokens)])
    model.double().eval()
    x, y = clip_torch.inputs(pictures, tokens, torch.float64)
    with torch.no_grad():
        image, text = model.project(model.image_features(x), model.text_features(y))
    clipref.write_stream(folder + "/want.msgpack",
                         [dict(zip(("__key__",) + FIELDS, (k, i.float().numpy(), t.float().numpy())))
                          for k, i, t in zip(keys, image, text)])


def embeddings(path):
    records = msgpack.Unpacker(open(path, "rb"), object_hook=msgpack_numpy.decode)
    return numpy.array([r[f].astype("f8") for r in records if "__key__" in r for f in FIELDS])


if sys.argv[1] == "make":
    make(*sys.argv[2:])
else:
    a, b = embeddings(sys.argv[2]), embeddings(sys.argv[3])
    print(min((a * b).sum(1) / numpy.sqrt((a * a).sum(1) * (b * b).sum(1))))
