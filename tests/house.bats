# What holds for the house as a whole.
load helper

# --- the floors ---

@test "a floor includes only from itself and those below; a program from the library" {
    local floors=(base stream shard text image math model tower score train) below= floor bad=
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
        [[ " base stream shard text image math model tower score train " == *" $floor "* ]]
    done
}

# A tower's kind is asked for in two tables alone, which look rows up: lib/model's of kinds, lib/tower's.
@test "no code outside the two tables of kinds asks of which kind a tower is" {
    local at found
    found=$(grep -nE '(->|\.)kind(->name)? *[=!]=|[=!]= *&?clip_(kind|tower)_|strcmp\([^;]*kind->name' \
        "$SRC"/lib/{model,tower,score,train}/*.[ch] "$SRC"/bin/*.c |
        grep -vE '/(pickle|torch)\.c:|schedule->kind' || true)
    for at in lib/model/arch.c:'return t->kind == u->kind' lib/tower/tower.c:'while (*row && (*row)->kind != '; do
        grep -qF "${at#*:}" <<<"$(grep -F "${at%%:*}" <<<"$found")" || complain "the pattern no longer finds $at"
        found=$(grep -vF "${at#*:}" <<<"$found" || true)
    done
    [ -z "$found" ] || complain "$found"
}

@test "a kind of tower has a row in both tables" {
    local kind
    for kind in $(sed -nE 's/^#define CLIP_KINDS\(row\) //p' "$SRC/lib/model/kind.h" | sed -E 's/row\(([a-z]+)\)/\1/g'); do
        [ -e "$SRC/lib/model/kind-$kind.c" ] || complain "no lib/model/kind-$kind.c"
        grep -qF "&clip_tower_$kind" "$SRC/lib/tower/tower.c" || complain "no row of $kind in lib/tower/tower.c"
        [ -e "$SRC/lib/tower/$kind.c" ] || complain "no lib/tower/$kind.c"
    done
    [ -n "$kind" ]
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

@test "every fuzz target is built by make fuzz" {
    local file
    for file in "$SRC"/tests/fuzz/fuzz-*.c; do
        file=${file##*/}
        grep -qE "^	tests/fuzz/${file%.c}( \\\\)?\$" "$SRC/Makefile.am" || complain "not in Makefile.am: $file"
    done
}

# --- man pages and completions agree with --help ---

# The long and short options that a program's --help names, and those that its man page explains.
options_of_help() {
    "$1" --help | sed -nE 's/^  -(.), --([^ ]+).*/-\1\n--\2/p; s/^      --([^ ]+).*/--\1/p' | sort
}
options_of_page() {
    sed -n 's/^\.It Fl //p' "$1" | sed -E 's/ (Ar|Cm|Op|Ns) .*//; s/ , (Fl )?/\n/' | sed 's/^/-/' | sort -u
}

@test "a man page explains each option of --help, and no other" {
    local program
    for program in $(programs); do
        diff <(options_of_help "$program") <(options_of_page "$SRC/man/$program.1") ||
            complain "man/$program.1 (>) differs from $program --help (<)"
    done
}

# Short options may stand together there.
@test "a synopsis that does not say \"option ...\" names each option" {
    local program synopsis short long
    for program in $(programs); do
        synopsis=$(sed -n '/^\.Sh SYNOPSIS/,/^\.Sh DESCRIPTION/p' "$SRC/man/$program.1")
        [[ $synopsis != *"Ar option ..."* ]] || continue
        while read -r short long; do
            [[ " help version quiet verbose progress no-progress " != *" $long "* ]] || continue
            [ "$program $long" != "clip-model model" ] || continue # the same as the operand
            grep -qE -- "Fl -$long( |\$)|Fl [a-zA-Z]*$short" <<<"$synopsis" || complain "man/$program.1: no --$long"
        done < <("$program" --help | sed -nE 's/^  -(.), --([^ ]+).*/\1 \2/p; s/^      --([^ ]+).*/@ \1/p')
    done
}

@test "man pages pass mandoc's lint" {
    need mandoc
    run -0 mandoc -Tlint -W warning "$SRC"/man/*.[1-8]
    [ -z "$output" ]
}

@test "every man page is installed" {
    local page
    for page in "$SRC"/man/*.[1-8]; do
        grep -qE "^	man/${page##*/}( \\\\)?\$" "$SRC/Makefile.am" || complain "not in Makefile.am: ${page##*/}"
    done
}

# complete_line WORD...: what bash would offer for the last word.
complete_line() {
    bash --norc -c '
        . "$0" && [ "$(complete -p "$1")" = "complete -F _clip_complete $1" ] || exit 1
        COMPREPLY=()
        _clip_complete "$1" "${@: -1}" "${@: -2:1}"
        printf "%s\n" "${COMPREPLY[@]}"' "$SRC/share/completions/clip-tools.bash" "$@"
}

@test "every program's options are completed" {
    local program
    for program in $(programs); do
        diff <(options_of_help "$program") <(complete_line "$program" - | sort)
    done
}

@test "choices, models and files are completed" {
    cd "$BATS_TEST_TMPDIR"
    mkdir -p models/small-one
    touch similar.tsv 'two words'
    [ "$(complete_line clip-plot --format p)" = $'png\npdf' ]
    [ "$(complete_line clip-plot -f s)" = svg ]
    [ "$(complete_line clip-plot sim)" = similar.tsv ]
    [ "$(complete_line clip-plot 'two')" = 'two words' ]
    [ "$(complete_line clip-plot --ti)" = --title ]
}

# --- the tree ---

@test "sources are formatted" {
    need clang-format
    [[ $(clang-format --version) == *"version 14."* ]] || skip "formatted with clang-format 14"
    run -0 clang-format --dry-run -Werror "$SRC"/bin/*.c "$SRC"/lib/*/*.[ch] "$SRC"/tests/*/*.[ch]
}

@test "no file speaks of the machine it was written on" {
    git -C "$SRC" rev-parse --git-dir >/dev/null 2>&1 || skip "not a git checkout"
    run -1 git -C "$SRC" grep -nIE '(^|[^[:alnum:]_./-])/(home|root|mnt|opt|srv|work|Users)/[[:alnum:]]'
}

@test "every file of the tree is in the tarball" {
    git -C "$SRC" rev-parse --git-dir >/dev/null 2>&1 || skip "not a git checkout"
    local missing
    missing=$(comm -23 <(git -C "$SRC" ls-files | sort) \
        <(env -u MAKEFLAGS make -s -C "$BUILD" dist-list | sed "s|^$SRC/||; s|^\./||" | sort -u))
    [ -z "$missing" ] || complain "not in the tarball:" $missing
}
