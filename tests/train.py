"""What the tests of training do with streams and weights: train.py COMMAND ARGUMENT..."""
import json
import struct
import sys

import msgpack

TYPES = {"F32": "<f4", "I64": "<i8"}


def objects(path):
    return list(msgpack.Unpacker(open(path, "rb")))


def write(objects):
    for o in objects:
        sys.stdout.buffer.write(msgpack.packb(o))


def saved(path, *steps):
    """The stream, its steps of these numbers marked to be saved, in batches of as many records as there are."""
    every = objects(path)
    for o in every:
        if "__step__" in o:
            o["save"] = str(o["__step__"]) in steps
    write(every)


def floats(path, model):
    """The stream, its pictures normalised as torchvision does, in f32."""
    import numpy
    arch = json.load(open(model + "/open_clip_config.json"))["preprocess_cfg"]
    mean, std = (numpy.float32(arch[name])[:, None, None] for name in ("mean", "std"))
    every = objects(path)
    for o in every:
        image = o.get("image")
        if image:
            pixels = numpy.frombuffer(image[b"data"], "u1").reshape(image[b"shape"]).astype("f4")
            image[b"type"], image[b"data"] = "<f4", ((pixels / numpy.float32(255) - mean) / std).tobytes()
    write(every)


def hot(path):
    """The stream, its steps with a rate that nothing stands."""
    every = objects(path)
    for o in every:
        if "__step__" in o:
            o["lr"] = 1e38
    write(every)


def records(path, times="1"):
    """The records alone, several times over, as one stream; keys stay what they are."""
    some = [o for o in objects(path) if "__key__" in o] * int(times)
    write(some + [{"__end__": len(some)}])


def edited(path, edit):
    """The gradients with a mistake."""
    every = objects(path)
    if edit == "swapped":
        every[0], every[1] = every[1], every[0]
    elif edit == "missing":
        del every[1]
        every[-1]["__end__"] -= 1
    elif edit == "more":
        every.insert(0, every[0])
        every[-1]["__end__"] += 1
    elif edit == "otherstep":
        next(o for o in every if "__step__" in o)["__step__"] = 7
    elif edit == "infinite":
        for field, value in every[1].items():
            if isinstance(value, dict):
                value[b"data"] = struct.pack("<f", float("inf")) + value[b"data"][4:]
    write(every)


def tensors(path):
    import numpy

    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: numpy.frombuffer(data[8 + size:][slice(*t["data_offsets"])], TYPES[t["dtype"]]).astype("f8")
            for name, t in header.items()}


def near(path, golden, tolerance):
    """Every tensor of golden within the tolerance, relative in L2, and no other."""
    import numpy

    ours, theirs = tensors(path), tensors(golden)
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            sys.exit(f"{name} is only in one")
        difference = numpy.linalg.norm(ours[name] - theirs[name])
        if not difference <= float(tolerance) * numpy.linalg.norm(theirs[name]):
            sys.exit(f"{name} differs by {difference}")


def losses(log, expected, tolerance):
    """The losses of the log's lines against expected.json's step_losses."""
    ours = [json.loads(line)["loss"] for line in open(log)]
    theirs = json.load(open(expected))["step_losses"]
    if len(ours) != len(theirs) or any(not abs(a - b) <= float(tolerance) for a, b in zip(ours, theirs)):
        sys.exit(f"losses {ours} but {theirs} are expected")


globals()[sys.argv[1]](*sys.argv[2:])
