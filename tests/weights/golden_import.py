#!/usr/bin/env python3
"""Imports the small checkpoints of tests/data/import_* as weights/FORMAT.md says, and compares ids.

    golden_import.py TEST_IMPORT_C       the ids that test_import.c expects must be those found here
    golden_import.py --make FOLDER       makes the checkpoints anew (torch, transformers; then the
                                         ids are others)
    golden_import.py --seeds FOLDER      writes small inputs for fuzz_import to begin with

A second implementation of the import, in plain Python.
"""

import hashlib
import json
import math
import re
import struct
import sys
from pathlib import Path

DATA = Path(__file__).parent.parent / "data"
TOKENIZER = b"not a tokenizer"  # goes into the file as it is


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


# ---- the source ----------------------------------------------------------------------------------


def read_safetensors(path):
    """name -> (shape, list of floats)"""
    data = path.read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, t in json.loads(data[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        raw = data[8 + n + t["data_offsets"][0] : 8 + n + t["data_offsets"][1]]
        if t["dtype"] == "F32":
            values = struct.unpack(f"<{len(raw) // 4}f", raw)
        elif t["dtype"] == "F16":
            values = struct.unpack(f"<{len(raw) // 2}e", raw)
        else:
            wide = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
            values = struct.unpack(f"<{len(wide) // 4}f", wide)
        tensors[name] = (t["shape"], list(values))
    return tensors


def read_folder(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(read_safetensors(path))
    return json.loads((folder / "config.json").read_text()), tensors


class Matrix:
    """Rows of floats."""

    def __init__(self, *tensors, transposed=False):
        self.rows = []
        for shape, values in tensors:
            k = shape[1]
            rows = [values[i : i + k] for i in range(0, len(values), k)]
            self.rows += [list(c) for c in zip(*rows)] if transposed else rows

    def pack(self, bits):
        """The two sections: integers and scales."""
        qmax, code = (127, "b") if bits == 8 else (16256, "h")
        weights, scales = b"", []
        for row in self.rows:
            scale = f32(max(map(abs, row)) / qmax)
            weights += struct.pack(f"<{len(row)}{code}", *(round(f32(x / scale)) for x in row))
            scales.append(scale)
        return [weights, floats(scales)]


# ---- tables --------------------------------------------------------------------------------------


def rope(head_dim, p):
    """turns of each pair from a position to the next, Q64, by the integers of rope.c; test_rope.c compares those with MPFR"""
    mantissa, exponent = math.frexp(p["rope_theta"])
    y, fraction = int(mantissa * 2**53) << 11, 0  # Q63, in [1, 2)
    for _ in range(64):
        y *= y
        fraction = fraction << 1 | y >> 127
        y >>= 64 if y >> 127 else 63
    log2_theta = (exponent - 1) << 64 | fraction
    section = b""
    for i in range(head_dim // 2):
        power = log2_theta * 2 * i // head_dim
        whole, fraction = power >> 64, power % 2**64
        t, e = (-fraction % 2**64) * 0xB17217F7D1CF79AC >> 64, 2**62
        for k in range(22, 0, -1):
            e = 2**62 + (t * e >> 64) // k
        shift = 64 + whole + (fraction != 0)
        turns = e * 0xA2F9836E4E44152A + (1 << (shift - 1)) >> shift
        if p["rope_type"] == "llama3":
            low, high = p["low_freq_factor"], p["high_freq_factor"]
            slow = turns // int(p["factor"])  # a power of two here
            cycles = turns * 2.0**-64 * p["original_max_position_embeddings"]
            if cycles <= low:
                turns = slow
            elif cycles < high:
                turns = slow + ((turns - slow) * int((cycles - low) / (high - low) * 2**52) >> 52)
        section += struct.pack("<Q", turns)
    return section


# ---- the model file ------------------------------------------------------------------------------


def assemble(config, sections, flags, name):
    """config: the 15 integers from architecture to bos, then three floats."""
    body = b""
    for s in sections:
        body += s + b"\0" * (-len(s) % 64)
    head = b"\x89GPZM\r\n\x1a" + struct.pack("<IIQ", 2, flags | 256, 192 + len(body))
    head += struct.pack("<15I3fIIQQ", *config, 0, 0, 0, len(TOKENIZER))
    head += name.encode().ljust(72, b"\0")
    assert len(head) == 192
    return head + body


def factor(head_dim):
    return f32(math.log2(math.e) / math.sqrt(head_dim))


def import_llama(folder, bits):
    c, t = read_folder(folder)
    layers, dim, heads = c["num_hidden_layers"], c["hidden_size"], c["num_attention_heads"]
    kv, hd, context = c["num_key_value_heads"], c["head_dim"], c["max_position_embeddings"]
    sections = [TOKENIZER, *Matrix(t["model.embed_tokens.weight"]).pack(bits)]
    sections.append(rope(hd, c["rope_parameters"]))
    for i in range(layers):
        p = f"model.layers.{i}."
        a, m = p + "self_attn.", p + "mlp."
        sections.append(floats(t[p + "input_layernorm.weight"][1]))
        sections += Matrix(*(t[f"{a}{x}_proj.weight"] for x in "qkv")).pack(bits)
        sections.append(b"".join(floats(t[f"{a}{x}_proj.bias"][1]) for x in "qkv"))
        sections += Matrix(t[a + "o_proj.weight"]).pack(bits)
        sections.append(floats(t[a + "o_proj.bias"][1]))
        sections.append(floats(t[p + "post_attention_layernorm.weight"][1]))
        sections += Matrix(t[m + "gate_proj.weight"], t[m + "up_proj.weight"]).pack(bits)
        sections += Matrix(t[m + "down_proj.weight"]).pack(bits)
    sections.append(floats(t["model.norm.weight"][1]))
    sections += Matrix(t["lm_head.weight"]).pack(bits)
    config = [0, 0, 3, layers, dim, heads, kv, hd, c["intermediate_size"], c["vocab_size"], context]
    config += [bits, 15, 12, c["bos_token_id"], f32(c["rms_norm_eps"]), factor(hd), 1.0]
    return assemble(config, sections, 2 | 8 | 16, "llama-7K")


def import_gpt2(folder, bits):
    c, t = read_folder(folder)
    t = {name.removeprefix("transformer."): v for name, v in t.items()}
    layers, dim, heads = c["n_layer"], c["n_embd"], c["n_head"]
    sections = [TOKENIZER, *Matrix(t["wte.weight"]).pack(bits), floats(t["wpe.weight"][1])]
    for i in range(layers):
        for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"):
            weight, bias = t[f"h.{i}.{part}.weight"], t[f"h.{i}.{part}.bias"]
            if "ln" in part:
                sections.append(floats(weight[1]))
            else:
                sections += Matrix(weight, transposed=True).pack(bits)
            sections.append(floats(bias[1]))
    sections += [floats(t["ln_f.weight"][1]), floats(t["ln_f.bias"][1])]
    config = [1, 1, 1, layers, dim, heads, heads, dim // heads, 4 * dim]
    config += [c["vocab_size"], c["n_positions"], bits, 15, 12, c["bos_token_id"]]
    config += [f32(c["layer_norm_epsilon"]), factor(dim // heads), 1.0]
    return assemble(config, sections, 4 | 8 | 16 | 32 | 64, "gpt2-8K")


def check(source):
    goldens = re.findall(r'\{"(import_\w+)",\s*(\d+),\s*"([0-9a-f]{64})"\}', source)
    assert goldens, "no ids found"
    bad = 0
    for folder, bits, sha in goldens:
        build = import_llama if "llama" in folder else import_gpt2
        data = build(DATA / folder, int(bits))
        # a copy without a check (8 bytes) and a name (64), which do not count
        found = hashlib.sha256(data[:120] + bytes(72) + data[192:]).hexdigest()
        bad += found != sha
        print(folder, bits, found, "ok" if found == sha else f"but the test has {sha}")
    return 1 if bad else 0


# ---- making the checkpoints ----------------------------------------------------------------------


def make(root):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    gpt2 = GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=48, n_positions=32,
                      bos_token_id=47, eos_token_id=47)
    llama = LlamaConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2, vocab_size=48,
                        num_attention_heads=4, num_key_value_heads=2, head_dim=8,
                        max_position_embeddings=64, attention_bias=True, bos_token_id=1,
                        rope_parameters={"rope_type": "llama3", "rope_theta": 500000.0,
                                         "factor": 8.0, "low_freq_factor": 1.0,
                                         "high_freq_factor": 4.0,
                                         "original_max_position_embeddings": 32})
    for name, model, dtype, shard in (
        ("import_gpt2", GPT2LMHeadModel(gpt2), torch.float32, "1GB"),
        ("import_llama", LlamaForCausalLM(llama), torch.bfloat16, "8KB"),
    ):
        for key, p in model.named_parameters():
            norm = "ln_" in key or "norm" in key
            p.data.normal_(1.0 if norm and "weight" in key else 0.0, 0.3)
        folder = Path(root) / name
        model.to(dtype).save_pretrained(folder, max_shard_size=shard)
        (folder / "generation_config.json").unlink(missing_ok=True)


# ---- seeds ---------------------------------------------------------------------------------------


def safetensors(shapes, dtype, width):
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape) * width
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(i % 61 for i in range(offset))


def seeds(folder):
    """Each begins with the kind that fuzz_import.c reads; dimensions are 2, 4, 6."""
    llama = {"model.embed_tokens.weight": [5, 4], "model.norm.weight": [4], "lm_head.weight": [5, 4]}
    p = "model.layers.0."
    llama |= {f"{p}{n}.weight": [4] for n in ("input_layernorm", "post_attention_layernorm")}
    llama |= {f"{p}self_attn.{n}_proj.weight": [r, 4] for n, r in zip("qkvo", (4, 2, 2, 4))}
    llama |= {f"{p}self_attn.{n}_proj.bias": [r] for n, r in zip("qkvo", (4, 2, 2, 4))}
    llama |= {f"{p}mlp.{n}_proj.weight": s for n, s in (("gate", [6, 4]), ("up", [6, 4]),
                                                        ("down", [4, 6]))}
    llama_config = {"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 4, "vocab_size": 5,
                    "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 6,
                    "attention_bias": True, "rms_norm_eps": 1e-5, "sliding_window": 9,
                    "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
                                     "high_freq_factor": 4, "rope_theta": 10000,
                                     "original_max_position_embeddings": 8}}
    gpt2 = {"wte.weight": [5, 4], "wpe.weight": [3, 4], "ln_f.weight": [4], "ln_f.bias": [4]}
    gpt2 |= {f"h.0.{n}.{w}": [4] for n in ("ln_1", "ln_2") for w in ("weight", "bias")}
    for n, a, b in (("attn.c_attn", 4, 12), ("attn.c_proj", 4, 4), ("mlp.c_fc", 4, 6),
                    ("mlp.c_proj", 6, 4)):
        gpt2 |= {f"h.0.{n}.weight": [a, b], f"h.0.{n}.bias": [b]}
    gpt2_config = {"model_type": "gpt2", "n_layer": 1, "n_embd": 4, "n_head": 2, "vocab_size": 5,
                   "n_positions": 3, "n_inner": 6, "activation_function": "gelu"}
    wpoe = {"embedding.weight": [5, 4], "positional_encoding.pe": [9, 1, 4],
            "output_layer.weight": [5, 4], "output_layer.bias": [5]}
    wpoe |= {f"{n}.{w}": [4] for n in ("norm", "layers.0.layer_norm1", "layers.0.layer_norm2")
             for w in ("weight", "bias")}
    wpoe |= {"layers.0.self_attn.in_proj_weight": [12, 4], "layers.0.self_attn.in_proj_bias": [12],
             "layers.0.self_attn.out_proj.weight": [4, 4], "layers.0.self_attn.out_proj.bias": [4],
             "layers.0.feed_forward.0.weight": [8, 4], "layers.0.feed_forward.0.bias": [8],
             "layers.0.feed_forward.2.weight": [4, 8], "layers.0.feed_forward.2.bias": [4]}
    wpoe_config = {"model_type": "wpoe_transformer_decoder", "num_layers": 1, "embedding_dim": 4,
                   "num_heads": 2, "widening_factor": 2, "vocab_size": 5, "context_length": 7}
    both = [("llama", llama, llama_config, "BF16", 2), ("gpt2", gpt2, gpt2_config, "F32", 4),
            ("wpoe", wpoe, wpoe_config, "F16", 2)]
    files = {n: b"\2" + json.dumps(c).encode() + b"\0" + safetensors(t, dtype, width)
             for n, t, c, dtype, width in both}
    files["llama2c"] = b"\0" + struct.pack("<7i", 4, 6, 1, 2, 1, 5, 3) + floats([0.5] * 158)
    files["llmc"] = b"\1" + struct.pack("<8i", 20240326, 3, 3, 5, 1, 2, 4, 8) + bytes(992 + 4 * 296)
    Path(folder).mkdir(exist_ok=True)
    for name, data in files.items():
        (Path(folder) / name).write_bytes(data)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--seeds":
        seeds(sys.argv[2])
    elif len(sys.argv) == 3 and sys.argv[1] == "--make":
        make(sys.argv[2])
    else:
        sys.exit(check(Path(sys.argv[1]).read_text()))
