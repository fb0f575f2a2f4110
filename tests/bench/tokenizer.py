#!/usr/bin/env python3
"""clip-tokenize against OpenAI's simple_tokenizer with ftfy: captions of share/vocab, by turns in one run.

tokenizer.py [BUILD [SHARED]], by a Python that has OpenAI's clip package (its simple_tokenizer.py suffices), ftfy and
regex. Seconds are of the processor. Ours is the whole program, lines in and records out, its start included; theirs
is encode() on strings in memory, without its start."""
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from clip.simple_tokenizer import SimpleTokenizer

build = sys.argv[1] if len(sys.argv) > 1 else "."
shared = sys.argv[2] if len(sys.argv) > 2 else "../shared"
source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
vocabulary = shared + "/golden/tokenizer/bpe_simple_vocab_16e6.txt.gz"
ROUNDS = 3

tokenizer = SimpleTokenizer(vocabulary)
captions = subprocess.run(["awk", "-f", "captions.awk", "words.txt"], cwd=source + "/share/vocab", check=True,
                          capture_output=True, text=True).stdout
lines = captions.splitlines()
COPIES = 10 # of the captions for ours, whose start is a twentieth of a second


def theirs():
    start = time.process_time()
    for line in lines:
        tokenizer.encode(line)
    return time.process_time() - start


def ours(name):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([build + "/bin/clip-tokenize", "--lines", "--vocab", vocabulary, name], check=True,
                   stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


with tempfile.NamedTemporaryFile("w") as file:
    file.write(captions * COPIES)
    file.flush()
    pairs = [(theirs(), ours(file.name) / COPIES) for _ in range(ROUNDS)]

peer, own = (statistics.median(times) for times in zip(*pairs))
print(f"simple_tokenizer  {peer:7.3f} s  {len(lines) / peer:10.0f} captions/s")
print(f"clip-tokenize     {own:7.3f} s  {len(lines) / own:10.0f} captions/s  {peer / own:.1f}x")
