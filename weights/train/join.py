"""The last steps to a built-in model.

    python join.py mix     A B SHARE OUT                   weights A + SHARE (B - A) of two folders of export.py
    python join.py ngrams  MODEL.gpzm OTHER.gpzm OUT.gpzm  MODEL with the n-grams of OTHER, which do not depend on weights
"""

import shutil
import struct
import sys
from pathlib import Path

AT_FILE_SIZE, AT_NGRAMS, AT_CHECK, BUCKET = 16, 100, 184, 64  # of weights/FORMAT.md; bytes of a bucket


def mix(a, b, share, out):
    from safetensors.torch import load_file, save_file

    a, b, out, share = Path(a), Path(b), Path(out), float(share)
    first, second = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    mixed = {name: (first[name].float() * (1 - share) + second[name].float() * share).contiguous() for name in second}
    out.mkdir(parents=True, exist_ok=True)
    save_file(mixed, out / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(b / name, out / name)


def ngrams(model, other, out):
    data, source = bytearray(Path(model).read_bytes()), Path(other).read_bytes()
    (own,) = struct.unpack_from("<I", data, AT_NGRAMS)
    (buckets,) = struct.unpack_from("<I", source, AT_NGRAMS)
    if own or not buckets:
        sys.exit("MODEL must have no n-grams, OTHER some")
    data += source[len(source) - buckets * BUCKET :]  # the last section
    struct.pack_into("<I", data, AT_NGRAMS, buckets)
    struct.pack_into("<Q", data, AT_FILE_SIZE, len(data))
    struct.pack_into("<Q", data, AT_CHECK, 0)  # `gpuzip model export` puts it in
    Path(out).write_bytes(data)


if __name__ == "__main__":
    commands = {"mix": (mix, 6), "ngrams": (ngrams, 5)}
    command, count = commands.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, 0))
    if len(sys.argv) != count:
        sys.exit(__doc__)
    command(*sys.argv[2:])
