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

@test "no code outside the tables of poolings asks which pooling a tower has" {
    local poolings
    poolings=$(sed -n '/^enum clip_pooling {/,/^}/p' "$SRC/lib/model/pooling.h" | grep -oE 'CLIP_POOL_[A-Z_]+' | paste -sd '|')
    [[ $poolings == *CLIP_POOL_LAST* ]] || complain "no poolings"
    run -1 grep -nE "([=!]=|case) *($poolings)\>" "$SRC"/lib/*/*.[ch] "$SRC"/bin/*.c
}

@test "a kind of tower has its file in lib/model and what computes it in lib/tower" {
    local kind
    for kind in $(sed -nE '/^#define CLIP_KINDS/,/[^\\]$/p' "$SRC/lib/model/kind.h" | sed 1s/.*CLIP_KINDS.row.// |
        grep -oE 'row\([a-z]+\)' | sed -E 's/row\((.*)\)/\1/'); do
        [ -e "$SRC/lib/model/kind-$kind.c" ] || complain "no lib/model/kind-$kind.c"
        grep -qE "^const struct clip_tower_kind clip_tower_$kind = " "$SRC"/lib/tower/*.c || complain "nothing computes $kind"
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

# in_makefile FILE...: each is a program of the Makefile.
in_makefile() {
    local file
    for file; do
        file=${file#"$SRC/"}
        grep -qE "^	${file%.c}( \\\\)?\$" "$SRC/Makefile.am" || complain "not in Makefile.am: $file"
    done
}

@test "every case that waits for make check-long is run by it" {
    local file
    for file in $(cd "$SRC" && grep -l 'skip CLIP_LONG' tests/*.bats); do
        [ "$file" != tests/house.bats ] || continue
        sed -n '/^LONG_FILES = /,/NULL/p' "$SRC/Makefile.am" | grep -qxF "$(printf '\t%s \\' "$file")" || complain "$file"
    done
}

@test "every unit test is run by make check, every fuzz target is built by make fuzz" {
    in_makefile "$SRC"/tests/unit/test-*.c "$SRC"/tests/fuzz/fuzz-*.c
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

@test "every man page has examples, and README, NEWS, HACKING and clip-tools(7) name every program" {
    local page program
    for page in "$SRC"/man/*.[1-8]; do
        sed -n '/^\.Sh EXAMPLES/,/^\.Sh SEE/p' "$page" | grep -q '^\.Bd -literal' || complain "${page##*/}: no examples"
    done
    for program in $(programs); do
        for page in README.md NEWS.md HACKING.md man/clip-tools.7; do
            grep -qE -- "$program($|[^-a-z])" "$SRC/$page" || complain "$page does not name $program"
        done
    done
}

@test "every man page is installed" {
    local page
    for page in "$SRC"/man/*.[1-8]; do
        grep -qE "^	man/${page##*/}( \\\\)?\$" "$SRC/Makefile.am" || complain "not in Makefile.am: ${page##*/}"
    done
}

@test "README, NEWS, COPYING and the completions are installed" {
    cd "$BATS_TEST_TMPDIR"
    run -0 env -u MAKEFLAGS make -s -C "$BUILD" install-dist_docDATA install-dist_bashcompletionDATA prefix=/usr \
        DESTDIR="$PWD"
    [ -s usr/share/doc/clip-tools/README.md ]
    [ -s usr/share/doc/clip-tools/NEWS.md ]
    [ -s usr/share/doc/clip-tools/COPYING ]
    [ -s usr/share/bash-completion/completions/clip-tools.bash ]
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
        equal <(options_of_help "$program") <(complete_line "$program" - | sort)
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
    [ "$(complete_line clip-model clip-model '')" = $'info\ninit\nconvert\nvocab\nlist' ]
    [ "$(complete_line clip-index clip-index '' | paste -sd ' ')" = "build add remove search list info" ]
    [ "$(complete_line clip-index --dtype '')" = $'f32\nf16' ]
    [ "$(CLIP_MODEL_PATH=$PWD/models complete_line clip-encode-text -m small)" = small-one ]
    [ "$(complete_line clip-encode-text -m thi)" = things ]
    [ "$(complete_line clip-model info ViT-B/)" = $'ViT-B/32\nViT-B/16' ]
    [ "$(complete_line clip-encode-text --arch RN50x16-)" = RN50x16-quickgelu ]
    [ "$(complete_line clip-average --by __k)" = __key__ ]
    [ "$(complete_line clip-cmp -f image_e)" = image_embedding ]
    [ "$(complete_line clip-dump --tsv te | sort)" = $'text_embedding\ntext_features' ]
}

# --- prose ---

