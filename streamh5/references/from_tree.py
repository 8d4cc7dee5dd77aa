"""The tree of a file that was just written, as `StoredFile`: nothing is read, columns are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.model.reference import Reference
from streamh5.model.tree import DatasetNode, GroupNode, walk
from streamh5.references.stored_data import whole_data
from streamh5.references.stored_file import StoredArray, StoredFile

if TYPE_CHECKING:
    from streamh5.model.chunk_map import ChunkMap
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
        chunk_map=_chunk_map(node),
    )


def _chunk_map(node: DatasetNode) -> ChunkMap | None:
    spec = node.spec
    if spec.chunks is not None:
        return node.chunk_map.present()
    if node.data_address is None or node.shape is None or spec.is_encoded:
        return None
    return whole_data(node.shape, node.data_address, spec.value_nbytes)


def _scales(dimension_list: Any) -> tuple[str | None, ...]:
    if not isinstance(dimension_list, (list, tuple)):
        return ()
    firsts = (item[-1] if isinstance(item, (list, tuple)) and item else None for item in dimension_list)
    return tuple(first.path if isinstance(first, Reference) else None for first in firsts)
