"""Dense storage of links and attributes: a fractal heap, and B-trees by name and by creation order.

It is written in one piece; messages that are too large for the heap block are huge objects:

    heap header | heap block | name index | creation order index | index of huge objects | huge objects

The header messages that point into it are link info and attribute info (specification IV.A.2.c and v).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamh5.errors import AttributeValueError, PathError, over_limit
from streamh5.format.attribute import Attribute, encode_attribute_body
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
from streamh5.format.link import Link, encode_link_body
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
LINK_ID_NBYTES = 7
ATTRIBUTE_ID_NBYTES = 8
_NODE_SIZE = 512
_UNTRACKED_ORDER = 65_535  # H5O_MAX_CRT_ORDER_IDX: creation order is not tracked

_LINK_ID = ("heap_id", "u1", (LINK_ID_NBYTES,))
LINK_NAME = np.dtype([("hash", "<u4"), _LINK_ID])
"""Record of a link in the name index: the hash of its name, and its heap ID."""

LINK_CREATION_ORDER = np.dtype([("order", "<u8"), _LINK_ID])
_ATTRIBUTE = [("heap_id", "u1", (ATTRIBUTE_ID_NBYTES,)), ("flags", "u1"), ("order", "<u4")]
ATTRIBUTE_CREATION_ORDER = np.dtype(_ATTRIBUTE)
"""Record of an attribute in the creation order index: its heap ID, and the flags of its message."""

ATTRIBUTE_NAME = np.dtype([*_ATTRIBUTE, ("hash", "<u4")])


@dataclass(frozen=True, slots=True)
class DenseStorage:
    """The parts of a dense storage, and their positions relative to its first byte.

    Parameters
    ----------
    heap
        The bodies of the link or attribute messages.
    name_index
        Sorted by hash, then name.
    creation_order_index
        None if creation order is not tracked.
    """

    heap: FractalHeap
    name_index: V2BTree
    creation_order_index: V2BTree | None

    @property
    def name_index_position(self) -> int:
        """Position of the header of the name index."""
        return SIZEOF_FRACTAL_HEAP_HEADER + self.heap.block_nbytes

    @property
    def creation_order_index_position(self) -> int:
        """Position of the header of the creation order index, if there is one."""
        return self.name_index_position + SIZEOF_V2_BTREE_HEADER + self.name_index.sizeof_nodes

    @property
    def huge_index(self) -> V2BTree:
        """The index of huge objects."""
        return _index(RecordType.HUGE_OBJECT, huge_object_record(), self.heap.n_huge)

    @property
    def huge_index_position(self) -> int:
        """Position of the header of the index of huge objects, if there is one."""
        tree = self.creation_order_index
        return self.creation_order_index_position + (
            0 if tree is None else SIZEOF_V2_BTREE_HEADER + tree.sizeof_nodes
        )

    @property
    def huge_position(self) -> int:
        """Position of the huge objects, which are consecutive."""
        has_index = self.heap.n_huge > 0
        return self.huge_index_position + has_index * (SIZEOF_V2_BTREE_HEADER + self.huge_index.sizeof_nodes)

    @property
    def nbytes(self) -> int:
        """Total size of the storage in bytes."""
        return self.huge_position + self.heap.huge_nbytes

    def info(self, address: int, max_creation_index: int) -> StorageInfo:
        """Return the header message record of a storage that begins at `address`."""
        names = address + self.name_index_position
        if self.creation_order_index is None:
            return StorageInfo(None, address, names)
        return StorageInfo(max_creation_index, address, names, address + self.creation_order_index_position)


def dense_link_storage(links: Sequence[Link]) -> DenseStorage:
    """Return the sizes of the dense storage of `links`, which do not depend on addresses of hard links.

    Creation order is indexed if the links have one.

    Raises
    ------
    PathError
        Two links have the same name, or some have a creation order and others do not.
    LimitError
        A link of more than 65,535 bytes.
    """
    names = [link.name for link in links]
    n_ordered = sum(link.creation_order is not None for link in links)
    if n_ordered not in (0, len(links)):
        raise PathError(f"{n_ordered} of {len(links)} links have a creation order; all or none must")
    _check_unique(names, PathError, "links")
    sizes = [len(encode_link_body(link)) for link in links]
    if max(sizes, default=0) > MAX_DENSE_LINK_NBYTES:
        subject, advice = f"a link of {max(sizes)} bytes", ": give a shorter name or target"
        raise over_limit(subject, MAX_DENSE_LINK_NBYTES, advice, nbytes=max(sizes))
    n = len(links)
    return DenseStorage(
        FractalHeap.of(LINK_ID_NBYTES, MAX_DENSE_LINK_NBYTES, sizes),
        _index(RecordType.LINK_NAME, LINK_NAME, n),
        _index(RecordType.LINK_CREATION_ORDER, LINK_CREATION_ORDER, n) if n_ordered else None,
    )


def dense_link_info(links: Sequence[Link], storage_address: int) -> StorageInfo:
    """Return the link info of a group whose dense storage begins at `storage_address`."""
    max_order = max((link.creation_order or 0 for link in links), default=0)
    return dense_link_storage(links).info(storage_address, max_order + 1)


def encode_dense_links(links: Sequence[Link], storage_address: int) -> bytes:
    """Encode the dense storage of `links`, ``dense_link_storage(links).nbytes`` bytes.

    Raises
    ------
    PathError
        Two links have the same name, some have a creation order and others do not, or HDF5 does not allow a name.
    """
    storage = dense_link_storage(links)
    bodies = [encode_link_body(link) for link in links]
    ids = encode_heap_ids(storage.heap, [len(body) for body in bodies])
    hashes, by_name = _name_order([link.name for link in links])
    orders = np.array([link.creation_order or 0 for link in links], np.int64)
    by_order = np.argsort(orders, kind="stable")
    return _encode_storage(
        storage,
        storage_address,
        bodies,
        name_records=_records(LINK_NAME, hash=hashes, heap_id=ids)[by_name],
        order_records=_records(LINK_CREATION_ORDER, order=orders, heap_id=ids)[by_order],
    )


def dense_attribute_storage(attributes: Sequence[Attribute], *, creation_order: bool) -> DenseStorage:
    """Return the sizes of the dense storage of `attributes`.

    Raises
    ------
    AttributeValueError
        Two attributes have the same name.
    """
    _check_unique([attribute.name for attribute in attributes], AttributeValueError, "attributes")
    n = len(attributes)
    sizes = [len(encode_attribute_body(attribute)) for attribute in attributes]
    order = RecordType.ATTRIBUTE_CREATION_ORDER
    return DenseStorage(
        FractalHeap.of(ATTRIBUTE_ID_NBYTES, MAX_MANAGED_ATTRIBUTE_NBYTES, sizes),
        _index(RecordType.ATTRIBUTE_NAME, ATTRIBUTE_NAME, n),
        _index(order, ATTRIBUTE_CREATION_ORDER, n) if creation_order else None,
    )


def dense_attribute_info(
    attributes: Sequence[Attribute], storage_address: int, *, creation_order: bool
) -> StorageInfo:
    """Return the attribute info of an object whose dense storage begins at `storage_address`."""
    storage = dense_attribute_storage(attributes, creation_order=creation_order)
    return storage.info(storage_address, len(attributes))


def encode_dense_attributes(
    attributes: Sequence[Attribute], storage_address: int, *, creation_order: bool
) -> bytes:
    """Encode the dense storage of `attributes`, created in this order.

    Raises
    ------
    AttributeValueError
        Two attributes have the same name, or HDF5 does not allow a name.
    """
    storage = dense_attribute_storage(attributes, creation_order=creation_order)
    bodies = [encode_attribute_body(attribute) for attribute in attributes]
    ids = encode_heap_ids(storage.heap, [len(body) for body in bodies])
    hashes, by_name = _name_order([attribute.name for attribute in attributes])
    n = len(attributes)
    orders = np.arange(n) if creation_order else np.full(n, _UNTRACKED_ORDER)
    return _encode_storage(
        storage,
        storage_address,
        bodies,
        name_records=_records(ATTRIBUTE_NAME, heap_id=ids, flags=0, order=orders, hash=hashes)[by_name],
        order_records=_records(ATTRIBUTE_CREATION_ORDER, heap_id=ids, flags=0, order=orders),
    )


def _encode_storage(
    storage: DenseStorage,
    storage_address: int,
    bodies: Sequence[bytes],
    *,
    name_records: NDArray[np.void],
    order_records: NDArray[np.void],
) -> bytes:
    heap = storage.heap
    block_address = storage_address + SIZEOF_FRACTAL_HEAP_HEADER
    huge = [body for body in bodies if len(body) > heap.max_object_nbytes]
    managed = [body for body in bodies if len(body) <= heap.max_object_nbytes]
    huge_index_address = storage_address + storage.huge_index_position if huge else UNDEFINED_ADDRESS
    parts = [
        encode_fractal_heap_header(heap, block_address, huge_index_address),
        encode_fractal_heap_block(heap, storage_address, managed),
        _encode_index(storage.name_index, storage_address + storage.name_index_position, name_records),
    ]
    if storage.creation_order_index is not None:
        order_address = storage_address + storage.creation_order_index_position
        parts.append(_encode_index(storage.creation_order_index, order_address, order_records))
    if huge:
        records = _huge_records(huge, storage_address + storage.huge_position)
        parts += (_encode_index(storage.huge_index, huge_index_address, records), *huge)
    return b"".join(parts)


def _huge_records(huge: Sequence[bytes], address: int) -> NDArray[np.void]:
    """Return address, length and key of each huge object; they are consecutive from `address` on."""
    sizes = np.array([len(body) for body in huge], np.int64)
    addresses = address + np.cumsum(sizes) - sizes
    return _records(huge_object_record(), address=addresses, nbytes=sizes, key=np.arange(1, len(huge) + 1))


def _index(record_type: RecordType, record: np.dtype[np.void], n_records: int) -> V2BTree:
    return V2BTree(record_type, record.itemsize, n_records, _NODE_SIZE)


def _records(record: np.dtype[np.void], **columns: ArrayLike) -> NDArray[np.void]:
    found = np.zeros(max(np.shape(column)[0] for column in columns.values() if np.ndim(column)), record)
    for name, column in columns.items():
        found[name] = column
    return found


def _encode_index(tree: V2BTree, header_address: int, records: NDArray[np.void]) -> bytes:
    nodes_address = header_address + SIZEOF_V2_BTREE_HEADER
    rows = records.view(np.uint8).reshape(len(records), records.itemsize)
    nodes = encode_v2_btree_nodes(tree, nodes_address, lambda positions: rows[positions])
    return concat(encode_v2_btree_header(tree, nodes_address), *nodes)


def _name_order(names: Sequence[str]) -> tuple[NDArray[np.uint32], list[int]]:
    """Return the hashes of names, and the positions of the names sorted by hash, then by bytes."""
    encoded = [encode_text(name) for name in names]
    hashes = [lookup3(name) for name in encoded]
    by_name = sorted(range(len(names)), key=lambda i: (hashes[i], encoded[i]))
    return np.array(hashes, np.uint32), by_name


def _check_unique(names: Sequence[str], error: type[PathError | AttributeValueError], what: str) -> None:
    if len(set(names)) == len(names):
        return
    seen: set[str] = set()
    twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    raise error(f"two {what} have the name {twice!r}", name=twice)
