# What the tests of training share: a run of a golden model, and the pipeline of its stages.

# begin RUN MODEL: a run that starts from the golden model.
begin() {
    need_shared golden/models
    GOLDEN=$SHARED/golden/models/$2
    mkdir -p "$1"
    clip-model convert --arch "$GOLDEN/arch.json" "$GOLDEN/model.safetensors" -o "$1/init" 2>/dev/null
}

hyper=(--beta2 0.98 --eps 1e-6) # of the golden results, for either kind of tower

# stages RUN [OPTION...]: the stages of the run, batches from standard input; the log to standard output. Options
# are those of the encoders; $image, $text, $projection and $loss hold more of one stage.
stages() {
    local run=$1
    shift
    clip-encode-image --train "$run" --grad-in "$run/image" "${hyper[@]}" "$@" $image |
        clip-encode-text --train "$run" --grad-in "$run/text" "${hyper[@]}" "$@" $text |
        clip-project-normalize --train "$run" --grad-in "$run/embedding" --grad-out "image:$run/image" \
            --grad-out "text:$run/text" "${hyper[@]}" $projection |
        clip-contrastive-step --train "$run" --grad-out "$run/embedding" "${hyper[@]}" $loss
}

# child PID NAME: the process of that name that PID started.
child() {
    pgrep -P "$1" -x "${2:0:15}"
}

# kill_one PID: one of the pipeline's processes, at random.
kill_one() {
    local names=(clip-batch clip-encode-image clip-encode-text clip-project-normalize clip-contrastive-step)
    kill -9 "$(child "$1" "${names[RANDOM % ${#names[@]}]}")" 2>/dev/null || true
}
