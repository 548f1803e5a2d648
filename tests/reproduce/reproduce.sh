#!/bin/sh
# The papers' tables with real files; README.md describes them and has the results.
#
#     reproduce.sh GPUZIP DATA [all|mathematics|experts|models]     DATA holds models/ and dev/; exit 77: it is not there
#
# Chunks of 2,048 bytes are coded as if there were no others. Each file is decoded by another process and
# compared. In the environment:
#
#     GPUZIP_MATH     the wPoE authors' whole mathematics set (test.txt, 3,761,623 bytes), which the published
#                     figures are of and are then compared with; DATA/dev/math_test.txt is its first 1 MiB
#     GPUZIP_EXPERTS  the folder of 50K.gpzm, 200K.gpzm and 500K.gpzm; else this one
#     GPUZIP_LLMS     language models as --model takes them, with blanks between: rows for each
#
# With no third argument only the first 16 KiB of two texts are coded. Always required: a product of
# experts is smaller than each of them alone.
set -eu
gpuzip=$1 data=$2 part=${3-short}
here=$(cd "$(dirname "$0")" && pwd)
trained=${GPUZIP_EXPERTS-$here}
[ -d "$data/models/wpoe_enwik8_dim64" ] || {
    echo "no models in $data: skipped"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
chunk=2048
scope="--window-scope --streams 1"
window="--window $chunk --hop $chunk $scope" # a byte is a token, so a window is a chunk

fail() {
    echo "FAILED: $*" >&2
    failed=1
}

# percent BYTES RAW
percent() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", 100 * a / b }'
}

# code FILE OPTIONS...: sets $size, and $ideal, the same probabilities' code length in bytes
code() {
    file=$1
    shift
    "$gpuzip" -T1 -qf --no-verify --no-pack --adapt none --stats --json "$@" -o "$work/x.gpz" "$file" >"$work/json"
    "$gpuzip" -T1 -qdc "$@" "$work/x.gpz" >"$work/x"
    cmp "$file" "$work/x"
    size=$(wc -c <"$work/x.gpz")
    ideal=$(sed 's/.*"model_bits":\([0-9.]*\).*/\1/' "$work/json" | awk '{ printf "%.0f", $1 / 8 }')
}

# head_of FILE BYTES: its beginning, in whole chunks, as the file $text of $raw bytes
head_of() {
    text=$work/$(basename "$1")
    raw=$(wc -c <"$1")
    [ "$raw" -le "$2" ] || raw=$2
    raw=$((raw / chunk * chunk))
    head -c "$raw" "$1" >"$text"
}

# row NAME PUBLISHED BYTES
row() {
    ours=$(percent "$3" "$raw")
    echo "| $1 | $2 | $ours | $3 |"
    if [ "$whole" = yes ]; then
        awk -v a="$ours" -v b="$2" 'BEGIN { exit !(a - b <= 0.3 && b - a <= 0.3) }' ||
            fail "$1: $ours %, published $2 %"
    fi
}

# classic NAME PUBLISHED DECOMPRESS
classic() {
    size=$(python3 "$here/chunks.py" "$1" "$text" "$work/x")
    $3 <"$work/x" | cmp "$text" -
    row "$1" "$2" "$size"
}

mathematics() {
    wpoe=$data/models/wpoe_enwik8_dim64 whole=no
    if [ "$part" = short ]; then
        head_of "$data/dev/math_test.txt" 16384
    elif [ -n "${GPUZIP_MATH-}" ]; then
        whole=yes
        text=$GPUZIP_MATH raw=$(wc -c <"$GPUZIP_MATH")
    else
        head_of "$data/dev/math_test.txt" 1048576
    fi
    echo "Mathematics, $raw bytes:"
    echo
    echo "| | published, % | here, % | bytes |"
    echo "|---|---:|---:|---:|"
    classic gzip 43.59 "gzip -dc"
    classic LZMA2 45.35 "xz -dc"
    code "$text" --model "$wpoe" --naive-bayes --alpha 0,1 $window
    row "Naive Bayes" 68.90 "$size"
    bayes=$size
    code "$text" --model "$wpoe" $window
    row "transformer 200K" 56.25 "$size"
    alone=$size
    code "$text" --model "$wpoe" --naive-bayes --alpha 0.55,0.45 $window
    row "both, alpha 0.55 and 0.45" 50.95 "$size"
    [ "$size" -lt "$alone" ] && [ "$size" -lt "$bayes" ] || fail "both are no smaller than each alone"

    head_of "$data/dev/math_test.txt" 16384
    code "$text" --model "$wpoe" $window
    shared=$size
    code "$text" --model "$wpoe" $window --block-size $chunk
    awk -v shared="$shared" -v size="$size" -v ideal="$ideal" -v n="$((raw / chunk))" 'BEGIN {
        printf "\nFirst %d chunks, the transformer: its probabilities ask for %d bytes; ", n, ideal
        printf "in one block %d, in a block each %d: %.1f a block\n", shared, size, (size - shared) / (n - 1)
    }'
}

