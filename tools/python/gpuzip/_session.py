"""Sessions, which are kept for later calls, and the settings of a call."""

import enum
import os
import threading

from . import _gpuzip


class Status(enum.IntEnum):
    """The status of a GpuzipError: gpuzip_status of gpuzip_status.h."""

    ARGUMENT = 1
    MEMORY = 2
    IO = 3
    CAPACITY = 4
    FORMAT = 5
    CORRUPT = 6
    MODEL = 7
    DEVICE = 8
    SELF_TEST = 9
    UNSUPPORTED = 10
    CANCELLED = 11


class Adapt(enum.IntFlag):
    """Adaptive parts: gpuzip_adapt of gpuzip.h."""

    NONE = 0
    CONTEXTS = 1
    BIASES = 2
    ALPHAS = 4
    WEIGHTS = 8  # the language models learn; slow, and on CPUs only
    ALL = 15
    DEFAULT = 16  # of the level: all at level 9, all but WEIGHTS below


LEVEL_DEFAULT = 6
NAIVE_BAYES_ALPHA = 0.1  # of the program, tools/gpuzip/setup.c

# Sessions that wait for a call. The built-in model takes some 60 MB and 40 ms to open; four serve
# four threads that code at the same time.
IDLE_SESSIONS = 4

_lock = threading.Lock()
_idle: list = []  # of (key, session); the one used last is the last


def _forget():
    """In the child of a fork: the parent's threads and GPUs are not there."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def as_bytes(data):
    """Any contiguous buffer as bytes; bytes are not copied."""
    return data if isinstance(data, bytes) else memoryview(data).tobytes()


def session_key(models=(), device=None, threads=0, memory_limit=None):
    """The arguments of Session, by which a session is found again.

    models: of each a path or name, None for the built-in one; none: the built-in one alone.
    """
    if isinstance(models, (str, bytes, os.PathLike)):
        models = (models,)
    names = tuple(None if m is None else os.fsencode(m) for m in models) or (None,)
    device = device or os.environ.get("GPUZIP_DEVICE") or None
    limit = -1 if memory_limit is None else int(memory_limit)
    return device, int(threads), limit, names


class borrowed_session:
    """`with borrowed_session(key) as session`: an idle session, or a new one."""

    def __init__(self, key):
        self._key = key

    def __enter__(self):
        with _lock:
            for i in range(len(_idle) - 1, -1, -1):
                if _idle[i][0] == self._key:
                    self._session = _idle.pop(i)[1]
                    return self._session
        self._session = _gpuzip.Session(*self._key)
        return self._session

    def __exit__(self, *exception):
        with _lock:
            _idle.append((self._key, self._session))
            surplus = _idle[:-IDLE_SESSIONS]
            del _idle[:-IDLE_SESSIONS]
        self._session = None
        del surplus  # closes them, without the lock


def _experts(models, alphas, naive_bayes):
    """The program's choice of experts (tools/gpuzip/setup.c): pairs of a model's index, or -1 for
    Naive Bayes, and its alpha."""
    kinds = list(range(models)) + [-1] * bool(naive_bayes)
    if alphas is None:
        alphas = [NAIVE_BAYES_ALPHA if kind < 0 else 1 / models for kind in kinds]
    alphas = [float(alpha) for alpha in alphas]
    if len(alphas) != len(kinds):
        raise ValueError(f"{len(kinds)} experts, but {len(alphas)} alphas")
    return tuple(zip(kinds, alphas))


def compress_settings(level=None, *, models=(), device=None, threads=0, memory_limit=None, window=0,
                      hop=0, streams=0, update_interval=0, window_scope=False, adapt=None,
                      block_size=0, alphas=None, naive_bayes=False, fit_alphas=None, verify=True,
                      packing=True, index=None):
    """The session's key and the options' tuple of a call that compresses."""
    level = LEVEL_DEFAULT if level is None else level
    if not 1 <= level <= 9:
        raise ValueError("level is not in 1 .. 9")
    key = session_key(models, device, threads, memory_limit)
    count = len(key[3])
    if adapt is None:  # given alphas stay fixed
        adapt = Adapt.DEFAULT if alphas is None else Adapt.CONTEXTS | Adapt.BIASES
    if not 0 <= adapt <= Adapt.ALL and adapt != Adapt.DEFAULT:
        raise ValueError("adapt is not a combination of the flags of Adapt")
    if fit_alphas is None:
        fit_alphas = count > 1 and alphas is None
    experts = _experts(count, alphas, naive_bayes)
    return key, (level, window, hop, streams, update_interval, bool(window_scope), int(adapt),
                 block_size, bool(fit_alphas), not verify, not packing,
                 0 if index is None else 2 if index else 1, experts)


def compress(data, level=None, **options):
    """Returns data (any bytes-like object) as one frame of .gpz.

    level: 1 (fast) .. 9 (small), 6 by default. options, for all that compresses:
    models        paths, folders or names of models; None in it is the built-in one
    window, hop, streams, update_interval, window_scope, block_size
                  as in gpuzip_options of gpuzip.h; 0: those of the level
    adapt         flags of Adapt
    alphas        weights of the models, and of Naive Bayes behind them
    naive_bayes   unigram counts are one more expert
    fit_alphas    replace alphas by those that code the first 1 MiB best
    verify        decode each block after compressing it
    packing       pack a block with LZMA2 or zstd where that is smaller
    index         write an index of blocks behind the frame, or not; None: if it has several
    device, threads, memory_limit
                  as in gpuzip_open() and gpuzip_set_memory_limit(), in bytes
    """
    key, settings = compress_settings(level, **options)
    with borrowed_session(key) as session:
        return session.compress(settings, as_bytes(data))


def decompress(data, models=(), *, device=None, threads=0, memory_limit=None):
    """Returns the content of all frames in data, which the given models (the built-in one) made."""
    with borrowed_session(session_key(models, device, threads, memory_limit)) as session:
        return session.decompress(as_bytes(data))


def content_size(data):
    """Returns the bytes that data says it decompresses to. The data may be hostile."""
    return _gpuzip.content_size(as_bytes(data))
