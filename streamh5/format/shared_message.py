"""Shared message: a pointer to the object whose header holds the message (specification IV.A.2)."""

from __future__ import annotations

from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import address, uint

_VERSION = 2
_COMMITTED = 2


def encode_shared_datatype(object_address: int) -> bytes:
    """Encode the pointer to a committed datatype, as `H5O_shared_encode` does.

    Parameters
    ----------
    object_address
        Address of the object header of the datatype.
    """
    return b"".join(
        (
            uint(_VERSION, 1, "shared message version"),
            uint(_COMMITTED, 1, "type"),
            address(object_address, "object header address"),
        )
    )


def encode_shared_datatype_message(object_address: int) -> Message:
    """Encode the datatype message of a dataset whose type is committed."""
    flags = MessageFlag.CONSTANT | MessageFlag.SHARED
    return Message(MessageType.DATATYPE, encode_shared_datatype(object_address), flags)
