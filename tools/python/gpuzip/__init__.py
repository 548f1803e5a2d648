"""Lossless text compression with language models, by libgpuzip.

    data = gpuzip.compress(b"text", level=6)
    text = gpuzip.decompress(data)
    with gpuzip.open("notes.txt.gpz", "wt", encoding="utf-8") as file:
        file.write("text")

Calls release the GIL. Opening the built-in model takes some 40 ms; sessions are kept and used again
by later calls with the same device, threads, memory limit and models.
"""

from ._file import GpuzipFile, open
from ._fsspec import register_fsspec
from ._gpuzip import GpuzipError, backends, library_version
from ._session import LEVEL_DEFAULT, Adapt, Status, compress, content_size, decompress
from ._stream import GpuzipCompressor, GpuzipDecompressor

__all__ = [
    "Adapt", "GpuzipCompressor", "GpuzipDecompressor", "GpuzipError", "GpuzipFile", "LEVEL_DEFAULT",
    "Status", "backends", "compress", "content_size", "decompress", "library_version", "open",
    "register_fsspec",
]
