# -l, --stats, --json, -b.
. "$(dirname "$0")/check.sh"

run 0 "$gz" -v text
says 'text: [0-9.]*% (400 => [0-9]* bytes, [0-9.]* bits/byte) [0-9.]* .*B/s  [0-9]* token/s\(  [a-z0-9:,]*\)\?$'
size=$(wc -c <text.gpz)

run 0 "$gz" -l text.gpz
prints '^Frames'
prints " $size  *400 .* text.gpz$"
[ "$(wc -l <$out)" -eq 2 ] || fail "not two lines"
cat text.gpz text.gpz >two.gpz
run 0 "$gz" -l text.gpz two.gpz
prints "^ *3 .* $((3 * size))  *1200 .* 2 files$"
run 0 "$gz" -lv two.gpz
prints 'frames  *2'
prints 'models  *at hand'
run 0 "$gz" -l <text.gpz
prints '(stdin)'
run 1 "$gz" -l text.gpz text
prints text.gpz
says '^gpuzip: text: '

# json FILTER: one object a line; checked where there is a reader for it.
if command -v python3 >/dev/null; then
    json() {
        python3 -c 'import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert eval(sys.argv[2]), lines' $out "$1" 2>$err || fail "JSON: $1"
    }
else
    json() { prints '^{.*}$'; }
fi

run 0 "$gz" -l --json text.gpz two.gpz
json '[l["frames"] for l in lines] == [1, 2]'
json 'all(len(l["experts"][0]["model_id"]) == 16 and l["model_known"] for l in lines)'
run 0 "$gz" -f --json text
json "lines[0]['original_bytes'] == 400 and lines[0]['compressed_bytes'] == $size"
json "abs(lines[0]['bits_per_byte'] - 8 * $size / 400) < 1e-6"
json 'lines[0]["output"] == "text.gpz" and lines[0]["operation"] == "compress"'
run 0 "$gz" -t --json text.gpz
json 'lines[0]["operation"] == "decompress" and lines[0]["measured"] is None'

# Costs of the experts: their sum is the cost of the tokens.
run 0 "$gz" -f --json --naive-bayes --alpha 0.9,0.2 --adapt all text
if command -v python3 >/dev/null; then
    python3 -m json.tool $out >/dev/null || fail "not JSON"
fi
json '[e["kind"] for e in lines[0]["measured"]["experts"]] == ["model", "naive-bayes"]'
json '[e["alpha"] > 0 and e["bits"] > 0 for e in lines[0]["measured"]["experts"]] == [True, True]'
json 'len(lines[0]["measured"]["experts"][0]["model_id"]) == 64'
json 'abs(sum(s * lines[0]["measured"][k] for s, k in ((1, "weighted_bits"), (1, "log2_z_bits"),
    (-1, "bias_gain_bits"), (-1, "context_gain_bits"), (1, "rounding_bits"), (1, "escape_bits")))
    - lines[0]["model_bits"]) < 0.01'
json '0 < len(lines[0]["measured"]["alphas"]) <= 32'
json 'all(len(a["alpha"]) == 2 for a in lines[0]["measured"]["alphas"])'
json '0 < lines[0]["measured"]["information_capacity"] < 8'
same_figures() {
    python3 -c 'import json, sys
a, b = (json.load(open(name)) for name in sys.argv[1:])
assert a["measured"] == b["measured"] and a["model_bits"] == b["model_bits"]' "$1" "$2" 2>$err ||
        fail "other figures with other threads"
}
if command -v python3 >/dev/null; then
    for threads in 1 2; do
        run 0 "$gz" -f --json --streams 2 -T$threads text
        cp $out threads$threads
    done
    same_figures threads1 threads2
    rm threads1 threads2
fi
run 0 "$gz" -f --stats --adapt alphas text
prints '1 gpuzip-.* [0-9.]*  *[0-9.]* '
prints 'information capacity'
prints 'bits: log2 Z, mean'
prints 'alphas along the file'
run 0 "$gz" -f text

# Beside the data, not among them.
run 0 "$gz" --json -c text
same $out text.gpz
says '^{.*}$'
run 0 "$gz" -dc --stats text.gpz
same $out text
says 'bits/byte'
run 0 "$gz" --stats -f text
prints 'uniform cost S_0'

run 0 "$gz" -b -i0 -1 -2 text
prints '^-1 .*bits/byte'
prints '^-2 '
prints 'decompress .* MB/s .* token/s'
run 0 "$gz" -b -i0 --json text
json 'lines[0]["level"] == 6 and lines[0]["decompress"]["runs"] == 1'
run 0 "$gz" -b -i0 <text
run 1 "$gz" -b missing
holds . '.results text text.gpz two.gpz '
