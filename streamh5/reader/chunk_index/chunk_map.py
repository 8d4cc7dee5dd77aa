"""What an index needs to know of its dataset, and the chunk map that every index is read into."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.chunk_index.element import sizeof_stored_nbytes
from streamh5.format.primitives import MAX_FILTERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.chunk_index.element import ChunkColumns

__all__ = ["ChunkFrame", "ChunkMap", "chunk_map", "grid_numbers"]

_MAX_INT = 2**62
"""Chunk numbers and sizes stay exact in 8 bytes."""


@dataclass(frozen=True, slots=True)
class ChunkFrame:
    """A chunked dataset without its index.

    Attributes
    ----------
    owner
        Path of the dataset.
    shape, maxshape, chunks
        Of the same rank; None in `maxshape` for unlimited.
    element_nbytes
        Size of the datatype.
    n_filters
        Filters of its pipeline.
    layout_version
        Of the data layout message.
    filters_edges
        Whether chunks that reach over the shape go through the filters as all others do.
    """

    owner: str
    shape: tuple[int, ...]
    maxshape: tuple[int | None, ...]
    chunks: tuple[int, ...]
    element_nbytes: int
    n_filters: int
    layout_version: int
    filters_edges: bool = True

    @property
    def chunk_nbytes(self) -> int:
        """Raw bytes of a chunk."""
        return math.prod(self.chunks) * self.element_nbytes

    @property
    def grid(self) -> tuple[int, ...]:
        """Chunks along each dimension of the current shape."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def max_grid(self) -> tuple[int, ...]:
        """Chunks along each dimension of the maximum shape, of the current one where it is unlimited."""
        return tuple(
            -(-(size if most is None else most) // chunk)
            for size, most, chunk in zip(self.shape, self.maxshape, self.chunks, strict=True)
        )

    @property
    def n_max_chunks(self) -> int:
        """Chunks of `max_grid`.

        Raises
        ------
        FormatError
            More than can be numbered.
        """
        n_chunks = math.prod(self.max_grid)
        if n_chunks > _MAX_INT:
            raise FormatError(f"a grid of {n_chunks:,} chunks is more than an index can number")
        return n_chunks

    @property
    def has_outside(self) -> bool:
        """Whether an index can hold chunks outside of the current shape."""
        return self.max_grid != self.grid

    @property
    def stored_nbytes_width(self) -> int | None:
        """Width of the stored size in an index, None without filters."""
        return sizeof_stored_nbytes(self.chunk_nbytes, self.layout_version) if self.n_filters else None


@dataclass(frozen=True, slots=True, eq=False)
class ChunkMap:
    """The written chunks of a dataset as columns, ``(n,)`` each.

    Attributes
    ----------
    chunks
        Shape of a chunk.
    grid
        Chunks along each dimension; `numbers` are row-major in it.
    numbers, addresses, stored_nbytes
        ``int64``.
    filter_masks
        ``uint32``; bit i set: filter i was skipped. Chunks at the edge that the layout leaves without filters have
        the bits of all filters set, whatever the index says.
    within
        ``bool``: the chunk is inside the current shape; others were allocated in advance, or are left over.
    impossible
        ``bool``: the chunk lies outside the file, has a size that cannot be, or has skipped a filter that
        does not exist.
    """

    chunks: tuple[int, ...]
    grid: tuple[int, ...]
    numbers: NDArray[np.int64]
    addresses: NDArray[np.int64]
    stored_nbytes: NDArray[np.int64]
    filter_masks: NDArray[np.uint32]
    within: NDArray[np.bool_]
    impossible: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.numbers)

    def coords(self, row: int) -> tuple[int, ...]:
        """Place of a chunk in the grid."""
        number = int(self.numbers[row])
        coords = []
        for size in reversed(self.grid):
            number, coord = divmod(number, size)
            coords.append(coord)
        return tuple(reversed(coords))

    def origin(self, row: int) -> tuple[int, ...]:
        """First element of a chunk."""
        return tuple(coord * size for coord, size in zip(self.coords(row), self.chunks, strict=True))

    def origins(self) -> NDArray[np.int64]:
        """First element of every chunk: ``(n, rank) int64``."""
        coords = np.unravel_index(self.numbers, self.grid) if len(self) else [self.numbers] * len(self.grid)
        return np.stack([coord * size for coord, size in zip(coords, self.chunks, strict=True)], axis=1)


