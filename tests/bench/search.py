#!/usr/bin/python3
"""clip-index and clip-simmatrix against FAISS and NumPy: seconds of processor time, by turns in one run; the recall of
clip-index's lists; the time of clip-search.

search.py [BUILD [SHARED [ROWS [THREADS]]]]. Ours are whole programs, their start, records in and table out included;
the others are warm, their vectors in memory. FAISS's and OpenBLAS's threads are THREADS too. Lists are 1024, or fewer so
that each has a hundred of ROWS, and one of 32 is looked into."""
import os
import resource
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


def clustered(n, rows):
    """Unit vectors around centres, a hundred rows each, from which they are as far as from the origin."""
    centres = np.random.default_rng(0).standard_normal((max(rows // 100, 1), WIDTH), dtype=np.float32)
    x = centres[random.integers(0, len(centres), n)] + random.standard_normal((n, WIDTH), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def write(path, vectors, field, key="k%07d"):
    with open(path, "wb") as out:
        for i, x in enumerate(vectors):
            out.write(msgpack.packb({"__key__": key % i, field: {
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
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


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


def keys(*words):
    text = subprocess.run([build + "/bin/clip-index", "search", "-q", "-j", threads, "--keys", "--top", str(TOP), *words],
                          stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    return [set(text[i:i + TOP]) for i in range(0, len(text), TOP)]


def faiss_lists(vectors, lists, probes):
    index = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatIP(WIDTH), WIDTH, lists, faiss.ScalarQuantizer.QT_8bit,
                                          faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    index.nprobe = probes
    return index


def bench_lists(folder):
    """What is found in one list of 32, of vectors in clusters."""
    lists = max(1, min(1024, rows // 100))
    probes = max(1, lists // 32)
    stream, index, path = folder + "/clusters.clip", folder + "/lists.index", folder + "/queries.clip"
    vectors, queries = clustered(rows, rows), clustered(200, rows)
    write(stream, vectors, "image_embedding")
    before, start = processor(), time.perf_counter()
    if subprocess.run([build + "/bin/clip-index", "build", "-q", "-j", threads, "--lists", str(lists), "-o", index,
                       stream]).returncode:
        print("lists: skipped (libfaiss-dev)")
        return
    print("clip-index build --lists %d, %d rows: %.1f s, by the clock %.1f s" %
          (lists, rows, processor() - before, time.perf_counter() - start))
    os.remove(stream)
    write(path, queries, "text_embedding")
    exact, found = keys(index, path), keys("--probes", str(probes), index, path)
    print("  recall@%d of --lists %d --probes %d: %.4f" %
          (TOP, lists, probes, sum(len(a & b) for a, b in zip(exact, found)) / sum(map(len, exact))))
    for n in (1, len(queries)):
        some = queries[:n]
        write(path, some, "text_embedding")
        runs = {"clip-index search": lambda: ours("clip-index", "search", index, path),
                "clip-index search --probes": lambda: ours("clip-index", "search", "--probes", str(probes), index, path)}
        if faiss and n == 1:
            ivf = faiss_lists(vectors, lists, probes)
        if faiss:
            runs["FAISS, IVF%d, SQ8" % lists] = lambda: ivf.search(some, TOP)
        compare("%d queries in %d lists of %d" % (n, probes, lists), runs, 2.0 * n * rows * WIDTH)


def bench_clip_search(folder):
    """A text query in an index of 100,000 random vectors, with ViT-B/32 of random weights."""
    pictures, model, stream = folder + "/pictures", folder + "/vitb32", folder + "/random.clip"
    environment = dict(os.environ, XDG_CACHE_HOME=folder + "/cache")
    words = [build + "/bin/clip-search", "-m", model, "-d", pictures, "-j", threads]
    os.mkdir(pictures)
    subprocess.run([build + "/bin/clip-model", "init", "-q", "ViT-B-32", "-o", model], check=True)
    subprocess.run([*words, "a"], check=True, env=environment)
    index = subprocess.run(["find", folder + "/cache", "-name", "index"], check=True, stdout=subprocess.PIPE,
                           text=True).stdout.strip()
    write(stream, unit(100000), "image_embedding", "./%07d.jpg")
    subprocess.run([build + "/bin/clip-index", "build", "-q", "-o", index, stream], check=True)
    clock, seconds = [], []
    for _ in range(2 * ROUNDS):
        before, start = processor(), time.perf_counter()
        subprocess.run([*words, "-n", "a golden retriever in a pool"], check=True, env=environment,
                       stdout=subprocess.DEVNULL)
        clock.append(time.perf_counter() - start)
        seconds.append(processor() - before)
    print("clip-search -n, ViT-B/32, 100000 pictures, %s threads: %.2f s by the clock, the best %.2f; %.2f s of processor time" %
          (threads, statistics.median(clock), min(clock), statistics.median(seconds)))


with tempfile.TemporaryDirectory() as folder:
    bench_clip_search(folder)
    bench_lists(folder)
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
