"""Trains the byte-level experts of reproduce.sh: three Llamas.

    python3 tests/reproduce/experts.py --data DATA --out OUT --size 50K --steps 1500      (200K, 500K)
    gpuzip model import OUT/50K -o tests/reproduce/50K.gpzm --name bytes-50K --weight-bits 8 --activation-bits 8 --kv-bits 8

DATA holds train/wiki_en.txt.xz, of which the first BYTES are read. Network, optimisers, schedule
of rates and export are those of weights/train. One thread and fixed seeds: the same weights come out again
of the same PyTorch on the same kind of processor.
"""

import argparse
import json
import lzma
import sys
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "weights" / "train"))
from export import export  # noqa: E402
from model import Config, Model  # noqa: E402
from train import BOS, Rows, at, learning_rate, optimizers  # noqa: E402

SEED = 20261123
BYTES = 32_000_000  # of text
CHUNK = 2048
BATCH = 4096  # tokens a step
LENGTHS = [(0.0, 256), (0.5, CHUNK)]  # tokens a row, from this share of the steps
#             vocabulary, hidden, feed-forward, layers, heads, KV heads, head_dim, positions
SIZES = {
    "50K": Config(257, 32, 96, 4, 2, 1, 16, CHUNK),
    "200K": Config(257, 64, 176, 4, 4, 1, 16, CHUNK),
    "500K": Config(257, 112, 304, 4, 4, 1, 16, CHUNK),
}


def byte_letters():
    """The letter that byte-level BPE writes for each byte: printable ones their own, others from 256 on."""
    own = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(b if b in own else next(others)) for b in range(256)]


def byte_tokenizer():
    """Byte b is the token b + 1, 0 is the beginning of a text; no merges."""
    vocab = {"<|bos|>": BOS} | {letter: b + 1 for b, letter in enumerate(byte_letters())}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|bos|>", special=True)])
    return tokenizer


def read_text(path):
    """Tokens of the first documents, a BOS before each."""
    with lzma.open(path) as f:
        text = f.read(BYTES)
    text = b"\0" + text[: text.rfind(b"\0")]  # whole documents; the NULs between them become BOS
    raw = np.frombuffer(text, np.uint8).astype(np.uint16)
    return np.where(raw == 0, BOS, raw + 1).astype(np.uint16)


def train(model, tokens, steps, log):
    rows = {length: Rows(tokens, length) for _, length in LENGTHS}
    optims = optimizers(model)
    begin, losses = time.process_time(), []
    for step in range(steps):
        share = step / steps
        length = at(LENGTHS, share)
        ids, targets = rows[length].take(BATCH, length)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(ids, targets, torch.bfloat16)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = group["peak"] * learning_rate(step, share)
            optim.step()
        model.zero_grad()
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            entry = {
                "step": step + 1,
                "length": length,
                "loss": round(float(np.mean(losses[-50:])), 4),
                "cpu_seconds": round(time.process_time() - begin),
            }
            print(json.dumps(entry), file=log, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--steps", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    folder = args.out / args.size
    folder.mkdir(parents=True, exist_ok=True)
    byte_tokenizer().save(str(args.out / f"{args.size}.json"))
    tokens = read_text(args.data / "train" / "wiki_en.txt.xz")
    model = Model(SIZES[args.size])
    print(f"{model.parameters_count()} parameters, {len(tokens)} tokens", flush=True)
    train(model, tokens, args.steps, sys.stdout)
    export(model, args.out / f"{args.size}.json", folder)


if __name__ == "__main__":
    main()
