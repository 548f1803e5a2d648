from typing import Callable, Optional, final

from . import GpuzipError as GpuzipError

library_version: str

# Made by _session.py of compress()'s keywords, in the order of read_options() in _gpuzip.c.
_Settings = tuple[int, int, int, int, int, bool, int, int, bool, bool, bool, int,
                  tuple[tuple[int, float], ...]]
_Read = Callable[[int], bytes]
_Write = Callable[[bytes], object]
_Cancelled = Callable[[], bool]

@final
class Session:
    def __new__(
        cls,
        device: Optional[str],
        threads: int,
        memory_limit: int,
        models: tuple[Optional[bytes], ...],
        /,
    ) -> Session: ...
    def compress(self, options: _Settings, data: bytes, /) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...
    def compress_stream(
        self, options: _Settings, read: _Read, write: _Write, cancelled: _Cancelled, /
    ) -> None: ...
    def decompress_stream(self, read: _Read, write: _Write, cancelled: _Cancelled, /) -> None: ...

@final
class Archive:
    def __new__(
        cls, session: Session, read_at: Callable[[int, int], bytes], size: int, /
    ) -> Archive: ...
    def read(self, session: Session, offset: int, size: int, /) -> bytes: ...
    def blocks(self) -> list[tuple[int, int, int, int, int, int]]: ...

def content_size(data: bytes, /) -> int: ...
def backends() -> str: ...
