#!/bin/sh
# Real files through separate processes, from files and through pipes (to save time only those of up to
# 200,000 bytes are also compressed from a pipe); against the model alone (--adapt none), than which
# nothing may be more than 0.1 % and 64 bytes larger; and against the classical compressors: all
# texts must come out smaller than with each. At last 8 MB, whose updates have 20,000 rows.
#
#     corpus.sh GPUZIP DATA          DATA holds dev/ and train/; exit 77: it is not there
#     corpus.sh GPUZIP DATA large    8 MiB and 64 MiB at the default level instead: two hours of a
#                                    core; not run by run.sh
#
# The large texts are from train/, which the built-in model knows: they show whether learning is
# stable at that size, not how well the model does.
set -eu
gpuzip=$1 data=$2 part=${3-all}
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
    line "$(basename "$1")" "$raw" "$size"
}

# line NAME BYTES COMPRESSED
line() {
    printf '%-18s %9d %9d %6s' "$1" "$2" "$3" \
        "$(awk -v a="$2" -v b="$3" 'BEGIN { if (a > 0) printf "%.3f", 8 * b / a; else print "-" }')"
}

# through_pipes FILE
through_pipes() {
    cat "$1" | "$gpuzip" -q --no-verify | cat >"$work/p.gpz" || fail "$1: compressing a pipe"
    cat "$work/p.gpz" | "$gpuzip" -qd | cmp - "$1" || fail "$1: comes back changed from a pipe"
}

# others FILE: what the model alone, xz, zstd, bzip3, brotli and zpaq (0: not installed) make of it
others() {
    "$gpuzip" -q --no-verify --no-pack --adapt none -c "$1" | wc -c
    xz -9e -c "$1" | wc -c
    zstd -q --ultra -22 -c "$1" | wc -c
    bzip3 -e -b 16 -c "$1" 2>/dev/null | wc -c
    brotli -q 11 -w 24 -c "$1" | wc -c
    : >"$work/x.zpaq"
    if command -v zpaq >/dev/null; then
        rm "$work/x.zpaq"
        (cd "$(dirname "$1")" && zpaq a "$work/x.zpaq" "$(basename "$1")" -m5) >"$work/log" 2>&1
    fi
    wc -c <"$work/x.zpaq"
}

# compare FILE: round_trip and a line with the others'; adds to the sums of both
compare() {
    file=$1 sums=
    round_trip "$file"
    all_raw=$((all_raw + raw)) all_size=$((all_size + size))
    # shellcheck disable=SC2086 # a list
    set -- $all_others
    for other in $(others "$file"); do
        printf ' %9d' "$other"
        [ -n "$sums" ] || [ "$size" -le $((other + other / 1000 + 64)) ] ||
            fail "$file: learning takes it from $other to $size bytes"
        sums="$sums $(($1 + other))"
        shift
        case $file in
        */sum | */random.bin) continue ;; # no text
        esac
        [ "$other" = 0 ] || [ "$size" -lt "$other" ] || fail "$file: $size bytes, another $other"
    done
    all_others=$sums
    echo
}

# wiki BYTES FILE: the first bytes of the English Wikipedia in train/
wiki() {
    xzcat "$data/train/wiki_en.txt.xz" 2>/dev/null | tr '\0' '\n' | head -c "$1" >"$2" || true
    [ "$(wc -c <"$2")" = "$1" ] || fail "no $1 bytes of text"
}

# learns FILE OPTION...: it comes back, and is no larger than with the model alone
learns() {
    file=$1
    shift
    "$gpuzip" -q --no-verify "$@" -c "$file" >"$work/large.gpz" || fail "$file: compressing"
    "$gpuzip" -qd <"$work/large.gpz" | cmp - "$file" || fail "$file: comes back changed"
    alone=$("$gpuzip" -q --no-verify --no-pack --adapt none "$@" -c "$file" | wc -c)
    raw=$(wc -c <"$file") size=$(wc -c <"$work/large.gpz")
    line "$(basename "$file") $*" "$raw" "$size"
    printf ' %9d\n' "$alone"
    [ "$size" -le $((alone + alone / 1000)) ] ||
        fail "$file: learning takes it from $alone to $size bytes"
}

# The blocks of 64 MiB are those of its 8 pieces of 8 MiB.
check_pieces() {
    sum=0
    for i in 0 1 2 3 4 5 6 7; do
        tail -c +$((i * 8388608 + 1)) "$work/wiki64" | head -c 8388608 >"$work/piece"
        "$gpuzip" -q --no-verify -c "$work/piece" >"$work/piece.gpz" || fail "piece $i"
        sum=$((sum + $(wc -c <"$work/piece.gpz")))
    done
    whole=$(wc -c <"$work/large.gpz")
    echo "64 MiB: $whole bytes; its 8 pieces alone: $sum"
    [ "$whole" -le "$sum" ] || fail "64 MiB: $whole bytes, in pieces $sum"
}

if [ "$part" = large ]; then
    wiki 8388608 "$work/wiki8"
    learns "$work/wiki8"
    wiki 67108864 "$work/wiki64"
    learns "$work/wiki64"
    check_pieces
    exit $failed
fi

all_raw=0 all_size=0 all_others="0 0 0 0 0 0"
printf '%-18s %9s %9s %6s' file bytes gpuzip bits/B
printf ' %9s' alone xz zstd bzip3 brotli zpaq
echo
for file in "$data"/dev/*; do
    compare "$file"
    [ "$raw" -gt 200000 ] || through_pipes "$file"
done
line all "$all_raw" "$all_size"
# shellcheck disable=SC2086 # a list
printf ' %9d' $all_others
model=$("$gpuzip" model info | sed -n 's/^size *\([0-9]*\) bytes/\1/p')
echo
line "all and the model" "$all_raw" $((all_size + model))
echo

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
wiki 8388608 "$work/wiki8"
learns "$work/wiki8" -1
exit $failed
