"""Version 2 B-tree of any record type, loaded in bulk (specification III.A.2).

Records stand sorted, some of them in internal nodes between the children that they separate. The tree
has the least depth that holds them; each level shares its records evenly, so every node is at least half
full and the library can go on inserting. Nodes stand level by level, leaves first, the root last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import LimitError
from streamh5.format.checksum import SIZEOF_CHECKSUM, append_checksum, lookup3_rows
from streamh5.format.primitives import (
    SIZEOF_ADDRESS,
    UNDEFINED_ADDRESS,
    address,
    encoded_length,
    length,
    uint,
)

SIZEOF_V2_BTREE_HEADER = 38
_SIZEOF_NODE_PREFIX = 4 + 1 + 1
_SPLIT_PERCENT = 100
_MERGE_PERCENT = 40
_MAX_NODE_RECORDS = 65_535  # the header counts those of the root in 2 bytes
_MIN_NODE_RECORDS = 2  # or even shares would leave nodes empty
_MAX_POINTER_NBYTES = 3 * 8
_PIECE_NBYTES = 2 << 20  # as for the Fixed Array

RecordEncoder = Callable[[NDArray[np.intp]], NDArray[np.uint8]]
"""Given the positions ``(k,) intp`` of records, returns their bytes ``(k, record_nbytes) uint8``."""


class RecordType(IntEnum):
    """What the records of a tree are."""

    HUGE_OBJECT = 1
    LINK_NAME = 5
    LINK_CREATION_ORDER = 6
    ATTRIBUTE_NAME = 8
    ATTRIBUTE_CREATION_ORDER = 9
    UNFILTERED_CHUNK = 10
    FILTERED_CHUNK = 11


@dataclass(frozen=True, slots=True)
class V2BTree:
    """The sizes of a version 2 B-tree.

    Parameters
    ----------
    record_type, record_nbytes
        Kind and size of the records.
    n_records
        Their number; an empty tree has no nodes.
    node_size
        Bytes of every node; 512 for links and attributes, 2048 for chunks in the library.

    Raises
    ------
    LimitError
        A leaf would hold more than 65,535 records, or an internal node fewer than 2.
    """

    record_type: RecordType
    record_nbytes: int
    n_records: int
    node_size: int

    def __post_init__(self) -> None:
        space = self.node_size - _SIZEOF_NODE_PREFIX - SIZEOF_CHECKSUM
        n_most = space // self.record_nbytes
        n_least = (space - _MAX_POINTER_NBYTES) // (self.record_nbytes + _MAX_POINTER_NBYTES)
        if n_most > _MAX_NODE_RECORDS or n_least < _MIN_NODE_RECORDS:
            raise LimitError(
                f"B-tree nodes of {self.node_size} bytes for records of {self.record_nbytes}; a leaf may hold "
                f"{_MAX_NODE_RECORDS} records and an internal node must hold {_MIN_NODE_RECORDS}",
                node_size=self.node_size,
                record_nbytes=self.record_nbytes,
            )

    @property
    def depth(self) -> int:
        """Levels above the leaves."""
        return len(self._capacities(self.n_records)) - 1

    @property
    def n_nodes(self) -> int:
        """Nodes of all levels."""
        return sum(len(level.starts) for level in _levels(self))

    @property
    def sizeof_nodes(self) -> int:
        """Bytes of all nodes."""
        return self.n_nodes * self.node_size

    @property
    def n_records_width(self) -> int:
        """Width of a child's number of records."""
        return encoded_length(self._capacities(1)[0])

    def total_width(self, depth: int) -> int:
        """Return the width of a child's total number of records in nodes of `depth`; leaf parents have none."""
        if depth == 1:
            return 0
        return encoded_length(self._capacities_to_depth(depth - 1)[-1])

    def _capacities(self, n_records: int) -> list[int]:
        """Return the most records of a subtree of depth 0, 1 and on, until `n_records` fit."""
        depth = 0
        while (capacities := self._capacities_to_depth(depth))[-1] < n_records:
            depth += 1
        return capacities

    def _capacities_to_depth(self, depth: int) -> list[int]:
        space = self.node_size - _SIZEOF_NODE_PREFIX - SIZEOF_CHECKSUM
        capacities = [space // self.record_nbytes]
        for level in range(1, depth + 1):
            total_width = 0 if level == 1 else encoded_length(capacities[-1])
            pointer = SIZEOF_ADDRESS + encoded_length(capacities[0]) + total_width
            n_records = (space - pointer) // (self.record_nbytes + pointer)
            capacities.append((n_records + 1) * capacities[-1] + n_records)
        return capacities


@dataclass(frozen=True, slots=True)
class _Level:
    """The nodes of one level.

    `starts` and `totals` ``(n_nodes,) int64`` say which records each subtree holds, `n_children` how many
    children each node has (all 0 for leaves).
    """

    starts: NDArray[np.int64]
    totals: NDArray[np.int64]
    n_children: NDArray[np.int64]

    def n_own(self) -> NDArray[np.int64]:
        """Return the records in the nodes themselves: ``(n_nodes,) int64``."""
        return np.where(self.n_children == 0, self.totals, self.n_children - 1)


def _levels(tree: V2BTree) -> list[_Level]:
    """Return the levels, leaves first."""
    if tree.n_records == 0:
        return []
    capacities = tree._capacities(tree.n_records)
    starts, totals = np.array([0]), np.array([tree.n_records])
    levels: list[_Level] = []
    for child_capacity in reversed(capacities[:-1]):
        n_children = -(-(totals + 1) // (child_capacity + 1))
        levels.append(_Level(starts, totals, n_children))
        shared, n_larger = np.divmod(totals - (n_children - 1), n_children)
        parent = np.repeat(np.arange(len(starts)), n_children)
        rank = _ranks(n_children)
        totals = shared[parent] + (rank < n_larger[parent])
        starts = starts[parent] + rank * (shared[parent] + 1) + np.minimum(rank, n_larger[parent])
    levels.append(_Level(starts, totals, np.zeros(len(starts), np.int64)))
    return levels[::-1]


def _ranks(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``0 .. counts[0] - 1, 0 .. counts[1] - 1`` and so on."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def encode_v2_btree_header(tree: V2BTree, nodes_address: int) -> bytes:
    """Encode the header, `SIZEOF_V2_BTREE_HEADER` bytes.

    Parameters
    ----------
    tree
        Its sizes.
    nodes_address
        Where the bytes of `encode_v2_btree_nodes` stand.
    """
    levels = _levels(tree)
    root_address = nodes_address + (tree.n_nodes - 1) * tree.node_size if levels else UNDEFINED_ADDRESS
    return append_checksum(
        b"".join(
            (
                b"BTHD",
                uint(0, 1, "B-tree version"),
                uint(tree.record_type, 1, "type"),
                uint(tree.node_size, 4, "node size"),
                uint(tree.record_nbytes, 2, "record size"),
                uint(tree.depth, 2, "depth"),
                uint(_SPLIT_PERCENT, 1, "split percent"),
                uint(_MERGE_PERCENT, 1, "merge percent"),
                address(root_address, "root node address"),
                uint(int(levels[-1].n_own()[0]) if levels else 0, 2, "number of records in root node"),
                length(tree.n_records, "total number of records"),
            )
        )
    )


def encode_v2_btree_nodes(
    tree: V2BTree, nodes_address: int, encode_records: RecordEncoder
) -> Iterator[bytes]:
    """Encode all nodes as consecutive pieces of a few MiB.

    Parameters
    ----------
    tree, nodes_address
        Sizes, and where the nodes are to stand.
    encode_records
        Called with positions in the sorted order of the records.
    """
    batch = max(1, _PIECE_NBYTES // tree.node_size)
    level_address = nodes_address
    children: _Level | None = None
    for depth, level in enumerate(_levels(tree)):
        n_nodes = len(level.starts)
        for first in range(0, n_nodes, batch):
            part = slice(first, min(first + batch, n_nodes))
            if children is None:
                yield _encode_leaves(tree, level, part, encode_records)
            else:
                children_address = level_address - len(children.starts) * tree.node_size
                yield _encode_internal_nodes(
                    tree, level, part, encode_records, depth=depth, children=children, at=children_address
                )
        level_address += n_nodes * tree.node_size
        children = level


def _encode_leaves(tree: V2BTree, level: _Level, part: slice, encode_records: RecordEncoder) -> bytes:
    nodes = _empty_nodes(tree, b"BTLF", part)
    counts = level.totals[part]
    for count in np.unique(counts).tolist():
        rows = np.flatnonzero(counts == count)
        positions = level.starts[part][rows, None] + np.arange(count)
        end = _SIZEOF_NODE_PREFIX + count * tree.record_nbytes
        contents = nodes[rows, : end + SIZEOF_CHECKSUM]
        records = encode_records(positions.ravel())
        contents[:, _SIZEOF_NODE_PREFIX:end] = records.reshape(len(rows), -1)
        nodes[rows, : end + SIZEOF_CHECKSUM] = _with_checksums(contents)
    return nodes.tobytes()


def _encode_internal_nodes(
    tree: V2BTree,
    level: _Level,
    part: slice,
    encode_records: RecordEncoder,
    *,
    depth: int,
    children: _Level,
    at: int,
) -> bytes:
    """Encode nodes of `depth`; the nodes of the level below, `children`, stand from address `at` on."""
    nodes = _empty_nodes(tree, b"BTIN", part)
    pointers = _encode_pointers(tree, depth, children, at)
    first_child = np.cumsum(level.n_children) - level.n_children
    counts = level.n_children[part]
    for count in np.unique(counts).tolist():
        rows = np.flatnonzero(counts == count)
        child = first_child[part][rows, None] + np.arange(count)
        separators = (children.starts + children.totals)[child[:, :-1]]
        middle = _SIZEOF_NODE_PREFIX + (count - 1) * tree.record_nbytes
        end = middle + count * pointers.shape[1]
        contents = nodes[rows, : end + SIZEOF_CHECKSUM]
        records = encode_records(separators.ravel())
        contents[:, _SIZEOF_NODE_PREFIX:middle] = records.reshape(len(rows), -1)
        contents[:, middle:end] = pointers[child].reshape(len(rows), -1)
        nodes[rows, : end + SIZEOF_CHECKSUM] = _with_checksums(contents)
    return nodes.tobytes()


def _encode_pointers(tree: V2BTree, depth: int, children: _Level, at: int) -> NDArray[np.uint8]:
    """Return ``(n_children, pointer_nbytes) uint8``: address, number of records, total of records."""
    addresses = np.uint64(at) + np.arange(len(children.starts), dtype=np.uint64) * np.uint64(tree.node_size)
    return np.concatenate(
        [
            uint_columns(addresses, SIZEOF_ADDRESS),
            uint_columns(children.n_own(), tree.n_records_width),
            uint_columns(children.totals, tree.total_width(depth)),
        ],
        axis=1,
    )


def uint_columns(values: NDArray[np.integer], nbytes: int) -> NDArray[np.uint8]:
    """Return ``(n, nbytes) uint8``: each of the ``(n,)`` values in `nbytes` little-endian bytes."""
    return values.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :nbytes]


def _empty_nodes(tree: V2BTree, signature: bytes, part: slice) -> NDArray[np.uint8]:
    nodes = np.zeros((part.stop - part.start, tree.node_size), np.uint8)
    prefix = signature + uint(0, 1, "version") + uint(tree.record_type, 1, "type")
    nodes[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    return nodes


def _with_checksums(contents: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill the last 4 bytes of every row with the checksum of what is before them."""
    checksums = lookup3_rows(contents[:, :-SIZEOF_CHECKSUM])
    contents[:, -SIZEOF_CHECKSUM:] = uint_columns(checksums, SIZEOF_CHECKSUM)
    return contents
