# Training as a pipeline of processes (DESIGN: training): golden trajectories, checkpoints, crashes.
load helper
load train

setup() {
    cd "$BATS_TEST_TMPDIR"
    python() { /usr/bin/python3 "$@"; }
    image='' text='' projection='' loss=''
    need_python msgpack numpy
}

edit() {
    python "$BATS_TEST_DIRNAME/train.py" "$@"
}

# batches N [OPTION...]: what is left of N batches of the golden model's records.
batches() {
    edit records "$GOLDEN/steps.msgpack" "$((($1 + 4) / 5))" >records
    clip-batch -n 12 -s "$1" --schedule constant --lr 1e-3 --train run "${@:2}" records
}

# golden MODEL TOLERANCE: the trajectory of steps.msgpack.
golden() {
    begin run "$1"
    edit saved "$GOLDEN/steps.msgpack" 5 >steps
    (set -o pipefail && stages run <steps >log)
    edit losses log "$GOLDEN/expected.json" "$2"
    edit near run/latest/open_clip_model.safetensors "$GOLDEN/trained.safetensors" 5e-4
    [ "$(readlink run/latest)" = step-00000005 ]
    clip-model info run/latest >/dev/null
}

@test "trajectory of vit-a" {
    golden vit-a 1e-4
}

@test "trajectory of vit-b" {
    golden vit-b 1e-4
}

@test "trajectory of rn-a" {
    golden rn-a 1e-3
}

@test "trajectory of rn-b" {
    golden rn-b 1e-3
}

@test "kept or computed again, one thread or two: the same bytes; a ResNet's chunks are said" {
    local model memory
    for model in vit-a rn-a; do
        memory=10M # of three chunks two are kept
        [ "$model" = rn-a ] || memory=5400k
        begin "$model.kept" "$model"
        edit saved "$GOLDEN/steps.msgpack" 5 >steps
        stages "$model.kept" --chunk 5 <steps >log 2>err
        begin "$model.again" "$model"
        stages "$model.again" --chunk 5 --memory 0 -j 1 <steps >/dev/null 2>&1
        begin "$model.some" "$model"
        stages "$model.some" --chunk 5 --memory $memory -j 2 <steps >/dev/null 2>&1
        diff -r "$model.kept/step-00000005" "$model.again/step-00000005"
        diff -r "$model.kept/step-00000005" "$model.some/step-00000005"
    done
    grep -q '"image.batch_norm_chunk":5[,}]' log
    grep -q "clip-encode-image: batch norm statistics are per chunk of 5 records, not per batch of 12" err
}

@test "bytes and floats of the same pictures train to the same bytes" {
    local model
    for model in vit-a rn-a; do
        begin "$model.bytes" "$model"
        begin "$model.floats" "$model"
        edit saved "$GOLDEN/steps.msgpack" 2 >all
        edit floats all "$model.floats/init" >floats
        stages "$model.bytes" <all >log
        stages "$model.floats" <floats >log
        diff -r "$model.bytes/step-00000002" "$model.floats/step-00000002"
    done
}

@test "a run goes on from its checkpoint to the same bytes; only the newest are kept" {
    begin run vit-a
    batches 6 >all
    stages run <all >log
    [ "$(wc -l <log)" = 6 ]
    mv run whole
    begin run vit-a
    batches 6 --save-steps 2 --keep 2 | head -c 150000 >cut
    stages run <cut >/dev/null 2>err || true
    [ "$(readlink run/latest)" = step-00000002 ] # the stream was cut in step 4
    [ -s err ]
    run -1 grep -v '^clip-.*cut short' err
    batches 6 --save-steps 2 --keep 2 | stages run >log
    [ "$(jq -r .step log | tr '\n' ' ')" = "3 4 5 6 " ]
    diff -r whole/step-00000006 run/step-00000006
    [ "$(cd run && echo step-*)" = "step-00000004 step-00000006" ]
    [ ! -e run/.step-00000006 ]
    batches 6 2>/dev/null | stages run >log # nothing is left to do
    [ ! -s log ]
}

