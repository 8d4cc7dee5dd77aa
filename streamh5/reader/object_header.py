"""Object headers (specification IV.A) with their continuations, and messages that several headers share."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.object_header import (
    NO_FIELDS,
    SIZEOF_SMALLEST_OBJECT_HEADER,
    Message,
    MessageFlag,
    MessageType,
    OptionalFields,
    decode_continuation,
    decode_continuation_block,
    decode_first_block,
    decode_object_header_prefix,
)
from streamh5.format.shared_message import decode_shared_message
from streamh5.format.shared_message_table import (
    SharedMessageIndex,
    decode_shared_message_table,
    decode_shared_message_table_message,
    sizeof_shared_message_table,
)
from streamh5.reader.file_map import Kind, StructureReader
from streamh5.reader.fractal_heap import FractalHeapReader

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap


_STRUCTURE = "object header"

BEGINNING_NBYTES = 512
"""Bytes that are read of a header at first, more than the longest prefix: most headers need no other read."""


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """An object header with its continuation blocks.

    Attributes
    ----------
    address
        Address of the first block.
    messages
        Messages of all blocks as stored, without NIL and continuation messages.
    attribute_order
        Whether the creation order of attributes is tracked.
    n_blocks
        Number of blocks: 1, and 1 for each continuation.
    nbytes
        Total size of the blocks in bytes.
    version
        1 or 2. In version 1, bodies of messages may end with padding.
    n_links
        Reference count in the prefix of version 1; None for version 2, which stores it as a message.
    optional
        Optional fields in the prefix of version 2.
    """

    address: int
    messages: tuple[Message, ...]
    attribute_order: bool
    n_blocks: int
    nbytes: int
    version: int = 2
    n_links: int | None = None
    optional: OptionalFields = NO_FIELDS

    @property
    def message_types(self) -> set[int]:
        """The types of its messages."""
        return {message.type_id for message in self.messages}

    @property
    def is_named_datatype(self) -> bool:
        """Whether the object is a named datatype; datasets have a datatype message as well."""
        types = self.message_types
        return MessageType.DATATYPE in types and MessageType.DATA_LAYOUT not in types


def read_object_header(file: FileBytes, file_map: FileMap, owner: str, address: int) -> ObjectHeader:
    """Read and decode the object header at `address`, with its continuations.

    Raises
    ------
    FormatError
        A field or a checksum is wrong, or a block is outside the file.
    """
    reader = StructureReader(file, file_map, Kind.HEADER, owner)
    # A small header at the end of the file may be shorter than what is read at first.
    n_read = max(SIZEOF_SMALLEST_OBJECT_HEADER, min(BEGINNING_NBYTES, file.nbytes - address))
    beginning = file.read(address, n_read, _STRUCTURE)
    prefix = decode_object_header_prefix(beginning)
    total = prefix.nbytes
    if total > n_read:
        block = reader.read(address, total, _STRUCTURE)
    else:
        reader.claim(address, total, _STRUCTURE)
        block = beginning[:total]
    found = decode_first_block(block, prefix)
    messages: list[Message] = []
    continuations: deque[tuple[int, int]] = deque()
    n_blocks = 1
    while True:
        for message in found:
            if message.type_id == MessageType.CONTINUATION:
                continuations.append(decode_continuation(message.body, file.encoding))
            elif message.type_id != MessageType.NIL:
                messages.append(message)
        if not continuations:
            break
        here, nbytes = continuations.popleft()
        # read as a whole, in contrast to the first block
        block = reader.read(here, nbytes, "object header continuation", pages=(0, nbytes))
        found = decode_continuation_block(block, prefix)
        n_blocks, total = n_blocks + 1, total + nbytes
    return ObjectHeader(
        address,
        tuple(messages),
        prefix.attribute_order,
        n_blocks,
        total,
        prefix.version,
        prefix.n_links,
        prefix.optional,
    )


class SharedMessages:
    """Messages of one file that are stored once and used by several object headers.

    They are in the header of a named datatype, or in a heap that the superblock extension lists.

    Parameters
    ----------
    file, file_map
        The file, and the map in which headers and heaps are entered.
    """

    def __init__(self, file: FileBytes, file_map: FileMap) -> None:
        self._file = file
        self._map = file_map
        self._reader = StructureReader(file, file_map, Kind.HEAP, "/")
        self._headers: dict[int, ObjectHeader] = {}
        self._indexes: list[SharedMessageIndex] = []
        self._heaps: dict[int, FractalHeapReader] = {}

    def header(self, owner: str, address: int) -> ObjectHeader:
        """Read an object header.

        The header of a named datatype is read once, although the walk and all objects of that type refer to it.
        """
        if address in self._headers:
            return self._headers[address]
        header = read_object_header(self._file, self._map, owner, address)
        if header.is_named_datatype:
            self._headers[address] = header
        return header

    def body(self, message_type: int, reference: bytes, owner: str) -> bytes:
        """Return the body of the message to which a shared message refers; padding may follow it.

        Raises
        ------
        FormatError
            The reference or its target is damaged.
        ForeignStructureError
            The message is shared in a way that the reader does not know.
        """
        target = decode_shared_message(reference, self._file.encoding)
        if isinstance(target, bytes):
            return self.in_heap(message_type, target)
        return self._committed(message_type, target, owner)

    def in_heap(self, message_type: int, heap_id: bytes) -> bytes:
        """Return the body of a message from the heap for messages of its type.

        Raises
        ------
        FormatError
            The file has no such heap, or the heap is damaged.
        """
        for index in self._indexes:
            if index.message_types >> message_type & 1:
                if index.heap_address not in self._heaps:
                    self._heaps[index.heap_address] = FractalHeapReader(self._reader, index.heap_address)
                return self._heaps[index.heap_address].object(heap_id)
        raise FormatError(f"shared message: the file has no heap for messages of type {message_type:#04x}")

    def read_table(self, body: bytes) -> None:
        """Read the table to which a shared message table message of the superblock extension refers.

        Raises
        ------
        FormatError
            A field or a checksum is wrong.
        """
        encoding = self._file.encoding
        address, n_indexes = decode_shared_message_table_message(body, encoding)
        nbytes = sizeof_shared_message_table(n_indexes, encoding)
        block = self._reader.read(address, nbytes, "shared object header message table")
        self._indexes += decode_shared_message_table(block, n_indexes, encoding)

    def _committed(self, message_type: int, address: int, owner: str) -> bytes:
        for message in self.header(owner, address).messages:
            if message.type_id == message_type and not message.flags & MessageFlag.SHARED:
                return message.body
        raise FormatError(
            f"shared message: the object at address {address:,} has no message of type {message_type:#04x}"
        )
