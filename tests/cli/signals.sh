# A signal in the middle: the program dies of it and no temporary file is left.
. "$(dirname "$0")/check.sh"

ulimit -c 0
mkdir d
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    cat "$data/alice29.txt"
done >d/long

# begins NAME: waits until the program has its temporary file.
begins() {
    tries=0
    until ls -A d | grep -q '^\.gpuzip-'; do
        kill -0 "$pid" 2>/dev/null || fail "ended before the signal came ($1)"
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "no temporary file ($1)"
        sleep 0.1
    done
}

# AddressSanitizer would handle faults itself.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}handle_segv=0:handle_sigbus=0"
for signal in INT TERM HUP PIPE QUIT ALRM VTALRM PROF XCPU USR2 ABRT SEGV; do
    # A shell's background commands ignore INT; env brings the standard handling back.
    env --default-signal=INT,QUIT,TERM,HUP,PIPE "$gz" --device cpu -9 d/long &
    pid=$!
    begins $signal
    [ "$(stat -c %a d/.gpuzip-*)" = 600 ] || fail "others may read the temporary file"
    kill -s $signal $pid
    wait $pid
    code=$?
    [ $code -gt 128 ] && [ "$(kill -l $code)" = $signal ] || fail "$signal: exit code $code"
    holds d 'long '
done

# Pages of a file in use are gone: an error.
env --default-signal=BUS "$gz" --device cpu -9 d/long 2>$err &
pid=$!
begins BUS
kill -s BUS $pid
wait $pid
code=$?
[ $code -eq 1 ] || fail "BUS: exit code $code"
says 'was shortened'
holds d 'long '

# A signal that the parent ignored stays ignored.
env --ignore-signal=HUP "$gz" --device cpu -9 d/long &
pid=$!
begins ignored
kill -s HUP $pid
sleep 0.3
kill -0 $pid || fail "died of an ignored signal"
kill -s TERM $pid
wait $pid
holds d 'long '

# With a source of its own the older file is untouched, and stdin may stay silent.
echo precious >d/out
mkfifo pipe
sleep 60 >pipe &
sleeper=$!
"$gz" --device cpu -f -o d/out <pipe &
pid=$!
begins silent
kill -s TERM $pid
wait $pid
kill $sleeper
[ "$(cat d/out)" = precious ] || fail "the older file was destroyed"
holds d 'long out '

# USR1: a line of progress, also where stderr is no terminal, and the work goes on.
"$gz" --device cpu -T1 -q -9 -o d/out2 d/long 2>$err &
pid=$!
begins USR1
tries=0
until grep -q '%.*KB' $err; do
    kill -s USR1 $pid || fail "ended before it printed progress"
    tries=$((tries + 1))
    [ $tries -lt 600 ] || fail "no progress printed"
    sleep 0.1
done
says '^d/long: '
kill -s TERM $pid
wait $pid
rm d/out
holds d 'long '
