load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
}

# unit_of: the values that --no-projection makes of the records on stdin.
unit_of() {
    stream >in
    clip-project-normalize --no-projection "$@" in | clip-dump --values
}

@test "--no-projection makes embeddings and features unit, and passes the rest" {
    unit_of >out <<'JSON'
{"__key__": "a", "txt": {"bin": "x"}, "image_embedding": {"f4": [3, 4]}, "cls": 7}
{"__step__": 1}
{"__key__": "b", "image_features": {"f4": [0, -2]}, "text_features": {"f4": [1, 1, 1, 1]}, "z": null}
JSON
    diff out - <<'JSON'
{"__key__":"a","txt":{"bin":1,"text":"x"},"image_embedding":{"tensor":"f4","shape":[2],"values":[0.6,0.8]},"cls":7}
{"__step__":1}
{"__key__":"b","z":null,"image_embedding":{"tensor":"f4","shape":[2],"values":[0,-1]},"text_embedding":{"tensor":"f4","shape":[4],"values":[0.5,0.5,0.5,0.5]}}
JSON
}

@test "--no-projection prefers an embedding that is there; --keep keeps features" {
    unit_of --keep >out <<<'{"__key__": "a", "image_features": {"f4": [1, 0]}, "image_embedding": {"f4": [0, 5]}}'
    [ "$(cat out)" = '{"__key__":"a","image_features":{"tensor":"f4","shape":[2],"values":[1,0]},"image_embedding":{"tensor":"f4","shape":[2],"values":[0,1]}}' ]
    unit_of --keep >out <<<'{"__key__": "a", "image_features": {"f4": [2, 0]}}'
    [ "$(cat out)" = '{"__key__":"a","image_features":{"tensor":"f4","shape":[2],"values":[2,0]},"image_embedding":{"tensor":"f4","shape":[2],"values":[1,0]}}' ]
}

@test "bad records are named, or skipped" {
    while IFS='|' read -r fields message; do
        stream >in < <(echo "{\"__key__\": \"x\"$fields}"; echo '{"__key__": "y", "text_features": {"f4": [1]}}')
        run -1 --separate-stderr clip-project-normalize --no-projection in
        [ "$stderr" = "clip-project-normalize: in: sample x: $message" ] || complain "$stderr"
        run -0 --separate-stderr clip-project-normalize --no-projection --skip-bad in
        [ "$(clip-project-normalize -q --no-projection --skip-bad in 2>/dev/null | clip-dump --keys)" = y ]
    done <<'END'
|neither image_features nor text_features, and no embedding
, "image_features": {"f4": [0, 0]}|field 'image_features': a vector of length 0 cannot be normalised
, "text_embedding": {"f4": [1, "Infinity"]}|field 'text_embedding' has an element that is not finite
, "text_embedding": {"i4": [1]}|field 'text_embedding' is i4 [1], not f4
, "text_embedding": 1|field 'text_embedding' is not a tensor
, "text_embedding": {"f4": []}|field 'text_embedding' is f4 [0], not a vector
END
}

@test "embeddings near the ends of f32 become unit" {
    unit_of >out <<<'{"__key__": "a", "image_embedding": {"f4": [3e38, 3e38]}, "text_embedding": {"f4": [1e-30, 0]}}'
    [[ $(cat out) == *'"values":[0.70710677,0.70710677]'*'"values":[1,0]'* ]]
}

@test "golden features of every model become its embeddings" {
    need_shared golden/models/vit-a/forward.msgpack
    for model in vit-a vit-b rn-a rn-b; do
        dir=$SHARED/golden/models/$model
        clip-project-normalize -m "$dir/model.safetensors" "$dir/forward.msgpack" >out
        clip-cmp -f image_embedding,text_embedding -t 5e-7 out "$dir/forward.msgpack"
        run -0 clip-dump out
        [[ $output != *_features* ]]
    done
}

@test "the same bytes whatever the batch, the threads and the input's pauses" {
    need_shared golden/models/vit-a/forward.msgpack
    for model in vit-a rn-a; do
        dir=$SHARED/golden/models/$model
        in=("$dir/forward.msgpack" "$dir/forward_f16.msgpack" "$dir/forward.msgpack")
        for engine in openblas native onednn; do
            clip-project-normalize --version | grep -qi "^engines:.*$engine (f32" || continue
            export CLIP_ENGINE=$engine
            clip-project-normalize -m "$dir/model.safetensors" "${in[@]}" >want
            for options in "-b 1 -j 1" "-b 7 -j 2" "-b 36 -j 1" "-b 100 -j 4"; do
                clip-project-normalize -m "$dir/model.safetensors" $options "${in[@]}" | cmp - want
            done
            { head -c 5000 "${in[0]}"; sleep 0.2; tail -c +5001 "${in[0]}"; cat "${in[@]:1}"; } |
                clip-project-normalize -m "$dir/model.safetensors" | cmp - want
        done
    done
}

@test "features of another model are refused" {
    need_shared golden/models/vit-a/forward.msgpack
    run -1 --separate-stderr clip-project-normalize -m "$SHARED/golden/models/rn-a/model.safetensors" \
        "$SHARED/golden/models/vit-a/forward.msgpack"
    [[ $stderr == *"forward.msgpack: sample 00/000: field 'image_features' has 64 elements where "*" are expected" ]]
    one_line
    stream >in <<<'{"__key__": "x", "image_embedding": {"f4": [1]}}'
    run -1 --separate-stderr clip-project-normalize -m "$SHARED/golden/models/rn-a/model.safetensors" in
    [ "$stderr" = "clip-project-normalize: in: sample x: neither image_features nor text_features" ]
}

@test "a model, or none" {
    run -2 clip-project-normalize
    run -1 --separate-stderr clip-project-normalize -m no-such-model
    one_line
}
