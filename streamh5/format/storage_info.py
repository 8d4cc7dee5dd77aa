"""Link info and attribute info messages: how the links of a group, or the attributes of an object, are stored.

See specification IV.A.2.c and v. The two messages differ only in the width of the largest creation index.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import N_CACHED, UNDEFINED_ADDRESS, address, concat, uint

_LINK_INDEX_NBYTES = 8
_ATTRIBUTE_INDEX_NBYTES = 2


class _Flag(IntEnum):
    CREATION_ORDER_TRACKED = 0x01
    CREATION_ORDER_INDEXED = 0x02


@dataclass(frozen=True, slots=True)
class StorageInfo:
    """How links or attributes are stored; readers find no attributes without this message.

    Parameters
    ----------
    max_creation_index
        Number of links or attributes ever created if their creation order is tracked and indexed; else None.
    fractal_heap_address, name_index_address, creation_order_index_address
        Addresses of dense storage; undefined if links or attributes are messages of the object header.
    """

    max_creation_index: int | None = None
    fractal_heap_address: int = UNDEFINED_ADDRESS
    name_index_address: int = UNDEFINED_ADDRESS
    creation_order_index_address: int = UNDEFINED_ADDRESS


def encode_link_info(info: StorageInfo) -> Message:
    """Encode a link info message."""
    return Message(MessageType.LINK_INFO, _encode(info, "link", _LINK_INDEX_NBYTES))


@lru_cache(N_CACHED)
def encode_attribute_info(info: StorageInfo) -> Message:
    """Encode an attribute info message.

    Raises
    ------
    LimitError
        There are more than 65,535 attributes with creation order.
    """
    body = _encode(info, "attribute", _ATTRIBUTE_INDEX_NBYTES)
    return Message(MessageType.ATTRIBUTE_INFO, body, MessageFlag.DO_NOT_SHARE)


def decode_link_info(body: bytes, encoding: Encoding = ENCODING) -> StorageInfo:
    """Decode a link info message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    return _decode(Fields(body, "link info message", encoding), _LINK_INDEX_NBYTES)


@lru_cache(N_CACHED)
def decode_attribute_info(body: bytes, encoding: Encoding = ENCODING) -> StorageInfo:
    """Decode an attribute info message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    return _decode(Fields(body, "attribute info message", encoding), _ATTRIBUTE_INDEX_NBYTES)


def _encode(info: StorageInfo, of: str, index_nbytes: int) -> bytes:
    index, order = b"", b""
    flags = 0
    if info.max_creation_index is not None:
        flags = _Flag.CREATION_ORDER_TRACKED | _Flag.CREATION_ORDER_INDEXED
        index = uint(info.max_creation_index, index_nbytes, f"maximum {of} creation index")
        order = address(info.creation_order_index_address, f"{of} creation order B-tree address")
    return concat(
        uint(0, 1, f"{of} info version"),
        uint(flags, 1, "flags"),
        index,
        address(info.fractal_heap_address, f"{of} fractal heap address"),
        address(info.name_index_address, f"{of} name B-tree address"),
        order,
    )


def _decode(fields: Fields, index_nbytes: int) -> StorageInfo:
    fields.expect(0, 1, "version")
    flags = fields.flags(_Flag)
    is_tracked, is_indexed = flags & _Flag.CREATION_ORDER_TRACKED, flags & _Flag.CREATION_ORDER_INDEXED
    index = fields.uint(index_nbytes, "maximum creation index") if is_tracked else None
    heap, names = fields.address("fractal heap address"), fields.address("name B-tree address")
    orders = fields.address("creation order B-tree address") if is_indexed else UNDEFINED_ADDRESS
    fields.end()
    return StorageInfo(index, heap, names, orders)
