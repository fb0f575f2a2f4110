load helper

setup() {
    need_python msgpack_numpy numpy
    cd "$BATS_TEST_TMPDIR"
    cp "$SRC"/tests/data/pictures/{420.jpg,rgba8.png,lossy.webp,half.jpg,huge.png} .
}

hex() {
    od -An -v -tx1 "$1" | tr -d ' \n'
}

# pictures FILE...: a stream of the files, a record each: the key is the name up to the dot, the field what follows.
pictures() {
    local file
    for file; do
        echo "{\"__key__\": \"${file%%.*}\", \"${file#*.}\": {\"hex\": \"$(hex "$file")\"}}"
    done | stream
}

# Prints each record: key, fields, and of the image its type, shape and SHA-256.
show() {
    python -c '
import sys, hashlib, msgpack, msgpack_numpy
for o in msgpack.Unpacker(sys.stdin.buffer, object_hook=msgpack_numpy.decode, raw=False):
    if "__key__" not in o: continue
    a = o.get("image")
    print(o["__key__"], ",".join(k for k in o if k[0] != "_"),
          "" if a is None else f"{a.dtype.str[1:]} {list(a.shape)} {hashlib.sha256(a.tobytes()).hexdigest()}")'
}

# want FILE SIZE ORDER: the hash that expected.txt gives.
want() {
    sed -n "s/^$1 $2 $3 //p" "$SRC/tests/data/pictures/expected.txt"
}

@test "pictures become images, in order, with the bytes of Pillow and torchvision" {
    pictures 420.jpg rgba8.png lossy.webp | clip-preprocess --size 9 | show >out
    diff out - <<END
420 image u1 [3, 9, 9] $(want 420.jpg 9 openai)
rgba8 image u1 [3, 9, 9] $(want rgba8.png 9 openai)
lossy image u1 [3, 9, 9] $(want lossy.webp 9 openai)
END
    pictures 420.jpg rgba8.png | clip-preprocess --size 9 --convert-first | show >out
    diff out - <<END
420 image u1 [3, 9, 9] $(want 420.jpg 9 convert-first)
rgba8 image u1 [3, 9, 9] $(want rgba8.png 9 convert-first)
END
}

# want_resized FILE HEIGHT WIDTH RESIZE INTERPOLATION FILL ORDER: the hash that resized.txt gives.
want_resized() {
    sed -n "s/^$* //p" "$SRC/tests/data/pictures/resized.txt"
}

@test "--resize, --interpolation, --fill and two sides give the bytes of open_clip's transform" {
    cp "$SRC"/tests/data/pictures/{palette8,gray-alpha8,gray1}.png "$SRC/tests/data/pictures/cmyk.jpg" .
    pictures 420.jpg rgba8.png lossy.webp palette8.png gray-alpha8.png gray1.png cmyk.jpg >in
    while read -r height width resize interpolation fill order; do
        size=$height,$width
        [ $height != $width ] || size=$height
        clip-preprocess --size $size --resize $resize --interpolation $interpolation \
            $([ $resize != longest ] || echo --fill $fill) $([ $order = openai ] || echo --convert-first) in | show >out
        for file in 420.jpg rgba8.png lossy.webp palette8.png gray-alpha8.png gray1.png cmyk.jpg; do
            echo "${file%%.*} image u1 [3, $height, $width] $(want_resized $file $height $width $resize $interpolation $fill $order)"
        done | diff out -
    done <<END
9 9 shortest bilinear 0 openai
9 9 shortest bilinear 0 convert-first
12 20 shortest bilinear 0 openai
9 9 squash bilinear 0 openai
9 16 squash bicubic 0 convert-first
16 11 longest bilinear 2 openai
13 13 longest bicubic 255 openai
16 11 longest bicubic 40 convert-first
END
}

@test "what cannot be resized within the image is refused" {
    cp "$SRC/tests/data/pictures/column.png" .
    pictures column.png >in
    run -1 --separate-stderr clip-preprocess --size 16,11 --resize longest in
    [[ $stderr == "clip-preprocess: in: sample column: png: "*" pixels are too long to be resized to 11 x 16" ]]
    clip-preprocess --size 16,11 --resize squash in >/dev/null
}

