load helper

@test "the demo runs, in the source tree, and draws its figure" {
    cd "$BATS_TEST_TMPDIR"
    run -0 --separate-stderr "$SRC/share/demo.sh" figure.png
    [[ ${lines[0]} == *untrained* ]]
    [ "$(grep -c '^boat ' <<<"$output")" -eq 1 ]
    [ "$(head -c 4 figure.png | od -An -tx1)" = " 89 50 4e 47" ]
    [ -z "$stderr" ]
}
