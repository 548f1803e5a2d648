"""Fits the weights of reproduce.sh's experts, as the papers' authors do: on a little text like the one to come.

    python3 tests/reproduce/fit.py --data DATA --experts OUT >tests/reproduce/alphas.txt     (after experts.py)

For each text that reproduce.sh codes, CHUNKS chunks of others: of code, books and German novels in
DATA/train; of mathematics, which train/ lacks, the end of the evaluation file, which the table of experts
does not code. Prints, for each text, the weights of each set of experts. They are positive and their sum is
1. To stderr go the bits per byte that experts and sets cost.
"""

import argparse
import lzma
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "weights" / "train"))
from experts import CHUNK, SIZES  # noqa: E402
from model import Model  # noqa: E402

SEED = 20261123
CHUNKS = 12
SAMPLE = 20_000_000  # bytes of a training file that chunks are drawn from
SETS = [  # of experts, in the order of --model; NB is Naive Bayes
    ["500K", "200K"],
    ["500K", "200K", "50K"],
    ["500K", "200K", "50K", "NB"],
    ["500K", "NB"],
]


def draw(text):
    """Chunks at random places. The NULs between documents become line feeds."""
    rng = np.random.default_rng(SEED)
    text = np.frombuffer(text, np.uint8)
    text = np.where(text == 0, ord("\n"), text)
    return np.stack([text[at : at + CHUNK] for at in rng.integers(len(text) - CHUNK, size=CHUNKS)])


def texts(data):
    """Name of the text to be coded -> [chunks, CHUNK] bytes of another."""
    train = data / "train"
    read = lambda name: lzma.open(train / f"{name}.txt.xz").read(SAMPLE)
    german = [
        document
        for document, entry in zip(
            lzma.open(train / "multi.txt.xz").read().split(b"\0"),
            lzma.open(train / "multi.list.xz", "rt").read().splitlines(),
        )
        if entry.split("\t")[1] == "deu"
    ]
    math_end = (data / "dev" / "math_test.txt").read_bytes()[-CHUNKS * CHUNK :]
    return {
        "math_test.txt": np.frombuffer(math_end, np.uint8).reshape(CHUNKS, CHUNK),
        "code_dev.txt": draw(read("code")),
        "asyoulik.txt": draw(read("books_en")),
        "german_dev.txt": draw(b"\0".join(german)),
    }


def expert_log2(folder, size, chunks):
    """log2 of the probabilities of all tokens but BOS: [chunks, CHUNK, 256]."""
    model = Model(SIZES[size])
    model.load_state_dict(load_file(folder / size / "model.safetensors"))
    inputs = torch.zeros(len(chunks), CHUNK, dtype=torch.long)  # BOS, then bytes
    inputs[:, 1:] = torch.from_numpy(chunks[:, :-1].astype(np.int64)) + 1
    x = model.model(inputs) @ model.model.embed_tokens.weight.T
    return x.log_softmax(-1)[..., 1:] / math.log(2)


def naive_bayes_log2(chunks):
    seen = torch.zeros(len(chunks), CHUNK, 257)
    seen[:, 1:, 1:] = torch.eye(256)[torch.from_numpy(chunks[:, :-1].astype(np.int64))]
    counts = seen.cumsum(1) + 1
    return (counts / counts.sum(-1, keepdim=True)).log2()[..., 1:]


def fit(logs, targets):
    """-> weights of the experts, and the bits a byte that they cost."""
    free = torch.zeros(len(logs), requires_grad=True)
    optimizer = torch.optim.LBFGS([free], lr=0.5, max_iter=12, line_search_fn="strong_wolfe")

    def loss():
        product = sum(alpha * log for alpha, log in zip(free.softmax(0), logs)) * math.log(2)
        return torch.nn.functional.cross_entropy(product.flatten(0, 1), targets) / math.log(2)

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)
    return free.softmax(0).tolist(), loss().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--experts", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for name, chunks in texts(args.data).items():
        targets = torch.from_numpy(chunks.astype(np.int64)).flatten()
        logs = {size: expert_log2(args.experts, size, chunks) for size in SIZES}
        logs["NB"] = naive_bayes_log2(chunks)
        for names in SETS:
            alphas, bits = fit([logs[n] for n in names], targets)
            print(name, "+".join(names), ",".join(f"{alpha:.2f}" for alpha in alphas), flush=True)
            print(name, "+".join(names), f"{bits:.4f}", file=sys.stderr)


if __name__ == "__main__":
    main()
