# Completion of all clip-tools for bash. What a program takes is asked of the program itself (--help), so there
# is nothing here to keep in step with it.

# The options of program $1, a line each: the option, and the name of its argument where it takes one.
_clip_options() {
    command "$1" --help 2>/dev/null | sed -nE '
        s/^  -(.), --([^ ]+)( ([^ ]+))?.*/-\1 \4\n--\2 \4/p
        s/^      --([^ ]+)( ([^ ]+))?.*/--\1 \3/p' | sed -E 's/ $//'
}

# The verbs of program $1, if it has some: its usage has a line for each.
_clip_verbs() {
    command "$1" --help 2>/dev/null | sed -nE 's/^(Usage:|      ) clip-[a-z-]+ \[OPTION\]\.\.\. ([a-z]+)( .*)?$/\2/p'
}

# The names of models: what is in the folders that the programs look into.
_clip_models() {
    local IFS=: folder here
    here=$(dirname "$(command -v "$1")")/../share
    for folder in $CLIP_MODEL_PATH "${CLIP_DATADIR:-$here/clip-tools}/models" "$here/models"; do
        [ ! -d "$folder" ] || command ls "$folder"
    done | sort -u
}

# What may stand for an argument of name $2 to program $1, a line each; nothing where that is a file, or anything.
_clip_values() {
    case $2 in
    MODEL) _clip_models "$1" ;;
    ARCH | 'NAME|JSON')
        command "$(dirname "$(command -v "$1")")/clip-model" list 2>/dev/null
        ;;
    FIELD* | NAME,...)
        printf '%s\n' __key__ __url__ __epoch__ __size__ __mtime__ jpg png webp txt json cls tokens image image_features \
            image_embedding text_features text_embedding
        ;;
    *[A-Z]*) ;;
    *'|'*) printf '%s\n' "${2//|/:}" | tr : '\n' ;;
    esac
}

_clip_complete() {
    local current=$2 previous=$3 options argument words=
    options=$(_clip_options "$1")
    argument=$(awk -v name="$previous" '$1 == name { print $2 }' <<<"$options")
    COMPREPLY=()
    if [ -n "$argument" ]; then
        words=$(_clip_values "$1" "$argument")
    elif [[ $current == -* ]]; then
        words=$(awk '{ print $1 }' <<<"$options")
    elif [ "$previous" = "$1" ]; then
        words=$(_clip_verbs "$1")
    elif [ "${1##*/}" = clip-model ] && [[ $previous == @(info|convert|init) ]]; then
        argument=MODEL
        words=$(_clip_models "$1"; _clip_values "$1" ARCH)
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    # A model may be a name or a path; what has no words of its own is a file.
    if [ -z "$words" ] || [ "$argument" = MODEL ]; then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames 2>/dev/null
    fi
}

complete -F _clip_complete $(compgen -c clip- | grep -E '^clip-[a-z-]+$' | sort -u)
