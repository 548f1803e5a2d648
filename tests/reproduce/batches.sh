#!/bin/sh
# Shows that blocks share batches at the default level, with the bytes that each file has alone:
# compresses eight files of SIZE bytes, each in a call of its own and all in one call, then one
# file of LARGE bytes; decompresses every archive in another process and compares. Prints the
# blocks of the largest batch: on a CPU as many as give each thread enough streams, on a GPU as many as
# fit.
#
#     batches.sh GPUZIP TEXT SIZE LARGE [OPTION...]
#
# OPTION: of the program, such as --model FILE or --device cuda. TEXT has 8 SIZE bytes or more, and
# LARGE. LARGE may be 0: no large file.
set -eu
gpuzip=$1 text=$2 size=$3 large=$4
shift 4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

batch() { # JSON-FILE: the largest of its "batch_blocks"
    sed 's/.*"batch_blocks":\([0-9]*\).*/\1/' "$1" | sort -n | tail -1
}

i=0
while [ $i -lt 8 ]; do
    tail -c +$((i * size + 1)) "$text" | head -c "$size" >"$work/$i"
    "$gpuzip" -q "$@" "$work/$i" -o "$work/$i.alone"
    i=$((i + 1))
done
set -- --no-verify "$@"
"$gpuzip" -q "$@" --json "$work"/[0-7] >"$work/json"
echo "eight files of $size bytes: up to $(batch "$work/json") blocks a batch"
i=0
while [ $i -lt 8 ]; do
    cmp "$work/$i.gpz" "$work/$i.alone"
    i=$((i + 1))
done
"$gpuzip" -q -d "$@" --json -c "$work"/[0-7].gpz 2>"$work/json" >"$work/back"
cat "$work"/[0-7] | cmp - "$work/back"
echo "the same bytes as alone, decompressed with up to $(batch "$work/json") blocks a batch"

[ "$large" -gt 0 ] || exit 0
head -c "$large" "$text" >"$work/large"
"$gpuzip" -q "$@" --json "$work/large" >"$work/json"
blocks=$(sed 's/.*"blocks":\([0-9]*\),"stored.*/\1/' "$work/json")
echo "one file of $large bytes: $blocks blocks, up to $(batch "$work/json") a batch"
"$gpuzip" -q -dc "$@" "$work/large.gpz" | cmp - "$work/large"
"$gpuzip" -q -T1 "$@" "$work/large" -o "$work/one"
cmp "$work/large.gpz" "$work/one"
echo "the same bytes with one thread; decompressed and compared"
