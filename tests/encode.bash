# What the tests of clip-encode-image and clip-encode-text share.
#
# They set: program, consumed (the field that it takes), field (the one it puts), models (golden models of its kind).

models() {
    need_shared golden/models
    GOLDEN=$SHARED/golden/models
}

# engines: "ENGINE PRECISION" a line, of those that this build and processor have.
engines() {
    local known
    known=$("$program" --version)
    echo "openblas f32"
    [[ $known != *"native (f32)"* ]] || echo "native f32"
    [[ $known != *"oneDNN (f32"* ]] || echo "onednn f32"
    [[ $known != *"oneDNN (f32, bf16"* ]] || echo "onednn bf16"
    [[ $known != *"oneDNN ("*int8* ]] || echo "onednn int8"
}

# The golden models from every file form that is there, against what must come out.
check_golden() {
    local model file want arch forms
    models
    for model in $1; do
        forms=0
        for file in model.safetensors state.pt legacy.pt checkpoint.pt openai.pt open_clip hf; do
            [ -e "$GOLDEN/$model/$file" ] || continue
            want=forward.msgpack arch=()
            [ "$file" != openai.pt ] || want=forward_f16.msgpack
            [ -d "$GOLDEN/$model/$file" ] || arch=(--arch "$GOLDEN/$model/arch.json")
            "$program" -m "$GOLDEN/$model/$file" "${arch[@]}" "$GOLDEN/$model/batch.msgpack" >out
            run clip-cmp --fields "$field" --tolerance 5e-6 out "$GOLDEN/$model/$want"
            [ "$status" -eq 0 ] || complain "$model/$file: $output"
            forms=$((forms + 1))
        done
        [ "$forms" -gt 1 ] || complain "$model: $forms forms"
    done
}

# many MODEL: the model's twelve inputs four times, in changing order.
many() {
    need_python msgpack
    python - "$GOLDEN/$1/batch.msgpack" <<'END'
import sys, msgpack
records = [r for r in msgpack.Unpacker(open(sys.argv[1], "rb")) if "__key__" in r]
out = sys.stdout.buffer
for i in range(48):
    out.write(msgpack.packb({**records[i * 5 % 12 if i < 24 else 11 - i % 12], "__key__": f"{i}"}))
out.write(msgpack.packb({"__end__": 48}))
END
}

# check_same MODEL...: bytes do not change with -b, -j, pauses of the input, or what else is in the batch.
check_same() {
    local model words args engine precision
    models
    for model; do
        args=(-m "$GOLDEN/$model/model.safetensors" --arch "$GOLDEN/$model/arch.json")
        many "$model" >in
        while read -r engine precision; do
            [[ $precision != int8 || $model != rn* || $program != clip-encode-image ]] || continue
            export CLIP_ENGINE=$engine
            "$program" "${args[@]}" --precision "$precision" -b 1 -j 1 in >want
            for words in "-b 7 -j 1" "-b 32 -j 1" "-b 1 -j 2" "-b 7 -j 2" "-b 32 -j 2" "-b 48 -j 3"; do
                "$program" "${args[@]}" --precision "$precision" $words in >out
                cmp out want || complain "$model, $engine $precision: $words"
            done
            { head -c 9000 in; sleep 0.2; tail -c +9001 in | head -c 20000; sleep 0.2; tail -c +29001 in; } |
                "$program" "${args[@]}" --precision "$precision" -b 32 -j 2 >out
            cmp out want || complain "$model, $engine $precision: pauses"
        done < <(engines)
        unset CLIP_ENGINE
        # The same input under another key, at another place, has the same features.
        python - want "$field" <<'END'
import sys, msgpack
records = [r for r in msgpack.Unpacker(open(sys.argv[1], "rb")) if "__key__" in r]
seen = {}
for i, r in enumerate(records):
    which = i * 5 % 12 if i < 24 else 11 - i % 12
    assert seen.setdefault(which, r[sys.argv[2]]) == r[sys.argv[2]], i
assert len(records) == 48 and len(set(str(v) for v in seen.values())) == 12
END
    done
}

