"""Version 1 B-tree of chunks: the only index that HDF5 before 1.10 reads (specification III.A.1, type 1).

All nodes are full except for the last of each level. They are stored level by level, leaves first, the root last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import over_limit
from streamh5.format.chunk_index.element import ChunkColumns
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.primitives import MAX_CHUNK_NBYTES, SIZEOF_ADDRESS, UNDEFINED_ADDRESS
from streamh5.format.v1_btree import V1_BTREE_SIGNATURE, read_node_prefix

MAX_CHILDREN = 2 * ENCODING.chunk_k
"""Most children of a node: twice the K that readers assume unless the superblock has another (32)."""

NODE = "version 1 B-tree node"
_CHUNK_NODE_TYPE = 1


def _node_dtype(
    rank: int, n_most: int = MAX_CHILDREN, sizeof_address: int = SIZEOF_ADDRESS
) -> np.dtype[np.void]:
    """Return the dtype of a node: one more key than children, each child between two keys."""
    sibling = f"<u{sizeof_address}"
    prefix = [("signature", "S4"), ("type", "u1"), ("level", "u1"), ("n_children", "<u2"), ("left", sibling)]
    key = np.dtype([("nbytes", "<u4"), ("filter_mask", "<u4"), ("offset", "<u8", (rank + 1,))])
    entry = [("key", key), ("child", sibling)]
    return np.dtype([*prefix, ("right", sibling), ("entries", entry, (n_most,)), ("last_key", key)])


@dataclass(frozen=True, slots=True)
class V1BTree:
    """The sizes of a tree of chunks.

    Parameters
    ----------
    n_chunks
        Number of written chunks, at least 1: a dataset without any has the undefined address in place of a tree.
    chunks
        Shape of a chunk.
    element_nbytes
        Size of the datatype.
    """

    n_chunks: int
    chunks: tuple[int, ...]
    element_nbytes: int

    @property
    def node(self) -> np.dtype[np.void]:
        """The dtype of a node."""
        return _node_dtype(len(self.chunks))

    @property
    def node_size(self) -> int:
        """Size of a node in bytes."""
        return self.node.itemsize

    @property
    def n_nodes(self) -> tuple[int, ...]:
        """Number of nodes of every level, leaves first."""
        levels = [-(-self.n_chunks // MAX_CHILDREN)]
        while levels[-1] > 1:
            levels.append(-(-levels[-1] // MAX_CHILDREN))
        return tuple(levels)

    @property
    def sizeof_nodes(self) -> int:
        """Total size of the nodes in bytes."""
        return sum(self.n_nodes) * self.node_size

    @property
    def root_position(self) -> int:
        """Position of the root in the encoded nodes."""
        return self.sizeof_nodes - self.node_size


def encode_v1_btree_nodes(
    tree: V1BTree,
    nodes_address: int,
    chunk_numbers: NDArray[np.integer],
    grid: tuple[int, ...],
    columns: ChunkColumns,
) -> Iterator[bytes]:
    """Encode all nodes, one piece per level.

    Parameters
    ----------
    tree, nodes_address
        Sizes of the tree, and address of its first node.
    chunk_numbers
        ``(n_chunks,)`` integers, ascending: row-major numbers in `grid` of the written chunks.
    grid
        Chunks along each dimension.
    columns
        Columns of the written chunks, ``(n_chunks,)`` each.

    Raises
    ------
    LimitError
        A stored size does not fit 4 bytes.
    """
    largest = 0 if columns.stored_nbytes is None else int(columns.stored_nbytes.max(initial=0))
    if largest > MAX_CHUNK_NBYTES:
        subject, advice = f"a chunk of {largest} bytes after filters", ": choose smaller chunks"
        raise over_limit(subject, MAX_CHUNK_NBYTES, advice, stored_nbytes=largest)
    keys = _keys(tree, chunk_numbers, grid, columns)
    children = columns.addresses
    level_address = nodes_address
    for level, n_nodes in enumerate(tree.n_nodes):
        addresses = np.uint64(level_address) + np.arange(n_nodes, dtype=np.uint64) * np.uint64(tree.node_size)
        yield _encode_level(tree, level, addresses, keys, children)
        children = addresses
        keys = np.concatenate([keys[:-1:MAX_CHILDREN], keys[-1:]])
        level_address += n_nodes * tree.node_size


def _keys(
    tree: V1BTree,
    chunk_numbers: NDArray[np.integer],
    grid: tuple[int, ...],
    columns: ChunkColumns,
) -> NDArray[np.void]:
    """Return one key for each chunk and a last one that sorts after them.

    Each offset of the last key must be a multiple of the chunk's size, and the additional offset after the dimensions
    a multiple of the element's size (H5D__btree_decode_key).
    """
    keys = np.zeros(len(chunk_numbers) + 1, tree.node["last_key"])
    nbytes = int(np.prod(tree.chunks)) * tree.element_nbytes
    keys["nbytes"][:-1] = nbytes if columns.stored_nbytes is None else columns.stored_nbytes
    if columns.filter_masks is not None:
        keys["filter_mask"][:-1] = columns.filter_masks
    for dimension, scaled in enumerate(np.unravel_index(chunk_numbers.astype(np.intp), grid)):
        keys["offset"][:-1, dimension] = scaled * tree.chunks[dimension]
    keys["offset"][-1] = keys["offset"][-2] + np.array((*tree.chunks, tree.element_nbytes), np.uint64)
    return keys


def _encode_level(
    tree: V1BTree,
    level: int,
    addresses: NDArray[np.uint64],
    keys: NDArray[np.void],
    children: NDArray[np.uint64],
) -> bytes:
    """Encode the nodes of one level at `addresses`; `keys` has one more element than `children`."""
    n_nodes = tree.n_nodes[level]
    nodes = np.zeros(n_nodes, tree.node)
    n_last = len(children) - (n_nodes - 1) * MAX_CHILDREN
    nodes["signature"] = V1_BTREE_SIGNATURE
    nodes["type"] = _CHUNK_NODE_TYPE
    nodes["level"] = level
    nodes["n_children"] = MAX_CHILDREN
    nodes["n_children"][-1] = n_last
    nodes["left"] = np.append(np.uint64(UNDEFINED_ADDRESS), addresses[:-1])
    nodes["right"] = np.append(addresses[1:], np.uint64(UNDEFINED_ADDRESS))
    filled = np.zeros(n_nodes * MAX_CHILDREN, nodes["entries"].dtype)
    filled["key"][: len(children)] = keys[:-1]
    filled["child"][: len(children)] = children
    nodes["entries"] = filled.reshape(n_nodes, MAX_CHILDREN)
    nodes["last_key"][:-1] = keys[MAX_CHILDREN:-1:MAX_CHILDREN]
    if n_last == MAX_CHILDREN:
        nodes["last_key"][-1] = keys[-1]
    else:
        nodes["entries"]["key"][-1, n_last] = keys[-1]
    return nodes.tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class V1BTreeNode:
    """A node that was read: ``(n_children,)`` keys and addresses of children, and its siblings.

    `last_offset` is the offset of the key after the last child; `has_rest` tells whether nonzero bytes follow that key.
    """

    level: int
    left: int
    right: int
    keys: NDArray[np.void]
    last_offset: NDArray[np.uint64]
    children: NDArray[np.uint64]
    has_rest: bool


def sizeof_v1_btree_node(rank: int, encoding: Encoding = ENCODING) -> int:
    """Return the bytes of a node."""
    return _node_dtype(rank, 2 * encoding.chunk_k, encoding.sizeof_address).itemsize


def decode_v1_btree_node(
    block: bytes,
    chunks: tuple[int, ...],
    element_nbytes: int,
    level: int | None = None,
    encoding: Encoding = ENCODING,
) -> V1BTreeNode:
    """Decode a node of the tree of a dataset with these chunks; `level` is None for the root, which may be empty.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    n_most = 2 * encoding.chunk_k
    dtype = _node_dtype(len(chunks), n_most, encoding.sizeof_address)
    entry = dtype["entries"].base
    key = entry["key"]
    fields = Fields(block, NODE, encoding)
    found_level, n_children, left, right = read_node_prefix(fields, _CHUNK_NODE_TYPE, n_most)
    if level not in (None, found_level):
        raise fields.error(f"node level is {found_level}; it must be {level}")
    # When the library removes the last chunk of a tree, an empty root remains (H5B__remove_helper).
    if not n_children and (level is not None or found_level):
        raise fields.error("no entries are used")
    entries = np.frombuffer(fields.take(n_children * entry.itemsize, "entries"), entry)
    last_key = np.frombuffer(fields.take(key.itemsize, "last key"), key)
    has_rest = any(fields.take(fields.n_left, "unused entries"))
    last_offset = last_key["offset"][0].astype(np.uint64)
    if not n_children and has_rest:
        raise fields.error("no entries are used, but unused entries have content")
    sizes = np.array((*chunks, element_nbytes), np.uint64)
    if n_children and ((last_offset % sizes).any() or (entries["key"]["offset"] % sizes).any()):
        raise fields.error("the offset of a key is not a multiple of the chunk shape")
    if n_children and tuple(last_offset) <= tuple(entries["key"]["offset"][-1]):
        raise fields.error("its last key does not sort after the others")
    children = entries["child"].astype(np.uint64)
    return V1BTreeNode(found_level, left, right, entries["key"], last_offset, children, has_rest)
