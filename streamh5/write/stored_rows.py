"""Which rows of chunks of a dataset are stored, whole or in part."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.model.tree import DatasetNode

__all__ = ["StoredRows", "stored_rows"]


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