@test "what a crash left is cleared, a checkpoint that nothing links to is replaced" {
    begin run vit-a
    mkdir -p run/.step-00000002/optimizer run/step-00000002
    echo half >run/.step-00000002/weights.loss.safetensors
    echo half >run/.step-00000002/optimizer/text.safetensors
    echo other >run/step-00000002/open_clip_config.json
    batches 2 | stages run >log
    [ "$(ls run/latest/)" = "$(printf '%s\n' open_clip_config.json open_clip_model.safetensors optimizer)" ]
    [ "$(ls -A run | grep -c step)" = 1 ]
}

@test "a wrapper that holds a stage's output open does not keep the others from ending" {
    begin run vit-a
    batches 1 >all
    clip-encode-image --train run --grad-in run/image <all |
        "$BUILD/tests/tools/peak" mem.text clip-encode-text --train run --grad-in run/text |
        "$BUILD/tests/tools/peak" mem clip-project-normalize --train run --grad-in run/embedding \
            --grad-out image:run/image --grad-out text:run/text |
        clip-contrastive-step --train run --grad-out run/embedding >log
    [ "$(wc -l <log)" = 1 ]
    [ "$(readlink run/latest)" = step-00000001 ]
}

@test "killed at any moment, any process: the last checkpoint is whole, and the end the same" {
    local i length start pid
    begin run vit-a
    start=$(date +%s%N)
    batches 8 --save-steps 2 | stages run >/dev/null
    length=$(($(date +%s%N) - start))
    mv run whole
    begin run vit-a
    for ((i = 0; i < 40; i++)); do
        (batches 8 --save-steps 2 | stages run >/dev/null 2>&1) &
        pid=$!
        if ((i < 6)); then
            sleep "$(printf '0.%09d' $((RANDOM * 32768 % length)))"
            kill_one "$pid"
        fi
        wait "$pid" || true
        [ ! -L run/latest ] || clip-model info run/latest >/dev/null
        [ ! -e run/step-00000008 ] || break
    done
    diff -r whole/step-00000008 run/step-00000008
}

@test "a stage that dies takes the others with it, within seconds" {
    local name pid
    begin run vit-a
    for name in clip-encode-image clip-encode-text clip-project-normalize clip-contrastive-step; do
        rm -f in
        mkfifo in
        stages run <in >log 2>/dev/null 7>&- &
        pid=$!
        exec 7>in
        batches 2 | head -c 60000 >&7 # and the input stays open
        for ((i = 0; i < 100; i++)); do
            [ ! -s log ] || break
            sleep 0.1
        done
        [ -s log ]
        kill -9 "$(child "$pid" "$name")"
        for ((i = 0; i < 100; i++)); do
            [ -d "/proc/$pid" ] || break
            batches 2 | head -c 60000 >&7 2>/dev/null || true # a stage without a reader finds out as it writes
            sleep 0.1
        done
        [ ! -d "/proc/$pid" ] || complain "with $name dead, the others hang"
        exec 7>&-
    done
}

@test "a frozen stage keeps its weights, and is part of every checkpoint" {
    begin run vit-a
    image=--freeze
    batches 2 | stages run >log
    clip-model convert run/latest -o after.safetensors
    clip-model convert run/init -o before.safetensors
    edit near after.safetensors before.safetensors 0 >difference 2>&1 && false
    [ -s difference ]
    run -1 grep visual. difference # the first that differs is none of the image tower's
    [ -e run/latest/optimizer/image.safetensors ]
    image=''
    batches 3 | stages run >log # it may learn later
    [ "$(jq -c .step log)" = 3 ]
}

# gradients EDIT: clip-project-normalize on the first batch, with gradients that EDIT changed.
gradients() {
    edit edited gradients "$1" >wrong
    run -1 --separate-stderr clip-project-normalize --train run --grad-in wrong --grad-out image:i \
        --grad-out text:t features
}

