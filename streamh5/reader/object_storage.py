"""What an object stores outside its header.

Links and attributes in dense storage (a fractal heap with version 2 B-trees), links of old groups in symbol tables
(specification III.B, III.D), and names of external files in local heaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.attribute import decode_attribute
from streamh5.format.character_set import encode_text
from streamh5.format.checksum import lookup3
from streamh5.format.dense_storage import (
    RECORDS,
)
from streamh5.format.link import decode_link
from streamh5.format.local_heap import (
    LocalHeap,
    decode_local_heap,
    decode_local_heap_header,
    sizeof_local_heap_header,
)
from streamh5.format.object_header import MessageFlag, MessageType
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.symbol_table import (
    BTREE_NODE,
    SYMBOL_NODE,
    decode_group_btree_node,
    decode_symbol_table_node,
    sizeof_group_btree_node,
    sizeof_symbol_table_node,
)
from streamh5.format.v2_btree_sizes import RecordType
from streamh5.reader.fractal_heap import FractalHeapReader
from streamh5.reader.v2_btree import read_v2_btree

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamh5.format.attribute import Attribute
    from streamh5.format.external_file_list import ExternalFileList
    from streamh5.format.fields import Encoding
    from streamh5.format.link import Link
    from streamh5.format.storage_info import StorageInfo
    from streamh5.reader.file_map import StructureReader
    from streamh5.reader.object_header import SharedMessages


def read_local_heap(reader: StructureReader, address: int) -> LocalHeap:
    """Read the local heap whose header is at `address`.

    Raises
    ------
    FormatError
        A field is wrong, or a free block is outside the heap.
    """
    nbytes = sizeof_local_heap_header(reader.encoding)
    header = decode_local_heap_header(reader.read(address, nbytes, "local heap"), reader.encoding)
    data = reader.read(header.data_address, header.data_nbytes, "local heap data segment")
    return decode_local_heap(data, header.first_free, reader.encoding)


def _read_btree(reader: StructureReader, address: int) -> list[int]:
    """Return the addresses of the symbol table nodes of a B-tree, which is read level by level."""
    nbytes = sizeof_group_btree_node(reader.encoding)
    addresses = [address]
    level: int | None = None
    while True:
        children: list[int] = []
        for one in addresses:
            block = reader.read(one, nbytes, BTREE_NODE)
            found_level, below = decode_group_btree_node(block, reader.encoding)
            if level is not None and found_level != level:
                raise FormatError(f"{BTREE_NODE}: its level is {found_level}; it must be {level}")
            level = found_level
            children += below
        if not level:
            return children
        addresses, level = children, level - 1


@dataclass(frozen=True, slots=True)
class ExternalFile:
    """A part of the data of a dataset: `nbytes` bytes at position `offset` of the file `name`.

    ``nbytes`` is `UNLIMITED` if the last file contains all remaining data.
    """

    name: str
    offset: int
    nbytes: int


class ObjectStorage:
    """Reads what one object stores outside its header.

    Parameters
    ----------
    reader
        Reader of the structures of the object.
    shared
        Shared messages of the file.
    """

    def __init__(self, reader: StructureReader, shared: SharedMessages) -> None:
        self._reader = reader
        self._shared = shared

    def links(self, info: StorageInfo) -> list[Link]:
        """Read the links of a group from dense storage, in the order of the name index.

        Raises
        ------
        FormatError
            A structure is damaged, or a hash is not that of the name.
        """
        if info.fractal_heap_address == UNDEFINED_ADDRESS:
            return []
        heap = FractalHeapReader(self._reader, info.fractal_heap_address)
        records = self._index(heap, info.name_index_address, RecordType.LINK_NAME)
        heap_ids = [one.tobytes() for one in records["heap_id"]]
        links = [decode_link(heap.object(heap_id), self.encoding) for heap_id in heap_ids]
        _check_hashes([link.name for link in links], records)
        if info.creation_order_index_address != UNDEFINED_ADDRESS:
            ordered = self._index(heap, info.creation_order_index_address, RecordType.LINK_CREATION_ORDER)
            # only those not read yet: a huge object must not be claimed twice
            for heap_id in {one.tobytes() for one in ordered["heap_id"]}.difference(heap_ids):
                decode_link(heap.object(heap_id), self.encoding)
            _check_orders({link.creation_order for link in links}, ordered)
        return links

    def attributes(self, info: StorageInfo) -> list[Attribute]:
        """Read the attributes of an object from dense storage, in creation order if it is tracked.

        Raises
        ------
        FormatError
            A structure is damaged, or a hash is not that of the name.
        """
        if info.fractal_heap_address == UNDEFINED_ADDRESS:
            return []
        heap = FractalHeapReader(self._reader, info.fractal_heap_address)
        records = self._index(heap, info.name_index_address, RecordType.ATTRIBUTE_NAME)
        attributes = [self._attribute(heap, record) for record in records]
        _check_hashes([one.name for one in attributes], records)
        if info.creation_order_index_address != UNDEFINED_ADDRESS:
            ordered = self._index(
                heap, info.creation_order_index_address, RecordType.ATTRIBUTE_CREATION_ORDER
            )
            _check_orders(set(records["order"].tolist()), ordered)
        return [attributes[i] for i in records["order"].argsort(kind="stable").tolist()]

    @property
    def encoding(self) -> Encoding:
        """How the file encodes its fields."""
        return self._reader.encoding

    def symbol_table(self, btree_address: int, heap_address: int) -> list[Link]:
        """Read the links of an old group, which are ordered by name.

        Raises
        ------
        FormatError
            A structure is damaged, or the names are not in order.
        """
        heap = read_local_heap(self._reader, heap_address)
        nbytes = sizeof_symbol_table_node(self.encoding)
        links: list[Link] = []
        for address in _read_btree(self._reader, btree_address):
            block = self._reader.read(address, nbytes, SYMBOL_NODE)
            links += decode_symbol_table_node(block, heap, self.encoding)
        names = [encode_text(link.name) for link in links]
        if any(second <= first for first, second in pairwise(names)):
            raise FormatError(f"{SYMBOL_NODE}: its names are not in order", structure=SYMBOL_NODE)
        return links

    def external_files(self, files: ExternalFileList) -> tuple[ExternalFile, ...]:
        """Return the external files of a dataset.

        Raises
        ------
        FormatError
            The heap of their names is damaged.
        """
        heap = read_local_heap(self._reader, files.heap_address)
        return tuple(
            ExternalFile(heap.text(slot.name_offset), slot.offset, slot.nbytes) for slot in files.slots
        )

    def resolve(self, message_type: int, reference: bytes) -> bytes:
        """Return the body of the message to which a shared message refers."""
        return self._shared.body(message_type, reference, self._reader.owner)

    def _attribute(self, heap: FractalHeapReader, record: np.void) -> Attribute:
        heap_id = record["heap_id"].tobytes()
        if record["flags"] & MessageFlag.SHARED:
            body = self._shared.in_heap(MessageType.ATTRIBUTE, heap_id)
        else:
            body = heap.object(heap_id)
        return decode_attribute(body, self.encoding, self.resolve)

    def _index(self, heap: FractalHeapReader, address: int, record_type: RecordType) -> NDArray[np.void]:
        """Read an index, whose records have heap IDs of `heap`."""
        record = RECORDS[record_type]
        if heap.id_nbytes != record["heap_id"].itemsize:
            raise FormatError(
                f"fractal heap header: heap IDs have {heap.id_nbytes} bytes instead of {record['heap_id'].itemsize}"
            )
        return read_v2_btree(self._reader, address, record_type, record)


def _check_hashes(names: list[str], records: NDArray[np.void]) -> None:
    for name, stored in zip(names, records["hash"].tolist(), strict=True):
        if lookup3(encode_text(name)) != stored:
            raise FormatError(
                f"dense storage: the hash in the record of {name[:40]!r} is not that of the name"
            )


def _check_orders(orders: set[int] | set[int | None], ordered: NDArray[np.void]) -> None:
    """Check that the index of creation order has all names; it may also have those of deleted ones."""
    missing = orders - set(ordered["order"].tolist())
    if missing:
        raise FormatError(
            f"dense storage: {len(missing):,} of {len(orders):,} names are missing in the index of creation order"
        )
