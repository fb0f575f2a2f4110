load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
}

# numbered FIELD FIRST LAST [SEED]: records kFIRST to kLAST of width 24.
numbered() {
    awk -v field="$1" -v first="$2" -v last="$3" -v seed="${4:-1}" 'BEGIN {
        for (i = first; i <= last; i++) {
            printf "{\"__key__\": \"k%d\", \"%s\": {\"f4\": [", i, field
            for (d = 0; d < 24; d++) printf "%s%.6f", d ? ", " : "", sin(seed * 1000 + i * 7.3 + d * d * 1.7)
            print "]}}"
        }
    }' | stream
}

four() {
    stream <<'END'
{"__key__": "w", "__size__": 12, "__mtime__": 1.5, "image_embedding": {"f4": [0, 1]}}
{"__key__": "x y\nz", "txt": "a\tcat", "image_embedding": {"f4": [3, 4]}}
{"__key__": "y", "text_embedding": {"f4": [2, 2]}}
{"__key__": "z", "image_embedding": {"f4": [5, 0]}}
END
}

keys() {
    clip-index list "$1" | clip-dump | jq -r 'select(.__key__).__key__'
}

@test "build, search, list, info" {
    four >in
    echo '{"__key__": "q", "text_embedding": {"f4": [2, 0]}}' | stream >q
    clip-index build -o x.index in
    diff <(clip-index search --tsv --top 3 x.index q) <(printf 'q\tz\t1\nq\ty\t0.70710677\nq\ta\\tcat\t0.6\n')
    [ "$(clip-index search --tsv x.index <q | wc -l)" -eq 4 ]
    diff <(clip-index search --tsv --min 0.6 --top 9 x.index q) <(printf 'q\tz\t1\nq\ty\t0.70710677\nq\ta\\tcat\t0.6\n')
    run -0 clip-index search --jsonl --min 0.65 x.index q
    [ "$output" = '{"key": "q", "label": "q", "matches": [{"key": "z", "label": "z", "score": 1}, {"key": "y", "label": "y", "score": 0.70710677}]}' ]
    run -0 bash -c 'clip-index search --top 1 x.index q | clip-dump --values'
    [ "${lines[0]}" = '{"__key__":"q","keys":["z"],"scores":{"tensor":"f4","shape":[1],"values":[1]}}' ]
    run -0 bash -c 'clip-index list x.index | clip-dump --values'
    [ "${lines[0]}" = '{"__key__":"w","__size__":12,"__mtime__":1.5}' ]
    [ "${lines[1]}" = '{"__key__":"x y\nz","label":"a\tcat"}' ]
    run -0 clip-index info x.index/
    [ "${lines[0]}" = "embeddings  4" ] && [ "${lines[1]}" = "width       2" ] && [ "${lines[2]}" = "dtype       f32" ]
}

@test "a score is the number that clip-simmatrix gives, on any number of threads, after any changes" {
    numbered image_embedding 0 699 >all
    numbered text_embedding 0 29 2 >queries
    numbered image_embedding 0 299 7 >old
    numbered image_embedding 0 0 >zero
    clip-simmatrix --tsv --top 12 queries all >want
    clip-index build -o x.index all
    clip-index search --tsv --top 12 x.index queries | cmp - want
    clip-index search --tsv --top 12 -j 1 x.index queries | cmp - want
    # The same embeddings, after some were others, and some were away.
    clip-index build -o x.index old
    numbered image_embedding 300 500 | clip-index add x.index
    numbered image_embedding 501 699 | clip-index add x.index
    printf '%s\n' k5 k600 k301 | clip-index remove x.index
    numbered image_embedding 0 299 | clip-index add x.index
    numbered image_embedding 600 600 | clip-index add x.index
    numbered image_embedding 301 301 | clip-index add x.index
    clip-index info x.index | grep -q '^embeddings  700$'
    clip-index search --tsv --top 12 x.index queries | sort >got
    sort want | diff got -
    clip-simmatrix --tsv --min 0.5 queries all | sort >want
    [ "$(wc -l <want)" -gt 100 ]
    clip-index search --tsv --min 0.5 x.index queries | sort | cmp - want
}

