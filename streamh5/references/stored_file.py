"""What references need to know about a file: its groups, its arrays, and where their chunks lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.model.chunk_grid import ChunkGrid
from streamh5.model.chunk_map import ChunkMap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamh5.format.filter_pipeline import FilterRecord


@dataclass(frozen=True, slots=True, eq=False)
class StoredArray:
    """A dataset.

    Attributes
    ----------
    path
        Path in the file.
    shape
        None for a null dataspace.
    dtype
        Type of the stored elements; h5py's metadata marks strings of variable length.
    chunks
        Chunk shape; None for data without chunks.
    filters
        Filters in the order in which the writer applied them.
    fill
        Fill value as a stored element; None or empty for the default, zero.
    attributes
        Values as h5py returns them.
    scales
        Path of the dimension scale of each axis (DIMENSION_LIST); None for an axis without one.
    problem
        Why no reference to its bytes is possible, whatever the format; None if there is no obstacle.
    data
        Stored chunks of the current shape, numbered in its own grid; data without chunks is a single one. Or the raw
        bytes of strings, as numcodecs encodes them, and of compact data whose address is unknown. None if nothing is
        stored. See `with_data`.
    """

    path: str
    shape: tuple[int, ...] | None
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None
    filters: tuple[FilterRecord, ...]
    fill: bytes | None
    attributes: Mapping[str, Any]
    scales: tuple[str | None, ...] = ()
    problem: str | None = None
    data: ChunkMap | bytes | None = None

    @property
    def name(self) -> str:
        """Last component of the path."""
        return self.path.rpartition("/")[2]

    @property
    def fillvalue(self) -> np.ndarray[Any, Any] | None:
        """The fill value as a ``()`` array; None for zero, and for elements that zarr fills in another way."""
        if not self.fill or self.dtype.hasobject or self.dtype.subdtype is not None:
            return None
        return np.frombuffer(self.fill, self.dtype, 1).reshape(())


@dataclass(frozen=True, slots=True, eq=False)
class StoredFile:
    """A file.

    Attributes
    ----------
    path
        Path of the file.
    groups
        Attributes of every group by path, including the root group.
    arrays
        The datasets.
    """

    path: str
    groups: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    arrays: list[StoredArray] = field(default_factory=list)


def single_chunk(shape: tuple[int, ...], address: int, nbytes: int) -> ChunkMap:
    """Return the map of data without chunks: a single one at `address`."""
    return ChunkMap(
        ChunkGrid(shape, tuple(max(1, n) for n in shape)),
        np.zeros(1, np.int64),
        np.array([address], np.uint64),
        np.array([nbytes], np.uint64),
        np.zeros(1, np.uint32),
    )
