# The recipes of share/recipes, on tiny data: every target, and nothing made twice.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
    mkdir -p in/train in/test samples
    cp "$SRC"/share/samples/*.* samples
    cat >arch-small.json <<'END'
{"embed_dim": 8, "quick_gelu": true,
 "vision_cfg": {"image_size": 8, "layers": 1, "width": 64, "patch_size": 4},
 "text_cfg": {"context_length": 16, "vocab_size": 7, "width": 16, "heads": 2, "layers": 1}}
END
}

recipe() {
    env -u MAKEFLAGS make -s -f "$SRC/share/recipes/$1/Makefile" ARCH=arch-small.json VOCAB_SIZE=516 BATCH=4 EPOCHS=2 PRECISION=f32 "${@:2}"
}

@test "pairs: from shards to retrieval" {
    (cd samples && tar --sort=name -cf ../in/train/0.tar -- *)
    cp in/train/0.tar in/test
    recipe pairs DATA=in >log
    [[ $(cat retrieval.txt) == "retrieval: 8 pictures, 8 captions"* ]]
    [ ! -e zeroshot.txt ]
    clip-model info model | grep -q '^dtype *f16'
    [ "$(head -c 4 curves.png | od -An -tx1)" = " 89 50 4e 47" ]
    [ "$(wc -l <run/log.jsonl)" -eq 4 ]
    run -0 recipe pairs DATA=in
    [ -z "$output" ]
}

@test "CIFAR-10 from shards: captions of classes and nouns, zero-shot" {
    local file n=0
    for file in samples/*.txt; do
        echo $((n++ % 10)) >"${file%.txt}.cls"
    done
    (cd samples && tar --sort=name -czf ../in/train/0.tar.gz -- *)
    (cd samples && tar --sort=name -cf ../in/test/0.tar -- *)
    printf '{c}\n{n}, a {c}\n' >templates
    recipe cifar10 CIFAR=in CAPTIONS=templates >log
    [[ $(cat zeroshot.txt) == "zero-shot: 8 pictures, 10 classes"* ]]
    clip-untar data/train/0.tar | clip-dump --tsv __key__,cls,txt >captions
    [ "$(wc -l <captions)" -eq 8 ]
    # The captions were written beside read-only pictures, which only root can overwrite.
    [ "$(tar --numeric-owner -tvf data/train/0.tar | cut -c 1-14 | sort -u)" = "-r--r--r-- 0/0" ]
    grep -qE '	airplane\\n$' captions || grep -qE '	.*, a airplane\\n$' captions
    [ "$(grep -c ', a ' captions)" -gt 0 ]
    run -0 recipe cifar10 CIFAR=in CAPTIONS=templates
    [ -z "$output" ]
    rm -r data/train
    recipe cifar10 CIFAR=in CAPTIONS=templates data/train/0.tar
    diff <(clip-untar data/train/0.tar | clip-dump --tsv __key__,cls,txt) captions
}

@test "no data is said at once" {
    run -2 recipe pairs
    run -2 recipe pairs DATA=nowhere
    run -2 recipe cifar10 CIFAR=nowhere
}
