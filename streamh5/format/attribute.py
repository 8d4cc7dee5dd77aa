"""Attribute message, version 3 (specification IV.A.2.m)."""

from __future__ import annotations

from dataclasses import dataclass

from streamh5.errors import AttributeValueError, LimitError
from streamh5.format.character_set import character_set, encode_text
from streamh5.format.dataspace import Dataspace, encode_dataspace
from streamh5.format.datatype import Datatype, encode_datatype
from streamh5.format.object_header import Message, MessageType
from streamh5.format.primitives import MAX_MESSAGE_NBYTES, uint
from streamh5.format.shared_message import encode_shared_datatype

_DATATYPE_IS_SHARED = 0x01


@dataclass(frozen=True, slots=True)
class Attribute:
    """A named small value of an object.

    Parameters
    ----------
    name
        Not empty, without NUL; ASCII or UTF-8 is chosen by its characters.
    datatype, dataspace
        Of the value.
    data
        The elements in C order as the datatype stores them; empty for a null dataspace.
    committed_address
        Where the object header of `datatype` lies, which is then only pointed to; None for a type of its own.
    """

    name: str
    datatype: Datatype
    dataspace: Dataspace
    data: bytes
    committed_address: int | None = None


def encode_attribute(attribute: Attribute) -> Message:
    """Encode an attribute as header message. An object with attributes needs attribute info as well.

    Raises
    ------
    AttributeValueError
        An empty name or one with NUL.
    LimitError
        The message has more than 65,535 bytes: such an attribute needs dense storage.
    DatatypeError
        The datatype cannot be encoded.
    """
    body = encode_attribute_body(attribute)
    if len(body) > MAX_MESSAGE_NBYTES:
        raise LimitError(
            f"attribute {attribute.name!r} takes {len(body)} bytes; an object header holds "
            f"{MAX_MESSAGE_NBYTES}: store the value as a dataset, or the attributes densely",
            name=attribute.name,
            nbytes=len(body),
            limit=MAX_MESSAGE_NBYTES,
        )
    return Message(MessageType.ATTRIBUTE, body)


def encode_attribute_body(attribute: Attribute) -> bytes:
    """Return the body of an attribute message, which is also what dense storage keeps in its heap."""
    if not attribute.name or "\0" in attribute.name:
        raise AttributeValueError(
            f"attribute name {attribute.name!r} is empty or contains NUL", name=attribute.name
        )
    name = encode_text(attribute.name) + b"\0"
    is_committed = attribute.committed_address is not None
    if attribute.committed_address is None:
        datatype = encode_datatype(attribute.datatype)
    else:
        datatype = encode_shared_datatype(attribute.committed_address)
    dataspace = encode_dataspace(attribute.dataspace).body
    return b"".join(
        (
            uint(3, 1, "attribute version"),
            uint(_DATATYPE_IS_SHARED if is_committed else 0, 1, "flags"),
            uint(len(name), 2, "attribute name size"),
            uint(len(datatype), 2, "attribute datatype size"),
            uint(len(dataspace), 2, "attribute dataspace size"),
            uint(character_set(attribute.name), 1, "attribute name character set"),
            name,
            datatype,
            dataspace,
            attribute.data,
        )
    )
