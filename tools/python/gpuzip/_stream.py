"""Compressor and decompressor objects.

A call of the library for a stream asks for its input by a callback. It therefore runs in a thread
of its own, from the first byte of a frame to the last, and exchanges data with the object through
two queues. compress() and decompress() return when that thread waits for more input: at any time
one of the two threads runs, and the object holds one session while a frame is unfinished.
"""

import atexit
import collections
import os
import threading
import weakref

from . import _gpuzip
from ._session import as_bytes, borrowed_session, compress_settings, session_key

# Bytes of output that wait for the object, before the thread waits, too: a few bytes of input may
# give 16 MiB, the largest block.
OUTPUT_LIMIT = 1 << 20

_live: weakref.WeakSet = weakref.WeakSet()  # streams


class _Cancelled(Exception):
    """Raised in the thread of a stream that nobody needs any more."""


class Stream:
    """A stream call in a thread. run(session, read, write, cancelled) is that call."""

    def __init__(self, key, run):
        self._key = key
        self._run = run
        self._condition = threading.Condition()
        self._input = collections.deque()  # of bytes, none empty
        self._used = 0  # bytes of the first that are read
        self._ended = False
        self._waits = False  # the thread is in _read(), without input
        self._output = collections.deque()
        self._size = 0  # bytes of _output
        self._done = self._cancelled = False
        self._error = None
        self._thread = threading.Thread(target=self._main, name="gpuzip", daemon=True)
        _live.add(self)
        self._thread.start()

    # -- in the thread

    def _main(self):
        error = None
        try:
            with borrowed_session(self._key) as session:
                self._run(session, self._read, self._write, self._is_cancelled)
        except BaseException as caught:  # raised again in take()
            error = caught
        with self._condition:
            self._error = error
            self._done = True
            self._condition.notify_all()

    def _is_cancelled(self):
        return self._cancelled

    def _wait(self, needed):
        """Waits while needed() is true. The condition is held."""
        while needed() and not self._cancelled:
            self._condition.notify_all()
            self._condition.wait()
        if self._cancelled:
            raise _Cancelled

    def _read(self, size):
        with self._condition:
            self._waits = True
            self._wait(lambda: not self._input and not self._ended)
            self._waits = False
            if not self._input:
                return b""
            first = self._input[0]
            part = first[self._used:self._used + size]
            self._used += len(part)
            if self._used == len(first):
                self._input.popleft()
                self._used = 0
            return part

    def _write(self, data):
        with self._condition:
            if data:
                self._output.append(data)
                self._size += len(data)
            self._wait(lambda: self._size >= OUTPUT_LIMIT)

    # -- in the thread of the object

    def feed(self, data):
        if data:
            with self._condition:
                self._input.append(data)
                self._condition.notify_all()

    def end(self):
        """No input follows."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def _settled(self):
        return (self._done or self._size >= OUTPUT_LIMIT
                or self._waits and not self._input and not self._ended)

    def take(self, limit=-1):
        """Waits until the thread is done, needs input or has much output; returns at most limit
        bytes of output. Raises the error of the call after the last byte."""
        try:
            with self._condition:
                while not self._settled():
                    self._condition.wait()
                data = self._take(limit)
                self._condition.notify_all()
                if data or limit == 0 or self._error is None:
                    return data
                raise self._error
        except BaseException:  # Ctrl-C, too
            self.cancel()
            raise

    def take_all(self):
        """As take(), until the thread is done or needs input."""
        parts = [self.take()]
        while parts[-1]:
            parts.append(self.take())
        return b"".join(parts)

    def _take(self, limit):
        parts = []
        left = self._size if limit < 0 else min(limit, self._size)
        self._size -= left
        while left:
            first = self._output.popleft()
            if len(first) > left:
                self._output.appendleft(first[left:])
                first = first[:left]
            parts.append(first)
            left -= len(first)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def finished(self):
        """The call has ended well, and its output is taken."""
        with self._condition:
            return self._done and not self._size and self._error is None

    @property
    def needs_input(self):
        with self._condition:
            return self._settled() and not self._done and not self._size

    def cancel(self):
        """Ends the thread soon."""
        with self._condition:
            self._cancelled = True
            self._condition.notify_all()

    def join(self):
        self._thread.join()


def _forget():
    """In the child of a fork: the parent's threads are not there, but may hold locks."""
    for stream in [s for s in _live if not s._done]:
        stream._condition = threading.Condition()
        stream._error = RuntimeError("a fork cannot continue the parent's stream")
        stream._done = True
    _live.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@atexit.register
def _end_threads():
    """No thread may be inside the library when Python ends."""
    streams = list(_live)
    for stream in streams:
        stream.cancel()
    for stream in streams:
        stream.join()


def _open_stream(owner, key, run):
    """A stream that is cancelled when its owner is gone, or by stream.finalizer()."""
    stream = Stream(key, run)
    stream.finalizer = weakref.finalize(owner, stream.cancel)
    stream.finalizer.atexit = False
    return stream


