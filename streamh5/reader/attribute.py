"""Attribute and attribute info messages from bytes (specification IV.A.2.m and v)."""

from __future__ import annotations

import math

from streamh5.errors import ForeignStructureError
from streamh5.format.attribute import Attribute
from streamh5.format.attribute_info import AttributeInfo
from streamh5.format.datatype import sizeof_element
from streamh5.reader.dataspace import decode_dataspace
from streamh5.reader.datatype import decode_datatype
from streamh5.reader.fields import Fields

__all__ = ["decode_attribute", "decode_attribute_info", "decode_reference_count"]

_SHARED_FLAGS = 0x03
_TRACKED, _INDEXED = 0x01, 0x02


def decode_attribute(body: bytes) -> Attribute:
    """Decode an attribute message.

    Raises
    ------
    FormatError
        A field is wrong, or the data is not as long as datatype and dataspace say.
    ForeignStructureError
        A shared datatype or dataspace, or a datatype that streamh5 does not write.
    """
    fields = Fields(body, "attribute message")
    fields.expect_version(3, older=(1, 2))
    flags = fields.uint(1, "flags")
    if flags & ~_SHARED_FLAGS:
        raise fields.error(f"flags are {flags:#04x}, with reserved bits")
    name_nbytes = fields.uint(2, "name size")
    datatype_nbytes = fields.uint(2, "datatype size")
    dataspace_nbytes = fields.uint(2, "dataspace size")
    charset = fields.uint(1, "name character set")
    if charset > 1:
        raise fields.error(f"character set {charset} is not known")
    start = fields.position
    name = fields.terminated_text("name")
    if not name or fields.position - start != name_nbytes:
        raise fields.error(f"the name {name[:40]!r} does not take the {name_nbytes} bytes of its field")
    if flags:
        raise ForeignStructureError(f"attribute {name!r} has a shared datatype or dataspace")
    datatype = decode_datatype(fields.take(datatype_nbytes, "datatype"))
    dataspace = decode_dataspace(fields.take(dataspace_nbytes, "dataspace"))
    n_elements = 0 if dataspace.shape is None else math.prod(dataspace.shape)
    data = fields.take(n_elements * sizeof_element(datatype), "data")
    fields.end()
    return Attribute(name, datatype, dataspace, data)


def decode_attribute_info(body: bytes) -> AttributeInfo:
    """Decode an attribute info message.

    Raises
    ------
    FormatError
        A field is wrong.
    ForeignStructureError
        Creation order that is tracked but not indexed.
    """
    fields = Fields(body, "attribute info message")
    fields.expect(0, 1, "version")
    flags = fields.uint(1, "flags")
    if flags > (_TRACKED | _INDEXED):
        raise fields.error(f"flags are {flags:#04x}, with reserved bits")
    max_creation_index = fields.uint(2, "maximum creation index") if flags & _TRACKED else None
    heap, names = fields.address("fractal heap address"), fields.address("name B-tree address")
    if flags not in (0, _TRACKED | _INDEXED):
        raise ForeignStructureError(
            "attribute info message: creation order is tracked or indexed, but not both"
        )
    if not flags:
        fields.end()
        return AttributeInfo(None, heap, names)
    info = AttributeInfo(max_creation_index, heap, names, fields.address("creation order B-tree address"))
    fields.end()
    return info


def decode_reference_count(body: bytes) -> int:
    """Decode an object reference count message (IV.A.2.w): the number of hard links to the object.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "reference count message")
    fields.expect(0, 1, "version")
    n_links = fields.uint(4, "reference count")
    fields.end()
    return n_links
