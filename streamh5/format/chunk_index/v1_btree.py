"""Version 1 B-tree of chunks: the only index that HDF5 before 1.10 reads (specification III.A.1, type 1).

Nodes are full but for the last of each level. They stand level by level, leaves first, the root last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import LimitError
from streamh5.format.primitives import MAX_CHUNK_NBYTES, SIZEOF_ADDRESS, UNDEFINED_ADDRESS

MAX_CHILDREN = 64
"""Twice the rank of the tree that readers assume without another word in the superblock (K = 32)."""

_NODE_PREFIX = np.dtype(
    [
        ("signature", "S4"),
        ("type", "u1"),
        ("level", "u1"),
        ("n_children", "<u2"),
        ("left", "<u8"),
        ("right", "<u8"),
    ]
)
_CHUNK_NODE_TYPE = 1


@dataclass(frozen=True, slots=True)
class V1BTree:
    """The sizes of a tree of chunks.

    Parameters
    ----------
    n_chunks
        Written chunks, at least 1: a dataset without any has the undefined address in place of a tree.
    chunks
        Shape of a chunk.
    element_nbytes
        Size of the datatype.
    """

    n_chunks: int
    chunks: tuple[int, ...]
    element_nbytes: int

    @property
    def sizeof_key(self) -> int:
        """Bytes of a key: stored size, filter mask, offsets of the chunk and one more of 0."""
        return 4 + 4 + 8 * (len(self.chunks) + 1)

    @property
    def node_size(self) -> int:
        """Bytes of a node."""
        entries = MAX_CHILDREN * (self.sizeof_key + SIZEOF_ADDRESS)
        return _NODE_PREFIX.itemsize + entries + self.sizeof_key

    @property
    def n_nodes(self) -> tuple[int, ...]:
        """Nodes of every level, leaves first."""
        levels = [-(-self.n_chunks // MAX_CHILDREN)]
        while levels[-1] > 1:
            levels.append(-(-levels[-1] // MAX_CHILDREN))
        return tuple(levels)

    @property
    def sizeof_nodes(self) -> int:
        """Bytes of all nodes."""
        return sum(self.n_nodes) * self.node_size

    @property
    def root_position(self) -> int:
        """Where the root stands among the nodes' bytes."""
        return self.sizeof_nodes - self.node_size


def encode_v1_btree_nodes(
    tree: V1BTree,
    nodes_address: int,
    chunk_numbers: NDArray[np.unsignedinteger],
    grid: tuple[int, ...],
    *,
    addresses: NDArray[np.uint64],
    stored_nbytes: NDArray[np.unsignedinteger] | None = None,
    filter_masks: NDArray[np.uint32] | None = None,
) -> Iterator[bytes]:
    """Encode all nodes, one piece a level.

    Parameters
    ----------
    tree, nodes_address
        Sizes, and where the nodes are to stand.
    chunk_numbers
        ``(n_chunks,)`` unsigned integers, ascending: row-major numbers in `grid` of the written chunks.
    grid
        Chunks along each dimension.
    addresses
        ``(n_chunks,) uint64``, none of them 0.
    stored_nbytes
        ``(n_chunks,) uint32`` or ``uint64``; None without filters.
    filter_masks
        ``(n_chunks,) uint32``; None for all zero.

    Raises
    ------
    LimitError
        A stored size does not fit 4 bytes.
    """
    if stored_nbytes is not None and int(stored_nbytes.max(initial=0)) > MAX_CHUNK_NBYTES:
        raise LimitError(
            f"a chunk of {int(stored_nbytes.max())} bytes after filters; a version 1 B-tree holds sizes up "
            f"to {MAX_CHUNK_NBYTES}: choose smaller chunks",
            stored_nbytes=int(stored_nbytes.max()),
            limit=MAX_CHUNK_NBYTES,
        )
    keys = _keys(tree, chunk_numbers, grid, stored_nbytes, filter_masks)
    children = addresses
    level_address = nodes_address
    for level, n_nodes in enumerate(tree.n_nodes):
        yield _encode_level(tree, level, level_address, keys, children)
        children = np.uint64(level_address) + np.arange(n_nodes, dtype=np.uint64) * np.uint64(tree.node_size)
        keys = np.concatenate([keys[:-1:MAX_CHILDREN], keys[-1:]])
        level_address += n_nodes * tree.node_size


def _keys(
    tree: V1BTree,
    chunk_numbers: NDArray[np.unsignedinteger],
    grid: tuple[int, ...],
    stored_nbytes: NDArray[np.unsignedinteger] | None,
    filter_masks: NDArray[np.uint32] | None,
) -> NDArray[np.void]:
    """Return one key for each chunk and a last one that sorts after them.

    Each offset of the last must be a multiple of the chunk's size, or of the element's size behind the
    dimensions (H5D__btree_decode_key).
    """
    rank = len(tree.chunks)
    dtype = np.dtype([("nbytes", "<u4"), ("filter_mask", "<u4"), ("offset", "<u8", (rank + 1,))])
    keys = np.zeros(len(chunk_numbers) + 1, dtype)
    nbytes = int(np.prod(tree.chunks)) * tree.element_nbytes
    keys["nbytes"][:-1] = nbytes if stored_nbytes is None else stored_nbytes
    if filter_masks is not None:
        keys["filter_mask"][:-1] = filter_masks
    for dimension, scaled in enumerate(np.unravel_index(chunk_numbers.astype(np.intp), grid)):
        keys["offset"][:-1, dimension] = scaled * tree.chunks[dimension]
    keys["offset"][-1] = keys["offset"][-2] + np.array((*tree.chunks, tree.element_nbytes), np.uint64)
    return keys


def _encode_level(
    tree: V1BTree, level: int, level_address: int, keys: NDArray[np.void], children: NDArray[np.uint64]
) -> bytes:
    """Encode the nodes of one level; `keys` has one more element than `children`."""
    n_nodes = tree.n_nodes[level]
    entry = np.dtype([("key", keys.dtype), ("child", "<u8")])
    node = np.dtype([("prefix", _NODE_PREFIX), ("entries", entry, (MAX_CHILDREN,)), ("last_key", keys.dtype)])
    nodes = np.zeros(n_nodes, node)
    own_addresses = np.uint64(level_address) + np.arange(n_nodes, dtype=np.uint64) * np.uint64(tree.node_size)
    n_last = len(children) - (n_nodes - 1) * MAX_CHILDREN
    prefix = nodes["prefix"]
    prefix["signature"] = b"TREE"
    prefix["type"] = _CHUNK_NODE_TYPE
    prefix["level"] = level
    prefix["n_children"] = MAX_CHILDREN
    prefix["n_children"][-1] = n_last
    prefix["left"] = np.append(np.uint64(UNDEFINED_ADDRESS), own_addresses[:-1])
    prefix["right"] = np.append(own_addresses[1:], np.uint64(UNDEFINED_ADDRESS))
    filled = np.zeros(n_nodes * MAX_CHILDREN, entry)
    filled["key"][: len(children)] = keys[:-1]
    filled["child"][: len(children)] = children
    nodes["entries"] = filled.reshape(n_nodes, MAX_CHILDREN)
    nodes["last_key"][:-1] = keys[MAX_CHILDREN:-1:MAX_CHILDREN]
    if n_last == MAX_CHILDREN:
        nodes["last_key"][-1] = keys[-1]
    else:
        nodes["entries"]["key"][-1, n_last] = keys[-1]
    return nodes.tobytes()
