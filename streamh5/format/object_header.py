"""Object header (specification IV.A.1): versions 1 and 2 are read, version 2 is written.

Headers consist of blocks: the prefix has the size of the first one, continuation messages have the addresses of the
others. Those that are written have one block, or two in a file with pages: see `PageRule`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from streamh5.errors import LimitError, over_limit
from streamh5.format.checksum import SIZEOF_CHECKSUM, append_checksum
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.primitives import MAX_MESSAGE_NBYTES, address, length, uint


class MessageType(IntEnum):
    """Header message types (specification IV.A.2)."""

    NIL = 0x00
    DATASPACE = 0x01
    LINK_INFO = 0x02
    DATATYPE = 0x03
    OLD_FILL_VALUE = 0x04
    FILL_VALUE = 0x05
    LINK = 0x06
    EXTERNAL_FILES = 0x07
    DATA_LAYOUT = 0x08
    GROUP_INFO = 0x0A
    FILTER_PIPELINE = 0x0B
    ATTRIBUTE = 0x0C
    COMMENT = 0x0D
    OLD_MODIFICATION_TIME = 0x0E
    SHARED_MESSAGE_TABLE = 0x0F
    CONTINUATION = 0x10
    SYMBOL_TABLE = 0x11
    MODIFICATION_TIME = 0x12
    BTREE_K = 0x13
    DRIVER_INFO = 0x14
    ATTRIBUTE_INFO = 0x15
    REFERENCE_COUNT = 0x16
    FILE_SPACE_INFO = 0x17
    CACHE_IMAGE = 0x18


class MessageFlag(IntEnum):
    """Header message flags."""

    CONSTANT = 0x01
    SHARED = 0x02
    DO_NOT_SHARE = 0x04


class _HeaderFlag(IntEnum):
    SIZE_WIDTH = 0x03
    ATTRIBUTE_ORDER_TRACKED = 0x04
    ATTRIBUTE_ORDER_INDEXED = 0x08
    PHASE_CHANGE_STORED = 0x10
    TIMES_STORED = 0x20


_ORDER_FLAGS = _HeaderFlag.ATTRIBUTE_ORDER_TRACKED | _HeaderFlag.ATTRIBUTE_ORDER_INDEXED


class Message(NamedTuple):
    """One header message: its type, its encoded body and its flags.

    ``creation_index`` is that of an attribute in a header that was read; encoded headers number their attributes.
    """

    type_id: int
    body: bytes
    flags: int = 0
    creation_index: int = 0


_SIGNATURE = b"OHDR"
_VERSION = b"\2"
_SIZEOF_PREFIX = len(_SIGNATURE) + 1 + 1  # signature, version, flags; followed by the size of chunk 0
_SIZE_WIDTHS = (1, 2, 4, 8)

_STRUCTURE, _CONTINUATION = "object header", "object header continuation"
_CONTINUATION_SIGNATURE = b"OCHK"
_SIZEOF_TIMES = 16
_SIZEOF_PHASE_CHANGE = 4
_SIZEOF_PREFIX_V1 = 16

_MESSAGE_HEADER_V1 = Struct("<HHB3x")
_MESSAGE_HEADER = Struct("<BHB")
_ORDERED_MESSAGE_HEADER = Struct("<BHBH")
"""Type, size and flags of a message, and its creation index."""

MAX_FREE_NBYTES = _MESSAGE_HEADER.size + MAX_MESSAGE_NBYTES
"""Most free space of an object header: one NIL message covers it."""

POSITION_OF_CONTINUED_MESSAGES = len(_CONTINUATION_SIGNATURE)
"""Byte position of the first message in a continuation block."""

SIZEOF_CONTINUATION_BLOCK = POSITION_OF_CONTINUED_MESSAGES + SIZEOF_CHECKSUM
"""Size of a continuation block without messages."""

SIZEOF_SMALLEST_OBJECT_HEADER = _SIZEOF_PREFIX + 1 + SIZEOF_CHECKSUM


@dataclass(frozen=True, slots=True)
class OptionalFields:
    """The fields of a prefix of version 2 that need not be there, as stored; empty without.

    Attributes
    ----------
    times
        Access, modification, change and birth time, 4 bytes each.
    phase_change
        Most attributes of compact storage, and fewest of dense storage, 2 bytes each.
    """

    times: bytes = b""
    phase_change: bytes = b""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return len(self.times) + len(self.phase_change)


NO_FIELDS = OptionalFields()


@dataclass(frozen=True, slots=True)
class ObjectHeaderPrefix:
    """The fields before the first message.

    Attributes
    ----------
    version
        1 or 2.
    n_links
        Reference count of version 1; None for version 2, which stores it in a message.
    attribute_order
        Whether messages store an attribute creation index.
    optional
        Optional fields of version 2.
    position, stop
        Begin and end of the messages of the first block, relative to the address of the header.
    """

    version: int
    n_links: int | None
    attribute_order: bool
    position: int
    stop: int
    optional: OptionalFields = NO_FIELDS

    @property
    def nbytes(self) -> int:
        """Size of the first block in bytes."""
        return self.stop if self.version == 1 else self.stop + SIZEOF_CHECKSUM


def encode_times(seconds: int) -> bytes:
    """Return the four times of a header that was made `seconds` after 1970-01-01 00:00 UTC."""
    return uint(seconds, _SIZEOF_TIMES // 4, "time") * 4


@dataclass(frozen=True, slots=True)
class PackedMessages:
    """The messages of an object header, encoded one after the other.

    Parameters
    ----------
    content
        The messages with their headers.
    attribute_order
        Whether they have creation indexes.
    """

    content: bytes
    attribute_order: bool = False

    def encode(self, *, optional: OptionalFields = NO_FIELDS, size: int | None = None) -> bytes:
        """Encode the first block of an object header.

        Parameters
        ----------
        optional
            Optional fields of the prefix.
        size
            Size of the result in bytes, at least `sizeof_object_header`; free space becomes one NIL message, or a gap
            if it is smaller than a message. None for the smallest size.

        Raises
        ------
        LimitError
            `size` is too small or leaves more free space than one message can cover.
        """
        needed = sizeof_object_header(len(self.content), optional)
        size = needed if size is None else size
        if size < needed:
            raise LimitError(
                f"the object header needs {needed} bytes but {size} are reserved; reserve at least {needed}",
                needed=needed,
                size=size,
            )
        width = _size_width(size - optional.nbytes)
        chunk_nbytes = size - _SIZEOF_PREFIX - optional.nbytes - width - SIZEOF_CHECKSUM
        flags = _SIZE_WIDTHS.index(width) | (_ORDER_FLAGS if self.attribute_order else 0)
        flags |= _HeaderFlag.TIMES_STORED if optional.times else 0
        flags |= _HeaderFlag.PHASE_CHANGE_STORED if optional.phase_change else 0
        return append_checksum(
            _SIGNATURE,
            _VERSION,
            uint(flags, 1, "flags"),
            optional.times,
            optional.phase_change,
            uint(chunk_nbytes, width, "size of chunk 0"),
            self.content,
            _encode_free_space(chunk_nbytes - len(self.content), attribute_order=self.attribute_order),
        )


def sizeof_object_header(n_messages: int, optional: OptionalFields = NO_FIELDS) -> int:
    """Return the size in bytes of the smallest object header with messages of `n_messages` bytes in all.

    `PackedMessages.encode` can make headers of every larger size: the field for the size of chunk 0 is wide enough for
    one more byte, because otherwise one size (65,548) would be impossible.
    """
    width = 1
    while n_messages + 1 >= 256**width:
        width *= 2
    return _SIZEOF_PREFIX + optional.nbytes + width + n_messages + SIZEOF_CHECKSUM


def position_of_messages(size: int, optional: OptionalFields = NO_FIELDS) -> int:
    """Return the byte position of the first message in an object header of `size` bytes."""
    return _SIZEOF_PREFIX + optional.nbytes + _size_width(size - optional.nbytes)


def pack_messages(messages: Iterable[Message], *, attribute_order: bool = False) -> PackedMessages:
    """Encode messages in their order in the header.

    Parameters
    ----------
    messages
        The messages.
    attribute_order
        Whether to track and index the creation order of attributes, which is their order in `messages`.

    Raises
    ------
    LimitError
        A message body has more than 65,535 bytes.
    """
    return PackedMessages(_encode_messages(messages, attribute_order=attribute_order), attribute_order)


def _size_width(size: int) -> int:
    """Return the width of the field for the size of chunk 0 in a header of `size` bytes."""
    rest, width = size - _SIZEOF_PREFIX - SIZEOF_CHECKSUM, 1
    while rest - width >= 256**width:
        width *= 2
    return width


def _encode_messages(messages: Iterable[Message], *, attribute_order: bool) -> bytes:
    parts: list[bytes] = []
    n_attributes = 0
    for message in messages:
        body = message.body
        if len(body) > MAX_MESSAGE_NBYTES:
            subject = f"a header message of type {message.type_id:#04x} has {len(body)} bytes"
            raise over_limit(subject, MAX_MESSAGE_NBYTES, type_id=message.type_id, nbytes=len(body))
        parts.append(_MESSAGE_HEADER.pack(message.type_id, len(body), message.flags))
        if attribute_order:
            is_attribute = message.type_id == MessageType.ATTRIBUTE
            parts.append(uint(n_attributes if is_attribute else 0, 2, "attribute creation index"))
            n_attributes += is_attribute
        parts.append(body)
    return b"".join(parts)


def _encode_free_space(nbytes: int, *, attribute_order: bool) -> bytes:
    """Fill `nbytes` with one NIL message, or with a gap if a message header does not fit.

    Two NIL messages could cover more, but HDF5 2.0 merges adjacent ones when it edits the header, and damages the
    header if their sum exceeds 65,535 bytes (H5O__merge_null).
    """
    header = (_ORDERED_MESSAGE_HEADER if attribute_order else _MESSAGE_HEADER).size
    if nbytes < header:
        return bytes(nbytes)
    most = header + MAX_MESSAGE_NBYTES
    if nbytes > most:
        raise over_limit(f"{nbytes:,} bytes of free space in an object header", most, nbytes=nbytes)
    nil = Message(MessageType.NIL, bytes(nbytes - header))
    return _encode_messages([nil], attribute_order=attribute_order)


def decode_object_header_prefix(block: bytes) -> ObjectHeaderPrefix:
    """Decode the prefix of an object header, of which `block` is the beginning.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(block, _STRUCTURE)
    if block[:1] == b"\1":
        fields.expect(1, 1, "version")
        fields.uint(1, "reserved byte")
        fields.uint(2, "number of messages")  # the library does not check it either
        n_links = fields.uint(4, "reference count")
        stop = _SIZEOF_PREFIX_V1 + fields.uint(4, "header size")
        return ObjectHeaderPrefix(1, n_links, attribute_order=False, position=_SIZEOF_PREFIX_V1, stop=stop)
    fields.expect_signature(_SIGNATURE)
    fields.expect(2, 1, "version")
    flags = fields.flags(_HeaderFlag)
    times = fields.take(_SIZEOF_TIMES if flags & _HeaderFlag.TIMES_STORED else 0, "times")
    has_phase_change = flags & _HeaderFlag.PHASE_CHANGE_STORED
    phase_change = fields.take(_SIZEOF_PHASE_CHANGE if has_phase_change else 0, "phase change values")
    chunk_nbytes = fields.uint(_SIZE_WIDTHS[flags & _HeaderFlag.SIZE_WIDTH], "size of chunk 0")
    attribute_order = bool(flags & _HeaderFlag.ATTRIBUTE_ORDER_TRACKED)
    stop = fields.position + chunk_nbytes
    optional = OptionalFields(times, phase_change)
    return ObjectHeaderPrefix(2, None, attribute_order, fields.position, stop, optional)