@test "f16: the cosines of the rounded embeddings" {
    need_python numpy msgpack msgpack_numpy
    numbered image_embedding 0 299 >all
    numbered text_embedding 0 9 2 >queries
    clip-index build -d f16 -o h.index all
    python - <<'END'
import msgpack, msgpack_numpy, numpy as np
with open("rounded", "wb") as out:
    n = 0
    for r in msgpack.Unpacker(open("all", "rb"), object_hook=msgpack_numpy.decode):
        if "__key__" in r:
            x = r["image_embedding"].astype(np.float64)
            r["image_embedding"] = (x / np.sqrt((x * x).sum())).astype(np.float32).astype(np.float16)
            n += 1
            out.write(msgpack.packb(r, default=msgpack_numpy.encode))
    out.write(msgpack.packb({"__end__": n}))
END
    clip-simmatrix --tsv --top 10 queries rounded >want
    clip-index search --tsv h.index queries | cmp - want
    [ "$(stat -c %s h.index/*1.safetensors)" -lt $((300 * 24 * 2 + 1024 + 300 * 50)) ]
}

@test "add: new keys come, those that are there are replaced; a key twice in one input is an error" {
    four >in
    clip-index build -o x.index in
    stream >more <<'END'
{"__key__": "y", "txt": "new", "image_embedding": {"f4": [1, 0]}}
{"__key__": "v", "image_embedding": {"f4": [-1, 0]}}
END
    run -0 --separate-stderr clip-index add -v x.index more
    [[ $stderr == *"clip-index: added: 1, replaced: 1, removed: 0"* ]]
    [ "$(keys x.index | sort | tr '\n' ' ')" = "v w x y y z z " ]
    echo '{"__key__": "q", "text_embedding": {"f4": [2, 0]}}' | stream >q
    [ "$(clip-index search --tsv --top 2 x.index q | cut -f 2 | sort | paste -sd ' ')" = "new z" ]
    cat more more >twice
    refuses "twice: sample y: its key occurs twice" clip-index add x.index twice
    run -0 --separate-stderr clip-index add --skip-bad x.index twice
    [ "${stderr_lines[2]}" = "clip-index: 2 bad records skipped" ]
    refuses "width 3" clip-index add x.index <(echo '{"__key__": "q", "image_embedding": {"f4": [2, 0, 1]}}' | stream)
    [ "$(keys x.index | wc -l)" -eq 6 ]
}

@test "remove: by key, by NUL, those whose file is gone; unknown ones are counted" {
    touch here $'a\nb'
    printf '%s\n' here gone folder/gone 'a\nb' 'c\nd' |
        awk '{ print "{\"__key__\": \"" $0 "\", \"image_embedding\": {\"f4\": [" NR ", 1]}}" }' | stream >in
    clip-index build -o x.index in
    run -0 --separate-stderr bash -c 'printf "%s\n" here nothing | clip-index remove x.index'
    [ "$stderr" = "clip-index: 1 of 2 keys are not in the index" ]
    [ "$(keys x.index | wc -l)" -eq 6 ]
    printf 'c\nd\0' | clip-index remove -0 x.index
    [ "$(keys x.index | paste -sd ' ')" = "gone folder/gone a b" ]
    run -0 --separate-stderr clip-index remove -v --missing x.index
    [[ $stderr == *"removed: 2"* ]]
    [ "$(keys x.index | paste -sd ' ')" = "a b" ]
    printf 'a\nb' | clip-index remove -0 x.index
    run -0 clip-index info x.index
    [ "${lines[0]}" = "embeddings  0" ]
    [ "${lines[3]}" = "segments    0" ]
    echo '{"__key__": "q", "text_embedding": {"f4": [2, 0]}}' | stream >q
    [ "$(clip-index search --jsonl x.index q)" = '{"key": "q", "label": "q", "matches": []}' ]
    clip-index add x.index in
    [ "$(keys x.index | wc -l)" -eq 7 ]
}

