#!/bin/sh
# ranges.sh GPUZIP FILE SIZE N [OPTION...]: compresses the first SIZE bytes of FILE in blocks of
# 16 KiB (an OPTION such as --block-size 4K or -1 comes later and wins), reads N ranges of 4 KiB at
# places drawn from a fixed seed, compares each with the original's bytes, and prints the bytes of
# both, the mean time of a range (the program's start and its model's loading included) and the mean
# number of blocks decoded. Exit code 1: a range differs.
set -eu
gpuzip=$1 file=$2 size=$3 n=$4
shift 4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
length=4096

head -c "$size" "$file" >"$work/x"
[ "$(wc -c <"$work/x")" -eq "$size" ] || {
    echo "$file has fewer bytes than $size" >&2
    exit 1
}
"$gpuzip" -q --no-verify --block-size 16K "$@" "$work/x" -o "$work/x.gpz"

# Options that say how to code are of no use for decoding; models are.
models=
while [ $# -gt 0 ]; do
    case $1 in
    --model) models="$models --model $2" && shift ;;
    --model=*) models="$models $1" ;;
    esac
    shift
done

# Lehmer's generator with the multiplier 48271, from 1: below 2^31, so that awk's numbers are exact.
awk -v n="$n" -v size="$size" -v length_="$length" 'BEGIN {
    most = size > length_ ? size - length_ : 0
    for (x = 1; n > 0; n--) {
        x = x * 48271 % 2147483647
        printf "%d\n", int(x / 2147483647 * (most + 1))
    }
}' >"$work/offsets"

# Reads all ranges first, so that the time is the program's alone.
begun=$(date +%s.%N)
while read -r offset; do
    # shellcheck disable=SC2086 # several words
    "$gpuzip" -q -d $models --range "$offset:$length" --json "$work/x.gpz" \
        >"$work/part.$offset" 2>"$work/json.$offset"
done <"$work/offsets"
ended=$(date +%s.%N)

while read -r offset; do
    tail -c +$((offset + 1)) "$work/x" | head -c "$length" | cmp - "$work/part.$offset" >&2
    sed -n 's/.*"blocks":\([0-9]*\).*/\1/p' "$work/json.$offset"
done <"$work/offsets" >"$work/blocks"
awk -v size="$size" -v packed="$(wc -c <"$work/x.gpz")" -v seconds="$(echo "$ended $begun" |
    awk '{ print $1 - $2 }')" '{ blocks += $1 } END {
    printf "%d => %d bytes, %d ranges equal, %.3f s and %.2f blocks a range\n",
           size, packed, NR, seconds / NR, blocks / NR
}' "$work/blocks"
