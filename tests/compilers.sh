#!/bin/sh
# Programs built by two compilers make the same archives and decode each other's: of the model
# alone, of all that adapts, and of several experts.
#
#     compilers.sh GPUZIP OTHER_GPUZIP TINY_CHECKPOINT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# compare BYTES OPTIONS...: of the beginning of a text, each program with threads of its own.
compare() {
    head -c "$1" "$here/data/alice29.txt" >"$work/text"
    shift
    "$gz" -q -c --no-verify -T2 "$@" "$work/text" >"$work/one.gpz"
    "$other" -q -c --no-verify -T1 "$@" "$work/text" >"$work/other.gpz"
    cmp "$work/one.gpz" "$work/other.gpz" || {
        echo "other bytes: $*"
        exit 1
    }
    # shellcheck disable=SC2086 # a list
    "$gz" -q -dc $models "$work/other.gpz" | cmp - "$work/text"
    # shellcheck disable=SC2086
    "$other" -q -dc $models "$work/one.gpz" | cmp - "$work/text"
}

gz=$1 other=$2 models=
compare 6000 --adapt none
compare 6000 --adapt all
compare 1500 --adapt contexts --streams 3 --update 5
compare 1500 --adapt biases --window-scope --window 64 --hop 64
compare 3000 --adapt all --naive-bayes --streams 4
compare 1500 --adapt none --naive-bayes

# Two models, one of which each program imports to the same file.
tiny=$("$3")
"$gz" model import "$tiny/tiny.bin" -o "$work/tiny.gpzm" --weight-bits 8 --activation-bits 8
"$other" model import "$tiny/tiny.bin" -o "$work/same.gpzm" --weight-bits 8 --activation-bits 8
"$gz" model import "$tiny/tiny.bin" -o "$work/wide.gpzm"
rm -r "$tiny"
cmp "$work/tiny.gpzm" "$work/same.gpzm"
models="--model $work/tiny.gpzm --model $work/wide.gpzm"
# shellcheck disable=SC2086
compare 3000 $models --adapt all --alpha 0.1,0.05 --streams 5
# shellcheck disable=SC2086
compare 2000 $models --adapt alphas --naive-bayes --alpha 0.1,0.05,0.8