def decode_first_block(block: bytes, prefix: ObjectHeaderPrefix) -> Iterator[Message]:
    """Split the first block of an object header into its messages.

    Raises
    ------
    FormatError
        The checksum or a size is wrong.
    """
    if prefix.version > 1:
        Fields(block, _STRUCTURE).check_checksum()
    return _decode_messages(block[prefix.position : prefix.stop], _STRUCTURE, prefix)


def encode_continuation(offset: int, nbytes: int) -> Message:
    """Return the object header continuation message (IV.A.2.q) for the block of `nbytes` at the address `offset`."""
    return Message(MessageType.CONTINUATION, address(offset, "offset") + length(nbytes, "length"))


def encode_continuation_block(messages: bytes) -> bytes:
    """Encode a continuation block of packed messages: `SIZEOF_CONTINUATION_BLOCK` bytes more than they have."""
    return append_checksum(_CONTINUATION_SIGNATURE, messages)


def decode_continuation(body: bytes, encoding: Encoding = ENCODING) -> tuple[int, int]:
    """Return address and size of the block that an object header continuation message (IV.A.2.q) refers to.

    Raises
    ------
    FormatError
        The message is too short.
    """
    fields = Fields(body, "object header continuation message", encoding)
    return fields.address("offset"), fields.length("length")


def decode_continuation_block(block: bytes, prefix: ObjectHeaderPrefix) -> Iterator[Message]:
    """Split a continuation block into its messages.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    if prefix.version > 1:
        fields = Fields(block, _CONTINUATION)
        fields.check_checksum()
        fields.expect_signature(_CONTINUATION_SIGNATURE)
        if fields.n_left < SIZEOF_CHECKSUM:
            raise fields.error(f"{len(block)} bytes are too few")
        block = block[fields.position : -SIZEOF_CHECKSUM]
    return _decode_messages(block, _CONTINUATION, prefix)


def _decode_messages(content: bytes, structure: str, prefix: ObjectHeaderPrefix) -> Iterator[Message]:
    """Split messages; a gap that is too small for a message may follow the last one."""
    fields = Fields(content, structure)
    if prefix.version == 1:
        layout = _MESSAGE_HEADER_V1
    else:
        layout = _ORDERED_MESSAGE_HEADER if prefix.attribute_order else _MESSAGE_HEADER
    while fields.n_left >= layout.size:
        type_id, nbytes, flags, *order = layout.unpack(fields.take(layout.size, "message header"))
        yield Message(type_id, fields.take(nbytes, "message"), flags, *order)
