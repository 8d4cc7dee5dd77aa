"""Version 2 B-tree of any record type, written in bulk (specification III.A.2).

Nodes are stored level by level, leaves first, the root last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from streamh5.format.checksum import SIZEOF_CHECKSUM, lookup3_rows
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.header import ADDRESS, LENGTH, Header, stored
from streamh5.format.primitives import SIZEOF_ADDRESS, UNDEFINED_ADDRESS, uint
from streamh5.format.v2_btree_sizes import (
    SIZEOF_NODE_PREFIX,
    Level,
    RecordType,
    V2BTree,
    V2BTreeNodes,
    levels,
    node_structure,
)

_LEAF, _INTERNAL = b"BTLF", b"BTIN"
_MAX_PERCENT = 100
_MAX_DEPTH = 32  # no file has a deeper tree, but a hostile header can claim 65,535 levels
_PIECE_NBYTES = 2 << 20  # fits into the cache, as for the Fixed Array

RecordEncoder = Callable[[NDArray[np.intp]], NDArray[np.uint8]]
"""Given the positions ``(k,) intp`` of records, returns their bytes ``(k, record_nbytes) uint8``."""


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


SIZEOF_V2_BTREE_HEADER = V2BTreeHeader.sizeof()


def encode_v2_btree_header(tree: V2BTree, nodes_address: int) -> bytes:
    """Encode the header, `SIZEOF_V2_BTREE_HEADER` bytes.

    Parameters
    ----------
    tree
        Sizes of the tree.
    nodes_address
        Address of the bytes of `encode_v2_btree_nodes`.
    """
    all_levels = levels(tree)
    return V2BTreeHeader(
        record_type=tree.record_type,
        node_size=tree.node_size,
        record_nbytes=tree.record_nbytes,
        depth=tree.depth,
        root_address=nodes_address + (tree.n_nodes - 1) * tree.node_size if all_levels else UNDEFINED_ADDRESS,
        n_root_records=int(all_levels[-1].n_own()[0]) if all_levels else 0,
        n_records=tree.n_records,
    ).encode()


def decode_v2_btree_header(
    block: bytes,
    record_type: RecordType,
    record_nbytes: int,
    node_size: int | None = None,
    encoding: Encoding = ENCODING,
) -> V2BTreeHeader:
    """Decode the header of a tree of these records, with nodes of `node_size` unless that is None.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    header = V2BTreeHeader.decode(block, encoding)
    header.check(record_type=record_type, record_nbytes=record_nbytes)
    if node_size not in (None, header.node_size):
        raise header.error(f"node size is {header.node_size:,}, the layout says {node_size:,}")
    room = V2BTreeNodes(record_type, record_nbytes, header.node_size).space
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
        Sizes of the tree, and address of its first node.
    encode_records
        Encodes the records at positions in their sorted order.
    """
    batch = max(1, _PIECE_NBYTES // tree.node_size)
    level_address = nodes_address
    below: tuple[Level, NDArray[np.uint8]] | None = None
    for depth, level in enumerate(levels(tree)):
        n_nodes = len(level.starts)
        for first in range(0, n_nodes, batch):
            part = slice(first, min(first + batch, n_nodes))
            yield _encode_nodes(tree, level, part, encode_records, below)
        below = level, _encode_pointers(tree, depth + 1, level, level_address)
        level_address += n_nodes * tree.node_size


def _encode_nodes(
    tree: V2BTree,
    level: Level,
    part: slice,
    encode_records: RecordEncoder,
    below: tuple[Level, NDArray[np.uint8]] | None,
) -> bytes:
    """Encode a part of the nodes of a level.

    Nodes with equally many records are encoded together. `below` is the level of their children, and the pointers to
    the nodes of that level; None for leaves.
    """
    nodes = _empty_nodes(tree, _INTERNAL if below else _LEAF, part)
    first_child = np.cumsum(level.n_children) - level.n_children
    counts = level.n_own()[part]
    for count in np.unique(counts).tolist():
        rows = np.flatnonzero(counts == count)
        pointers = np.empty((len(rows), 0), np.uint8)
        if below is None:
            positions = level.starts[part][rows, None] + np.arange(count)
        else:
            children, all_pointers = below
            child = first_child[part][rows, None] + np.arange(count + 1)
            pointers = all_pointers[child].reshape(len(rows), -1)
            positions = (children.starts + children.totals)[child[:, :-1]]  # the separators of the children
        records = encode_records(positions.ravel()).reshape(len(rows), -1)
        content = np.concatenate([records, pointers], axis=1)
        end = SIZEOF_NODE_PREFIX + content.shape[1] + SIZEOF_CHECKSUM
        nodes[rows, SIZEOF_NODE_PREFIX : end - SIZEOF_CHECKSUM] = content
        nodes[rows, end - SIZEOF_CHECKSUM : end] = uint_columns(
            lookup3_rows(nodes[rows, : end - SIZEOF_CHECKSUM]), SIZEOF_CHECKSUM
        )
    return nodes.tobytes()


def _encode_pointers(tree: V2BTree, depth: int, children: Level, at: int) -> NDArray[np.uint8]:
    """Return ``(n_children, pointer_nbytes) uint8``: address, number of records, total number of records."""
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
    """Encode ``(n,)`` values in `nbytes` little-endian bytes each: ``(n, nbytes) uint8``."""
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
