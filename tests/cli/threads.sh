# Threads. sh threads.sh GPUZIP same [REFUSE_THREADS]: the same bytes with any number of threads,
# also where the system makes none or allows one processor; REFUSE_THREADS is a library whose
# pthread_create() fails, to be preloaded. sh threads.sh GPUZIP busy: the speed beside two processes
# that never wait. Two threads must not be slower than one there: a thread that waits for another
# sleeps. The bound is generous, since the machine may have more to do.
. "$(dirname "$0")/check.sh"
refuse=${3-}

same_bytes() {
    head -c 3000 "$data/alice29.txt" >text
    for streams in 1 2 9; do
        run 0 "$gz" -T1 -c --streams $streams text
        mv $out text.gpz
        for threads in 2 3 8; do
            run 0 "$gz" -T$threads -c --streams $streams text
            same $out text.gpz
            run 0 "$gz" -T$threads -dc text.gpz
            same $out text
        done
        [ -n "$refuse" ] || continue
        run 0 env LD_PRELOAD="$refuse" "$gz" -T4 -c --streams $streams text
        silent
        same $out text.gpz
        run 0 env LD_PRELOAD="$refuse" "$gz" -T4 -dc text.gpz
        silent
        same $out text
    done

    if taskset -c 0 true 2>/dev/null; then
        for threads in 0 3; do
            run 0 taskset -c 0 "$gz" -T$threads -c --streams 9 text
            same $out text.gpz
        done
    fi
}

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

beside_busy_processes() {
    hogs=
    trap 'kill $hogs 2>/dev/null; cd / && rm -rf "$folder"' EXIT
    head -c 20000 "$data/alice29.txt" >text
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
}

case $2 in
same) same_bytes ;;
busy) beside_busy_processes ;;
*) fail "neither same nor busy: $2" ;;
esac
