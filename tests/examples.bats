# The commands of the README and of the manual pages, run as they stand.
load helper

setup() {
    need jq
    need_python msgpack msgpack_numpy numpy
    cd "$BATS_TEST_TMPDIR"
}

# After a change of the default model, in a built tree: (PATH=$PWD/bin:$PATH; python3 tests/examples.py --write README.md)
@test "the README's commands give the README's output" {
    ln -s "$SRC/share" share
    python "$SRC/tests/examples.py" "$SRC/README.md"
}

# shard FILE FIRST LAST: a shard of pictures with captions.
make_shard() {
    local i name names=(airplane cat horses owl)
    mkdir -p samples "$(dirname "$1")"
    for i in $(seq "$2" "$3"); do
        name=${names[i % 4]}
        cp "$SRC/share/samples/photos/$name.jpg" "samples/$i.jpg"
        echo "a photo of a $name" >"samples/$i.txt"
        echo $((i % 4 % 2)) >"samples/$i.cls"
        echo "{\"caption\": \"$name\"}" >"samples/$i.json"
    done
    tar -C samples --sort=name -cf "$1" .
    rm -r samples
}

# What the examples of the manual pages are about, under the names that they have there.
make_files() {
    mkdir photos data run
    cp "$SRC"/share/samples/photos/{airplane,cat,horses,owl}.jpg photos
    make_shard shard.tar 0 3
    make_shard json.tar 0 3
    make_shard train/0.tar 0 19
    make_shard train/1.tar 20 39
    make_shard data/test/0.tar 0 3
    printf 'airplane\ncat\n' >data/classnames.txt
    printf 'a photo of a {c}\n' >data/zeroshot_classification_templates.txt
    printf 'a photo of %s\n' 'an airplane' 'a cat' 'a horse' >captions.txt
    { echo caption && cat captions.txt; } >captions.csv
    printf 'filepath\ttitle\nphotos/%s.jpg\ta "%s"\n' cat cat owl owl | sed '3d' >open_clip.csv
    printf '{"file_name": "%s.jpg", "text": "a %s"}\n' cat cat owl owl >photos/metadata.jsonl
    head -c 30730 "$SRC/share/models/things/open_clip_model.safetensors" >data_batch_1.bin
    cp "$SRC/share/recipes/cifar10/arch.json" .
    sed -i 's/1024/5120/' arch.json
    printf '{"step":%d,"loss":1,"top1_image":0,"top1_text":0}\n' 1 2 3 >run/log.jsonl
    clip-files photos | clip-preprocess -m things | clip-encode-image -m things |
        clip-project-normalize -m things >pictures.clip
    clip-tokenize -m things --lines captions.txt | clip-encode-text -m things |
        clip-project-normalize -m things >captions.clip
}

@test "the examples of every manual page run" {
    local page
    make_files
    for page in "$SRC"/man/*.[1-8]; do
        [ "${page##*/}" != clip-recipes.7 ] || continue # its examples take an hour
        rm -rf here
        mkdir here
        cp -r $(ls -d * | grep -v '^here$') here
        (cd here && python "$SRC/tests/examples.py" "$page") || return 1
    done
}

@test "the examples of clip-recipes(7) name makefiles that are there" {
    local file count=0
    while read -r file; do
        [ -f "$SRC/share/$file" ] || complain "$file"
        count=$((count + 1))
    done < <(sed -n 's|.*/share/clip-tools/\([^ ]*Makefile\).*|\1|p' "$SRC/man/clip-recipes.7")
    [ "$count" -ge 2 ]
}

@test "the architecture in clip-model(5) is one" {
    sed -n '/^\.\\" test: arch$/,/^\.Ed/p' "$SRC/man/clip-model.5" | sed '1,2d; $d' >arch.json
    run -0 clip-model info arch.json
    [[ $output == *parameters* ]]
}
