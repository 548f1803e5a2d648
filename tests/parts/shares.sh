# Shares: --part I/N of a file and of an archive, alone and joined.
. "$(dirname "$0")/../cli/check.sh"

mv "$("$2")" tiny
gpuzip="$gz -T1 --model tiny/tiny.bin"
head -c 6800 "$data/alice29.txt" >long # 7 blocks
: >joined
run 0 $gpuzip -q --block-size 1000 long -o whole.gpz

for parts in 1 2 3 7 12; do
    rm -f long.*.gpz joined.gpz
    i=0
    while [ $i -lt $parts ]; do
        i=$((i + 1))
        run 0 $gpuzip -q --block-size 1000 --part $i/$parts long
    done
    # The same bytes in any order of making and with any number of threads.
    last=$(ls long.*.gpz | tail -n 1)
    run 0 $gz --model tiny/tiny.bin -T2 -q --block-size 1000 --part $parts/$parts -o again.gpz long
    same again.gpz "$last"
    rm again.gpz
    cat long.*.gpz >joined.gpz # sorted by name
    run 0 $gpuzip -dc joined.gpz
    same $out long
    for range in 999:2 3500:3000 0:6800; do
        run 0 $gpuzip -d --range $range joined.gpz
        tail -c +$((${range%:*} + 1)) long | head -c "${range#*:}" | cmp - $out || fail "$range"
    done
    run 0 $gpuzip -l --json joined.gpz
    prints '"blocks":7,'
    # Each part is an archive of its share.
    for part in long.*.gpz; do
        run 0 $gpuzip -dc "$part"
        cat $out
    done >back
    same back long
    # Shares of an archive, whether it was made whole or in parts.
    for archive in whole joined; do
        rm -f $archive.[0-9] $archive.[0-9][0-9]
        i=0
        while [ $i -lt $parts ]; do
            i=$((i + 1))
            run 0 $gpuzip -dq --part $i/$parts $archive.gpz
        done
        cat $archive.[0-9]* | cmp - long || fail "shares of $archive.gpz, $parts"
    done
done
exists long.01.gpz
exists long.12.gpz
exists whole.07

: >empty
for i in 1 2; do
    run 0 $gpuzip -q --part $i/2 empty
    run 0 $gpuzip -t empty.$i.gpz
done
run 1 sh -c 'cat long | $1 --part 1/2 >x' sh "$gpuzip"
says 'regular file'
run 1 sh -c 'cat whole.gpz | $1 -d --part 1/2 >x' sh "$gpuzip"
says 'regular file'
run 0 sh -c '$1 --block-size 1000 --part 7/7 <long' sh "$gpuzip"
cp $out piece
run 0 $gpuzip -dc - <piece
tail -c 800 long | cmp - $out || fail "a share of standard input"
for part in 0/2 3/2 1 /2 1/ a/b 1/0 -1/2 1/1000001 1/2/3; do
    run 1 $gpuzip --part "$part" long
    says '^gpuzip: --part takes'
done
for option in '--rm' '-r' '-l' '--no-index'; do
    run 1 $gpuzip $option --part 1/2 long
    says 'part'
done
