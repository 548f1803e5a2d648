#!/usr/bin/env python3
"""The forward pass of a GPT-2 in PyTorch: tokens a second, to compare gpuzip-bench with.

    python3 tests/cuda/bench_torch.py [--model gpt2-124m] [--batches 8,32] [--gpuzip LINES] [--log FILE]

bfloat16, scaled_dot_product_attention, torch.compile, logits of every position, the vocabulary
padded to a multiple of 64 (the products are faster); random weights and tokens, for the time
does not depend on them. LINES are the JSON lines of `gpuzip-bench --coding --model gpt2-124m
--log LINES` from the same machine and hour: with them the table has gpuzip's forward pass over
the same batch, and the ratio. Time is the median of several passes, after warming up.

Exit code: 0, or 77 where there is no PyTorch or no such device.
"""

import argparse
import json
import statistics
import sys
import time

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError:
    print("bench_torch.py: skipped: no PyTorch")
    sys.exit(77)

# layers, dim
SHAPES = {
    "gpt2-124m": (12, 768),
    "gpt2-355m": (24, 1024),
    "gpt2-774m": (36, 1280),
    "gpt2-1558m": (48, 1600),
}
HEAD_DIM = 64
VOCAB = 50304  # 50,257 and a pad


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        batch, positions, dim = x.shape
        heads = (batch, positions, dim // HEAD_DIM, HEAD_DIM)
        q, k, v = (part.view(heads).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(dim, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, positions, dim))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, layers, dim, positions):
        super().__init__()
        self.embedding, self.position = nn.Embedding(VOCAB, dim), nn.Embedding(positions, dim)
        self.blocks = nn.ModuleList(Block(dim) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embedding.weight)


def seconds_of_pass(model, tokens, device, seconds):
    """The median of several passes, and how far the quartiles are from it."""

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        model(tokens)
    wait()
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        model(tokens)
        wait()
        times.append(time.perf_counter() - start)
    quartiles = statistics.quantiles(times, n=4)
    return statistics.median(times), (quartiles[2] - quartiles[0]) / 2 / statistics.median(times)


def gpuzip_passes(path, model):
    """gpuzip's forward passes of this model: {(streams, positions): {bits: tokens a second}}."""
    passes = {}
    if not path:
        return passes
    for line in open(path, encoding="utf-8"):
        row = json.loads(line)
        if row.get("name") == "forward pass" and row["model"] == model:
            streams, positions = (int(part) for part in row["shape"].split(" x "))
            passes.setdefault((streams, positions), {})[row["bits"]] = row["tokens"] / row["seconds"]
    return passes


def main():
    parser = argparse.ArgumentParser(description="GPT-2's forward pass in PyTorch")
    parser.add_argument("--model", choices=SHAPES, default="gpt2-124m")
    parser.add_argument("--batches", default="8,16,32,64")
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--mode", default="default", help="of torch.compile; none: no compiling")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a measurement")
    parser.add_argument("--gpuzip", help="JSON lines of gpuzip-bench")
    parser.add_argument("--log", help="where to add JSON lines")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("bench_torch.py: skipped: PyTorch finds no GPU")
        return 77

    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    layers, dim = SHAPES[args.model]
    model = GPT2(layers, dim, args.positions)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    model = model.to(args.device, torch.bfloat16).eval()
    run = model if args.mode == "none" else torch.compile(model, mode=args.mode, dynamic=False)

    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    print(f"PyTorch {torch.__version__}, {name}: {args.model}, bfloat16, "
          f"torch.compile: {args.mode}")
    print(f"{'batch':>14} {'ms':>9} {'+-':>5} {'token/s':>12}  gpuzip's bits, token/s and ratio")
    ours = gpuzip_passes(args.gpuzip, args.model)
    log = open(args.log, "a", encoding="utf-8") if args.log else None
    best = 0.0
    for batch in (int(part) for part in args.batches.split(",")):
        tokens = torch.randint(0, 50257, (batch, args.positions), device=args.device)
        try:
            median, spread = seconds_of_pass(run, tokens, args.device, args.seconds)
        except torch.cuda.OutOfMemoryError:
            print(f"{batch:>7} x {args.positions:<5} needs more memory")
            continue
        rate = tokens.numel() / median
        best = max(best, rate)
        same = ours.get((batch, args.positions), {})
        other = "; ".join(f"{bits}: {of_bits:.0f}, {of_bits / rate:.2f}"
                          for bits, of_bits in sorted(same.items()))
        print(f"{batch:>7} x {args.positions:<4} {median * 1e3:>9.2f} {spread * 100:>3.0f} % "
              f"{rate:>12.0f}  {other or '-'}", flush=True)
        if log:
            print(json.dumps({"type": "torch", "device": name, "version": torch.__version__,
                              "model": args.model, "mode": args.mode, "batch": batch,
                              "positions": args.positions, "seconds": median, "spread": spread,
                              "tokens_per_second": rate, "gpuzip_tokens_per_second": same}),
                  file=log, flush=True)
    if ours and best > 0:
        mine = max(rate for same in ours.values() for rate in same.values())
        print(f"best batch of each: gpuzip {mine:.0f} token/s, PyTorch {best:.0f} token/s, "
              f"gpuzip is {mine / best:.2f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
