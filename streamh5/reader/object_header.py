"""Object header, versions 1 and 2, from bytes (specification IV.A.1)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.fields import Fields, check_checksum
from streamh5.format.object_header import Message, MessageType
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["CONTINUATION", "ObjectHeader", "StoredMessage", "read_object_header"]

CONTINUATION = 0x10
"""Type of the message that says where the next block of the header is (IV.A.2.q)."""

_STRUCTURE = "object header"
_SIZE_WIDTH = 0x03
_ATTRIBUTE_ORDER_TRACKED = 0x04
_PHASE_CHANGE_STORED = 0x10
_TIMES_STORED = 0x20
_RESERVED_FLAGS = 0xC0
_SIZEOF_TIMES = 16
_SIZEOF_PHASE_CHANGE = 4
_SIZEOF_PREFIX_V1 = 16
_SIZEOF_SMALLEST_HEADER = 4 + 1 + 1 + 1 + SIZEOF_CHECKSUM
_SIZEOF_LONGEST_PREFIX = 4 + 1 + 1 + _SIZEOF_TIMES + _SIZEOF_PHASE_CHANGE + 8
_SIZEOF_MESSAGE_HEADER_V1 = 8


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
    version
        1 or 2; bodies of messages of version 1 may end with padding.
    n_links
        Reference count in the prefix of version 1; None for version 2, which has a message for it.
    """

    address: int
    messages: tuple[StoredMessage, ...]
    attribute_order: bool
    n_blocks: int
    nbytes: int
    version: int = 2
    n_links: int | None = None


@dataclass(frozen=True, slots=True)
class _Prefix:
    """What stands before the first message.

    Attributes
    ----------
    version, n_links
        As in `ObjectHeader`.
    attribute_order
        Whether messages have a creation index.
    position, stop
        Where the messages of the first block begin and end, from the address of the header on.
    """

    version: int
    n_links: int | None
    attribute_order: bool
    position: int
    stop: int

    @property
    def nbytes(self) -> int:
        """Size of the first block."""
        return self.stop if self.version == 1 else self.stop + SIZEOF_CHECKSUM


def read_object_header(file: FileBytes, file_map: FileMap, owner: str, address: int) -> ObjectHeader:
    """Read and decode the object header at `address`, with its continuations.

    Raises
    ------
    FormatError
        A field or a checksum is wrong, or a block is outside the file.
    """
    prefix = _read_prefix(file, address)
    total = prefix.nbytes
    file.check_range(address, total, _STRUCTURE)
    file_map.claim(Kind.HEADER, owner, address, total)
    block = file.read(address, total, _STRUCTURE)
    if prefix.version > 1:
        check_checksum(block, _STRUCTURE)
    messages: list[StoredMessage] = []
    continuations: deque[tuple[int, int]] = deque()
    n_blocks = 1
    found = _decode_messages(block[prefix.position : prefix.stop], _STRUCTURE, prefix)
    while True:
        for one in found:
            if one.message.type_id == CONTINUATION:
                continuations.append(_decode_continuation(file, one.message.body))
            elif one.message.type_id != MessageType.NIL:
                messages.append(one)
        if not continuations:
            break
        here, nbytes = continuations.popleft()
        content = _read_continuation(file, file_map, owner, here, nbytes, prefix.version)
        found = _decode_messages(content, "object header continuation", prefix)
        n_blocks, total = n_blocks + 1, total + nbytes
    return ObjectHeader(
        address, tuple(messages), prefix.attribute_order, n_blocks, total, prefix.version, prefix.n_links
    )


def _read_prefix(file: FileBytes, address: int) -> _Prefix:
    n_there = max(_SIZEOF_SMALLEST_HEADER, min(_SIZEOF_LONGEST_PREFIX, file.nbytes - address))
    block = file.read(address, n_there, _STRUCTURE)
    fields = Fields(block, _STRUCTURE)
    if block[:1] == b"\1":
        fields.expect(1, 1, "version")
        fields.uint(1, "reserved byte")
        fields.uint(2, "number of messages")  # which the library does not compare, either
        n_links = fields.uint(4, "reference count")
        stop = _SIZEOF_PREFIX_V1 + fields.uint(4, "header size")
        return _Prefix(1, n_links, attribute_order=False, position=_SIZEOF_PREFIX_V1, stop=stop)
    fields.expect_signature(b"OHDR")
    fields.expect(2, 1, "version")
    flags = fields.uint(1, "flags")
    if flags & _RESERVED_FLAGS:
        raise fields.error(f"flags are {flags:#04x}, with reserved bits")
    fields.take(_SIZEOF_TIMES if flags & _TIMES_STORED else 0, "times")
    fields.take(_SIZEOF_PHASE_CHANGE if flags & _PHASE_CHANGE_STORED else 0, "phase change values")
    chunk_nbytes = fields.uint(1 << (flags & _SIZE_WIDTH), "size of chunk 0")
    attribute_order = bool(flags & _ATTRIBUTE_ORDER_TRACKED)
    return _Prefix(2, None, attribute_order, fields.position, fields.position + chunk_nbytes)


def _decode_messages(content: bytes, structure: str, prefix: _Prefix) -> Iterator[StoredMessage]:
    """Cut a block into messages; a gap that is too small for one may stand at its end."""
    fields = Fields(content, structure)
    if prefix.version == 1:
        while fields.n_left >= _SIZEOF_MESSAGE_HEADER_V1:
            type_id = fields.uint(2, "message type")
            nbytes = fields.uint(2, "message size")
            flags = fields.uint(1, "message flags")
            fields.take(3, "reserved bytes")
            yield StoredMessage(Message(type_id, fields.take(nbytes, "message"), flags), None)
        return
    sizeof_header = 6 if prefix.attribute_order else 4
    while fields.n_left >= sizeof_header:
        type_id = fields.uint(1, "message type")
        nbytes = fields.uint(2, "message size")
        flags = fields.uint(1, "message flags")
        creation_index = fields.uint(2, "attribute creation index") if prefix.attribute_order else None
        yield StoredMessage(Message(type_id, fields.take(nbytes, "message"), flags), creation_index)


def _decode_continuation(file: FileBytes, body: bytes) -> tuple[int, int]:
    fields = Fields(body, "object header continuation message", file.encoding)
    return fields.address("offset"), fields.length("length")


def _read_continuation(
    file: FileBytes, file_map: FileMap, owner: str, address: int, nbytes: int, version: int
) -> bytes:
    structure = "object header continuation"
    file.check_range(address, nbytes, structure)
    file_map.claim(Kind.HEADER, owner, address, nbytes)
    block = file.read(address, nbytes, structure)
    if version == 1:
        return block
    check_checksum(block, structure)
    fields = Fields(block, structure)
    fields.expect_signature(b"OCHK")
    if fields.n_left < SIZEOF_CHECKSUM:
        raise FormatError(f"{structure}: {nbytes} bytes are too few")
    return fields.take(fields.n_left - SIZEOF_CHECKSUM, "messages")
