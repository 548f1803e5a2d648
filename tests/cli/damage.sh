# Damaged files are refused, by -t and by -d, and leave nothing behind.
. "$(dirname "$0")/check.sh"

mkdir d
run 0 "$gz" text
size=$(wc -c <text.gpz)

# refused: both ways say so, and d stays as it was.
refused() {
    run 1 "$gz" -t d/x.gpz
    says 'd/x.gpz: '
    run 1 "$gz" -d d/x.gpz
    says 'd/x.gpz: '
    holds d 'x.gpz '
    run 1 "$gz" -t <d/x.gpz
    says '(stdin): '
}

for kept in 0 1 5 20 $((size / 2)) $((size - 1)); do
    head -c "$kept" text.gpz >d/x.gpz
    refused
done

for at in 0 4 $((size / 4)) $((size / 2)) $((size - 1)); do
    byte=$(dd if=text.gpz bs=1 skip=$at count=1 2>/dev/null | od -An -tu1)
    cp text.gpz d/x.gpz
    printf "\\$(printf %o $((byte ^ 255)))" |
        dd of=d/x.gpz bs=1 seek=$at conv=notrunc 2>/dev/null
    refused
done

cp text d/x.gpz
refused
head -c 100000 /dev/zero >d/x.gpz
refused
cat text.gpz text >d/x.gpz
refused
{ cat text.gpz && printf x; } >d/x.gpz
refused
{ cat text.gpz && head -c $((size / 2)) text.gpz; } >d/x.gpz
refused
run 1 "$gz" -l d/x.gpz
cat text.gpz text.gpz >d/x.gpz
run 0 "$gz" -t d/x.gpz
run 0 "$gz" -dc d/x.gpz
cat text text | cmp - $out || fail "joined files do not decode as one"