@test "remove --changed: those whose file is gone, or has another size or time" {
    mkdir photos
    local name
    for name in a b c d e; do cp "$SRC/share/samples/star.png" photos/$name; done
    clip-files photos | clip-preprocess -q -m things | clip-encode-image -q -m things | clip-project-normalize -q -m things >in
    clip-index build -o x.index in
    run -0 --separate-stderr clip-index remove -v --changed x.index
    [ "$stderr" = "clip-index: added: 0, replaced: 0, removed: 0" ]
    rm photos/a
    touch -d '+1 second' photos/b
    touch -r photos/c time
    echo >>photos/c
    touch -r time photos/c
    ln -sf e photos/d
    clip-index remove --changed x.index
    [ "$(keys x.index)" = photos/e ]
    # One without size and time is not known to be as it was.
    echo '{"__key__": "photos/e", "image_embedding": {"f4": [1, 0]}}' | stream | clip-index build -o y.index
    clip-index remove --missing y.index
    [ "$(keys y.index)" = photos/e ]
    clip-index remove --changed y.index
    clip-index info y.index | grep -qx 'embeddings  0'
}

@test "add --create makes an index, also of nothing; --save commits while the input goes on" {
    four >in
    refuses "x.index: not an index" clip-index add x.index in
    stream </dev/null | clip-index add --create x.index
    run -0 clip-index info x.index
    [ "${lines[0]}" = "embeddings  0" ]
    [ "${lines[1]}" = "width       0" ]
    echo '{"__key__": "q", "text_embedding": {"f4": [2, 0]}}' | stream >q
    [ "$(clip-index search --jsonl x.index q)" = '{"key": "q", "label": "q", "matches": []}' ]
    [ "$(clip-index list x.index | clip-dump | grep -c __key__)" -eq 0 ]
    clip-index add --create x.index in
    [ "$(keys x.index | wc -l)" -eq 5 ]
    four | clip-index add --create x.index
    clip-index info x.index | grep -qx 'embeddings  4'
    [ "$(ls -A | grep -c '\.new')" -eq 0 ]
    mkdir other
    echo >other/file
    refuses "other: exists, and is not an index" clip-index add --create other in
    refuses "nowhere/.x.new: No such file or directory" clip-index add --create nowhere/x in
    # Cut at once: what came is there.
    head -c 200 in | refuses "cut short" clip-index add --create y.index
    [ "$(keys y.index | wc -l)" -ge 1 ]
    numbered image_embedding 0 9 >some
    numbered image_embedding 10 19 >more
    mkfifo pipe
    clip-index add --create --save 1 z.index pipe 2>err &
    exec 7>pipe
    head -c -10 some >&7
    sleep 1.2
    head -c 2000 more >&7
    local i
    for i in $(seq 100); do
        if [ -e z.index/index.json ]; then break; fi
        sleep 0.05
    done
    [ "$(keys z.index | wc -l)" -ge 10 ]
    exec 7>&-
    run wait $!
}

