#!/usr/bin/python3
"""The encoders against ONNX Runtime and PyTorch, by turns in one run.

towers.py [BUILD [SHARED [ROW...]]]. Ours is the whole program, records in and records out, its start included; theirs is
a session or a module that is warm already, its input in memory. ONNX Runtime gets our weights and our input
(peer/export.py, peer/run.js): the embeddings must agree. Rates are by the clock and by the processor's seconds, which say
more where other work runs; ONNX Runtime's are only to be trusted with one thread then. A ROW is "MODEL image" or "MODEL
text"; without any, all of ROWS below. Models and exports are made once, in $CLIP_BENCH (default: clip-bench in the
temporary folder). $CLIP_BENCH_THREADS: default 2. $CLIP_BENCH_ROUNDS: default 5. $CLIP_BENCH_ITEMS: of a turn; default:
ROWS'. $CLIP_BENCH_PEERS=ort: without PyTorch and bf16. int8 is timed of
ViT-B/32, ours and ONNX Runtime's (peer/quantize.py).

Peers that are not installed are skipped: ONNX Runtime needs node with onnxruntime-node in $NODE_PATH and, once,
Debian's python3-torch and python3-onnx; PyTorch needs python3-torch."""
import json
import os
import re
import resource
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
shared = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else "../shared")
oracle = shared + "/oracle"
cache = os.environ.get("CLIP_BENCH", os.path.join(tempfile.gettempdir(), "clip-bench"))
threads = os.environ.get("CLIP_BENCH_THREADS", "2")
rounds = int(os.environ.get("CLIP_BENCH_ROUNDS", "5"))
os.makedirs(cache, exist_ok=True)

# Of each row: the items of a turn, and GFLOP an item, two a multiply-add. A caption of CLIP's has 14 of its 77 positions;
# one of SigLIP's has all 64.
ROWS = {
    "ViT-B/32 image": (320, 8.82),
    "ViT-B/32 text": (2048, 5.96 * 14 / 77),
    "RN50 image": (320, 12.2),
    "ViT-B-16-SigLIP2 image": (192, 35.4),
    "ViT-B-16-SigLIP2 text": (256, 11.0),
    "convnext_base image": (192, 30.7),
    "EVA02-B-16 image": (192, 35.1),
    "MobileCLIP2-S2 image": (192, 15.7),
}
PEER_BATCH = 8 # the exports have it


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


def config(arch):
    whole = json.load(open(model(arch) + "/open_clip_config.json"))
    return whole.get("model_cfg", whole), whole.get("preprocess_cfg", {})


def write_stream(path, records):
    with open(path, "wb") as out:
        n = 0
        for record in records:
            out.write(msgpack.packb(record, default=msgpack_numpy.encode))
            n += 1
        out.write(msgpack.packb({"__end__": n}))


def images(arch, n):
    """The pixels of n pictures, as bytes."""
    side = config(arch)[0]["vision_cfg"]["image_size"]
    return numpy.random.default_rng(1).integers(0, 256, (n, 3, side, side), numpy.uint8)


def captions(arch, n):
    """The tokens of n captions: CLIP's have 14 positions, and zeros; those without an end token fill all."""
    draw, text = numpy.random.default_rng(2), config(arch)[0]["text_cfg"]
    length, vocabulary = text["context_length"], text["vocab_size"]
    tokens = draw.integers(1000, 40000, (n, length), numpy.int32)
    if text.get("pool_type", "argmax") == "argmax":
        tokens[:, 0], tokens[:, 13], tokens[:, 14:] = vocabulary - 2, vocabulary - 1, 0
    return tokens


def stream(arch, what, n):
    field, items = ("image", images) if what == "image" else ("tokens", captions)
    return once(f"{arch.replace('/', '-')}-{what}-{n}", lambda path: write_stream(
        path, ({"__key__": str(i), field: item} for i, item in enumerate(items(arch, n)))))


def peer_input(arch, what, n):
    """What peer/run.js reads: the same items, pictures normalised."""
    def write(path):
        if what == "image":
            preprocess = config(arch)[1]
            mean = preprocess.get("mean", (0.48145466, 0.4578275, 0.40821073))
            std = preprocess.get("std", (0.26862954, 0.26130258, 0.27577711))
            shape = (3, 1, 1)
            items = (images(arch, n) / 255 - numpy.reshape(mean, shape)) / numpy.reshape(std, shape)
            items, name = items.astype(numpy.float32), "float32"
        else:
            items, name = captions(arch, n).astype(numpy.int64), "int64"
        with open(path, "wb") as out:
            out.write(json.dumps({"type": name, "shape": items.shape}).encode() + b"\n" + items.tobytes())
    return once(f"peer-{arch.replace('/', '-')}-{what}-{n}", write)


def timed(*words):
    """Seconds of a program by the clock, and of the processor."""
    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime
    start, before = time.perf_counter(), used()
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start, used() - before


def encoder(arch, what, precision):
    return [f"{build}/bin/clip-encode-{what}", "-m", model(arch), "-j", threads, "--precision", precision]


def ours(arch, what, n, precision):
    words = encoder(arch, what, precision) + [stream(arch, what, n)]
    def rate():
        clock, processor = timed(*words)
        return n / clock, n / processor
    return rate


def our_embeddings(arch, what, n):
    with tempfile.TemporaryDirectory() as folder:
        features = folder + "/features"
        with open(features, "wb") as out:
            subprocess.run(encoder(arch, what, "f32") + [stream(arch, what, n)], stdout=out, check=True)
        out = run(build + "/bin/clip-project-normalize", "-m", model(arch), features)
    unpacker = msgpack.Unpacker(object_hook=msgpack_numpy.decode)
    unpacker.feed(out)
    return numpy.stack([record[what + "_embedding"] for record in unpacker if "__key__" in record])


