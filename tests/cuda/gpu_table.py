#!/usr/bin/env python3
"""The table of aims and results, from gpu.sh's bench.jsonl, torch.jsonl and program.jsonl.

    python3 tests/cuda/gpu_table.py BENCH_LINES TORCH_LINES PROGRAM_LINES

Missing measurements are marked as such.
"""

import json
import sys


def read(path):
    try:
        with open(path, encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.endswith("}\n")]  # no cut ones
    except OSError:
        return []


def main():
    rows, torch, program = (read(path) for path in sys.argv[1:4])

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
                   and r["model"] == row["model"] and r.get("rows")]
        if not kernels:
            return None
        kernel = max(kernels, key=lambda r: r["rows"])
        return f"{100 * kernel['seconds'] / kernel['rows'] * row['tokens'] / row['seconds']:.1f} %"

    device = last(type="device")
    print()
    line("quantity", "aim", "reached")
    line("int8 products; cuBLAS; one plane through linear()", "", device and
         f"{device['int8_products_per_second'] / 1e12:.4g}, "
         f"{device['int8_library_per_second'] / 1e12:.4g}, "
         f"{device['int8_gemm_per_second'] / 1e12:.4g} TOP/s")
    line("copy", "", device and f"{device['copy_bytes_per_second'] / 1e9:.0f} GB/s")
    for mode, way in sorted({(r["mode"], r["name"]) for r in program}):
        row = [r for r in program if (r["mode"], r["name"]) == (mode, way)][-1]
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in row["seconds"].items()
                          if seconds > 0)
        line(f"program, {mode}, {way}, {row['original_bytes']} bytes",
             ">= 3 MB/s" if mode == "default" else "",
             f"{row['bytes_per_second'] / 1e6:.2f} MB/s; seconds: {parts}")
    if not program:
        line("program, default", ">= 3 MB/s", None)
    for row in rows:
        if row["type"] == "skipped":
            print(f"{row['model']} {row['bits']}, {row['shape']}: {row['why']}")
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
            aim = ">= 5 MB/s" if (model, name) == ("builtin", "decode") else ""
            line("    text", aim, speed(row))
        line("    mixing, by its kernel", "<= 10 %", mixing(row))
        line("    waiting for the GPU, host's range coder", "", shares(row))
    best = max((r["tokens_per_second"] for r in torch), default=0)
    for result in torch:
        for bits, ours in sorted(result["gpuzip_tokens_per_second"].items()) or [("", None)]:
            line(f"forward pass, batch {result['batch']}, gpuzip {bits} : PyTorch ({result['mode']})",
                 "> 1", ours and f"{ours / result['tokens_per_second']:.2f}")
    passes = [r for r in rows if r.get("name") == "forward pass" and r["model"] == "gpt2-124m"]
    for bits in sorted({r["bits"] for r in passes}) or [""]:
        ours = max((r["tokens"] / r["seconds"] for r in passes if r["bits"] == bits), default=0)
        line(f"forward pass, best batch of each, gpuzip {bits} : PyTorch", "> 1",
             best and ours and f"{ours / best:.2f}")


if __name__ == "__main__":
    main()
