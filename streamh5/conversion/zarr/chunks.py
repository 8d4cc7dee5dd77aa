"""Stored chunks of zarr arrays, read from their store in batches.

A directory is read with plain system calls in the calling thread; any other store through its ``get``,
all chunks of a batch together on zarr's event loop.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from streamh5.conversion.zarr.codecs import crc32c
from streamh5.dask.foreign_errors import foreign_errors
from streamh5.dask.stored_chunks import StoredBatch
from streamh5.errors import SourceError
from streamh5.filters.base import byte_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import FileIO

    import zarr
    from numpy.typing import NDArray

    from streamh5.conversion.zarr.codecs import ShardLayout, ZarrLayout
    from streamh5.dask.shared_array import SharedArray
    from streamh5.dask.stored_chunks import ChunkReader
    from streamh5.filters import Buffer

_MISSING = np.uint64(2**64 - 1)
_SIZEOF_ENTRY = 16
_SIZEOF_CHECKSUM = 4

Range = tuple[int, int]
"""First byte, from the end where negative, and number of bytes."""


class _Values(Protocol):
    """Values of a store by their keys, relative to an array; None for one that is missing."""

    def whole(self, keys: Sequence[str]) -> Sequence[Buffer | None]: ...

    def parts(self, key: str, ranges: Sequence[Range]) -> Sequence[Buffer | None]: ...


def chunk_reader(shared: SharedArray, layout: ZarrLayout) -> ChunkReader:
    """Return the reader of the stored chunks of an array, in this process and in others."""
    if layout.shards is None:
        return _Plain(shared)
    counts = tuple(s // c for s, c in zip(layout.shards.shape, layout.chunks, strict=True))
    return _Sharded(shared, counts, layout.shards)


def _values(array: zarr.Array[Any]) -> _Values:
    from zarr.storage import LocalStore

    store, prefix = array.store_path.store, array.store_path.path
    # a subclass may store its values in another way, so only LocalStore itself is read as a directory
    if type(store) is LocalStore:
        return _Files(os.path.join(store.root, prefix))
    return _StoreValues(store, f"{prefix}/" if prefix else "")


@dataclass(frozen=True, slots=True)
class _Plain:
    """Every chunk is a value of its own."""

    shared: SharedArray

    def read(self, coords: NDArray[np.intp]) -> Iterator[StoredBatch]:
        array = self.shared.open()
        key = array.metadata.encode_chunk_key
        found = _values(array).whole([key(tuple(one)) for one in coords.tolist()])
        yield StoredBatch(slice(None), found)


@dataclass(frozen=True, slots=True)
class _Sharded:
    """Chunks are stored in shards with an index of their positions (zarr 3, "sharding_indexed")."""

    shared: SharedArray
    counts: tuple[int, ...]
    shards: ShardLayout

    def read(self, coords: NDArray[np.intp]) -> Iterator[StoredBatch]:
        array = self.shared.open()
        values = _values(array)
        shards, inner = np.divmod(coords, self.counts)
        positions = np.ravel_multi_index(tuple(inner.T), self.counts)
        found: list[Buffer | None] = [None] * len(coords)
        unique, which = np.unique(shards, axis=0, return_inverse=True)
        for i, shard in enumerate(unique.tolist()):
            rows = np.flatnonzero(which.reshape(-1) == i)
            key = array.metadata.encode_chunk_key(tuple(shard))
            index = self._index(str(array.store_path), values, key)
            if index is None:
                continue
            entries = index[positions[rows]]
            rows, entries = rows[entries[:, 0] != _MISSING], entries[entries[:, 0] != _MISSING]
            ranges: list[Range] = [(start, nbytes) for start, nbytes in entries.tolist()]
            for row, data in zip(rows.tolist(), values.parts(key, ranges), strict=True):
                found[row] = data
        yield StoredBatch(slice(None), found)

    def _index(self, name: str, values: _Values, key: str) -> NDArray[np.uint64] | None:
        """``(n, 2)`` uint64: first byte and size of each chunk of a shard; None for a missing shard."""
        nbytes = _SIZEOF_ENTRY * math.prod(self.counts)
        total = nbytes + (_SIZEOF_CHECKSUM if self.shards.has_checksum else 0)
        (data,) = values.parts(key, [(-total if self.shards.index_at_end else 0, total)])
        if data is None:
            return None
        view = byte_view(data)
        is_good = len(view) == total
        if is_good and self.shards.has_checksum:
            is_good = crc32c(view[:nbytes]) == int.from_bytes(view[nbytes:], "little")
        if not is_good:
            raise SourceError(
                f"{name}: the index of the shard {key} is damaged ({len(view):,} bytes of {total:,}, or its "
                "checksum is wrong); restore the shard",
                key=key,
            )
        return np.frombuffer(view[:nbytes], "<u8").reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class _Files:
    """Values that are files of a directory."""

    folder: str

    def whole(self, keys: Sequence[str]) -> Sequence[Buffer | None]:
        return [self._read(key) for key in keys]

    def _read(self, key: str) -> Buffer | None:
        with foreign_errors(f"{self.folder}: the chunk {key} cannot be read", key=key):
            file = self._open(key)
            if file is None:
                return None
            with file:
                return file.read()

    def parts(self, key: str, ranges: Sequence[Range]) -> Sequence[Buffer | None]:
        with foreign_errors(f"{self.folder}: the shard {key} cannot be read", key=key):
            file = self._open(key)
            if file is None:
                return [None] * len(ranges)
            with file:
                return [_part(file.fileno(), *one) for one in ranges]

    def _open(self, key: str) -> FileIO | None:
        try:
            return open(f"{self.folder}/{key}", "rb", buffering=0)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None


def _part(file: int, start: int, nbytes: int) -> bytes:
    """Read a range of a file; a range past its end (of a damaged index) is empty."""
    end = os.fstat(file).st_size
    first = min(start, end) if start >= 0 else max(0, end + start)
    return os.pread(file, min(nbytes, end - first), first)


@dataclass(frozen=True, slots=True)
class _StoreValues:
    """Values of any store, through its ``get``."""

    store: Any
    prefix: str

    def whole(self, keys: Sequence[str]) -> Sequence[Buffer | None]:
        return self._get([(self.prefix + key, None) for key in keys])

    def parts(self, key: str, ranges: Sequence[Range]) -> Sequence[Buffer | None]:
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest

        requests = [
            RangeByteRequest(start, start + nbytes) if start >= 0 else SuffixByteRequest(-start)
            for start, nbytes in ranges
        ]
        return self._get([(self.prefix + key, request) for request in requests])

    def _get(self, requests: list[tuple[str, Any]]) -> Sequence[Buffer | None]:
        import zarr

        # zarr 3 has no public function that runs coroutines on its event loop, with its limit of concurrent requests
        from zarr.core.buffer.cpu import buffer_prototype
        from zarr.core.common import concurrent_map
        from zarr.core.sync import sync

        async def get(key: str, byte_range: Any) -> Any:
            with foreign_errors(f"{self.store}: the chunk {key} cannot be read", key=key):
                return await self.store.get(key, buffer_prototype, byte_range)

        found = sync(concurrent_map(requests, get, zarr.config.get("async.concurrency")))
        return [None if value is None else value.as_numpy_array() for value in found]
