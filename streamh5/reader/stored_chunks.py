"""The chunks of a dataset: where its index says they are, and how their bytes are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.filters.chunk_decoder import chunk_decoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streamh5.filters.chunk_decoder import ChunkDecoder
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.chunk_index.chunk_frame import ChunkFrame
    from streamh5.reader.file_bytes import FileBytes

_MAX_CHUNK_NBYTES = 256 << 20
"""Raw size in bytes of the largest chunk that is decoded for its elements; one chunk at a time is in memory."""


@dataclass(frozen=True, slots=True)
class StoredChunks:
    """Chunks of one dataset, all or some of them.

    Attributes
    ----------
    frame
        Path, shape, layout and filters of the dataset.
    chunk_map
        The chunks, and where they are stored.
    """

    frame: ChunkFrame
    chunk_map: ChunkMap

    @property
    def nbytes(self) -> int:
        """Total size in bytes of the chunks as they are stored."""
        return int(self.chunk_map.stored_nbytes.sum())

    @property
    def n_missing(self) -> int:
        """Number of chunks of the current shape that are not among these."""
        return max(0, (self.frame.grid.n_chunks or 0) - int(np.count_nonzero(self.chunk_map.is_present())))

    def take(self, rows: NDArray[np.bool_]) -> StoredChunks:
        """Return the chunks of some rows of the map, given as ``(n,) bool``."""
        return StoredChunks(self.frame, self.chunk_map.take(rows))

    def by_decoder(self) -> Iterator[tuple[ChunkDecoder, ChunkMap]]:
        """Group the chunks by the filters that they skipped: yield each decoder once, with its chunks."""
        masks = self.chunk_map.filter_masks
        # Without the counts, the first call of np.unique imports numpy.ma: 8 ms of a command on a small file.
        for mask in np.unique(masks, return_counts=True)[0].tolist():
            decoder = chunk_decoder(self.frame.filters, mask, self.frame.chunk_nbytes)
            yield decoder, self.chunk_map.take(masks == mask)

    def read_each(self, file: FileBytes) -> Iterator[tuple[tuple[int, ...], ChunkDecoder, bytes]]:
        """Yield the coords, the decoder and the stored bytes of each chunk. All chunks must lie inside the file.

        Raises
        ------
        FormatError
            The chunks overlap: together, they are larger than the file.
        ForeignStructureError
            streamh5 does not know a filter, or chunks have more than 256 MiB.
        """
        # a damaged index may give sizes whose sum overflows
        n_stored = int(self.chunk_map.stored_nbytes.sum(dtype=np.float64))
        if n_stored > file.nbytes:
            raise FormatError(
                f"chunk index: its chunks overlap: together they have {n_stored:,} bytes, the file has {file.nbytes:,}"
            )
        if len(self.chunk_map) and self.frame.chunk_nbytes > _MAX_CHUNK_NBYTES:
            raise ForeignStructureError(f"elements in chunks of {self.frame.chunk_nbytes:,} bytes")
        for decoder, chunks in self.by_decoder():
            if decoder.unknown_filters:
                raise ForeignStructureError(
                    f"elements encoded by filters {decoder.unknown_filters}, which streamh5 does not have"
                )
            for row, address, nbytes in zip(
                range(len(chunks)), chunks.addresses.tolist(), chunks.stored_nbytes.tolist(), strict=True
            ):
                yield chunks.coords_at(row), decoder, file.read(address, nbytes, "chunk")
