# family.py as a server that forks for each command: PyTorch is imported once a file, not once a command.

start_family() {
    [ -x /usr/bin/python3 ] || return 0
    mkfifo "$BATS_FILE_TMPDIR/family"
    export SHARED
    /usr/bin/python3 "$BATS_TEST_DIRNAME/family.py" serve "$BATS_FILE_TMPDIR/family" </dev/null >/dev/null 2>&1 3>&- 4>&- &
    echo $! >"$BATS_FILE_TMPDIR/family.pid"
}

stop_family() {
    [ ! -e "$BATS_FILE_TMPDIR/family.pid" ] || kill "$(<"$BATS_FILE_TMPDIR/family.pid")"
}

# family COMMAND ARGUMENT...: as `python family.py COMMAND ARGUMENT...` would do it here; no argument holds a tab.
family() {
    local answer=$BATS_TEST_TMPDIR/answer-$BASHPID status IFS=$'\t'
    kill -s 0 "$(<"$BATS_FILE_TMPDIR/family.pid")" || return
    mkfifo "$answer"
    echo "$answer"$'\t'"$PWD"$'\t'"$*" >"$answer.request"
    cat "$answer.request" >"$BATS_FILE_TMPDIR/family" # in one write(2), as others may ask at the same time
    read -r -t 300 status <>"$answer"
    cat "$answer.out"
    cat "$answer.err" >&2
    rm "$answer"*
    return "$status"
}
