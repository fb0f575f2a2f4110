load helper
load programs

setup_file() {
    make_model
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    export XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache CLIP_MODEL_PATH=$SMALL
    mkdir photos photos/sub
    cp "$SRC"/share/samples/photos/{cat,dog,owl}.jpg photos
    cp "$SRC"/share/samples/photos/hen.jpg "$SRC/share/samples/boat.webp" photos/sub
}

# search [OPTION]... QUERY...: in the folder photos, with the small model; nothing may be said on stderr.
search() {
    clip-search -m model -d photos "$@" 2>err
    [ ! -s err ] || complain "stderr: $(cat err)"
}

# embedded: how many pictures the update of the last search embedded, by its line of -v.
embedded() {
    sed -n 's/^clip-preprocess: \([0-9]*\) records in .*/\1/p' "${1:-err}"
}

# the_index: of the one folder that was searched.
the_index() {
    echo "$XDG_CACHE_HOME"/clip-tools/search/*/*/index
}

index_keys() {
    clip-index list "$(the_index)" | clip-dump --tsv __key__ | sort
}

# embed: pictures from clip-files to embeddings.
embed() {
    clip-preprocess -q -m model | clip-encode-image -q -m model | clip-project-normalize -q -m model
}

@test "scores and paths are those of the long way" {
    clip-files photos | embed >pictures.clip
    echo 'a red boat' | clip-tokenize --truncate --lines -m model | clip-encode-text -m model | clip-project-normalize -m model >query.clip
    clip-simmatrix --label key --tsv --top 10 query.clip pictures.clip | awk -F '\t' '{ print $3 "\t" $2 }' >want
    [ "$(wc -l <want)" -eq 5 ]
    search a red boat | diff want -
    search -n 'a  red boat' | diff want -
    search -t 2 -n a red boat | diff <(head -n 2 want) -
    search -n -f a red boat | diff <(cut -f 2 want) -
    search -n -0 a red boat | tr '\0' '\n' | diff <(cut -f 2 want) -
    local third=$(sed -n 3p want | cut -f 1)
    search -n --min "$third" a red boat | diff <(head -n 3 want) -
    search -n --jsonl -t 2 a red boat | jq -r '.label, (.matches[] | "\(.key)")' |
        diff <(echo 'a red boat'; head -n 2 want | cut -f 2) -
    # The folder as it is given: absolute, or the current one.
    clip-search -n -m model -d "$PWD/photos/" -f a red boat | diff <(cut -f 2 want | sed "s|^|$PWD/|") -
    (cd photos && clip-search -n -m model -f a red boat) | diff <(cut -f 2 want | sed 's|^photos|.|') -
    [ "$(ls -d cache/clip-tools/search/*/* | wc -l)" -eq 1 ]
}

@test "a picture, sums, differences and weights" {
    search ./photos/owl.jpg -t 1 | diff <(printf '1\tphotos/owl.jpg\n') -
    cp photos/cat.jpg 'my - "cat".jpg'
    search -n "$PWD/my - \"cat\".jpg" -t 1 | diff <(printf '1\tphotos/cat.jpg\n') -
    clip-files photos | embed >pictures.clip
    for text in 'a boat, "red"' 'a man'; do
        echo "$text" | clip-tokenize --truncate --lines -m model | clip-encode-text -m model | clip-project-normalize -m model
    done >texts.clip
    clip-files 'my - "cat".jpg' | embed >>texts.clip
    need_python numpy msgpack msgpack_numpy
    python - <<'END'
import msgpack, msgpack_numpy, numpy as np
def read(path):
    return [r for r in msgpack.Unpacker(open(path, "rb"), object_hook=msgpack_numpy.decode) if "__key__" in r]
q = [r.get("text_embedding", r.get("image_embedding")) for r in read("texts.clip")]
q = 2 * q[0] + 0.5 * q[2] - q[1]
q /= np.linalg.norm(q)
rows = sorted(((float(q @ r["image_embedding"]), r["__key__"]) for r in read("pictures.clip")), reverse=True)
open("want", "w").write("".join("%.9f\t%s\n" % row for row in rows))
END
    search -n '2:a boat, "red"' + 0.5:"./my - \"cat\".jpg" - a man >got
    equal <(cut -f 2 want) <(cut -f 2 got)
    paste want got | awk -F '\t' '($1 - $3) ^ 2 > 1e-12 { exit 1 }'
    search -n '2:a boat, "red" + 0.5:./photos/cat.jpg - a man' | diff got -
    # The opposite of a query turns the order around, with a weight of any size.
    equal <(search -n a man | cut -f 2 | tac) <(search -n -f - 3:a man)
}

