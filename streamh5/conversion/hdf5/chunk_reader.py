"""Reads the stored chunks of an HDF5 dataset that are copied, in large pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.dask.stored_chunks import StoredBatch
from streamh5.errors import FormatError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streamh5.conversion.hdf5.source_bytes import SharedBytes
    from streamh5.filters import Buffer, FilterChain
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_bytes import FileBytes

PIECE_READ_NBYTES = 4 << 20
"""Stored bytes of chunks that are read together. With 1 or 8 MiB, a copy with the checksums of the journal costs less
processor time than `os.copy_file_range` followed by a read for the checksums (tests/benchmarks, hdf5_copy --pieces)."""


@dataclass(frozen=True, slots=True)
class StoredChunkReader:
    """Reads listed chunks directly from the file, without the HDF5 library and its lock.

    Chunks that lie next to each other are read with one call, and stored with one.

    Parameters
    ----------
    path
        Path of the dataset, for messages.
    file
        The file.
    chunks
        The chunks, with ascending numbers.
    n_filters
        Number of filters of the dataset.
    is_edge
        ``(n,) bool``: which of the chunks are stored without filters although the dataset has some.
    chain
        Applies the filters to them; None where streamh5 cannot.
    """

    path: str
    file: SharedBytes
    chunks: ChunkMap
    n_filters: int
    is_edge: NDArray[np.bool_]
    chain: FilterChain | None

    def find(self, numbers: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the rows of those of some chunks, given by ascending numbers, that are stored."""
        stored = self.chunks.numbers
        rows = np.searchsorted(stored, numbers)
        is_stored = rows < len(stored)
        is_stored[is_stored] = stored[rows[is_stored]] == numbers[is_stored]
        return rows[is_stored]

    def read(self, coords: NDArray[np.intp]) -> Iterator[StoredBatch]:
        """Read chunks: see `ChunkReader`."""
        rows = np.searchsorted(self.chunks.numbers, self.chunks.grid.locate(coords.T)[0])
        file, found = self.file.open(), self.chunks.take(rows)
        self._check(file, found)
        memory = memoryview(b"")
        stops = np.cumsum(found.stored_nbytes, dtype=np.int64)
        starts = stops - found.stored_nbytes.astype(np.int64)
        first = 0
        while first < len(found):
            # as many chunks as fit, at least one
            last = int(np.searchsorted(stops, starts[first] + PIECE_READ_NBYTES, side="right"))
            part = slice(first, max(first + 1, last))
            nbytes = int(stops[part][-1] - starts[first])
            if len(memory) < nbytes:
                memory = np.empty(nbytes, np.uint8).data
            self._read_into(memory[:nbytes], file, found.take(np.arange(part.start, part.stop)))
            yield self._batch(part, memory[:nbytes], stops[part] - starts[first], rows[part])
            first = part.stop

    def _check(self, file: FileBytes, found: ChunkMap) -> None:
        """Refuse chunks that are damaged: an empty one cannot be decoded, neither here nor in the copy.

        Raises
        ------
        SourceError
            The message names the first of them.
        """
        sizes, end = found.stored_nbytes.astype(np.uint64), np.uint64(file.nbytes)
        is_outside = (sizes > end) | (found.addresses > end - np.minimum(sizes, end))
        is_bad = is_outside | (sizes == 0)
        if is_bad.any():
            row = int(np.argmax(is_bad))
            what = "extends beyond the end of the file" if is_outside[row] else "has a stored size of 0"
            raise self._damaged(found, row, what)

    def _damaged(self, found: ChunkMap, row: int, what: str) -> SourceError:
        coords = found.coords_at(row)
        return SourceError(
            f"{self.path}: the chunk {coords} {what}; it is damaged", path=self.path, coords=coords
        )

    def _read_into(self, memory: memoryview, file: FileBytes, found: ChunkMap) -> None:
        """Read chunks, one call for each run of adjacent ones."""
        sizes = found.stored_nbytes.astype(np.uint64)
        breaks = np.flatnonzero(found.addresses[1:] != found.addresses[:-1] + sizes[:-1]) + 1
        firsts = np.concatenate([np.zeros(1, np.intp), breaks])
        lengths = np.add.reduceat(sizes, firsts)
        position = 0
        for address, nbytes in zip(found.addresses[firsts].tolist(), lengths.tolist(), strict=True):
            try:
                file.read_into(address, memory[position : position + nbytes], "chunk")
            except FormatError:
                self._read_each(memory, file, found)
                return
            position += nbytes

    def _read_each(self, memory: memoryview, file: FileBytes, found: ChunkMap) -> None:
        """Read chunks one by one, so that the message names the one that cannot be read."""
        position = 0
        for row, nbytes in enumerate(found.stored_nbytes.tolist()):
            try:
                file.read_into(int(found.addresses[row]), memory[position : position + nbytes], "chunk")
            except FormatError as error:
                raise self._damaged(found, row, f"cannot be read: {error}") from error
            position += nbytes

    def _batch(
        self, part: slice, memory: memoryview, stops: NDArray[np.int64], rows: NDArray[np.intp]
    ) -> StoredBatch:
        """Return chunks that lie in `memory` up to `stops`; those without filters get them."""
        ends = stops.tolist()
        stored: list[Buffer] = [memory[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]
        masks, edges = self.chunks.filter_masks[rows], np.flatnonzero(self.is_edge[rows]).tolist()
        for i in edges:
            stored[i], masks[i] = self._filtered(stored[i], masks[i])
        return StoredBatch(part, stored, masks if masks.any() else None, None if edges else memory)

    def _filtered(self, data: Any, mask: int) -> tuple[Buffer, int]:
        """Filter a chunk that is stored unfiltered; without codecs, return a mask that all filters were skipped."""
        if self.chain is None:
            return data, (1 << self.n_filters) - 1
        if len(data) != self.chain.chunk_nbytes:
            return data, mask
        encoded = self.chain.encode_rows(np.frombuffer(data, np.uint8).reshape(1, -1))
        return encoded.buffers[0], 0 if encoded.filter_masks is None else int(encoded.filter_masks[0])
