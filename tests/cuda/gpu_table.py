#!/usr/bin/env python3
"""The table of what was aimed at and what was reached, from gpu.sh's bench.jsonl and torch.jsonl.

    python3 tests/cuda/gpu_table.py BENCH_LINES TORCH_LINES

What was not measured is said to be so.
"""

import json
import sys


def read(path):
    try:
        with open(path, encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    except OSError:
        return []


def main():
    rows, torch = read(sys.argv[1]), read(sys.argv[2])

    def last(**wanted):
        """The last row with these values, or None."""
        found = [r for r in rows if all(r.get(key) == value for key, value in wanted.items())]
        return found[-1] if found else None

    def line(what, aim, reached):
        print(f"{what:<52} {aim:<16} {reached or 'not measured'}")

    def floor(row):
        return f"{100 * row['floor_seconds'] / row['seconds']:.1f} % ({row['bound']})"

    def rate(row):
        return f"{row['tokens'] / row['seconds']:.0f} token/s"

    def speed(row):
        return f"{row['bytes'] / row['seconds'] / 1e6:.2f} MB/s"

    def shares(row):
        return ", ".join(f"{100 * row[key] / row['seconds']:.1f} %"
                                 for key in ("forward", "coder"))

    def mixing(row):
        """The share of the time that the mixing kernel, measured alone, takes."""
        kernels = [r for r in rows if r.get("name") == f"mix, {row['name']}"
                   and r["model"] == row["model"]]
        if not kernels:
            return None
        kernel = max(kernels, key=lambda r: r["rows"])
        return f"{100 * kernel['seconds'] / kernel['rows'] * row['tokens'] / row['seconds']:.1f} %"

    device = last(type="device")
    print()
    line("what", "aim", "reached")
    line("int8 products; cuBLAS; one plane through linear()", "", device and
         f"{device['int8_products_per_second'] / 1e12:.4g}, "
         f"{device['int8_library_per_second'] / 1e12:.4g}, "
         f"{device['int8_gemm_per_second'] / 1e12:.4g} TOP/s")
    line("copy", "", device and f"{device['copy_bytes_per_second'] / 1e9:.0f} GB/s")
    kinds = sorted({(r["model"], r["bits"], r["name"], r["streams"]) for r in rows
                    if r["type"] == "coding"})
    for model in ("gpt2-124m", "builtin"):
        if not any(kind[0] == model for kind in kinds):
            line(f"{model}, coding", "", None)
    for model, bits, name, streams in kinds:
        row = last(type="coding", model=model, bits=bits, name=name, streams=streams)
        what = f"{model} {bits}, {name}, {streams} streams"
        aim = "" if model == "builtin" else ">= 40 %" if name == "encode" else ">= 60 %"
        line(f"{what}: of the floor", aim, floor(row))
        line("    rate, context", "", f"{rate(row)}, {row['context']:.0f}")
        if row["bytes"] > 0:
            line("    text", ">= 5 MB/s" if name == "decode" else "", speed(row))
        line("    mixing, by its kernel", "<= 10 %", mixing(row))
        line("    waiting for the GPU, host's range coder", "", shares(row))
    best = max((r["tokens_per_second"] for r in torch), default=0)
    for result in torch:
        ours = result["gpuzip_tokens_per_second"]
        line(f"forward pass, batch {result['batch']}, gpuzip : PyTorch ({result['mode']})", "> 1",
             ours and f"{ours / result['tokens_per_second']:.2f}")
    ours = max((r["tokens"] / r["seconds"] for r in rows
                if r.get("name") == "forward pass" and r["model"] == "gpt2-124m"), default=0)
    line("forward pass, best batch of each, gpuzip : PyTorch", "> 1",
         best and ours and f"{ours / best:.2f}")


if __name__ == "__main__":
    main()
