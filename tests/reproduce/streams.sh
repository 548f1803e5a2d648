#!/bin/sh
# Prints the size of FILE for every number of streams and every update interval: the cost
# of more rows in an update, and of more streams that begin without context.
#
#     streams.sh GPUZIP FILE "STREAMS..." "INTERVALS..." [OPTION...]
#
# OPTION: of the program, such as -T1 or -1. Nothing is decoded.
set -eu
gpuzip=$1 file=$2 streams=$3 intervals=$4
shift 4

printf '| %s, %d bytes: streams |' "$(basename "$file")" "$(wc -c <"$file")"
for interval in $intervals; do
    printf ' U = %s |' "$interval"
done
printf '\n|---:|'
for interval in $intervals; do
    printf -- '---:|'
done
echo
for s in $streams; do
    printf '| %s |' "$s"
    for interval in $intervals; do
        printf ' %d |' "$("$gpuzip" --no-verify "$@" --streams "$s" --update "$interval" -c "$file" | wc -c)"
    done
    echo
done
