"""Trains a built-in model by the clock; a stopped run goes on from its checkpoint.

    python train.py --out OUT --until 2026-11-21T08:30:00                        (UTC)
    python train.py --out OUT2 --start OUT/checkpoint.pt --peak 0.6 ...          a second run, on new text
    python train.py --out OUT --seconds 1500 --pause 480 --device cuda ...       in parts; see gpu.sh
    python train.py --out OUT --steady --sliding 512 ...                         with no end; see run4.sh

Every schedule (learning rate, sequence length, batch) is a function of the share of the time
that is gone, so the run ends decayed however fast the machine turned out to be. A steady run keeps the
share 0 and the rate; its result is the mean of the weights. SIGTERM stops any run at a checkpoint.
"""

import argparse
import hashlib
import json
import lzma
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from export import export, read_compact
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
# A steady run never decays, so its mean has to remove all of the noise of the rate: it looks back an eighth of the
# run (Karras et al. 2024 find 5 to 15 %), and at first 2.5 M tokens, the start's weights among them.
STEADY_MEAN_STEPS, STEADY_MEAN_SHARE = 300, 0.125


def schedule(text):
    """ "0:256,0.2:512/1024" as [(0.0, [256]), (0.2, [512, 1024])]."""
    parts = (part.split(":") for part in text.split(","))
    return [(float(start), [int(value) for value in values.split("/")]) for start, values in parts]


def at(schedule, share, step=0):
    """Of several values, successive steps take one after another."""
    values = [values for start, values in schedule if share >= start][-1]
    return values[step % len(values)]


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
        self.text = hashlib.sha256(tokens).hexdigest()
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


def optimizers(model, precision):
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
    return [Muon(matrices, lr=MUON_LR, weight_decay=WEIGHT_DECAY, precision=precision), adam]


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
        config = Config.of(args.size)
        longest = max(config.max_position_embeddings, *(n for _, lengths in args.lengths for n in lengths))
        self.model = Model(config, args.sliding)
        self.model.model.place(longest)
        self.model.to(self.device)
        self.mean = Model(config).to(self.device)
        self.precision = getattr(torch, args.precision)
        self.optims = optimizers(self.model, self.precision)
        self.rows = Rows(read_tokens(args.out), longest)
        self.pool = ThreadPoolExecutor(args.workers)
        self.stopped = False
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
            elif args.start and args.start.suffix == ".safetensors":
                weights, state = read_compact(args.start)
                self.model.load_state_dict(weights)
                self.step, self.seen = state["step"], state["seen"]
                if state["text"] == self.rows.text:
                    self.rows.load(state["rows"])
            elif args.start:
                self.load(args.start)
            self.mean.load_state_dict(self.model.state_dict())
            self.first = self.step
        if args.compile:
            self.compile()
        self.begin = time.time() - self.spent
        self.seconds = float("inf") if args.steady else args.seconds or args.until - self.begin

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
            "text": self.rows.text,
            "spent": 0.0 if self.args.steady else time.time() - self.begin,
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

    def loss(self, ids, targets):
        """-> loss and its gradients by the parameters."""
        ids, targets = (part.to(self.device, non_blocking=True) for part in (ids, targets))
        low = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=low):
            loss = self.model.loss(ids, targets, self.precision)
        return loss.detach(), torch.autograd.grad(loss, list(self.model.parameters()))

    def gradient(self, length, batch, passes=None):
        """Adds the gradient of `batch` tokens; -> their loss, a tensor.

        The workers share the passes as they get to them: a thread that waits for a core delays its pass alone,
        where threads that share a product all wait for it.
        """
        micro = min(self.args.micro, batch)
        passes = passes or batch // micro
        parts = [self.rows.take(micro, length) for _ in range(passes)]
        if self.args.workers == 1:
            results = (self.loss(*part) for part in parts)
        else:
            results = self.pool.map(lambda part: self.loss(*part), parts)
        total = 0.0
        for loss, grads in results:
            total += loss * (micro / batch)
            for p, grad in zip(self.model.parameters(), grads):
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
                p.grad.add_(grad, alpha=micro / batch)
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
        back = max(STEADY_MEAN_STEPS, self.step * STEADY_MEAN_SHARE) if self.args.steady else MEAN_STEPS
        with torch.no_grad():
            torch._foreach_lerp_(list(self.mean.parameters()), list(self.model.parameters()), 1 / back)
        self.step, self.seen = self.step + 1, self.seen + batch
        return total, norm

    def run(self):
        log = open(self.args.out / "train.jsonl", "a")
        saved = reported = time.time()
        losses, since, last = [], 0, None
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopped", True))
        while (share := self.share()) < 1 and time.time() - self.started < self.args.pause and not self.stopped:
            length, batch = at(self.args.lengths, share, self.step), at(self.args.batch, share)
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
    end.add_argument("--steady", action="store_true", help="no end: a constant learning rate and a longer mean")
    parser.add_argument(
        "--pause", type=float, default=float("inf"), help="stop so many seconds after the start, to go on later"
    )
    parser.add_argument("--size", default="4M", help="4M, 24M or toy")
    parser.add_argument(
        "--start", type=Path, help="checkpoint, folder or compact file (export.py) of an earlier run to begin with"
    )
    parser.add_argument("--peak", type=float, default=1.0, help="of the learning rates")
    parser.add_argument("--lengths", type=schedule, default=LENGTHS)
    parser.add_argument("--batch", type=schedule, default=BATCH)
    parser.add_argument("--micro", type=int, default=MICRO, help="tokens a forward pass")
    parser.add_argument("--sliding", type=int, default=0, help="sliding windows of so many positions and a sink")
    parser.add_argument("--precision", choices=["bfloat16", "float32"], default="bfloat16", help="of products")
    parser.add_argument("--workers", type=int, default=1, help="forward passes at a time")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of each worker")
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
