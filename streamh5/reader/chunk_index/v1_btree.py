"""Version 1 B-tree of chunks from bytes (specification III.A.1, type 1). Its nodes have no checksum."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.chunk_index.element import ChunkColumns
from streamh5.format.chunk_index.v1_btree import MAX_CHILDREN, V1BTree
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.chunk_index.chunk_map import ChunkFrame, ChunkMap, chunk_map, grid_numbers
from streamh5.reader.fields import Fields
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.data_layout import ChunkedLayoutV3
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["read_v1_btree"]

_CHUNK_NODE_TYPE = 1
_MAX_LEVEL = 32
_STRUCTURE = "version 1 B-tree node"


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """A node: ``(n_children,)`` keys and addresses of children, the key that ends it, and its neighbours."""

    level: int
    left: int
    right: int
    keys: NDArray[np.void]
    last_offset: NDArray[np.uint64]
    children: NDArray[np.uint64]


def read_v1_btree(file: FileBytes, file_map: FileMap, frame: ChunkFrame, layout: ChunkedLayoutV3) -> ChunkMap:
    """Read the chunks of a version 1 B-tree, level by level.

    Raises
    ------
    FormatError
        A field is wrong, neighbours do not point to each other, keys are not in order, or a chunk is outside
        the shape.
    """
    addresses = [layout.address]
    above: NDArray[np.void] | None = None
    level: int | None = None
    while True:
        nodes = [_read_node(file, file_map, frame, address, level) for address in addresses]
        _check_neighbours(nodes, addresses)
        keys = np.concatenate([node.keys for node in nodes])
        firsts = np.array([node.keys["offset"][0] for node in nodes])
        if above is not None and not np.array_equal(firsts, above["offset"]):
            raise FormatError(f"{_STRUCTURE}: the first key of a node is another one than above it")
        children = np.concatenate([node.children for node in nodes])
        if nodes[0].level == 0:
            break
        level, above, addresses = nodes[0].level - 1, keys, children.tolist()
    offsets = keys["offset"].astype(np.uint64)
    sizes = np.array((*frame.chunks, frame.element_nbytes), np.uint64)
    if (offsets % sizes).any() or offsets[:, -1].any():
        raise FormatError(f"{_STRUCTURE}: the offset of a chunk is no multiple of the chunk shape")
    if not children.all():
        raise FormatError(f"{_STRUCTURE}: a chunk at address 0, where the superblock is")
    scaled = list((offsets[:, :-1] // sizes[:-1]).T)
    numbers = grid_numbers(frame, scaled, _STRUCTURE)
    if (numbers[1:] <= numbers[:-1]).any():
        raise FormatError(f"{_STRUCTURE}: its keys are not in order")
    columns = ChunkColumns(children, keys["nbytes"].astype(np.uint64), keys["filter_mask"].astype(np.uint32))
    return chunk_map(frame, numbers, columns, file_nbytes=file.nbytes)


def _read_node(
    file: FileBytes, file_map: FileMap, frame: ChunkFrame, address: int, level: int | None
) -> _Node:
    nbytes = V1BTree(1, frame.chunks, frame.element_nbytes).node_size
    file.check_range(address, nbytes, _STRUCTURE)
    file_map.claim(Kind.INDEX, frame.owner, address, nbytes)
    fields = Fields(file.read(address, nbytes, _STRUCTURE), _STRUCTURE)
    fields.expect_signature(b"TREE")
    fields.expect(_CHUNK_NODE_TYPE, 1, "node type")
    found_level = fields.uint(1, "node level")
    n_children = fields.uint(2, "entries used")
    left, right = fields.address("left sibling"), fields.address("right sibling")
    if found_level != (found_level if level is None else level) or found_level > _MAX_LEVEL:
        raise fields.error(f"node level is {found_level}, where {level} must be")
    if not 1 <= n_children <= MAX_CHILDREN:
        raise fields.error(f"{n_children} entries are used, where 1 to {MAX_CHILDREN} can be")
    key = [("nbytes", "<u4"), ("filter_mask", "<u4"), ("offset", "<u8", (len(frame.chunks) + 1,))]
    entry = np.dtype([("key", key), ("child", "<u8")])
    entries = np.frombuffer(fields.take(n_children * entry.itemsize, "entries"), entry)
    last_key = np.frombuffer(fields.take(np.dtype(key).itemsize, "last key"), key)
    last_offset = last_key["offset"][0].astype(np.uint64)
    sizes = np.array((*frame.chunks, frame.element_nbytes), np.uint64)
    if (last_offset % sizes).any() or tuple(last_offset) <= tuple(entries["key"]["offset"][-1]):
        raise fields.error("its last key is no multiple of the chunk shape, or not behind the others")
    return _Node(found_level, left, right, entries["key"], last_offset, entries["child"].astype(np.uint64))


def _check_neighbours(nodes: list[_Node], addresses: list[int]) -> None:
    """Check that nodes of one level point to each other, and end before the next begins."""
    lefts = [UNDEFINED_ADDRESS, *addresses[:-1]]
    rights = [*addresses[1:], UNDEFINED_ADDRESS]
    for node, left, right in zip(nodes, lefts, rights, strict=True):
        if (node.left, node.right) != (left, right):
            raise FormatError(
                f"{_STRUCTURE}: its siblings are {node.left:,} and {node.right:,}, not {left:,} and {right:,}"
            )
    for node, following in pairwise(nodes):
        if tuple(node.last_offset) != tuple(following.keys["offset"][0]):
            raise FormatError(f"{_STRUCTURE}: its last key is not the first of the next node")
    # H5D__btree_new_node: one more than the last chunk along all dimensions, that of the element included.
    if not nodes[-1].last_offset[-1]:
        raise FormatError(f"{_STRUCTURE}: the last key of the level is the key of a chunk")
