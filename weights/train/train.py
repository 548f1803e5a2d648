"""Trains a built-in model by the clock; a stopped run goes on from its checkpoint.

    python train.py --out OUT --until 2026-11-21T08:30:00                        (UTC)
    python train.py --out OUT2 --start OUT/checkpoint.pt --peak 0.6 ...          a second run, on new text
    python train.py --out OUT --seconds 1500 --pause 480 --device cuda ...       in parts; see gpu.sh

Every schedule (learning rate, sequence length, batch) is a function of the share of the time
that is gone, so the run ends decayed however fast the machine turned out to be.
"""

import argparse
import json
import lzma
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from export import export
from model import Config, HeadLoss, Model
from muon import Muon

SEED = 20261121
BOS = 0
LENGTHS = "0:256,0.2:512,0.75:1024"  # tokens a row, from this share of the time
BATCH = "0:8192,0.5:16384"  # tokens a step
MICRO = 8192  # tokens a forward pass
WARMUP_STEPS = 60
MUON_LR, ADAM_LR, NORM_LR = 0.02, 0.006, 0.003
WEIGHT_DECAY = 0.02  # of the matrices, times learning rate relative to its peak; keeps s8 scales small
FINAL_LR = 0.01  # of the peak
DECAY_FROM = 0.15  # constant learning rate before, linear decay after
AT_DOCUMENT = 0.5  # of the cells in which a document starts are moved to its start
CHECKPOINT_SECONDS = 300
REPORT_SECONDS = 20
MEAN_STEPS = 100  # the mean of the weights looks back so many steps


def schedule(text):
    """ "0:256,0.2:512" as [(0.0, 256), (0.2, 512)]."""
    return [(float(start), int(value)) for start, value in (part.split(":") for part in text.split(","))]


def at(schedule, share):
    return [value for start, value in schedule if share >= start][-1]


def read_tokens(folder):
    """tokens.bin, or the parts of it that gpu.sh packed."""
    if (folder / "tokens.bin").exists():
        return np.memmap(folder / "tokens.bin", np.uint16, "r")
    with ThreadPoolExecutor() as pool:
        parts = pool.map(lambda path: lzma.decompress(path.read_bytes()), sorted(folder.glob("tokens.*.xz")))
        return np.concatenate([np.frombuffer(part, np.uint16) for part in parts])


class Rows:
    """Rows [BOS, tokens...] of the packed stream, which is cut into cells. In an epoch each is visited
    once, in random order. `epoch` and `next` are all the state.
    """

    def __init__(self, tokens, cell):
        self.tokens, self.cell = tokens, cell
        self.documents = np.flatnonzero(tokens == BOS)
        self.count = len(tokens) // cell - 3
        self.start_epoch(0)

    def start_epoch(self, epoch):
        rng = np.random.default_rng([SEED, epoch])
        self.epoch, self.next = epoch, 0
        self.starts = rng.permutation(self.count) * self.cell + int(rng.integers(self.cell))
        # Some cells in which a document starts are moved to its start.
        found = np.searchsorted(self.documents, self.starts)
        first = self.documents[np.minimum(found, len(self.documents) - 1)]
        inside = (first >= self.starts) & (first < self.starts + self.cell)
        moved = inside & (rng.random(self.count) < AT_DOCUMENT)
        self.starts = np.where(moved, first + 1, self.starts)

    def take(self, tokens, length):
        """ids and targets, [tokens / length, length].

        A cell may make several short rows: neighbours, each read cold.
        """
        cells = tokens // self.cell
        if self.next + cells > self.count:
            self.start_epoch(self.epoch + 1)
        starts = self.starts[self.next : self.next + cells]
        self.next += cells
        text = self.tokens[starts[:, None] + np.arange(self.cell)].reshape(-1, length)
        ids = np.full((len(text), length + 1), BOS, np.int64)
        ids[:, 1:] = text
        ids = torch.from_numpy(ids)
        return ids[:, :-1], ids[:, 1:]

    def state(self):
        return {"epoch": self.epoch, "next": self.next, "count": self.count}

    def load(self, state):
        self.start_epoch(state["epoch"])
        self.next = state["next"]
        if state["count"] != self.count:  # there is more text now
            self.start_epoch(state["epoch"] + 1)


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


