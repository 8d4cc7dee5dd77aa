"""Shared message: a pointer to a message stored elsewhere (specification IV.A.2).

It is in the header of another object, or in the heap of shared messages. Versions 1 to 3 are read, 2 is written.
"""

from __future__ import annotations

from enum import IntEnum

from streamh5.errors import ForeignStructureError
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import address, concat, uint

_VERSION = 2
_SIZEOF_HEAP_ID = 8


class _Type(IntEnum):
    IN_HEAP = 1
    COMMITTED = 2


def encode_shared_datatype(object_address: int) -> bytes:
    """Encode the pointer to a committed datatype (`H5O_shared_encode`).

    Parameters
    ----------
    object_address
        Address of the object header of the datatype.
    """
    return concat(
        uint(_VERSION, 1, "shared message version"),
        uint(_Type.COMMITTED, 1, "type"),
        address(object_address, "object header address"),
    )


def encode_shared_datatype_message(object_address: int) -> Message:
    """Encode the datatype message of a dataset whose type is committed."""
    flags = MessageFlag.CONSTANT | MessageFlag.SHARED
    return Message(MessageType.DATATYPE, encode_shared_datatype(object_address), flags)


def decode_shared_message(body: bytes, encoding: Encoding = ENCODING) -> int | bytes:
    """Return the address of the object header that contains a message, or its ID in the heap of shared messages.

    Padding may follow the pointer.

    Raises
    ------
    FormatError
        A field is wrong.
    ForeignStructureError
        The message is shared in another way.
    """
    fields = Fields(body, "shared message", encoding)
    version = fields.version(1, 2, 3)
    kind = fields.uint(1, "type")
    if version == 1:
        fields.take(6, "reserved bytes")
        fields.length("local heap offset")
    if version == 3 and kind == _Type.IN_HEAP:
        return fields.take(_SIZEOF_HEAP_ID, "heap ID")
    if version == 3 and kind != _Type.COMMITTED:
        raise ForeignStructureError(f"shared message of type {kind}")
    return fields.address("object header address")