@test "search --hits, --keys, --folder" {
    stream <<'END' | clip-index build -o x.index
{"__key__": "./a\tb", "image_embedding": {"f4": [0.6, 0.8]}}
{"__key__": "./c\nd", "txt": "a label", "image_embedding": {"f4": [1, 0]}}
{"__key__": "e", "image_embedding": {"f4": [0, 1]}}
END
    echo '{"__key__": "q", "text_embedding": {"f4": [2, 0]}}' | stream >q
    diff <(clip-index search --hits x.index q) <(printf '1\t./c\\nd\n0.6\t./a\\tb\n0\te\n')
    diff <(clip-index search --keys x.index q) <(printf './c\nd\n./a\tb\ne\n')
    diff <(clip-index search --keys -0 --top 2 --folder 'my photos' x.index q | tr '\0' '!') <(printf 'my photos/c\nd!my photos/a\tb!')
    diff <(clip-index search --hits --min 0.5 --folder / x.index q) <(printf '1\t/c\\nd\n0.6\t/a\\tb\n')
    [ "$(clip-index search --jsonl --top 1 --folder p x.index q)" = '{"key": "q", "label": "q", "matches": [{"key": "p/c\nd", "label": "a label", "score": 1}]}' ]
    [ "$(clip-index search --folder p x.index q | clip-dump | grep -o '"keys":.*\],"s')" = '"keys":["p/c\nd","p/a\tb","e"],"s' ]
}

@test "many small additions leave few segments, and nothing of the old ones" {
    numbered image_embedding 0 63 >all
    numbered image_embedding 0 0 | clip-index build -o x.index
    for i in $(seq 1 63); do
        numbered image_embedding "$i" "$i" | clip-index add x.index
    done
    [ "$(keys x.index | sort)" = "$(seq 0 63 | sed 's/^/k/' | sort)" ]
    [ "$(ls x.index/*.safetensors | wc -l)" -le 7 ]
    [ "$(clip-index info x.index | awk '$1 == "segments" { print $2 }')" = "$(ls x.index/*.safetensors | wc -l)" ]
}

@test "a writer that comes while another writes says who that is; readers are not in its way" {
    numbered image_embedding 0 9 >all
    clip-index build -o x.index all
    mkfifo pipe
    clip-index add x.index pipe &
    local writer=$!
    exec 9>pipe
    for _ in $(seq 100); do
        run clip-index remove --missing x.index
        [ "$status" -eq 0 ] || break
        sleep 0.05
    done
    refuses "x.index: locked by process $writer on " clip-index add x.index all
    refuses "x.index: locked by process $writer on " clip-index build -o x.index all
    run -0 clip-index info x.index
    numbered image_embedding 20 29 >&9
    exec 9>&-
    wait $writer
    clip-index info x.index | grep -q '^embeddings  20$'
    clip-index add x.index all
    # Two that build one that is not there yet.
    clip-index build -o y.index pipe &
    writer=$!
    exec 9>pipe
    for _ in $(seq 100); do
        [ ! -s .y.index.new/lock ] || break
        sleep 0.05
    done
    refuses "y.index: locked by process $writer on " clip-index build -o y.index all
    refuses "y.index: not an index" clip-index info y.index
    cat all >&9
    exec 9>&-
    wait $writer
    clip-index info y.index | grep -q '^embeddings  10$'
    [ ! -e .y.index.new ]
}

# whole INDEX: it can be read in full, and its keys are sorted on stdout.
whole() {
    clip-index search --tsv --top 1000 "$1" q >/dev/null && keys "$1" | sort
}

@test "killed or out of space at any call: the index is as before or after, and the next change goes on" {
    ! sanitized || skip "leaks" # LeakSanitizer does not work under ptrace
    numbered image_embedding 0 19 >old
    numbered image_embedding 10 25 3 >new
    numbered text_embedding 0 0 >q
    seq 0 4 | sed 's/^/k/' >gone
    local how n calls verb done step=4
    [ -z "${CLIP_LONG:-}" ] || step=1
    declare -A after=([build]=$(seq 10 25 | sed 's/^/k/' | sort) [add]=$(seq 0 25 | sed 's/^/k/' | sort)
        [remove]=$(seq 5 19 | sed 's/^/k/' | sort))
    local before=$(seq 0 19 | sed 's/^/k/' | sort)
    after[fresh]=${after[build]}
    clip-index build -o base old
    for verb in fresh build add remove; do
        case $verb in
        fresh | build) set -- build -o x new ;;
        add) set -- add x new ;;
        remove) set -- remove x ;;
        esac
        rm -rf x && [ $verb = fresh ] || cp -r base x
        calls=$("$BUILD/tests/tools/at-syscall" kill 0 clip-index "$@" <gone) || skip ptrace
        for how in kill fail; do
            done=0
            for ((n = 1 + RANDOM % step; n <= calls; n += step)); do
                rm -rf x .x.new && [ $verb = fresh ] || cp -r base x
                "$BUILD/tests/tools/at-syscall" $how $n clip-index "$@" <gone >out 2>err
                if [ $verb != fresh ] || [ -e x ]; then
                    run -0 whole x
                    [ "$output" = "${after[$verb]}" ] || { [ $verb != fresh ] && [ "$output" = "$before" ]; } ||
                        complain "$how $verb $n: $output"
                    [ "$output" = "${after[$verb]}" ] || done=$((done + 1))
                else
                    done=$((done + 1))
                fi
                clip-index "$@" <gone 2>err || complain "again: $how $verb $n: $(cat err)"
                [ "$(whole x)" = "${after[$verb]}" ] || complain "again: $how $verb $n"
                [ "$(ls x/*.safetensors | wc -l)" -le 4 ] && [ ! -e .x.new ] || complain "left: $how $verb $n: $(ls -a . x)"
            done
            [ "$done" -ge 1 ] || complain "$how $verb: $done of $calls calls before it was done"
        done
    done
}

