#!/usr/bin/python3
"""clip-index and clip-simmatrix against FAISS (IndexFlatIP) and NumPy: seconds of processor time, by turns in one run.

search.py [BUILD [SHARED [ROWS [THREADS]]]]. Ours are whole programs, their start, records in and table out included;
the others are warm, their vectors in memory. FAISS's and OpenBLAS's threads are THREADS too."""
import os
import statistics
import subprocess
import sys
import tempfile
import time

build = sys.argv[1] if len(sys.argv) > 1 else "."
rows = int(sys.argv[3]) if len(sys.argv) > 3 else 1000000
threads = sys.argv[4] if len(sys.argv) > 4 else "1"
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = threads
try:
    import faiss
    faiss.omp_set_num_threads(int(threads))
except ImportError:
    faiss = None
    print("FAISS: skipped (python3-faiss)")
import msgpack
import numpy as np

WIDTH, TOP, ROUNDS, MANY = 512, 10, 3, 2000
random = np.random.default_rng(1)


def unit(n):
    x = random.standard_normal((n, WIDTH), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def write(path, vectors, field):
    with open(path, "wb") as out:
        for i, x in enumerate(vectors):
            out.write(msgpack.packb({"__key__": "k%07d" % i, field: {
                b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [WIDTH], b"data": x.tobytes()}}))
        out.write(msgpack.packb({"__end__": len(vectors)}))


def by_numpy(queries, vectors):
    for i in range(0, len(vectors), 100000):
        scores = queries @ vectors[i:i + 100000].T
        np.argpartition(scores, -TOP, axis=1)


def ours(*words):
    subprocess.run([build + "/bin/" + words[0], *words[1:], "-q", "-j", threads, "--tsv", "--top", str(TOP)],
                   stdout=subprocess.DEVNULL, check=True)


def processor():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def peak(*words):
    """Peak memory of a run: all, and without the pages of mapped files."""
    program = subprocess.Popen([build + "/bin/" + words[0], *words[1:], "-q", "-j", threads, "--tsv"],
                               stdout=subprocess.DEVNULL)
    most = anonymous = 0
    while program.poll() is None:
        try:
            lines = dict(line.split(":", 1) for line in open("/proc/%d/status" % program.pid) if ":" in line)
            most = max(most, int(lines["VmHWM"].split()[0]))
            anonymous = max(anonymous, int(lines["RssAnon"].split()[0]))
        except (KeyError, OSError):
            pass
        time.sleep(0.005)
    return most / 1024, anonymous / 1024


def compare(title, runs, flop):
    seconds = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            before = processor()
            run()
            seconds[name].append(processor() - before)
    print(title)
    for name, times in seconds.items():
        best = statistics.median(times)
        print("  %-28s %7.2f s  %5.1f GFLOP/s  (%s)" % (name, best, flop / best / 1e9,
                                                        " ".join("%.2f" % t for t in times)), flush=True)


with tempfile.TemporaryDirectory() as folder:
    vectors = unit(rows)
    stream, index = folder + "/rows.clip", folder + "/rows.index"
    write(stream, vectors, "image_embedding")
    subprocess.run([build + "/bin/clip-index", "build", "-q", "-o", index, stream], check=True)
    flat = None
    if faiss:
        flat = faiss.IndexFlatIP(WIDTH)
        flat.add(vectors)
    for n in (1, 100, MANY):
        queries, path = unit(n), folder + "/queries.clip"
        write(path, queries, "text_embedding")
        runs = {"clip-index search": lambda: ours("clip-index", "search", index, path),
                "clip-simmatrix, a stream": lambda: ours("clip-simmatrix", path, stream),
                "NumPy": lambda: by_numpy(queries, vectors)}
        if faiss:
            runs["FAISS, IndexFlatIP"] = lambda: flat.search(queries, TOP)
        if n == MANY:
            del runs["NumPy"]
        compare("%d queries, %d rows, %s threads" % (n, rows, threads), runs, 2.0 * n * rows * WIDTH)
        if n == 1:
            print("  clip-index search: %.0f MB at most, %.0f MB without the mapped index" %
                  peak("clip-index", "search", index, path))
            print("  clip-simmatrix: %.0f MB at most, %.0f MB without mapped files" % peak("clip-simmatrix", "--top", "10", path, stream))
    start = time.perf_counter()
    for _ in range(20):
        subprocess.run([build + "/bin/clip-index", "info", index], stdout=subprocess.DEVNULL, check=True)
    print("clip-index info: %.1f ms by the clock" % ((time.perf_counter() - start) / 20 * 1000))
