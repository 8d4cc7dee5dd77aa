"""Where the chunks of one array lie, as numpy columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ChunkManifest"]


@dataclass(frozen=True, slots=True, eq=False)
class ChunkManifest:
    """The stored chunks of one array; those that are missing read as the fill value.

    The columns may be those of the write itself: they are not to be changed.

    Attributes
    ----------
    url
        The file that holds the chunks.
    grid
        Chunks along each dimension; ``()`` for a scalar.
    numbers
        ``(n,) int64``: row-major in `grid`.
    offsets
        ``(n,) uint64``: address of each chunk in the file.
    lengths
        ``(n,)``, unsigned: stored bytes of each chunk.
    """

    url: str
    grid: tuple[int, ...]
    numbers: NDArray[np.int64]
    offsets: NDArray[np.uint64]
    lengths: NDArray[Any]

    def __len__(self) -> int:
        return len(self.numbers)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dicts, lists and numbers, for JSON."""
        return {
            "url": self.url,
            "grid": list(self.grid),
            "numbers": self.numbers.tolist(),
            "offsets": self.offsets.tolist(),
            "lengths": self.lengths.tolist(),
        }

    @property
    def n_missing(self) -> int:
        """Chunks of the grid that are not stored."""
        return math.prod(self.grid) - len(self)

    @property
    def paths(self) -> NDArray[Any]:
        """`url` for every stored chunk: ``(n,)``, one string that all rows share."""
        return np.broadcast_to(np.array(self.url, object), len(self))

    def coords(self) -> tuple[NDArray[np.int64], ...]:
        """Place of each chunk in the grid: ``(n,) int64`` for each dimension."""
        if not len(self):
            return tuple(self.numbers for _ in self.grid)
        return tuple(np.unravel_index(self.numbers, self.grid)) if self.grid else ()

    def dense(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Offsets and lengths of all chunks of the grid, in its shape; both are 0 for a missing one."""
        offsets, lengths = np.zeros(self.grid, np.uint64), np.zeros(self.grid, np.uint64)
        offsets.reshape(-1)[self.numbers] = self.offsets
        lengths.reshape(-1)[self.numbers] = self.lengths
        return offsets, lengths
