load helper
load programs

setup_file() {
    make_model
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    (cd "$SRC/share/samples" && tar --sort=name -cf - -- *.*) >pairs.tar
}

# train OUT OPTION...: ten steps of four pairs.
train() {
    clip-train --data pairs.tar --arch "$SMALL/arch.json" --vocab "$SMALL/vocab" -o "$1" -n 4 -e 5 --save-steps 2 \
        --keep 9 --augment '--flip' -j 1 "${@:2}"
}

# contents FOLDER: its files and their sums, but for the number of the process that has it.
contents() {
    (cd "$1" && find . -type f ! -name running -exec sha256sum {} + | sort)
}

steps_logged() {
    sed -E 's/^\{"step":([0-9]+),.*\}$/\1/' "$1/log.jsonl" | paste -sd ' '
}

@test "the page: steps from the samples that are counted, warm-up, what options say" {
    run -0 --separate-stderr train run --dry-run --positives txt --freeze text --precision bf16 --lr 1e-3
    [ ! -e run ]
    [[ $output == *"clip-untar "*"--shuffle 0 --epochs 5 --samples 8 pairs.tar |"* ]]
    [[ $output == *" -n 4 -s 10 --lr 1e-3 --warmup 0 --schedule cosine "* ]]
    [[ $output == *"--augment --seed 0 --flip |"* && $output == *"--positives txt"* ]]
    [[ $output == *"clip-encode-text --no-progress --train run --freeze -j 1 --precision bf16"* ]]
    [[ $output == *"clip-project-normalize --no-progress --train run --freeze text --grad-in"* ]]
    [[ $output != *"clip-encode-image --no-progress --train run --freeze"* ]]
    [[ $output == *"= step-00000010 ]" ]]
    [[ "$(train run --dry-run -e 500)" == *" -s 1000 "*"--warmup 50 "* ]]
    [[ "$(train run --dry-run --seed 1732750000123)" == *"--seed 1732750000123 "*"--shuffle 1732750000123 "* ]]
    [[ "$(train run --dry-run --schedule cooldown --cooldown 5 --power 2)" == *" --schedule cooldown --cooldown 5 --power 2 "* ]]
    [ ! -e run ]
}

@test "ten steps, a log line each, a model that programs take; complete runs stay" {
    run -0 train run -q
    [ "$(steps_logged run)" = "1 2 3 4 5 6 7 8 9 10" ]
    [ "$(readlink run/latest)" = step-00000010 ]
    clip-model info run/latest | grep -q parameters
    contents run >before
    run -0 --separate-stderr train run
    [ "$stderr" = "clip-train: run is complete: 10 steps" ]
    contents run | diff - before
    cp -r run/step-00000008 run/.step-00000008.old # as if it had been killed while it removed them
    run -0 --separate-stderr train run --keep 1
    [ "$(cd run && echo step-* .step-*)" = "step-00000010 .step-*" ]
    rm -r run
    run -0 --separate-stderr train run
    [ "${stderr_lines[-1]}" = "clip-train: run/latest is the model, after 10 steps" ]
}

@test "patch dropout in the configuration is not done" {
    sed 's/"patch_size": 4/&, "patch_dropout": 0.9/' "$SMALL/arch.json" >arch.json
    run ! cmp -s arch.json "$SMALL/arch.json"
    train plain -q
    train dropout -q --arch arch.json
    cmp {plain,dropout}/latest/open_clip_model.safetensors
}

@test "the page, pasted into bash, trains to the same bytes, also where paths have spaces" {
    train run -q
    cp pairs.tar 'more pairs.tar'
    clip-train --data 'more pairs.tar' --arch "$SMALL/arch.json" --vocab "$SMALL/vocab" -o "it's a run" -n 4 -e 5 \
        --save-steps 2 --keep 9 --augment '--flip' -j 1 --dry-run >page
    bash page
    cmp run/latest/open_clip_model.safetensors "it's a run"/latest/open_clip_model.safetensors
    equal <(clip-plot -c loss -f svg run/log.jsonl) <(clip-plot -c loss -f svg "it's a run/log.jsonl")
}

