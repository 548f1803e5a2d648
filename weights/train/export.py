"""Writes a model as a Hugging Face folder: config.json, model.safetensors, tokenizer.json."""

import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file


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