@test "what is new or has changed is embedded, what is gone is dropped, the rest is left alone" {
    search -v a man >/dev/null || [ "$(embedded)" -eq 5 ]
    clip-search -v -m model -d photos a man >first 2>err
    [ "$(embedded)" -eq 0 ]
    rm photos/sub/hen.jpg
    cp photos/cat.jpg photos/sub/new.jpg
    cp "$SRC/share/samples/photos/duck.jpg" photos/dog.jpg
    # What is not searched for is not seen.
    clip-search -n -m model -d photos -t 9 a man | diff first -
    clip-search -v -m model -d photos -t 9 a man >second 2>err
    [ "$(embedded)" -eq 2 ]
    clip-files -q photos | embed >pictures.clip
    echo 'a man' | clip-tokenize --truncate --lines -m model | clip-encode-text -m model | clip-project-normalize -m model |
        clip-simmatrix --label key --tsv --top 9 - pictures.clip | awk -F '\t' '{ print $3 "\t" $2 }' | sort |
        diff - <(sort second)
    # The same bytes under a later time are embedded again; another folder has an index of its own.
    touch -d '+1 minute' photos/owl.jpg
    clip-search -v -m model -d photos -t 9 a man 2>err >third
    equal <(sort second) <(sort third)
    [ "$(embedded)" -eq 1 ]
    clip-search -v -m model -d photos/sub -f a man 2>err >out
    [ "$(embedded)" -eq 2 ]
    [ "$(sort out)" = $'photos/sub/boat.webp\nphotos/sub/new.jpg' ]
}