@test "killed at random while it adds: what was there stays" {
    numbered image_embedding 0 999 >old
    numbered image_embedding 1000 2999 >new
    numbered text_embedding 0 0 >q
    clip-index build -o x.index old
    local round pid
    for round in $(seq 10); do
        clip-index add x.index new &
        pid=$!
        sleep 0.0$((RANDOM % 10))
        kill -9 $pid 2>/dev/null || true
        wait $pid || true
        whole x.index >keys
        [ "$(seq 0 999 | sed 's/^/k/' | sort | comm -23 - keys)" = "" ]
        [ "$(wc -l <keys)" = 1000 ] || [ "$(wc -l <keys)" = 3000 ]
    done
    clip-index add x.index new
    [ "$(whole x.index | wc -l)" -eq 3000 ]
}

@test "a cut input: what came is added; of build nothing is" {
    numbered image_embedding 0 9 >old
    numbered image_embedding 10 29 >new
    head -c 1500 new >cut
    clip-index build -o x.index old
    refuses "cut: cut short" clip-index add x.index cut
    local n
    n=$(keys x.index | wc -l)
    [ "$n" -gt 10 ]
    [ "$n" -lt 30 ]
    refuses "cut: cut short" clip-index build -o x.index cut
    [ "$(keys x.index | wc -l)" -eq "$n" ]
    refuses "cut: cut short" clip-index build -o y.index cut
    [ ! -e y.index ]
    [ ! -e .y.index.new ]
    refuses "none: no embeddings" clip-index build -o y.index <(:) || true
    stream </dev/null >none
    refuses "none: no embeddings" clip-index build -o y.index none
    [ ! -e y.index ]
}

@test "damaged and foreign folders" {
    four >in
    clip-index build -o x.index in
    mkdir folder
    touch folder/file
    refuses "folder: not an index: there is no folder/index.json" clip-index info folder
    refuses "folder: exists, and is not an index" clip-index build -o folder in
    [ -e folder/file ]
    refuses "none: not an index" clip-index add none in
    [ ! -e none ]
    [ ! -e .none.new ]
    refuses "in: not an index" clip-index info in
    local file
    for file in x.index/00000001.safetensors; do
        cp -r x.index cut
        truncate -s -1 "cut/${file##*/}"
        refuses "cut/00000001.safetensors: tensor labels: " clip-index info cut
        rm -r cut
    done
    cp -r x.index lost
    rm lost/00000001.safetensors
    refuses "lost/00000001.safetensors: No such file" clip-index search lost in
    cp -r x.index newer
    sed -i 's/"version": 1/"version": 2/' newer/index.json
    refuses "newer/index.json: version 2, where this program reads version 1" clip-index info newer
    cp -r x.index more
    sed -i 's/"embeddings": 4/"embeddings": 5/' more/index.json
    refuses "4 embeddings, where index.json says 5" clip-index info more
    # Offsets past the texts.
    cp -r x.index bad
    python3 - <<'END' || skip python3
import json
data = bytearray(open("bad/00000001.safetensors", "rb").read())
size = int.from_bytes(data[:8], "little")
begin = json.loads(data[8:8 + size])["key_offsets"]["data_offsets"][0] + 8 + size
data[begin + 16:begin + 24] = (1 << 40).to_bytes(8, "little")
open("bad/00000001.safetensors", "wb").write(data)
END
    refuses "bad/00000001.safetensors: the offsets of embedding 1's key or label are damaged" \
        clip-index search --tsv bad in
}

