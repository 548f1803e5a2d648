r"""Cross-entropies and logits in float32 and float64: the oracles of tests/oracle/.

Independent of gpuzip: forward passes in float32 (numpy, torch) from the papers and the
checkpoints' own conventions. Makes expected.json, which oracle.sh compares real .gpz files with:

    python3 tests/oracle/reference.py DATA > tests/oracle/expected.json

DATA is the folder that holds models/ and dev/. Needs numpy, torch, sentencepiece and some
minutes. text.txt is the beginning of Alice in Wonderland (public domain) in the characters that
the smallest vocabulary has and its model has seen: gpuzip spends 30 bits on a token at most, a
float32 cross-entropy has no such bound.

    head -c 40000 alice29.txt | tr -d '_`*()[]' | tr -s '\r\n ' ' ' |
        sed 's/^ //; s/ $//' > text.txt
"""

import json
import math
import os
import struct
import sys

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F

WPOE_CHUNK = 2048  # bytes; a chunk knows nothing of those before it

# theory.py: beginnings of these files, and alphas of the model and of Naive Bayes. The first
# five sum to 1.
THEORY_FILES, THEORY_BYTES = ("math_test.txt", "alice29.txt"), 8 * WPOE_CHUNK
THEORY_ALPHAS = ((0.9, 0.1), (0.75, 0.25), (0.55, 0.45), (0.5, 0.5), (0.25, 0.75),
                 (1.0, 0.25), (0.5, 0.25))


def cross_entropy_bits(logits, targets):
    """Sum of -log2 softmax(logits)[target] over rows."""
    top = logits.max(axis=-1, keepdims=True)
    log_z = top[:, 0] + np.log(np.exp(logits - top).sum(axis=-1))
    picked = logits[np.arange(len(targets)), targets]
    return float((log_z - picked).sum() / math.log(2))


def softmax(scores):
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def causal_attention(q, k, v):
    """q, k, v: [heads][tokens][head_dim]."""
    tokens = q.shape[1]
    scores = q @ k.transpose(0, 2, 1) / np.float32(math.sqrt(q.shape[2]))
    scores = np.where(np.tril(np.ones((tokens, tokens), bool)), scores, np.float32(-np.inf))
    return softmax(scores) @ v


class Llama2c:
    """A llama2.c checkpoint (version 0): RMSNorm, interleaved RoPE, SwiGLU."""

    def __init__(self, path):
        raw = open(path, "rb").read()
        self.dim, self.hidden, self.layers, self.heads, self.kv_heads, vocab, self.context = (
            struct.unpack("7i", raw[:28]))
        self.vocab = abs(vocab)
        self.head_dim = self.dim // self.heads
        values = np.frombuffer(raw, np.float32, offset=28)
        at = 0

        def take(*shape):
            nonlocal at
            count = int(np.prod(shape))
            at += count
            return values[at - count:at].reshape(shape)

        kv = self.kv_heads * self.head_dim
        n, d, h = self.layers, self.dim, self.hidden
        self.embedding = take(self.vocab, d)
        self.norm1 = take(n, d)
        self.wq, self.wk, self.wv = take(n, d, d), take(n, kv, d), take(n, kv, d)
        self.wo, self.norm2 = take(n, d, d), take(n, d)
        self.gate, self.down, self.up = take(n, h, d), take(n, d, h), take(n, h, d)
        self.final = take(d)
        take(self.context, self.head_dim // 2)  # cosines and sines, no longer used
        take(self.context, self.head_dim // 2)
        self.head = self.embedding if vocab > 0 else take(self.vocab, d)

    @staticmethod
    def norm(x, gain):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5)) * gain

    def rotate(self, x):
        """x: [tokens][heads][head_dim]; neighbours 2i, 2i+1 turn by 10000^(-2i/d) a token."""
        angle = np.arange(len(x))[:, None] * 10000.0 ** (
            -np.arange(0, self.head_dim, 2) / self.head_dim)
        c, s = (f(angle).astype(np.float32)[:, None, :] for f in (np.cos, np.sin))
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack([a * c - b * s, a * s + b * c], -1).reshape(x.shape)

    def logits(self, tokens):
        x = self.embedding[tokens]
        count, group = len(tokens), self.heads // self.kv_heads
        for i in range(self.layers):
            y = self.norm(x, self.norm1[i])
            q = self.rotate((y @ self.wq[i].T).reshape(count, self.heads, -1))
            k = self.rotate((y @ self.wk[i].T).reshape(count, self.kv_heads, -1))
            v = (y @ self.wv[i].T).reshape(count, self.kv_heads, -1)
            k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
            a = causal_attention(*(t.transpose(1, 0, 2) for t in (q, k, v)))
            x = x + a.transpose(1, 0, 2).reshape(count, -1) @ self.wo[i].T
            y = self.norm(x, self.norm2[i])
            gate = y @ self.gate[i].T
            x = x + (gate / (1 + np.exp(-gate)) * (y @ self.up[i].T)) @ self.down[i].T
        return self.norm(x, self.final) @ self.head.T


