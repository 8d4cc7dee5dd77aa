"""Attribute message, versions 1 to 3, from bytes (specification IV.A.2.m)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from streamh5.errors import ForeignStructureError
from streamh5.format.dataspace import Dataspace, decode_dataspace
from streamh5.format.datatype import decode_datatype_message
from streamh5.format.datatype_class import DatatypeClass
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import MessageType

__all__ = [
    "Resolve",
    "StoredAttribute",
    "decode_attribute",
]

_SHARED_DATATYPE, _SHARED_DATASPACE = 0x01, 0x02
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
