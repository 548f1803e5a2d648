#!/bin/sh
# run4.sh: the fourth run of the built-in model, with sliding windows, in as many sittings as there are.
#
#   ./run4.sh prepare OUT     once: text, tokens, start weights (2 minutes)
#   ./run4.sh train   OUT     starts or continues in the background; prints the process id, which SIGTERM stops
#   ./run4.sh train   OUT TIME        the last time: decays the learning rate and ends then (UTC, ISO 8601)
#   ./run4.sh save    OUT     writes run4.safetensors, at any time
#
# A checkpoint is written every five minutes. Without OUT/checkpoint.pt the run goes on from run4.safetensors,
# without that it begins with the model file's weights. PYTHON has torch, numpy, tokenizers and safetensors.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${PYTHON:=python3}" "${DATA:=$here/../../../shared/data}" "${WORKERS:=2}" "${PRECISION:=float32}"
compact=$here/run4.safetensors

prepare() { # OUT
    "$PYTHON" "$here/from_gpzm.py" "$here/../builtin/builtin.gpzm" "$1/start"
    cp "$1/start/tokenizer.json" "$1/"
    "$PYTHON" "$here/prepare.py" text --data "$DATA" --out "$1" --megabytes 300 --seed 20261129 --book 200000 --leave
    "$PYTHON" "$here/prepare.py" tokens --out "$1"
}

# One thread a worker: threads that share a product wait for the one that has no core. The idle class and the
# lowest priority, also of its autogroup, among which Linux divides the cores first: other processes do
# not notice the run.
train() { # OUT [TIME]
    if ! flock --nonblock "$1/lock" true; then
        echo "running already: process $(cat "$1/pid")" >&2
        exit 1
    fi
    start=$1/start
    [ -e "$compact" ] && start=$compact
    OMP_NUM_THREADS=1 setsid flock --nonblock --no-fork "$1/lock" chrt -i 0 nice -n 19 \
        "$PYTHON" "$here/train.py" --out "$1" --start "$start" ${2:+--until} "${2:---steady}" --peak 0.2 \
        --sliding 512 --lengths 0:512/1024/2048 --batch 0:8192 --micro 2048 \
        --precision "$PRECISION" --workers "$WORKERS" --threads 1 >>"$1/train.log" 2>&1 </dev/null &
    echo $! | tee "$1/pid"
    sleep 1 # until it has its own session
    echo 19 2>/dev/null >"/proc/$!/autogroup" || true
}

save() { # OUT
    "$PYTHON" "$here/export.py" "$1/checkpoint.pt" "$compact"
}

case "${1:-}" in
prepare | train | save) "$@" ;;
*) sed -n '2,7s/^# *//p' "$0" >&2 && exit 2 ;;
esac
