load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
    # Two pictures of 2 x 2: classes 7 and 200, planes of 1 2 3 4, 5 6 7 8, 9 10 11 12, and of all 255.
    printf '\007\001\002\003\004\005\006\007\010\011\012\013\014' >in
    printf '\310\377\377\377\377\377\377\377\377\377\377\377\377' >>in
}

@test "pictures, classes and keys" {
    clip-unbin --size 2 --key b- in >out
    [ "$(clip-dump --tsv __key__,cls out)" = 'b-00000	7
b-00001	200' ]
    run -0 bash -c 'clip-preprocess --size 2 out | clip-dump --values'
    [[ ${lines[0]} == *'"shape":[3,2,2],"values":[[[1,2],[3,4]],[[5,6],[7,8]],[[9,10],[11,12]]]'* ]]
    cmp out <(clip-unbin --size 2 --key b- <in)
}

@test "more labels, none; files that are cut or missing" {
    [ "$(clip-unbin --size 2 --labels 14 in | clip-dump --tsv cls)" = 200 ]
    [ "$(tail -c 12 in | clip-unbin --size 2 --labels 0 | clip-dump --tsv __key__,cls)" = '00000	' ]
    head -c 25 in >cut
    run -1 --separate-stderr bash -c 'clip-unbin --size 2 cut >out'
    [ "$stderr" = "clip-unbin: cut: cut short: records have 13 bytes, but 12 are left" ]
    [ "$(grep -c __end__ out)" -eq 0 ]
    run -1 --separate-stderr bash -c 'clip-unbin --size 2 nowhere >out'
    [ "$stderr" = "clip-unbin: nowhere: No such file or directory" ]
}
