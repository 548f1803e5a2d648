"""gpuzip for numcodecs (Zarr), whose get_codec({"id": "gpuzip"}) finds it by its entry point."""

from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray, ndarray_copy

from ._session import compress, decompress


class Gpuzip(Codec):
    """level and models (a list of paths or names): as for gpuzip.compress()."""

    codec_id = "gpuzip"

    def __init__(self, level=6, models=()):
        self.level = level
        self.models = list(models)

    def encode(self, buf):
        return compress(ensure_contiguous_ndarray(buf), self.level, models=self.models)

    def decode(self, buf, out=None):
        data = decompress(ensure_contiguous_ndarray(buf), self.models)
        return data if out is None else ndarray_copy(data, out)
