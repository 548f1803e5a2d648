# gpuzip-bench: programs can read its output, which names the measured quantities.
. "$(dirname "$0")/../cli/check.sh"
command -v python3 >/dev/null || skip "no python3"

run 0 "$gz" -h
[ "$(wc -L <$out)" -le 90 ] || fail "-h is too wide"
run 0 "$gz" -V
prints '^gpuzip-bench [0-9]'
run 0 "$gz" --list
for shape in gpt2-124m gpt2-355m gpt2-774m gpt2-1558m llama-3.2-1b smollm2-135m; do
    prints "^$shape "
done

for options in --bogus '-T x' '--streams 0' '--streams 1,,2' '--streams 1,x' '--window 1' \
    '--kv-bits 15' '--seconds 0' '--seconds x' '--device gpu' '--bounds H100' text -T; do
    run 1 "$gz" -q $options
    says '^gpuzip-bench: '
done
run 3 "$gz" -q --quick --seconds 0.02 --model no/such-model
says 'no/such-model'

# Everything once, in moments: the figures are worth nothing.
run 0 "$gz" -q --device cpu -T1 --quick --seconds 0.05 --streams 5 --window 32 --text text --json
silent
python3 - $out <<'PYTHON' || fail "the JSON lines are not as they should be"
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert [l["type"] for l in lines].count("device") == 1 and lines[0]["type"] == "device"
assert all(lines[0][key] > 0 for key in
           ("int8_products_per_second", "int8_gemm_per_second", "copy_bytes_per_second"))
kernels = [l for l in lines if l["type"] == "kernel"]
names = {l["name"] for l in kernels}
for name in ("linear qkv", "linear out", "linear up", "linear down", "linear head", "norm",
             "quantize", "embed", "qkv", "attention, prefill", "attention, decode", "mix, encode",
             "mix, decode", "mix, with counts", "forward pass"):
    assert name in names, name
assert all(l["seconds"] > 0 and l["floor_seconds"] > 0 and l["weights"] == "real" for l in kernels)
coding = [l for l in lines if l["type"] == "coding"]
assert [l["name"] for l in coding] == ["encode", "decode"]
for l in coding:
    assert l["streams"] == 5 and l["tokens"] == 5 * l["steps"] and 1 <= l["context"] <= 33
    assert l["seconds"] > 0 and l["bytes"] > l["tokens"] and 0 < l["bits_per_token"] < 30
    assert l["forward"] + l["mix"] + l["coder"] <= 1.05 * l["seconds"]
PYTHON

run 0 "$gz" -q --device cpu -T1 --coding --quick --seconds 0.05 --streams 3 --window 8 --csv \
    --log lines
[ "$(wc -l <lines)" -eq 4 ] || fail "the log has not four lines"
python3 - $out <<'PYTHON' || fail "the CSV is not as it should be"
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
assert [r["name"] for r in rows] == ["forward pass", "encode", "decode"], rows
assert all(None not in r and float(r["seconds"]) > 0 for r in rows)
PYTHON

# Bounds need no device, and measure nothing.
run 0 "$gz" --bounds H200 --streams 1,100
prints 'not a measurement'
prints '^### builtin, encode, window 1024'
prints '^### gpt2-124m, decode, 100 streams'
prints '^| linear up | 100 x 3072 x 768 | 12 |'
run 0 "$gz" --bounds 4090 --model gpt2-124m --json
python3 - $out <<'PYTHON' || fail "the bounds' JSON lines are not as they should be"
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert all(l["device"] == "4090" and l["model"] == "gpt2-124m" for l in lines)
resources = ("issue", "tensor", "pipes", "shared", "L2", "DRAM", "latency")
kernels = [l for l in lines if l["type"] == "bound" and l["name"] != "reading again"]
assert all(l["seconds"] == max(l[r] for r in resources) == l[l["binding"]] for l in kernels)
steps = [l for l in lines if l["type"] == "bound step"]
assert [l["step"] for l in steps] == ["encode"] + 5 * ["decode"]
for step in steps:
    parts = [l for l in lines if l["type"] == "bound" and l["step"] == step["step"] and
             l["streams"] == step["streams"]]
    assert abs(sum(l["calls"] * l["seconds"] for l in parts) / step["seconds"] - 1) < 1e-4
PYTHON

run 1 "$gz" -q --device cpu --log no/such/folder
says 'no/such/folder'
