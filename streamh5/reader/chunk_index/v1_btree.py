"""Version 1 B-tree of chunks (specification III.A.1, type 1), which is read level by level.

Its nodes have no checksum: the order of keys and the pointers between neighbours are checked instead.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.chunk_index.element import ChunkColumns
from streamh5.format.chunk_index.v1_btree import (
    NODE,
    V1BTreeNode,
    decode_v1_btree_node,
    sizeof_v1_btree_node,
)
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.chunk_index.chunk_frame import ChunkFrame, grid_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.data_layout import V1BTreeIndex
    from streamh5.reader.file_map import StructureReader


def read_v1_btree(
    reader: StructureReader, frame: ChunkFrame, index: V1BTreeIndex
) -> tuple[NDArray[np.int64], ChunkColumns]:
    """Read the chunks of a version 1 B-tree: their numbers in `frame.grid`, and where they are stored.

    Raises
    ------
    FormatError
        A field is wrong, neighbours do not refer to each other, keys are not in order, or a chunk is outside the grid.
    """
    addresses = [index.address]
    above: NDArray[np.void] | None = None
    level: int | None = None
    while True:
        nodes = [_read_node(reader, frame, address, level) for address in addresses]
        keys = np.concatenate([node.keys for node in nodes])
        children = np.concatenate([node.children for node in nodes])
        if not len(keys):
            break
        _check_neighbours(nodes, addresses)
        if above is not None:
            _check_below(nodes, above)
        if nodes[0].level == 0:
            break
        level, above, addresses = nodes[0].level - 1, keys, children.tolist()
    offsets = keys["offset"].astype(np.uint64)
    if offsets[:, -1].any():
        raise FormatError(f"{NODE}: the offset of a chunk is inside an element")
    if not children.all():
        raise FormatError(f"{NODE}: a chunk at address 0, where the superblock is")
    numbers = grid_numbers(frame, list((offsets[:, :-1] // np.array(frame.chunks, np.uint64)).T), NODE)
    if (numbers[1:] <= numbers[:-1]).any():
        raise FormatError(f"{NODE}: its keys are not in order")
    columns = ChunkColumns(children, keys["nbytes"].astype(np.uint64), keys["filter_mask"].astype(np.uint32))
    return numbers, columns


def _read_node(reader: StructureReader, frame: ChunkFrame, address: int, level: int | None) -> V1BTreeNode:
    nbytes = sizeof_v1_btree_node(len(frame.chunks), reader.encoding)
    block = reader.read(address, nbytes, NODE)
    return decode_v1_btree_node(block, frame.chunks, frame.layout.element_nbytes, level, reader.encoding)


def _check_neighbours(nodes: list[V1BTreeNode], addresses: list[int]) -> None:
    """Check that the nodes of one level refer to their neighbours, and that each ends before the next begins."""
    lefts = [UNDEFINED_ADDRESS, *addresses[:-1]]
    rights = [*addresses[1:], UNDEFINED_ADDRESS]
    for node, left, right in zip(nodes, lefts, rights, strict=True):
        if (node.left, node.right) != (left, right):
            raise FormatError(
                f"{NODE}: its siblings are {node.left:,} and {node.right:,} instead of {left:,} and {right:,}"
            )
    for node, following in pairwise(nodes):
        if tuple(node.last_offset) > tuple(following.keys["offset"][0]):
            raise FormatError(f"{NODE}: its last key is greater than the first key of the next node")
    # The last key is not that of a chunk (H5D__btree_new_node), unless chunks were removed; then nothing follows it.
    if nodes[-1].has_rest and not nodes[-1].last_offset[-1]:
        raise FormatError(f"{NODE}: chunks follow after the last entry in use")


def _check_below(nodes: list[V1BTreeNode], above: NDArray[np.void]) -> None:
    """Check that a search from the root finds the chunks of each node (H5B_find)."""
    for node, key in zip(nodes, above["offset"], strict=True):
        if tuple(key) > tuple(node.keys["offset"][0]):
            raise FormatError(
                f"{NODE}: the first key of a node is less than the key of the node in its parent"
            )
    for node, key in zip(nodes, above["offset"][1:], strict=False):
        if tuple(key) <= tuple(node.keys["offset"][-1]):
            raise FormatError(f"{NODE}: the last chunk of a node is not before the next key in its parent")
