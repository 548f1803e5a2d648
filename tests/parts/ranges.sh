# Ranges of an archive: by its index, without one, from a pipe; the list of blocks.
. "$(dirname "$0")/../cli/check.sh"

mv "$("$2")" tiny
gpuzip="$gz -T1 --model tiny/tiny.bin"
head -c 20000 "$data/alice29.txt" >long
run 0 $gpuzip -q --block-size 1000 long
run 0 $gpuzip -q --block-size 1000 --no-index -c long
cp $out bare.gpz
head -c 4000 long >first
tail -c +4001 long >rest
for file in first rest; do # the first part with an index, the second without
    run 0 $gpuzip -q --block-size 1000 --no-index -c $file
    cp $out $file.gpz
done
run 0 $gpuzip -qf --block-size 1000 first
cat first.gpz rest.gpz >joined.gpz

# part OFFSET LENGTH: that part of the text
part() {
    tail -c +$(($1 + 1)) long | head -c "$2"
}

for archive in long.gpz bare.gpz joined.gpz; do
    for range in 0:1 0:1000 999:2 7000:4096 3999:2 12345:1 19000:1000 19999:5 20000:9 0:20000 5:0; do
        part "${range%:*}" "${range#*:}" >wanted
        run 0 $gpuzip -d --range $range $archive
        same $out wanted
        run 0 sh -c 'cat "$1" | $2 -d --range $3' sh $archive "$gpuzip" $range
        same $out wanted
    done
    tail -c +10241 long >wanted
    run 0 $gpuzip -d --range 10K: $archive
    same $out wanted
    run 1 $gpuzip -d --range 20001:1 $archive
    says 'has 20000 bytes'
    run 1 sh -c '$2 -d --range 20001:1 <"$1"' sh $archive "$gpuzip"
    says 'has 20000 bytes'
done
run 0 $gpuzip -d --range 100:50 long.gpz -o some
part 100 50 | cmp - some || fail "-o"
run 1 $gpuzip -d --range 100:50 long.gpz -o some
says 'already exists'
run 0 $gpuzip -t --range 100:50 long.gpz

# One block is decoded: damage elsewhere is not met, here it is.
run 0 $gpuzip -lv --json long.gpz
prints '"blocks":20,.*"index_bytes":1[0-9][0-9],'
prints '"block_list":\[{"frame":0,"kind":"[a-z]*","offset":[0-9]*,"size":[0-9]*,"original_offset":0,'
run 0 $gpuzip -lv long.gpz
at=$(awk '$1 == 12 && $2 == 0 { print $4 + $5 / 2 }' $out | cut -d. -f1)
[ "$(awk '/^ *[0-9]+ +0 / { n++ } END { print n }' $out)" -eq 20 ] || fail "not all blocks are listed"
cp long.gpz damaged.gpz
printf '\377\377\377' | dd of=damaged.gpz bs=1 seek="$at" conv=notrunc 2>$err
run 0 $gpuzip -d --range 11000:1000 damaged.gpz
part 11000 1000 | cmp - $out || fail "beside the damage"
run 0 $gpuzip -d --range 13000: damaged.gpz
run 1 $gpuzip -d --range 11999:2 damaged.gpz
run 1 $gpuzip -t damaged.gpz

# An index that is not of these blocks.
run 0 $gpuzip -q --block-size 1100 -c long
cp $out other.gpz
run 0 $gpuzip -l --json long.gpz
index=$(sed 's/.*"index_bytes":\([0-9]*\).*/\1/' $out)
run 0 $gpuzip -l --json other.gpz
other=$(sed 's/.*"index_bytes":\([0-9]*\).*/\1/' $out)
{
    head -c -"$index" long.gpz
    tail -c "$other" other.gpz
} >lying.gpz
run 0 $gpuzip -dc lying.gpz
same $out long
run 1 $gpuzip -d --range 5000:10 lying.gpz

# Options that do not go together, and wrong ones.
for option in '--range 1:2' '-l --range 1:2' '-d --range 1:2 --part 1/2' '-d --range 1:2 --rm'; do
    run 1 $gpuzip $option long.gpz
    says 'is for\|exclude\|removes no file'
done
for range in 1 : 1:x -1:2 1:2:3 1:-2 x:1 '' 99999999999999999999999999999999999999:1; do
    run 1 $gpuzip -d --range "$range" long.gpz
    says '^gpuzip: --range takes'
done
