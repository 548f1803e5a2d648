#!/bin/sh
# gpu.sh: trains the 24M model in half an hour of one data-centre GPU, rented by the call: ten minutes a
# call, 64 MiB in and out, files of at most 16 MiB, nothing but this folder's programs and the files sent.
#
#   ./gpu.sh pack  OUT DEST               here: OUT/tokens.bin as DEST/tokens.N.xz of at most 54 MiB
#   ./gpu.sh train DIR PAUSE RESULT       there, once a call: trains PAUSE seconds, or to the end
#   ./gpu.sh join  RESULT FOLDER          here: the parts in RESULT as a Hugging Face folder
#
# Here, beforehand (10 minutes of a core):
#
#   python prepare.py text --data ../../../shared/data --out OUT --megabytes 640
#   python tokenizer.py --out OUT --vocab 8192 --line-feeds
#   python prepare.py tokens --out OUT
#   ./gpu.sh pack OUT DEST
#
# Then three calls, one right after the other. Each brings one more part of the tokens into DIR, where
# tokenizer.json and the checkpoint of the call before lie; python3 has torch 2.5 or later, numpy and
# safetensors. Schedules count training seconds: SECONDS_IN_ALL is without pauses, unpacking and compiling.
#
#   | call | sent                             | PAUSE | result                                           |
#   |-----:|----------------------------------|------:|--------------------------------------------------|
#   |    1 | programs, tokenizer, tokens.0.xz |   480 | 20 s unpacking, 60 s compiling, rows of 512      |
#   |    2 | programs, tokens.1.xz            |   530 | rows of 512, then 1,024                          |
#   |    3 | programs, tokens.2.xz            |   500 | rows of 1,024, then 2,048; ends the schedule     |
#
# 1,800 s less 120 for the start, 3 x 40 for transfers and 60 to spare are 1,500; 250 of them are for
# unpacking and compiling, which no GPU has been seen to do yet: choose SECONDS_IN_ALL for the last call
# anew if the first two took less or more. Every call sends the weights home (binary16, 48 MB in four
# files), so a machine that is lost costs its last call: START=FOLDER of joined weights begins there, as
# the next half hour does (with PEAK=0.6).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${PYTHON:=python3}" "${SECONDS_IN_ALL:=1250}" "${SIZE:=24M}" "${DEVICE:=cuda}"
: "${LENGTHS:=0:512,0.5:1024,0.8:2048}" "${BATCH:=0:131072,0.3:262144,0.65:524288}" "${MICRO:=131072}"

pack() { # OUT DEST
    size=$(stat -c %s "$1/tokens.bin")
    part=$(((size / 3 / 2 + 1) * 2)) # whole tokens
    mkdir -p "$2"
    split -d -a 1 -b "$part" "$1/tokens.bin" "$2/tokens."
    xz -T0 --block-size=1GiB --lzma2=preset=9,lc=0,lp=1,pb=1 "$2"/tokens.[0-2]
    cp "$1/tokenizer.json" "$2/"
    for file in "$2"/tokens.*.xz; do
        if [ "$(stat -c %s "$file")" -gt $((54 << 20)) ]; then
            echo "$file is too large to send: take fewer megabytes" >&2
            exit 1
        fi
    done
}

train() { # DIR PAUSE RESULT
    "$PYTHON" "$here/train.py" --out "$1" --size "$SIZE" --device "$DEVICE" --compile --half \
        --seconds "$SECONDS_IN_ALL" --pause "$2" --peak "${PEAK:-1}" ${START:+--start "$START"} \
        --lengths "$LENGTHS" --batch "$BATCH" --micro "$MICRO"
    mkdir -p "$3"
    split -d -a 1 -b 15M "$1/early/model.safetensors" "$3/model."
    cp "$1/early/config.json" "$1/early/tokenizer.json" "$1/train.jsonl" "$3/"
}

join() { # RESULT FOLDER
    mkdir -p "$2"
    cat "$1"/model.[0-9] >"$2/model.safetensors"
    cp "$1/config.json" "$1/tokenizer.json" "$2/"
}

case "${1:-}" in
pack | train | join) "$@" ;;
*) sed -n '2,7s/^# *//p' "$0" >&2 && exit 2 ;;
esac
