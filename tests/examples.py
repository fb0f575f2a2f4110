"""Runs the examples of a page in the current folder: README.md, or a manual page's EXAMPLES.

Usage: examples.py [--write] PAGE

A block of the README is a run of indented lines, one of a manual page a literal display. In a block with lines that begin
with "$ ", these are commands and the lines below each its output; any other block is a script. Commands must succeed and
print nothing on standard error; scripts must succeed. Blocks after a comment "not run: WHY" are left out: <!-- --> in the
README, .\\" in a manual page. With --write, the README gets what its commands print.
"""
import re, subprocess, sys

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
BAR = re.compile("[█▉▊▋▌▍▎▏]+ *")
NOT_RUN = re.compile(r'^(<!--|\.\\") not run: ')


def close(want, got):
    """Whole numbers are equal. Others are computed in floats, in an order that depends on the processor, and printed with
    two to ten digits: 2e-3 of the number, or of one, is more than rounding, and less than any mistake."""
    if "." not in want + got and "e" not in want + got:
        return want == got
    return abs(float(want) - float(got)) <= 2e-3 * max(1, abs(float(want))) + 0.011 * (len(want.split(".")[-1]) <= 2)


def same(want, got):
    want, got = BAR.sub("", want), BAR.sub("", got)
    return NUMBER.sub("#", want) == NUMBER.sub("#", got) and all(map(close, NUMBER.findall(want), NUMBER.findall(got)))


def check(command, want, got):
    # Lines cut in the middle of a number compare without it.
    if "| cut " in command:
        want, got = [[re.sub(r",?-?[\d.e]*$", "", l) for l in x] for x in (want, got)]
    if len(got) != len(want) or not all(map(same, want, got)):
        sys.exit("\n".join([f"{path}: $ {command}", "wanted:", *want, "got:", *got]))


def run(script):
    script = script.replace("python3 ", "/usr/bin/python3 ")  # Debian's, whatever else comes first in PATH
    done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True)
    if done.returncode == 141:  # a reader that had enough, such as head
        done.returncode = 0
    if done.returncode:
        sys.exit(f"{path}: status {done.returncode}: {script}\n{done.stderr}")
    return done


def man_blocks(lines):
    """The literal displays of a manual page's EXAMPLES, as lists of lines."""
    skip, block, inside = False, None, False
    for line in lines:
        inside = line == ".Sh EXAMPLES" or inside and not line.startswith(".Sh ")
        if line.startswith('.\\"'):
            skip = line.startswith('.\\" not run: ') or line.startswith('.\\" test: ')
        elif inside and line.startswith(".Bd -literal"):
            block = []
        elif block is not None and line == ".Ed":
            if not skip:
                yield block
            block, skip = None, False
        elif block is not None:
            block.append(line.replace("\\&", "").replace("\\e", "\\"))


def readme_blocks(lines):
    """The README's indented blocks, as (first line, lines)."""
    start, skip = None, False
    for i, line in enumerate(lines + [""]):
        if line.startswith("    "):
            start = i if start is None else start
        elif start is not None:
            if not skip:
                yield start, [l[4:] for l in lines[start:i]]
            start, skip = None, False
        if line.startswith("<!-- "):
            skip = bool(NOT_RUN.match(line))


def run_block(block):
    """Runs a block; returns it with the output that its commands had."""
    if not any(l.startswith("$ ") for l in block):
        run("\n".join(block))
        return block
    new = []
    while block:
        command, want = block.pop(0), []
        while block and not block[0].startswith("$ "):
            want.append(block.pop(0))
        done = run(command[2:])
        if done.stderr:
            sys.exit(f"{path}: {command}\n{done.stderr}")
        got = done.stdout.splitlines()
        if not write:
            check(command[2:], want, got)
        new += [command] + got
    return new


write, path = "--write" in sys.argv, sys.argv[-1]
lines = open(path).read().split("\n")
if path.endswith(".md"):
    blocks = list(readme_blocks(lines))
    for start, block in reversed([(start, (len(block), run_block(block))) for start, block in blocks]):
        lines[start : start + block[0]] = ["    " + l for l in block[1]]
    if write:
        open(path, "w").write("\n".join(lines))
else:
    blocks = [run_block(block) for block in man_blocks(lines)]
if not blocks:
    sys.exit(f"{path}: no examples")
