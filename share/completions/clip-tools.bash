# Completion of all clip-tools for bash. What a program takes is asked of the program itself (--help), so there
# is nothing here to keep up with it.

# The options of program $1, each on a line: name, a space, its argument's name (or nothing).
_clip_options() {
    command "$1" --help 2>/dev/null |
        sed -nE 's/^  (-([[:alnum:]]), |    )--([a-z0-9-]+)( ([^ ]+))?.*/\2 \3 \5/p' |
        while IFS=' ' read -r line; do
            set -- $line
            [ "${#1}" -gt 1 ] || { echo "-$1 $3" && shift; }
            echo "--$1 $2"
        done
}

_clip_models() {
    local IFS=: folder
    for folder in $CLIP_MODEL_PATH; do
        [ -d "$folder" ] && command ls "$folder" 2>/dev/null
    done
}

_clip_complete() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} options argument
    COMPREPLY=()
    options=$(_clip_options "$1")
    argument=$(awk -v name="$previous" '$1 == name { print $2 }' <<<"$options")
    case $argument in
    *[A-Z]*\|*[A-Z]* | FILE* | DIR* | STREAM* | '') ;;
    MODEL)
        COMPREPLY=($(compgen -W "$(_clip_models)" -- "$current"))
        ;;
    *\|*) # a choice
        COMPREPLY=($(compgen -W "${argument//|/ }" -- "$current"))
        return
        ;;
    esac
    if [ -z "$argument" ] && [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$(awk '{ print $1 }' <<<"$options")" -- "$current"))
        return
    fi
    COMPREPLY+=($(compgen -f -- "$current"))
    compopt -o filenames 2>/dev/null
}

_clip_register() {
    local programs
    programs=$(compgen -c clip- | sort -u)
    [ -z "$programs" ] || complete -F _clip_complete $programs
}
_clip_register
unset -f _clip_register
