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

steps_logged() {
    sed -E 's/^\{"step":([0-9]+),.*\}$/\1/' "$1/log.jsonl" | paste -sd ' '
}

@test "the page: steps from the samples that are counted, warm-up, what options say" {
    run -0 --separate-stderr train run --dry-run --positives txt --freeze text --precision bf16 --lr 1e-3
    [ ! -e run ]
    [[ $output == *"clip-untar "*"--shuffle 0 --epochs 5 pairs.tar |"* ]]
    [[ $output == *" -n 4 -s 10 --lr 1e-3 --warmup 0 --schedule cosine "* ]]
    [[ $output == *"--augment --seed 0 --flip |"* && $output == *"--positives txt"* ]]
    [[ $output == *"clip-encode-text --no-progress --train run --freeze -j 1 --precision bf16"* ]]
    [[ $output != *"clip-encode-image --no-progress --train run --freeze"* ]]
    [[ $output == *"= step-00000010 ]" ]]
    [[ "$(train run --dry-run --samples 800)" == *" -s 1000 "*"--warmup 50 "* ]]
}

@test "ten steps, a log line each, a model that programs take; complete runs stay" {
    run -0 train run -q
    [ "$(steps_logged run)" = "1 2 3 4 5 6 7 8 9 10" ]
    [ "$(readlink run/latest)" = step-00000010 ]
    clip-model info run/latest | grep -q parameters
    ls -l run >before
    run -0 --separate-stderr train run
    [ "$stderr" = "clip-train: run is complete: 10 steps" ]
    ls -l run | diff - before
}

@test "the page, pasted into bash, trains to the same bytes, also where paths have spaces" {
    train run -q
    cp pairs.tar 'more pairs.tar'
    clip-train --data 'more pairs.tar' --arch "$SMALL/arch.json" --vocab "$SMALL/vocab" -o "it's a run" -n 4 -e 5 \
        --save-steps 2 --keep 9 --augment '--flip' -j 1 --dry-run >page
    bash page
    cmp run/latest/open_clip_model.safetensors "it's a run"/latest/open_clip_model.safetensors
    diff <(clip-plot -c loss -f svg run/log.jsonl) <(clip-plot -c loss -f svg "it's a run/log.jsonl")
}

# The stages of the run in the current folder.
stages() {
    local pid
    for pid in $(pgrep -f -- '--train run'); do
        [ "$(readlink "/proc/$pid/cwd")" != "$PWD" ] || echo "$pid"
    done
}

@test "ended by a signal, or a stage killed: all stages end, and the run goes on to the same bytes" {
    local tries killed
    train whole -q
    for killed in TERM stage; do
        rm -rf run
        train run -q >out 2>err 3>&- &
        for ((tries = 0; tries < 400; tries++)); do
            [ ! -e run/latest ] || break
            sleep 0.02
        done
        if [ $killed = TERM ]; then
            kill -TERM "$(pgrep -P $! -f clip-train || echo $!)"
        else
            kill -KILL "$(stages | tail -n 1)" 2>/dev/null || true
        fi
        wait $! || true
        for ((tries = 0; tries < 100; tries++)); do
            [ -n "$(stages)" ] || break
            sleep 0.1
        done
        [ -z "$(stages)" ]
        run -0 train run -q
        [ "$(steps_logged run)" = "1 2 3 4 5 6 7 8 9 10" ]
        cmp run/latest/open_clip_model.safetensors whole/latest/open_clip_model.safetensors
    done
}

@test "a stage that fails ends the run with status 1" {
    run -1 --separate-stderr train run -q --augment '--no-such-option'
    [[ ${stderr_lines[-1]} == "clip-train: run: the run stopped before step 10"* ]]
}

@test "wrong usage" {
    run -2 clip-train --data pairs.tar --arch x
    run -2 clip-train --arch x --out run
    run -2 clip-train --data pairs.tar --out run
    run -2 clip-train --data pairs.tar --arch x --init y --out run
    run -2 clip-train --data pairs.tar --arch x --out run other.tar
    run -2 clip-train --data pairs.tar --arch x --out run -n 1
    run -2 clip-train --data pairs.tar --arch x --out run --freeze both
    run -1 --separate-stderr clip-train --data pairs.tar --arch x --out run -n 100 -e 2
    [ "$stderr" = "clip-train: 8 samples and 2 epochs make no batch of 100" ]
    run -1 --separate-stderr clip-train --data nowhere.tar --arch x --out run
    [[ $stderr == *"nowhere.tar"* ]]
}