@test "gradients of other records, of too few, too many, another step, or not finite" {
    begin run vit-a
    batches 1 | clip-encode-image -m run/init | clip-encode-text -m run/init >features
    clip-project-normalize -m run/init features | clip-contrastive-step -m run/init --grad-out gradients >/dev/null
    local first second
    first=$(clip-dump gradients | head -n 1 | jq -r .__key__) second=$(clip-dump gradients | sed -n 2p | jq -r .__key__)
    gradients swapped
    [ "$stderr" = "clip-project-normalize: step 1: wrong: the gradient of sample $second came where that of $first belongs" ]
    gradients missing
    [[ $stderr == "clip-project-normalize: step 1: wrong: the gradient of sample "*" came where that of $second belongs" ]]
    gradients more
    [ "$stderr" = "clip-project-normalize: step 1: wrong: the gradient of sample $first came where that of $second belongs" ]
    gradients otherstep
    [ "$stderr" = "clip-project-normalize: step 1: wrong: the gradients are of step 7" ]
    gradients infinite
    [[ $stderr == "clip-project-normalize: step 1: wrong: the gradient of sample $second: field "*"not finite" ]]
    head -c 3000 gradients >gradients.cut
    run -1 --separate-stderr clip-project-normalize --train run --grad-in gradients.cut features
    [[ $stderr == "clip-project-normalize: step 1: gradients.cut: cut short"* ]]
    [ ! -e run/latest ]
}

@test "what is not finite ends the run by name, and the last checkpoint stays" {
    begin run vit-a
    batches 2 | stages run >/dev/null
    batches 4 >all
    edit hot all | stages run >log 2>err || true
    grep -q '^clip-[a-z-]*: step [34]: .*not finite$' err
    [ "$(readlink run/latest)" = step-00000002 ]
    clip-model info run/latest >/dev/null
}

@test "steps that do not follow, outputs that are full, parts that are taken" {
    begin run vit-a
    batches 3 >all
    edit records "$GOLDEN/steps.msgpack" >records
    batches 2 | stages run >/dev/null
    stages run <all >/dev/null 2>err || true
    grep -q '^clip-encode-image: run: step 1 came, but 2 steps are done$' err
    run -1 --separate-stderr bash -c 'clip-encode-image --train run --grad-in run/image all >/dev/full'
    [[ $stderr == "clip-encode-image: "* ]]
    mkfifo held
    clip-encode-text --train run --grad-in run/text held >/dev/null 7>&- &
    exec 7>held
    run -1 --separate-stderr clip-encode-text --train run --grad-in run/text all
    exec 7>&-
    [ "$stderr" = "clip-encode-text: run: another process trains its part 'text'" ]
}

@test "usage of --train" {
    run -2 --separate-stderr clip-encode-image --train run
    [ "${stderr_lines[0]}" = "clip-encode-image: --train needs --grad-in" ]
    run -2 --separate-stderr clip-encode-text --train run --grad-in x -m y
    [ "${stderr_lines[0]}" = "clip-encode-text: --train uses the model of the run: -m, --arch and --weights are not allowed" ]
    run -2 --separate-stderr clip-encode-image --train run --grad-in x --weights ema
    [ "${stderr_lines[0]}" = "clip-encode-image: --train uses the model of the run: -m, --arch and --weights are not allowed" ]
    run -2 --separate-stderr clip-project-normalize --train run --grad-in x --skip-bad
    [ "${stderr_lines[0]}" = "clip-project-normalize: --train and --skip-bad are mutually exclusive" ]
    run -2 --separate-stderr clip-encode-image -m x --freeze
    [ "${stderr_lines[0]}" = "clip-encode-image: the options of the optimizer and --freeze need --train" ]
    mkdir run
    run -1 --separate-stderr clip-encode-image --train run --grad-in x </dev/null
    [ "$stderr" = "clip-encode-image: run: it has neither 'latest', a checkpoint, nor 'init', a model folder" ]
}
