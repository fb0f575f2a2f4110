#!/bin/sh
# The demo: the default model classifies the sample photographs and finds them by text; their similarities to captions
# are drawn, and a page of what was found is written.
# Runs in the source tree (programs from bin/) and installed (programs from PATH). Usage: demo.sh [FIGURE.png]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin=
[ ! -x "$here/../bin/clip-untar" ] || bin=$(cd "$here/../bin" && pwd)
PATH=${bin:+$bin:}$PATH
export PATH CLIP_DATADIR="$here"
figure=${1:-demo.png}
case $figure in
/*) ;;
*) figure=$PWD/$figure ;;
esac

page=${figure%.png}.html

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# quote WORD: as a word of the shell.
quote() {
    printf '%s\n' "$1" | sed "s/'/'\\\\''/g; s/.*/'&'/"
}

# run COMMAND: prints it, indented, so that it can be pasted, and runs it.
run() {
    printf '%s\n' "$1" | sed 's/^/    /'
    eval "$1"
}

# shellcheck disable=SC2016 # what is run is what is printed, variables and all
demo() {
    echo "The default model, things, knows 210 kinds of things from the 150,000 small pictures of Tiny ImageNet and CIFAR-10."
    echo "Its data, accuracy and limits: $here/models/things/README.md"
    echo "The indented lines are the commands; they can be pasted into a shell, after these:"
    [ -z "$bin" ] || echo "    PATH=$(quote "$bin"):\$PATH"
    echo "    cd $(quote "$here") && work=\$(mktemp -d) figure=$(quote "$figure") page=$(quote "$page")"
    echo
    run 'clip-model info things | grep -E "^(parameters|vision|text)"'

    echo
    echo "What is on photographs from elsewhere:"
    run 'clip-classify -m things -k 2 -p recipes/things/templates.txt samples/photos/*.jpg -- \
$(cat recipes/cifar10/classnames.txt)'

    echo
    echo "Which photographs match a text, by an index of the folder:"
    run 'XDG_CACHE_HOME=$work clip-search -d samples/photos -t 3 a photo of a horse'

    echo
    echo "The same by hand: photographs and captions, each through its tower, into one space."
    run '(cd samples/photos && clip-files -q *.jpg) | clip-preprocess -q -m things |
tee "$work/pixels.clip" | clip-encode-image -q -m things | clip-project-normalize -q -m things >"$work/photos.clip"'
    run 'clip-tokenize -q --lines -m things recipes/cifar10/classnames.txt | clip-encode-text -q -m things |
clip-project-normalize -q -m things >"$work/captions.clip"'
    run 'clip-simmatrix -q --tsv "$work/photos.clip" "$work/captions.clip" |
clip-plot -q -i "$work/pixels.clip" -t "Cosine similarity, model things" -o "$figure"'
    echo
    echo "Drawn in $figure. A page with what a search found, and the pictures:"
    run 'XDG_CACHE_HOME=$work clip-search -n -d samples/photos --page "$page" a photo of a bird'
    echo
    echo "Written to $page."
}

cd "$here"
demo