# The stages of the run in the current folder.
stages() {
    local pid
    for pid in $(pgrep -f -- '--train run'); do
        [ "$(readlink "/proc/$pid/cwd")" != "$PWD" ] || echo "$pid"
    done
}

# background COMMAND...: runs it as a terminal would, with SIGINT at its default, and sets `pid`.
background() {
    env --default-signal=INT "$@" >out 2>err 3>&- &
    pid=$!
}

# begin_run OUT OPTION...: starts a run of many steps and waits for its first checkpoint; `pid` is clip-train's.
begin_run() {
    local tries
    background clip-train --data pairs.tar --arch "$SMALL/arch.json" --vocab "$SMALL/vocab" -o "$1" -n 4 -e 100 \
        --save-steps 2 --augment '--flip' -j 1 -q "${@:2}"
    for ((tries = 0; tries < 1000; tries++)); do
        [ ! -e "$1/latest" ] || return 0
        sleep 0.01
    done
    complain "no checkpoint came: $(cat err)"
}

# ends: all stages of the run end within seconds.
ends() {
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        [ -n "$(stages)" ] || return 0
        sleep 0.1
    done
    complain "stages are left: $(stages)"
}

# same_run A B: the last checkpoints hold the same files, and the logs the same steps.
same_run() {
    diff -r "$1/latest/" "$2/latest/"
    [ "$(steps_logged "$1")" = "$(steps_logged "$2")" ]
}

@test "ended in any way, a run goes on to the same files, all of them, with the default --keep" {
    local how status tries
    begin_run whole
    wait "$pid"
    [ "$(cd whole && echo step-*)" = "step-00000198 step-00000200" ]
    [ "$(ls whole/latest/)" = "$(printf '%s\n' merges.txt open_clip_config.json open_clip_model.safetensors optimizer \
        tokenizer.json tokenizer_config.json vocab.json)" ]
    for how in TERM INT HUP KILL stage; do
        for ((status = 0, tries = 0; status == 0 && tries < 9; tries++)); do # it may be done before the signal comes
            rm -rf run
            begin_run run
            if [ $how = stage ]; then
                kill -KILL "$(stages | tail -n 1)"
            else
                kill -$how "$pid"
            fi
            wait "$pid" || status=$?
            ends
        done
        case $how in
        TERM | INT | HUP)
            [ $status -eq $((128 + $(kill -l $how))) ]
            grep -q '^clip-train: finishing and saving the current step; a second signal ends at once$' err
            grep -Eq '^clip-train: run: stopped at step [0-9]+ of 200, which is saved; to go on: clip-train --data' err
            [ "$(readlink run/latest)" = "step-$(printf '%08d' "$(tail -n 1 run/log.jsonl | jq .step)")" ]
            ;;
        KILL) [ $status -eq 137 ] ;;
        stage)
            [ $status -eq 1 ]
            [ "$(head -n 1 err)" = "clip-train: a stage was ended by a signal: Killed" ]
            grep -Eq '^clip-train: run: the run stopped before step 200; the last checkpoint is of step [0-9]+; to go on:' err
            [ "$(wc -l <err)" -eq 2 ]
            ;;
        esac
        begin_run run
        wait "$pid"
        same_run run whole
        [ "$(ls -A run)" = "$(ls -A whole)" ]
    done
}

@test "a second signal ends at once" {
    begin_run run
    kill -TERM "$pid"
    kill -TERM "$pid"
    local status=0
    wait "$pid" || status=$?
    [ $status -eq 143 ]
    ends
}

@test "one at a time: the second start says who trains, and the first does not notice" {
    begin_run run
    run -1 --separate-stderr train run -q -e 100
    [ "$stderr" = "clip-train: run: process $pid trains it" ]
    kill -TERM "$pid"
    wait "$pid" || true
    [ "$(steps_logged run)" = "$(seq -s ' ' "$(tail -n 1 run/log.jsonl | jq .step)")" ]
}

