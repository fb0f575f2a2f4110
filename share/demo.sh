#!/bin/sh
# The demo: embeds the sample pictures and captions, prints the matrix of their similarities, draws it.
# Runs in the source tree (programs from bin/) and installed (programs from PATH). Usage: demo.sh [FIGURE.png]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ ! -x "$here/../bin/clip-untar" ] || PATH=$here/../bin:$PATH
export PATH CLIP_DATADIR="$here"
figure=${1:-demo.png}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

show() {
    printf '%s\n' "$*" | sed -e "s|$work/||g" -e "s|$here/|share/|g" -e '1s/^/$ /' -e '2,$s/^/  /'
}

echo "A model whose weights are untrained: random numbers, so the similarities mean nothing yet."
set -- clip-model init "$here/arch/demo.json" --seed 1 -o "$work/model"
show "$*"
"$@"

echo
echo "Eight pictures and their captions, through both towers into one space:"
show "(cd share/samples && tar -cf - *.*) | clip-untar | clip-tokenize -m model | clip-preprocess -m model |
tee pixels.clip | clip-encode-image -m model | clip-encode-text -m model |
clip-project-normalize -m model > pairs.clip"
(cd "$here/samples" && tar -cf - -- *.*) | clip-untar | clip-tokenize -m "$work/model" |
    clip-preprocess -m "$work/model" | tee "$work/pixels.clip" | clip-encode-image --no-progress -m "$work/model" |
    clip-encode-text --no-progress -m "$work/model" | clip-project-normalize -m "$work/model" >"$work/pairs.clip"

echo
echo "The cosine of each picture (a row) and each caption (a column):"
show "clip-simmatrix --tsv --label key pairs.clip"
clip-simmatrix --tsv --label key "$work/pairs.clip" |
    awk -F '\t' '{ for (i = 1; i <= NF; i++) printf i == 1 ? "%-11s" : NR == 1 ? " %10s" : " %10.3f", $i; print "" }'

echo
echo "The caption that each picture is nearest to:"
show "clip-simmatrix --top 1 --tsv pairs.clip"
clip-simmatrix --top 1 --tsv "$work/pairs.clip"

clip-simmatrix --tsv "$work/pairs.clip" |
    clip-plot -i "$work/pixels.clip" --edge left -t 'Cosine similarity (untrained weights)' -o "$figure"
echo
echo "Drawn in $figure. With a trained model: -m ViT-B-32.pt (see README.md)."
