load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
}

# records N: a stream of N records whose keys are 1 to N. A key of up to 15 bytes needs one byte of length.
records() {
    local i
    for ((i = 1; i <= $1; i++)); do
        printf '\x81\xa7__key__'"\\x$(printf %x $((160 + ${#i})))$i"
    done
    if (($1 < 128)); then
        printf '\x81\xa7__end__'"\\x$(printf %02x "$1")"
    else
        printf '\x81\xa7__end__\xcd'"\\x$(printf %02x $(($1 / 256)))\\x$(printf %02x $(($1 % 256)))"
    fi
}

# Prints a stream's keys, and its step objects as "step S of COUNT at LR", with "saved" where it says so.
show='
import sys, msgpack
for o in msgpack.Unpacker(sys.stdin.buffer):
    if "__step__" in o: print("step", o["__step__"], "of", o["count"], "at", "%.6g" % o["lr"], "saved" if o["save"] else "")
    else: print(*o.values())'
show() {
    need_python msgpack
    python -c "$show" | sed 's/ $//'
}

@test "records come in batches, the rest is dropped and counted" {
    records 7 >in
    clip-batch -n 3 --schedule constant --lr 0.5 in >out 2>err
    diff <(show <out) - <<'END'
1
2
3
step 1 of 3 at 0.5
4
5
6
step 2 of 3 at 0.5 saved
6
END
    [ "$(cat err)" = "clip-batch: dropped 1 records after the last full batch" ]
}

@test "the last step is saved, also where it was asked for by number" {
    records 9 >in
    [ "$(clip-batch -n 2 -s 3 --schedule constant --save-steps 2 <in | show | grep step)" = "step 1 of 2 at 0.0005
step 2 of 2 at 0.0005 saved
step 3 of 2 at 0.0005 saved" ]
}

@test "with --steps records do not wait for their batch, without they do" {
    mkfifo in
    clip-batch -n 3 -s 1 --schedule constant <in >out &
    exec 7>in
    records 3 | head -c 22 >&7
    local i
    for ((i = 0; i < 100; i++)); do
        [ "$(stat -c %s out)" = 22 ] && break
        sleep 0.1
    done
    [ "$(stat -c %s out)" = 22 ]
    { records 3 | tail -c +23; } >&7
    exec 7>&-
    wait $!
    [ "$(show <out | tr '\n' ' ')" = "1 2 3 step 1 of 3 at 0.0005 saved 3 " ]
}

@test "how many checkpoints are kept goes with those that are saved" {
    records 4 >in
    need jq
    clip-batch -n 2 -s 2 --schedule constant --keep 3 in | clip-dump | grep step >steps
    [ "$(jq -c '[.save, .keep]' steps | tr '\n' ' ')" = '[false,null] [true,3] ' ]
}

@test "rates: warm-up and cosine, warm-up and cool-down" {
    records 12 >in
    [ "$(clip-batch -n 2 -s 6 --lr 1 --warmup 2 in | show | sed -n 's/.* at \([^ ]*\).*/\1/p' | tr '\n' ' ')" = \
        "0.5 1 1 0.853553 0.5 0.146447 " ]
    [ "$(clip-batch -n 2 -s 6 --lr 1 --warmup 1 --schedule cooldown --cooldown 4 --power 2 --end-lr 0.5 in |
        show | sed -n 's/.* at \([^ ]*\).*/\1/p' | tr '\n' ' ')" = "1 1 1 0.78125 0.625 0.53125 " ]
}

@test "too few records, steps that do not come, schedules that cannot be" {
    records 3 >in
    run -1 --separate-stderr clip-batch -n 4 --schedule constant in
    [ "$stderr" = "clip-batch: 3 records, less than one batch of 4" ]
    run -1 --separate-stderr clip-batch -n 2 -s 2 in
    [ "$stderr" = "clip-batch: the input ended in step 2 of 2" ]
    run -2 --separate-stderr clip-batch in
    [ "${stderr_lines[0]}" = "clip-batch: the schedule needs the number of steps" ]
    run -2 --separate-stderr clip-batch -n 1 in
    [ "${stderr_lines[0]}" = "clip-batch: --number: '1' is out of range" ]
    run -2 --separate-stderr clip-batch -s 5 --warmup 5 in
    [ "${stderr_lines[0]}" = "clip-batch: 5 steps are too few for a warm-up of 5" ]
}

@test "a run goes on after its last checkpoint" {
    records 8 >in
    mkdir -p run/step-00000002
    ln -s step-00000002 run/latest
    [ "$(clip-batch -n 2 -s 4 --schedule constant --train run in | show | tr '\n' ' ')" = \
        "5 6 step 3 of 2 at 0.0005 7 8 step 4 of 2 at 0.0005 saved 4 " ]
    clip-batch -n 2 -s 4 --schedule constant in >whole
    tail -c 40 whole >a
    equal <(clip-batch -n 2 -s 4 --schedule constant --train run in | tail -c 40 | head -c 30) <(head -c 30 a)
    rm run/latest
    ln -s elsewhere run/latest
    run -1 --separate-stderr clip-batch -n 2 -s 4 --train run in
    [ "$stderr" = "clip-batch: run/latest: links to 'elsewhere', which is not a checkpoint" ]
}

@test "a cut input ends in a cut output" {
    records 5 | head -c 30 >cut
    run -1 --separate-stderr clip-batch -n 2 --schedule constant cut
    [[ $stderr == "clip-batch: cut: cut short"* ]]
    clip-batch -n 2 --schedule constant cut 2>/dev/null >out || true
    [ "$(grep -c __end__ out)" = 0 ]
}
