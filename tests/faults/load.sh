# Load: eight processes on one folder, and many small files in one run. Second argument: the program
# that makes a tiny checkpoint.
. "$(dirname "$0")/../cli/check.sh"

tiny=$("$2")
run 0 "$gz" model import "$tiny/tiny.bin" -o tiny.gpzm
rm -r "$tiny"
mkdir all
i=0
while [ $i -lt 60 ]; do
    head -c $((200 + 7 * i)) "$data/alice29.txt" | tail -c 200 >all/$i
    i=$((i + 1))
done
cp -r all kept

# Whoever comes second to a name says so; nobody's file is broken.
pids=
for process in 1 2 3 4 5 6 7 8; do
    "$gz" -qq -T1 --model tiny.gpzm -r all &
    pids="$pids $!"
done
for pid in $pids; do
    wait "$pid"
    [ $? -le 2 ] || fail "a process ended with $?"
done
[ "$(ls -A all | wc -l)" -eq 120 ] || fail "files are missing or left: $(ls -A all | wc -l)"
run 0 "$gz" -t --model tiny.gpzm -r all
rm -f all/*[0-9]
pids=
for process in 1 2 3 4 5 6 7 8; do
    "$gz" -qq -T1 -d --rm --model tiny.gpzm -r all &
    pids="$pids $!"
done
for pid in $pids; do
    wait "$pid"
done
[ "$(ls -A all | wc -l)" -eq 60 ] || fail "files are missing or left: $(ls -A all | wc -l)"
diff -r all kept || fail "a file was changed"

# The model is opened once for all files of a run: the built-in one takes 25 ms of a processor.
mkdir many
i=0
while [ $i -lt 300 ]; do
    echo "file $i" >many/$i
    i=$((i + 1))
done
begin=$(date +%s%N)
run 0 "$gz" -1 -T1 -r many
hundredths=$((($(date +%s%N) - begin) / 10000000))
echo "300 files in $hundredths hundredths of a second"
[ "$(ls many | wc -l)" -eq 600 ] || fail "not all files"
