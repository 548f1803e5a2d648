"""File objects, after the manner of gzip and lzma."""

import bisect
import builtins
import io
import os

from . import _gpuzip
from ._session import borrowed_session, session_key
from ._stream import GpuzipCompressor, _open_stream

READ_SIZE = 64 << 10  # bytes a read of the compressed file
WRITE_SIZE = 64 << 10  # bytes that write() collects, since each part changes threads twice


class _Reader(io.RawIOBase):
    """The content of all frames of a file.

    It is read as a stream until the first seek(); from then on by blocks, of which the index or the
    headers tell the places.
    """

    def __init__(self, file, key):
        self._file = file
        self._key = key
        self._start = None
        self._stream = None
        self._archive = None
        self._at = 0
        self._ended = False

    def readable(self):
        return True

    def seekable(self):
        return self._file.seekable()

    def tell(self):
        return self._at

    def readinto(self, buffer):
        with memoryview(buffer).cast("B") as view:
            data = self._read(len(view))
            view[:len(data)] = data
        return len(data)

    def _read(self, size):
        if self._archive is not None:
            # Up to the end of a block: a buffer that reads ahead is to decode no further one.
            block = bisect.bisect_right(self._ends, self._at)
            if block == len(self._ends):
                return b""
            size = min(size, self._ends[block] - self._at)
            with borrowed_session(self._key) as session:
                data = self._archive.read(session, self._at, size)
            self._at += len(data)
            return data
        if self._stream is None:
            self._find_start()
            self._stream = _open_stream(self, self._key, _gpuzip.Session.decompress_stream)
        while True:
            data = self._stream.take(size)
            if data or not size or self._ended:
                self._at += len(data)
                return data
            data = self._file.read(READ_SIZE)
            if data:
                self._stream.feed(bytes(data))
            else:
                self._ended = True
                self._stream.end()

    def _find_start(self):
        if self._start is None and self._file.seekable():
            self._start = self._file.tell()

    def _read_at(self, offset, size):
        self._file.seek(self._start + offset)
        return bytes(self._file.read(size))

    def _open_archive(self):
        """From now on the file is read by blocks."""
        self._find_start()
        if self._start is None:
            raise io.UnsupportedOperation("the compressed file cannot be sought in")
        size = self._file.seek(0, io.SEEK_END) - self._start
        with borrowed_session(self._key) as session:
            self._archive = _gpuzip.Archive(session, self._read_at, max(size, 0))
        self._ends = [at + raw for _, _, _, _, at, raw in self._archive.blocks()]
        self._size = self._ends[-1] if self._ends else 0
        self._cancel()

    def seek(self, offset, whence=io.SEEK_SET):
        """Goes to a place in the content, at most its end. Decompresses nothing."""
        if whence == io.SEEK_CUR:
            offset += self._at
        elif whence not in (io.SEEK_SET, io.SEEK_END):
            raise ValueError(f"invalid value of whence: {whence}")
        if whence != io.SEEK_END and offset < 0:
            raise ValueError(f"negative position: {offset}")
        if whence != io.SEEK_END and offset == self._at:
            return self._at
        if self._archive is None:
            self._open_archive()
        if whence == io.SEEK_END:
            offset += self._size
        if offset < 0:
            raise ValueError(f"negative position: {offset}")
        self._at = min(offset, self._size)
        return self._at

    def _cancel(self):
        if self._stream is not None:
            self._stream.finalizer()

    def close(self):
        self._cancel()
        super().close()


