"""Rows that `append` has taken and that fill no whole row of chunks yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["RowBuffer"]


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
