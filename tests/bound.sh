#!/bin/sh
# Nothing becomes larger by learning: each real file with all that adapts is no more than 0.1 %
# and 64 bytes larger than with the language model alone, the best single expert that there is.
# What learnt is decoded by another process and compared.
#
#     bound.sh GPUZIP DATA      DATA holds dev/; exit 77: it is not there
set -eu
gpuzip=$1 data=$2
[ -d "$data/dev" ] || {
    echo "no files in $data/dev: skipped"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
printf '%-20s %9s %9s %9s\n' file bytes alone learns
for file in "$data"/dev/*; do
    alone=$("$gpuzip" -q --no-verify --adapt none -c "$file" | wc -c)
    "$gpuzip" -q --no-verify --adapt all -c "$file" >"$work/x.gpz"
    learns=$(wc -c <"$work/x.gpz")
    printf '%-20s %9d %9d %9d\n' "$(basename "$file")" "$(wc -c <"$file")" "$alone" "$learns"
    "$gpuzip" -qdc "$work/x.gpz" | cmp - "$file" || failed=1
    [ "$learns" -le $((alone + alone / 1000 + 64)) ] || {
        echo "FAILED: $file becomes larger"
        failed=1
    }
done
exit $failed
