"""Attribute, attribute info and reference count messages from bytes (specification IV.A.2.m, v and w)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from streamh5.errors import ForeignStructureError
from streamh5.format.attribute_info import AttributeInfo
from streamh5.format.dataspace import Dataspace
from streamh5.format.datatype_class import DatatypeClass
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import MessageType
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.dataspace import decode_dataspace
from streamh5.reader.datatype import decode_datatype_message

__all__ = [
    "Resolve",
    "StoredAttribute",
    "decode_attribute",
    "decode_attribute_info",
    "decode_reference_count",
]

_SHARED_DATATYPE, _SHARED_DATASPACE = 0x01, 0x02
_TRACKED, _INDEXED = 0x01, 0x02
_SIZEOF_COMMITTED = 10  # version, type, address

Resolve: TypeAlias = Callable[[int, bytes], bytes]
"""Type and body of a shared message -> body of the message itself."""


@dataclass(frozen=True, slots=True)
class StoredAttribute:
    """An attribute as it is stored.

    Attributes
    ----------
    name
        Bytes that are not UTF-8 are surrogates, as in h5py.
    datatype, dataspace
        Of the value.
    data
        Raw bytes of the elements in C order; empty for a null dataspace.
    datatype_body
        Body of the datatype message, byte for byte; of the named datatype where it is one.
    committed
        Address of that named datatype, as 8 bytes; None for a type of its own.
    """

    name: str
    datatype: DatatypeClass
    dataspace: Dataspace
    data: bytes
    datatype_body: bytes
    committed: bytes | None = None


def decode_attribute(
    body: bytes, encoding: Encoding = ENCODING, resolve: Resolve | None = None
) -> StoredAttribute:
    """Decode an attribute message of version 1, 2 or 3.

    Parameters
    ----------
    body
        Of the message.
    encoding
        Of the file.
    resolve
        What follows shared datatypes and dataspaces to where they are.

    Raises
    ------
    FormatError
        A field is wrong, or the data is not as long as datatype and dataspace say.
    ForeignStructureError
        A shared datatype or dataspace, and no `resolve`.
    """
    fields = Fields(body, "attribute message", encoding)
    version = fields.version(1, 2, 3)
    flags = fields.uint(1, "flags")
    if version > 1 and flags & ~(_SHARED_DATATYPE | _SHARED_DATASPACE):
        raise fields.error(f"flags are {flags:#04x}, with reserved bits")
    name_nbytes = fields.uint(2, "name size")
    datatype_nbytes = fields.uint(2, "datatype size")
    dataspace_nbytes = fields.uint(2, "dataspace size")
    charset = fields.uint(1, "name character set") if version > 2 else 0
    if charset > 1:
        raise fields.error(f"character set {charset} is not known")
    start = fields.position
    name = fields.terminated_text("name")
    if not name or fields.position - start != name_nbytes:
        raise fields.error(f"the name {name[:40]!r} does not take the {name_nbytes} bytes of its field")
    shared = flags if version > 1 else 0
    parts = []
    committed = None
    alignment = 8 if version == 1 else 1
    fields.take(-name_nbytes % alignment, "padding of name")
    for field, nbytes, message_type, flag in (
        ("datatype", datatype_nbytes, MessageType.DATATYPE, _SHARED_DATATYPE),
        ("dataspace", dataspace_nbytes, MessageType.DATASPACE, _SHARED_DATASPACE),
    ):
        part = fields.take(nbytes, field)
        fields.take(-nbytes % alignment, f"padding of {field}")
        if shared & flag:
            if resolve is None:
                raise ForeignStructureError(f"attribute {name!r} has a shared {field}")
            is_committed = part[:1] == b"\x02" or part[:2] == b"\x03\x02"
            if message_type == MessageType.DATATYPE and is_committed and len(part) == _SIZEOF_COMMITTED:
                committed = part[2:]
            part = resolve(message_type, part)
        parts.append((part, replace(encoding, padded=True) if shared & flag else encoding))
    datatype, datatype_body = decode_datatype_message(*parts[0])
    dataspace = decode_dataspace(*parts[1])
    n_elements = 0 if dataspace.shape is None else math.prod(dataspace.shape)
    data = fields.take(n_elements * datatype.nbytes, "data")
    fields.end()
    return StoredAttribute(name, datatype, dataspace, data, datatype_body, committed)


def decode_attribute_info(body: bytes, encoding: Encoding = ENCODING) -> AttributeInfo:
    """Decode an attribute info message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "attribute info message", encoding)
    fields.expect(0, 1, "version")
    flags = fields.uint(1, "flags")
    if flags > (_TRACKED | _INDEXED):
        raise fields.error(f"flags are {flags:#04x}, with reserved bits")
    max_creation_index = fields.uint(2, "maximum creation index") if flags & _TRACKED else None
    heap, names = fields.address("fractal heap address"), fields.address("name B-tree address")
    orders = fields.address("creation order B-tree address") if flags & _INDEXED else UNDEFINED_ADDRESS
    fields.end()
    return AttributeInfo(max_creation_index, heap, names, orders)


def decode_reference_count(body: bytes, encoding: Encoding = ENCODING) -> int:
    """Decode an object reference count message (IV.A.2.w): the number of hard links to the object.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "reference count message", encoding)
    fields.expect(0, 1, "version")
    n_links = fields.uint(4, "reference count")
    fields.end()
    return n_links
