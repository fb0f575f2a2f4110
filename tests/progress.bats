# What the programs of a pipeline show while they run: one line between them.
load helper

setup() {
    command -v script >/dev/null || skip script # of Debian's essential bsdutils
    cd "$BATS_TEST_TMPDIR"
    mkdir photos
    for i in 1 2 3 4 5; do cp "$SRC/share/samples/tree.jpg" "photos/$i.jpg"; done
}

# on_terminal COMMAND: runs it with a terminal as standard error; what is written there, a line each time that the
# cursor goes back. Its shell is bash, for the functions that are exported.
on_terminal() {
    SHELL=$BASH script -qec "$1" typescript >/dev/null </dev/null
    tail -n +2 typescript | tr '\r' '\n' | grep -av '^Script done' | sed 's/\x1b\[K/$/g' | grep -a .
}

# pass_slowly: lines at intervals that leave time to show something.
pass_slowly() {
    while read -r line; do
        echo "$line"
        sleep "$1"
    done
}
export -f pass_slowly

@test "the last program of a pipeline shows progress, with the total that the first one knows" {
    for i in {6..300}; do cp photos/1.jpg "photos/$i.jpg"; done # more than pipes hold
    run -0 on_terminal 'clip-files photos | (sleep 1 && cat) | clip-preprocess --size 8 | clip-dump --keys >out'
    [ "${lines[0]}" = 'clip-dump: waiting for input$' ]
    [[ ${lines[1]} == 'clip-dump: '[0-9]*' of 300 records, '* ]] || complain "$output"
    [ "${lines[-1]}" = '$' ] # nothing remains
    run -1 grep -v '^clip-dump: ' <<<"${output%$'\n'*}"
    [ "$(wc -l <out)" -eq 300 ]
}

@test "of programs whose output is a pipe, one shows progress, after a while" {
    run -0 on_terminal 'ls photos/* | pass_slowly 0.8 | clip-files | clip-preprocess --size 8 | cat >out'
    grep -aq '^clip-[a-z]*: [34] records, ' <<<"$output" || complain "$output"
    [ "$(grep -ao '^clip-[a-z]*' <<<"$output" | sort -u | wc -l)" -le 2 ]
    [ "$(head -n 3 <<<"$output" | grep -ao '^clip-[a-z]*' | sort -u | wc -l)" -eq 1 ]
}

@test "a stream in a file says how many records there are" {
    clip-files photos >in
    for how in 'clip-preprocess --size 8 in in' 'clip-preprocess --size 8 <in' 'clip-dump in' 'clip-tar --skip-bad -q in'; do
        run -0 on_terminal "$how >out"
        [[ $how == *-q* || $output == *" 1 of "[51]"0 records, "* || $output == *" of 5 records, "* || $output == *" of 10 records, "* ]] ||
            complain "$how: $output"
    done
    run -0 on_terminal 'head -c 3000 in >cut; clip-preprocess --size 8 cut >out || true'
    [[ $output != *" of "* && $output == *"clip-preprocess: cut: cut short"* ]]
}

@test "of archives and lists in files the share that was read is shown, with the time left" {
    local how share last
    for i in {6..300}; do cp photos/1.jpg "photos/$i.jpg"; done # more than pipes hold
    tar -cf a.tar photos
    gzip -k a.tar
    ls "$PWD"/photos/*.jpg >list
    for how in 'clip-untar a.tar a.tar.gz' 'clip-untar --epochs 2 a.tar' 'clip-untar <a.tar' 'clip-files <list'; do
        run -0 on_terminal "$how | (sleep 2 && cat) | clip-preprocess --size 8 | clip-dump --keys >out"
        [[ ${lines[1]} == 'clip-dump: '[0-9]*' records, '[1-9]*' %, '*'/s, '*' left, waited '* ]] || complain "$how: $output"
        last=0
        while read -r share; do
            ((share >= last && share <= 100)) || complain "$how: $share % after $last %"
            last=$share
        done < <(grep -ao '[0-9]* %, [0-9.]*/s' <<<"$output" | sed 's/ .*//')
    done
    # Where it is not known: from a pipe, or if one of several is a pipe.
    for how in 'cat a.tar | clip-untar' 'clip-untar a.tar <(cat a.tar)' 'cat list | clip-files'; do
        run -0 on_terminal "$how | (sleep 1 && cat) | clip-preprocess --size 8 | clip-dump --keys >out"
        [[ $output == *' records, '* && $output != *'records, '[0-9]*' %,'* ]] || complain "$how: $output"
    done
    # A number of records says more.
    run -0 on_terminal 'clip-untar -n 290 a.tar | (sleep 1 && cat) | clip-preprocess --size 8 | clip-dump --keys >out'
    [[ $output == *' of 290 records, '[0-9.]*'/s'* ]] || complain "$output"
}

@test "a message is not written into the line" {
    echo text >photos/0.jpg
    run -0 on_terminal 'ls photos/* | pass_slowly 0.6 | clip-files -v >out'
    grep -aq '^\$clip-files: photos/0.jpg: neither JPEG, PNG nor WebP (left out)$' <<<"$output" || complain "$output"
    [[ ${lines[-1]} == '$clip-files: 5 records in '* ]]
}

@test "nothing is shown where standard error is not a terminal, but with -v and --progress" {
    run -0 --separate-stderr bash -c 'ls photos/* | pass_slowly 0.6 | clip-files | clip-preprocess --size 8 >out'
    [ -z "$stderr" ]
    run -0 --separate-stderr bash -c 'clip-files -v photos | clip-preprocess -v --size 8 >out'
    [ "$(sed -E 's/[0-9.]+ s, [0-9.]+\/s, waited [0-9]+ % for input, [0-9]+ % for output$/S/' <<<"$stderr" | sort)" = \
        $'clip-files: 5 records in S\nclip-preprocess: 5 records in S' ] || complain "$stderr"
    run -0 --separate-stderr bash -c 'ls photos/* | pass_slowly 0.6 | clip-files --progress >out'
    [[ $stderr == *"clip-files: 2 records, "*"clip-files: 5 records in "* ]]
    run -0 --separate-stderr bash -c 'clip-files --progress -q photos >out'
    [ -z "$stderr" ]
}

@test "a run of a minute leaves a line" {
    [ -n "${CLIP_LONG:-}" ] || skip CLIP_LONG
    run -0 on_terminal 'ls photos/* | pass_slowly 12.2 | clip-files | clip-preprocess --size 8 >out'
    [[ ${lines[-1]} == 'clip-preprocess: 5 records in 61 s, 0.08/s, '* || ${lines[-1]} == '$clip-preprocess: 5 records in 61 s, 0.08/s, '* ]]
    [ "$(grep -ac ' records in ' <<<"$output")" -eq 1 ]
}
