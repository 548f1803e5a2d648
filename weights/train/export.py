"""Writes a model as a Hugging Face folder: config.json, model.safetensors, tokenizer.json.

    python export.py OUT/checkpoint.pt FILE.safetensors

writes a compact file that a later run starts from (`train.py --start FILE.safetensors`): the mean of the weights in
bfloat16 and, as metadata, the steps, the tokens and the place in the text. It may be written while training
goes on. The optimisers' state is not saved; the 60 steps of warm-up restore it.

    python export.py FILE.safetensors FOLDER

makes a folder of such a file, in which a tokenizer.json must lie.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from model import Config, Model


def export(model, tokenizer, folder, dtype=torch.float32):
    """Replaces whole files, so that a reader never sees half of one."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json.part").write_text(model.config.to_hf())
    tensors = {name: p.detach().to("cpu", dtype).contiguous() for name, p in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors.part", metadata={"format": "pt"})
    shutil.copyfile(tokenizer, folder / "tokenizer.json.part")
    (folder / "model.safetensors.part").chmod(0o644)
    for part in folder.glob("*.part"):
        os.replace(part, part.with_suffix(""))


def export_compact(checkpoint, file):
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    tensors = {name: p.bfloat16().contiguous() for name, p in state["mean"].items()}
    kept = {name: json.dumps(state[name]) for name in ("step", "seen", "rows", "text")}
    part = file.with_suffix(".part")
    save_file(tensors, part, metadata={"format": "pt"} | kept)
    part.chmod(0o644)
    os.replace(part, file)
    rows = state["rows"]
    print(f"{file}: {state['step']} steps, {state['seen']} tokens, cell {rows['next']} of {rows['count']}")


def read_compact(file):
    """-> binary32 weights by name, and a dictionary of `step`, `seen`, `rows`, `text`."""
    with safe_open(file, "pt") as stored:
        weights = {name: stored.get_tensor(name).float() for name in stored.keys()}
        state = stored.metadata()
    return weights, {name: json.loads(value) for name, value in state.items() if name != "format"}


def main(source, target):
    if source.suffix != ".safetensors":
        export_compact(source, target)
        return
    model = Model(Config.of("4M"))
    model.load_state_dict(read_compact(source)[0])
    export(model, target / "tokenizer.json", target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
