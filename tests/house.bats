# What holds for the house as a whole.
load helper

# --- the floors ---

@test "a floor includes only from itself and those below; a program from the library" {
    local floors=(base stream shard text image math model tower train) below= floor bad=
    for floor in "${floors[@]}"; do
        below=${below:+$below|}$floor
        [ -d "$SRC/lib/$floor" ] || continue
        bad+=$(grep -nE '^#include "' "$SRC/lib/$floor"/*.[ch] | grep -vE ":#include \"($below)/" || true)
    done
    bad+=$(grep -nE '^#include "' "$SRC"/bin/*.c | grep -vE ":#include \"($below)/" || true)
    [ -z "$bad" ] || complain "$bad"
}

@test "a folder of lib is a floor of this test" {
    run -0 ls "$SRC/lib"
    for floor in $output; do
        [[ " base stream shard text image math model tower train " == *" $floor "* ]]
    done
}

# --- what each program has ---

@test "every program of the source tree is built" {
    local program
    [ -n "$(programs)" ]
    for program in $(programs); do
        [ -x "$BUILD/bin/$program" ] || complain "bin/$program is not built"
    done
    [ -z "${CLIP_PROGRAMS+set}" ] || diff <(programs) <(printf '%s\n' $CLIP_PROGRAMS | sort)
}

@test "every program has its man page and its bats file" {
    local program missing=
    for program in $(programs); do
        [ -e "$SRC/man/$program.1" ] || missing+=" man/$program.1"
        [ -e "$SRC/tests/$program.bats" ] || missing+=" tests/$program.bats"
    done
    [ -z "$missing" ] || complain "missing:$missing"
}

@test "every bats file is run by make check" {
    local file
    for file in "$SRC"/tests/*.bats; do
        grep -qE "^	tests/${file##*/}( \\\\)?\$" "$SRC/Makefile.am" || complain "not in Makefile.am: ${file##*/}"
    done
}

@test "every unit test is run by make check" {
    local file
    for file in "$SRC"/tests/unit/test-*.c; do
        file=${file##*/}
        grep -qE "^	tests/unit/${file%.c}( \\\\)?\$" "$SRC/Makefile.am" || complain "not in Makefile.am: $file"
    done
}
