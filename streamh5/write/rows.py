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
    """Cuts a stream of rows where chunks begin, and keeps what is between.

    Not thread-safe: its owner holds a lock.

    Parameters
    ----------
    n_rows
        Rows that the dataset has already, all in whole chunks.
    n_chunk_rows
        Rows of a chunk.

    Attributes
    ----------
    n_rows
        Rows that were taken.
    """

    __slots__ = ("_n_chunk_rows", "_pending", "n_rows")

    def __init__(self, n_rows: int, n_chunk_rows: int) -> None:
        self.n_rows = n_rows
        self._n_chunk_rows = n_chunk_rows
        self._pending: NDArray[Any] | None = None

    def take(self, rows: NDArray[Any]) -> Iterator[tuple[NDArray[Any], int]]:
        """Take rows; yield those that fill whole chunks, and the row of the dataset where they begin.

        Rows count as taken when the next are asked for: after an error of whoever writes them, they are not, and
        come again with the next call.
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
        """Rows that fill no whole chunk, and where they begin; None where there are none."""
        n_pending = self.n_rows % self._n_chunk_rows
        if self._pending is None or not n_pending:
            return None
        return self._pending[:n_pending], self.n_rows - n_pending


class StoredRows(NamedTuple):
    """Rows along the leading dimension of which chunks are stored.

    ``rows`` are ``(n,)`` their coords, ascending; ``n_stored`` how many chunks of each are; ``n_whole`` how many a
    whole row has.
    """

    rows: NDArray[np.intp]
    n_stored: NDArray[np.intp]
    n_whole: int

    @property
    def end(self) -> int:
        """First row behind the last that is there."""
        return int(self.rows[-1]) + 1 if len(self.rows) else 0

    @property
    def whole(self) -> NDArray[np.intp]:
        """Coords of the rows that are whole."""
        return np.asarray(self.rows[self.n_stored == self.n_whole])

    @property
    def n_safe(self) -> int:
        """Rows before the first that is not whole."""
        is_safe = self.whole == np.arange(len(self.whole))
        return len(is_safe) if is_safe.all() else int(np.argmin(is_safe))


def stored_rows(dataset: DatasetNode) -> StoredRows:
    """Count the chunks that are stored of each row of chunks; only for a grid that has chunks.

    Chunks are numbered over the maximum shape; those outside the present shape, behind the leading dimension, are
    left out.
    """
    grid = dataset.spec.grid
    present = grid.present.counts[1:]
    coords = grid.coords_of(dataset.table.written()[0])
    is_inside = np.ones(len(coords[0]), np.bool_)
    for coord, n in zip(coords[1:], present, strict=True):
        is_inside &= coord < n
    rows, n_stored = np.unique(coords[0][is_inside], return_counts=True)
    return StoredRows(rows, n_stored, math.prod(present))