# check_levels MODEL: every level of the processor, and lower kernels of both engines, agree to rounding.
check_levels() {
    local level
    models
    for level in x86-64 x86-64-v3 x86-64-v4; do
        CLIP_CPU=$level "$program" -m "$GOLDEN/$1/model.safetensors" --arch "$GOLDEN/$1/arch.json" \
            "$GOLDEN/$1/batch.msgpack" >out 2>err || { grep -q "this processor does not support" err && continue; }
        clip-cmp --fields "$field" --tolerance 5e-6 out "$GOLDEN/$1/forward.msgpack"
    done
    for level in Prescott Nehalem Sandybridge Haswell Zen; do
        CLIP_ENGINE=openblas OPENBLAS_CORETYPE=$level "$program" -m "$GOLDEN/$1/model.safetensors" \
            --arch "$GOLDEN/$1/arch.json" "$GOLDEN/$1/batch.msgpack" >out
        clip-cmp --fields "$field" --tolerance 5e-6 out "$GOLDEN/$1/forward.msgpack"
    done
    [[ $("$program" --version) == *oneDNN\ \(* ]] || return 0
    # Below AVX-512 oneDNN's sums depend on the row: it is refused there, and another engine taken unasked.
    for level in SSE41 AVX2; do
        ONEDNN_MAX_CPU_ISA=$level "$program" -m "$GOLDEN/$1/model.safetensors" \
            --arch "$GOLDEN/$1/arch.json" "$GOLDEN/$1/batch.msgpack" >out
        clip-cmp --fields "$field" --tolerance 5e-6 out "$GOLDEN/$1/forward.msgpack"
        CLIP_ENGINE=onednn ONEDNN_MAX_CPU_ISA=$level run -1 --separate-stderr "$program" \
            -m "$GOLDEN/$1/model.safetensors" --arch "$GOLDEN/$1/arch.json" "$GOLDEN/$1/batch.msgpack"
        [[ $stderr == "$program: oneDNN is only useful with AVX-512;"* ]]
    done
}

# check_same_levels MODEL...: the same at every level of the processor and with lower kernels of both engines.
check_same_levels() {
    local model setting command
    models
    for model; do
        many "$model" >in
        for setting in CLIP_CPU={x86-64,x86-64-v3} ONEDNN_MAX_CPU_ISA=AVX512_CORE \
            "CLIP_ENGINE=openblas OPENBLAS_CORETYPE="{Prescott,Nehalem,Sandybridge,Haswell,Zen}; do
            command=(env $setting "$program" -m "$GOLDEN/$model/model.safetensors" --arch "$GOLDEN/$model/arch.json" in)
            "${command[@]}" -b 1 -j 1 >want 2>err || { grep -q "this processor does not support" err && continue; }
            "${command[@]}" -b 7 -j 2 >out
            cmp out want || complain "$model, $setting: -b 7"
            "${command[@]}" -b 32 -j 1 >out
            cmp out want || complain "$model, $setting: -b 32"
        done
    done
}

# fields FILE: the names of the first record's fields.
fields() {
    clip-dump "$1" >dump
    head -n 1 dump | grep -oE '"[a-z_]+":(\{"tensor"|"[0-9/]*")' | sed 's/:.*//' | tr -d '"' | tr '\n' ' '
}

# check_fields MODEL: what is consumed goes, the rest stays, the result comes last.
check_fields() {
    models
    "$program" -m "$GOLDEN/$1/model.safetensors" "$GOLDEN/$1/batch.msgpack" >out
    "$program" -m "$GOLDEN/$1/model.safetensors" --keep "$GOLDEN/$1/batch.msgpack" >kept
    clip-cmp --fields "$field" out kept
    local before
    before=$(fields "$GOLDEN/$1/batch.msgpack")
    [ "$(fields kept)" = "$before$field " ] || complain "kept: $(fields kept)"
    [ "$(fields out)" = "${before/$consumed /}$field " ] || complain "$(fields out)"
}

# refused WORDS RECORD: the record ends the run with one line that has the words; with --skip-bad it is named and
# the rest goes on.
refused() {
    models
    local model=$GOLDEN/vit-a/open_clip # says its heads
    echo "$2" | stream >bad
    run -1 --separate-stderr "$program" -m "$model" bad
    one_line
    [[ $stderr == *"$1"* ]] || complain "$stderr"
    "$program" -m "$model" "$GOLDEN/vit-a/batch.msgpack" >want
    "$program" -m "$model" --skip-bad bad "$GOLDEN/vit-a/batch.msgpack" >out 2>err
    cmp out want
    grep -qF -- "$1" err || complain "$(cat err)"
    [ "$(wc -l <err)" -eq 2 ]
}

check_usage() {
    run -2 --separate-stderr "$program" </dev/null
    [[ ${stderr_lines[0]} == "$program: give a model"* ]]
    run -2 --separate-stderr "$program" -m x --precision f16 </dev/null
    [[ ${stderr_lines[0]} == *f16* ]]
    run -1 --separate-stderr "$program" -m "$BATS_TEST_TMPDIR/absent" </dev/null
    one_line
    [[ $stderr == *absent* ]]
    echo '{' >cut.safetensors
    run -1 --separate-stderr "$program" -m cut.safetensors </dev/null
    one_line
    models
    head -c 500000 "$GOLDEN/vit-a/model.safetensors" >cut.safetensors
    run -1 --separate-stderr "$program" -m cut.safetensors </dev/null
    one_line
}

check_engine_choice() {
    models
    local model=$GOLDEN/vit-a/model.safetensors input=$GOLDEN/vit-a/batch.msgpack
    CLIP_ENGINE=openblas run -0 --separate-stderr bash -c '"$@" >/dev/null' - "$program" -v -m "$model" "$input"
    [[ $stderr == *"OpenBLAS"*"f32"* ]] || complain "$stderr"
    CLIP_ENGINE=openblas run -1 --separate-stderr "$program" --precision bf16 -m "$model" "$input"
    one_line
    [[ $stderr == *"f32 only"* ]] || complain "$stderr"
    CLIP_ENGINE=abacus run -1 --separate-stderr "$program" -m "$model" "$input"
    one_line
    [[ $stderr == *abacus* ]]
    CLIP_CPU=i386 run -1 --separate-stderr "$program" -m "$model" "$input"
    one_line
    [[ $stderr == *i386* ]]
    if [[ $("$program" --version) == *"oneDNN ("* ]]; then
        ONEDNN_MAX_CPU_ISA=AVX2 run -1 --separate-stderr "$program" --precision bf16 -m "$model" "$input"
        one_line
        [[ $stderr == *"bf16 needs"* ]] || complain "$stderr"
        ONEDNN_MAX_CPU_ISA=AVX512_CORE run -1 --separate-stderr "$program" --precision int8 -m "$model" "$input"
        one_line
        [[ $stderr == *"int8 needs a processor with AVX-512 VNNI; this one has AVX"* ]] || complain "$stderr"
    fi
}

# check_bf16 MODEL: every cosine with f32 is at least 0.999.
check_bf16() {
    models
    need_python msgpack_numpy numpy
    [[ $(engines) == *bf16* ]] || skip bf16
    local model
    for model; do
        "$program" -m "$GOLDEN/$model/model.safetensors" --arch "$GOLDEN/$model/arch.json" \
            --precision bf16 "$GOLDEN/$model/batch.msgpack" >out
        python - out "$GOLDEN/$model/forward.msgpack" "$field" <<'END'
import sys, msgpack, msgpack_numpy, numpy
read = lambda name: [r[sys.argv[3]].astype("f8") for r in msgpack.Unpacker(open(name, "rb"), object_hook=msgpack_numpy.decode)
                     if "__key__" in r]
a, b = read(sys.argv[1]), read(sys.argv[2])
cosines = [x @ y / numpy.sqrt((x @ x) * (y @ y)) for x, y in zip(a, b)]
assert len(a) == len(b) == 12 and 0.999 <= min(cosines) < 1, min(cosines)
END
    done
}
