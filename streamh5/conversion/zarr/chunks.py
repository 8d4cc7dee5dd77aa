"""Stored chunks of zarr arrays, read from their store in batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.zarr.codecs import crc32c
from streamh5.conversion.zarr.stored_values import stored_values
from streamh5.dask.stored_chunks import StoredBatch
from streamh5.errors import SourceError
from streamh5.filters.base import byte_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr
    from numpy.typing import NDArray

    from streamh5.conversion.zarr.codecs import ShardLayout, ZarrLayout
    from streamh5.conversion.zarr.stored_values import Range, StoredValues
    from streamh5.dask.shared_array import SharedArray
    from streamh5.dask.stored_chunks import ChunkReader
    from streamh5.filters import Buffer

RUN_NBYTES = 4 << 20
"""About the most bytes of chunks next to each other in a shard that are read with one call. A store that is far away
answers several such calls at once."""

_MISSING = np.uint64(2**64 - 1)
_SIZEOF_ENTRY = 16
_SIZEOF_CHECKSUM = 4


def chunk_reader(shared: SharedArray, layout: ZarrLayout) -> ChunkReader:
    """Return the reader of the stored chunks of an array, in this process and in others."""
    if layout.shards is None:
        return _Plain(shared, layout.chain.chunk_nbytes)
    counts = tuple(s // c for s, c in zip(layout.shards.shape, layout.chunks, strict=True))
    return _Sharded(shared, counts, layout.shards)


@dataclass(frozen=True, slots=True)
class _Plain:
    """Every chunk is a value of its own."""

    shared: SharedArray
    chunk_nbytes: int

    def read(self, coords: NDArray[np.intp]) -> Iterator[StoredBatch]:
        array = self.shared.open()
        key = array.metadata.encode_chunk_key
        keys = [key(tuple(one)) for one in coords.tolist()]
        for part, stored in stored_values(array).whole(keys, self.chunk_nbytes):
            yield StoredBatch(part, stored)


@dataclass(frozen=True, slots=True)
class _Sharded:
    """Chunks are stored in shards with an index of their positions (zarr 3, "sharding_indexed")."""

    shared: SharedArray
    counts: tuple[int, ...]
    shards: ShardLayout

    def read(self, coords: NDArray[np.intp]) -> Iterator[StoredBatch]:
        """Read chunks shard by shard in the order in which they lie there; small shards share a batch."""
        array = self.shared.open()
        values = stored_values(array)
        rows: list[NDArray[np.intp]] = []
        stored: list[Buffer | None] = []
        nbytes = 0
        for some, found in self._pieces(array, values, coords):
            found_nbytes = sum(map(len, found))
            if stored and nbytes + found_nbytes > values.at_once_nbytes:
                yield StoredBatch(np.concatenate(rows), stored)
                rows, stored, nbytes = [], [], 0
            rows.append(some)
            stored += found
            nbytes += found_nbytes
        if stored:
            yield StoredBatch(np.concatenate(rows), stored)

    def _pieces(
        self, array: zarr.Array[Any], values: StoredValues, coords: NDArray[np.intp]
    ) -> Iterator[tuple[NDArray[np.intp], list[memoryview]]]:
        """Yield rows of `coords` and their stored bytes, at most `at_once_nbytes` or one chunk; none missing."""
        shards, inner = np.divmod(coords, self.counts)
        positions = np.ravel_multi_index(tuple(inner.T), self.counts)
        numbers = np.ravel_multi_index(tuple(shards.T), tuple(shards.max(axis=0, initial=0) + 1))
        order = np.argsort(numbers, kind="stable")
        for here in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            if not len(here):  # no coords
                return
            key = array.metadata.encode_chunk_key(tuple(shards[here[0]].tolist()))
            index = self._index(str(array.store_path), values, key)
            if index is None:
                continue
            entries = index[positions[here]]
            by_place = np.argsort(entries[:, 0], kind="stable")
            by_place = by_place[entries[by_place, 0] != _MISSING]
            rows, starts = here[by_place], entries[by_place, 0]
            # a damaged index: no file has so many bytes, and their sum is a number
            sizes = np.minimum(entries[by_place, 1], np.uint64(1 << 40)).astype(np.int64)
            ends = np.cumsum(sizes)
            first = 0
            while first < len(rows):
                most = ends[first] - sizes[first] + values.at_once_nbytes
                part = slice(first, max(first + 1, int(np.searchsorted(ends, most, side="right"))))
                yield rows[part], _read(values, key, starts[part], sizes[part])
                first = part.stop

    def _index(self, name: str, values: StoredValues, key: str) -> NDArray[np.uint64] | None:
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


def _read(
    values: StoredValues, key: str, starts: NDArray[np.uint64], sizes: NDArray[np.int64]
) -> list[memoryview]:
    """Read chunks of a shard, ordered by their first bytes: one range for each run of adjacent ones.

    A chunk beyond the end of the shard, or in a shard that has just been removed, is short or empty: it is not
    accepted, and decoding it says what is wrong.
    """
    ends = np.cumsum(sizes)
    is_break = starts[1:] != starts[:-1] + sizes[:-1].astype(np.uint64)
    is_break |= np.diff(ends // RUN_NBYTES) != 0
    firsts = np.concatenate([np.zeros(1, np.intp), np.flatnonzero(is_break) + 1])
    ranges: list[Range] = list(
        zip(starts[firsts].tolist(), np.add.reduceat(sizes, firsts).tolist(), strict=True)
    )
    found: list[memoryview] = []
    for data, some in zip(values.parts(key, ranges), np.split(sizes, firsts[1:]), strict=True):
        view, at = byte_view(b"" if data is None else data), 0
        for nbytes in some.tolist():
            found.append(view[at : at + nbytes])
            at += nbytes
    return found
