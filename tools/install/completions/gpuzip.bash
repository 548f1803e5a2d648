# bash completion of gpuzip, gpunzip and gpzcat.

# Sets COMPREPLY to those of the words $1 that begin with $2.
_gpuzip_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

# The same for files with the suffix $1 (any without one), and folders, that begin with $2.
_gpuzip_files() {
    mapfile -t COMPREPLY < <({
        compgen -f -X "!*$1" -- "$2"
        compgen -d -- "$2"
    } | sort -u)
    compopt -o filenames 2>/dev/null
}

_gpuzip() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} line=" ${COMP_WORDS[*]} "
    # bash splits --device=cpu into three words.
    if [[ $word == = ]]; then
        word=
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case $before in
    --adapt) _gpuzip_words 'all none contexts biases alphas weights' "$word" ;;
    --alpha) _gpuzip_words 'learn fit' "$word" ;;
    --device) _gpuzip_words 'auto cpu cuda' "$word" ;;
    --weight-bits | --activation-bits) _gpuzip_words '8 15' "$word" ;;
    --kv-bits) _gpuzip_words '8 12' "$word" ;;
    --model) _gpuzip_files .gpzm "$word" ;;
    --output-dir-flat)
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        compopt -o filenames 2>/dev/null
        ;;
    -o | --output | --tokenizer | --files-from) _gpuzip_files '' "$word" ;;
    -i | -T | --threads | -M | --memory | --window | --hop | --streams | --block-size | --update | \
        --size | --name | -S | --suffix | --range | --part) COMPREPLY=() ;; # a number or a name
    *) _gpuzip_operand "$word" "$line" ;;
    esac
}

# _gpuzip_operand WORD LINE: a command, an option or a file.
_gpuzip_operand() {
    local word=$1 line=$2
    if [[ $COMP_CWORD -eq 2 && ${COMP_WORDS[1]} == model ]]; then
        _gpuzip_words 'import learn export info' "$word"
    elif [[ $word == -* && ${COMP_WORDS[1]} == model ]]; then
        case ${COMP_WORDS[2]} in
        import) _gpuzip_words '-o --output -f --force -q --quiet -v --verbose --weight-bits
            --activation-bits --kv-bits --tokenizer --name' "$word" ;;
        export) _gpuzip_words '-o --output -f --force -q --quiet -v --verbose' "$word" ;;
        learn) _gpuzip_words '-o --output -f --force -q --quiet -v --verbose --model --size' "$word" ;;
        *) _gpuzip_words '--json -q --quiet -v --verbose' "$word" ;;
        esac
    elif [[ $word == -* ]]; then
        _gpuzip_words '-1 -2 -3 -4 -5 -6 -7 -8 -9 -z --compress -d --decompress --uncompress
            -t --test -l --list -b --benchmark -i -k --keep --rm -c --stdout --to-stdout -o --output
            -f --force -r --recursive -S --suffix --output-dir-flat --files-from --range --part
            --no-index --no-progress --window --hop --streams --block-size --no-verify --no-pack
            --keep-going
            --model --naive-bayes --alpha --adapt --update --window-scope --device --list-devices
            -T --threads -M --memory -q --quiet -v --verbose --stats --json -h --help
            -H --long-help -V --version' "$word"
    elif [[ $line =~ ' '-[a-zA-Z0-9]*[dtl] || $line =~ ' '--(un|de)compress ||
        $line =~ ' '--(test|list)' ' || ${COMP_WORDS[0]} =~ (gpunzip|gpzcat)$ ]]; then
        _gpuzip_files .gpz "$word"
    else
        _gpuzip_files '' "$word"
        if [[ $COMP_CWORD -eq 1 ]]; then
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W 'model explain' -- "$word")
        fi
    fi
}

complete -F _gpuzip gpuzip gpunzip gpzcat
