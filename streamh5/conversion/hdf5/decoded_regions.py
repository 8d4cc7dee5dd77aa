"""Reads regions of a chunked dataset of HDF5 by decoding its stored chunks without the HDF5 library.

The library decodes one chunk after the other under its lock, with zlib. Here each thread decodes the chunks of its
region, with the codecs of this package. What needs the library is left to it, but no chunk that is too small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.hdf5.partly_read import PartlyReadChunks
from streamh5.errors import SourceError, StreamH5Error
from streamh5.filters.chain import GROUP_NBYTES
from streamh5.filters.chunk_decoder import chunk_decoder
from streamh5.filters.registry import REGISTRY
from streamh5.filters.shuffle import ROW as SHUFFLE
from streamh5.filters.shuffle import unshuffle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from streamh5.conversion.hdf5.chunk_reader import StoredChunkReader
    from streamh5.dask.stored_chunks import Region
    from streamh5.filters.base import Bytes
    from streamh5.filters.chunk_decoder import ChunkDecoder
    from streamh5.format.filter_pipeline import FilterRecord


@dataclass(frozen=True, slots=True)
class DecodedRegions:
    """Reads regions of one dataset. Thread-safe, in this process and in others.

    Parameters
    ----------
    reader
        Reads its stored chunks.
    filters
        Its filters, each of which this package decodes.
    dtype
        Its elements as they are in the file.
    library
        Reads a region with the HDF5 library: where a chunk cannot be decoded here, so that the library decides whether
        it is damaged. It is not asked about regions with chunks that are too small, behind whose end it reads.
    fill_value
        One element that missing chunks read as, in bytes; None for zeros.
    kept
        Chunks that the regions read before needed only in part; those of other datasets may be among them.
    """

    reader: StoredChunkReader
    filters: tuple[FilterRecord, ...]
    dtype: np.dtype[Any]
    library: Callable[[Region], NDArray[Any]]
    fill_value: bytes | None
    kept: PartlyReadChunks

    def __call__(self, region: Region) -> NDArray[Any]:
        """Return the elements of a region."""
        grid = self.reader.chunks.grid
        origin = tuple(part.start for part in region)
        shape = tuple(part.stop - part.start for part in region)
        if 0 in shape:
            return np.zeros(shape, self.dtype)
        numbers = grid.numbers(grid.covering(origin, shape)).view(np.int64)
        rows = self.reader.find(numbers)
        is_whole = len(rows) == len(numbers)
        out = (np.empty if is_whole else np.zeros)(shape, self.dtype)
        if self.fill_value is not None and not is_whole:
            out[...] = np.frombuffer(self.fill_value, self.dtype)
        rows = rows[np.argsort(self.reader.chunks.addresses[rows], kind="stable")]
        try:
            self._fill(out, np.array(origin), rows)
        except SourceError:
            raise
        except (StreamH5Error, ValueError):
            self._refuse_too_small(rows)
            return self.library(region)
        return out

    def _fill(self, out: NDArray[Any], origin: NDArray[np.intp], rows: NDArray[np.intp]) -> None:
        """Decode chunks, given in the order of the file, into a region that begins at `origin`."""
        starts = self.reader.chunks.take(rows).origins()
        chunks, shape = self.reader.chunks.grid.chunks, self.reader.chunks.grid.shape
        ends = np.minimum(starts + np.array(chunks), np.array(shape))
        is_part = ((starts < origin) | (ends > origin + np.array(out.shape))).any(axis=1)
        if not is_part.any():
            self._decode(out, origin, rows)
            return
        self._decode(out, origin, rows[~is_part])
        parts = rows[is_part]
        path = self.reader.path
        mine = self.kept.claim(path, parts.tolist())
        claimed = set(mine)
        try:
            self._decode(out, origin, np.array(mine, np.intp), claimed)
        finally:
            self.kept.give_up(path, claimed)
        for row in np.setdiff1d(parts, mine).tolist():
            start = self.reader.chunks.origin_at(row)
            there, here = _overlap(
                [a - b for a, b in zip(start, origin.tolist(), strict=True)], chunks, out.shape
            )
            data = self.kept.get(path, row, out[there].size)
            if data is None:
                self._decode(out, origin, np.array([row]))
            else:
                self._decoder(int(self.reader.chunks.filter_masks[row])).place([data], [(out[there], here)])

    def _decode(
        self,
        out: NDArray[Any],
        origin: NDArray[np.intp],
        rows: NDArray[np.intp],
        claimed: set[int] | None = None,
    ) -> None:
        """Read and decode chunks; keep those in `claimed` for other regions, and take them out of it."""
        found = self.reader.chunks.take(rows)
        chunks = found.grid.chunks
        starts = found.origins() - origin
        for batch in self.reader.read(found.coords()):
            in_batch = np.arange(len(rows))[batch.part]
            for mask in np.unique(found.filter_masks[in_batch]).tolist():
                decoder = self._decoder(mask)
                for group in _groups(
                    np.flatnonzero(found.filter_masks[in_batch] == mask), decoder.n_in_group
                ):
                    stored: list[Any] = [batch.stored[i] for i in group]
                    at = in_batch[group].tolist()
                    data = list(map(decoder.decoder.decompress, stored))
                    places = [_overlap(start, chunks, out.shape) for start in starts[at].tolist()]
                    decoder.place(data, [(out[there], here) for there, here in places])
                    if claimed is not None:
                        own = list(map(_own, data, stored))
                        self._keep(rows[at].tolist(), own, [out[there].size for there, _ in places])
                        claimed.difference_update(rows[at].tolist())

    def _refuse_too_small(self, rows: NDArray[np.intp]) -> None:
        """Refuse chunks of fewer bytes than the library uses: it would read what lies behind them in memory."""
        found = self.reader.chunks.take(rows)
        for batch in self.reader.read(found.coords()):
            stored: list[Any] = list(batch.stored)
            masks = found.filter_masks[batch.part].tolist()
            for row, mask, one in zip(rows[batch.part].tolist(), masks, stored, strict=True):
                decoder = self._decoder(mask).decoder
                nbytes, needed = _decompressed_nbytes(decoder, one), decoder.chunk_nbytes
                if not decoder.moves:
                    # What lies behind the last element inside the dataset may be missing.
                    last = [part.stop - part.start - 1 for part in self._inside(row)]
                    chunks = self.reader.chunks.grid.chunks
                    needed = (int(np.ravel_multi_index(last, chunks)) + 1) * self.dtype.itemsize
                if nbytes is not None and nbytes < needed:
                    path, coords = self.reader.path, self.reader.chunks.coords_at(row)
                    raise SourceError(
                        f"{path}: the chunk {coords} decodes to {nbytes:,} bytes instead of {needed:,}; it is damaged",
                        path=path,
                        coords=coords,
                    )

    def _keep(self, rows: list[int], data: list[Bytes], n_used: list[int]) -> None:
        for row, one, n in zip(rows, data, n_used, strict=True):
            n_all = math.prod(part.stop - part.start for part in self._inside(row))
            self.kept.keep(self.reader.path, row, one, n_all - n)

    def _inside(self, row: int) -> Region:
        """Return the part of the dataset that a chunk fills."""
        return self.reader.chunks.grid.region(self.reader.chunks.coords_at(row))

    def _decoder(self, mask: int) -> _GroupDecoder:
        return _GroupDecoder.of(self.filters, mask, self.reader.chunks.grid.chunks, self.dtype)


def _own(data: Bytes, stored: Bytes) -> Bytes:
    """Return decompressed bytes that do not lie in the memory of the stored ones, into which others will be read."""
    is_view = np.may_share_memory(np.frombuffer(data, np.uint8), np.frombuffer(stored, np.uint8))
    return bytes(data) if is_view else data


def _decompressed_nbytes(decoder: ChunkDecoder, stored: Bytes) -> int | None:
    """Return how many bytes the library decompresses; None if it is not known, or there is an error that it notices."""
    n_left = len(decoder.steps)
    try:
        for step in decoder.steps:
            n_left -= 1
            stored = step(stored)
    except StreamH5Error as error:
        nbytes = error.facts.get("nbytes")
        return nbytes if n_left == 0 and isinstance(nbytes, int) else None
    return len(stored)


def _groups(items: NDArray[np.intp], n: int) -> Iterator[list[int]]:
    for first in range(0, len(items), n):
        yield items[first : first + n].tolist()


def _overlap(start: Sequence[int], chunks: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Region, Region]:
    """Return the part of a region of `shape` that a chunk fills which begins at `start`, and the part of the chunk."""
    there = tuple(slice(max(0, o), min(o + c, n)) for o, c, n in zip(start, chunks, shape, strict=True))
    here = tuple(slice(one.start - o, one.stop - o) for one, o in zip(there, start, strict=True))
    return there, here


@dataclass(frozen=True, slots=True)
class _GroupDecoder:
    """Decodes chunks with one filter mask, some at a time."""

    decoder: ChunkDecoder
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    is_shuffled: bool
    n_in_group: int

    @classmethod
    def of(
        cls, filters: tuple[FilterRecord, ...], mask: int, chunks: tuple[int, ...], dtype: np.dtype[Any]
    ) -> _GroupDecoder:
        nbytes = math.prod(chunks) * dtype.itemsize
        decoder = chunk_decoder(filters, mask, nbytes)
        moved = [one for i, one in enumerate(filters) if not mask >> i & 1][: len(decoder.moves)]
        is_shuffled = [(one.filter_id, one.client_values) for one in moved] == [
            (SHUFFLE.filter_id, (dtype.itemsize,))
        ]
        return cls(decoder, chunks, dtype, is_shuffled, max(1, GROUP_NBYTES // nbytes))

    def place(self, data: list[Bytes], places: list[tuple[NDArray[Any], Region]]) -> None:
        """Put elements together from decompressed chunks; copy to each place its part of its chunk."""
        if not self.is_shuffled:
            for one, (out, part) in zip(data, places, strict=True):
                out[...] = np.frombuffer(self.decoder.undo_moves(one), self.dtype).reshape(self.chunks)[part]
            return
        itemsize = self.dtype.itemsize
        if len(data) == 1:
            planes = np.frombuffer(data[0], np.uint8).reshape(itemsize, *self.chunks)
            out, part = places[0]
            unshuffle(planes[(slice(None), *part)], out)
            return
        joined = np.frombuffer(b"".join(data), np.uint8).reshape(len(data), itemsize, *self.chunks)
        elements = np.empty((len(data), *self.chunks), self.dtype)
        unshuffle(joined.swapaxes(0, 1), elements)
        for chunk, (out, part) in zip(elements, places, strict=True):
            out[...] = chunk[part]


def can_decode(filters: tuple[FilterRecord, ...]) -> bool:
    """Return whether this package decodes each of the filters."""
    rows = [REGISTRY.get(one.filter_id) for one in filters]
    return all(row is not None and row.decode is not None for row in rows)
