"""gpuzip for fsspec, which knows no entry points for compressions."""

from ._file import GpuzipFile


def register_fsspec():
    """Registers the compression "gpuzip" of files "*.gpz": fsspec.open("x.gpz", compression="infer")."""
    from fsspec.utils import register_compression

    register_compression("gpuzip", lambda file, mode="rb", **options:
                         GpuzipFile(file, mode, **options), "gpz", force=True)
