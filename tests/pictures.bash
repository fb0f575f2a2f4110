# What tests of picture towers share: small models of them, and pictures.

# picture_arch VISION_CFG: a JSON in arch.json, whose pictures are of the size that it says.
picture_arch() {
    cat >arch.json <<END
{"embed_dim": 20, "vision_cfg": $1,
 "text_cfg": {"context_length": 12, "vocab_size": 514, "width": 16, "heads": 2, "layers": 1}}
END
}

# pictures SIDE N: a stream of N pictures [3, SIDE, SIDE] of bytes: some squares of colour, and noise.
pictures() {
    python - "$@" <<'END'
import sys, msgpack, numpy
side, n = map(int, sys.argv[1:])
draw = numpy.random.default_rng(side)
for i in range(n):
    at = numpy.arange(side) * 4 // side
    image = draw.integers(0, 192, (3, 4, 4), "u1")[:, at][:, :, at] + draw.integers(0, 64, (3, side, side), "u1")
    sys.stdout.buffer.write(msgpack.packb({"__key__": str(i), "image": {
        b"nd": True, b"type": "|u1", b"kind": b"", b"shape": image.shape, b"data": image.tobytes()}}))
sys.stdout.buffer.write(msgpack.packb({"__end__": n}))
END
}

# tower_like_pytorch SIZE OPTIONS: a model of such a timm tower, in `model`, with batch norms and layer scales as if it had been
# trained, gives what PyTorch does, the same bytes in any batch, with any number of threads; `in`, pictures; `want`, features.
tower_like_pytorch() {
    picture_arch "{\"image_size\": $1, \"timm_model_name\": \"$2}"
    clip-model init -q arch.json -o model 2>/dev/null || complain "$2"
    family trained model/open_clip_model.safetensors
    pictures "$1" 5 >in
    clip-encode-image --keep -m model in >want
    clip-project-normalize -m model want >got
    family embeddings model got 2e-6 || complain "$1 $2"
    equal want <(clip-encode-image --keep -m model -b 1 -j 1 in)
    equal want <(clip-encode-image --keep -m model -b 2 -j 3 in)
}
