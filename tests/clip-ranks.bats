# Ranks on one machine, and through MPI where mpirun is. What stages do with them: tests/ranks.bats.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
    mpi_here
}

# each_launcher TEST...: runs it with `ranks R COMMAND...` as R local ranks, and as those of mpirun where there is one.
each_launcher() {
    ranks() {
        clip-ranks -n "$1" "${@:2}"
    }
    "$@"
    has_mpi || return 0
    ranks() {
        timeout 60 mpirun -n "$1" clip-ranks --expect "$1" "${@:2}"
    }
    "$@"
}

gives_numbers() {
    run -0 ranks 3 sh -c 'echo $CLIP_RANK of $CLIP_RANK_SIZE; [ "$CLIP_RANK_THREADS" -ge 1 ]'
    [ "$(sort <<<"$output")" = $'0 of 3\n1 of 3\n2 of 3' ]
    run -0 ranks 2 sh -c 'env; cat'
    ! grep -E '^(OMPI|PMI|PMIX|HYDRA?)_' <<<"$output" || complain "the launcher's variables are left"
}

@test "each rank has its number, nothing of the launcher, and no input" {
    each_launcher gives_numbers
}

passes_messages() {
    run -0 --separate-stderr ranks 2 sh -c 'echo "words of $CLIP_RANK" >&2; printf "no newline" >&2'
    [ "$(grep -c "^rank [01] on $(uname -n): no newline$" <<<"$stderr")" -eq 2 ]
    grep -q "^rank 0 on $(uname -n): words of 0$" <<<"$stderr"
    grep -q "^rank 1 on $(uname -n): words of 1$" <<<"$stderr"
}

@test "what ranks say is passed on with their number and host" {
    each_launcher passes_messages
    run -0 --separate-stderr clip-ranks -n 1 sh -c 'echo words >&2'
    [ "$stderr" = words ]
}

fails_together() {
    run --separate-stderr ranks 3 sh -c '[ $CLIP_RANK = 1 ] || exec sleep 60; date +%s >failed; echo why >&2; exit 7'
    [ "$status" -eq 1 ]
    [ $(($(date +%s) - $(cat failed))) -lt 5 ]
    [ "${stderr_lines[0]}" = "rank 1 on $(uname -n): why" ]
    [ "${stderr_lines[1]}" = "clip-ranks: rank 1 on $(uname -n): the pipeline has failed with status 7" ]
    run --separate-stderr ranks 2 sh -c '[ $CLIP_RANK = 1 ] || exec sleep 60; kill -KILL $$'
    [ "$status" -eq 1 ]
    [[ $stderr == *"clip-ranks: rank 1 on $(uname -n): the pipeline was ended by signal 9 (Killed)"* ]]
}

@test "one rank fails: its message, its number, and all end" {
    each_launcher fails_together
}

@test "one rank alone has the command's own status and messages" {
    run -7 --separate-stderr clip-ranks -n 1 sh -c 'exit 7'
    [ -z "$stderr" ]
    run -127 --separate-stderr clip-ranks -n 1 ./nowhere
    [ "$stderr" = "clip-ranks: ./nowhere: No such file or directory" ]
}

# left NAME: processes whose command line has it.
left() {
    pgrep -f -- "$1" || true
}

# gone NAME: none is left, within seconds.
gone() {
    local tries
    for ((tries = 0; tries < 50; tries++)); do
        [ -n "$(left "$1")" ] || return 0
        sleep 0.1
    done
    complain "left: $(left "$1")"
}

# The pages of these tests: a process that ignores SIGTERM, in a pipeline.
begin_pages() {
    mark=mark-$RANDOM$RANDOM
    cat >page <<'END'
trap "" TERM
sh -c "sleep 60 | sleep 60; : $1" | sleep 60
END
    clip-ranks -n 2 sh page "$mark" >out 2>err 3>&- &
    pid=$!
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        [ "$(left "$mark" | wc -l)" -lt 5 ] || return 0
        sleep 0.05
    done
    complain "the pages do not run: $(left "$mark")"
}

@test "clip-ranks, a guardian or a page is killed: everything ends" {
    local how victim
    for how in KILL TERM INT guardian page; do
        begin_pages
        case $how in
        guardian) kill -KILL "$(pgrep -P "$pid" | head -n 1)" ;;
        page)
            victim=$(pgrep -P "$pid" | tail -n 1)
            kill -KILL "$(pgrep -P "$victim")"
            ;;
        *) kill -$how "$pid" ;;
        esac
        [ $how = INT ] || wait "$pid" || true
        [ $how != INT ] || { kill -KILL "$pid" && wait "$pid" || true; } # a background shell ignores SIGINT
        gone "$mark"
    done
}

@test "an open end of a page's own does not keep others" {
    run -0 --separate-stderr clip-ranks -n 2 sh -c 'sleep 0.2 & exit 0'
    [ -z "$stderr" ]
}

@test "wrong usage" {
    run -2 clip-ranks
    run -2 clip-ranks -n 0 true
    run -2 clip-ranks -n 2 --expect 3 true
    run -0 clip-ranks -n 1 sh -c 'printf "%s\n" "$*"' sh -n 7 --expect 2
    [ "$output" = "-n 7 --expect 2" ]
}

@test "a wrong launcher gives one rank: --expect refuses that" {
    need_mpi
    run -1 --separate-stderr timeout 60 clip-ranks --expect 2 echo run
    [ -z "$output" ]
    [[ $stderr == "clip-ranks: --expect 2: the launcher has started 1: it must be the mpirun or srun of "* ]]
}

@test "MPI is in a module, which is found where the programs are installed; without it, one host" {
    local program
    need ldd
    for program in $(programs); do
        [ "$(head -c 2 "$BUILD/bin/$program")" != '#!' ] || continue
        ldd "$BUILD/bin/$program" >libraries
        ! grep -qE 'libmpi|libmpich|libopen-(rte|pal)' libraries || complain "$program is linked with MPI"
    done
    need_mpi
    mkdir -p usr/bin usr/lib/clip-tools
    cp "$BUILD"/bin/clip-{ranks,train} usr/bin
    run -1 --separate-stderr usr/bin/clip-ranks echo run
    [[ -z $output && $stderr == "clip-ranks: clip-mpi.so is not in "* ]] || complain "$stderr"
    run -0 usr/bin/clip-ranks -n 2 echo run
    [ "$output" = $'run\nrun' ]
    [[ "$(usr/bin/clip-ranks --version)" == *"one host, without MPI (clip-mpi.so is not in "* ]]
    run -1 --separate-stderr usr/bin/clip-train --dry-run --data x.tar --arch RN50 --batch 8 \
        --ranks 2 --launcher mpirun -o run
    [[ $stderr == "clip-train: --launcher mpirun needs MPI; clip-ranks has one host, without MPI (clip-mpi.so "* ]] ||
        complain "$stderr"
    echo text >usr/lib/clip-tools/clip-mpi.so
    run -1 --separate-stderr usr/bin/clip-ranks echo run
    [[ $stderr == "clip-ranks: MPI cannot be loaded (Debian: "*"): "* ]] || complain "$stderr"
    cp "$BUILD/lib/train/clip-mpi.so" usr/lib/clip-tools
    run -0 usr/bin/clip-ranks --expect 1 echo run
    [ "$output" = run ]
}
