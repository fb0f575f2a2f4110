load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
    stream >pairs <<'JSON'
{"__key__": "a", "image_embedding": {"f4": [1, 0]}, "text_embedding": {"f4": [1, 0]}, "txt": {"bin": "one"}}
{"__key__": "b", "image_embedding": {"f4": [0, 1]}, "text_embedding": {"f4": [0, 1]}}
JSON
    sed 's/ //g' >steps.jsonl <<'JSON'
{"__key__": "a", "image_embedding": {"f4": [1, 0]}, "text_embedding": {"f4": [1, 0]}}
{"__key__": "b", "image_embedding": {"f4": [0, 1]}, "text_embedding": {"f4": [0, 1]}}
{"__step__": 7, "count": 2, "lr": 0.5}
{"__key__": "c", "image_embedding": {"f4": [1, 0]}, "text_embedding": {"f4": [0, 1]}}
{"__key__": "d", "image_embedding": {"f4": [0, 1]}, "text_embedding": {"f4": [1, 0]}}
{"__step__": 8, "count": 2, "lr": 0.25, "save": true}
JSON
    stream <steps.jsonl >steps
}

# Numbers on stdin to six decimals.
short() {
    sed -E 's/(\.[0-9]{6})[0-9]+/\1/g'
}

# refused MESSAGE: the records on stdin are not taken; exit 1, the message, no output.
refused() {
    stream >bad
    run -1 --separate-stderr clip-contrastive-step --scale 1 bad
    [ "$stderr" = "clip-contrastive-step: $1" ] || complain "$stderr"
    [ -z "$output" ]
}

@test "the whole stream is one batch: ln(1 + 1/e) where two pairs stand apart" {
    run -0 --separate-stderr clip-contrastive-step --scale 1 pairs
    diff - <(short <<<"$output") <<'JSON'
{"step":1,"count":2,"loss":0.313261,"loss_over_ln_n":0.451941,"top1_image":1,"top1_text":1,"logit_scale":0}
JSON
    [ -z "$stderr" ]
}

@test "each step is a batch" {
    run -0 clip-contrastive-step --scale 1 steps
    diff - <(short <<<"$output") <<'JSON'
{"step":7,"count":2,"loss":0.313261,"loss_over_ln_n":0.451941,"top1_image":1,"top1_text":1,"logit_scale":0}
{"step":8,"count":2,"loss":1.313261,"loss_over_ln_n":1.894636,"top1_image":0,"top1_text":0,"logit_scale":0}
JSON
}

@test "gradients are a stream: keys, order, step objects" {
    clip-contrastive-step --scale 1 --grad-out gradients steps >log
    diff - <(clip-dump --values gradients | short) <<'JSON'
{"__key__":"a","image_embedding":{"tensor":"f4","shape":[2],"values":[-0.134470,0.134470]},"text_embedding":{"tensor":"f4","shape":[2],"values":[-0.134470,0.134470]}}
{"__key__":"b","image_embedding":{"tensor":"f4","shape":[2],"values":[0.134470,-0.134470]},"text_embedding":{"tensor":"f4","shape":[2],"values":[0.134470,-0.134470]}}
{"__step__":7,"count":2,"lr":0.5}
{"__key__":"c","image_embedding":{"tensor":"f4","shape":[2],"values":[0.365529,-0.365529]},"text_embedding":{"tensor":"f4","shape":[2],"values":[-0.365529,0.365529]}}
{"__key__":"d","image_embedding":{"tensor":"f4","shape":[2],"values":[-0.365529,0.365529]},"text_embedding":{"tensor":"f4","shape":[2],"values":[0.365529,-0.365529]}}
{"__step__":8,"count":2,"lr":0.25,"save":true}
JSON
    [[ $(head -n 1 log) == *',"logit_scale_gradient":-0.2689414213'* ]]
}

@test "a step is answered, gradients too, before the next one comes" {
    mkfifo in out gradients
    clip-contrastive-step --scale 1 --grad-out gradients in >out &
    exec 6< <(clip-dump gradients 2>/dev/null) 9<out 8>in
    head -n 3 steps.jsonl | stream -n >&8
    read -r -t 10 line <&9
    [[ $line == '{"step":7,'* ]]
    for want in '{"__key__":"a",' '{"__key__":"b",' '{"__step__":7,'; do
        read -r -t 10 line <&6
        [[ $line == "$want"* ]]
    done
    exec 8>&- # cut
    local status=0
    wait $! || status=$?
    [ "$status" -eq 1 ]
    exec 6<&- 9<&-
}

