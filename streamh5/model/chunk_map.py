"""Where the chunks of a dataset are stored: the same value for a file that is read and one that is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.model.chunk_grid import ChunkGrid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.chunk_index.element import ChunkColumns


@dataclass(frozen=True, slots=True, eq=False)
class ChunkMap:
    """The stored chunks of a dataset as columns, ``(n,)`` each; chunks that were never written have no row.

    Columns may be views of those of a chunk table or an index, or constants without memory (`numpy.broadcast_to`): they
    must not be changed.

    Attributes
    ----------
    grid
        The grid that numbers the chunks.
    numbers
        ``int64``: row-major in ``grid.counts``, in any order.
    addresses
        ``uint64``.
    stored_nbytes
        Unsigned.
    filter_masks
        ``uint32``; bit i is set if filter i was skipped.
    """

    grid: ChunkGrid
    numbers: NDArray[np.int64]
    addresses: NDArray[np.uint64]
    stored_nbytes: NDArray[Any]
    filter_masks: NDArray[np.uint32]

    @classmethod
    def of(cls, grid: ChunkGrid, numbers: NDArray[Any], columns: ChunkColumns, chunk_nbytes: int) -> ChunkMap:
        """Return the map of written chunks from the columns of an index or a table, ``(n,)`` each.

        `chunk_nbytes` is the stored size if the columns have none, as without filters.
        """
        stored, masks = columns.stored_nbytes, columns.filter_masks
        if stored is None:
            stored = np.broadcast_to(np.uint64(chunk_nbytes), len(numbers))
        if masks is None:
            masks = np.broadcast_to(np.uint32(0), len(numbers))
        return cls(grid, numbers, columns.addresses, stored, masks)

    @classmethod
    def at(cls, grid: ChunkGrid, origins: NDArray[np.uint64], columns: ChunkColumns) -> ChunkMap:
        """Return the map of chunks with the first elements `origins`, ``(n, rank)``, without those outside the grid."""
        numbers, is_inside = grid.locate((origins // np.array(grid.chunks, np.uint64)).T)
        return cls.of(grid, numbers, columns, 0).take(is_inside)  # these columns always have stored sizes

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: NDArray[Any]) -> ChunkMap:
        """Return a map with some of the rows, given by their indices or as ``(n,) bool``."""
        if rows.dtype == np.bool_ and rows.all():
            return self
        return ChunkMap(
            self.grid,
            self.numbers[rows],
            self.addresses[rows],
            self.stored_nbytes[rows],
            self.filter_masks[rows],
        )

    def coords_at(self, row: int) -> tuple[int, ...]:
        """Return the coords of one chunk."""
        return self.grid.coords(int(self.numbers[row]))

    def origin_at(self, row: int) -> tuple[int, ...]:
        """Return the first element of one chunk."""
        return self.grid.origin(int(self.numbers[row]))

    def coords(self) -> NDArray[np.intp]:
        """Return the coords of all chunks: ``(n, rank)``."""
        return np.stack(self.grid.coords_of(self.numbers), axis=1)

    def origins(self) -> NDArray[np.intp]:
        """Return the first elements of all chunks: ``(n, rank)``."""
        return self.coords() * np.array(self.grid.chunks, np.intp)

    def is_present(self) -> NDArray[np.bool_]:
        """Return whether each chunk is inside the present shape.

        Other chunks were allocated in advance, or remain from a larger shape.
        """
        present = self.grid.present
        if present.counts == self.grid.counts:
            return np.ones(len(self), np.bool_)
        return present.locate(self.grid.coords_of(self.numbers))[1]

    def present(self) -> ChunkMap:
        """Return the chunks of the present shape, numbered in its own grid."""
        grid, present = self.grid, self.grid.present
        if grid.counts[1:] != present.counts[1:]:
            numbers, is_inside = present.locate(grid.coords_of(self.numbers))
        else:  # both grids have the same numbers, and only rows after the last one are outside
            numbers, is_inside = self.numbers, self.numbers < (present.n_chunks or 0)
        found = ChunkMap(present, numbers, self.addresses, self.stored_nbytes, self.filter_masks)
        return found.take(is_inside)