@test "pictures that cannot be read are counted, named with -v, and tried again only when they have changed" {
    head -c 3000 photos/cat.jpg >photos/cut.jpg
    echo text >photos/text.jpg
    echo text >photos/notes.txt
    run -0 --separate-stderr clip-search -m model -d photos -t 9 a man
    [ "${#lines[@]}" -eq 5 ]
    [ "$(sort <<<"$stderr")" = 'clip-files: left out: files that are not pictures: 1 (-v names them)
clip-preprocess: 1 bad records skipped (-v names them)' ]
    run -0 --separate-stderr clip-search -m model -d photos a man
    [ "$stderr" = 'clip-files: left out: files that are not pictures: 1, pictures that were rejected before: 1 (-v names them)' ]
    run -0 --separate-stderr clip-search -v -m model -d photos a man
    [[ $stderr == *'clip-files: ./cut.jpg: jpg: '*'cut in its data (left out)'* && $stderr == *'./text.jpg: '* ]]
    [[ $stderr == *'clip-preprocess: 0 records in '* ]]
    # One that was bad becomes good, and one that was good becomes bad.
    cp photos/cat.jpg photos/cut.jpg
    head -c 2000 photos/cat.jpg >photos/owl.jpg
    echo text >photos/dog.jpg
    run -0 --separate-stderr clip-search -m model -d photos -t 9 -f a man
    [ "$(sort <<<"$output")" = $'photos/cat.jpg\nphotos/cut.jpg\nphotos/sub/boat.webp\nphotos/sub/hen.jpg' ]
    run -0 --separate-stderr clip-search -m model -d photos -t 9 -f a man
    [ "${#lines[@]}" -eq 4 ]
    [ "$stderr" = 'clip-files: left out: files that are not pictures: 2, pictures that were rejected before: 1 (-v names them)' ]
}

@test "names of any bytes" {
    rm -r photos
    mkdir photos
    local name i=0 names=(-x.jpg 'a b.jpg' $'new\nline.jpg' a.b.c.jpg a.b.c.png 'x.jpg' 'x.jpeg' $'inv\xff.jpg' $'\t"q'"'"'\\.jpg' 'no ending' '$(touch x)' '+')
    for name in "${names[@]}"; do
        cp "$SRC/share/samples/photos/cat.jpg" "photos/$name"
        printf "$((i++))" >>"photos/$name"
    done
    printf 'photos/%s\0' "${names[@]}" | LC_ALL=C sort -z >want
    search -0 -t 99 a man | LC_ALL=C sort -z | cmp - want
    equal <(search -f -t 99 a man | LC_ALL=C sort) <(tr '\0' '\n' <want | LC_ALL=C sort)
    [ "$(search -t 99 a man | wc -l)" -eq 12 ]
    search -t 99 a man | grep -qF 'photos/new\nline.jpg'
    [ "$(search -n $'./photos/inv\xff.jpg' + $'./photos/new\nline.jpg' -t 1 | cut -f 1)" = 1 ]
    [ ! -e x ]
    # The folder itself, too.
    mv photos $'an odd\n-"folder'
    clip-search -m model -d $'an odd\n-"folder' -t 99 -0 a man | tr '\n' '_' | tr '\0' '\n' | grep -c '^an odd_-"folder/' | grep -qx 12
    mv $'an odd\n-"folder' -- -f
    (cd -- -f && clip-search -m model -t 1 a man | grep -q $'\t\./')
    [ "$(clip-search -m model -d -f -t 3 -0 a man | tr '\0' '\n' | grep -c '^-f/')" -ge 3 ]
}

@test "an empty folder, one that is gone, one that was never searched" {
    mkdir empty
    run -0 --separate-stderr clip-search -m model -d empty a man
    [ -z "$output$stderr" ]
    run -0 clip-search -m model -d empty --jsonl a man
    [ "$output" = '{"key": "1", "label": "a man", "matches": []}' ]
    cp photos/cat.jpg empty
    run -0 clip-search -m model -d empty -f a man
    [ "$output" = empty/cat.jpg ]
    rm empty/cat.jpg
    run -0 --separate-stderr clip-search -m model -d empty -f a man
    [ -z "$output$stderr" ]
    refuses "clip-search: nowhere: there is no such folder" clip-search -m model -d nowhere a man
    refuses "clip-search: nowhere: there is no index of it" clip-search -n -m model -d nowhere a man
    refuses "clip-search: photos: there is no index of it" clip-search -n -m model -d photos a man
    [ ! -e cache/clip-tools/search/*/*/index/00000009.safetensors ]
    search -f a man >want
    mv photos gone
    refuses "clip-search: photos: there is no such folder" clip-search -m model -d photos a man
    search -n -f a man | diff want -
    # It returns, and nothing is embedded again.
    mv gone photos
    clip-search -v -m model -d photos a man 2>err >/dev/null
    [ "$(embedded)" -eq 0 ]
}

@test "each model has its index, by its content, not by its place" {
    cp -r "$SMALL/model" other
    clip-search -m model -d photos a man >want
    clip-search -v -m ./other -d photos a man 2>err >got
    diff want got
    [ "$(embedded)" -eq 0 ] || complain "a copy of the model has another index"
    clip-model init "$SMALL/arch.json" --seed 2 --vocab "$SMALL/vocab" -o third
    rm -r other
    cp -r third other
    clip-search -v -m other -d photos a man 2>err >got
    [ "$(embedded)" -eq 5 ]
    differ want got
    # A model by a path that begins at the current folder is found from the folder of the pictures, too; a link moves.
    ln -s third latest
    clip-search -v -m latest -d photos a man 2>err | diff got -
    [ "$(embedded)" -eq 0 ]
    [ "$(ls cache/clip-tools/search | wc -l)" -eq 2 ]
}

@test "a lone weights file is known by its content, and by the architecture that is given" {
    mkdir 'a[b]*'
    local file='a[b]*/m[1].safetensors'
    cp "$SMALL/model/open_clip_model.safetensors" "$file"
    clip-search -m "$file" --arch "$SMALL/arch.json" -d photos ./photos/cat.jpg >first
    clip-model init "$SMALL/arch.json" --seed 3 --vocab "$SMALL/vocab" -o other
    cp other/open_clip_model.safetensors "$file"
    clip-search -v -m "$file" --arch "$SMALL/arch.json" -d photos ./photos/cat.jpg >second 2>err
    [ "$(embedded)" -eq 5 ]
    differ first second
    clip-search -v -m "$file" --arch "$SMALL/arch.json" -d photos ./photos/cat.jpg 2>err | diff second -
    [ "$(embedded)" -eq 0 ]
    cp "$SMALL/arch.json" plain.json
    clip-search -v -m "$file" --arch plain.json -d photos ./photos/cat.jpg 2>err | diff second -
    [ "$(embedded)" -eq 0 ]
    sed -i 's/"quick_gelu": true/"quick_gelu": false/' plain.json
    clip-search -v -m "$file" --arch plain.json -d photos ./photos/cat.jpg >third 2>err
    [ "$(embedded)" -eq 5 ]
}

@test "the pipelines of --dry-run run in sh and in bash, and give the same" {
    clip-search -m model -d photos "a dog's" + ./photos/cat.jpg --dry-run >page
    [ ! -e cache ]
    sh page >out
    [ "$(wc -l <out)" -eq 5 ]
    bash -o pipefail page | diff out -
    clip-search -m model -d photos "a dog's" + ./photos/cat.jpg | diff out -
    clip-search -n -m model -d photos --page p.html --dry-run a man >page
    [ "$(grep -c clip-preprocess page)" -eq 0 ]
    sh page
    [ "$(grep -c '<img' p.html)" -ge 5 ]
}

@test "--page: pictures with links to the files, from any folder; a picture that is gone is left out" {
    search --page 'my page.html' -t 2 '<b>red</b>' >out
    [ ! -s out ]
    local first=$(search -n -f -t 1 '<b>red</b>')
    grep -qF "<a href=\"file://$PWD/$first\"" 'my page.html'
    grep -qF '&#60;b&#62;red&#60;/b&#62;' 'my page.html'
    [ "$(grep -o '<img ' 'my page.html' | wc -l)" -eq 2 ]
    rm "$first"
    run -0 clip-search -n -m model -d photos --page p.html -t 2 '<b>red</b>'
    [ "$(grep -o '<img ' p.html | wc -l)" -eq 1 ]
    run -1 --separate-stderr clip-search -n -m model -d photos --page nowhere/p.html a man
    [ "${stderr_lines[-1]}" = "clip-page: nowhere/p.html: No such file or directory" ]
    [ ! -e nowhere ]
}

@test "two searches at once: the second waits, and both find everything" {
    clip-search -m model -d photos a man >/dev/null
    exec 9>>"$(dirname "$(the_index)")/lock"
    flock 9
    clip-search -m model -d photos -f a man >out 2>err 9>&- &
    local other=$! i
    for i in $(seq 100); do
        if grep -q waiting err; then break; fi
        sleep 0.05
    done
    grep -qE '^clip-search: waiting for process [0-9]+, which updates the index$' err
    [ ! -s out ]
    # One that does not update does not wait.
    clip-search -n -m model -d photos -f a man >want
    exec 9>&-
    wait "$other"
    diff want out
    # First searches at the same time.
    rm -r cache
    for i in 1 2 3; do
        clip-search -m model -d photos a man >out.$i 2>err.$i &
    done
    wait
    [ "$(wc -l <out.1)" -eq 5 ]
    diff out.1 out.2
    diff out.1 out.3
    [ "$(index_keys | wc -l)" -eq 5 ]
}

@test "killed at any moment and searched again: nothing lost, nothing twice" {
    local i name
    for i in $(seq 40); do
        cp photos/cat.jpg "photos/c$i.jpg"
        echo "$i" >>"photos/c$i.jpg"
    done
    head -c 3000 photos/cat.jpg >photos/cut.jpg
    for i in $(seq 12); do
        echo "$i" >>photos/c$i.jpg
        setsid clip-search -m model -d photos a man >/dev/null 2>&1 &
        sleep "0.$((RANDOM % 25 + 100 + 5 * i))"
        kill -9 -- -$! 2>/dev/null || :
        wait $! || :
        [ ! -e "$(the_index)/index.json" ] || clip-search -n -m model -d photos -f -t 99 a man >/dev/null
    done
    clip-search -m model -d photos -f -t 99 a man >out
    [ "$(wc -l <out)" -eq 45 ]
    [ -z "$(sort out | uniq -d)" ]
    equal <(index_keys) <(cd photos && find . -name '*.jpg' ! -name cut.jpg -o -name '*.webp' | LC_ALL=C sort)
    clip-index info "$(the_index)" | grep -qx 'embeddings  45'
    clip-search -v -m model -d photos a man 2>err >/dev/null
    [ "$(embedded)" -eq 0 ]
}

@test "stopped before what was left out is kept: the next search does not miss it" {
    local command
    head -c 3000 photos/cat.jpg >photos/cut.jpg
    mkdir stop
    for command in cat sync mv; do
        rm -rf cache stop/*
        printf '#!/bin/sh\ncase $* in *new.clip*) exit 1 ;; esac\nexec %s "$@"\n' "$(command -v $command)" >stop/$command
        chmod +x stop/$command
        run -1 env PATH="$PWD/stop:$PATH" clip-search -m model -d photos -f a man
        clip-search -m model -d photos -f a man 2>err >out
        [ "$(wc -l <out)" -eq 5 ]
        [ "$(clip-dump --keys cache/clip-tools/search/*/*/rejects.clip)" = ./cut.jpg ]
    done
}

