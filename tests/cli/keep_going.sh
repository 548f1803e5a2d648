# --keep-going: intact blocks of a damaged archive are restored, lost ranges are named.
# Second argument: the program that makes a tiny checkpoint.
. "$(dirname "$0")/check.sh"

tiny=$("$2")
run 0 "$gz" model import "$tiny/tiny.bin" -o tiny.gpzm
rm -r "$tiny"
model='--model tiny.gpzm'
mkdir d

# Four blocks of 100 bytes: coded, stored, packed, coded.
{
    yes ab | head -c 100
    head -c 100 /dev/urandom
    head -c 100 /dev/zero
    yes ba | head -c 100
} >all
run 0 "$gz" $model --naive-bayes --alpha 0,1 --block-size 100 -c all
cp $out all.gpz
run 0 "$gz" -d $model --keep-going -c all.gpz
silent
same $out all
run 0 "$gz" -lv all.gpz
size=$(wc -c <all.gpz)
run 0 "$gz" --no-index $model --naive-bayes --alpha 0,1 --block-size 100 -c all
bare=$(wc -c <$out) # the index begins there

# damage POSITION VALUE: d/x.gpz with another byte at POSITION
damage() {
    cp all.gpz d/x.gpz
    # shellcheck disable=SC2059 # the octal number is the format
    printf "$2" | dd of=d/x.gpz bs=1 seek="$1" conv=notrunc 2>/dev/null
}

# place N: where the stored block begins, and others from it
place() {
    LC_ALL=C grep -obUaP "$1" all.gpz | head -n 1 | cut -d: -f1
}
stored=$(place '\x01\x64')
packed=$((stored + 106))

# A byte within a block: the others stay where they were.
for position in $((stored + 50)) $((stored + 105)); do
    damage $position '\377'
    cmp -s d/x.gpz all.gpz && damage $position '\376'
    run 1 "$gz" -d $model d/x.gpz
    absent d/x
    run 1 "$gz" -d $model --keep-going d/x.gpz
    says 'd/x.gpz: bytes 100 to 199 are lost; zeros stand in their place'
    says 'd/x.gpz: .*damaged; the intact blocks were decompressed'
    { head -c 100 all && head -c 100 /dev/zero && tail -c 200 all; } | cmp - d/x ||
        fail 'not as it was around the lost block'
    rm d/x
    run 1 "$gz" -t $model --keep-going d/x.gpz
    says 'bytes 100 to 199 are lost'
    run 1 "$gz" -d $model --keep-going --rm d/x.gpz
    exists d/x.gpz
    rm d/x
done

# The first byte of a block, whose size is then unknown.
damage $packed '\177'
run 1 "$gz" -d $model --keep-going d/x.gpz
says 'an unknown number of bytes is lost before byte 200'
{ head -c 200 all && tail -c 100 all; } | cmp - d/x || fail 'not all of the other blocks'
rm d/x

# The frame's header: blocks that need no settings can be restored.
damage 8 '\177'
run 1 "$gz" -d $model --keep-going d/x.gpz
says 'bytes 200 to 299 are lost'
{ tail -c 300 all | head -c 200 && head -c 100 /dev/zero; } >wanted
tail -c 300 d/x | cmp - wanted || fail 'a block without a header'
rm d/x

# Bytes that are missing, inserted or cut off; a block that is there twice.
{ head -c $((stored + 10)) all.gpz && tail -c $((size - stored - 20)) all.gpz; } >d/x.gpz
run 1 "$gz" -d $model --keep-going -c d/x.gpz
says 'lost before byte 100'
{ head -c 100 all && tail -c 200 all; } | cmp - $out || fail 'missing bytes'
{ head -c $packed all.gpz && printf 'garbage' && tail -c +$((packed + 1)) all.gpz; } >d/x.gpz
run 1 "$gz" -d $model --keep-going -c d/x.gpz
says 'lost before byte 200'
same $out all
head -c $((size - 12)) all.gpz >d/x.gpz
run 1 "$gz" -d $model --keep-going -c d/x.gpz
head -c 300 all | cmp - $out || head -c 400 all | cmp - $out || fail 'a file that was cut off'
{ head -c $packed all.gpz && tail -c +$((stored + 1)) all.gpz; } >d/x.gpz
run 1 "$gz" -d $model --keep-going -c d/x.gpz
{ head -c 200 all && tail -c 300 all; } | cmp - $out || fail 'a block that is there twice'

# Two frames, the end mark between them damaged; zeros at the end.
cat all.gpz all.gpz >two.gpz
run 0 "$gz" -d $model --keep-going -c two.gpz
cp two.gpz d/x.gpz
printf '\177' | dd of=d/x.gpz bs=1 seek=$((bare - 11)) conv=notrunc 2>/dev/null
head -c 5000 /dev/zero >>d/x.gpz
run 1 "$gz" -d $model --keep-going -c d/x.gpz
cat all all | cmp - $out || fail 'a damaged end mark'

# The index alone: the content is whole, and the warning has an exit code of its own.
same_index() {
    run 1 "$gz" -d $model -c d/x.gpz
    run 2 "$gz" -d $model --keep-going -c d/x.gpz
    says 'd/x.gpz: warning: the index of blocks is damaged; the content is whole'
    cmp -s $out "$1" || fail "not $1 with a damaged index"
}
for position in 0 1 5 8 30 $((size - bare - 14)) $((size - bare - 10)) $((size - bare - 1)); do
    damage $((bare + position)) '\377'
    same_index all
    cat all.gpz d/x.gpz all.gpz >d/three.gpz
    mv d/three.gpz d/x.gpz
    cat all all all >three
    same_index three
done
for cut in 1 11 20 $((size - bare - 8)); do
    head -c $((size - cut)) all.gpz >d/x.gpz # perhaps a frame followed
    run 1 "$gz" -d $model --keep-going -c d/x.gpz
    same $out all
done
damage $((size - 1)) '\377'
run 2 "$gz" -t $model --keep-going d/x.gpz
run 2 "$gz" -d $model --keep-going --rm d/x.gpz
exists d/x.gpz
same d/x all
rm d/x
# Other bytes where the index was may have been content.
{ head -c $bare all.gpz && head -c $((size - bare)) /dev/urandom | tr '\000' x; } >d/x.gpz
run 1 "$gz" -d $model --keep-going -c d/x.gpz

# Other files are no archives, and what fails for another reason leaves nothing.
run 1 "$gz" -d --keep-going -o d/none all
says 'not a gpuzip file'
absent d/none
printf '' >empty.gpz
run 1 "$gz" -d --keep-going -o d/none empty.gpz
run 3 "$gz" -d --keep-going -o d/none all.gpz
absent d/none
run 1 "$gz" --keep-going all
says 'belongs to -d and -t'
holds d x.gpz' '
