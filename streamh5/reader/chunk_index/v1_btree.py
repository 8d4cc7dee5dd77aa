"""Version 1 B-tree of chunks from bytes (specification III.A.1, type 1). Its nodes have no checksum."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.chunk_index.element import ChunkColumns
from streamh5.format.fields import Fields
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.chunk_index.chunk_map import ChunkFrame, chunk_map, grid_numbers
from streamh5.reader.chunk_index.element import missing
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.data_layout import ChunkedLayoutV3
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["read_v1_btree"]

_CHUNK_NODE_TYPE = 1
_MAX_LEVEL = 32
_STRUCTURE = "version 1 B-tree node"


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """A node: ``(n_children,)`` keys and addresses of children, the key that ends it, and its neighbours.

    `has_rest` says whether there is anything behind the last key.
    """

    level: int
    left: int
    right: int
    keys: NDArray[np.void]
    last_offset: NDArray[np.uint64]
    children: NDArray[np.uint64]
    has_rest: bool


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
        if not len(nodes[0].keys):
            return chunk_map(frame, None, missing(filtered=True))
        _check_neighbours(nodes, addresses)
        keys = np.concatenate([node.keys for node in nodes])
        if above is not None:
            _check_below(nodes, above)
        children = np.concatenate([node.children for node in nodes])
        if nodes[0].level == 0:
            break
        level, above, addresses = nodes[0].level - 1, keys, children.tolist()
    offsets = keys["offset"].astype(np.uint64)
    sizes = np.array((*frame.chunks, frame.element_nbytes), np.uint64)
    if offsets[:, -1].any():
        raise FormatError(f"{_STRUCTURE}: the offset of a chunk is inside of an element")
    if not children.all():
        raise FormatError(f"{_STRUCTURE}: a chunk at address 0, where the superblock is")
    scaled = list((offsets[:, :-1] // sizes[:-1]).T)
    numbers = grid_numbers(frame, scaled, _STRUCTURE)
    if (numbers[1:] <= numbers[:-1]).any():
        raise FormatError(f"{_STRUCTURE}: its keys are not in order")
    columns = ChunkColumns(children, keys["nbytes"].astype(np.uint64), keys["filter_mask"].astype(np.uint32))
    return chunk_map(frame, numbers, columns)


def _read_node(
    file: FileBytes, file_map: FileMap, frame: ChunkFrame, address: int, level: int | None
) -> _Node:
    encoding = file.encoding
    n_most = 2 * encoding.chunk_k
    key = [("nbytes", "<u4"), ("filter_mask", "<u4"), ("offset", "<u8", (len(frame.chunks) + 1,))]
    sizeof_key = np.dtype(key).itemsize
    sizeof_prefix = 4 + 1 + 1 + 2 + 2 * encoding.sizeof_address
    nbytes = sizeof_prefix + n_most * (sizeof_key + encoding.sizeof_address) + sizeof_key
    file.check_range(address, nbytes, _STRUCTURE)
    file_map.claim(Kind.INDEX, frame.owner, address, nbytes)
    fields = Fields(file.read(address, nbytes, _STRUCTURE), _STRUCTURE, encoding)
    fields.expect_signature(b"TREE")
    fields.expect(_CHUNK_NODE_TYPE, 1, "node type")
    found_level = fields.uint(1, "node level")
    n_children = fields.uint(2, "entries used")
    left, right = fields.address("left sibling"), fields.address("right sibling")
    if found_level != (found_level if level is None else level) or found_level > _MAX_LEVEL:
        raise fields.error(f"node level is {found_level}, where {level} must be")
    # Of a tree whose last chunk was removed an empty root is left (H5B__remove_helper).
    if not (0 if level is None and found_level == 0 else 1) <= n_children <= n_most:
        raise fields.error(f"{n_children} entries are used, where 1 to {n_most} can be")
    if not n_children and any(fields.take(fields.n_left, "unused entries")[sizeof_key:]):
        raise fields.error("no entries are used, but there are some")
    if not n_children:
        nothing = np.zeros(0, np.dtype(key))
        return _Node(
            found_level, left, right, nothing, np.zeros(0, np.uint64), np.zeros(0, np.uint64), has_rest=False
        )
    entry = np.dtype([("key", key), ("child", f"<u{encoding.sizeof_address}")])
    entries = np.frombuffer(fields.take(n_children * entry.itemsize, "entries"), entry)
    last_key = np.frombuffer(fields.take(sizeof_key, "last key"), key)
    last_offset = last_key["offset"][0].astype(np.uint64)
    sizes = np.array((*frame.chunks, frame.element_nbytes), np.uint64)
    if (last_offset % sizes).any() or (entries["key"]["offset"] % sizes).any():
        raise fields.error("the offset of a key is no multiple of the chunk shape")
    if tuple(last_offset) <= tuple(entries["key"]["offset"][-1]):
        raise fields.error("its last key is not behind the others")
    children = entries["child"].astype(np.uint64)
    has_rest = any(fields.take(fields.n_left, "unused entries"))
    return _Node(found_level, left, right, entries["key"], last_offset, children, has_rest)


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
        if tuple(node.last_offset) > tuple(following.keys["offset"][0]):
            raise FormatError(f"{_STRUCTURE}: its last key is behind the first of the next node")
    # The last key is no chunk's (H5D__btree_new_node), unless chunks were removed, and then nothing is behind it.
    if nodes[-1].has_rest and not nodes[-1].last_offset[-1]:
        raise FormatError(f"{_STRUCTURE}: chunks stand behind those that are used")


def _check_below(nodes: list[_Node], above: NDArray[np.void]) -> None:
    """Check that a search from above comes to the chunks of every node (H5B_find)."""
    for node, key in zip(nodes, above["offset"], strict=True):
        if tuple(key) > tuple(node.keys["offset"][0]):
            raise FormatError(f"{_STRUCTURE}: the first key of a node is before the key above it")
    for node, key in zip(nodes, above["offset"][1:], strict=False):
        if tuple(key) <= tuple(node.keys["offset"][-1]):
            raise FormatError(f"{_STRUCTURE}: the last key of a node is behind the key above it")
