#!/bin/sh
# Real files through separate processes, from files and through pipes (to save time only those of up to
# 200,000 bytes are also compressed from a pipe); and against the classical compressors:
# alice29.txt, asyoulik.txt, paper1 and enwik6 must come out smaller than with each.
#
#     corpus.sh GPUZIP DATA      DATA holds dev/ and train/; exit 77: it is not there
set -eu
gpuzip=$1 data=$2
[ -d "$data/dev" ] || {
    echo "no files in $data/dev: skipped"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

fail() {
    echo "FAILED: $*"
    failed=1
}

# round_trip FILE: compressed as a file, decompressed from a pipe; sets $raw and $size
round_trip() {
    "$gpuzip" -q --no-verify -c "$1" >"$work/x.gpz" || fail "$1: compressing"
    cat "$work/x.gpz" | "$gpuzip" -qd >"$work/x" || fail "$1: decompressing a pipe"
    cmp "$1" "$work/x" || fail "$1: comes back changed"
    raw=$(wc -c <"$1")
    size=$(wc -c <"$work/x.gpz")
    [ "$size" -le $((raw + raw / 1000 + 100)) ] || fail "$1 grows from $raw to $size"
    printf '%-20s %9d %9d' "$(basename "$1")" "$raw" "$size"
}

# through_pipes FILE
through_pipes() {
    cat "$1" | "$gpuzip" -q | cat >"$work/p.gpz" || fail "$1: compressing a pipe"
    cat "$work/p.gpz" | "$gpuzip" -qd | cmp - "$1" || fail "$1: comes back changed from a pipe"
}

# others FILE: what xz, zstd, bzip3 and brotli make of it, in bytes
others() {
    xz -9e -c "$1" | wc -c
    zstd -q --ultra -22 -c "$1" | wc -c
    bzip3 -e -b 16 -c "$1" 2>/dev/null | wc -c
    brotli -q 11 -w 24 -c "$1" | wc -c
}

printf '%-20s %9s %9s %9s %9s %9s %9s\n' file bytes gpuzip xz zstd bzip3 brotli
for file in "$data"/dev/*; do
    round_trip "$file"
    for other in $(others "$file"); do
        printf ' %9d' "$other"
        case $file in
        */alice29.txt | */asyoulik.txt | */paper1 | */enwik6)
            [ "$size" -lt "$other" ] || fail "$file: $size bytes, another $other"
            ;;
        esac
    done
    echo
    [ "$raw" -gt 200000 ] || through_pipes "$file"
done

: >"$work/empty"
printf x >"$work/one_byte"
head -c 102400 /dev/urandom >"$work/random"
head -c 1048576 /dev/zero >"$work/zeros"
printf 'caf\351 \377\376 \300\200 \355\240\200 na\303\257ve \360\237\230' >"$work/invalid_utf8"
for name in empty one_byte random zeros invalid_utf8; do
    round_trip "$work/$name"
    echo
    through_pipes "$work/$name"
done
xzcat "$data/train/news_en.txt.xz" 2>/dev/null | tr '\0' '\n' | head -c 5000000 >"$work/five_mb" ||
    true
[ "$(wc -c <"$work/five_mb")" = 5000000 ] || fail "no 5 MB of text"
round_trip "$work/five_mb"
echo
exit $failed