@test "f32 is (byte / 255 - mean) / std" {
    pictures 420.jpg rgba8.png >in
    clip-preprocess --size 32 in >u8
    clip-preprocess --size 32 --dtype f32 in >f32
    python -c '
import msgpack, msgpack_numpy, numpy
mean = numpy.float32([0.48145466, 0.4578275, 0.40821073])[:, None, None]
std = numpy.float32([0.26862954, 0.26130258, 0.27577711])[:, None, None]
read = lambda name: [o["image"] for o in msgpack.Unpacker(open(name, "rb"), object_hook=msgpack_numpy.decode)
                     if "image" in o]
u8, f32 = read("u8"), read("f32")
assert len(u8) == len(f32) == 2 and f32[0].dtype == "<f4"
for a, b in zip(u8, f32):
    assert ((a.astype("f4") / numpy.float32(255) - mean) / std == b).all()'
}

@test "the bytes do not depend on threads, batches, or pauses of the input" {
    cp "$SRC"/tests/data/pictures/*.png .
    rm -f $(sed -n 's/ 7 openai refused//p' "$SRC/tests/data/pictures/expected.txt")
    pictures *.png *.jpg >in
    clip-preprocess --size 32 --skip-bad -j 1 -b 1 <in >a 2>/dev/null
    clip-preprocess --size 32 --skip-bad -j 2 -b 7 <in >b 2>/dev/null
    clip-preprocess --size 32 --skip-bad -j 5 <in >c 2>/dev/null
    { head -c 3000 in; sleep 0.2; tail -c +3001 in; } | clip-preprocess --size 32 --skip-bad >d 2>/dev/null
    cmp a b
    cmp a c
    cmp a d
    [ "$(stat -c %s a)" -gt 100000 ]
}

@test "the picture is in the first field whose last extension says so, whatever it is inside" {
    echo '{"__key__": "a", "txt": {"hex": "00"}, "left.JPG": {"hex": "'$(hex rgba8.png)'"},
        "right.png": {"hex": "'$(hex 420.jpg)'"}}' | tr -d '\n' | stream >in
    [ "$(clip-preprocess -s 9 in | show)" = "a txt,right.png,image u1 [3, 9, 9] $(want rgba8.png 9 openai)" ]
    [ "$(clip-preprocess -s 9 --field right.png in | show)" = \
        "a txt,left.JPG,image u1 [3, 9, 9] $(want 420.jpg 9 openai)" ]
    [ "$(clip-preprocess -s 9 --keep in | show)" = \
        "a txt,left.JPG,right.png,image u1 [3, 9, 9] $(want rgba8.png 9 openai)" ]
}

# field_order NAME...: which of the fields of these names is taken.
field_order() {
    local name fields=
    for name; do
        fields+=", \"$name\": {\"hex\": \"$(hex 420.jpg)\"}"
    done
    echo "{\"__key__\": \"a\"$fields}" | stream | clip-preprocess -s 9 | clip-dump | grep -oE '"[^"]*":\{"bin"' |
        cut -d'"' -f2 | sort >left
    printf '%s\n' "$@" | sort | comm -23 - left
}

@test "of several pictures an exact name comes before an ending, in the order jpg, jpeg, png, webp, jfif, jpe" {
    [ "$(field_order canny.png jpg)" = jpg ]
    [ "$(field_order canny.jpg mask.jpeg png)" = png ]
    [ "$(field_order canny.jpg JPE)" = JPE ]
    [ "$(field_order jpe jfif webp png jpeg jpg)" = jpg ]
    [ "$(field_order jpe jfif webp png jpeg)" = jpeg ]
    [ "$(field_order jpe jfif webp png)" = png ]
    [ "$(field_order jpe jfif webp)" = webp ]
    [ "$(field_order jpe jfif)" = jfif ]
    [ "$(field_order mask.png left.jpe right.jpg)" = right.jpg ]
    [ "$(field_order xjpg a.jfif)" = a.jfif ]
}

@test "--field takes a list, of which the first that is there is taken" {
    echo '{"__key__": "a", "jpg": {"hex": "00"}, "x.png": {"hex": "'$(hex rgba8.png)'"}, "y": {"hex": "'$(hex 420.jpg)'"}}' |
        stream >in
    [ "$(clip-preprocess -s 9 --field z,y,x.png in | show)" = "a jpg,x.png,image u1 [3, 9, 9] $(want 420.jpg 9 openai)" ]
    [ "$(clip-preprocess -s 9 --field x.png,y in | show)" = "a jpg,y,image u1 [3, 9, 9] $(want rgba8.png 9 openai)" ]
    run -1 --separate-stderr clip-preprocess -s 9 --field z,zz in
    [[ $stderr == *"sample a: no field z,zz" ]]
    run -2 clip-preprocess -s 9 --keep --field jpg,image
}

@test "an empty member, and other pictures, are named as what they are" {
    echo '{"__key__": "a", "jpg": ""}' | stream >in
    run -1 --separate-stderr clip-preprocess -s 9 in
    [ "$stderr" = "clip-preprocess: in: sample a: jpg: empty" ]
    echo '{"__key__": "a", "jpg": "GIF89a"}' | stream >in
    run -1 --separate-stderr clip-preprocess -s 9 in
    [ "$stderr" = "clip-preprocess: in: sample a: jpg: a GIF picture: neither JPEG, PNG nor WebP" ]
}

@test "a record without a picture is named" {
    echo text >b.txt
    pictures 420.jpg b.txt >in
    run -1 --separate-stderr clip-preprocess -s 9 in
    one_line
    [[ $stderr == *"sample b: no picture: no field is, or ends in, one of jpg, jpeg, png, webp, jfif, jpe" ]]
    run -1 --separate-stderr clip-preprocess -s 9 --field jpeg in
    one_line
    [[ $stderr == *"sample 420: no field jpeg" ]]
    pictures b.txt >in
    run -1 --separate-stderr clip-preprocess -s 9 --field txt in
    [[ $stderr == *"sample b: txt: neither JPEG, PNG nor WebP" ]]
}

@test "a broken picture ends the stream, or is skipped and counted" {
    pictures 420.jpg half.jpg rgba8.png >in
    clip-preprocess -s 9 in >out 2>err && false
    [[ $(cat err) == "clip-preprocess: "*"sample half: jpg: JPEG file is broken or cut: cut in its data" ]]
    [ "$(show <out)" = "420 image u1 [3, 9, 9] $(want 420.jpg 9 openai)" ]
    clip-preprocess -s 9 --skip-bad in >out 2>err
    [ "$(show <out | wc -l)" = 2 ]
    [[ $(head -n 1 err) == *"sample half: jpg: "*" (skipped)" ]]
    [ "$(tail -n 1 err)" = "clip-preprocess: 1 bad records skipped" ]
}

@test "--rejects keeps what was dropped, and why, without pictures" {
    pictures 420.jpg half.jpg rgba8.png >in
    head -c 999 "$BATS_TEST_DIRNAME/data/pictures/420.jpg" >cut.jpg
    touch -d @1500000000.5 cut.jpg
    clip-files cut.jpg >>in
    clip-preprocess -s 9 --skip-bad in >want 2>/dev/null
    run -0 --separate-stderr bash -c 'clip-preprocess -s 9 --skip-bad --rejects bad in >out'
    [ "$stderr" = "clip-preprocess: 2 bad records skipped (-v names them)" ]
    cmp want out
    clip-dump --tsv __key__,__size__,__mtime__,error bad >rows
    [ "$(cut -f 1-3 rows)" = $'half\t\t\ncut.jpg\t999\t1500000000.5' ]
    [ "$(grep -c 'jpg: JPEG file is broken or cut' rows)" -eq 2 ]
    [ "$(stat -c %s bad)" -lt 600 ]
    run -0 --separate-stderr bash -c 'clip-preprocess -v -s 9 --skip-bad --rejects bad in >out'
    [ "$(grep -c '(skipped)$' <<<"$stderr")" -eq 2 ]
    # Nothing is written if nothing was dropped, or the run fails.
    pictures 420.jpg | clip-preprocess -s 9 --skip-bad --rejects none >out
    [ ! -e none ]
    head -c -20 in >cut
    run -1 bash -c 'clip-preprocess -s 9 --skip-bad --rejects none cut >out'
    [ "$(ls | grep -c '^none')" -eq 0 ]
    run -2 clip-preprocess -s 9 --rejects none in
    refuses "nowhere/bad: No such file or directory" clip-preprocess -s 9 --skip-bad --rejects nowhere/bad in
}

@test "pictures that are too large are refused by their header, without memory for them" {
    pictures huge.png >in
    run -1 --separate-stderr "$BUILD/tests/tools/peak" memory clip-preprocess -s 224 in
    one_line
    [[ $stderr == *"sample huge: png: 60000 x 60000 pixels are more than the limit of 178956970" ]]
    sanitized || [ "$(cat memory)" -lt 100000 ]
    pictures 420.jpg >in
    run -1 --separate-stderr clip-preprocess -s 224 --max-pixels 739 in
    [[ $stderr == *"sample 420: jpg: 37 x 20 pixels are more than the limit of 739" ]]
    clip-preprocess -s 224 --max-pixels 740 in >/dev/null
}

@test "size and order come from the model" {
    need_shared golden/models/vit-a
    pictures 420.jpg >in
    for form in open_clip hf; do
        clip-preprocess -m "$SHARED/golden/models/vit-a/$form" in | show >out
        grep -F "image u1 [3, 32, 32]" out
        grep -F "$(want 420.jpg 32 $([ $form = hf ] && echo convert-first || echo openai))" out
    done
    clip-preprocess -m "$SHARED/golden/models/vit-a/open_clip" -s 9 in | show | grep -F "$(want 420.jpg 9 openai)"
}

@test "the model says how pictures are resized; options override it" {
    mkdir model
    pictures 420.jpg >in
    while read -r height width resize interpolation fill; do
        cat >model/open_clip_config.json <<END
{"model_cfg": {"embed_dim": 8, "text_cfg": {},
  "vision_cfg": {"image_size": [$height, $width], "patch_size": 1, "width": 64, "layers": 1}},
 "preprocess_cfg": {"size": 7, "mode": "RGB", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
  "resize_mode": "$resize", "interpolation": "$interpolation", "fill_color": $fill}}
END
        [ "$(clip-preprocess -m model in | show)" = \
            "420 image u1 [3, $height, $width] $(want_resized 420.jpg $height $width $resize $interpolation $fill openai)" ]
    done <<'END'
9 9 shortest bilinear 0
12 20 shortest bilinear 0
9 9 squash bilinear 0
13 13 longest bicubic 255
16 11 longest bilinear 2
END
    clip-preprocess -m model --size 13 --interpolation bicubic --fill 255 in | show | grep -F "$(want_resized 420.jpg 13 13 longest bicubic 255 openai)"
    clip-preprocess -m model --size 9 --resize shortest in | show | grep -F "$(want_resized 420.jpg 9 9 shortest bilinear 0 openai)"
    run -2 clip-preprocess -m model --resize squash --fill 3 in
    # (1 - 0.5) / 0.25 is 2, and -2 the least
    clip-preprocess -m model --dtype f32 in >floats
    python -c '
import msgpack, msgpack_numpy
image = next(o["image"] for o in msgpack.Unpacker(open("floats", "rb"), object_hook=msgpack_numpy.decode) if "image" in o)
assert image.shape == (3, 16, 11) and abs(image).max() <= 2 and image[0, 0, 0] == image.dtype.type(2 / 255 - 0.5) / image.dtype.type(0.25)'
}

@test "Hugging Face's SigLIP processor squashes pictures that are converted first" {
    need_shared golden/models/vit-a/hf
    cp -r "$SHARED/golden/models/vit-a/hf" model
    cp "$SRC/tests/data/pictures/palette8.png" .
    pictures 420.jpg palette8.png >in
    echo '{"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}' >model/preprocessor_config.json
    clip-preprocess -m model in >out
    clip-preprocess --size 32 --resize squash --interpolation bilinear --convert-first in | cmp - out
    run -1 cmp -s out <(clip-preprocess --size 32 --resize squash --interpolation bilinear in)
}

@test "wrong usage" {
    run -2 --separate-stderr clip-preprocess
    [[ ${stderr_lines[0]} == "clip-preprocess: give a model (-m) or a size (--size)" ]]
    for size in 0 -1 x 9, 9,0 9,8,7 9x8 16385 9,16385; do
        run -2 --separate-stderr clip-preprocess -s $size
        [[ ${stderr_lines[0]} == "clip-preprocess: --size: '$size' is neither a side S nor a height and width H,W of 1 to 16384" ]]
    done
    run -2 --separate-stderr clip-preprocess -s 9 --fill 3
    [[ ${stderr_lines[0]} == "clip-preprocess: --fill needs --resize longest" ]]
    run -2 --separate-stderr clip-preprocess -s 9 --resize longest --fill 256
    run -2 --separate-stderr clip-preprocess -s 9 --resize crop
    run -2 --separate-stderr clip-preprocess -s 9 --interpolation lanczos
    run -2 --separate-stderr clip-preprocess -s 9 --dtype f16
    run -2 --separate-stderr clip-preprocess -s 9 --keep --field image
    run -1 --separate-stderr clip-preprocess -m no/such/model
    one_line
}

# passes KEYS EPOCHS FILE...: a stream of the pictures, each under many keys, in several epochs.
passes() {
    local key epoch file
    for epoch in $(seq "$2"); do
        for key in $(seq "$1"); do
            for file in "${@:3}"; do
                echo "{\"__key__\": \"$key.$file\", \"__epoch__\": $epoch, \"${file#*.}\": {\"hex\": \"$(hex "$file")\"}}"
            done
        done
    done | stream
}

@test "augmentation is what NumPy and Pillow make of the same random numbers" {
    need_python PIL numpy msgpack msgpack_numpy
    passes 12 2 420.jpg rgba8.png lossy.webp >in
    while read -r count options; do
        set -- $options
        clip-preprocess --size 20 --augment --seed $1 --crop-scale $2,$3 --crop-ratio $4,$5 --pad $6 --pad-mode $7 \
            $([ $8 -eq 0 ] || echo --flip) --erase $9 in >out
        run -0 python "$BATS_TEST_DIRNAME/augment.py" in out 20 $options
        [ "$output" = "$count images are the same" ] || complain "$options: $output"
    done <<END
72 0 0.9 1 0.75 1.3333 0 black 0 0
72 5 0.2 1 0.5 2 0 black 1 0
72 6 1 1 1 1 3 black 1 0
72 7 1 1 1 1 4 reflect 1 0.4
72 8 0.9 1 0.75 1.3333 2 reflect 1 0.25
72 123456789012 0.3 0.4 1 1 2 black 0 0.9
72 9 0.25 4 0.75 1.3333 0 reflect 1 0
72 10 1 2.5 0.5 2 3 black 0 0
END
}

@test "augmentation is a function of seed, epoch and key" {
    passes 4 2 420.jpg >in
    options=(--size 16 --augment --crop-scale 0.3,1 --flip)
    clip-preprocess "${options[@]}" in | show >a
    [ "$(cut -d ' ' -f 5- a | sort -u | wc -l)" -eq 8 ]
    clip-preprocess "${options[@]}" --seed 0 -j 1 -b 1 in | show >b
    cmp a b
    clip-preprocess "${options[@]}" --seed 1 in | show >c
    [ -z "$(comm -12 <(sort a) <(sort c))" ]
    # nor does what else is in the stream matter
    equal <(passes 4 1 420.jpg rgba8.png | clip-preprocess "${options[@]}" | show | grep '420') <(head -n 4 a)
    for epoch in '"x"' -1 4294967296; do
        echo "{\"__key__\": \"a\", \"__epoch__\": $epoch, \"jpg\": {\"hex\": \"$(hex 420.jpg)\"}}" | stream >bad
        run -1 --separate-stderr clip-preprocess "${options[@]}" bad
        [ "$stderr" = "clip-preprocess: bad: sample a: field '__epoch__' is not a whole number from 0 to 4294967295" ]
    done
}

@test "augmentation that changes nothing, and its options" {
    pictures 420.jpg rgba8.png lossy.webp >in
    clip-preprocess --size 9 in >a
    clip-preprocess --size 9 --augment --crop-scale 1,1 in >b
    cmp a b
    for bad in "--flip" "--pad 1" "--seed 0" "--crop-scale 0.5,1" "--crop-ratio 1,2" "--erase 0.5" "--augment --crop-scale 0,1" \
        "--augment --crop-scale 0.5" "--augment --crop-scale 0.5,4.1" "--augment --crop-scale 1,0.5" "--augment --crop-ratio 1,nan" \
        "--augment --crop-ratio 1,2x" "--augment --erase 2" "--augment --pad 5000"; do
        run -2 clip-preprocess --size 9 $bad in
    done
}

@test "each level of the processor gives the same bytes; one that is not there is refused" {
    local level
    pictures 420.jpg rgba8.png lossy.webp >in
    CLIP_CPU=x86-64 clip-preprocess --size 33 in >plain
    clip-preprocess --size 33 in | cmp - plain
    for level in x86-64-v3 x86-64-v4; do
        run --separate-stderr clip-cmp plain <(CLIP_CPU=$level clip-preprocess --size 33 in 2>why)
        [ "$status" -eq 0 ] || grep -qx "clip-preprocess: CLIP_CPU: this processor does not support $level" why
    done
    CLIP_CPU=i386 run -1 --separate-stderr clip-preprocess --size 33 in
    [ "$stderr" = "clip-preprocess: CLIP_CPU: unknown level 'i386' (x86-64, x86-64-v3 or x86-64-v4)" ]
}