@test "a start waits for the stages of a run that was killed" {
    begin_run run
    kill -KILL "$pid"
    run -0 train run -q -e 100 --keep 2
    ends
}

@test "killed before, or no room at, any call that changes a file: the run goes on to the same files" {
    ! sanitized || skip leaks # LeakSanitizer does not work under ptrace
    local how n count step done=0
    train whole -q --keep 2
    count=$("$BUILD/tests/tools/at-syscall" kill 0 clip-train --data pairs.tar --arch "$SMALL/arch.json" \
        --vocab "$SMALL/vocab" -o run -n 4 -e 5 --save-steps 2 --augment --flip -j 1 -q) || skip ptrace
    step=$((count / 8))
    [ -z "${CLIP_LONG:-}" ] || step=1
    for how in kill fail; do
        for ((n = 1 + RANDOM % step; n <= count; n += step)); do
            rm -rf run
            "$BUILD/tests/tools/at-syscall" $how $n clip-train --data pairs.tar --arch "$SMALL/arch.json" \
                --vocab "$SMALL/vocab" -o run -n 4 -e 5 --save-steps 2 --augment --flip -j 1 -q >out 2>err || continue
            [ ! -L run/latest ] || clip-model info run/latest >out || complain "$how $n: no model"
            train run -q --keep 2 2>err || complain "$how $n: $(cat err)"
            same_run run whole || complain "$how $n: another end"
            [ "$(ls -A run)" = "$(ls -A whole)" ] || complain "$how $n: left behind: $(ls -A run)"
            done=$((done + 1))
        done
    done
    [ $done -ge 8 ]
}

@test "a copied folder whose link became a folder is refused with what to do; nothing in it changes" {
    begin_run run
    kill -TERM "$pid"
    wait "$pid" || true
    cp -rL run copy
    cp copy/log.jsonl before
    run -1 --separate-stderr train copy -q -e 100
    [[ $stderr == "clip-train: copy/latest: not a link to a checkpoint; "*"ln -s step-NUMBER copy/latest" ]]
    cmp copy/log.jsonl before
    rm -r copy/latest
    ln -s "$(readlink run/latest)" copy/latest
    run -0 train copy -q -e 100 --keep 2
}

@test "a run goes on only with what it was begun with; --epochs may change" {
    train run -q
    run -1 --separate-stderr train run -q -n 2 --seed 7 --lr 1e-3
    [ "$stderr" = "clip-train: run: it was started with other options: --batch 4, now 2; --seed 0, now 7; --lr 5e-4, now 1e-3" ]
    cp "$SMALL/arch.json" other.json
    run -1 --separate-stderr clip-train --data pairs.tar --arch other.json --vocab "$SMALL/vocab" -o run -n 4 -e 5 --augment --flip
    [ "$stderr" = "clip-train: run: it was started with other options: model --arch $SMALL/arch.json, now --arch other.json" ]
    run -0 clip-train --data pairs.tar -o run -n 4 -e 5 --augment --flip # the model need not be named again
    run -1 --separate-stderr train run -q -e 1
    [ "$stderr" = "clip-train: run: the run is already past --epochs 1: 10 steps are done, not 2" ]
    run -0 train run -q -e 6
    [ "$(readlink run/latest)" = step-00000012 ]
    (cd "$SRC/share/samples" && ls -- *.* | head -n 12 | tar -cf "$BATS_TEST_TMPDIR/pairs.tar" -T -)
    run -1 --separate-stderr train run -q -e 7
    [ "$stderr" = "clip-train: run: it was started with other options: --samples 8, now 6" ]
}

@test "before the first checkpoint other options make no difference, except the model's" {
    run -1 --separate-stderr train run -q --samples 9
    [ "${stderr_lines[0]}" = "clip-untar: --samples 9: the shards hold 8 samples" ]
    [ "${stderr_lines[1]}" = "clip-train: run: the run stopped before step 11, and nothing is saved yet" ]
    run -0 train run -q --samples 8
}