def onnx_runtime(arch, what, int8=False):
    """A turn of ONNX Runtime; the first one compares its embeddings with ours. int8: with its dynamic 8 bits."""
    node = shutil.which("node")
    if not node or subprocess.run([node, "-e", "require('onnxruntime-node')"], stderr=subprocess.DEVNULL).returncode:
        raise LookupError("no onnxruntime-node for node in $NODE_PATH")
    here = os.path.dirname(os.path.abspath(__file__)) + "/peer"
    export = once(f"onnx-{arch.replace('/', '-')}-{what}", lambda path: run(
        "/usr/bin/python3", here + "/export.py", shared, model(arch), what, str(PEER_BATCH), path))
    graph = export + "/model.onnx"
    if int8:
        graph = once(f"int8-{arch.replace('/', '-')}-{what}.onnx", lambda path: run(
            "/usr/bin/python3", here + "/quantize.py", export + "/model.onnx", path))
    output = os.path.join(cache, "peer-output")
    def turn():
        line = run(node, here + "/run.js", graph, peer_input(arch, what, PEER_BATCH), threads, "3", output)
        seconds = json.loads(line.splitlines()[-1])
        return [PEER_BATCH / statistics.median(seconds[clock]) for clock in ("wall", "processor")]
    turn()
    theirs = numpy.fromfile(output, numpy.float32).reshape(PEER_BATCH, -1)
    theirs /= numpy.linalg.norm(theirs, axis=1, keepdims=True)
    off = float(numpy.abs(theirs - our_embeddings(arch, what, PEER_BATCH)).max())
    print(f"{arch} {what}: embeddings are within {off:.1e} of ONNX Runtime's")
    if not int8 and not off < 1e-4:
        raise LookupError("it computes another thing")
    return turn


def pytorch(arch, what, *more):
    run("/usr/bin/python3", "-c", "import torch")
    words = ("/usr/bin/python3", oracle + "/clip_torch.py", "bench", what, arch, "--threads", threads, "--batch", "32",
             "--repeat", "3", *more)
    return lambda: (json.loads(run(*words).splitlines()[-1])["samples_per_s"], None)


def measured_peak():
    text = run(build + "/tests/bench/products", "1").decode()
    print(text)
    peak = {}
    for precision, rate in re.findall(r"most (\w+) (\d+)", text):
        peak[precision] = max(peak.get(precision, 0), float(rate))
    return peak


def peers(arch, what, n):
    makers = {"ONNX Runtime f32": lambda: onnx_runtime(arch, what), "clip-encode f32": lambda: ours(arch, what, n, "f32")}
    if arch == "ViT-B/32":
        makers["ONNX Runtime int8"] = lambda: onnx_runtime(arch, what, int8=True)
        makers["clip-encode int8"] = lambda: ours(arch, what, n, "int8")
    if os.environ.get("CLIP_BENCH_PEERS") != "ort":
        makers["clip-encode bf16"] = lambda: ours(arch, what, n, "bf16")
        if arch in ("ViT-B/32", "RN50"):
            makers["PyTorch f32"] = lambda: pytorch(arch, what)
            makers["PyTorch bf16"] = lambda: pytorch(arch, what, "--bf16")
    return makers


def median(rates, clock):
    values = [rate[clock] for rate in rates if rate[clock]]
    return statistics.median(values) if values else None


def report(peak, title, gflop, name, rates, peer):
    processor, precision = median(rates, 1), name.split()[-1]
    line = f"{title:22} {name:17} {median(rates, 0):7.1f}/s"
    if peer:
        line += f", {median(rates, 0) / median(peer, 0):5.2f} x ONNX Runtime"
    if processor:
        each = [rate[1] for rate in rates]
        line += f"; a second of the processor {processor:6.2f} ({min(each):.2f} to {max(each):.2f})"
        if peer:
            line += f", {processor / median(peer, 1):5.2f} x"
        if precision in peak:
            line += f", {processor * gflop:.0f} GFLOP, {100 * processor * gflop / peak[precision]:.0f} % of the peak"
    print(line, flush=True)


def compare(peak, title):
    arch, what = title.split()
    n, gflop = ROWS[title]
    n = int(os.environ.get("CLIP_BENCH_ITEMS", n))
    runners, rates = {}, {}
    for name, make in peers(arch, what, n).items():
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
    for name, list_ in rates.items():
        report(peak, title, gflop, name, list_, rates.get("ONNX Runtime f32"))


def first_answer():
    """Seconds until clip-encode-text has answered one caption, its weights in the page cache, and peak memory."""
    words = encoder("ViT-B/32", "text", "f32")
    seconds = [timed(*words, stream("ViT-B/32", "text", 1))[0] for _ in range(7)]
    peak = os.path.join(cache, "peak")
    run(build + "/tests/tools/peak", peak, *words, stream("ViT-B/32", "text", 512))
    print(f"clip-encode-text, ViT-B/32: one caption in {statistics.median(seconds):.2f} s (least {min(seconds):.2f}), "
          f"peak {int(open(peak).read()) / 1024:.0f} MB")


if __name__ == "__main__":
    rows = sys.argv[3:] or list(ROWS)
    peak = measured_peak()
    if "ViT-B/32 text" in rows:
        first_answer()
    for row in rows:
        compare(peak, row)
