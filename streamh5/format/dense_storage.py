"""Dense storage of links and attributes: a fractal heap, and B-trees by name and by creation order.

It is written in one piece; messages that are too large for the heap block are huge objects:

    heap header | heap block | name index | creation order index | index of huge objects | huge objects

If that is larger than a page of a file with pages, its blocks are spread: each begins at a multiple of 512, the size of
nodes, and the first of them at a page.

The header messages that point into it are link info and attribute info (specification IV.A.2.c and v).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import AttributeValueError, PathError, over_limit
from streamh5.format.character_set import encode_text
from streamh5.format.checksum import lookup3
from streamh5.format.fractal_heap import (
    SIZEOF_FRACTAL_HEAP_HEADER,
    FractalHeap,
    encode_fractal_heap_block,
    encode_fractal_heap_header,
    encode_heap_ids,
    huge_object_record,
)
from streamh5.format.link import Link, encode_link_body, with_address
from streamh5.format.page_rule import NO_PAGES, PageRule
from streamh5.format.primitives import UNDEFINED_ADDRESS, concat
from streamh5.format.storage_info import StorageInfo
from streamh5.format.v2_btree import (
    SIZEOF_V2_BTREE_HEADER,
    encode_v2_btree_header,
    encode_v2_btree_nodes,
)
from streamh5.format.v2_btree_sizes import RecordType, V2BTree

MAX_DENSE_LINK_NBYTES = (1 << 16) - 1
MAX_MANAGED_ATTRIBUTE_NBYTES = (1 << 24) - 1
MAX_DENSE_ATTRIBUTE_NBYTES = (1 << 32) - 1
"""Own limit, because an attribute is encoded in memory; HDF5 has none."""
LINK_ID_NBYTES = 7  # H5G_DENSE_FHEAP_ID_LEN
ATTRIBUTE_ID_NBYTES = 8  # H5O_FHEAP_ID_LEN
_NODE_SIZE = 512  # H5G_NAME_BT2_NODE_SIZE, H5A_NAME_BT2_NODE_SIZE
_UNTRACKED_ORDER = 65_535  # H5O_MAX_CRT_ORDER_IDX: creation order is not tracked

_LINK_ID = ("heap_id", "u1", (LINK_ID_NBYTES,))
LINK_NAME = np.dtype([("hash", "<u4"), _LINK_ID])
"""Record of a link in the name index: the hash of its name, and its heap ID."""

LINK_CREATION_ORDER = np.dtype([("order", "<u8"), _LINK_ID])
_ATTRIBUTE = [("heap_id", "u1", (ATTRIBUTE_ID_NBYTES,)), ("flags", "u1"), ("order", "<u4")]
ATTRIBUTE_CREATION_ORDER = np.dtype(_ATTRIBUTE)
"""Record of an attribute in the creation order index: its heap ID, and the flags of its message."""

ATTRIBUTE_NAME = np.dtype([*_ATTRIBUTE, ("hash", "<u4")])

RECORDS = {
    RecordType.LINK_NAME: LINK_NAME,
    RecordType.LINK_CREATION_ORDER: LINK_CREATION_ORDER,
    RecordType.ATTRIBUTE_NAME: ATTRIBUTE_NAME,
    RecordType.ATTRIBUTE_CREATION_ORDER: ATTRIBUTE_CREATION_ORDER,
    RecordType.HUGE_OBJECT: huge_object_record(),
}
"""Records of the indexes, as streamh5 writes them; those of huge objects depend on the encoding of a file."""


@dataclass(frozen=True, slots=True, eq=False)
class DenseStorage:
    """A dense storage, and the positions of its parts relative to its first byte.

    Sizes and positions do not depend on addresses: those of hard links may be unknown until it is encoded.

    Parameters
    ----------
    names, bodies
        Names of the links or attributes, and the bodies of their messages, which become the objects of the heap.
    orders
        Their creation order; None if it is not tracked.
    heap
        Sizes of the heap.
    name_index
        Sorted by hash, then name.
    creation_order_index
        None if creation order is not tracked.
    rule
        Where the blocks may lie.
    """

    names: Sequence[str]
    bodies: Sequence[bytes]
    orders: Sequence[int] | None
    heap: FractalHeap
    name_index: V2BTree
    creation_order_index: V2BTree | None
    rule: PageRule = NO_PAGES

    @property
    def huge_index(self) -> V2BTree | None:
        """The index of huge objects; None if there are none."""
        return _index(RecordType.HUGE_OBJECT, self.heap.n_huge) if self.heap.n_huge else None

    @property
    def positions(self) -> tuple[int, ...]:
        """Positions of name index, creation order index, index of huge objects, huge objects, and of the end."""
        if not self._is_spread:
            return self._compact_positions
        block_nbytes = self.heap.block_nbytes
        block_end = self.rule.end(self.rule.position(_NODE_SIZE, block_nbytes), block_nbytes)
        return self._positions(_NODE_SIZE, block_end)

    @property
    def _compact_positions(self) -> tuple[int, ...]:
        return self._positions(SIZEOF_V2_BTREE_HEADER, SIZEOF_FRACTAL_HEAP_HEADER + self.heap.block_nbytes)

    @property
    def _is_spread(self) -> bool:
        return not self.rule.holds(self._compact_positions[-1])

    def _positions(self, nodes_position: int, block_end: int) -> tuple[int, ...]:
        indexes = (self.name_index, self.creation_order_index, self.huge_index)
        sizes = [0 if tree is None else nodes_position + tree.sizeof_nodes for tree in indexes]
        return tuple(accumulate((block_end, *sizes, self.heap.huge_nbytes)))

    @property
    def nbytes(self) -> int:
        """Total size of the storage in bytes."""
        return self.positions[-1]

    def info(self, address: int) -> StorageInfo:
        """Return the header message record of a storage that begins at `address`."""
        names, orders, *_ = (address + position for position in self.positions)
        if self.orders is None:
            return StorageInfo(None, address, names)
        return StorageInfo(max(self.orders, default=-1) + 1, address, names, orders)

    def with_targets(self, addresses: Iterable[int | None]) -> DenseStorage:
        """Return the storage of the same links to other addresses; None for those that are not hard links."""
        bodies = [
            body if target is None else with_address(body, target)
            for body, target in zip(self.bodies, addresses, strict=True)
        ]
        return replace(self, bodies=bodies)

    def encode(self, address: int) -> bytes:
        """Encode the storage for `address`, `nbytes` bytes."""
        heap = self.heap
        hashes, by_name = _name_order(self.names)
        columns: dict[str, NDArray[Any]] = {
            "hash": hashes,
            "heap_id": encode_heap_ids(heap, [len(body) for body in self.bodies]),
            "order": np.array([_UNTRACKED_ORDER] * len(self.names) if self.orders is None else self.orders),
        }
        huge = [body for body in self.bodies if len(body) > heap.max_object_nbytes]
        managed = [body for body in self.bodies if len(body) <= heap.max_object_nbytes]
        names_at, orders_at, huge_index_at, huge_at, _ = (address + position for position in self.positions)
        block_at, nodes_at = address + SIZEOF_FRACTAL_HEAP_HEADER, SIZEOF_V2_BTREE_HEADER
        if self._is_spread:
            block_at, nodes_at = address + self.rule.position(_NODE_SIZE, heap.block_nbytes), _NODE_SIZE
        header = encode_fractal_heap_header(heap, block_at, huge_index_at if huge else UNDEFINED_ADDRESS)
        parts = [
            header.ljust(block_at - address, b"\0"),
            encode_fractal_heap_block(heap, address, managed).ljust(names_at - block_at, b"\0"),
            _encode_index(self.name_index, names_at, columns, by_name, nodes_at=nodes_at),
        ]
        if self.creation_order_index is not None:
            by_order = np.argsort(columns["order"], kind="stable")
            parts.append(
                _encode_index(self.creation_order_index, orders_at, columns, by_order, nodes_at=nodes_at)
            )
        if self.huge_index is not None:
            places = _huge_columns(huge, huge_at)
            parts += (_encode_index(self.huge_index, huge_index_at, places, nodes_at=nodes_at), *huge)
        return b"".join(parts)


def dense_links(links: Sequence[Link], rule: PageRule = NO_PAGES) -> DenseStorage:
    """Return the dense storage of `links`. Creation order is indexed if the links have one.

    Raises
    ------
    PathError
        Two links have the same name, some have a creation order and others do not, or HDF5 does not allow a name.
    LimitError
        A link of more than 65,535 bytes.
    """
    names = [link.name for link in links]
    orders = [link.creation_order for link in links if link.creation_order is not None]
    if len(orders) not in (0, len(links)):
        raise PathError(f"{len(orders)} of {len(links)} links have a creation order; all or none must")
    _check_unique(names, PathError, "links")
    bodies = [encode_link_body(link) for link in links]
    longest = max(map(len, bodies), default=0)
    if longest > MAX_DENSE_LINK_NBYTES:
        subject, advice = f"a link of {longest} bytes", ": give a shorter name or target"
        raise over_limit(subject, MAX_DENSE_LINK_NBYTES, advice, nbytes=longest)
    return DenseStorage(
        names,
        bodies,
        orders or None,
        FractalHeap.of(LINK_ID_NBYTES, MAX_DENSE_LINK_NBYTES, [len(body) for body in bodies]),
        _index(RecordType.LINK_NAME, len(links)),
        _index(RecordType.LINK_CREATION_ORDER, len(links)) if orders else None,
        rule,
    )


def dense_attributes(
    names: Sequence[str], bodies: Sequence[bytes], *, creation_order: bool, rule: PageRule = NO_PAGES
) -> DenseStorage:
    """Return the dense storage of attributes, created in this order.

    Parameters
    ----------
    names
        Their names.
    bodies
        Bodies of their messages: see `encode_attribute_head`.
    creation_order
        Whether to index the order in which they were created.
    rule
        Where the blocks may lie.

    Raises
    ------
    AttributeValueError
        Two attributes have the same name.
    """
    _check_unique(names, AttributeValueError, "attributes")
    return DenseStorage(
        names,
        bodies,
        range(len(names)) if creation_order else None,
        FractalHeap.of(ATTRIBUTE_ID_NBYTES, MAX_MANAGED_ATTRIBUTE_NBYTES, [len(body) for body in bodies]),
        _index(RecordType.ATTRIBUTE_NAME, len(names)),
        _index(RecordType.ATTRIBUTE_CREATION_ORDER, len(names)) if creation_order else None,
        rule,
    )


def _huge_columns(huge: Sequence[bytes], address: int) -> dict[str, NDArray[Any]]:
    """Return address, length and key of each huge object; they are consecutive from `address` on."""
    sizes = np.array([len(body) for body in huge], np.int64)
    addresses = address + np.cumsum(sizes) - sizes
    return {"address": addresses, "nbytes": sizes, "key": np.arange(1, len(huge) + 1)}


def _index(record_type: RecordType, n_records: int) -> V2BTree:
    return V2BTree(record_type, RECORDS[record_type].itemsize, n_records, _NODE_SIZE)


def _encode_index(
    tree: V2BTree,
    header_address: int,
    columns: Mapping[str, NDArray[Any]],
    order: Sequence[int] | NDArray[np.intp] | slice = slice(None),
    *,
    nodes_at: int,
) -> bytes:
    """Encode an index of records in `order`; their fields are `columns`, or 0 (the flags of attributes).

    Its nodes follow its header after `nodes_at` bytes.
    """
    records = np.zeros(tree.n_records, RECORDS[tree.record_type])
    for name in columns.keys() & (records.dtype.names or ()):
        records[name] = columns[name][order]
    rows = records.view(np.uint8).reshape(len(records), records.itemsize)
    nodes_address = header_address + nodes_at
    nodes = encode_v2_btree_nodes(tree, nodes_address, lambda positions: rows[positions])
    return concat(encode_v2_btree_header(tree, nodes_address).ljust(nodes_at, b"\0"), *nodes)


def _name_order(names: Sequence[str]) -> tuple[NDArray[np.uint32], list[int]]:
    """Return the hashes of names, and the positions of the names sorted by hash, then by bytes."""
    encoded = [encode_text(name) for name in names]
    hashes = [lookup3(name) for name in encoded]
    by_name = sorted(range(len(names)), key=lambda i: (hashes[i], encoded[i]))
    return np.array(hashes, np.uint32), by_name


def _check_unique(names: Sequence[str], error: type[PathError | AttributeValueError], what: str) -> None:
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise error(f"two {what} have the name {twice[0]!r}", name=twice[0])
