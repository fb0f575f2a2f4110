#!/usr/bin/python3
"""The encoders against ONNX Runtime and PyTorch, by turns in one run.

towers.py [BUILD [SHARED]]. Ours is the whole program, records in and records out, its start included; theirs is a
session or a module that is warm already, its input in memory. Models and exports are made once, in $CLIP_BENCH
(default: clip-bench in the temporary folder). $CLIP_BENCH_THREADS: default 2. $CLIP_BENCH_ROUNDS: default 5.

Peers that are not installed are skipped: ONNX Runtime needs node with onnxruntime-node in $NODE_PATH and, once,
Debian's python3-torch and python3-onnx; PyTorch needs python3-torch."""
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import msgpack
import msgpack_numpy
import numpy

build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else ".")
oracle = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else "../shared") + "/oracle"
cache = os.environ.get("CLIP_BENCH", os.path.join(tempfile.gettempdir(), "clip-bench"))
threads = os.environ.get("CLIP_BENCH_THREADS", "2")
rounds = int(os.environ.get("CLIP_BENCH_ROUNDS", "5"))
os.makedirs(cache, exist_ok=True)

# Operations an item, two a multiply-add: an image, and a caption of 14 of its 77 positions.
GFLOP = {"ViT-B/32 image": 8.82, "RN50 image": 12.2, "ViT-B/32 text": 5.96 * 14 / 77}


def once(path, make):
    """`path` in the cache; made by make(temporary path) where it is not there yet."""
    whole = os.path.join(cache, path)
    if not os.path.exists(whole):
        shutil.rmtree(whole + ".part", ignore_errors=True)
        make(whole + ".part")
        os.rename(whole + ".part", whole)
    return whole


def run(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def model(arch):
    return once(arch.replace("/", "-"),
                lambda path: run(build + "/bin/clip-model", "init", arch, "--seed", "1", "-o", path))


def write_stream(path, records):
    with open(path, "wb") as out:
        n = 0
        for record in records:
            out.write(msgpack.packb(record, default=msgpack_numpy.encode))
            n += 1
        out.write(msgpack.packb({"__end__": n}))


def images(n):
    draw = numpy.random.default_rng(1)
    write = lambda path: write_stream(path, (
        {"__key__": str(i), "image": draw.integers(0, 256, (3, 224, 224), numpy.uint8)} for i in range(n)))
    return once(f"images-{n}", write)


def captions(n):
    draw = numpy.random.default_rng(2)
    def caption():
        tokens = numpy.zeros(77, numpy.int32)
        tokens[:14] = [49406, *draw.integers(1000, 40000, 12), 49407]
        return tokens
    return once(f"captions-{n}", lambda path: write_stream(path, ({"__key__": str(i), "tokens": caption()} for i in range(n))))


def ours(arch, what, stream, n, precision):
    words = [f"{build}/bin/clip-encode-{what}", "-m", model(arch), "-j", threads, "--precision", precision, stream(n)]
    def rate():
        start = time.perf_counter()
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        return n / (time.perf_counter() - start)
    return rate


def samples(*words):
    return json.loads(run(*words).splitlines()[-1])["samples_per_s"]


def onnx_runtime(arch, what):
    node = shutil.which("node")
    if not node or subprocess.run([node, "-e", "require('onnxruntime-node')"], stderr=subprocess.DEVNULL).returncode:
        raise LookupError("no onnxruntime-node for node in $NODE_PATH")
    export = once("onnx-" + arch.replace("/", "-"),
                  lambda path: run("/usr/bin/python3", oracle + "/clip_torch.py", "onnx", arch, path))
    return lambda: samples(node, oracle + "/peer_ort.js", what, export, "--threads", threads, "--repeat", "3")


def pytorch(arch, what, *more):
    run("/usr/bin/python3", "-c", "import torch")
    return lambda: samples("/usr/bin/python3", oracle + "/clip_torch.py", "bench", what, arch, "--threads", threads,
                           "--batch", "32", "--repeat", "3", *more)


def measured_peak():
    text = run(build + "/tests/bench/products", threads).decode()
    print(text)
    peak = {}
    for precision, rate in re.findall(r"most (\w+) (\d+)", text):
        peak[precision] = max(peak.get(precision, 0), float(rate))
    return peak


def compare(peak, arch, what, stream, n):
    title = f"{arch} {what}"
    makers = {"ONNX Runtime f32": lambda: onnx_runtime(arch, what), "PyTorch f32": lambda: pytorch(arch, what),
              "PyTorch bf16": lambda: pytorch(arch, what, "--bf16"),
              "clip-encode f32": lambda: ours(arch, what, stream, n, "f32"),
              "clip-encode bf16": lambda: ours(arch, what, stream, n, "bf16")}
    runners, rates = {}, {}
    for name, make in makers.items():
        try:
            runners[name] = make()
            runners[name]() # warm
            rates[name] = []
        except (LookupError, OSError, subprocess.CalledProcessError) as error:
            print(f"{title}: {name}: skipped: {error}")
            runners.pop(name, None)
    for _ in range(rounds):
        for name, runner in runners.items():
            rates[name].append(runner())
    peer = statistics.median(rates["ONNX Runtime f32"]) if "ONNX Runtime f32" in rates else None
    for name, list_ in rates.items():
        rate, precision = statistics.median(list_), name.split()[-1]
        line = f"{title:16} {name:17} {rate:7.1f}/s (from {min(list_):.1f} to {max(list_):.1f})"
        if peer:
            line += f"  {rate / peer:5.2f} x ONNX Runtime"
        if precision in peak:
            line += f"  {rate * GFLOP[title]:5.0f} GFLOP/s, {100 * rate * GFLOP[title] / peak[precision]:3.0f} % of the peak"
        print(line, flush=True)


def first_answer():
    """Seconds until clip-encode-text has answered one caption, its weights in the page cache, and peak memory."""
    words = [build + "/bin/clip-encode-text", "-m", model("ViT-B/32"), "-j", threads]
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run(words + [captions(1)], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - start)
    peak = os.path.join(cache, "peak")
    subprocess.run([build + "/tests/tools/peak", peak] + words + [captions(512)], stdout=subprocess.DEVNULL, check=True)
    print(f"clip-encode-text, ViT-B/32: one caption in {statistics.median(seconds):.2f} s (least {min(seconds):.2f}), "
          f"peak {int(open(peak).read()) / 1024:.0f} MB")


if __name__ == "__main__":
    peak = measured_peak()
    first_answer()
    compare(peak, "ViT-B/32", "image", images, 320)
    compare(peak, "ViT-B/32", "text", captions, 2048)
    compare(peak, "RN50", "image", images, 320)
