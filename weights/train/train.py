"""Trains the built-in model until a wall-clock deadline; a stopped run goes on from its checkpoint.

    python train.py --out OUT --until 2026-11-21T08:30:00                        (UTC)
    torchrun --nproc-per-node 2 train.py --out OUT --until ... --threads 1       two processes

Every schedule (learning rate, sequence length, batch) is a function of the share of the time
that is gone, so the run ends decayed however fast the machine turned out to be.
"""

import argparse
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from export import export
from model import Config, Model
from muon import Muon

SEED = 20261121
CELL = 1024  # tokens.bin is cut into cells, visited once each in random order
LENGTHS = [(0.0, 256), (0.2, 512), (0.75, 1024)]  # (from this share of the time, tokens a row)
BATCH = [(0.0, 8192), (0.5, 16384)]  # tokens a step
MICRO = 8192  # tokens a forward pass
WARMUP_STEPS = 60
MUON_LR, ADAM_LR, NORM_LR = 0.02, 0.006, 0.003
WEIGHT_DECAY = 0.02  # of the matrices, times learning rate relative to its peak; keeps s8 scales small
FINAL_LR = 0.01  # of the peak
DECAY_FROM = 0.15  # constant learning rate before, linear decay after
AT_DOCUMENT = 0.5  # of the cells in which a document starts are moved to its start
CHECKPOINT_SECONDS = 300


def at(schedule, share):
    return [value for start, value in schedule if share >= start][-1]


class Rows:
    """Rows [BOS, tokens...] of the packed stream. `cell` is all its state."""

    def __init__(self, path, bos):
        self.tokens = np.memmap(path, np.uint16, "r")
        self.bos = bos
        self.count = (len(self.tokens) - 2 * CELL) // CELL
        self.order = np.random.default_rng(SEED).permutation(self.count)
        self.cell = 0

    def take(self, tokens, length):
        """ids and targets, [tokens / length, length]."""
        ids = np.full((tokens // length, length + 1), self.bos, np.int64)
        for row in range(0, len(ids), CELL // length):
            start = int(self.order[self.cell % self.count]) * CELL
            self.cell += 1
            starts = np.flatnonzero(self.tokens[start : start + CELL] == self.bos)
            if len(starts) and np.random.default_rng([SEED, self.cell]).random() < AT_DOCUMENT:
                start += int(starts[0]) + 1
            # A cell makes several short rows: neighbours, each read cold.
            cell = self.tokens[start : start + CELL].reshape(-1, length)
            ids[row : row + len(cell), 1:] = cell
        ids = torch.from_numpy(ids)
        return ids[:, :-1], ids[:, 1:]


def optimizers(model):
    matrices, norms = [], []
    for name, p in model.named_parameters():
        if p.ndim == 2 and "embed" not in name:
            matrices.append(p)
        elif p.ndim == 1:
            norms.append(p)
    adam = torch.optim.AdamW(
        [
            {"params": [model.model.embed_tokens.weight], "lr": ADAM_LR, "peak": ADAM_LR},
            {"params": norms, "lr": NORM_LR, "peak": NORM_LR},
        ],
        betas=(0.9, 0.98),
        eps=1e-10,
        weight_decay=0.0,
    )
    return [Muon(matrices, lr=MUON_LR, weight_decay=WEIGHT_DECAY), adam]


def learning_rate(step, share):
    decay = 1 - (1 - FINAL_LR) * max(0.0, share - DECAY_FROM) / (1 - DECAY_FROM)
    return min(1.0, (step + 1) / WARMUP_STEPS) * min(1.0, max(decay, FINAL_LR))


def average_gradients(model, world):
    """Processes meet here alone, once a step: threads that meet at every product starve on a busy machine."""
    if world > 1:
        flat = torch.cat([p.grad.flatten() for p in model.parameters()])
        dist.all_reduce(flat)
        flat /= world
        for p, grad in zip(model.parameters(), flat.split([p.numel() for p in model.parameters()])):
            p.grad.copy_(grad.view_as(p))


def agreed(share, world):
    """The first process's clock: schedules and the end must be the same for all."""
    if world > 1:
        share = torch.tensor(share, dtype=torch.float64)
        dist.broadcast(share, 0)
        share = share.item()
    return share


def save(path, **state):
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--until", required=True, help="UTC, ISO 8601: the learning rate is 0 then")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    rank, world = 0, int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        dist.init_process_group("gloo")
        rank = dist.get_rank()
    end = datetime.fromisoformat(args.until).replace(tzinfo=timezone.utc).timestamp()

    model = Model(Config())
    rows = Rows(args.out / "tokens.bin", 0)
    optims = optimizers(model)
    begin, step, seen = time.time(), 0, 0
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optim, saved in zip(optims, state["optims"]):
            optim.load_state_dict(saved)
        begin, step, seen, rows.cell = state["begin"], state["step"], state["seen"], state["cell"]
    if args.compile:
        model.model.compile(dynamic=False)
    print(f"{model.parameters_count()} parameters, {len(rows.tokens)} tokens", flush=True)

    log = open(args.out / "train.jsonl", "a")
    saved = reported = time.time()
    losses, since = [], 0
    while True:
        share = agreed((time.time() - begin) / (end - begin), world)
        done = share >= 1
        if rank == 0 and (done or time.time() - saved > CHECKPOINT_SECONDS):
            saved = time.time()
            save(
                checkpoint,
                model=model.state_dict(),
                optims=[o.state_dict() for o in optims],
                begin=begin,
                step=step,
                seen=seen,
                cell=rows.cell,
            )
            export(model, args.out / "tokenizer.json", args.out / "early")
        if done:
            break
        length, batch = at(LENGTHS, share), at(BATCH, share)
        total = 0.0
        for _ in range(batch // MICRO):
            # The same rows whatever the number of processes.
            ids, targets = (part[rank::world] for part in rows.take(MICRO, length))
            with torch.autocast("cpu", torch.bfloat16):
                loss = model.loss(ids, targets, torch.bfloat16)
            (loss * (MICRO / batch)).backward()
            total += loss.item() * MICRO / batch
        average_gradients(model, world)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
        scale = learning_rate(step, share)
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = group["peak"] * scale
            optim.step()
        model.zero_grad()
        step, seen, since = step + 1, seen + batch, since + batch
        losses.append(total)
        if rank == 0 and time.time() - reported > 20:
            entry = {
                "step": step,
                "share": round(share, 4),
                "tokens": seen,
                "loss": round(float(np.mean(losses)), 4),
                "norm": round(norm, 2),
                "length": length,
                "rate": round(since / (time.time() - reported)),
            }
            print(json.dumps(entry), flush=True)
            print(json.dumps(entry), file=log, flush=True)
            losses, since, reported = [], 0, time.time()
    print(f"done: {step} steps, {seen} tokens", flush=True)


if __name__ == "__main__":
    main()
