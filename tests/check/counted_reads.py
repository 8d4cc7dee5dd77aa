"""How often a reader reads a file: a file object that counts, and one behind a cache of blocks as fsspec's."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
from fsspec.caching import BlockCache


class CountedFile(io.RawIOBase):
    """A file whose reads are counted."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        self.position = 0
        self.reads: list[tuple[int, int]] = []

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, len(self.content))[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def get(self, start: int, stop: int) -> bytes:
        """Read a range, which counts."""
        self.reads.append((start, stop))
        return self.content[start:stop]

    def readinto(self, buffer: Any) -> int:
        found = self.fetched(self.position, min(self.position + len(buffer), len(self.content)))
        buffer[: len(found)] = found
        self.position += len(found)
        return len(found)

    def fetched(self, start: int, stop: int) -> bytes:
        return self.get(start, stop)


class CachedFile(CountedFile):
    """The same behind fsspec's cache of blocks, which keeps all: what it fetches is counted."""

    def __init__(self, path: Path, block_nbytes: int) -> None:
        super().__init__(path)
        n_blocks = len(self.content) // block_nbytes + 1
        self.cache = BlockCache(block_nbytes, self.get, len(self.content), maxblocks=n_blocks)

    def fetched(self, start: int, stop: int) -> bytes:
        return bytes(self.cache._fetch(start, stop))


def list_and_find_chunks(file: h5py.File) -> None:
    """Visit every object with its attributes, and find every chunk."""

    def visit(_name: str, found: Any) -> None:
        dict(found.attrs)
        if isinstance(found, h5py.Dataset) and found.chunks:
            found.id.chunk_iter(lambda _chunk: None)

    dict(file.attrs)
    file.visititems(visit)