class GpuzipCompressor:
    """Compresses data that come in parts. Not to be used by two threads at the same time."""

    CONTINUE = 0
    FLUSH_FRAME = 2

    def __init__(self, level=None, **options):
        self._key, self._settings = compress_settings(level, **options)
        self._stream = None
        self._began = False
        self.last_mode = self.FLUSH_FRAME

    def _open(self):
        settings = self._settings

        def run(session, *callbacks):
            session.compress_stream(settings, *callbacks)

        if self._stream is None:
            self._stream = _open_stream(self, self._key, run)
            self._began = True

    def compress(self, data, mode=CONTINUE):
        """Returns the bytes of .gpz that are ready, perhaps none: a block is written as a whole."""
        if mode not in (self.CONTINUE, self.FLUSH_FRAME):
            raise ValueError("mode is neither CONTINUE nor FLUSH_FRAME")
        data = as_bytes(data)
        if data:
            self._open()
            self._stream.feed(data)
        self.last_mode = mode
        if mode == self.FLUSH_FRAME:
            return self._end()
        return self._stream.take_all() if self._stream else b""

    def flush(self, mode=FLUSH_FRAME):
        """Ends the frame and returns its rest; data may follow, in another frame. Without any data
        there is an empty frame, once."""
        if mode != self.FLUSH_FRAME:
            raise ValueError("mode is not FLUSH_FRAME")
        self.last_mode = mode
        return self._end()

    def _end(self):
        if not self._began:
            self._open()
        if self._stream is None:
            return b""
        stream, self._stream = self._stream, None
        stream.end()
        data = stream.take_all()
        stream.finalizer.detach()  # or each frame would leave one
        return data


class FrameScanner:
    """Finds the end of a frame (coder/FORMAT.md), without checking its content."""

    def __init__(self):
        self._head = bytearray()  # of the part that is being read
        self._in_header = True
        self._last = False  # the part is the end mark
        self._skip = 0  # bytes that belong to the frame
        self._size = 0  # of the header
        self._tail = b""  # the header's last bytes
        self._blocks = 0
        self.ended = False

    @staticmethod
    def _varint(data, at):
        """(value, index behind it), or None if it is not whole."""
        for i in range(at, min(len(data), at + 9)):
            if data[i] < 128:
                return sum((data[at + k] & 127) << 7 * k for k in range(i - at + 1)), i + 1
        return None

    def _rest(self):
        """The bytes behind _head that belong to its part; None: unknown as yet."""
        head = self._head
        if self._in_header:
            size = self._varint(head, 5)
            return size and size[0]
        size = self._varint(head, 1)
        if size is None:
            return None
        if head[0] == 0:
            return 8
        if head[0] == 1:
            return size[0] + 4
        size = self._varint(head, size[1])
        return size and size[0]

    def scan(self, data):
        """Returns how many bytes of data belong to the frame."""
        at = 0
        while not self.ended and at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                if not self._blocks and not self._last:
                    self._tail = (self._tail + data[at:at + step])[-6:]
                    self._size += step
                at += step
                self._skip -= step
            else:
                self._head.append(data[at])
                at += 1
                self._end_head()
            self.ended = self._last and not self._skip
        return at

    def _end_head(self):
        """Goes to the next part, if the head of this one tells its size."""
        rest = self._rest()
        if rest is not None:
            self._skip = rest
            self._last = not self._in_header and self._head[0] == 0
            if self._in_header:
                self._size = len(self._head)
            elif not self._last:
                self._blocks += 1
            self._in_header = False
            self._head.clear()
        elif len(self._head) > 20:  # longer than any: damaged, which the library reports
            self._skip = 1 << 62

    @property
    def is_index(self):
        """The frame that has ended has no blocks, and its header ends with the frame's size, as an
        index's does: any other would by a chance of 1 : 65536. The end mark has 10 bytes."""
        return (self.ended and not self._blocks
                and int.from_bytes(self._tail[:2], "little") == self._size + 10)


def skip_indexes(data):
    """Returns data behind the indexes at its beginning."""
    while True:
        scanner = FrameScanner()
        used = scanner.scan(data)
        if not scanner.is_index:
            return data
        data = data[used:]


class GpuzipDecompressor:
    """Decompresses one frame that comes in parts. Not to be used by two threads at the same time.

    A file may have several frames: begin another object with unused_data. An index of blocks belongs
    to the frame before it: unused_data begins behind it, and an object that is given an index goes
    on to the frame behind it; only if nothing follows in that call, it is done. Content is returned
    when the checksum of its block has been verified.
    """

    def __init__(self, models=(), *, device=None, threads=0, memory_limit=None):
        self._key = session_key(models, device, threads, memory_limit)
        self._scanner = FrameScanner()
        self._stream = None
        self.unused_data = b""

    @property
    def eof(self):
        """The frame has ended, and all of its content has been returned."""
        return self._stream is not None and self._stream.finished

    @property
    def needs_input(self):
        """decompress() needs more data before it can return more."""
        return self._stream is None or self._stream.needs_input

    def decompress(self, data, max_length=-1):
        """Returns content that data make complete, at most max_length bytes; the rest is kept for
        the next call, perhaps with b"". Raises GpuzipError, and EOFError after the frame's end."""
        if self.eof:
            raise EOFError("the frame has ended")
        data = as_bytes(data)
        if self._stream is None:
            if not data:
                return b""
            self._stream = _open_stream(self, self._key, _gpuzip.Session.decompress_stream)
        if self._scanner.ended:
            self.unused_data = skip_indexes(self.unused_data + data)
        else:
            self._feed(data)
        return self._stream.take_all() if max_length < 0 else self._stream.take(max_length)

    def _feed(self, data):
        """Gives the stream data up to the end of the frame."""
        used = self._scanner.scan(data)
        while self._scanner.is_index and used < len(data):  # no more of it than the frame behind it
            self._scanner = FrameScanner()
            used += self._scanner.scan(data[used:])
        self._stream.feed(data[:used])
        if self._scanner.ended:
            self._stream.end()
            self.unused_data = skip_indexes(data[used:])
