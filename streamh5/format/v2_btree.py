"""Version 2 B-tree of any record type, loaded in bulk (specification III.A.2).

Records stand sorted, some of them in internal nodes between the children that they separate. The tree
has the least depth that holds them; each level shares its records evenly, so every node is at least half
full and the library can go on inserting. Nodes stand level by level, leaves first, the root last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import FormatError, LimitError
from streamh5.format.checksum import SIZEOF_CHECKSUM, lookup3_rows
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.header import (
    ADDRESS,
    LENGTH,
    Header,
    check_header,
    decode_header,
    encode_header,
    sizeof_header,
    stored,
)
from streamh5.format.primitives import SIZEOF_ADDRESS, UNDEFINED_ADDRESS, encoded_length, uint

_SIZEOF_NODE_PREFIX = 4 + 1 + 1
_LEAF, _INTERNAL = b"BTLF", b"BTIN"
_MAX_PERCENT = 100
_MAX_NODE_RECORDS = 65_535  # the header counts those of the root in 2 bytes
_MIN_NODE_RECORDS = 2  # or even shares would leave nodes empty
_MAX_POINTER_NBYTES = 3 * 8
_MAX_DEPTH = 32
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


@dataclass(frozen=True, slots=True, kw_only=True)
class V2BTreeHeader(Header):
    """The header of a version 2 B-tree."""

    structure: ClassVar[str] = "version 2 B-tree header"
    signature: ClassVar[bytes] = b"BTHD"

    record_type: int = stored(1, "type")
    node_size: int = stored(4, "node size")
    record_nbytes: int = stored(2, "record size")
    depth: int = stored(2, "depth")
    split_percent: int = stored(1, "split percent", 100)
    merge_percent: int = stored(1, "merge percent", 40)
    root_address: int = stored(ADDRESS, "root node address")
    n_root_records: int = stored(2, "number of records in root node")
    n_records: int = stored(LENGTH, "total number of records")


SIZEOF_V2_BTREE_HEADER = sizeof_header(V2BTreeHeader)


@dataclass(frozen=True, slots=True)
class V2BTreeNodes:
    """What the nodes of a tree depend on: kind and size of the records, size of a node, width of addresses."""

    record_type: int
    record_nbytes: int
    node_size: int
    sizeof_address: int = SIZEOF_ADDRESS

    @property
    def space(self) -> int:
        """Bytes of a node for records and pointers."""
        return self.node_size - _SIZEOF_NODE_PREFIX - SIZEOF_CHECKSUM

    def capacities(self, depth: int) -> list[int]:
        """Return the most records of a subtree of depth 0, 1 and so on up to `depth` (H5B2__hdr_init)."""
        found = [self.space // self.record_nbytes]
        for level in range(1, depth + 1):
            pointer = self.sizeof_address + sum(self._widths(found, level))
            n_records = (self.space - pointer) // (self.record_nbytes + pointer)
            found.append((n_records + 1) * found[-1] + n_records)
        return found

    def pointer_widths(self, depth: int) -> tuple[int, int]:
        """Return the widths of a child's number of records and total number, in nodes of `depth`."""
        return self._widths(self.capacities(depth - 1), depth)

    @staticmethod
    def _widths(capacities: list[int], depth: int) -> tuple[int, int]:
        # The parents of leaves have no total: it would be the number of records once more.
        return encoded_length(capacities[0]), 0 if depth == 1 else encoded_length(capacities[depth - 1])


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
        """What its nodes depend on."""
        return V2BTreeNodes(self.record_type, self.record_nbytes, self.node_size)

    @property
    def depth(self) -> int:
        """Levels above the leaves."""
        return len(self._capacities()) - 1

    @property
    def n_nodes(self) -> int:
        """Nodes of all levels."""
        return sum(len(level.starts) for level in _levels(self))

    @property
    def sizeof_nodes(self) -> int:
        """Bytes of all nodes."""
        return self.n_nodes * self.node_size

    def _capacities(self) -> list[int]:
        """Return the most records of a subtree of depth 0, 1 and so on, until `n_records` fit."""
        depth = 0
        while (capacities := self.nodes.capacities(depth))[-1] < self.n_records:
            depth += 1
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
    capacities = tree._capacities()
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
    return encode_header(
        V2BTreeHeader(
            record_type=tree.record_type,
            node_size=tree.node_size,
            record_nbytes=tree.record_nbytes,
            depth=tree.depth,
            root_address=nodes_address + (tree.n_nodes - 1) * tree.node_size if levels else UNDEFINED_ADDRESS,
            n_root_records=int(levels[-1].n_own()[0]) if levels else 0,
            n_records=tree.n_records,
        )
    )