class Trainer:
    """A run's state. `spent` is the training time in seconds before this start of the program."""

    def __init__(self, args):
        self.started = time.time()
        self.args = args
        self.device = torch.device(args.device)
        if self.device.type == "cuda":
            HeadLoss.chunk = 16384  # logits of 0.5 GB
        self.model = Model(Config.of(args.size)).to(self.device)
        self.mean = Model(self.model.config).to(self.device)
        self.optims = optimizers(self.model)
        self.rows = Rows(read_tokens(args.out), self.model.config.max_position_embeddings)
        self.spent, self.step, self.first, self.seen = 0.0, 0, 0, 0
        self.checkpoint = args.out / "checkpoint.pt"
        if self.checkpoint.exists():
            state = self.load(self.checkpoint)
            self.mean.load_state_dict(state["mean"])
            self.rows.load(state["rows"])
            self.spent, self.first = state["spent"], state["first"]
        else:
            if args.start and args.start.is_dir():
                self.model.load_state_dict(load_file(args.start / "model.safetensors"))
            elif args.start:
                self.load(args.start)
            self.mean.load_state_dict(self.model.state_dict())
            self.first = self.step
        if args.compile:
            self.compile()
        self.begin = time.time() - self.spent
        self.seconds = args.seconds or args.until - self.begin

    def load(self, path):
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.model.load_state_dict(state["model"])
        for optim, saved in zip(self.optims, state["optims"]):
            optim.load_state_dict(saved)
        self.step, self.seen = state["step"], state["seen"]
        return state

    def save(self):
        state = {
            "model": self.model.state_dict(),
            "mean": self.mean.state_dict(),
            "optims": [optim.state_dict() for optim in self.optims],
            "rows": self.rows.state(),
            "spent": time.time() - self.begin,
            "step": self.step,
            "first": self.first,
            "seen": self.seen,
        }
        torch.save(state, self.checkpoint.with_suffix(".part"))
        os.replace(self.checkpoint.with_suffix(".part"), self.checkpoint)
        dtype = torch.float16 if self.args.half else torch.float32
        for name, model in ("early", self.model), ("mean", self.mean):
            export(model, self.args.out / "tokenizer.json", self.args.out / name, dtype)

    def compile(self):
        """Before the clock starts, as far as the first rows go."""
        self.model.model.compile(dynamic=False)
        if self.device.type == "cuda":
            HeadLoss.part = staticmethod(torch.compile(HeadLoss.part, dynamic=False))
        share = self.spent / self.args.seconds if self.args.seconds else 0.0
        self.gradient(at(self.args.lengths, share), at(self.args.batch, share), 1)
        self.model.zero_grad()

    def share(self):
        return (time.time() - self.begin) / self.seconds

    def gradient(self, length, batch, passes=None):
        """Adds the gradient of `batch` tokens; -> their loss, a tensor."""
        micro = min(self.args.micro, batch)
        total = 0.0
        for _ in range(passes or batch // micro):
            ids, targets = (part.to(self.device, non_blocking=True) for part in self.rows.take(micro, length))
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = self.model.loss(ids, targets, torch.bfloat16)
            (loss * (micro / batch)).backward()
            total += loss.detach() * (micro / batch)
        return total

    def train_step(self, length, batch, scale):
        """-> loss and norm of the gradient, tensors."""
        total = self.gradient(length, batch)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optim in self.optims:
            for group in optim.param_groups:
                group["lr"] = group["peak"] * scale
            optim.step()
        self.model.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.mean.parameters()), list(self.model.parameters()), 1 / MEAN_STEPS)
        self.step, self.seen = self.step + 1, self.seen + batch
        return total, norm

    def run(self):
        log = open(self.args.out / "train.jsonl", "a")
        saved = reported = time.time()
        losses, since, last = [], 0, None
        while (share := self.share()) < 1 and time.time() - self.started < self.args.pause:
            length, batch = at(self.args.lengths, share), at(self.args.batch, share)
            scale = self.args.peak * learning_rate(self.step - self.first, share)
            result = self.train_step(length, batch, scale)
            since += batch
            if last:  # a step behind, so that a GPU need not wait for this program
                losses.append(last[0].item())
            last = result
            if losses and time.time() - reported > REPORT_SECONDS:
                entry = {
                    "step": self.step,
                    "share": round(share, 4),
                    "tokens": self.seen,
                    "loss": round(float(np.mean(losses)), 4),
                    "norm": round(last[1].item(), 2),
                    "lr": round(scale, 4),
                    "length": length,
                    "rate": round(since / (time.time() - reported)),
                }
                print(json.dumps(entry), flush=True)
                print(json.dumps(entry), file=log, flush=True)
                losses, since, reported = [], 0, time.time()
            if time.time() - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.time()
        self.save()
        print(f"{'done' if self.share() >= 1 else 'paused'}: {self.step} steps, {self.seen} tokens", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    utc = lambda text: datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()
    parser.add_argument("--out", type=Path, required=True)
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument("--until", type=utc, help="UTC, ISO 8601: the learning rate is 0 then")
    end.add_argument("--seconds", type=float, help="of training in all, pauses not counted")
    parser.add_argument(
        "--pause", type=float, default=float("inf"), help="stop so many seconds after the start, to go on later"
    )
    parser.add_argument("--size", default="4M", help="4M, 24M or toy")
    parser.add_argument("--start", type=Path, help="checkpoint or folder of an earlier run to begin with")
    parser.add_argument("--peak", type=float, default=1.0, help="of the learning rates")
    parser.add_argument("--lengths", type=schedule, default=LENGTHS)
    parser.add_argument("--batch", type=schedule, default=BATCH)
    parser.add_argument("--micro", type=int, default=MICRO, help="tokens a forward pass")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--half", action="store_true", help="export binary16")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    trainer = Trainer(args)
    print(f"{trainer.model.parameters_count()} parameters, {len(trainer.rows.tokens)} tokens", flush=True)
    trainer.run()


if __name__ == "__main__":
    main()
