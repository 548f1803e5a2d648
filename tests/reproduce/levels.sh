#!/bin/sh
# levels.sh GPUZIP FILE...: for each level, bytes and the seconds of processor time that one thread takes to
# compress each file without verification, and to decompress it in another process, as rows of Markdown.
set -eu
gpuzip=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# seconds COMMAND...: its user time.
seconds() {
    /usr/bin/time -f %U -o "$work/time" "$@"
    cat "$work/time"
}

for level in 1 2 3 4 5 6 7 8 9; do
    printf '| -%s |' "$level"
    for file; do
        coding=$(seconds "$gpuzip" -q -f -T1 --no-verify "-$level" "$file" -o "$work/x.gpz")
        decoding=$(seconds "$gpuzip" -q -f -T1 -d "$work/x.gpz" -o "$work/x")
        cmp "$work/x" "$file"
        printf ' %s | %s, %s |' "$(wc -c <"$work/x.gpz")" "$coding" "$decoding"
    done
    echo
done
