# The recipes of share/recipes, on tiny data: every target, and nothing made twice.
load helper

setup() {
    unset MAKEFLAGS MAKELEVEL # of a make that runs the tests
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
    make -s -f "$SRC/share/recipes/$1/Makefile" ARCH=arch-small.json VOCAB_SIZE=516 BATCH=4 EPOCHS=2 PRECISION=f32 "${@:2}"
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

# embed SHARD...: the recipe on these, into the folder embeddings; "$@" of `more` too.
embed() {
    make -f "$SRC/share/recipes/embed/Makefile" MODEL="$MODEL" SHARDS="$1" "${@:2}"
}

# make_shards: five shards in data, one of them compressed; a model.
make_shards() {
    local n
    mkdir data
    for n in 0 1 2 3; do
        (cd samples && tar --sort=name -cf "../data/$n.tar" -- $(ls | sed -n "$((n * 4 + 1)),$((n * 4 + 4))p"))
    done
    (cd samples && tar --sort=name -czf ../data/4.b.tar.gz -- $(ls | head -n 4))
    MODEL=$SRC/share/models/cifar10
}

# one_pipeline SHARD...: what the recipe must give.
one_pipeline() {
    clip-untar "$@" | clip-preprocess -m "$MODEL" | clip-tokenize -m "$MODEL" --truncate |
        clip-encode-image -m "$MODEL" | clip-encode-text -m "$MODEL" | clip-project-normalize -m "$MODEL"
}

@test "embed: a file a shard, together what one pipeline writes; nothing twice; only what is missing" {
    make_shards
    embed 'data/*.tar data/4.b.tar.gz' SIDES='image text' -j 2
    [ "$(cd embeddings && echo *)" = "0.clip 1.clip 2.clip 3.clip 4.b.clip" ]
    one_pipeline data/{0,1,2,3}.tar data/4.b.tar.gz >want
    clip-cmp <(cat embeddings/*.clip) want
    clip-dump --values embeddings/*.clip >all
    diff all <(clip-dump --values want)
    run -0 embed 'data/*.tar data/4.b.tar.gz' SIDES='image text'
    [[ $output == *"Nothing to be done"* ]]
    rm embeddings/2.clip
    touch data/3.tar
    stat -c '%n %Y' embeddings/{0,1}.clip >before
    run -0 embed 'data/*.tar data/4.b.tar.gz' SIDES='image text' missing
    [ "${lines[-1]}" = embeddings/2.clip ]
    embed 'data/*.tar data/4.b.tar.gz' SIDES='image text'
    clip-dump --values embeddings/*.clip | diff all -
    stat -c '%n %Y' embeddings/{0,1}.clip | diff before -
    embed 'data/*.tar' SIDES=text OUT=captions
    [[ "$(clip-dump captions/0.clip)" == *'"text_embedding":'* && "$(clip-dump captions/0.clip)" != *image_embedding* ]]
}

@test "embed: a shard that is cut fails alone and is named, and leaves nothing" {
    make_shards
    head -c 1500 data/1.tar >cut
    mv cut data/1.tar
    run -2 embed 'data/*.tar' -j 2
    [[ $output == *"clip-untar: data/1.tar: "* && $output == *"embeddings/1.clip"* ]]
    [ "$(ls -A embeddings | paste -sd ' ')" = "0.clip 2.clip 3.clip" ]
    (cd samples && tar --sort=name -cf ../data/1.tar -- $(ls | sed -n 5,8p))
    embed 'data/*.tar'
    [ -s embeddings/1.clip ]
    run -2 embed 'data/*.tar data/nowhere.tar'
    [[ $output == *data/nowhere.tar* ]]
    mkdir other
    cp data/0.tar other
    run -2 embed 'data/*.tar other/0.tar'
    [[ $output == *"two shards have the same name"* ]]
    run -2 embed 'data/*.tar' SLICE=0/2
    run -2 embed 'data/*.tar' SIDES=sound
    run -2 make -f "$SRC/share/recipes/embed/Makefile" MODEL=m
}

@test "embed: slices, the array job of Slurm, the page for GNU parallel" {
    make_shards
    embed 'data/*.tar' SLICE=1/3 OUT=slices
    [ "$(cd slices && echo *)" = "0.clip 3.clip" ]
    embed 'data/*.tar' TASKS=2 CPUS=1 slurm >job
    grep -qx '#SBATCH --array=1-2' job
    SLURM_ARRAY_TASK_ID=1 SLURM_CPUS_PER_TASK=1 sh job
    [ "$(cd embeddings && echo *)" = "0.clip 2.clip" ]
    SLURM_ARRAY_TASK_ID=2 sh job
    cp -r embeddings want
    rm embeddings/1.clip embeddings/3.clip
    embed 'data/*.tar' TASKS=2 parallel >page
    need parallel
    sh page
    diff -r embeddings want
}