# Three samples of two captions.
captions() {
    cat <<'JSON'
{"__key__": "a", "image_embedding": {"f4": [1, 0]}, "text_embedding": {"f4": [1, 0]}, "txt": {"bin": "x"}, "cls": 1}
{"__key__": "b", "image_embedding": {"f4": [0, 1]}, "text_embedding": {"f4": [0, 1]}, "txt": {"bin": "y"}, "cls": 2}
{"__key__": "c", "image_embedding": {"f4": [0.6, 0.8]}, "text_embedding": {"f4": [1, 0]}, "txt": {"bin": "x"}, "cls": 3}
JSON
}

# numbers NUMBERS ARGUMENTS...: the step of the captions has these.
numbers() {
    local want=$1
    shift
    captions | stream | clip-contrastive-step "$@" | short >line
    [[ $(<line) == *"$want"* ]] || complain "$(<line)"
}

@test "samples of one field value are positives of each other" {
    numbers '"loss":0.864957,"loss_over_ln_n":0.787317,"top1_image":0.666666,"top1_text":1,' --scale 1 --positives txt
    numbers '"top1_image":0.333333,"top1_text":0.666666,' --scale 1
    captions | stream | clip-contrastive-step --scale 1 --grad-out gradients >log
    for own in cls key; do # no two are equal
        captions | stream | clip-contrastive-step --scale 1 --positives $own --grad-out gradients.$own >log.$own
        cmp log.$own log
        cmp gradients.$own gradients
    done
    run -1 --separate-stderr clip-contrastive-step --scale 1 --positives txt pairs
    [ "$stderr" = "clip-contrastive-step: pairs: sample b: no field 'txt'" ] || complain "$stderr"
}

@test "equal keys are positives with --positives key, within their step" {
    for step in 1 2; do
        captions | sed 's/"c"/"a"/'
        echo "{\"__step__\": $step}"
    done | stream >twins
    run -0 clip-contrastive-step --scale 1 --positives key twins
    [ "${#lines[@]}" -eq 2 ]
    for line in "${lines[@]}"; do
        [[ $(short <<<"$line") == *'"loss":0.864957,'* ]] || complain "$line"
    done
}

@test "the sigmoid's loss" {
    numbers '{"step":1,"count":3,"loss":2.221767,"top1_image":0.333333,"top1_text":0.666666,"logit_scale":0,"logit_bias":0}' \
        --loss sigmoid --scale 1
    numbers '"loss":1.688434,"top1_image":0.666666,"top1_text":1,' --loss sigmoid --scale 1 --positives txt
    numbers '"loss":1.371111,' --loss sigmoid --scale 2 --bias -1 --positives txt
    numbers '"logit_bias":-1,"logit_scale_gradient":0.513001,"logit_bias_gradient":0.581774}' \
        --loss sigmoid --scale 2 --bias -1 --grad-out gradients
    run -2 clip-contrastive-step --scale 1 --bias 1 pairs
    run -2 clip-contrastive-step --loss sigmoid -m model --bias 1 pairs
}

@test "the sigmoid's bias is the model's" {
    cat >none.json <<'JSON'
{"embed_dim": 8, "vision_cfg": {"image_size": 8, "layers": 1, "width": 64, "patch_size": 4},
 "text_cfg": {"context_length": 8, "vocab_size": 600, "width": 8, "heads": 1, "layers": 1}}
JSON
    sed 's/"embed_dim"/"init_logit_scale": 2.302585, "init_logit_bias": -10, &/' none.json >sigmoid.json
    clip-model init -q sigmoid.json -s 1 -o sigmoid
    numbers '"logit_scale":2.302584,"logit_bias":-10}' --loss sigmoid -m sigmoid
    clip-model init -q none.json -s 1 -o none
    run -1 --separate-stderr clip-contrastive-step --loss sigmoid -m none pairs
    [ "$stderr" = "clip-contrastive-step: none: the model has no logit_bias (init_logit_bias), which --loss sigmoid needs" ] || complain "$stderr"
}

# The towers are not whole, and the shapes do not say what they are: neither is needed.
@test "of a model the logit scale and bias alone are looked at" {
    { printf '\0\2\0\0\0\0\0\0%-512s' '{"visual.trunk.stem.0.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "token_embedding.weight":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},
        "logit_scale":{"dtype":"F32","shape":[],"data_offsets":[8,12]},
        "logit_bias":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}' &&
        printf '\0\0\0\0\0\0\0\0\0\0\040\100\0\0\100\300'; } >lone.safetensors # 2.5 and -3
    numbers '"logit_scale":2.5}' -m lone.safetensors
    numbers '"logit_scale":2.5,"logit_bias":-3}' --loss sigmoid -m lone.safetensors
}