# options_of SET: the options of a set such as 500K+NB
options_of() {
    for expert in $(echo "$1" | tr + ' '); do
        case $expert in
        NB) printf '%s ' --naive-bayes ;;
        *) printf '%s ' --model "$trained/$expert.gpzm" ;;
        esac
    done
    case $1 in
    NB) echo --model "$trained/50K.gpzm" --alpha 0,1 ;;
    *+*) echo --alpha fit ;;
    esac
}

# experts BYTES SETS TEXT...: a line a set, a column a text; those after the set 500K must be smaller than it
experts() {
    bytes=$1 sets=$2
    shift 2
    echo
    if ! [ -f "$trained/500K.gpzm" ]; then
        echo "No experts in $trained: README.md says how they are trained."
        return
    fi
    echo "Trained on Wikipedia, first $bytes bytes of each text, %:"
    echo
    echo "| |$(printf ' %s |' "$@")"
    echo "|---|$(printf -- '---:|%.0s' "$@")"
    : >"$work/best"
    for set in $sets; do
        line="| $set |"
        for name in "$@"; do
            head_of "$data/dev/$name" "$bytes"
            code "$text" $(options_of "$set") $window
            line="$line $(percent "$size" "$raw") |"
            [ "$set" != 500K ] || echo "$name $size" >>"$work/best"
            best=$(sed -n "s/^$name //p" "$work/best")
            case $set in
            500K+*) [ "$size" -lt "$best" ] || fail "$name: $set is no smaller than 500K" ;;
            esac
        done
        echo "$line"
    done
}

# language_models BYTES TEXT...: a block a chunk, for a chunk is not always as many tokens
language_models() {
    bytes=$1
    shift
    echo
    echo "Language models, a block a chunk, first $bytes bytes of each text, % (and without the blocks' headers):"
    echo
    echo "| |$(printf ' %s |' "$@")"
    echo "|---|$(printf -- '---:|%.0s' "$@")"
    for model in $GPUZIP_LLMS; do
        context=$("$gpuzip" model info "$model" --json | sed 's/.*"context":\([0-9]*\).*/\1/')
        [ "$context" -le $chunk ] || context=$chunk
        for bayes in "" "--naive-bayes --alpha 0.95,0.05"; do
            line="| $(basename "$model")${bayes:+ and Naive Bayes, 0.95 and 0.05} |"
            for name in "$@"; do
                head_of "$data/dev/$name" "$bytes"
                code "$text" --model "$model" $bayes --window "$context" --hop "$context" $scope --block-size $chunk
                line="$line $(percent "$size" "$raw") ($(percent "$ideal" "$raw")) |"
            done
            echo "$line"
        done
    done
}

texts="math_test.txt code_dev.txt asyoulik.txt german_dev.txt"
bytes=49152 # of each text of the second and third table
sets="NB 50K 200K 500K 500K+200K 500K+200K+50K 500K+200K+50K+NB 500K+NB"
if [ "$part" = short ]; then
    texts=code_dev.txt bytes=16384 sets="500K 500K+200K 500K+200K+50K 500K+200K+50K+NB"
fi
case $part in short | all | mathematics) mathematics ;; esac
case $part in short | all | experts) experts "$bytes" "$sets" $texts ;; esac
if [ -n "${GPUZIP_LLMS-}" ]; then
    case $part in short | all | models) language_models "$bytes" $texts ;; esac
fi
exit $failed