def read_safetensors(path):
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    return {name: np.frombuffer(raw, np.float32, offset=8 + size + entry["data_offsets"][0],
                                count=int(np.prod(entry["shape"]))).reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__"}


class Wpoe:
    """The wPoE authors' decoder: bytes, post-norm, sinusoidal positions, exact GELU."""

    def __init__(self, folder):
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        self.dim, self.layers = config["embedding_dim"], config["num_layers"]
        self.heads = config["num_heads"]
        tensors = read_safetensors(os.path.join(folder, "model.safetensors"))
        self.t = {name: torch.from_numpy(t.copy()) for name, t in tensors.items()}
        position = np.arange(WPOE_CHUNK)[:, None]
        rate = np.exp(np.arange(0, self.dim, 2) * (-math.log(10000.0) / self.dim))
        table = np.zeros((WPOE_CHUNK, self.dim), np.float32)
        table[:, 0::2], table[:, 1::2] = np.sin(position * rate), np.cos(position * rate)
        self.position = torch.from_numpy(table)

    def linear(self, x, name):
        return F.linear(x, self.t[name + ".weight"], self.t[name + ".bias"])

    def norm(self, x, name):
        return F.layer_norm(x, (self.dim,), self.t[name + ".weight"], self.t[name + ".bias"], 1e-5)

    def logits(self, tokens):
        x = self.t["embedding.weight"][torch.from_numpy(tokens)] * math.sqrt(self.dim)
        x = x + self.position[:len(tokens)]
        for i in range(self.layers):
            p = f"layers.{i}."
            qkv = F.linear(x, self.t[p + "self_attn.in_proj_weight"],
                           self.t[p + "self_attn.in_proj_bias"])
            q, k, v = (t.reshape(len(tokens), self.heads, -1).transpose(0, 1)
                       for t in qkv.chunk(3, 1))
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            a = a.transpose(0, 1).reshape(len(tokens), -1)
            x = self.norm(x + self.linear(a, p + "self_attn.out_proj"), p + "layer_norm1")
            f = F.gelu(self.linear(x, p + "feed_forward.0"))
            x = self.norm(x + self.linear(f, p + "feed_forward.2"), p + "layer_norm2")
        return self.linear(self.norm(x, "norm"), "output_layer").numpy()


def llama2c_vocabulary(path, vocab):
    """tokenizer.bin: [(score, bytes)]."""
    with open(path, "rb") as f:
        raw = f.read()
    at, pieces = 4, []
    for _ in range(vocab):
        score, size = struct.unpack_from("<fi", raw, at)
        pieces.append((score, raw[at + 8:at + 8 + size]))
        at += 8 + size
    return pieces


def llama2c_encode(pieces, text):
    """llama2.c's encoder for ASCII text: merge the neighbours of best score until none merges."""
    ids = {piece: i for i, (_, piece) in enumerate(pieces)}
    tokens = [ids[c.encode()] for c in " " + text]
    while True:
        best = (-1e10, -1)
        for i in range(len(tokens) - 1):
            merged = ids.get(pieces[tokens[i]][1] + pieces[tokens[i + 1]][1])
            if merged is not None and pieces[merged][0] > best[0]:
                best = (pieces[merged][0], i, merged)
        if best[1] < 0:
            return tokens
        tokens[best[1]:best[1] + 2] = [best[2]]


def windows_bits(model, tokens, window, bos):
    bits = 0.0
    for at in range(0, len(tokens), window):
        target = tokens[at:at + window]
        bits += cross_entropy_bits(model.logits(np.array([bos, *target[:-1]])), np.array(target))
    return bits


def naive_bayes_log2(chunk):
    """log2 of (count + 1) / (n - 1 + 256) for every byte before each byte of a chunk."""
    counts = np.zeros((len(chunk), 256))
    counts[np.arange(1, len(chunk)), chunk[:-1]] = 1
    counts = counts.cumsum(0) + 1
    return np.log2(counts / counts.sum(1, keepdims=True))


def wpoe_chunks(model, text):
    """For every chunk of a text its bytes, and log2 of the probabilities of the model and of Naive Bayes."""
    for at in range(0, len(text), WPOE_CHUNK):
        chunk = np.frombuffer(text[at:at + WPOE_CHUNK], np.uint8).astype(np.int64)
        logits = model.logits(np.concatenate([[0], chunk[:-1]])).astype(np.float64)
        top = logits.max(1, keepdims=True)
        lm = (logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))) / math.log(2)
        yield chunk, lm, naive_bayes_log2(chunk)


