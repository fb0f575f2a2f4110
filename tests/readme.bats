load helper

# After a change of the default model, in a built tree: (PATH=$PWD/bin:$PATH; python3 tests/readme.py --write README.md)
@test "the README's commands give the README's output" {
    need_python msgpack msgpack_numpy numpy
    cd "$BATS_TEST_TMPDIR"
    ln -s "$SRC/share" share
    python "$SRC/tests/readme.py" "$SRC/README.md"
}
