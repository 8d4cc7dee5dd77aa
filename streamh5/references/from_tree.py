"""The tree of a file that was just written, as `StoredFile`: nothing is read, columns are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.model.reference import Reference
from streamh5.model.tree import DatasetNode, GroupNode, walk
from streamh5.references.stored_file import ChunkColumns, StoredArray, StoredFile

if TYPE_CHECKING:
    from streamh5.model.tree import Node

__all__ = ["read_tree"]


def read_tree(root: GroupNode, path: str) -> StoredFile:
    """Describe a file from its tree; `path` is where it is."""
    nodes: list[Node] = [*walk(root)]
    file = StoredFile(path)
    for node in nodes:
        # as readers list them: by name, where the order of creation is not tracked
        names = node.attributes if node.track_order else sorted(node.attributes)
        attributes = {name: node.attributes[name].value for name in names}
        if isinstance(node, GroupNode):
            file.groups[node.path] = attributes
        elif isinstance(node, DatasetNode):
            file.arrays.append(_array(node, attributes))
    return file


def _array(node: DatasetNode, attributes: dict[str, Any]) -> StoredArray:
    spec = node.spec
    return StoredArray(
        path=spec.path,
        shape=node.shape,
        dtype=spec.dtype,
        chunks=spec.chunks,
        filters=spec.filters,
        fillvalue=spec.fillvalue,
        attributes=attributes,
        scales=_scales(attributes.get("DIMENSION_LIST")),
        columns=_chunked(node) if spec.chunks is not None else _whole(node),
    )


def _is_whole(node: DatasetNode) -> bool:
    return node.spec.chunks is None and node.shape is not None and not node.spec.is_encoded


def _whole(node: DatasetNode) -> ChunkColumns:
    """Return data without chunks as one chunk."""
    n = 0 if node.data_address is None or not _is_whole(node) else 1
    address = np.full(n, node.data_address or 0, np.uint64)
    return ChunkColumns(np.zeros(n, np.int64), address, np.full(n, node.spec.value_nbytes, np.uint64), None)


def _chunked(node: DatasetNode) -> ChunkColumns:
    n_numbers = node.n_numbers
    if node.chunk_region is not None:  # an Implicit index has every chunk, written or not
        numbers = np.arange(n_numbers)
        step = np.uint64(node.spec.chunk_nbytes)
        addresses = np.uint64(node.chunk_region.address) + numbers.astype(np.uint64) * step
        stored_nbytes = masks = None
    else:
        numbers, (addresses, stored_nbytes, masks) = node.table.written(n_numbers)
    sizes: Any = stored_nbytes
    if stored_nbytes is None:
        sizes = np.broadcast_to(np.uint64(node.spec.chunk_nbytes), len(numbers))
    counts, present = node.grid.counts, node.grid.present_counts
    if len(numbers) and counts[1:] != present[1:]:
        # numbered over the maximum shape
        numbers = np.ravel_multi_index(np.unravel_index(numbers, counts), present)
    return ChunkColumns(numbers.astype(np.int64, copy=False), addresses, sizes, masks)


def _scales(dimension_list: Any) -> tuple[str | None, ...]:
    if not isinstance(dimension_list, (list, tuple)):
        return ()
    firsts = (item[-1] if isinstance(item, (list, tuple)) and item else None for item in dimension_list)
    return tuple(first.path if isinstance(first, Reference) else None for first in firsts)
