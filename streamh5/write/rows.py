"""Rows of chunks, along the leading dimension, that are stored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.model.tree import DatasetNode


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


def stored_rows(dataset: DatasetNode, *, is_complete: bool = True) -> StoredRows:
    """Count the stored chunks of each row of chunks; the dataset must have chunks.

    Chunks are numbered over the maximum shape. Those outside the present shape, in any but the leading dimension,
    are not counted.

    Parameters
    ----------
    dataset
        The dataset.
    is_complete
        Count only chunks of which no element is still to be written.
    """
    grid = dataset.spec.grid
    present = grid.present.counts[1:]
    numbers = dataset.table.written()[0]
    if is_complete and dataset.incomplete:
        numbers = np.setdiff1d(numbers, [grid.number(coords) for coords in dataset.incomplete])
    coords = grid.coords_of(numbers)
    is_inside = np.ones(len(coords[0]), np.bool_)
    for coord, n in zip(coords[1:], present, strict=True):
        is_inside &= coord < n
    rows, n_stored = np.unique(coords[0][is_inside], return_counts=True)
    return StoredRows(rows, n_stored, math.prod(present))