@test "options are checked before anything is made" {
    local option
    for option in '--lr abc' '--lr 1e4' '--schedule linear' '--schedule cooldown' '--warmup 10' '--save-minutes 0' \
        '--precision amp' '--optimizer --beta3' '--augment --turn' '--positives' '--loss hinge' '--freeze both' \
        '--freeze image,text,scale' '--memory much' '--loss sigmoid' '--cooldown 5'; do
        # shellcheck disable=SC2086 # an option and its value
        run -2 --separate-stderr train run $option
        [ ! -e run ] || complain "$option: a folder is left"
        run -2 --separate-stderr train run --dry-run $option
    done
    run -2 --separate-stderr train run --lr abc
    [ "$stderr" = "clip-batch: --lr: 'abc' is not a number" ]
    for option in "--prompts nowhere" "--vocab nowhere" "--arch nowhere" "--data nowhere.tar" "-n 9" "--samples 4 -n 5"; do
        # shellcheck disable=SC2086 # an option and its value
        run -1 --separate-stderr train run $option
        [[ $stderr == *nowhere* || $stderr == "clip-train: --batch "* ]]
        [ ! -e run ] || complain "$option: a folder is left"
    done
    run -1 --separate-stderr train run -n 9
    [ "$stderr" = "clip-train: --batch 9: the shards hold 8 samples, and a pair must not occur twice in a batch: use at most --batch 8" ]
    run -1 --separate-stderr train run --dry-run --samples 7
    [ "$stderr" = "clip-train: --samples 7: the shards hold 8 samples" ]
}

# unchanged MODEL TENSOR...: which of the tensors are the same in run/latest as in run/init.
unchanged() {
    need_python msgpack numpy
    python - "$@" <<'END'
import json, struct, sys
def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]
            for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}
a, b = (read(f"run/{x}/open_clip_model.safetensors") for x in ("init", "latest"))
kind = lambda k: ("scale" if k.startswith("logit") else ("image" if k.startswith("visual.") else "text") +
                  ("-projection" if k in ("visual.proj", "text_projection") else "-encoder"))
print(*sorted({kind(k) for k in a} - {kind(k) for k in a if a[k] != b[k]}))
END
}

@test "--freeze leaves just what it names as it was" {
    local freeze same
    while read -r freeze same; do
        rm -rf run
        train run -q --freeze "$freeze" 2>err
        [ "$(unchanged)" = "$same" ] || complain "$freeze: $(unchanged)"
    done <<'END'
image image-encoder image-projection
text text-encoder text-projection
image-encoder image-encoder
text-projection text-projection
image-projection,text-projection image-projection text-projection
image,text image-encoder image-projection text-encoder text-projection
scale scale
END
    rm -rf run
    train run -q --freeze image --freeze text 2>err
    [ "$(head -n 1 err)" = "clip-train: both sides are frozen: only the logit scale is trained" ]
}

