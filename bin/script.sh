# What the programs in sh share; make puts it in the place of @SCRIPT@.
#
# Each sets `purpose`, `operands`, `options` (the lines of --help), `short` and `long` (as getopt(1) takes them).
program=${0##*/}
here=$(dirname "$(readlink -f "$0")")
PATH=$here:$PATH
export PATH

# Numbers have a decimal point in every locale; letters are still the locale's. LC_ALL would say both.
if [ -n "${LC_ALL:-}" ]; then
    LC_CTYPE=$LC_ALL LC_COLLATE=$LC_ALL LC_MESSAGES=$LC_ALL
    export LC_CTYPE LC_COLLATE LC_MESSAGES
    unset LC_ALL
fi
LC_NUMERIC=C
export LC_NUMERIC

# The model of programs that work without --model: a name in share/models.
default_model=things

message() {
    printf '%s: %s\n' "$program" "$*" >&2
}

fail() {
    message "$*"
    exit 1
}

# Both lines in one write, so that nothing of another program comes between them.
wrong_usage() {
    printf '%s: %s\nTry '\''%s --help'\''.\n' "$program" "$*" "$program" >&2
    exit 2
}

{ true 3>&1; } 2>/dev/null || fail "standard output: Bad file descriptor"

# Standard input to standard output, which may be full.
emit() {
    { why=$(LC_ALL=C cat 2>&1 >&3); } 3>&1 || fail "standard output: ${why##*: }"
}

# mktemp(1), whose own message has neither this program's name nor the folder in it.
mktemp() {
    why=$(LC_ALL=C command mktemp "$@" 2>&1) || fail "a temporary folder in ${TMPDIR:-/tmp}: ${why##*: }"
    printf '%s\n' "$why"
}

# The folder of share/ with the file $1: $CLIP_DATADIR, beside the programs, or installed.
find_data() {
    for data in "${CLIP_DATADIR:-$here/../share/clip-tools}" "$here/../share" '@pkgdatadir@'; do
        [ ! -f "$data/$1" ] || return 0
    done
    fail "$1 is neither in share/ beside the program nor in @pkgdatadir@"
}

help() {
    emit <<END
Usage: $program [OPTION]... $operands
$purpose

Options:
$options
      --dry-run                 print the pipeline instead, to be pasted into a shell
  -h, --help                    print this help
  -V, --version                 print the version

See also: man $program, man clip-tools
END
    exit 0
}

version() {
    echo "$program (clip-tools) @VERSION@" | emit || exit 1
    exit 0
}

# quote WORD...: sets `quoted` to the words as a shell reads them.
quote() {
    quoted=
    for word; do
        case $word in
        '' | *[!A-Za-z0-9_./:=,%+@^-]*)
            rest=$word word=
            while [ "$rest" != "${rest#*\'}" ]; do
                word=$word${rest%%\'*}"'\\''"
                rest=${rest#*\'}
            done
            word="'$word$rest'"
            ;;
        esac
        quoted=$quoted${quoted:+ }$word
    done
}

# read_options WORD...: sets `words` to options, "--" and operands, for `eval "set -- $words"`.
read_options() {
    words=$(getopt -q -o "hV$short" -l "help,version,dry-run,$long" -- "$@") && return
    why=$(getopt -n "$program" -o "hV$short" -l "help,version,dry-run,$long" -- "$@" 2>&1 >/dev/null)
    wrong_usage "${why#"$program: "}"
}

# still_model MODEL: sets `model` to MODEL without links on the way to its folder: one such as run/latest moves while a
# run goes on, and all of a page must be of one model. A file's own link stays, for what lies beside it.
still_model() {
    model=$1 path=$1
    if [ ! -e "$path" ]; then # a name
        IFS=:
        for folder in ${CLIP_MODEL_PATH:-}; do
            [ -z "$folder" ] || [ ! -e "$folder/$1" ] || { path=$folder/$1 && break; }
        done
        unset IFS
        [ -e "$path" ] || return
    fi
    folder=$path file=
    [ -d "$folder" ] || { folder=$(dirname -- "$path") && file=/${path##*/}; }
    real=$(readlink -f -- "$folder")
    [ "$real" = "$(realpath -s -- "$folder")" ] || model=$real$file
}

# whole_number OPTION LEAST VALUE: refuses what is not a whole number of at least LEAST (and at most 18 digits).
whole_number() {
    case $3 in
    '' | *[!0-9]* | ???????????????????*) wrong_usage "$1: '$3' is not a whole number from $2 on" ;;
    esac
    [ "$3" -ge "$2" ] || wrong_usage "$1: '$3' is not a whole number from $2 on"
}

# Runs the page in `page`, or prints it.
run_page() {
    if [ -n "$dry_run" ]; then
        printf '%s\n' "$page" | emit || exit 1
        exit 0
    fi
    eval "$page"
}