# Quoted text of the sources, with file and line; pages and messages in whole.
prose() {
    grep -noE '"([^"\\]|\\.)*"' "$SRC"/bin/*.c "$SRC"/lib/*/*.[ch]
    grep -n '' "$SRC"/bin/*.in "$SRC"/bin/script.sh "$SRC"/man/*.[1-8] "$SRC"/{README,NEWS,DEVIATIONS}.md \
        "$SRC"/quickstart "$SRC"/share/*.sh "$SRC"/share/*/*.awk "$SRC"/share/*/*/*.awk "$SRC"/share/recipes/*/Makefile
}

@test "messages and pages say \"is not text\" and \"after\", never \"is no text\" and \"behind\"" {
    local slips
    prose >"$BATS_TEST_TMPDIR/prose"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/prose")" -gt 5000 ] || complain "where is the prose?"
    slips=$(grep -E "\<(is|are|was|were) (no|none)\>|\<behind\>|comes twice" \
        "$BATS_TEST_TMPDIR/prose" | grep -vE "[Tt]here (is|are|was|were) no|(is|are) no (longer|more|less)") || true
    [ -z "$slips" ] || complain "$slips"
}

# --- tests ---

# bats runs a case with set -e, which a command after ! never ends, nor one before &&: only as the last of its case, or
# with || after it, can it fail. Two empty outputs are equal, so a comparison of two commands passes where both crash, and
# where nothing is expected of a pipe, its crash gives nothing: see equal(), differ() and run.
cannot_fail() {
    awk '
        function bare(line, i, n) { # without strings, [[ ]], subshells and groups, which fail as a whole
            gsub(/\\["\\]/, "", line)
            gsub(/"[^"]*"/, "S", line)
            gsub(/\047[^\047]*\047/, "S", line)
            while ((i = index(line, "[[ ")) && (n = index(substr(line, i), " ]]")))
                line = substr(line, 1, i - 1) "T" substr(line, i + n + 2)
            gsub(/\(\([^()]*\)\)/, "T", line)
            while (gsub(/[$<>]?\([^()]*\)/, "P", line) || gsub(/\{ [^{}]*\}/, "P", line));
            return line
        }
        FNR == 1 { held = "" }
        held != "" && $0 != "}" { print held }
        { held = ""; at = FILENAME ":" FNR ": "; line = bare($0) }
        /^    *! / && !/\|\| *(complain|skip|return|fail)/ && !/\|\| *$/ { held = at $0 }
        line ~ /^    .*&& / && line !~ /\|\||^ *(if|while|until|elif|for|local) |&& *(break|continue|skip|return|false|exit)( |$)/ {
            held = at $0
        }
        /(cmp|diff)( -[a-z]+)* <\([^)].*<\(/ && !/<\((printf|echo|programs)/ || /\| *(cmp|diff)( -[a-z]+)* - <\(/ ||
            /md5sum\)" = "\$\(.*md5sum/ { print at "both may crash: " $0 }
        /\[ -z "?\$\(.*clip-|"?\$\(.*clip-.*\)"? = "" \]/ { print at "nothing comes of a crash, too: " $0 }
        / -ge 0 \]|-eq "?\$\((grep -c|wc)|grep -c.* -eq "?\$\(/ { print at "counts that may be 0: " $0 }
    ' "$@"
}

@test "no assertion that cannot fail" {
    cd "$BATS_TEST_TMPDIR"
    cat >slips <<'END'
slips() {
    ! grep -q word file
    cmp <(clip-dump a) <(clip-dump b)
    clip-dump a | cmp - <(clip-dump b)
    [ "$(clip-dump a | md5sum)" = "$(clip-dump b | md5sum)" ]
    [ "$(grep -c word a)" -eq "$(grep -c word b)" ]
    [ -z "$(clip-dump a)" ]
    [ -s a ] && [ -s b ]
    for file in a b; do
        cmp a "$file" && grep -q word "$file"
    done
    ! grep -q word file || complain "that can fail"
    [ "$a" = 1 ] && [ "$b" = 2 ] || complain "that, too"
    [[ $a == 1 && $b == 2 ]]
    (cd "$a" && ls "a && b")
    [ -s a ] && break
    diff <(clip-dump a) <(printf 'word\n')
    ! grep -q word file
}
END
    [ "$(cannot_fail slips | cut -d: -f2 | paste -sd ' ')" = "2 3 4 5 6 7 8 10" ]
    rm slips
    run -0 cannot_fail "$SRC"/tests/{[a-gi-z],he,hos}*.ba[st]*
    [ -z "$output" ] || complain "$output"
}

# A skip names what is missing: a program, a package, a file, a variable. check.h prints the only one of unit tests.
long_skips() {
    grep -nE '(^|[ |&;{])skip( +"?[^ "]+ [^#;|&}]|$)' "$@" | grep -vE ':[0-9]+:(#|@test)' || true
}

@test "a skip says what is missing in one word" {
    printf '%s\n' '    need x || skip one' '    skip "two words"' '    skip' '    [ -e a ] || skip a b' >"$BATS_TEST_TMPDIR/skips"
    [ "$(long_skips -H "$BATS_TEST_TMPDIR/skips" | wc -l)" -eq 3 ]
    local slips
    slips=$(long_skips "$SRC"/tests/{[a-gi-z],he,hos}*.ba[st]* && grep -n 'skip' "$SRC"/tests/unit/*.c) || true
    [ -z "$slips" ] || complain "$slips"
}

# PyTorch, which has hundreds of megabytes, is not among them.
@test "quickstart check installs what tests would skip without" {
    local packages word missing=
    packages=$(sed -n '/^packages() {/,/^}/p' "$SRC/quickstart" | tr -s '\n' ' ')
    for word in $(sed -nE 's/^ *need_python //p' "$SRC"/tests/*.ba[st]* | tr ' _' '\n-' | sort -u); do
        [[ " json struct tarfile torch zipfile " == *" $word "* ]] || [[ " $packages " == *" python3-${word,,} "* ]] ||
            missing+=" python3-$word"
    done
    for word in $(sed -nE 's/^ *need ([a-z0-9-]+)$/\1/p' "$SRC"/tests/*.ba[st]* | sort -u); do
        case $word in
        clang-format | iconv | ldd) continue ;; # the first is for those who change the code; the others come with libc
        mpirun) word=openmpi-bin ;;
        localedef) word=locales ;;
        xz) word=xz-utils ;;
        esac
        [[ " $packages " == *" $word "* ]] || missing+=" $word"
    done
    [ -z "$missing" ] || complain "quickstart check does not install$missing"
}

# A copy of quickstart where no package is installed, for a user who is not root; $1: a body for sudo, or none.
quickstart_of_user() {
    local command
    mkdir -p bin
    cp "$SRC/quickstart" .
    printf '#!/bin/sh\n%s\n' 'echo 1000' >bin/id
    printf '#!/bin/sh\n%s\n' 'exit 1' | tee bin/dpkg-query >bin/apt-get
    rm -f bin/sudo
    [ $# -eq 0 ] || printf '#!/bin/sh\n%s\n' "$1" | install /dev/stdin bin/sudo
    chmod +x bin/id bin/dpkg-query bin/apt-get
    for command in sh dirname grep cat tail; do
        ln -sf "$(command -v "$command")" bin
    done
    run -1 --separate-stderr env PATH="$PWD/bin" ./quickstart build
}

@test "quickstart says first what it does, then what a user without sudo needs" {
    cd "$BATS_TEST_TMPDIR"
    quickstart_of_user
    [[ ${stderr_lines[0]} == "quickstart: installs Debian packages, builds in "*": about "*" minutes, about "*" of disk" ]]
    [[ ${stderr_lines[-1]} == "quickstart: there is no sudo; as root, run: apt-get update && apt-get install --no-install-recommends gcc "* ]]
    quickstart_of_user 'exit 1'
    [[ ${stderr_lines[0]} == "quickstart: installs Debian packages, "* ]]
    [[ ${stderr_lines[-1]} == "quickstart: sudo does not work; as root, run: apt-get update && apt-get install "* ]]
}

# --- the tree ---

@test "sources are formatted" {
    need clang-format
    [[ $(clang-format --version) == *"version 14."* ]] || skip clang-format-14
    run -0 clang-format --dry-run -Werror "$SRC"/bin/*.c "$SRC"/lib/*/*.[ch] "$SRC"/tests/*/*.[ch]
}

@test "no file speaks of the machine it was written on" {
    git -C "$SRC" rev-parse --git-dir >/dev/null 2>&1 || skip git
    run -1 git -C "$SRC" grep -nIE '(^|[^[:alnum:]_./-])/(home|root|mnt|opt|srv|work|Users)/[[:alnum:]]'
}

@test "every file of the tree is in the tarball" {
    git -C "$SRC" rev-parse --git-dir >/dev/null 2>&1 || skip git
    local missing
    missing=$(comm -23 <(git -C "$SRC" ls-files | sort) \
        <(env -u MAKEFLAGS make -s -C "$BUILD" dist-list | sed "s|^$SRC/||; s|^\./||" | sort -u))
    [ -z "$missing" ] || complain "not in the tarball:" $missing
}
