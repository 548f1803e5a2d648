"""Turns a model file .gpzm with a Llama and a byte-level BPE back into a Hugging Face folder.

    python from_gpzm.py MODEL.gpzm FOLDER

The weights are the file's integers times their scales, in binary32; nothing else of the training is in
the file. The tokenizer is made of the file's tokens and merges, with the pattern of tokenizer.py.
"""

import struct
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from export import export
from model import Config, Model
from tokenizer import PATTERN

HEADER = "<8sIIQ15I"  # magic, version, flags, size of the file, then the integers up to `bos`
NO_TOKEN, TEXT, PRODUCT, BYTE = range(4)  # classes of tokens, see host/tokenizer_blob.h


class Reader:
    """Sections of the file in order, each at a multiple of 64 bytes (weights/FORMAT.md)."""

    def __init__(self, data):
        self.data, self.at = data, 192

    def section(self, dtype, *shape):
        self.at = -(-self.at // 64) * 64
        array = np.frombuffer(self.data, dtype, int(np.prod(shape)), self.at).reshape(shape)
        self.at += array.nbytes
        return array

    def matrix(self, rows, cols, bits):
        weights = self.section("i1" if bits == 8 else "<i2", rows, cols)
        scales = self.section("<f4", rows)
        return torch.from_numpy(weights.astype(np.float32) * scales[:, None])

    def vector(self, n):
        return torch.from_numpy(self.section("<f4", n).copy())


def read_vocabulary(blob):
    """-> the bytes of every token by id (the first stands for BOS), pairs of merged ids by rank."""
    magic, version, kind, _, stages, vocab, bos = struct.unpack_from("<4s4B2I", blob)
    if (magic, version, kind, bos) != (b"GTOK", 1, 1, 0):
        sys.exit("not a byte-level BPE whose BOS is token 0")
    at = 16
    for _ in range(stages):
        at += 3 + struct.unpack_from("<H", blob, at + 1)[0]
    (runs,) = struct.unpack_from("<I", blob, at)
    classes = []
    for (run,) in struct.iter_unpack("<I", blob[at + 4 : at + 4 + 4 * runs]):
        classes += [run & 3] * (run >> 2)
    at += 4 + 4 * runs
    tokens = [b""] * vocab
    for i, kind in enumerate(classes):
        if kind in (TEXT, BYTE):
            size, at = (1, at) if kind == BYTE else (struct.unpack_from("<H", blob, at)[0], at + 2)
            tokens[i] = blob[at : at + size]
            at += size
    (count,) = struct.unpack_from("<I", blob, at)
    merges = list(struct.iter_unpack("<2H", blob[at + 4 : at + 4 + 4 * count]))  # 3 bytes above 65,536 ids
    assert vocab <= 65536 and at + 4 + 4 * count == len(blob)
    known = {token for token in tokens if token}
    products = iter(i for i, kind in enumerate(classes) if kind == PRODUCT)
    for left, right in merges:
        text = tokens[left] + tokens[right]
        if text not in known:
            tokens[next(products)] = text
            known.add(text)
    return tokens, merges


def tokenizer_of(blob):
    tokens, merges = read_vocabulary(blob)
    # Byte-level BPE writes a byte as a letter: itself where it is printable, else the next from 256 on.
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    letters = [chr(b if b in printable else next(others)) for b in range(256)]
    names = ["".join(letters[b] for b in token) for token in tokens]
    names[0] = "<|bos|>"
    vocabulary = {name: i for i, name in enumerate(names)}
    assert len(vocabulary) == len(names)
    tokenizer = Tokenizer(models.BPE(vocabulary, [(names[left], names[right]) for left, right in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|bos|>", special=True, normalized=False)])
    return tokenizer


def main(path, folder):
    data = path.read_bytes()
    header = struct.unpack_from(HEADER, data)
    magic, version, flags, size = header[:4]
    arch, _, _, layers, dim, heads, kv_heads, head_dim, ffn, vocab, context, bits = header[4:16]
    if magic != b"\x89GPZM\r\n\x1a" or version != 2 or size != len(data) or arch != 0 or flags & ~256 != 6:
        sys.exit(f"{path}: not a Llama with RoPE and tied embeddings in version 2 of the format")
    model = Model(Config(vocab, dim, ffn, layers, heads, kv_heads, head_dim, context))
    reader = Reader(data)
    blob = reader.section("u1", struct.unpack_from("<Q", data, 112)[0]).tobytes()
    state = {"model.embed_tokens.weight": reader.matrix(vocab, dim, bits)}
    turns = reader.section("<u8", head_dim // 2) * 2.0**-64  # says that theta is the configuration's
    theta = model.config.rope_theta ** (-2 * np.arange(head_dim // 2) / head_dim)
    assert np.allclose(turns, theta / (2 * np.pi), rtol=1e-12, atol=0)
    for i in range(layers):
        name = f"model.layers.{i}."
        queries, keys = heads * head_dim, kv_heads * head_dim
        state[name + "input_layernorm.weight"] = reader.vector(dim)
        qkv = reader.matrix(queries + 2 * keys, dim, bits)
        for part, rows in zip("qkv", qkv.split([queries, keys, keys])):
            state[f"{name}self_attn.{part}_proj.weight"] = rows
        state[name + "self_attn.o_proj.weight"] = reader.matrix(dim, queries, bits)
        state[name + "post_attention_layernorm.weight"] = reader.vector(dim)
        up = reader.matrix(2 * ffn, dim, bits)
        state[name + "mlp.gate_proj.weight"], state[name + "mlp.up_proj.weight"] = up.split(ffn)
        state[name + "mlp.down_proj.weight"] = reader.matrix(dim, ffn, bits)
    state["model.norm.weight"] = reader.vector(dim)
    model.load_state_dict(state)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer_of(blob).save(str(folder / "tokenizer.json.new"))
    export(model, folder / "tokenizer.json.new", folder)
    (folder / "tokenizer.json.new").unlink()
    print(f"{path}: {layers} layers, {vocab} tokens, {model.parameters_count()} parameters")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
