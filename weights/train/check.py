"""Checks that transformers' LlamaForCausalLM gives the loss that model.py gives, on a text.

    python check.py FOLDER FILE
"""

import sys
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from evaluate import load


@torch.no_grad()
def main(folder, file):
    model, tokenizer = load(folder)
    ids = tokenizer.encode(file.read_text()[:20_000], add_special_tokens=False).ids
    length = model.config.max_position_embeddings
    ids = torch.tensor([[0] + ids[i : i + length] for i in range(0, len(ids) - length, length)])
    ours = model.loss(ids[:, :-1], ids[:, 1:]).item()
    theirs = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    logits = theirs(input_ids=ids[:, :-1]).logits
    theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).item()
    print(f"{ids.numel()} tokens: {ours:.6f} here, {theirs:.6f} in transformers")
    assert abs(ours - theirs) < 1e-4


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
