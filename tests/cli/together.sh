# Several files whose blocks share GPUs (the CPU in disguise): messages, output and
# left behind is as if each had been alone. The second argument makes a tiny checkpoint.
. "$(dirname "$0")/check.sh"

tiny=$("$2")
mv "$tiny" checkpoint
settings='--model checkpoint/tiny.bin --alpha 0.01 --adapt none --no-pack --window 16 --hop 8 --streams 3 --block-size 300'
model='--model checkpoint/tiny.bin'
GPUZIP_FAKE_DEVICES=2
export GPUZIP_FAKE_DEVICES

mkdir in
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    printf 'the cat %s at the hat\n' $i $i $i $i $i $i $i $i $i $i $i $i $i $i $i $i >in/$i
    touch -d "2020-01-01 00:00:$i" in/$i
done
: >in/5

# The result of each file.
mkdir cpu
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    run 0 "$gz" --device cpu $settings in/$i -o cpu/$i.gpz
done

run 0 "$gz" --device cuda $settings -k in/*
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    same in/$i.gpz cpu/$i.gpz
    [ "$(stat -c %Y in/$i.gpz)" = "$(stat -c %Y in/$i)" ] || fail "another time for $i.gpz"
done
run 0 "$gz" --device cuda $settings -c in/1 in/2 in/5 in/3
cat cpu/1.gpz cpu/2.gpz cpu/5.gpz cpu/3.gpz | cmp - $out || fail "-c mixed the files up"
run 0 "$gz" --device cuda $model -dc cpu/1.gpz - cpu/2.gpz <cpu/3.gpz
cat in/1 in/3 in/2 | cmp - $out || fail "files and - are not joined in order"
rm in/*.gpz

# Each has its own figures, too.
for device in cpu cuda; do
    run 0 "$gz" --device $device $settings -f --json in/1 in/2 in/5 in/12
    cp $out $device.json
done
if command -v python3 >/dev/null; then
    python3 -c 'import json
one, other = ([json.loads(line) for line in open(name)] for name in ("cpu.json", "cuda.json"))
assert len(one) == 4 and one[0]["model_bits"] > 0
for a, b in zip(one, other):
    assert a["measured"] == b["measured"] and a["model_bits"] == b["model_bits"], (a, b)' 2>$err ||
        fail "other figures together than alone"
fi
rm in/*.gpz ./*.json

# Messages come in the files' order, whoever is at fault; the others go on.
mkdir mixed
cp cpu/*.gpz mixed
echo garbage >mixed/2.gpz
head -c 60 cpu/4.gpz >mixed/4.gpz
: >mixed/7
cd mixed
messages() {
    "$gz" --device $1 $2 -d 1.gpz 2.gpz missing 3.gpz 1.gpz 4.gpz . 6.gpz 7 2>../messages.$1
    echo "exit code $?" >>../messages.$1
    ls -A >>../messages.$1
    rm -f 1 3 6
}
messages cpu "-v --model ../checkpoint/tiny.bin"
messages cuda "-v --model ../checkpoint/tiny.bin"
cd ..
messages=$(sed -n 's/,* [0-9.]* [KM]*B\/s.*//; /^cuda:/d; /^cpu:/d; p' messages.cpu)
[ "$messages" = "$(sed -n 's/,* [0-9.]* [KM]*B\/s.*//; /^cuda:/d; /^cpu:/d; p' messages.cuda)" ] ||
    fail "other messages than from the CPU"

# The same source twice, a target that is the next source; --rm and -f.
mkdir r
cp in/1 in/2 in/3 r
run 1 "$gz" --device cuda $settings r/1 r/1 r/2
says 'already exists'
holds r '1 1.gpz 2 2.gpz 3 '
run 0 "$gz" --device cuda $settings -f r/3 r/3.gpz
run 0 "$gz" --device cuda $model -d -c r/3.gpz.gpz
same $out r/3.gpz
run 1 "$gz" --device cuda $settings -f --rm r/1 r/1 r/2
holds r '1.gpz 2.gpz 3 3.gpz 3.gpz.gpz '
same r/2.gpz cpu/2.gpz
run 0 "$gz" --device cuda $model --rm -d r/1.gpz r/2.gpz
holds r '1 2 3 3.gpz 3.gpz.gpz '
same r/1 in/1

# Alphas are fitted on a GPU as on the CPU, while other files are under way.
mkdir f
cp in/1 in/2 in/5 f
for i in 1 2 5; do
    run 0 "$gz" --device cpu $model --naive-bayes --alpha fit f/$i -o f/$i.cpu
done
run 0 "$gz" --device cuda $model --naive-bayes --alpha fit f/1 f/2 f/5
for i in 1 2 5; do
    same f/$i.gpz f/$i.cpu
done

# Few descriptors; a folder; --test.
run 0 sh -c 'ulimit -n 24; "$@"' sh "$gz" --device cuda $settings -r in
run 0 "$gz" --device cuda $model -t -r in
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    same in/$i.gpz cpu/$i.gpz
done

# A signal while several are under way leaves no temporary file behind.
mkdir d
for name in a b c; do
    cat "$data/alice29.txt" >d/$name
done
env --default-signal=TERM "$gz" --device cuda $model d/a d/b d/c &
pid=$!
tries=0
until [ "$(ls -A d | grep -c '^\.gpuzip-')" -eq 3 ]; do
    kill -0 "$pid" 2>/dev/null || fail "ended before the signal came"
    tries=$((tries + 1))
    [ $tries -lt 600 ] || fail "no three temporary files"
    sleep 0.05
done
kill -s TERM $pid
wait $pid
[ $? -gt 128 ] || fail "the signal did not end it"
holds d 'a b c '
