"""What the chunk index of a dataset must fit, and chunk maps from the columns of an index."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.chunk_index.element import chunk_element
from streamh5.format.primitives import MAX_FILTERS
from streamh5.model.chunk_grid import MAX_NUMBERS, ChunkGrid
from streamh5.model.chunk_map import ChunkMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.chunk_index.element import ChunkColumns
    from streamh5.format.data_layout import ChunkedLayout
    from streamh5.format.filter_pipeline import FilterRecord


@dataclass(frozen=True, slots=True)
class ChunkFrame:
    """A chunked dataset, as far as its chunk index must fit it.

    Attributes
    ----------
    owner
        Path of the dataset.
    shape, maxshape
        Shapes of the same rank as the chunks; None in `maxshape` for unlimited.
    layout
        Data layout message, with the address of the index.
    filters
        Records of the filters, in the order in which they encode.
    """

    owner: str
    shape: tuple[int, ...]
    maxshape: tuple[int | None, ...]
    layout: ChunkedLayout
    filters: tuple[FilterRecord, ...]

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return self.layout.chunks

    @property
    def chunk_nbytes(self) -> int:
        """Raw size of a chunk in bytes."""
        return math.prod(self.chunks) * self.layout.element_nbytes

    @property
    def chunk_element(self) -> np.dtype[np.void]:
        """The dtype of a chunk in an index."""
        return chunk_element(
            self.chunk_nbytes, filtered=bool(self.filters), layout_version=self.layout.version
        )

    @property
    def grid(self) -> ChunkGrid:
        """The grid that numbers the chunks."""
        return ChunkGrid(self.shape, self.chunks, self.maxshape)

    @property
    def n_max_chunks(self) -> int:
        """Number of chunks of the grid.

        Raises
        ------
        FormatError
            There are more than an index can number.
        """
        n_chunks = math.prod(self.grid.counts)
        if n_chunks > MAX_NUMBERS:
            raise FormatError(f"a grid of {n_chunks:,} chunks is more than an index can number")
        return n_chunks


def chunk_map(frame: ChunkFrame, numbers: NDArray[np.int64] | None, columns: ChunkColumns) -> ChunkMap:
    """Return the chunk map of an index.

    If the layout leaves partial edge chunks unfiltered, their masks get the bits of all filters: the library ignores
    the masks in the index.

    Parameters
    ----------
    frame
        The dataset.
    numbers
        Numbers of the chunks in the grid of the frame, ``(n,) int64``; None for ``0 .. n - 1``.
    columns
        Columns of the index. Address 0 marks a chunk that was never written.
    """
    written = np.flatnonzero(columns.addresses)
    if len(written) < len(columns.addresses):
        columns = columns.take(written)
        numbers = written if numbers is None else numbers[written]
    elif numbers is None:
        numbers = written
    found = ChunkMap.of(frame.grid, numbers, columns, min(frame.chunk_nbytes, MAX_NUMBERS))
    if frame.layout.filter_partial_edge_chunks:
        return found
    every_filter = np.uint32((1 << len(frame.filters)) - 1)
    return replace(found, filter_masks=np.where(_at_edge(found), every_filter, found.filter_masks))


def impossible_chunks(frame: ChunkFrame, chunks: ChunkMap, file_nbytes: int) -> NDArray[np.bool_]:
    """Return which chunks are impossible: ``(n,) bool``.

    They lie outside the file, have a size that no such chunk has, or skipped a filter that does not exist.
    """
    limit = np.uint64(file_nbytes)
    addresses, stored = chunks.addresses, chunks.stored_nbytes.astype(np.uint64, copy=False)
    # Addresses and sizes are compared first: their sum may overflow.
    impossible = (addresses > limit) | (stored > limit) | (addresses + stored > limit) | (stored == 0)
    has_other_size = stored != min(frame.chunk_nbytes, MAX_NUMBERS)
    if not frame.filters:
        impossible |= has_other_size
    elif not frame.layout.filter_partial_edge_chunks:
        impossible |= _at_edge(chunks) & has_other_size
    n_filters = len(frame.filters)
    if n_filters < MAX_FILTERS:
        impossible |= chunks.filter_masks >> np.uint32(n_filters) != 0
    return np.asarray(impossible)


def _at_edge(chunks: ChunkMap) -> NDArray[np.bool_]:
    """Return which chunks extend past the current shape: ``(n,) bool``."""
    whole = np.array([(n or 0) // c for n, c in zip(chunks.grid.shape, chunks.grid.chunks, strict=True)])
    return np.asarray((chunks.coords() >= whole).any(axis=1))


def grid_numbers(frame: ChunkFrame, scaled: list[NDArray[np.uint64]], structure: str) -> NDArray[np.int64]:
    """Return the numbers of chunks from their coords.

    Parameters
    ----------
    frame
        The dataset.
    scaled
        Coords along each dimension, ``(n,) uint64`` each.
    structure
        Name of the structure that has them, for errors.

    Returns
    -------
    ndarray, ``(n,) int64``

    Raises
    ------
    FormatError
        A chunk is outside the grid, or has two entries.
    """
    if frame.n_max_chunks == 0 and len(scaled[0]):
        raise FormatError(f"{structure}: it has {len(scaled[0]):,} chunks, but the shape is {frame.shape}")
    numbers, is_inside = frame.grid.locate(scaled)
    if not is_inside.all():
        for size, coords in zip(frame.grid.counts, scaled, strict=True):
            if int(coords.max()) >= size:
                raise FormatError(
                    f"{structure}: a chunk has the coordinate {int(coords.max()):,}; the grid has {size:,} chunks there"
                )
    in_order = np.sort(numbers)  # not np.unique, whose first call imports numpy.ma: 8 ms of a small `inspect`
    if (in_order[1:] == in_order[:-1]).any():
        raise FormatError(f"{structure}: a chunk has two entries")
    return numbers
