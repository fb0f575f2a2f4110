# What every bats file loads first: `load helper`. Works under `make check` (also when built outside the source
# tree) and as `bats tests/clip-x.bats` in a built tree. Tests write only below $BATS_TEST_TMPDIR.
bats_require_minimum_version 1.5.0

SRC=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
BUILD=${CLIP_BUILD:-$SRC}
SHARED=${CLIP_SHARED:-$SRC/../shared}
export LC_ALL=C.UTF-8 CLIP_DATADIR=${CLIP_DATADIR:-$SRC/share} XDG_CACHE_HOME=$BATS_RUN_TMPDIR/cache
case $PATH in
"$BUILD/bin:"*) ;;
*) PATH=$BUILD/bin:$PATH ;;
esac

# Every program, as the source tree has it.
programs() {
    (cd "$SRC/bin" && for file in clip-*.c clip-*.in; do [ ! -e "$file" ] || echo "${file%.*}"; done | sort)
}

# need_shared PATH: skips the test where the shared folder lacks it. (Skips name what is missing in one word.)
need_shared() {
    [ -e "$SHARED/$1" ] || skip "shared/$1"
}

# need COMMAND: skips the test where it is not installed.
need() {
    command -v "$1" >/dev/null || skip "$1"
}

# need_python MODULE...: skips the test where Python lacks one. Tests call it as `python`.
need_python() {
    [ -x /usr/bin/python3 ] || skip python3
    local module package
    for module; do
        package=python3-${module//_/-}
        /usr/bin/python3 -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$module') is None)" || skip "${package,,}"
    done
}
python() {
    /usr/bin/python3 "$@"
}

# sanitized: whether the programs were built with --enable-sanitizers (which costs memory and time).
sanitized() {
    grep -q __asan_init "$BUILD/tests/tools/stream-example"
}

# has_mpi: whether clip-ranks and the machine have MPI. Open MPI unloads its components before the end, when what they have
# leaked has no name; in its whole stack tests/lsan.supp finds the libraries that called them.
has_mpi() {
    [[ "$(clip-ranks --version)" != *"without MPI"* ]] && command -v mpirun >/dev/null || return 1
    if sanitized; then export ASAN_OPTIONS=fast_unwind_on_malloc=0; fi
}

# need_mpi: skips the test where they do not.
need_mpi() {
    need mpirun
    has_mpi || skip MPI
}

# complain WORDS...: a failed check that says why.
complain() {
    echo "$*" >&2
    return 1
}

# equal A B: two files, or <(COMMAND), are equal and not empty, as they would be where both commands crash.
equal() {
    cat "$1" >"$BATS_TEST_TMPDIR/.same-a"
    cat "$2" >"$BATS_TEST_TMPDIR/.same-b"
    [ -s "$BATS_TEST_TMPDIR/.same-a" ] || complain "nothing to compare"
    diff -a "$BATS_TEST_TMPDIR/.same-a" "$BATS_TEST_TMPDIR/.same-b"
}

# differ A B: they differ, and neither is empty.
differ() {
    run equal "$@"
    [ -s "$BATS_TEST_TMPDIR/.same-b" ] || complain "nothing to compare"
    [[ $status -eq 1 && $output != "nothing to compare" ]]
}

# one_line: `run --separate-stderr` left exactly one line on stderr, in the program's name.
one_line() {
    [ "${#stderr_lines[@]}" -eq 1 ] || complain "stderr has ${#stderr_lines[@]} lines: $stderr"
    [[ $stderr == clip-*:\ * ]] || complain "stderr is not in a program's name: $stderr"
}

# refuses WORDS COMMAND...: exit 1 and one line that has the words.
refuses() {
    local words=$1
    shift
    run -1 --separate-stderr "$@"
    one_line
    [[ $stderr == *"$words"* ]] || complain "not '$words': $stderr"
}

# stream [-n]: lines of JSON on stdin to a stream on stdout; see tests/tools/make-stream.c.
stream() {
    "$BUILD/tests/tools/make-stream" "$@"
}

# comma_locale: makes the locale de_DE.UTF-8, of decimal commas, in the test's folder; skips where it cannot.
comma_locale() {
    need localedef
    mkdir -p locale
    localedef -i de_DE -f UTF-8 "$PWD/locale/de_DE.UTF-8" 2>/dev/null || [ -d locale/de_DE.UTF-8 ] ||
        skip locales
    export LOCPATH=$PWD/locale
    if sanitized; then export ASAN_OPTIONS=detect_leaks=0; fi # glibc's setlocale leaks the list that it makes of LOCPATH
    [ "$(LC_ALL=de_DE.UTF-8 /usr/bin/printf %.1f 0,5 2>/dev/null)" = 0,5 ] || skip de_DE.UTF-8
}

# mpi_here: settings for mpirun of Open MPI 4 and 5: as root, with more ranks than processors, without a network.
mpi_here() {
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_tcp_if_include=lo
    export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
}
