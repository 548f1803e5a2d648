# The other installed files: pages of the manual, completions, file types, licence. A check whose
# program is missing here is left out.
. "$(dirname "$0")/../cli/check.sh"
. "$(dirname "$0")/tree.sh"

has() {
    command -v "$1" >/dev/null
}

share=$tree/share
for file in man/man1/gpuzip.1 man/man1/gpuzip-bench.1 man/man3/gpuzip.3 man/man5/gpuzip.5 \
    man/man1/gpunzip.1 man/man1/gpzcat.1 bash-completion/completions/gpuzip \
    bash-completion/completions/gpunzip bash-completion/completions/gpzcat \
    bash-completion/completions/gpuzip-bench zsh/site-functions/_gpuzip \
    zsh/site-functions/_gpuzip-bench fish/vendor_completions.d/gpuzip.fish \
    fish/vendor_completions.d/gpuzip-bench.fish mime/packages/gpuzip.xml gpuzip/gpuzip.magic \
    doc/gpuzip/LICENSE; do
    [ -s "$share/$file" ] || fail "$file is missing"
done

if has mandoc; then
    for page in "$share"/man/man?/*; do
        # References to pages that this machine lacks are right elsewhere.
        mandoc -T lint "$page" 2>&1 | grep -v -e 'mandoc\.db' -e 'referenced manual not found' >lint
        [ ! -s lint ] || fail "mandoc: $(cat lint)"
    done
fi
if has man; then
    run 0 env MANPATH="$share/man" MANPAGER=cat man gpzcat
    prints 'language models'
fi

# Completions: their syntax, and two of their answers.
if has bash; then
    cat >complete.bash <<'END'
. "$1"
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
compopt() { :; }
"_${2//-/_}"
echo "${COMPREPLY[*]}"
END
    completes() {
        words=$1
        shift
        run 0 bash complete.bash "$share/bash-completion/completions/$1" "$@"
        prints "^$words\$"
    }
    touch x.gpz x.txt
    completes '--recursive' gpuzip --re
    completes 'import learn export info' gpuzip model ''
    completes 'contexts' gpuzip --adapt c
    completes 'cpu cuda' gpuzip --device = c
    completes 'x.gpz x.txt' gpuzip x
    completes 'x.gpz' gpuzip -d x
    completes 'model' gpuzip mo
    completes '--kv-bits --kernels' gpuzip-bench --k
fi
if has zsh; then
    for name in _gpuzip _gpuzip-bench; do
        run 0 zsh -n "$share/zsh/site-functions/$name"
    done
    # The whole of zsh's completion needs a terminal; here its parts only print their arguments.
    run 0 zsh -fc '_arguments() { print -l -- "$@" }; service=gpuzip CURRENT=2 words=(gpuzip -)
        . "$1"' zsh "$share/zsh/site-functions/_gpuzip"
    prints '^--window='
    prints '^(-M --memory)-M+\['
fi
if has fish; then
    run 0 env HOME="$folder" fish -c "source $share/fish/vendor_completions.d/gpuzip.fish
        complete -C 'gpuzip --re'; complete -C 'gpuzip model i'; complete -C 'gpuzip --adapt c'"
    prints '^--recursive'
    prints '^info'
    prints '^contexts'
    run 0 env HOME="$folder" fish -n "$share/fish/vendor_completions.d/gpuzip-bench.fish"
fi

# File types.
run 0 "$bin/gpuzip" text
cp text.gpz other
head -c 400 "$source/weights/builtin/builtin.gpzm" >model
if has file; then
    run 0 file -m "$share/gpuzip/gpuzip.magic" other model
    prints '^other: *gpuzip compressed data, version 2$'
    prints '^model: *gpuzip model, version 2, "'
    run 0 file -b --mime-type -m "$share/gpuzip/gpuzip.magic" other
    prints '^application/x-gpuzip$'
fi
if has update-mime-database; then
    mkdir -p mime/packages
    cp "$share/mime/packages/gpuzip.xml" mime/packages
    run 0 env XDG_DATA_DIRS="$folder" update-mime-database "$folder/mime"
    silent
    run 0 cat mime/globs
    prints '^application/x-gpuzip:\*\.gpz$'
    prints '^application/x-gpuzip-model:\*\.gpzm$'
fi
