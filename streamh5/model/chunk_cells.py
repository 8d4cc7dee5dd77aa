"""A chunk map in few numbers, for a picture: the grid in at most a few hundred cells, each for a box of chunks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.model.chunk_grid import ChunkGrid

MAX_CELLS = {1: 64, 2: 20, 3: 12}
"""Most cells along each axis, by the number of axes: 64, 400, and 432 on three faces."""

_N_ROWS = 1 << 20  # of chunks that are counted at once, which bounds the memory


@dataclass(frozen=True, slots=True, eq=False)
class ChunkFace:
    """The cells of two axes, over all chunks along the third: ``(rows, columns)`` arrays.

    Attributes
    ----------
    row_axis, column_axis
        Axes of `ChunkCells`; a grid with one axis has one row.
    n_chunks, n_stored, nbytes
        Number of chunks of each cell, of those of them that are stored, and the size in bytes of these.
    """

    row_axis: int | None
    column_axis: int
    n_chunks: NDArray[np.int64]
    n_stored: NDArray[np.int64]
    nbytes: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ChunkCells:
    """Which chunks of a dataset are stored, and how large they are.

    Attributes
    ----------
    extents, counts
        Elements and chunks along each of one to three axes. More than three dimensions become three: all but the last
        two are one axis, whose extent is its number of chunks.
    faces
        One face; three for three axes: those that a box shows.
    n_chunks, n_stored
        Number of chunks, and of stored ones.
    """

    extents: tuple[int, ...]
    counts: tuple[int, ...]
    faces: tuple[ChunkFace, ...]
    n_chunks: int
    n_stored: int


def chunk_cells(grid: ChunkGrid, numbers: NDArray[Any], stored_nbytes: NDArray[Any]) -> ChunkCells | None:
    """Return the cells of a grid over the present shape; None if it has no chunks.

    Parameters
    ----------
    grid
        A grid whose `counts` are those of its shape (`ChunkGrid.present`).
    numbers, stored_nbytes
        ``(n,)``: numbers in this grid and stored sizes of the stored chunks.
    """
    lead, shape = len(grid.counts) - 2, tuple(n or 0 for n in grid.shape)
    if math.prod(grid.counts) == 0:
        return None
    counts, extents = grid.counts, shape
    if lead > 1:
        folded = math.prod(counts[:lead])
        counts, extents = (folded, *counts[lead:]), (folded, *shape[lead:])
    pairs: tuple[tuple[int | None, int], ...] = {1: ((None, 0),), 2: ((0, 1),)}.get(
        len(counts), ((1, 2), (0, 2), (1, 0))
    )
    faces = tuple(_face(counts, pair, numbers, stored_nbytes) for pair in pairs)
    return ChunkCells(extents, counts, faces, math.prod(counts), len(numbers))


def _face(
    counts: tuple[int, ...], axes: tuple[int | None, int], numbers: NDArray[Any], stored_nbytes: NDArray[Any]
) -> ChunkFace:
    limit = MAX_CELLS[len(counts)]
    n_rows, n_columns = (1 if axis is None else min(limit, counts[axis]) for axis in axes)
    n_stored = np.zeros(n_rows * n_columns, np.int64)
    nbytes = np.zeros(n_rows * n_columns)
    for start in range(0, len(numbers), _N_ROWS):
        some = numbers[start : start + _N_ROWS].astype(np.int64)
        cells = _cell_of(some, counts, axes[0], n_rows) * n_columns
        cells += _cell_of(some, counts, axes[1], n_columns)
        n_stored += np.bincount(cells, minlength=len(n_stored))
        nbytes += np.bincount(cells, stored_nbytes[start : start + _N_ROWS], minlength=len(nbytes))
    behind = math.prod(counts) // math.prod(counts[axis] for axis in axes if axis is not None)
    n_chunks = np.outer(_sizes(counts, axes[0], n_rows), _sizes(counts, axes[1], n_columns)) * behind
    shape = n_rows, n_columns
    return ChunkFace(*axes, n_chunks, n_stored.reshape(shape), nbytes.reshape(shape))


def _cell_of(
    numbers: NDArray[np.int64], counts: tuple[int, ...], axis: int | None, n: int
) -> NDArray[np.int64]:
    """Return the row or column of cells of each chunk."""
    if axis is None:
        return np.zeros(len(numbers), np.int64)
    coords = numbers // math.prod(counts[axis + 1 :]) % counts[axis]
    return coords * n // counts[axis]


def _sizes(counts: tuple[int, ...], axis: int | None, n: int) -> NDArray[np.int64]:
    """Return the number of chunks of each row or column of cells along its axis."""
    if axis is None:
        return np.ones(1, np.int64)
    starts = -(-np.arange(n + 1, dtype=np.int64) * counts[axis] // n)  # the first coords of each cell
    return np.diff(starts)
