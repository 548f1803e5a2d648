#!/bin/sh
# blocks.sh GPUZIP FILE [LEVEL...]: for each size of blocks, the bytes of FILE's archive, how much larger it is than
# with the largest blocks, and the bytes of its index, and the seconds of processor time
# to read 4 KB of the middle, as rows of Markdown. One thread, levels 1 and 6 by default.
set -eu
gpuzip=$1 file=$2
shift 2
[ $# -gt 0 ] || set -- 1 6
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

size=$(wc -c <"$file")
for level; do
    whole=
    for block in 16M 256K 64K 16K 4K; do
        "$gpuzip" -q -f -T1 --no-verify "-$level" --block-size $block "$file" -o "$work/x.gpz"
        bytes=$(wc -c <"$work/x.gpz")
        whole=${whole:-$bytes}
        /usr/bin/time -f %U -o "$work/time" \
            "$gpuzip" -q -T1 -d --range $((size / 2)):4096 "$work/x.gpz" >"$work/part"
        tail -c +$((size / 2 + 1)) "$file" | head -c 4096 | cmp - "$work/part"
        index=$("$gpuzip" -l --json "$work/x.gpz" | sed 's/.*"index_bytes":\([0-9]*\).*/\1/')
        echo "| -$level | $block | $bytes | $(awk "BEGIN { printf \"%+.1f\", 100 * ($bytes - $whole) / $whole }") % |" \
            "$index | $(cat "$work/time") |"
    done
done
