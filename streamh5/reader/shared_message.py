"""Shared messages from bytes: named datatypes, and the table of shared object header messages (III.F, IV.A.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.fields import Fields, check_checksum
from streamh5.format.object_header import MessageType
from streamh5.reader.file_map import Kind
from streamh5.reader.fractal_heap import FractalHeapReader
from streamh5.reader.object_header import ObjectHeader, read_object_header

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["SharedMessages"]

_IN_HEAP, _COMMITTED = 1, 2
_SHARED = 0x02
_SIZEOF_HEAP_ID = 8
_TABLE = "shared object header message table"


@dataclass(frozen=True, slots=True)
class _Index:
    """One index of the table: the types of message in it (bit i: type i), and its heap."""

    message_types: int
    heap_address: int


class SharedMessages:
    """What messages of one file refer to in place of holding it themselves.

    Parameters
    ----------
    file, file_map
        The file, and the map in which headers and heaps are entered.
    """

    def __init__(self, file: FileBytes, file_map: FileMap) -> None:
        self._file = file
        self._map = file_map
        self._headers: dict[int, ObjectHeader] = {}
        self._indexes: list[_Index] = []
        self._heaps: dict[int, FractalHeapReader] = {}

    def header(self, owner: str, address: int) -> ObjectHeader:
        """Read an object header, once: that of a named datatype is read for itself and for what uses it."""
        if address in self._headers:
            return self._headers[address]
        header = read_object_header(self._file, self._map, owner, address)
        types = {stored.message.type_id for stored in header.messages}
        if MessageType.DATATYPE in types and MessageType.DATA_LAYOUT not in types:
            self._headers[address] = header
        return header

    def body(self, message_type: int, reference: bytes, owner: str) -> bytes:
        """Return the body of the message that a shared message refers to; padding may follow it.

        Raises
        ------
        FormatError
            The reference, or what it refers to, is damaged.
        ForeignStructureError
            A message that is shared in another way.
        """
        fields = Fields(reference, "shared message", self._file.encoding)
        version = fields.version(1, 2, 3)
        kind = fields.uint(1, "type")
        if version == 1:
            fields.take(6, "reserved bytes")
            fields.length("local heap offset")
        if version == 3 and kind == _IN_HEAP:
            return self.in_heap(message_type, fields.take(_SIZEOF_HEAP_ID, "heap ID"))
        if version == 3 and kind != _COMMITTED:
            raise ForeignStructureError(f"shared message of type {kind}")
        return self._committed(message_type, fields.address("object header address"), owner)

    def in_heap(self, message_type: int, heap_id: bytes) -> bytes:
        """Return a message from the heap of its type.

        Raises
        ------
        FormatError
            The file has no such heap, or the heap is damaged.
        """
        for index in self._indexes:
            if index.message_types >> message_type & 1:
                if index.heap_address not in self._heaps:
                    self._heaps[index.heap_address] = FractalHeapReader(
                        self._file, self._map, "/", index.heap_address
                    )
                return self._heaps[index.heap_address].object(heap_id)
        raise FormatError(f"shared message: the file has no heap for messages of type {message_type:#04x}")

    def read_table(self, body: bytes) -> None:
        """Read the table that a shared message table message of the superblock extension points to.

        Raises
        ------
        FormatError
            A field or a checksum is wrong.
        """
        encoding = self._file.encoding
        message = Fields(body, "shared message table message", encoding)
        message.expect(0, 1, "version")
        address, n_indexes = message.address("table address"), message.uint(1, "number of indexes")
        nbytes = 4 + n_indexes * (14 + 2 * encoding.sizeof_address) + SIZEOF_CHECKSUM
        self._file.check_range(address, nbytes, _TABLE)
        self._map.claim(Kind.HEAP, "/", address, nbytes)
        block = self._file.read(address, nbytes, _TABLE)
        check_checksum(block, _TABLE)
        fields = Fields(block, _TABLE, encoding)
        fields.expect_signature(b"SMTB")
        for _ in range(n_indexes):
            fields.expect(0, 1, "version")
            fields.uint(1, "index type")
            message_types = fields.uint(2, "message type flags")
            fields.take(4 + 2 + 2 + 2, "sizes and cutoffs")
            fields.address("index address")
            self._indexes.append(_Index(message_types, fields.address("fractal heap address")))

    def _committed(self, message_type: int, address: int, owner: str) -> bytes:
        for stored in self.header(owner, address).messages:
            if stored.message.type_id == message_type and not stored.message.flags & _SHARED:
                return stored.message.body
        raise FormatError(
            f"shared message: the object at address {address:,} has no message of type {message_type:#04x}"
        )