# shard FILE: the pairs, one of which has a picture that is cut, one no caption, one an empty one, one no picture.
bad_shard() {
    mkdir -p bad
    cp "$SRC"/share/samples/*.* bad
    (
        cd bad
        local keys=(*.txt)
        keys=("${keys[@]%.txt}")
        head -c 300 "${keys[0]}".[jpw]* >cut
        mv cut "$(echo "${keys[0]}".[jpw]*)"
        rm "${keys[1]}.txt"
        printf ' \n' >"${keys[2]}.txt"
        rm "${keys[3]}".[jpw]*
        printf '%s\n' "${keys[@]:0:4}"
        tar --sort=name -cf ../bad.tar -- *.*
    )
}

@test "samples that cannot be used: an error that names one, or with --skip-bad left out of each epoch" {
    local keys
    keys=$(bad_shard)
    run -1 --separate-stderr train run -q --data bad.tar
    [[ ${stderr_lines[0]} == clip-*": bad.tar: sample "* ]]
    [ "${stderr_lines[-2]}" = "clip-train: --skip-bad leaves out samples that cannot be used" ]
    rm -rf run
    cp pairs.tar all.tar
    cp bad.tar pairs.tar
    run -0 --separate-stderr train run -q --skip-bad -n 2
    [ "$(cut -f 2 run/skipped.tsv)" = "$keys" ]
    [[ $stderr == *"clip-train: 4 samples cannot be used and are left out: run/skipped.tsv"* ]]
    [ "$(steps_logged run)" = "1 2 3 4 5 6 7 8 9 10" ] # of 4 samples in 5 epochs
    [ "$(jq -c '."data.skipped"' run/log.jsonl | sort -u)" = 4 ]
    mv run whole
    train run -q --skip-bad -n 2 -e 2 2>err
    rm pairs.tar
    cp bad.tar pairs.tar
    run -0 train run -q --skip-bad -n 2
    [ "$(readlink run/latest)" = step-00000010 ]
    rm -rf run
    clip-train --data pairs.tar --arch "$SMALL/arch.json" --vocab "$SMALL/vocab" -o run -n 2 -e 5 --save-steps 2 \
        --keep 9 --augment '--flip' -j 1 --skip-bad --dry-run >page 2>err
    [ ! -e run ]
    bash page 2>err
    diff -r run/latest/ whole/latest/
}

@test "of a caption of several lines each epoch takes one, the same after each start; captions in JSON" {
    mkdir several
    cp "$SRC"/share/samples/*.* several
    for caption in several/*.txt; do
        printf '%s\n' 'a boat' 'a red boat' 'the third line' >"$caption"
        jq -n '{a: {caption: ["a boat", "a red boat", "the third line"]}, n: 1}' >"${caption%.txt}.json"
    done
    tar --sort=name -C several -cf pairs.tar -- .
    (cd several && tar --sort=name -cf ../pairs.tar -- *.*)
    train run -q
    train again -q --caption json:a.caption
    diff -r run/latest/ again/latest/
    train page -q --dry-run >page
    clip-untar --shuffle 0 --epochs 3 pairs.tar | clip-tokenize -m run/init --truncate --captions one --seed 0 |
        clip-dump --tsv __key__,tokens >tokens
    [ "$(cut -f 2 tokens | sort -u | wc -l)" -eq 3 ]
    grep -q 'clip-tokenize --no-progress -m page/init --truncate --captions one --seed 0 |' page
}

@test "--init finds the vocabulary as clip-tokenize -m does" {
    need_shared golden/tokenizer/bpe_simple_vocab_16e6.txt.gz
    cat >large.json <<'END'
{"embed_dim": 8, "quick_gelu": true,
 "vision_cfg": {"image_size": 4, "layers": 1, "width": 64, "patch_size": 4},
 "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}}
END
    clip-model init -q large.json -o made
    mkdir lone
    clip-model convert made -o lone/model.safetensors
    cp "$SHARED/golden/tokenizer/bpe_simple_vocab_16e6.txt.gz" lone
    run -0 clip-train -q --data pairs.tar --init lone/model.safetensors -n 4 -e 1 -o run -j 1
    clip-tokenize --lines -m lone/model.safetensors <<<'a model boat' | clip-dump --values >want
    clip-tokenize --lines -m run/latest <<<'a model boat' | clip-dump --values | diff - want
    grep -q '"model"' run/latest/vocab.json
}

@test "a stage that fails ends the run with status 1" {
    mkdir -p run/init
    run -1 --separate-stderr train run -q
    [[ ${stderr_lines[0]} == "clip-"*": run/init: not a model folder"* ]]
    [ "${stderr_lines[-1]}" = "clip-train: run: the run stopped before step 10, and nothing is saved yet" ]
}

@test "wrong usage" {
    run -2 clip-train --data pairs.tar --arch x
    run -2 clip-train --arch x --out run
    run -2 clip-train --data pairs.tar --out run
    run -2 clip-train --data pairs.tar --arch x --init y --out run
    run -2 clip-train --data pairs.tar --arch x --out run other.tar
    run -2 clip-train --data pairs.tar --arch x --out run -n 1
    run -2 clip-train --data pairs.tar --arch x --out run --freeze both
}
