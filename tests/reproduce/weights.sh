#!/bin/sh
# weights.sh GPUZIP LEVEL FILE...: bytes of each file at a level with weights that learn and without, and the
# seconds of processor time that one thread takes to compress without verification and to decompress in another
# process, as rows of Markdown.
set -eu
gpuzip=$1 level=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# code FILE PARTS: "bytes | seconds, seconds"
code() {
    /usr/bin/time -f %U -o "$work/coding" "$gpuzip" -q -f -T1 --no-verify "-$level" --adapt "$2" "$1" -o "$work/x.gpz"
    /usr/bin/time -f %U -o "$work/decoding" "$gpuzip" -q -f -T1 -d "$work/x.gpz" -o "$work/x"
    cmp "$work/x" "$1"
    bytes=$(wc -c <"$work/x.gpz")
    figures="$bytes | $(cat "$work/coding"), $(cat "$work/decoding")"
}

echo '| file, bytes | fixed weights | compress, decompress | weights that learn | compress, decompress | difference |'
echo '|---|---:|---:|---:|---:|---:|'
for file; do
    code "$file" contexts,biases,alphas
    fixed=$bytes row=$figures
    code "$file" all
    printf '| %s, %d | %s | %s | %s %% |\n' "$(basename "$file")" "$(wc -c <"$file")" "$row" "$figures" \
        "$(awk "BEGIN { printf \"%+.2f\", 100 * ($bytes - $fixed) / $fixed }")"
done