class GpuzipFile(io.BufferedIOBase):
    """A .gpz file that is read or written as a stream of bytes.

    file: a path, or a binary file object, which stays open. mode: "r", "w" (replaces), "x" (must
    not be there), "a" (one frame more), with or without "b". options: as for compress() or
    decompress(). Reading goes on over all frames. After seek(), which needs a file that can be sought
    in, a read decompresses the blocks that it needs alone.
    """

    def __init__(self, file, mode="r", level=None, **options):
        self._file = self._compressor = self._buffer = None
        mode = mode.replace("b", "", 1)
        if mode not in ("r", "w", "x", "a"):
            raise ValueError(f"invalid mode: {mode!r}")
        self.mode = "rb" if mode == "r" else "wb"
        self._owned = isinstance(file, (str, bytes, os.PathLike))
        if not self._owned and not hasattr(file, "read" if mode == "r" else "write"):
            raise TypeError("file must be a path or a file object")
        if mode == "r":
            if level is not None:
                raise ValueError("level is for writing")
            key = session_key(**options)
        else:
            self._compressor = GpuzipCompressor(level, **options)
            self._pending = bytearray()
            self._written = 0
        self._file = builtins.open(file, mode + "b") if self._owned else file
        if mode == "r":
            self._buffer = io.BufferedReader(_Reader(self._file, key), READ_SIZE)

    @property
    def name(self):
        return self._file.name

    @property
    def closed(self):
        return self._file is None

    def _check(self, usable, act):
        if self._file is None:
            raise ValueError("I/O operation on closed file")
        if not usable:
            raise io.UnsupportedOperation(f"file is not open for {act}")

    def _reading(self):
        self._check(self._buffer, "reading")
        return self._buffer

    def readable(self):
        self._check(True, "")
        return self._buffer is not None

    def writable(self):
        self._check(True, "")
        return self._compressor is not None

    def seekable(self):
        return self.readable() and self._buffer.seekable()

    def fileno(self):
        self._check(True, "")
        return self._file.fileno()

    def read(self, size=-1):
        return self._reading().read(-1 if size is None else size)

    def read1(self, size=-1):
        return self._reading().read1(READ_SIZE if size < 0 else size)

    def readinto(self, buffer):
        return self._reading().readinto(buffer)

    def readinto1(self, buffer):
        return self._reading().readinto1(buffer)

    def readline(self, size=-1):
        return self._reading().readline(-1 if size is None else size)

    def peek(self, size=-1):
        return self._reading().peek(size)

    def __iter__(self):
        self._reading()
        return self

    def __next__(self):
        line = self._reading().readline()
        if not line:
            raise StopIteration
        return line

    def seek(self, offset, whence=io.SEEK_SET):
        return self._reading().seek(offset, whence)

    def tell(self):
        self._check(True, "")
        return self._written if self._buffer is None else self._buffer.tell()

    def write(self, data):
        self._check(self._compressor, "writing")
        with memoryview(data) as view:
            size = view.nbytes
            if size >= WRITE_SIZE and not self._pending:
                self._file.write(self._compressor.compress(view))
            else:
                self._pending += view.cast("B") if size else b""
        self._written += size
        if len(self._pending) >= WRITE_SIZE:
            self._compress_pending()
        return size

    def _compress_pending(self):
        data = bytes(self._pending)
        self._pending.clear()
        self._file.write(self._compressor.compress(data))

    def flush(self):
        """Writes no unfinished block, which would cost bytes."""
        self._check(True, "")
        if self._compressor is not None and hasattr(self._file, "flush"):
            self._file.flush()

    def close(self):
        if self._file is None:
            return
        try:
            if self._buffer is not None:
                self._buffer.close()
            elif self._compressor is not None:
                self._compress_pending()
                self._file.write(self._compressor.flush())
        finally:
            file, self._file, self._buffer, self._compressor = self._file, None, None, None
            if self._owned:
                file.close()


def open(file, mode="rb", level=None, *, encoding=None, errors=None, newline=None, **options):
    """Opens a .gpz file: a GpuzipFile, or with "rt", "wt", "xt" or "at" text in the encoding."""
    if "t" not in mode and (encoding, errors, newline) != (None, None, None):
        raise ValueError("encoding, errors and newline are for text modes")
    if "t" in mode and "b" in mode:
        raise ValueError(f"invalid mode: {mode!r}")
    binary = GpuzipFile(file, mode.replace("t", "", 1), level, **options)
    if "t" not in mode:
        return binary
    return io.TextIOWrapper(binary, io.text_encoding(encoding) if hasattr(io, "text_encoding")
                            else encoding, errors, newline)
