# Completion of all clip-tools for bash. What a program takes is asked of the program itself (--help), so there
# is nothing here to keep in step with it.

# The options of program $1, a line each: the option, and the name of its argument where it takes one.
_clip_options() {
    command "$1" --help 2>/dev/null | sed -nE '
        s/^  -(.), --([^ ]+)( ([^ ]+))?.*/-\1 \4\n--\2 \4/p
        s/^      --([^ ]+)( ([^ ]+))?.*/--\1 \3/p' | sed -E 's/ $//'
}

# What may stand for an argument of name $1, a line each; nothing where that is a file, or anything.
_clip_values() {
    local IFS=: folder
    case $1 in
    MODEL)
        for folder in $CLIP_MODEL_PATH; do
            [ ! -d "$folder" ] || command ls "$folder"
        done
        ;;
    *[A-Z]*) ;;
    *'|'*) printf '%s\n' "${1//|/:}" | tr : '\n' ;;
    esac
}

_clip_complete() {
    local current=$2 previous=$3 options argument words=
    options=$(_clip_options "$1")
    argument=$(awk -v name="$previous" '$1 == name { print $2 }' <<<"$options")
    COMPREPLY=()
    if [ -n "$argument" ]; then
        words=$(_clip_values "$argument")
    elif [[ $current == -* ]]; then
        words=$(awk '{ print $1 }' <<<"$options")
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    # A model may be a name or a path; what has no words of its own is a file.
    if [ -z "$words" ] || [ "$argument" = MODEL ]; then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames 2>/dev/null
    fi
}

complete -F _clip_complete $(compgen -c clip- | grep -E '^clip-[a-z-]+$' | sort -u)
