#!/usr/bin/python3
"""Training against PyTorch, by turns in one run: pairs a second of the whole pipeline of processes.

train.py [BUILD [SHARED]]. Ours: batches of tokens and bytes through clip-encode-image, clip-encode-text,
clip-project-normalize and clip-contrastive-step with --train, what the log says of the steps after the first. Theirs:
clip_torch.py bench train, its inputs in memory; both update their weights by AdamW. ViT-B/32 with batches of 16, and
the architecture of the CIFAR-10 recipe with batches of 256. Environment as towers.py's."""
import json
import os
import resource
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


def used():
    """Processor seconds of the children so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def steps_of(model, stream, precision):
    """The pairs a second of each step."""
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
        page = "set -o pipefail" + page.replace("$1", f"--precision {precision} -j {towers.threads}")
        log = subprocess.run(["bash", "-c", page, run, "", stream], env=path, stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line)["samples_per_s"] for line in log.splitlines()]


def ours(model, streams, batch, precision):
    """Pairs a second by the clock, the median of the steps after the first; and by the processor's seconds, of the steps
    that the second stream has more."""
    spent, rates = [], []
    for stream in streams:
        before = used()
        rates.append(steps_of(model, stream, precision))
        spent.append(used() - before)
    more = (len(rates[1]) - len(rates[0])) * batch
    return statistics.median(rates[1][1:]), more / (spent[1] - spent[0])


def theirs(arch, batch, *more):
    """The same of PyTorch, whose allocator is kept from giving pages back and whose threads from waiting busily."""
    tuned = os.environ | {"MALLOC_MMAP_THRESHOLD_": "8000000000", "MALLOC_TRIM_THRESHOLD_": "16000000000",
                          "MALLOC_TOP_PAD_": "500000000", "OMP_WAIT_POLICY": "passive"}
    spent = []
    for repeat in (1, 4):
        before = used()
        line = subprocess.run(["/usr/bin/python3", towers.oracle + "/clip_torch.py", "bench", "train", arch, "--batch", str(batch),
                               "--tokens", str(CAPTION), "--threads", towers.threads, "--repeat", str(repeat), *more],
                              env=tuned, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1]
        spent.append(used() - before)
    return json.loads(line)["samples_per_s"], 3 * batch / (spent[1] - spent[0])


def compare(title, arch, size, context, vocabulary, batch, steps, precisions):
    streams = [batches(size, context, vocabulary, batch, n) for n in (2, steps)]
    model = towers.once("train-" + title, lambda path: towers.run(towers.build + "/bin/clip-model", "init", arch, "-o", path))
    for precision in precisions:
        runners = (lambda: theirs(arch, batch, *(["--bf16"] if precision == "bf16" else [])),
                   lambda: ours(model, streams, batch, precision))
        rates = [[], []]
        try:
            for runner in runners: # the first turn of each reads what others find in the page cache
                runner()
            for _ in range(max(1, towers.rounds // 2)):
                for runner, list_ in reversed(list(zip(runners, rates))):
                    list_.append(runner())
        except subprocess.CalledProcessError as error:
            print(f"{title}, batch {batch}, {precision}: skipped: {error}")
            continue
        for clock, name in enumerate(("a second", "a second of the processor")):
            peer, own = (statistics.median(rate[clock] for rate in list_) for list_ in rates)
            print(f"{title}, batch {batch}, {precision}, pairs {name}: PyTorch {peer:.2f}, the pipeline {own:.2f}, "
                  f"{own / peer:.2f} x", flush=True)


if __name__ == "__main__":
    compare("ViT-B-32", "ViT-B/32", 224, 77, 49408, 16, 5, ["f32", "bf16"])
    text = json.load(open(RECIPE))["text_cfg"]
    compare("cifar10", RECIPE, 64, text["context_length"], text["vocab_size"], 256, 8, ["f32"])
