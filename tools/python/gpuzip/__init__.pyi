import enum
import io
import os
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, Final, Literal, Optional, TextIO, Union, overload

from typing_extensions import Buffer, TypedDict, Unpack

_Path = Union[str, bytes, os.PathLike[Any]]
_Models = Union[_Path, Iterable[Optional[_Path]]]
_Binary = Literal["r", "rb", "w", "wb", "x", "xb", "a", "ab"]
_Text = Literal["rt", "wt", "xt", "at"]

class _Session(TypedDict, total=False):
    models: _Models
    device: Optional[str]
    threads: int
    memory_limit: Optional[int]

class _Options(_Session, total=False):
    window: int
    hop: int
    streams: int
    update_interval: int
    window_scope: bool
    adapt: Optional[int]
    block_size: int
    alphas: Optional[Sequence[float]]
    naive_bayes: bool
    fit_alphas: Optional[bool]
    verify: bool
    packing: bool
    index: Optional[bool]

LEVEL_DEFAULT: Final = 6
library_version: str

class Status(enum.IntEnum):
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
    NONE = 0
    CONTEXTS = 1
    BIASES = 2
    ALPHAS = 4
    WEIGHTS = 8  # the language models learn; slow, and on CPUs only
    ALL = 15
    DEFAULT = 16  # of the level: all at level 9, all but WEIGHTS below

class GpuzipError(Exception):
    status: int

def compress(data: Buffer, level: Optional[int] = None, **options: Unpack[_Options]) -> bytes: ...
def decompress(
    data: Buffer,
    models: _Models = (),
    *,
    device: Optional[str] = None,
    threads: int = 0,
    memory_limit: Optional[int] = None,
) -> bytes: ...
def content_size(data: Buffer) -> int: ...
def backends() -> str: ...
def register_fsspec() -> None: ...

class GpuzipCompressor:
    CONTINUE: Final = 0
    FLUSH_FRAME: Final = 2
    @property
    def last_mode(self) -> int: ...
    def __init__(self, level: Optional[int] = None, **options: Unpack[_Options]) -> None: ...
    def compress(self, data: Buffer, mode: int = 0) -> bytes: ...
    def flush(self, mode: int = 2) -> bytes: ...

class GpuzipDecompressor:
    unused_data: bytes
    def __init__(
        self,
        models: _Models = (),
        *,
        device: Optional[str] = None,
        threads: int = 0,
        memory_limit: Optional[int] = None,
    ) -> None: ...
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: Buffer, max_length: int = -1) -> bytes: ...

class GpuzipFile(io.BufferedIOBase):
    mode: str
    def __init__(
        self,
        file: Union[_Path, BinaryIO],
        mode: _Binary = "r",
        level: Optional[int] = None,
        **options: Unpack[_Options],
    ) -> None: ...
    @property
    def name(self) -> Any: ...
    def peek(self, size: int = -1) -> bytes: ...

@overload
def open(
    file: Union[_Path, BinaryIO],
    mode: _Binary = "rb",
    level: Optional[int] = None,
    **options: Unpack[_Options],
) -> GpuzipFile: ...
@overload
def open(
    file: Union[_Path, BinaryIO],
    mode: _Text,
    level: Optional[int] = None,
    *,
    encoding: Optional[str] = None,
    errors: Optional[str] = None,
    newline: Optional[str] = None,
    **options: Unpack[_Options],
) -> TextIO: ...
