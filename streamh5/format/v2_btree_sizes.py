"""Numbers of nodes and records in the levels of a version 2 B-tree.

Records are sorted, and some of them are in internal nodes, between the children that they separate. The tree has the
smallest possible depth; the records of a level are distributed evenly over its nodes, so every node is at least half
full and the library can continue to insert records.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import FormatError, LimitError
from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.primitives import SIZEOF_ADDRESS, encoded_length

SIZEOF_NODE_PREFIX = 4 + 1 + 1
_MAX_NODE_RECORDS = 65_535  # the header counts those of the root in 2 bytes
_MIN_NODE_RECORDS = 2  # or even shares would leave nodes empty
_MAX_POINTER_NBYTES = 3 * 8  # address, number of records, total number of records


class RecordType(IntEnum):
    """Types of the records of a tree."""

    HUGE_OBJECT = 1
    LINK_NAME = 5
    LINK_CREATION_ORDER = 6
    ATTRIBUTE_NAME = 8
    ATTRIBUTE_CREATION_ORDER = 9
    UNFILTERED_CHUNK = 10
    FILTERED_CHUNK = 11


def node_structure(depth: int) -> str:
    """Return the name of a node for errors; leaves have depth 0."""
    return "version 2 B-tree internal node" if depth else "version 2 B-tree leaf"


@dataclass(frozen=True, slots=True)
class V2BTreeNodes:
    """The parameters of nodes: type and size of the records, size of a node, width of addresses."""

    record_type: int
    record_nbytes: int
    node_size: int
    sizeof_address: int = SIZEOF_ADDRESS

    @property
    def space(self) -> int:
        """Space of a node for records and pointers, in bytes."""
        return self.node_size - SIZEOF_NODE_PREFIX - SIZEOF_CHECKSUM

    def capacities(self, depth: int) -> list[int]:
        """Return the largest number of records in subtrees of depth 0 to `depth` (H5B2__hdr_init)."""
        found = [self.space // self.record_nbytes]
        for level in range(1, depth + 1):
            pointer = self.sizeof_address + sum(self._widths(found, level))
            n_records = (self.space - pointer) // (self.record_nbytes + pointer)
            found.append((n_records + 1) * found[-1] + n_records)
        return found

    def pointer_widths(self, depth: int) -> tuple[int, int]:
        """Return the widths of the number and total number of records of a child, in nodes of `depth`."""
        return self._widths(self.capacities(depth - 1), depth)

    def sizeof_used(self, depth: int, n_records: int) -> int:
        """Return the size in bytes of the used part of a node, which ends with the checksum after the last record.

        Raises
        ------
        FormatError
            A node has no room for the records.
        """
        pointers = (n_records + 1) * (self.sizeof_address + sum(self.pointer_widths(depth))) if depth else 0
        nbytes = SIZEOF_NODE_PREFIX + n_records * self.record_nbytes + pointers + SIZEOF_CHECKSUM
        if nbytes > self.node_size:
            raise FormatError(
                f"{node_structure(depth)}: {n_records:,} records do not fit a node of {self.node_size:,} bytes"
            )
        return nbytes

    @staticmethod
    def _widths(capacities: list[int], depth: int) -> tuple[int, int]:
        # The parents of leaves have no total, which would equal the number of records.
        return encoded_length(capacities[0]), 0 if depth == 1 else encoded_length(capacities[depth - 1])


@dataclass(frozen=True, slots=True)
class V2BTree:
    """The sizes of a version 2 B-tree.

    Parameters
    ----------
    record_type, record_nbytes
        Type and size of the records.
    n_records
        Their number; an empty tree has no nodes.
    node_size
        Size of every node in bytes; 512 for links and attributes, 2048 for chunks in the library.

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
        space = self.nodes.space
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
    def nodes(self) -> V2BTreeNodes:
        """The parameters of its nodes."""
        return V2BTreeNodes(self.record_type, self.record_nbytes, self.node_size)

    @property
    def depth(self) -> int:
        """Number of levels above the leaves."""
        return len(self._capacities()) - 1

    @property
    def n_nodes(self) -> int:
        """Number of nodes in all levels."""
        return sum(len(level.starts) for level in levels(self))

    @property
    def sizeof_nodes(self) -> int:
        """Total size of the nodes in bytes."""
        return self.n_nodes * self.node_size

    def _capacities(self) -> list[int]:
        """Return the largest number of records in subtrees of depth 0, 1, ... until `n_records` fit."""
        depth = 0
        while (capacities := self.nodes.capacities(depth))[-1] < self.n_records:
            depth += 1
        return capacities


@dataclass(frozen=True, slots=True)
class Level:
    """The nodes of one level.

    `starts` and `totals`, ``(n_nodes,) int64``, are the first record and the number of records of each subtree,
    `n_children` is the number of children of each node (0 for leaves).
    """

    starts: NDArray[np.int64]
    totals: NDArray[np.int64]
    n_children: NDArray[np.int64]

    def n_own(self) -> NDArray[np.int64]:
        """Return the number of records in each node itself: ``(n_nodes,) int64``."""
        return np.where(self.n_children == 0, self.totals, self.n_children - 1)


def levels(tree: V2BTree) -> list[Level]:
    """Return the levels, leaves first."""
    if tree.n_records == 0:
        return []
    capacities = tree._capacities()
    starts, totals = np.array([0]), np.array([tree.n_records])
    found: list[Level] = []
    for child_capacity in reversed(capacities[:-1]):
        n_children = -(-(totals + 1) // (child_capacity + 1))
        found.append(Level(starts, totals, n_children))
        shared, n_larger = np.divmod(totals - (n_children - 1), n_children)
        parent = np.repeat(np.arange(len(starts)), n_children)
        rank = _ranks(n_children)
        totals = shared[parent] + (rank < n_larger[parent])
        starts = starts[parent] + rank * (shared[parent] + 1) + np.minimum(rank, n_larger[parent])
    found.append(Level(starts, totals, np.zeros(len(starts), np.int64)))
    return found[::-1]


def _ranks(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``0 .. counts[0] - 1, 0 .. counts[1] - 1`` and so on."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