def decode_v2_btree_header(
    block: bytes,
    record_type: RecordType,
    record_nbytes: int,
    node_size: int | None = None,
    encoding: Encoding = ENCODING,
) -> V2BTreeHeader:
    """Decode the header of a tree of such records, with nodes of `node_size` unless that is None.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    header = decode_header(V2BTreeHeader, block, encoding)
    check_header(header, replace(header, record_type=record_type, record_nbytes=record_nbytes))
    if node_size not in (None, header.node_size):
        raise header.error(f"node size is {header.node_size:,}, the layout says {node_size:,}")
    room = header.node_size - _SIZEOF_NODE_PREFIX - SIZEOF_CHECKSUM
    split, merge = header.split_percent, header.merge_percent
    if header.depth > _MAX_DEPTH or room < record_nbytes or not 0 < split <= _MAX_PERCENT or not merge:
        raise header.error(
            f"depth {header.depth}, nodes of {header.node_size:,} bytes, split {split} %, merge {merge} %"
        )
    if header.root_address == UNDEFINED_ADDRESS and (
        header.n_records or header.n_root_records or header.depth
    ):
        raise header.error(f"{header.n_records:,} records, but no root node")
    return header


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
    nodes = _empty_nodes(tree, _LEAF, part)
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
    nodes = _empty_nodes(tree, _INTERNAL, part)
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
    count_width, total_width = tree.nodes.pointer_widths(depth)
    return np.concatenate(
        [
            uint_columns(addresses, SIZEOF_ADDRESS),
            uint_columns(children.n_own(), count_width),
            uint_columns(children.totals, total_width),
        ],
        axis=1,
    )


def node_structure(depth: int) -> str:
    """Name a node for errors; leaves have depth 0."""
    return "version 2 B-tree internal node" if depth else "version 2 B-tree leaf"


def sizeof_used(nodes: V2BTreeNodes, depth: int, n_records: int) -> int:
    """Return the bytes of a node up to its checksum, which stands behind the last record or pointer.

    Raises
    ------
    FormatError
        A node does not hold so many records.
    """
    pointers = (n_records + 1) * (nodes.sizeof_address + sum(nodes.pointer_widths(depth))) if depth else 0
    nbytes = _SIZEOF_NODE_PREFIX + n_records * nodes.record_nbytes + pointers + SIZEOF_CHECKSUM
    if nbytes > nodes.node_size:
        raise FormatError(
            f"{node_structure(depth)}: {n_records:,} records do not fit a node of {nodes.node_size:,} bytes"
        )
    return nbytes


def decode_v2_btree_node(
    nodes: V2BTreeNodes, depth: int, n_records: int, block: bytes
) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    """Decode the first `sizeof_used` bytes of a node.

    Returns
    -------
    ``(n_records, record_nbytes) uint8``, and for each child its address and number of records

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    fields = Fields.of_block(block, node_structure(depth), _INTERNAL if depth else _LEAF)
    fields.expect(nodes.record_type, 1, "type")
    raw = np.frombuffer(fields.take(n_records * nodes.record_nbytes, "records"), np.uint8)
    records = raw.reshape(n_records, nodes.record_nbytes)
    if not depth:
        return records, []
    counts_end = nodes.sizeof_address + nodes.pointer_widths(depth)[0]
    raw = np.frombuffer(fields.take(fields.n_left - SIZEOF_CHECKSUM, "child pointers"), np.uint8)
    pointers = raw.reshape(n_records + 1, -1)
    addresses = decode_uints(pointers[:, : nodes.sizeof_address])
    counts = decode_uints(pointers[:, nodes.sizeof_address : counts_end])
    return records, list(zip(addresses.tolist(), counts.tolist(), strict=True))


def uint_columns(values: NDArray[np.integer], nbytes: int) -> NDArray[np.uint8]:
    """Return ``(n, nbytes) uint8``: each of the ``(n,)`` values in `nbytes` little-endian bytes."""
    return values.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :nbytes]


def decode_uints(columns: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Decode ``(n, width) uint8``, little-endian, of at most 8 bytes each: ``(n,) uint64``."""
    padded = np.zeros((len(columns), 8), np.uint8)
    padded[:, : columns.shape[1]] = columns
    return padded.view("<u8")[:, 0].astype(np.uint64)


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