def chunk_map(
    frame: ChunkFrame, numbers: NDArray[np.int64] | None, columns: ChunkColumns, *, file_nbytes: int
) -> ChunkMap:
    """Make the map of the chunks of an index, and find those that cannot be.

    Parameters
    ----------
    frame
        The dataset.
    numbers
        ``(n,) int64``, in `frame.max_grid`; None for ``0 .. n - 1``.
    columns
        As in the index; address 0 marks a chunk that was never written.
    file_nbytes
        Size of the file.

    """
    written = np.flatnonzero(columns.addresses)
    all_written = len(written) == len(columns.addresses)
    addresses = columns.addresses if all_written else columns.addresses[written]
    stored = _stored_nbytes(frame, columns, None if all_written else written)
    masks = np.zeros(len(addresses), np.uint32)
    if columns.filter_masks is not None:
        masks = columns.filter_masks if all_written else columns.filter_masks[written]
    if numbers is None:
        numbers = written
    elif not all_written:
        numbers = numbers[written]
    within, at_edge = _places(frame, numbers)
    if not frame.filters_edges:
        masks = np.where(at_edge, np.uint32((1 << frame.n_filters) - 1), masks)
    limit = np.uint64(file_nbytes)
    impossible = (addresses > limit) | (stored > limit) | (addresses + stored > limit) | (stored == 0)
    if not frame.n_filters:
        impossible |= stored != min(frame.chunk_nbytes, _MAX_INT)
    elif not frame.filters_edges:
        impossible |= at_edge & (stored != min(frame.chunk_nbytes, _MAX_INT))
    if frame.n_filters < MAX_FILTERS:
        impossible |= masks >> np.uint32(frame.n_filters) != 0
    return ChunkMap(
        frame.chunks,
        frame.max_grid,
        numbers,
        addresses.view(np.int64),
        stored.view(np.int64),
        masks,
        within,
        impossible,
    )


def _places(frame: ChunkFrame, numbers: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say of every chunk whether it is inside the current shape, and whether it reaches over it."""
    within = np.ones(len(numbers), np.bool_)
    at_edge = np.zeros(len(numbers), np.bool_)
    if not frame.has_outside and frame.filters_edges:
        return within, at_edge
    rest = numbers
    for axis in reversed(range(len(frame.shape))):
        coords = rest % frame.max_grid[axis]
        rest = rest // frame.max_grid[axis]
        within &= coords < frame.grid[axis]
        if not frame.filters_edges:
            at_edge |= coords >= frame.shape[axis] // frame.chunks[axis]
    return within, at_edge


def grid_numbers(frame: ChunkFrame, scaled: list[NDArray[np.uint64]], structure: str) -> NDArray[np.int64]:
    """Turn the coords of chunks into their numbers.

    Parameters
    ----------
    frame
        The dataset.
    scaled
        Coords along each dimension, ``(n,) uint64`` each.
    structure
        Where they come from, for the error.

    Returns
    -------
    ndarray, ``(n,) int64``

    Raises
    ------
    FormatError
        A chunk is outside the shape, or there twice.
    """
    numbers = np.zeros(len(scaled[0]), np.int64)
    if frame.n_max_chunks == 0 and len(numbers):
        raise FormatError(f"{structure}: {len(numbers):,} chunks of a dataset of shape {frame.shape}")
    for size, coords in zip(frame.max_grid, scaled, strict=True):
        if len(coords) and int(coords.max()) >= size:
            raise FormatError(f"{structure}: a chunk has coordinate {int(coords.max()):,} where {size:,} fit")
        numbers = numbers * size + coords.astype(np.int64)
    if len(np.unique(numbers)) < len(numbers):
        raise FormatError(f"{structure}: a chunk is there twice")
    return numbers


def _stored_nbytes(
    frame: ChunkFrame, columns: ChunkColumns, written: NDArray[np.intp] | None
) -> NDArray[np.uint64]:
    n_chunks = len(columns.addresses) if written is None else len(written)
    if columns.stored_nbytes is None:
        return np.full(n_chunks, min(frame.chunk_nbytes, _MAX_INT), np.uint64)
    stored = columns.stored_nbytes if written is None else columns.stored_nbytes[written]
    return stored.astype(np.uint64)