def log2_z(model, text, alphas):
    """Sum of log2 Z of p_model^a p_bayes^b over the bytes of a text, for each (a, b)."""
    total = np.zeros(len(alphas))
    for _, lm, nb in wpoe_chunks(model, text):
        for i, (a, b) in enumerate(alphas):
            total[i] += np.log2(np.exp2(a * lm + b * nb).sum(1)).sum()
    return total


def wpoe_bits(model, text):
    """Bits of the model alone, of Naive Bayes alone, of their product (0.55, 0.45)."""
    total = np.zeros(3)
    for chunk, lm, nb in wpoe_chunks(model, text):
        rows = np.arange(len(chunk))
        total += [-lm[rows, chunk].sum(), -nb[rows, chunk].sum(),
                  cross_entropy_bits((0.55 * lm + 0.45 * nb) * math.log(2), chunk)]
    return total


def main():
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    data = sys.argv[1]
    models = os.path.join(data, "models")
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "text.txt"), encoding="ascii") as f:
        text = f.read()
    expected = {}

    model = Llama2c(os.path.join(models, "stories260K", "stories260K.bin"))
    pieces = llama2c_vocabulary(os.path.join(models, "stories260K", "tok512.bin"), model.vocab)
    tokens = llama2c_encode(pieces, text)
    expected["stories260K"] = {"tokens": len(tokens), "window": 512,
                               "bits": windows_bits(model, tokens, 512, 1)}

    model = Llama2c(os.path.join(models, "babyllama", "model5000.bin"))
    processor = sentencepiece.SentencePieceProcessor(
        model_file=os.path.join(models, "babyllama", "tok105.model"))
    tokens = processor.encode(text)
    assert processor.unk_id() not in tokens
    expected["babyllama"] = {"tokens": len(tokens), "window": 256,
                             "bits": windows_bits(model, tokens, 256, 1)}

    model = Wpoe(os.path.join(models, "wpoe_enwik8_dim64"))
    with open(os.path.join(data, "dev", "math_test.txt"), "rb") as f:
        bits = wpoe_bits(model, f.read())
    expected["wpoe"] = dict(zip(("model", "naive_bayes", "product"), bits))
    expected["theory"] = {"bytes": THEORY_BYTES, "alphas": THEORY_ALPHAS, "log2_z": {}}
    for name in THEORY_FILES:
        with open(os.path.join(data, "dev", name), "rb") as f:
            text = f.read(THEORY_BYTES)
        expected["theory"]["log2_z"][name] = list(log2_z(model, text, THEORY_ALPHAS))
    json.dump(expected, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
