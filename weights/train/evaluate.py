"""Bits per byte of an exported model on files, windowed as gpuzip codes them.

    python evaluate.py FOLDER FILE[:BYTES] ...
    python evaluate.py FOLDER --sliding 512 FILE[:BYTES] ...

A window is BOS and W tokens; the next one starts W/2 later, and only its second half counts. With
--sliding W, a file is one stream that attends to the last W positions and to BOS (model.py).
Log-probabilities are in double precision: the size with an ideal coder, without overhead.
"""

import argparse
import json
import math
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from model import Config, Model


def load(folder, sliding=0):
    stored = json.loads((folder / "config.json").read_text())
    model = Model(Config(**{f.name: stored[f.name] for f in fields(Config)}), sliding)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return model.eval(), tokenizer


@torch.no_grad()
def round_to_s8(model):
    """Rounds matrices to s8 with one scale per output channel, to measure its cost."""
    for p in model.parameters():
        if p.ndim == 2:
            scale = p.abs().amax(1, keepdim=True) / 127
            p.copy_((p / scale).round() * scale)


@torch.no_grad()
def bits(model, ids, window, rows=8):
    """Code length of `ids` in bits."""
    hop = window // 2
    starts = list(range(0, max(1, len(ids) - hop), hop))
    total = 0.0
    for i in range(0, len(starts), rows):
        parts = [ids[s : s + window] for s in starts[i : i + rows]]
        length = max(map(len, parts))
        x = torch.zeros(len(parts), length, dtype=torch.long)
        for row, part in zip(x, parts):
            row[1 : len(part)] = torch.tensor(part[:-1])
        with torch.autocast("cpu", torch.bfloat16, enabled=model.fast):
            hidden = model.model(x)
            weight = model.model.embed_tokens.weight
            for s, part, h in zip(starts[i : i + rows], parts, hidden):
                skip = hop if s else 0
                target = torch.tensor(part[skip:])[:, None]
                logits = (h[skip : len(part)] @ weight.T).double()
                total -= logits.log_softmax(-1).gather(1, target).sum().item()
    return total / math.log(2)


@torch.no_grad()
def bits_of_stream(model, ids, part=4096):
    """Code length in bits of `ids`, with sliding windows; `part` logits at a time."""
    model.model.place(len(ids))
    x = torch.tensor([[0] + ids[:-1]])
    total = 0.0
    with torch.autocast("cpu", torch.bfloat16, enabled=model.fast):
        hidden = model.model(x)[0]
        for i in range(0, len(ids), part):
            logits = (hidden[i : i + part] @ model.model.embed_tokens.weight.T).double()
            target = torch.tensor(ids[i : i + part])[:, None]
            total -= logits.log_softmax(-1).gather(1, target).sum().item()
    return total / math.log(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--sliding", type=int, default=0, help="sliding windows of so many positions and a sink")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fast", action="store_true", help="bfloat16 products: a quick look")
    parser.add_argument("--s8", action="store_true", help="round the matrices to 8 bits first")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, tokenizer = load(args.folder, args.sliding)
    model.fast = args.fast
    if args.s8:
        round_to_s8(model)
    print("| file | bytes | bytes/token | bits/byte |\n|---|---:|---:|---:|")
    rates = []
    for file in args.files:
        path, _, limit = file.partition(":")
        data = Path(path).read_bytes()[: int(limit) if limit else None]
        ids = tokenizer.encode(data.decode("utf-8", "ignore"), add_special_tokens=False).ids
        cost = bits_of_stream(model, ids) if args.sliding else bits(model, ids, args.window)
        rates.append(cost / len(data))
        name = Path(path).name
        print(f"| {name} | {len(data)} | {len(data) / len(ids):.3f} | {rates[-1]:.4f} |", flush=True)
    print(f"| mean | | | {sum(rates) / len(rates):.4f} |")


if __name__ == "__main__":
    main()
