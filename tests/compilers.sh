#!/bin/sh
# Programs built by two compilers make the same archive and decode each other's.
#
#     compilers.sh GPUZIP OTHER_GPUZIP
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -c 12000 "$here/data/alice29.txt" >"$work/text"
"$1" -q -c -T2 "$work/text" >"$work/one.gpz"
"$2" -q -c -T1 "$work/text" >"$work/other.gpz"
cmp "$work/one.gpz" "$work/other.gpz"
"$1" -q -dc "$work/other.gpz" | cmp - "$work/text"
"$2" -q -dc "$work/one.gpz" | cmp - "$work/text"