# need_faiss: skips where this build has no FAISS.
need_faiss() {
    clip-index --version | grep -q 'FAISS [0-9]' || skip libfaiss-dev
}

# clustered FIELD PREFIX COUNT SEED [CLUSTERS]: records of width 24 around centres that are always the same.
clustered() {
    python - "$@" <<'END'
import sys, msgpack, msgpack_numpy, numpy as np
field, prefix, count, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
centres = np.random.default_rng(0).standard_normal((int(sys.argv[5]) if len(sys.argv) > 5 else 40, 24))
random = np.random.default_rng(seed)
x = centres[random.integers(0, len(centres), count)] + 0.5 * random.standard_normal((count, 24))
for i, v in enumerate((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)):
    sys.stdout.buffer.write(msgpack.packb({"__key__": "%s%d" % (prefix, i), field: v}, default=msgpack_numpy.encode))
sys.stdout.buffer.write(msgpack.packb({"__end__": count}))
END
}

# found A B: how many lines of B are in A.
found() {
    comm -12 <(sort "$1") <(sort "$2") | wc -l
}

@test "--lists: a score is the same number, all lists give what the exact search gives, some give most of it" {
    need_faiss
    need_python numpy msgpack msgpack_numpy
    clustered image_embedding a 4000 1 >all
    clustered text_embedding q 300 2 >queries
    clip-simmatrix --tsv --top 10 queries all >want
    clip-index build -o x.index --lists 32 all
    clip-index search --tsv x.index queries | cmp - want
    clip-index search --tsv --probes 32 x.index queries | cmp - want
    clip-index search --tsv --probes 32 -j 1 x.index queries | cmp - want
    clip-index search --tsv --probes 999 x.index queries | cmp - want
    clip-index search --tsv --probes 4 x.index queries >got
    [ "$(found want got)" -ge 2850 ] # 0.95; 3000 but for queries between two lists
    clip-index search --tsv --probes 1 x.index queries >got
    [ "$(found want got)" -lt 3000 ]
    # What is found has its own score, with --min, too.
    clip-simmatrix --tsv --top 4000 queries all >every
    [ "$(found every got)" -eq 3000 ]
    clip-index search --tsv --probes 32 --top 5 --min 0.9 x.index queries >got
    clip-simmatrix --tsv --top 5 --min 0.9 queries all | cmp - got
    # One query, and more than there are.
    clustered text_embedding q 3 5 >few
    clip-simmatrix --tsv --top 4000 few all >every
    clip-index search --tsv --probes 32 --top 5000 x.index few | cmp - every
    clip-index build -o h.index -d f16 --lists 32 all
    clip-index search --tsv h.index queries >want
    clip-index search --tsv --probes 32 h.index queries | cmp - want
    run -0 clip-index info h.index
    [ "${lines[-1]}" = "lists       32 (of 4000 embeddings)" ]
}

