"""What references need to know about a file: its groups, its arrays, and where their chunks lie.

`read_tree` describes a file that was just written, from the tree of its writer: it reads nothing and copies no column.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.model.chunk_grid import ChunkGrid
from streamh5.model.chunk_map import ChunkMap
from streamh5.model.reference import Reference
from streamh5.model.tree import DatasetNode, GroupNode, walk

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
    fillvalue
        ``()`` array; None for the default, zero.
    attributes
        Values as h5py returns them.
    scales
        Path of the dimension scale of each axis (DIMENSION_LIST); None for an axis without one.
    chunk_map
        Stored chunks of the current shape, numbered in its own grid; data without chunks is a single one. None if
        nothing is stored.
    content
        Raw bytes of strings, as numcodecs encodes them, and of compact data whose address is unknown; None for all
        other data.
    problem
        Why no reference to its bytes is possible, whatever the format; None if there is no obstacle.
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
        """Last component of the path."""
        return self.path.rpartition("/")[2]


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


def read_tree(root: GroupNode, path: str) -> StoredFile:
    """Describe the file at `path` from the tree of its writer."""
    file = StoredFile(path)
    for node in walk(root):
        # in the order in which readers list them: by name, unless the order of creation is tracked
        names = node.attributes if node.track_order else sorted(node.attributes)
        attributes = {name: node.attributes[name].value for name in names}
        if isinstance(node, GroupNode):
            file.groups[node.path] = attributes
        elif isinstance(node, DatasetNode):
            file.arrays.append(_array(node, attributes))
    return file


def _array(node: DatasetNode, attributes: dict[str, Any]) -> StoredArray:
    spec = node.spec
    chunk_map = None
    if spec.chunks is not None:
        chunk_map = node.chunk_map.present()
    elif node.data_address is not None and node.shape is not None and not spec.is_encoded:
        chunk_map = single_chunk(node.shape, node.data_address, spec.value_nbytes)
    return StoredArray(
        path=spec.path,
        shape=node.shape,
        dtype=spec.dtype,
        chunks=spec.chunks,
        filters=spec.filters,
        fillvalue=spec.fillvalue,
        attributes=attributes,
        scales=_scales(attributes.get("DIMENSION_LIST")),
        chunk_map=chunk_map,
    )


def _scales(dimension_list: Any) -> tuple[str | None, ...]:
    if not isinstance(dimension_list, (list, tuple)):
        return ()
    lasts = (item[-1] if isinstance(item, (list, tuple)) and item else None for item in dimension_list)
    return tuple(last.path if isinstance(last, Reference) else None for last in lasts)
