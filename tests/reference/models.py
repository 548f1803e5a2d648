#!/usr/bin/env python3
"""Makes checkpoints and tokenizers that gpuzip imports: models.py FOLDER

    gpt2/        GPT-2 with the exact GELU (tests/data/import_gpt2 has the approximation)
    wpoe/        the wPoE paper's post-norm decoder over 256 bytes
    bytes.json   a byte-level BPE of 48 tokens, which lacks most bytes
    pieces.json  a SentencePiece BPE of 48 tokens, which lacks most bytes and puts a space before
                 each text

The weights are pseudo-random; they depend on nothing but this file.
"""

import json
import math
import struct
import sys
from pathlib import Path

LETTERS = "etaoinshrdlucmfywgpbvk"


class Weights:
    """A checkpoint's tensors, and their random numbers (Knuth's MMIX generator)."""

    def __init__(self):
        self.header, self.data, self.state = {}, b"", 1

    def add(self, name, shape, base=0.0, spread=0.4):
        values = []
        for _ in range(math.prod(shape)):
            self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
            values.append(base + spread * ((self.state >> 40) / 2**23 - 1))
        raw = struct.pack(f"<{len(values)}f", *values)
        begin = len(self.data)
        self.data += raw
        self.header[name] = {"dtype": "F32", "shape": shape,
                             "data_offsets": [begin, begin + len(raw)]}

    def norm(self, name, dim):
        self.add(f"{name}.weight", [dim], 1.0, 0.2)
        self.add(f"{name}.bias", [dim])

    def write(self, folder, config):
        folder.mkdir(exist_ok=True)
        text = json.dumps(self.header).encode()
        data = struct.pack("<Q", len(text)) + text + self.data
        Path(folder, "model.safetensors").write_bytes(data)
        Path(folder, "config.json").write_text(json.dumps(config))


def make_gpt2(folder, dim=16, positions=64):
    w = Weights()
    w.add("wte.weight", [48, dim])
    w.add("wpe.weight", [positions, dim])
    for i in range(2):
        w.norm(f"h.{i}.ln_1", dim)
        w.norm(f"h.{i}.ln_2", dim)
        for name, k, n in (("attn.c_attn", dim, 3 * dim), ("attn.c_proj", dim, dim),
                           ("mlp.c_fc", dim, 4 * dim), ("mlp.c_proj", 4 * dim, dim)):
            w.add(f"h.{i}.{name}.weight", [k, n])
            w.add(f"h.{i}.{name}.bias", [n])
    w.norm("ln_f", dim)
    w.write(folder, {"model_type": "gpt2", "n_layer": 2, "n_embd": dim, "n_head": 4,
                     "vocab_size": 48, "n_positions": positions, "activation_function": "gelu",
                     "bos_token_id": 47})


def make_wpoe(folder, dim=16, context=48):
    w = Weights()
    w.add("embedding.weight", [256, dim], spread=0.2)
    w.add("positional_encoding.pe", [context, 1, dim])
    for i in range(2):
        layer = f"layers.{i}"
        w.norm(f"{layer}.layer_norm1", dim)
        w.norm(f"{layer}.layer_norm2", dim)
        for name, n, k in (("self_attn.in_proj_", 3 * dim, dim), ("self_attn.out_proj.", dim, dim),
                           ("feed_forward.0.", 4 * dim, dim), ("feed_forward.2.", dim, 4 * dim)):
            w.add(f"{layer}.{name}weight", [n, k])
            w.add(f"{layer}.{name}bias", [n])
    w.norm("norm", dim)
    w.add("output_layer.weight", [256, dim])
    w.add("output_layer.bias", [256])
    w.write(folder, {"model_type": "wpoe_transformer_decoder", "num_layers": 2,
                     "embedding_dim": dim, "num_heads": 2, "widening_factor": 4,
                     "vocab_size": 256, "context_length": context})


def tokenizer(special, space):
    """tokenizer.json: special tokens (text: id), letters, merges of two. No kind yet."""
    pairs = [(a, b) for a, b in ("th", "he", "in", "er", "an", "ou", "re", "on", "at", "en")]
    pairs.append((space, "t"))
    free = (i for i in range(48) if i not in special.values())
    vocab = special | dict(zip([space, *LETTERS, *(a + b for a, b in pairs)], free))
    return {"version": "1.0",
            "added_tokens": [{"id": i, "content": t, "special": True} for t, i in special.items()],
            "model": {"type": "BPE", "vocab": vocab, "merges": [list(p) for p in pairs]}}


def make_tokenizers(folder):
    byte_level = tokenizer({"<|bos|>": 47}, "\u0120")
    byte_level["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False,
                                   "use_regex": False}
    Path(folder, "bytes.json").write_text(json.dumps(byte_level))

    pieces = tokenizer({"<unk>": 0, "<s>": 1, "</s>": 2}, "\u2581")
    pieces["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
    pieces["model"] |= {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": False}
    Path(folder, "pieces.json").write_text(json.dumps(pieces))


def main():
    folder = Path(sys.argv[1])
    make_gpt2(folder / "gpt2")
    make_wpoe(folder / "wpoe")
    make_tokenizers(folder)


if __name__ == "__main__":
    main()