# A run whose model has scale 14.3 and, with an argument, SigLIP's bias.
run_folder() {
    cat >arch.json <<JSON
{"embed_dim": 8, "vision_cfg": {"image_size": 8, "layers": 1, "width": 64, "patch_size": 4}, ${1+"\"init_logit_bias\": -10,"}
 "text_cfg": {"context_length": 8, "vocab_size": 600, "width": 8, "heads": 1, "layers": 1}}
JSON
    mkdir run
    clip-model init -q arch.json -s 1 -o run/init
}

# step_of NUMBER LR [MORE]: a step of the three captions.
step_of() {
    captions
    echo "{\"__step__\": $1, \"count\": 3, \"lr\": $2${3-}}"
}

# values NAME: its value in each line of the log, to six digits.
values() {
    short <log | sed -E "s/.*\"$1\":([^,}]*).*/\1/" | paste -s -d ' '
}

@test "training: the scale is learned, within [0, ln 100]" {
    run_folder
    { step_of 1 0.5 && step_of 2 0.25 && step_of 3 9 && step_of 4 0; } | stream |
        clip-contrastive-step --train run --positives txt --grad-out gradients >log
    # Adam's first step is lr, against the gradient's sign; the second one, with a gradient of the same size, as well.
    [ "$(values step)" = "1 2 3 4" ]
    read -r a b c d <<<"$(values logit_scale)"
    [ "$a" = 2.659260 ] && [[ $b == 2.159260 || $b == 2.15926[0-9] ]] || complain "$a $b"
    [ "$d" = 0 ] || complain "$a $b $c $d" # clamped
    [ "$(values lr)" = "0.5 0.25 9 0" ]
    grep -q '"samples_per_s":[0-9.]*,"loss.waited_input":[0-9.e-]*,"loss.waited_output":[0-9.e-]*}$' log
    [ "$(clip-dump gradients | grep -c __key__)" -eq 12 ]
    { step_of 1 0.5 && step_of 2 0.25; } | stream | clip-contrastive-step --train run --freeze --grad-out gradients >log
    [ "$(values logit_scale)" = "2.659260 2.659260" ]
}

@test "training: the sigmoid's bias is learned" {
    run_folder bias
    { step_of 1 0.5 && step_of 2 0.25; } | stream | clip-contrastive-step --train run --loss sigmoid --grad-out gradients >log
    read -r a b <<<"$(values logit_bias)"
    [ "$a" = -10 ] && [[ $b == -9.5* || $b == -10.5* || $b == -9.49* || $b == -10.49* ]] || complain "$a $b"
}

@test "training: what other stages report is in the line" {
    run_folder
    step_of 1 0.5 ', "image.gradient_norm": 0.25, "text.batch_norm_chunk": 16, "imager.x": 1, "image": 2, "keep": 3' | stream |
        clip-contrastive-step --train run --grad-out gradients >log
    grep -q ',"image.gradient_norm":0.25,"text.batch_norm_chunk":16,"loss.waited' log
    run -1 grep -E 'imager|keep' log
}

@test "training: a checkpoint's part, and no whole one without the others" {
    run_folder
    { step_of 1 0.5 && step_of 2 0.25 ', "save": true'; } | stream |
        clip-contrastive-step --train run --grad-out gradients >log
    [ "$(ls run/.step-00000002)" = "$(printf '%s\n' optimizer.loss.safetensors weights.loss.safetensors)" ]
    [ ! -e run/latest ]
    [ ! -e run/step-00000002 ]
}

@test "training: what ends it" {
    run_folder
    # ended MESSAGE: the lines on stdin
    ended() {
        run -1 --separate-stderr clip-contrastive-step --train run --grad-out gradients < <(stream)
        [ "$stderr" = "clip-contrastive-step: $1" ] || complain "$stderr"
    }
    ended "run: step 2 came, but 0 steps are done" < <(step_of 2 0.5)
    ended "step 1: its object has no learning rate 'lr'" < <(captions && echo '{"__step__": 1}')
    ended "step 1: its object counts 4 records, but 3 came" < <(captions && echo '{"__step__": 1, "count": 4, "lr": 1}')
    ended "3 records after the last step object" < <(captions)
    huge=$(captions | sed 's/\[1, 0\]/[3e38, 3e38]/g')
    ended "step 1: the loss is not finite" < <(echo "$huge" && echo '{"__step__": 1, "lr": 1}')
    run -0 clip-contrastive-step --train run --grad-out gradients < <(stream </dev/null) # a run that was done
    run -2 clip-contrastive-step --train run
    run -2 clip-contrastive-step --train run --scale 1 --grad-out gradients
    mkfifo fifo # nobody reads it
    run -1 --separate-stderr clip-contrastive-step --train run --grad-out fifo < <(step_of 1 1 | stream)
    [ "$stderr" = "clip-contrastive-step: step 1: fifo: nobody reads it: the stage before has ended" ] || complain "$stderr"
}

