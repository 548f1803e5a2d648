# Beside two processes that never wait, two threads must not be slower than one: a thread that waits
# for another sleeps. The bound is generous, since the machine may have more to do.
. "$(dirname "$0")/check.sh"

hogs=
# The shell's own trap removes the folder; the processes must end, too.
trap 'kill $hogs 2>/dev/null; cd / && rm -rf "$folder"' EXIT
head -c 20000 "$data/alice29.txt" >text

# hundredths COMMAND...: prints the time that COMMAND takes.
hundredths() {
    begin=$(date +%s%N)
    "$@" >/dev/null || fail "exit code $?: $*"
    echo $((($(date +%s%N) - begin) / 10000000))
}

# measure NAME: sets one and two, the shortest of three times with so many threads.
measure() {
    one=99999 two=99999
    for round in 1 2 3; do
        t=$(hundredths "$gz" -T1 -c text) || exit 1
        [ "$t" -ge "$one" ] || one=$t
        t=$(hundredths "$gz" -T2 -c text) || exit 1
        [ "$t" -ge "$two" ] || two=$t
    done
    echo "$1: $one hundredths of a second with one thread, $two with two"
}

measure quiet
quiet=$two
for hog in 1 2; do
    sh -c 'while :; do :; done' &
    hogs="$hogs $!"
done
measure "beside two busy processes"
echo "two threads: $((100 * quiet / (two + 1))) % of the quiet speed"
[ "$two" -le $((2 * one + 50)) ] || fail "two threads take $two, one takes $one"
[ "$two" -le $((8 * quiet + 100)) ] || fail "$two, and $quiet on a quiet machine"
