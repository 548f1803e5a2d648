# The same bytes with any number of threads, also where the system makes none or allows one
# processor. sh threads.sh GPUZIP [TINY_CHECKPOINT [REFUSE_THREADS]]: a library whose
# pthread_create() fails, to be preloaded.
. "$(dirname "$0")/check.sh"
refuse=${3-}

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
