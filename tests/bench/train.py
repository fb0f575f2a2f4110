#!/usr/bin/python3
"""Training against PyTorch, by turns in one run: pairs a second of the whole pipeline of processes.

train.py [BUILD [SHARED]]. Ours: batches of tokens and bytes through clip-encode-image, clip-encode-text,
clip-project-normalize and clip-contrastive-step with --train, what the log says of the steps after the first. Theirs:
clip_torch.py bench train, its inputs in memory; both update their weights by AdamW. ViT-B/32 with batches of 16, and
the architecture of the CIFAR-10 recipe with batches of 256. Environment as towers.py's."""
import json
import os
import statistics
import subprocess
import sys
import tempfile

import msgpack
import msgpack_numpy
import numpy
import towers

RECIPE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../share/recipes/cifar10/arch.json")
CAPTION = 14 # positions of a caption, start and end among them


def batches(size, context, vocabulary, batch, steps):
    """A file of `steps` batches with their step objects; nothing is saved."""
    draw = numpy.random.default_rng(3)

    def records(path):
        with open(path, "wb") as out:
            for step in range(steps):
                for i in range(batch):
                    tokens = numpy.zeros(context, numpy.int32)
                    tokens[:CAPTION] = [vocabulary - 2, *draw.integers(0, vocabulary - 2, CAPTION - 2), vocabulary - 1]
                    record = {"__key__": f"{step}-{i}", "tokens": tokens,
                              "image": draw.integers(0, 256, (3, size, size), numpy.uint8)}
                    out.write(msgpack.packb(record, default=msgpack_numpy.encode))
                out.write(msgpack.packb({"__step__": step + 1, "count": batch, "lr": 1e-5}))
            out.write(msgpack.packb({"__end__": steps * batch}))
    return towers.once(f"batches-{size}-{context}-{vocabulary}-{batch}-{steps}", records)


def ours(model, stream, precision):
    """Pairs a second of a step, the median."""
    page = """
        clip-encode-image --train $0 $1 --grad-in $0/image <$2 |
            clip-encode-text --train $0 $1 --grad-in $0/text |
            clip-project-normalize --train $0 --grad-in $0/embedding --grad-out image:$0/image --grad-out text:$0/text |
            clip-contrastive-step --train $0 --grad-out $0/embedding"""
    with tempfile.TemporaryDirectory() as run:
        os.symlink(model, run + "/init")
        for name in ("image", "text", "embedding"):
            os.mkfifo(f"{run}/{name}")
        path = os.environ | {"PATH": towers.build + "/bin:" + os.environ["PATH"]}
        log = subprocess.run(["bash", "-c", page.replace("$1", f"--precision {precision} -j {towers.threads}"), run, "", stream],
                             env=path, stdout=subprocess.PIPE, check=True).stdout
    return statistics.median(json.loads(line)["samples_per_s"] for line in log.splitlines()[1:])


def theirs(arch, batch, *more):
    return towers.samples("/usr/bin/python3", towers.oracle + "/clip_torch.py", "bench", "train", arch, "--batch", str(batch),
                          "--tokens", str(CAPTION), "--threads", towers.threads, "--repeat", "3", *more)


def compare(title, arch, size, context, vocabulary, batch, steps, precisions):
    stream = batches(size, context, vocabulary, batch, steps)
    model = towers.once("train-" + title, lambda path: towers.run(towers.build + "/bin/clip-model", "init", arch, "-o", path))
    runners = {}
    for precision in precisions:
        runners["PyTorch " + precision] = lambda p=precision: theirs(arch, batch, *(["--bf16"] if p == "bf16" else []))
        runners["pipeline " + precision] = lambda p=precision: ours(model, stream, p)
    rates = {name: [] for name in runners}
    for _ in range(max(1, towers.rounds // 2)):
        for name, runner in runners.items():
            rates[name].append(runner())
    for precision in precisions:
        peer, own = (statistics.median(rates[name + precision]) for name in ("PyTorch ", "pipeline "))
        print(f"{title}, batch {batch}, {precision}: PyTorch {peer:.2f} pairs/s, the pipeline {own:.2f}, {own / peer:.2f} x", flush=True)


if __name__ == "__main__":
    compare("ViT-B-32", "ViT-B/32", 224, 77, 49408, 16, 5, ["f32", "bf16"])
    text = json.load(open(RECIPE))["text_cfg"]
    compare("cifar10", RECIPE, 64, text["context_length"], text["vocab_size"], 256, 8, ["f32"])
