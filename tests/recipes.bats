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

@test "INIT: training starts from a model, whose vocabulary and architecture stay" {
    (cd samples && tar --sort=name -cf ../in/train/0.tar -- *)
    cp in/train/0.tar in/test
    clip-model vocab -q -n 520 -o words samples/boat.txt
    sed 's/"vocab_size": 7/"vocab_size": 520/' arch-small.json >arch-520.json
    clip-model init -q arch-520.json --vocab words --seed 7 -o first
    recipe pairs DATA=in INIT=first LR=1e-12 >log
    [ ! -e vocab ]
    cmp model/merges.txt words/merges.txt
    clip-model convert -q first -d f16 -o first-f16
    diff <(clip-tokenize -q --lines -m model <samples/boat.txt | clip-encode-text -m model | clip-dump --values) \
        <(clip-tokenize -q --lines -m first-f16 <samples/boat.txt | clip-encode-text -m first-f16 | clip-dump --values)
    run -0 recipe pairs DATA=in INIT=first LR=1e-12
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

# make_tiny FOLDER: Tiny ImageNet of two classes in miniature, CIFAR-10 of eight pictures, and what WordNet says of them.
make_tiny() {
    local class file n
    mkdir -p "$1/val/images"
    for class in n00000001 n00000002; do
        mkdir -p "$1/train/$class/images"
        for n in 0 1 2; do
            cp samples/face.jpg "$1/train/$class/images/${class}_$n.JPEG"
        done
        cp samples/tree.jpg "$1/val/images/val_$class.JPEG"
        printf 'val_%s.JPEG\t%s\t0\t0\t9\t9\n' "$class" "$class" >>"$1/val/val_annotations.txt"
    done
    n=0
    for file in samples/*.txt; do
        echo $((n++ % 10)) >"${file%.txt}.cls"
    done
    (cd samples && tar --sort=name -cf ../in/train/0.tar -- *)
    (cd samples && tar --sort=name -cf ../in/test/0.tar -- *)
    cat >wordnet <<'END'
  1 This software and database is being provided to you
00000001 05 n 02 sheep_dog 0 collie(a) 0 001 @ 02084071 n 0000 | a dog
00000002 05 n 01 Rocking_Chair 1 002 ~ 00000001 n 0000 @ 00000003 n 0000 | a chair
00000003 06 n 0b chair 0 a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 seat 0 001 @i 00000004 n 0000 | eleven words
00000004 06 n 01 edible_fruit 0 000 | not a chair's kind
02691156 06 n 02 airplane 0 aeroplane 0 000 | x
02958343 06 n 02 car 0 auto 0 000 | x
01503061 05 n 01 bird 0 000 | x
02121620 05 n 02 cat 0 true_cat 0 000 | x
02430045 05 n 01 deer 0 000 | x
02084071 05 n 02 dog 0 domestic_dog 0 000 | x
01639765 05 n 01 frog 0 000 | x
02374451 05 n 01 horse 0 000 | x
04194289 06 n 01 ship 0 000 | x
04490091 06 n 01 truck 0 000 | x
END
}

@test "things: captions of names, synonyms and kinds; both data sets trained on and measured" {
    make_tiny tiny
    things() {
        recipe things TINY=tiny CIFAR=in WORDNET=wordnet WARMUP=1 COOLDOWN=2 \
            FIRST="ARCH=$PWD/arch-small.json VOCAB_SIZE=520 BATCH=4 EPOCHS=1 PRECISION=f32" "$@"
    }
    things >log
    cmp model/merges.txt first/model/merges.txt
    [ "$(wc -l <first/run/log.jsonl)" -eq 2 ]
    [ "$(cut -f 1,2 data/tiny.tsv)" = $'n00000001\tsheep dog\nn00000002\tRocking Chair' ]
    [ "$(jq -r 'join("; ")' <(cut -f 3 data/tiny.tsv) | head -n 1)" = \
        "sheep dog; sheep dog; collie; sheep dog; sheep dog; dog" ]
    [ "$(jq -r 'join("; ")' <(cut -f 3 data/tiny.tsv) | tail -n 1)" = \
        "Rocking Chair; Rocking Chair; chair; Rocking Chair; Rocking Chair; fruit" ]
    [ "$(sed -n 2p data/cifar10/classnames.txt)" = automobile ]
    [ "$(clip-untar data/train/*.tar | clip-dump --tsv __key__,class,txt | wc -l)" -eq 14 ]
    clip-untar data/train/tiny.tar | clip-dump --tsv __key__,class,txt >tiny.captions
    [ "$(head -n 1 tiny.captions)" = \
        $'n00000001_0\tn00000001\tsheep dog\\nsheep dog\\ncollie\\nsheep dog\\nsheep dog\\ndog' ]
    # The second sample's class is automobile, and its caption stands for the noun.
    clip-untar data/train/cifar10.tar | clip-dump --tsv __key__,class,txt | sed -n 2p >cifar.captions
    [ "$(cut -f 2 cifar.captions)" = n02958343 ]
    [[ $(cut -f 3 cifar.captions) == 'automobile\nautomobile\ncar\n'*"\\n$(head -n 1 samples/chessboard.txt)" ]]
    [[ $(cat tiny.txt) == "zero-shot: 2 pictures, 2 classes"* ]]
    [[ $(cat cifar10.txt) == "zero-shot: 8 pictures, 10 classes"* ]]
    # Each wrong answer is in the tables of confusions, under the names of both classes.
    [ "$(awk -F '\t' '{ n += $1 } END { print n + 0 }' cifar10-confusions.tsv)" -eq \
        "$(awk -F '\t' 'NR % 5 == 1 && $1 + 0 != $2 + 0' cifar10-eval/best.tsv | wc -l)" ]
    [ "$(awk -F '\t' '{ n += $1 } END { print n + 0 }' tiny-confusions.tsv)" -eq 1 ] # two equal pictures of two classes
    grep -qxE $'1\t1\t(sheep dog\tRocking Chair|Rocking Chair\tsheep dog)' tiny-confusions.tsv
    [ "$(jq -s -c '[.[-1].step, (.[-1].lr < .[0].lr)]' run/log.jsonl)" = '[7,true]' ]
    run -0 things
    [ -z "$output" ]
    run -0 things finish WIDE="EPOCHS=2 WARMUP=1 COOLDOWN=2" \
        FINISH="EPOCHS=1 WARMUP=1 COOLDOWN=1 AUGMENT='--crop-scale 0.4,2 --pad-mode reflect'"
    [ "$(jq -s '.[-1].step' wide/run/log.jsonl)" -eq 7 ]
    [ "$(jq -s '.[-1].step' finish/run/log.jsonl)" -eq 3 ]
    cmp wide/run/init/open_clip_model.safetensors run/latest/open_clip_model.safetensors
    cmp finish/run/init/open_clip_model.safetensors wide/run/latest/open_clip_model.safetensors
    [[ $(cat finish/tiny.txt) == "zero-shot: 2 pictures, 2 classes"* ]]
    rm -r data/train
    things data/train/cifar10.tar
    clip-untar data/train/cifar10.tar | clip-dump --tsv __key__,class,txt | sed -n 2p | diff - cifar.captions
}

@test "things: CIFAR-10 from the binary batches; what is missing is said at once" {
    make_tiny tiny
    mkdir binary
    for batch in data_batch_1 data_batch_2 test_batch; do
        { printf '\001' && head -c 3072 /dev/zero && printf '\003' && head -c 3072 /dev/zero; } >"binary/$batch.bin"
    done
    recipe things TINY=tiny CIFAR=binary WORDNET=wordnet WARMUP=1 COOLDOWN=2 INIT= >log
    [ -d vocab ]
    [ ! -e first ]
    clip-untar data/train/cifar10.tar | clip-dump --tsv class,txt | sort | uniq -c | awk '{ print $1, $2 }' >counts
    [ "$(cat counts)" = $'2 n02121620\n2 n02958343' ]
    [[ $(cat cifar10.txt) == "zero-shot: 2 pictures, 10 classes"* ]]
    run -2 recipe things CIFAR=in WORDNET=wordnet
    [[ $output == *"make TINY=folder"* ]]
    run -2 recipe things TINY=in/test CIFAR=in WORDNET=wordnet
    [[ $output == *"in/test: there is no train/"* ]]
    run -2 recipe things TINY=tiny CIFAR=in WORDNET=nowhere
    [[ $output == *"nowhere does not exist"*wordnet-base* ]]
    rm -r data
    run -2 recipe things TINY=tiny CIFAR=samples WORDNET=wordnet
    [[ $output == *"samples: there are neither shards"* ]]
    sed -i '/^02084071/d' wordnet
    run -2 recipe things TINY=tiny CIFAR=in WORDNET=wordnet
    [[ $output == *"n02084071 is not a noun of WordNet"* ]]
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
    MODEL=$SRC/share/models/things
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