@test "--lists: what is removed is not found; what is added is searched exactly, until its segment has lists" {
    need_faiss
    need_python numpy msgpack msgpack_numpy
    clustered image_embedding a 6000 1 >all
    clustered text_embedding q 100 2 >queries
    clip-index build -o x.index --lists 16 all
    clip-index search --keys --top 3 x.index queries | sort -u | head -n 100 >gone
    clip-index remove x.index <gone
    clip-index search --keys --probes 4 --top 20 x.index queries >got
    [ "$(sort -u got | found - gone)" -eq 0 ]
    [ "$(wc -l <got)" -eq 2000 ]
    clip-index search --tsv x.index queries >want
    clip-index search --tsv --probes 16 x.index queries | cmp - want
    # Added ones are found with the fewest probes.
    clustered text_embedding a 100 2 >new
    clip-index add x.index new
    [ "$(clip-index search --tsv --top 1 --probes 1 x.index queries | awk -F '\t' '$2 == "a" substr($1, 2) && $3 > 0.99999' | wc -l)" -eq 100 ]
    run -0 clip-index info x.index
    [ "${lines[-1]}" = "lists       16 (of 6000 embeddings)" ]
    clustered image_embedding b 5000 3 | clip-index add x.index
    clip-index info x.index | grep -qx 'lists       16 (of 6000 embeddings)'
    # Joined, they are enough for lists of their own.
    clustered image_embedding c 2000 4 | clip-index add x.index
    run -0 clip-index info x.index
    [ "${lines[3]}" = "segments    1" ]
    [[ ${lines[-1]} == "lists       16 (of 129"*" embeddings)" ]]
    [ "$(ls x.index | wc -l)" -eq 5 ]
    clip-index search --tsv x.index queries >want
    clip-index search --tsv --probes 16 x.index queries | cmp - want
    clip-index search --tsv --probes 2 x.index queries >got
    [ "$(found want got)" -ge 850 ]
    # Built again without lists, it has none.
    clip-index build -o x.index all
    clip-index info x.index | grep -qx 'lists       0'
    [ "$(ls x.index | wc -l)" -eq 3 ]
}

@test "--lists: killed or out of space at any call" {
    need_faiss
    ! sanitized || skip "leaks" # LeakSanitizer does not work under ptrace
    numbered image_embedding 0 39 >old
    numbered image_embedding 20 59 3 >new
    numbered text_embedding 0 4 >q
    clip-index build -o base --lists 2 old
    local how n calls
    calls=$("$BUILD/tests/tools/at-syscall" kill 0 clip-index build -q -j 1 -o x --lists 4 new) || skip ptrace
    for how in kill fail; do
        for ((n = 1; n <= calls; n++)); do
            rm -rf x
            cp -r base x
            "$BUILD/tests/tools/at-syscall" $how $n clip-index build -q -j 1 -o x --lists 4 new >out 2>err
            run -0 clip-index info x
            [[ $output == *$'\nlists       2 (of 40 embeddings)' || $output == *$'\nlists       4 (of 40 embeddings)' ]] ||
                complain "$how $n: $output"
            clip-index search --tsv x q >want
            clip-index search --tsv --probes 4 x q | cmp - want
            clip-index build -o x --lists 4 new
            [ "$(ls x | wc -l)" -eq 5 ] || complain "$how $n: $(ls x)"
        done
    done
}

