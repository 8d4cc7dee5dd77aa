"""Object header, version 2, from bytes (specification IV.A.1.b)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.object_header import Message, MessageType
from streamh5.reader.fields import Fields, check_checksum
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["CONTINUATION", "ObjectHeader", "StoredMessage", "read_object_header"]

CONTINUATION = 0x10
"""Type of the message that says where the next block of the header is (IV.A.2.q)."""

_SIZE_WIDTH = 0x03
_ATTRIBUTE_ORDER_TRACKED = 0x04
_PHASE_CHANGE_STORED = 0x10
_TIMES_STORED = 0x20
_RESERVED_FLAGS = 0xC0
_SIZEOF_TIMES = 16
_SIZEOF_PHASE_CHANGE = 4
_SIZEOF_SMALLEST_HEADER = 4 + 1 + 1 + 1 + SIZEOF_CHECKSUM
_SIZEOF_LONGEST_PREFIX = 4 + 1 + 1 + _SIZEOF_TIMES + _SIZEOF_PHASE_CHANGE + 8


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message, and its creation index where the header tracks the order of attributes."""

    message: Message
    creation_index: int | None


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """The messages of all blocks of an object header, without NIL and continuation messages.

    Attributes
    ----------
    address
        Of its first block.
    messages
        In the order in which they stand.
    attribute_order
        Whether the creation order of attributes is tracked.
    n_blocks
        1, and 1 more for each continuation.
    nbytes
        Of all blocks.
    """

    address: int
    messages: tuple[StoredMessage, ...]
    attribute_order: bool
    n_blocks: int
    nbytes: int


def read_object_header(file: FileBytes, file_map: FileMap, owner: str, address: int) -> ObjectHeader:
    """Read and decode the object header at `address`, with its continuations.

    Raises
    ------
    FormatError
        A field or a checksum is wrong, or a block is outside the file.
    ForeignStructureError
        A header of version 1.
    """
    position, flags, chunk_nbytes = _read_prefix(file, address)
    nbytes = position + chunk_nbytes + SIZEOF_CHECKSUM
    structure = "object header"
    file.check_range(address, nbytes, structure)
    file_map.claim(Kind.HEADER, owner, address, nbytes)
    block = file.read(address, nbytes, structure)
    check_checksum(block, structure)
    attribute_order = bool(flags & _ATTRIBUTE_ORDER_TRACKED)
    messages: list[StoredMessage] = []
    continuations: list[tuple[int, int]] = []
    n_blocks, total = 1, nbytes
    found = _decode_messages(block[position:-SIZEOF_CHECKSUM], structure, attribute_order=attribute_order)
    while True:
        for one in found:
            if one.message.type_id == CONTINUATION:
                continuations.append(_decode_continuation(one.message.body))
            elif one.message.type_id != MessageType.NIL:
                messages.append(one)
        if not continuations:
            return ObjectHeader(address, tuple(messages), attribute_order, n_blocks, total)
        here, nbytes = continuations.pop()
        content = _read_continuation(file, file_map, owner, here, nbytes)
        found = _decode_messages(content, "object header continuation", attribute_order=attribute_order)
        n_blocks, total = n_blocks + 1, total + nbytes


def _read_prefix(file: FileBytes, address: int) -> tuple[int, int, int]:
    """Return the position of the first message, the flags, and the size of chunk 0."""
    structure = "object header"
    n_there = max(_SIZEOF_SMALLEST_HEADER, min(_SIZEOF_LONGEST_PREFIX, file.nbytes - address))
    fields = Fields(file.read(address, n_there, structure), structure)
    signature = fields.take(4, "signature")
    if signature != b"OHDR":
        if signature[:2] == b"\x01\0":
            raise ForeignStructureError("object header: version 1, which streamh5 does not write")
        raise fields.error(f"signature is {signature!r}, where b'OHDR' must be")
    fields.expect(2, 1, "version")
    flags = fields.uint(1, "flags")
    if flags & _RESERVED_FLAGS:
        raise fields.error(f"flags are {flags:#04x}, with reserved bits")
    fields.take(_SIZEOF_TIMES if flags & _TIMES_STORED else 0, "times")
    fields.take(_SIZEOF_PHASE_CHANGE if flags & _PHASE_CHANGE_STORED else 0, "phase change values")
    chunk_nbytes = fields.uint(1 << (flags & _SIZE_WIDTH), "size of chunk 0")
    return fields.position, flags, chunk_nbytes


def _decode_messages(content: bytes, structure: str, *, attribute_order: bool) -> Iterator[StoredMessage]:
    """Cut a block into messages; a gap that is too small for one may stand at its end."""
    fields = Fields(content, structure)
    sizeof_header = 6 if attribute_order else 4
    while fields.n_left >= sizeof_header:
        type_id = fields.uint(1, "message type")
        nbytes = fields.uint(2, "message size")
        flags = fields.uint(1, "message flags")
        creation_index = fields.uint(2, "attribute creation index") if attribute_order else None
        yield StoredMessage(Message(type_id, fields.take(nbytes, "message"), flags), creation_index)


def _decode_continuation(body: bytes) -> tuple[int, int]:
    fields = Fields(body, "object header continuation message")
    address, nbytes = fields.address("offset"), fields.length("length")
    fields.end()
    return address, nbytes


def _read_continuation(file: FileBytes, file_map: FileMap, owner: str, address: int, nbytes: int) -> bytes:
    structure = "object header continuation"
    file.check_range(address, nbytes, structure)
    file_map.claim(Kind.HEADER, owner, address, nbytes)
    block = file.read(address, nbytes, structure)
    check_checksum(block, structure)
    fields = Fields(block, structure)
    fields.expect_signature(b"OCHK")
    if fields.n_left < SIZEOF_CHECKSUM:
        raise FormatError(f"{structure}: {nbytes} bytes are too few")
    return fields.take(fields.n_left - SIZEOF_CHECKSUM, "messages")
