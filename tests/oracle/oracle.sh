#!/bin/sh
# Real files against float32: the size of each .gpz, decoded by another process and compared,
# must be within 0.5 % of the cross-entropy that reference.py found (expected.json).
#
#     oracle.sh GPUZIP DATA [sizes|slow]    DATA holds models/ and dev/; exit 77: it is not there
#
# "sizes" adds a MiB of mathematics with the wPoE authors' checkpoint, alone and with Naive
# Bayes: 2,048-byte chunks that know nothing of each other. "slow" also decodes these two
# files, byte by byte in one stream, which takes a quarter of an hour.
set -eu
gpuzip=$1 data=$2 slow=${3-}
here=$(cd "$(dirname "$0")" && pwd)
[ -d "$data/models" ] || {
    echo "no models in $data: skipped"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# check NAME EXPECTED_KEY FILE MODEL OPTIONS...: decodes the file if $decodes = yes
decodes=yes
check() {
    name=$1 key=$2 file=$3 model=$4
    shift 4
    "$gpuzip" -q --model "$model" --adapt none --no-verify --no-pack -c "$@" "$file" >"$work/x.gpz"
    if [ $decodes = yes ]; then
        "$gpuzip" -q --model "$model" -dc "$work/x.gpz" >"$work/x"
        cmp "$file" "$work/x"
    fi
    size=$(wc -c <"$work/x.gpz")
    python3 - "$here/expected.json" "$key" "$size" "$name" <<'PYTHON' || failed=1
import json
import sys

path, key, size, name = sys.argv[1:]
entry = json.load(open(path))
for part in key.split("."):
    entry = entry[part]
ratio = 8 * int(size) / entry
print(f"{name}: {size} bytes, {100 * (ratio - 1):+.3f} % of float32's {entry / 8:.0f}")
sys.exit(abs(ratio - 1) > 0.005)
PYTHON
}

text=$here/text.txt
check stories260K stories260K.bits "$text" "$data/models/stories260K/stories260K.bin" \
    --window 512 --hop 512 --streams 1
check babyllama babyllama.bits "$text" "$data/models/babyllama/model5000.bin" \
    --window 256 --hop 256 --streams 1
if [ -n "$slow" ]; then
    [ "$slow" = slow ] || decodes=no
    math=$data/dev/math_test.txt
    check wpoe wpoe.model "$math" "$data/models/wpoe_enwik8_dim64" \
        --window 2048 --hop 2048 --streams 1 --window-scope
    check wpoe-bayes wpoe.product "$math" "$data/models/wpoe_enwik8_dim64" \
        --naive-bayes --alpha 0.55,0.45 --window 2048 --hop 2048 --streams 1 --window-scope
fi
exit $failed