@test "the two transformers' golden losses and gradients" {
    need_shared golden/models/vit-a/backward.msgpack
    need jq
    for model in vit-a vit-b; do
        dir=$SHARED/golden/models/$model
        clip-contrastive-step -m "$dir/model.safetensors" --grad-out gradients "$dir/forward.msgpack" >line
        jq -e --slurpfile want "$dir/expected.json" \
            '(.loss - $want[0].loss) / $want[0].loss | fabs < 1e-6' line
        clip-cmp --relative 1e-6 --fields image_embedding,text_embedding gradients "$dir/backward.msgpack"
    done
}

@test "results are the same on any number of threads" {
    for i in {1..300}; do
        echo "{\"__key__\": \"$i\", \"image_embedding\": {\"f4\": [$((i * 7 % 11)), $((i * 5 % 13)), $((i % 17))]}," \
            "\"text_embedding\": {\"f4\": [$((i * 3 % 11)), $((i % 13)), $((i * 11 % 17))]}}"
    done | stream >many
    for threads in 1 2 3; do
        clip-contrastive-step --scale 0.1 -j $threads --grad-out gradients.$threads many >log.$threads
    done
    cmp log.1 log.2
    cmp log.1 log.3
    cmp gradients.1 gradients.2
    cmp gradients.1 gradients.3
}

@test "what is not a batch is refused" {
    refused "a batch of 0: nothing to contrast" </dev/null
    refused "a batch of 1: nothing to contrast" < <(head -n 1 steps.jsonl)
    refused "step 7: a batch of 1: nothing to contrast" < <(sed -n '2p; s/"count":2/"count":1/; 3p' steps.jsonl)
    refused "step 7: its object does not count the 1 records that came" < <(sed -n 2,3p steps.jsonl)
    refused "a step object whose '__step__' is not a whole number from 1" <<<'{"__step__": "x"}'
}

@test "records after the last step are an error" {
    head -n 4 steps.jsonl | stream >bad
    run -1 --separate-stderr clip-contrastive-step --scale 1 bad
    [ "$stderr" = "clip-contrastive-step: 1 records after the last step object" ]
    [ "${#lines[@]}" -eq 1 ]
}

@test "bad records are named" {
    refused "bad: sample x: no field 'image_embedding'" <<<'{"__key__": "x"}'
    refused "bad: sample x: no field 'text_embedding'" <<<'{"__key__": "x", "image_embedding": {"f4": [1]}}'
    refused "bad: sample x: field 'image_embedding' is i4 [1], not f4" <<<'{"__key__": "x", "image_embedding": {"i4": [1]}}'
    refused "bad: sample x: field 'image_embedding' is f4 [1, 1], not a vector" <<<'{"__key__": "x", "image_embedding": {"f4": [[1]]}}'
    refused "bad: sample x: field 'image_embedding' is f4 [0], not a vector" <<<'{"__key__": "x", "image_embedding": {"f4": []}}'
    refused "bad: sample x: field 'image_embedding' has an element that is not finite" \
        <<<'{"__key__": "x", "image_embedding": {"f4": [1, "NaN"]}}'
    refused "bad: sample x: field 'text_embedding' has 1 elements where 2 are expected" \
        <<<'{"__key__": "x", "image_embedding": {"f4": [1, 2]}, "text_embedding": {"f4": [1]}}'
    refused "bad: sample y: field 'image_embedding' has 1 elements where 2 are expected" < <(head -n 1 steps.jsonl
        echo '{"__key__": "y", "image_embedding": {"f4": [1]}, "text_embedding": {"f4": [1]}}')
    refused "the loss is not finite" < <(for key in x y; do
        echo "{\"__key__\": \"$key\", \"image_embedding\": {\"f4\": [3e38]}, \"text_embedding\": {\"f4\": [3e38]}}"
    done)
}

@test "a gradient stream that is cut has no end object" {
    head -c -30 steps >cut
    run -1 clip-contrastive-step --scale 1 --grad-out gradients cut
    run -1 grep -qa __end__ gradients
    run -1 --separate-stderr clip-contrastive-step --scale 1 --grad-out /dev/full pairs
    one_line
    run -1 --separate-stderr clip-contrastive-step --scale 1 --grad-out none/gradients pairs
    [ "$stderr" = "clip-contrastive-step: none/gradients: No such file or directory" ]
}

@test "the scale comes from one place" {
    run -2 clip-contrastive-step pairs
    run -2 clip-contrastive-step --scale 0 pairs
    run -2 clip-contrastive-step --scale nan pairs
    run -2 clip-contrastive-step -m model --scale 1 pairs
    run -1 --separate-stderr clip-contrastive-step -m no-such-model pairs
    one_line
}
