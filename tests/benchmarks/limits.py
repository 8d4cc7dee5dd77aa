"""What no writer can beat: the codec calls alone, and one append of the bytes to a plain file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tests.benchmarks.codecs import LIMIT

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da

__all__ = ["encode_and_drop", "raw_append"]


class _Drop:
    """Target of `da.store` that makes the codec calls and lets the bytes go."""

    def __init__(self, codec: str, chunks: tuple[int, ...]) -> None:
        self.encode = LIMIT[codec]
        self.chunks = chunks

    def __setitem__(self, region: tuple[slice, ...], block: Any) -> None:
        self.encode(block, self.chunks)


def encode_and_drop(codec: str, x: da.Array, chunks: tuple[int, ...], path: Path) -> None:
    """Compressor times cores: the same calls on the same blocks under the same scheduler."""
    import dask.array as da

    target: Any = _Drop(codec, chunks)
    da.store(x, target, lock=False)


class _Append:
    """Target of `da.store` under a lock: blocks one after the other into a plain file."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __setitem__(self, region: tuple[slice, ...], block: Any) -> None:
        view = memoryview(block).cast("B")
        while view:
            view = view[os.write(self.fd, view) :]


def raw_append(x: da.Array, chunks: tuple[int, ...], path: Path) -> None:
    """One append of the same bytes, in whole blocks: no format and no chunks."""
    import dask.array as da

    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        target: Any = _Append(fd)
        da.store(x, target, lock=True)
    finally:
        os.close(fd)
