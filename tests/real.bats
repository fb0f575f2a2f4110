# A real run: all 10,000 pictures of CIFAR-10's test set, shards as they are, through a small model.
load helper

setup_file() {
    [ -e "$SHARED/data/cifar10/test/0.tar.zst" ] || return 0 # setup says so
    cd "$BATS_FILE_TMPDIR"
    cat >arch.json <<'END'
{"embed_dim": 32, "quick_gelu": true,
 "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
 "text_cfg": {"context_length": 16, "vocab_size": 514, "width": 64, "heads": 2, "layers": 1}}
END
    yes 'a cat and a dog' | head -n 100 | clip-model vocab --size 514 -o vocab
    clip-model init arch.json --seed 1 --vocab vocab -o model
    embed "$SHARED"/data/cifar10/test/{0..3}.tar.zst >all
}

setup() {
    need_shared data/cifar10/test/0.tar.zst
    cd "$BATS_FILE_TMPDIR"
}

# embed ARGUMENT...: of clip-untar.
embed() {
    clip-untar "$@" | clip-preprocess -m model | clip-encode-image -m model | clip-project-normalize -m model
}

# names SHARD: its samples, as tar lists them.
names() {
    zstd -dcq "$SHARED/data/cifar10/test/$1.tar.zst" | tar -t | sed -n 's/\.webp$//p'
}

# embeddings FILE...: keys and embeddings alone, of streams as one.
embeddings() {
    cat "$@" | clip-dump --values | sed -E 's/"(__url__|txt|cls)":("[^"]*"|\{[^}]*\}),//g'
}

@test "records in are records out, keys in order" {
    need zstd
    clip-dump --keys all >keys
    [ "$(wc -l <keys)" -eq 10000 ]
    cmp keys <(names 0 && names 1 && names 2 && names 3)
}

@test "every embedding is of unit length" {
    run -0 bash -c 'clip-dump --values all | grep -c "\"image_embedding\":{\"tensor\":\"f4\",\"shape\":\[32\]"'
    [ "$output" -eq 10000 ]
    clip-dump --values all | sed -E 's/.*"image_embedding".*"values":\[([^]]*)\].*/\1/' |
        awk -F, '{ s = 0; for (i = 1; i <= NF; i++) s += $i * $i
                   if (NF != 32 || s < 1 - 1e-5 || s > 1 + 1e-5) { print NR ": " s; bad = 1 } } END { exit bad }'
}

@test "the same from standard input" {
    for i in 0 1 2 3; do
        embed <"$SHARED/data/cifar10/test/$i.tar.zst" >"part$i"
    done
    equal <(embeddings all) <(embeddings part0 part1 part2 part3)
}

@test "the same from two slices, joined" {
    embed --slice 1/2 "$SHARED"/data/cifar10/test/{0..3}.tar.zst >odd
    embed --slice 2/2 "$SHARED/data/cifar10/test/{0..3}.tar.zst" >even
    embed "$SHARED"/data/cifar10/test/{0,2,1,3}.tar.zst >turned
    equal <(clip-dump --values turned) <(cat odd even | clip-dump --values)
}

@test "the same in batches of 7, on one thread" {
    clip-untar "$SHARED/data/cifar10/test/3.tar.zst" | clip-preprocess -m model -j 1 |
        clip-encode-image -m model -b 7 -j 1 | clip-project-normalize -m model -b 1 >small
    equal <(clip-dump --values small) <(clip-dump --values all | tail -n 2500)
}