@test "--lists: too few embeddings, no lists, damaged ones" {
    need_faiss
    numbered image_embedding 0 39 >in
    numbered text_embedding 0 4 >q
    refuses "40 embeddings are too few for 41 lists" clip-index build -o x.index --lists 41 in
    [ "$(ls -A | grep -c index)" -eq 0 ]
    clip-index build -o x.index --lists 40 in
    clip-index build -o y.index in
    refuses "y.index: there are no lists in this index" clip-index search --hits --probes 3 y.index q
    local file n
    for file in x.index/*.lists.safetensors x.index/*.centroids.safetensors; do
        cp "$file" whole
        for n in 0 100 1030 1500; do
            head -c "$n" whole >"$file"
            refuses "$file: " clip-index search --hits --probes 3 x.index q
        done
        rm "$file"
        refuses "$file: No such file or directory" clip-index search --hits --probes 3 x.index q
        cp whole "$file"
    done
    # Offsets, and numbers, that are not those of lists.
    file=$(echo x.index/*.lists.safetensors)
    cp "$file" whole
    for n in 1024 1056 1343; do
        cp whole "$file"
        printf '\x7f' | dd of="$file" bs=1 seek="$n" conv=notrunc status=none
        refuses "$file: " clip-index search --hits --probes 40 x.index q
    done
    cp whole "$file"
    printf '\xff\xff\xff' | dd of="$file" bs=1 seek=$((1024 + 41 * 8)) conv=notrunc status=none
    run -0 clip-index search --hits --top 40 --probes 40 x.index q
    [ "${#lines[@]}" -eq $((5 * 39)) ]
    # An exact search does not read them.
    equal <(clip-index search --hits x.index q) <(clip-index search --hits y.index q)
}

@test "--lists: FAISS is in a module, which is found where the programs are installed; without it, exact search" {
    need_faiss
    local libraries='faiss|libstdc|libgfortran|openblas'
    if sanitized; then libraries='faiss|libgfortran|openblas'; fi # libubsan needs libstdc++
    [ "$(ldd "$BUILD/bin/clip-index" | grep -cE "$libraries")" -eq 0 ]
    numbered image_embedding 0 39 >in
    numbered text_embedding 0 4 >q
    mkdir -p usr/bin usr/lib/clip-tools
    cp "$BUILD/bin/clip-index" usr/bin
    refuses "clip-faiss.so is not in " usr/bin/clip-index build -o x.index --lists 4 in
    cp "$BUILD/lib/score/clip-faiss.so" usr/lib/clip-tools
    usr/bin/clip-index build -o x.index --lists 4 in
    equal <(usr/bin/clip-index search --hits --probes 4 x.index q) <(clip-index search --hits x.index q)
    rm usr/lib/clip-tools/clip-faiss.so
    refuses "clip-faiss.so is not in " usr/bin/clip-index search --hits --probes 4 x.index q
    equal <(usr/bin/clip-index search --hits x.index q) <(clip-index search --hits x.index q)
    numbered image_embedding 40 49 | usr/bin/clip-index add x.index
    clip-index info x.index | grep -qx 'lists       4 (of 40 embeddings)'
    echo text >usr/lib/clip-tools/clip-faiss.so
    refuses "FAISS cannot be loaded: " usr/bin/clip-index search --hits --probes 4 x.index q
}

@test "wrong usage" {
    four >in
    run -2 --separate-stderr clip-index
    [ "${stderr_lines[0]}" = "clip-index: build, add, remove, search, list or info expected" ]
    run -2 --separate-stderr clip-index find x
    [ "${stderr_lines[0]}" = "clip-index: 'find' is not one of build, add, remove, search, list, info" ]
    run -2 --separate-stderr clip-index build in
    [ "${stderr_lines[0]}" = "clip-index: 'build' needs --output" ]
    run -2 --separate-stderr clip-index info
    [ "${stderr_lines[0]}" = "clip-index: 'info' needs an index" ]
    run -2 --separate-stderr clip-index info a b
    run -2 --separate-stderr clip-index add --top 3 x in
    [ "${stderr_lines[0]}" = "clip-index: --top is not for 'add'" ]
    run -2 --separate-stderr clip-index search --tsv --jsonl x
    run -2 --separate-stderr clip-index search --min x x
    run -2 --separate-stderr clip-index remove --missing -0 x
    run -2 --separate-stderr clip-index remove --missing --changed x
    run -2 --separate-stderr clip-index search --hits --keys x
    run -2 --separate-stderr clip-index search -0 x
    [ "${stderr_lines[0]}" = "clip-index: --null needs --keys" ]
    run -2 --separate-stderr clip-index add --lists 3 x in
    [ "${stderr_lines[0]}" = "clip-index: --lists is not for 'add'" ]
    run -2 --separate-stderr clip-index build -o x --create in
    run -2 --separate-stderr clip-index build -o x --lists 0 in
    run -2 --separate-stderr clip-index search --probes 3 --min 0.5 x
    [ "${stderr_lines[0]}" = "clip-index: --probes with --min needs --top" ]
    [ ! -e x ]
}
