"""A file that was just written as `StoredFile`, from the tree of its writer: no column is copied.

Only strings of variable length are read from the file, with h5py: the tree does not keep them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.errors import ReferencesError
from streamh5.model.reference import Reference
from streamh5.model.tree import DatasetNode, GroupNode, walk
from streamh5.references.stored_data import VIRTUAL, with_data
from streamh5.references.stored_file import StoredArray, StoredFile, single_chunk

if TYPE_CHECKING:
    from streamh5.model.chunk_map import ChunkMap


def describe_tree(root: GroupNode, path: str) -> StoredFile:
    """Describe the file at `path` from the tree of its writer."""
    file = StoredFile(path)
    for node in walk(root):
        # in the order in which readers list them: by name, unless the order of creation is tracked
        names = node.attributes if node.track_order else sorted(node.attributes)
        attributes = {name: node.attributes[name].value for name in names}
        if isinstance(node, GroupNode):
            file.groups[node.path] = attributes
        elif isinstance(node, DatasetNode):
            file.arrays.append(_array(node, attributes, path))
    return file


def _array(node: DatasetNode, attributes: dict[str, Any], path: str) -> StoredArray:
    spec = node.spec
    array = StoredArray(
        spec.path,
        node.shape,
        spec.dtype,
        chunks=spec.chunks,
        filters=spec.filters,
        fill=None if spec.fillvalue is None else spec.fillvalue.tobytes(),
        attributes=attributes,
        scales=_scales(attributes.get("DIMENSION_LIST")),
        problem=None if node.mappings is None else VIRTUAL,
    )
    return with_data(array, lambda: _texts(path, spec.path), lambda: _data(node))


def _data(node: DatasetNode) -> ChunkMap | None:
    if node.spec.chunks is not None:
        return node.chunk_map.present()
    if node.data_address is None:
        return None
    return single_chunk(node.shape or (), node.data_address, node.spec.value_nbytes)


def _texts(path: str, name: str) -> Any:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return file[name].asstr()[()]
    except (OSError, TypeError) as error:
        raise ReferencesError(f"its strings cannot be read from the file: {error}") from error


def _scales(dimension_list: Any) -> tuple[str | None, ...]:
    if not isinstance(dimension_list, (list, tuple)):
        return ()
    lasts = (item[-1] if isinstance(item, (list, tuple)) and item else None for item in dimension_list)
    return tuple(last.path if isinstance(last, Reference) else None for last in lasts)
