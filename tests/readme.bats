load helper

@test "the README's commands give the README's output" {
    need_python msgpack msgpack_numpy numpy
    cd "$BATS_TEST_TMPDIR"
    ln -s "$SRC/share" share
    python - "$SRC/README.md" <<'END'
import re, subprocess, sys
lines = open(sys.argv[1]).read().split("\n")
commands = 0
number = re.compile(r"-?\d+\.\d+")

def same(want, got):
    """Words alike, numbers to four digits: the last ones depend on the processor."""
    if number.sub("#", want) != number.sub("#", got):
        return False
    return all(abs(float(a) - float(b)) < 2e-4 for a, b in zip(number.findall(want), number.findall(got)))

i = 0
while i < len(lines):
    if not lines[i].startswith("    $ "):
        i += 1
        continue
    command, want, i = lines[i][6:], [], i + 1
    while i < len(lines) and lines[i].startswith("    ") and not lines[i].startswith("    $ "):
        want.append(lines[i][4:])
        i += 1
    command = command.replace("python3 ", "/usr/bin/python3 ")
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    got = run.stdout.splitlines()
    # Lines cut in the middle of a number compare without it.
    if "| cut " in command:
        want, got = [[re.sub(r",?-?[\d.]*$", "", l) for l in x] for x in (want, got)]
    assert run.returncode == 0 and not run.stderr, (command, run.stderr)
    assert len(got) == len(want) and all(map(same, want, got)), (command, want, got)
    commands += 1
assert commands == 9, commands
END
}
