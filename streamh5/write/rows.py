"""Rows of a dataset: those that `append` keeps until they fill whole chunks, and those whose chunks are stored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streamh5.model.tree import DatasetNode


class RowBuffer:
    """Cuts a stream of rows at chunk boundaries, and keeps the rows of an incomplete chunk.

    Not thread-safe: the dataset that owns it holds a lock.

    Parameters
    ----------
    n_rows
        Rows that the dataset has already; they fill whole chunks.
    n_chunk_rows
        Number of rows of a chunk.

    Attributes
    ----------
    n_rows
        Number of rows accepted so far.
    """

    __slots__ = ("_n_chunk_rows", "_pending", "n_rows")

    def __init__(self, n_rows: int, n_chunk_rows: int) -> None:
        self.n_rows = n_rows
        self._n_chunk_rows = n_chunk_rows
        self._pending: NDArray[Any] | None = None

    def take(self, rows: NDArray[Any]) -> Iterator[tuple[NDArray[Any], int]]:
        """Accept rows; yield those that fill whole chunks, each block with its first row in the dataset.

        Yielded rows count as accepted when the next block is requested. If the consumer fails to write them they do
        not count, so the caller can pass them again.
        """
        while len(rows):
            n_pending = self.n_rows % self._n_chunk_rows
            start = self.n_rows - n_pending
            if n_pending == 0 and len(rows) >= self._n_chunk_rows:
                n = len(rows) // self._n_chunk_rows * self._n_chunk_rows
                yield rows[:n], start
            else:
                n = min(len(rows), self._n_chunk_rows - n_pending)
                if self._pending is None:
                    self._pending = np.empty((self._n_chunk_rows, *rows.shape[1:]), rows.dtype)
                self._pending[n_pending : n_pending + n] = rows[:n]
                if n_pending + n == self._n_chunk_rows:
                    yield self._pending, start
            self.n_rows += n
            rows = rows[n:]

    @property
    def rest(self) -> tuple[NDArray[Any], int] | None:
        """Pending rows, and their first row in the dataset; None if there are none."""
        n_pending = self.n_rows % self._n_chunk_rows
        if self._pending is None or not n_pending:
            return None
        return self._pending[:n_pending], self.n_rows - n_pending


class StoredRows(NamedTuple):
    """Rows of chunks, along the leading dimension, that have stored chunks.

    ``rows`` ``(n,)`` are their coords, ascending; ``n_stored`` ``(n,)`` is the number of stored chunks of each, and
    ``n_whole`` that of a whole row.
    """

    rows: NDArray[np.intp]
    n_stored: NDArray[np.intp]
    n_whole: int

    @property
    def end(self) -> int:
        """First row after the last stored one."""
        return int(self.rows[-1]) + 1 if len(self.rows) else 0

    @property
    def whole(self) -> NDArray[np.intp]:
        """Coords of the whole rows."""
        return np.asarray(self.rows[self.n_stored == self.n_whole])

    @property
    def n_safe(self) -> int:
        """Number of rows before the first that is not whole."""
        is_safe = self.whole == np.arange(len(self.whole))
        return len(is_safe) if is_safe.all() else int(np.argmin(is_safe))


def stored_rows(dataset: DatasetNode) -> StoredRows:
    """Count the stored chunks of each row of chunks; the dataset must have chunks.

    Chunks are numbered over the maximum shape. Those outside the present shape, in any but the leading dimension,
    are not counted.
    """
    grid = dataset.spec.grid
    present = grid.present.counts[1:]
    coords = grid.coords_of(dataset.table.written()[0])
    is_inside = np.ones(len(coords[0]), np.bool_)
    for coord, n in zip(coords[1:], present, strict=True):
        is_inside &= coord < n
    rows, n_stored = np.unique(coords[0][is_inside], return_counts=True)
    return StoredRows(rows, n_stored, math.prod(present))
