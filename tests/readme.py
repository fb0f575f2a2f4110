"""Runs the README's commands, the lines behind "    $ ", and compares what they print with the lines below them.

Usage: readme.py [--write] README.md. With --write, what they print is put into the README instead.
"""
import re, subprocess, sys

number = re.compile(r"-?\d+\.\d+")


def same(want, got):
    """Words alike, numbers to four digits: the last ones depend on the processor."""
    if number.sub("#", want) != number.sub("#", got):
        return False
    return all(abs(float(a) - float(b)) < 2e-4 * max(1, abs(float(a))) for a, b in zip(number.findall(want), number.findall(got)))


def check(command, want, got):
    # Lines cut in the middle of a number compare without it.
    if "| cut " in command:
        want, got = [[re.sub(r",?-?[\d.]*$", "", l) for l in x] for x in (want, got)]
    assert len(got) == len(want) and all(map(same, want, got)), (command, want, got)


write, path = "--write" in sys.argv, sys.argv[-1]
lines, out, commands = open(path).read().split("\n"), [], 0
while lines:
    out.append(lines.pop(0))
    if not out[-1].startswith("    $ "):
        continue
    command, want = out[-1][6:], []
    while lines[0].startswith("    ") and not lines[0].startswith("    $ "):
        want.append(lines.pop(0)[4:])
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command.replace("python3 ", "/usr/bin/python3 ")],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    got = run.stdout.splitlines()
    assert run.returncode == 0 and not run.stderr, (command, run.stderr)
    if not write:
        check(command, want, got)
    out += ["    " + l for l in got]
    commands += 1
assert commands == 9, commands
if write:
    open(path, "w").write("\n".join(out))
