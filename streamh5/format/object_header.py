"""Object header, version 2, in one chunk (specification IV.A.1.b)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from streamh5.errors import LimitError
from streamh5.format.checksum import SIZEOF_CHECKSUM, append_checksum
from streamh5.format.primitives import MAX_MESSAGE_NBYTES, uint


class MessageType(IntEnum):
    """Header message types that streamh5 writes (specification IV.A.2)."""

    NIL = 0x00
    DATASPACE = 0x01
    LINK_INFO = 0x02
    DATATYPE = 0x03
    FILL_VALUE = 0x05
    LINK = 0x06
    DATA_LAYOUT = 0x08
    GROUP_INFO = 0x0A
    FILTER_PIPELINE = 0x0B
    ATTRIBUTE = 0x0C
    ATTRIBUTE_INFO = 0x15
    REFERENCE_COUNT = 0x16


class MessageFlag(IntEnum):
    """Header message flags."""

    CONSTANT = 0x01
    SHARED = 0x02
    DO_NOT_SHARE = 0x04


class _HeaderFlag(IntEnum):
    ATTRIBUTE_ORDER_TRACKED = 0x04
    ATTRIBUTE_ORDER_INDEXED = 0x08


@dataclass(frozen=True, slots=True)
class Message:
    """One header message: its type, its encoded body and its flags."""

    type_id: int
    body: bytes
    flags: int = 0


_SIGNATURE = b"OHDR"
_SIZEOF_PREFIX = len(_SIGNATURE) + 1 + 1  # signature, version, flags; the size of chunk 0 follows
_SIZE_WIDTHS = (1, 2, 4, 8)


def sizeof_object_header(messages: Sequence[Message], *, attribute_order: bool = False) -> int:
    """Return the bytes of the smallest object header with `messages`.

    Every larger size can be reached with the `size` of `encode_object_header`: the field that holds the
    size of chunk 0 is chosen wide enough for one byte more, or one size (65,548) would be unreachable.
    """
    chunk_nbytes = _sizeof_messages(messages, attribute_order=attribute_order)
    width = next(width for width in _SIZE_WIDTHS if chunk_nbytes + 1 < 256**width)
    return _SIZEOF_PREFIX + width + chunk_nbytes + SIZEOF_CHECKSUM


def encode_object_header(
    messages: Sequence[Message], *, attribute_order: bool = False, size: int | None = None
) -> bytes:
    """Encode an object header of one chunk, without times.

    Parameters
    ----------
    messages
        In the order in which they are to stand.
    attribute_order
        Track and index the creation order of attributes: their order in `messages`.
    size
        Exact bytes of the result, at least `sizeof_object_header`; the rest becomes one NIL message, or a
        gap where it is smaller than a message. None for the smallest size.

    Raises
    ------
    LimitError
        A message body has more than 65,535 bytes, or `size` is too small, or leaves more free space than
        one message holds.
    """
    needed = sizeof_object_header(messages, attribute_order=attribute_order)
    size = needed if size is None else size
    if size < needed:
        raise LimitError(
            f"the object header needs {needed} bytes but {size} are reserved; reserve at least {needed}",
            needed=needed,
            size=size,
        )
    width = _size_width(size)
    chunk_nbytes = size - _SIZEOF_PREFIX - width - SIZEOF_CHECKSUM
    order_flags = _HeaderFlag.ATTRIBUTE_ORDER_TRACKED | _HeaderFlag.ATTRIBUTE_ORDER_INDEXED
    packed = b"".join(_encode_messages(messages, attribute_order=attribute_order))
    return append_checksum(
        b"".join(
            (
                _SIGNATURE,
                uint(2, 1, "object header version"),
                uint(_SIZE_WIDTHS.index(width) | (order_flags if attribute_order else 0), 1, "flags"),
                uint(chunk_nbytes, width, "size of chunk 0"),
                packed,
                _encode_free_space(chunk_nbytes - len(packed), attribute_order=attribute_order),
            )
        )
    )


def position_of_body(
    messages: Sequence[Message], index: int, *, attribute_order: bool = False, size: int
) -> int:
    """Return the byte position of the body of ``messages[index]`` in an object header of `size` bytes.

    Only the messages up to that one count, so those behind it may be left out.
    """
    before = _sizeof_messages(messages[:index], attribute_order=attribute_order)
    return (
        _SIZEOF_PREFIX + _size_width(size) + before + _sizeof_message_header(attribute_order=attribute_order)
    )


def _size_width(size: int) -> int:
    """Width of the field that holds the size of chunk 0, in a header of `size` bytes."""
    overhead = _SIZEOF_PREFIX + SIZEOF_CHECKSUM
    return next(width for width in _SIZE_WIDTHS if size - overhead - width < 256**width)


def _sizeof_message_header(*, attribute_order: bool) -> int:
    return 6 if attribute_order else 4


def _sizeof_messages(messages: Sequence[Message], *, attribute_order: bool) -> int:
    header = _sizeof_message_header(attribute_order=attribute_order)
    return sum(header + len(message.body) for message in messages)


def _encode_messages(messages: Sequence[Message], *, attribute_order: bool) -> Iterator[bytes]:
    n_attributes = 0
    for message in messages:
        if len(message.body) > MAX_MESSAGE_NBYTES:
            raise LimitError(
                f"a header message of type {message.type_id:#04x} has {len(message.body)} bytes; "
                f"HDF5 allows {MAX_MESSAGE_NBYTES}",
                type_id=message.type_id,
                nbytes=len(message.body),
                limit=MAX_MESSAGE_NBYTES,
            )
        is_attribute = message.type_id == MessageType.ATTRIBUTE
        yield uint(message.type_id, 1, "message type")
        yield uint(len(message.body), 2, "message size")
        yield uint(message.flags, 1, "message flags")
        if attribute_order:
            yield uint(n_attributes if is_attribute else 0, 2, "attribute creation index")
        yield message.body
        n_attributes += is_attribute


def _encode_free_space(nbytes: int, *, attribute_order: bool) -> bytes:
    """Fill `nbytes` with one NIL message, or with a gap if a message header does not fit.

    Two NIL messages could hold more, but HDF5 2.0 merges neighbours when it edits the header, and ruins
    it when the sum passes 65,535 bytes (H5O__merge_null).
    """
    header = _sizeof_message_header(attribute_order=attribute_order)
    if nbytes < header:
        return bytes(nbytes)
    most = header + MAX_MESSAGE_NBYTES
    if nbytes > most:
        raise LimitError(
            f"{nbytes} bytes of free space in an object header; HDF5 keeps at most {most} safely",
            nbytes=nbytes,
            limit=most,
        )
    nil = Message(MessageType.NIL, bytes(nbytes - header))
    return b"".join(_encode_messages([nil], attribute_order=attribute_order))
