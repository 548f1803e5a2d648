"""gpuzip for fsspec, which knows no entry points for compressions."""

from ._file import GpuzipFile


def register_fsspec():
    """Registers the compression "gpuzip", of files "*.gpz", for
    fsspec.open("x.gpz", compression="infer")."""
    from fsspec.compression import register_compression

    def open_file(file, mode="rb", **options):
        return GpuzipFile(file, mode, **options)

    register_compression("gpuzip", open_file, "gpz", force=True)