@test "the default model is the one that comes with the programs, as help and manual page say" {
    local default
    default=$(sed -n 's/^default_model=//p' "$SRC/bin/script.sh")
    [ -d "$SRC/share/models/$default" ]
    clip-search --help | grep -qF "[$default]"
    grep -qF "The default is $default, " "$SRC/man/clip-search.1"
    clip-search -d photos a photo of a dog >want
    clip-search -n -d photos -m "$default" a photo of a dog | diff want -
    [ "$(head -n 1 want | cut -f 2)" = photos/dog.jpg ]
}

@test "wrong usage" {
    local words
    for words in '' '-t 0 a' '--min x a' '--min nan a' '--min 1e a' '-f --jsonl a' '-0 --page p a' '--page "" a' '-d "" a' \
        'a +' 'a + - b' '+' '"a + "' '"2:"' '-j 0 a'; do
        run -2 --separate-stderr bash -c "clip-search -m model $words"
        [ "${#stderr_lines[@]}" -eq 2 ] || complain "$words: $stderr"
    done
    [ ! -e cache ]
    refuses "clip-search: ./nowhere.jpg: not a readable file" clip-search -m model a - ./nowhere.jpg
    refuses "nomodel" clip-search -m nomodel a
    echo text >text.jpg
    run -1 --separate-stderr clip-search -m model -d photos ./text.jpg
    [[ $stderr == "clip-table: standard input: line 2: "*"./text.jpg: neither JPEG, PNG nor WebP"* ]] || complain "$stderr"
    # A truncated model is named, and no index is made for it.
    cp -r "$SMALL/model" broken
    truncate -s -4 broken/*.safetensors
    refuses "broken/open_clip_model.safetensors" clip-search -m broken -d photos a
    [ ! -e cache/clip-tools/search/*/*/index ] || [ "$(ls -d cache/clip-tools/search/* | wc -l)" -eq 1 ]
}

@test "a cache that cannot be written, and none to be found" {
    echo >file
    XDG_CACHE_HOME=$PWD/file run -1 --separate-stderr clip-search -m model -d photos a man
    [[ $stderr == *"Not a directory"* ]]
    # A relative path is ignored, as the XDG specification says.
    XDG_CACHE_HOME=cache HOME=$PWD/home run -0 clip-search -m model -d photos a man
    [ -d home/.cache/clip-tools/search ]
    run -1 --separate-stderr env -u XDG_CACHE_HOME -u HOME clip-search -m model -d photos a man
    one_line
}
