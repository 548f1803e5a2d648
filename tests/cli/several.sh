# Several files: one that fails stops nothing, and the worst exit code counts.
. "$(dirname "$0")/check.sh"

cp text a
cp text b
mkdir folder
run 1 "$gz" a missing b
says 'missing'
exists a.gpz
exists b.gpz
rm a.gpz b.gpz
run 2 "$gz" a folder b
exists b.gpz
rm a.gpz b.gpz
run 1 "$gz" folder a missing b
exists a.gpz
exists b.gpz

run 1 "$gz" missing folder
run 2 "$gz" folder text
rm text.gpz

echo garbage >bad.gpz
mv a a.txt
mv b b.txt
run 1 "$gz" -d a.gpz bad.gpz b.gpz
same a text
same b text
absent bad
run 1 "$gz" -t a.gpz bad.gpz b.gpz
says 'bad.gpz'

# Several to one stream decode as one.
run 0 "$gz" -c a b text
cp $out three.gpz
cat a b text >three
run 0 "$gz" -d three.gpz -o back
same back three
run 0 sh -c '"$1" -dc a.gpz - b.gpz <a.gpz' sh "$gz"
cat a a b | cmp - $out || fail "files and - are not joined in order"
run 1 "$gz" a b -o both
says '-o takes one input'
absent both

# --rm only when all went well, -k undoes it.
mkdir r
cp text r/a
run 0 "$gz" --rm r/a
holds r 'a.gpz '
run 0 "$gz" -d --rm r/a.gpz
holds r 'a '
same r/a text
run 0 "$gz" --rm -k r/a
holds r 'a a.gpz '
run 1 "$gz" --rm r/a
holds r 'a a.gpz '
run 0 "$gz" --rm -c r/a
holds r 'a a.gpz '
run 0 "$gz" --rm -t r/a.gpz
holds r 'a a.gpz '
run 0 "$gz" --rm r/a -o /dev/null
holds r 'a a.gpz '
run 1 "$gz" --rm r/a -o /dev/full
holds r 'a a.gpz '
run 0 "$gz" --rm -f r/a
holds r 'a.gpz '
run 0 sh -c '"$1" --rm <text >/dev/null' sh "$gz"
exists text
head -c 30 r/a.gpz >r/cut.gpz
run 1 "$gz" -d --rm r/cut.gpz
holds r 'a.gpz cut.gpz '

# Also where they adapt differently and share all other settings.
for adapt in biases contexts biases,alphas; do
    run 0 "$gz" -c --adapt $adapt a
    cat $out
done >mixed.gpz
run 0 "$gz" -dc mixed.gpz
cat a a a | cmp - $out || fail "joined files that adapt differently"
