# bash completion of gpuzip-bench.

_gpuzip_bench() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=
    # bash splits --device=cpu into three words.
    if [[ $word == = ]]; then
        word=
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    COMPREPLY=()
    case $before in
    --device) words='auto cpu cuda' ;;
    --model) words="builtin all $("${COMP_WORDS[0]}" --list 2>/dev/null | awk 'NR > 1 { print $1 }')" ;;
    --weight-bits | --activation-bits) words='8 15' ;;
    --kv-bits) words='8 12' ;;
    --bounds) words='H200 4090' ;;
    -T | --threads | --streams | --window | --seconds) return ;;
    --text | --log)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames 2>/dev/null
        return
        ;;
    *)
        words='--device -T --threads --model --random --weight-bits --activation-bits --kv-bits
            --kernels --coding --streams --window --text --seconds --quick --list --bounds --json --csv --log
            -q --quiet -h --help -V --version'
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _gpuzip_bench gpuzip-bench
