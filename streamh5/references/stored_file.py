"""What references need to know of a file: its groups, its arrays, and where their chunks lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from streamh5.format.filter_pipeline import FilterRecord
    from streamh5.model.chunk_map import ChunkMap

__all__ = ["StoredArray", "StoredFile"]


@dataclass(frozen=True, slots=True, eq=False)
class StoredArray:
    """A dataset.

    Attributes
    ----------
    path
        In the file.
    shape
        None for a null dataspace.
    dtype
        Of the elements as they are stored; h5py's metadata marks strings of variable length.
    chunks
        None for data without chunks.
    filters
        In the order of writing.
    fillvalue
        ``()`` array; None for the default, zero.
    attributes
        As h5py gives them.
    scales
        Path of the dimension scale of each axis (DIMENSION_LIST); None for an axis without.
    chunk_map
        Stored chunks of the present shape, numbered in its own grid; data without chunks is one. None where
        nothing is stored.
    content
        Raw bytes of compact data whose address is not known; None for other data.
    problem
        Why its bytes cannot be referred to, whatever the format; None where they can.
    """

    path: str
    shape: tuple[int, ...] | None
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None
    filters: tuple[FilterRecord, ...]
    fillvalue: np.ndarray[Any, Any] | None
    attributes: Mapping[str, Any]
    scales: tuple[str | None, ...]
    chunk_map: ChunkMap | None
    content: bytes | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """Last name of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True, eq=False)
class StoredFile:
    """A file.

    Attributes
    ----------
    path
        Where it is.
    groups
        Attributes of every group by path, the root group included.
    arrays
        Its datasets.
    """

    path: str
    groups: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    arrays: list[StoredArray] = field(default_factory=list)
