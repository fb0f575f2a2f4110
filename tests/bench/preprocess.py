#!/usr/bin/python3
"""clip-preprocess against Pillow + torchvision: the photographs of the shared data, one thread each, by turns in one run.

preprocess.py [BUILD [SHARED]]. Ours is the whole program, records in and records out, its start included; theirs is
OpenAI's transform on bytes in memory, without reading or writing."""
import glob
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"
import msgpack
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

build = sys.argv[1] if len(sys.argv) > 1 else "."
shared = sys.argv[2] if len(sys.argv) > 2 else "../shared"
COPIES, ROUNDS, SIZE = 20, 7, 224

torch.set_num_threads(1)
photographs = [open(name, "rb").read() for name in sorted(glob.glob(shared + "/golden/published/images/*.jpg"))]
transform = Compose([
    Resize(SIZE, interpolation=InterpolationMode.BICUBIC), CenterCrop(SIZE), lambda picture: picture.convert("RGB"),
    ToTensor(), Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))])


def theirs():
    for _ in range(COPIES):
        for photograph in photographs:
            transform(Image.open(io.BytesIO(photograph)))


def ours(stream, dtype):
    subprocess.run([build + "/bin/clip-preprocess", "--size", str(SIZE), "-j", "1", "--dtype", dtype, stream],
                   stdout=subprocess.DEVNULL, check=True)


with tempfile.NamedTemporaryFile() as stream:
    records = [{"__key__": f"{i}/{j}", "jpg": photograph}
               for i in range(COPIES) for j, photograph in enumerate(photographs)]
    for record in records + [{"__end__": len(records)}]:
        stream.write(msgpack.packb(record))
    stream.flush()
    runs = {"Pillow + torchvision": theirs, "clip-preprocess, u8": lambda: ours(stream.name, "u8"),
            "clip-preprocess, f32": lambda: ours(stream.name, "f32")}
    seconds = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)

peer = statistics.median(seconds["Pillow + torchvision"])
for name, times in seconds.items():
    median = statistics.median(times)
    print(f"{name:22} {len(records) / median:7.1f} pictures/s  {peer / median:5.2f} x")
