"""A datatype of the HDF5 library as stored in a file, and where its elements contain pointers.

The library encodes a datatype for its memory (`H5Tencode`): there a string of variable length is a ``char *`` of
8 bytes, in a file it has 16, and the members after it move (`H5T_set_loc`). Everything else of the message stays byte
for byte, except the version: 4 and 5, which only HDF5 1.12 and 2.0 know, mean the same as 3 unless they stand for
complex numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from streamh5.errors import SourceError
from streamh5.format.atomic_datatype import NIBBLE, DatatypeHead
from streamh5.format.datatype_class import (
    Array,
    ClassNumber,
    Compound,
    CompoundMember,
    EncodedDatatype,
    ObjectReferenceClass,
    RegionReferenceClass,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.elements import has_references
from streamh5.format.fields import Fields
from streamh5.format.primitives import encoded_length

if TYPE_CHECKING:
    from streamh5.format.datatype_class import DatatypeClass

_SIZEOF_ENCODE_HEADER = 2
"""`H5Tencode` prefixes the message with its type and the version of the encoding."""

_SIZEOF_POINTER = 8

_SIZEOF_MEMBER_DIMENSIONS = 28
"""Dimensions of a member of version 1, which the library leaves empty."""

_MAX_DEPTH = 64
"""Limit of nested datatypes, so that a hostile file cannot exhaust the stack."""

_CONTAINER_VERSION = 3
"""Version of containers whose members have at most this version."""

_PROPERTIES_NBYTES: dict[int, int] = {
    ClassNumber.FIXED_POINT: 4,
    ClassNumber.FLOATING_POINT: 12,
    ClassNumber.TIME: 2,
    ClassNumber.STRING: 0,
    ClassNumber.BIT_FIELD: 4,
}


@dataclass(frozen=True, slots=True)
class StoredType:
    """A datatype of a file.

    Attributes
    ----------
    datatype
        Its datatype message.
    elements
        Where its elements contain pointers: an `EncodedDatatype` has none, and the members of a compound are in the
        order of their positions.
    address
        Address of the named datatype; None for an unnamed one.
    """

    datatype: EncodedDatatype
    elements: DatatypeClass
    address: int | None = None

    @property
    def nbytes(self) -> int:
        """Size in bytes of an element in a file."""
        return self.datatype.nbytes

    @property
    def has_pointers(self) -> bool:
        """Whether elements refer to the global heap, or to objects."""
        return not isinstance(self.elements, EncodedDatatype)

    @property
    def has_references(self) -> bool:
        """Whether elements refer to objects."""
        return has_references(self.elements)


def stored_type(kind: Any) -> StoredType:
    """Return a datatype of h5py as it is stored in a file.

    Parameters
    ----------
    kind
        A `h5py.h5t.TypeID` of a dataset or attribute, or a named datatype.

    Raises
    ------
    SourceError
        A datatype that streamh5 does not write; the message does not name the object.
    """
    message, elements = _read(Fields(kind.encode()[_SIZEOF_ENCODE_HEADER:], "datatype message"), 0)
    return StoredType(EncodedDatatype(message), elements, object_address(kind) if kind.committed() else None)


def object_address(obj: Any) -> int:
    """Address of the header of an object of h5py; unlike `h5o.get_info`, this opens no chunk index."""
    from h5py import h5g

    number = h5g.get_objinfo(obj, b".").objno
    return int(number[0] | number[1] << 32 if isinstance(number, tuple) else number)


def sizeof_in_memory(elements: DatatypeClass) -> int:
    """Size in bytes of an element as the library holds it in memory."""
    match elements:
        case VariableLengthString():
            return _SIZEOF_POINTER
        case Array(base, shape):
            return math.prod(shape) * sizeof_in_memory(base)
        case Compound(nbytes, members):
            return nbytes - sum(one.datatype.nbytes - sizeof_in_memory(one.datatype) for one in members)
        case _:  # among them a sequence, whose `hvl_t` happens to have the 16 bytes that it has in a file
            return elements.nbytes


class _Properties(NamedTuple):
    """The properties of a datatype in a file: its messages of other datatypes, and its elements if not plain bytes."""

    body: bytes
    inner: tuple[bytes, ...] = ()
    elements: DatatypeClass | None = None


def _read(fields: Fields, depth: int) -> tuple[bytes, DatatypeClass]:
    """Read a datatype as the library encodes it; return its message in a file, and its elements.

    Bytes are edited, and not decoded and encoded by `streamh5.format.datatype`, whose encoder chooses versions and
    drops padding: a copied message would not stay byte for byte.
    """
    if depth > _MAX_DEPTH:
        raise SourceError(f"a datatype that is nested more than {_MAX_DEPTH} deep")
    start = fields.position
    class_and_version = fields.uint(1, "class and version")
    class_id, version = class_and_version & NIBBLE, class_and_version >> 4
    head = DatatypeHead(version, fields.uint(3, "class bit field"), fields.uint(4, "size"), depth)
    bit_field = fields.since(start)[1:4]
    found = _read_properties(fields, class_id, head)
    if class_id != ClassNumber.COMPLEX:
        version = min(version, max([_CONTAINER_VERSION, *(message[0] >> 4 for message in found.inner)]))
    nbytes = head.nbytes if found.elements is None else found.elements.nbytes
    message = bytes([class_id | version << 4]) + bit_field + nbytes.to_bytes(4, "little") + found.body
    return message, found.elements or EncodedDatatype(message)


def _read_properties(fields: Fields, class_id: int, head: DatatypeHead) -> _Properties:
    kind = head.bits & NIBBLE
    match class_id:
        case ClassNumber.COMPOUND:
            return _read_compound(fields, head)
        case ClassNumber.VARIABLE_LENGTH:
            message, base = _read(fields, head.depth + 1)
            return _Properties(
                message, (message,), VariableLengthString() if kind == 1 else VariableLengthSequence(base)
            )
        case ClassNumber.ARRAY:
            return _read_array(fields, head)
        case ClassNumber.REFERENCE if kind > 1:
            raise SourceError(
                "references of HDF5 1.12 (H5R_ref_t), which streamh5 does not write; those of earlier kinds it does"
            )
        case ClassNumber.REFERENCE:
            return _Properties(b"", (), RegionReferenceClass() if kind else ObjectReferenceClass())
        case ClassNumber.OPAQUE:
            return _Properties(fields.take(head.bits & 0xFF, "opaque tag"))
        case ClassNumber.ENUMERATION:
            message, _ = _read(fields, head.depth + 1)
            n_members = head.bits & 0xFFFF
            names = b"".join(_read_name(fields, head)[1] for _ in range(n_members))
            return _Properties(message + names + fields.take(n_members * head.nbytes, "values"), (message,))
        case ClassNumber.COMPLEX:
            message, _ = _read(fields, head.depth + 1)
            return _Properties(message, (message,))
        case _ if class_id in _PROPERTIES_NBYTES:
            return _Properties(fields.take(_PROPERTIES_NBYTES[class_id], "properties"))
        case _:
            raise SourceError(f"a datatype of class {class_id}, which streamh5 does not know")


def _read_compound(fields: Fields, head: DatatypeHead) -> _Properties:
    width = 4 if head.is_padded else encoded_length(head.nbytes)
    names, members, dims, messages = [], [], [], []
    for _ in range(head.bits & 0xFFFF):
        name, raw = _read_name(fields, head)
        position = fields.uint(width, "byte offset of member")
        dims.append(
            fields.take(_SIZEOF_MEMBER_DIMENSIONS if head.version == 1 else 0, "dimensions of member")
        )
        message, elements = _read(fields, head.depth + 1)
        names.append(raw)
        messages.append(message)
        members.append(CompoundMember(name, position, elements))
    growth = 0
    moved = {}
    for i in sorted(range(len(members)), key=lambda i: members[i].position):
        moved[i] = replace(members[i], position=members[i].position + growth)
        growth += members[i].datatype.nbytes - sizeof_in_memory(members[i].datatype)
    nbytes = head.nbytes + growth
    width = 4 if head.is_padded else encoded_length(nbytes)
    body = b"".join(
        names[i] + moved[i].position.to_bytes(width, "little") + dims[i] + messages[i]
        for i in range(len(members))
    )
    is_plain = all(isinstance(one.datatype, EncodedDatatype) for one in members)
    return _Properties(body, tuple(messages), None if is_plain else Compound(nbytes, tuple(moved.values())))


def _read_array(fields: Fields, head: DatatypeHead) -> _Properties:
    start = fields.position
    rank = fields.uint(1, "dimensionality")
    fields.take(3 if head.is_padded else 0, "reserved bytes")
    shape = tuple(fields.uint(4, "dimension size") for _ in range(rank))
    fields.take(4 * rank if head.is_padded else 0, "permutation indices")
    sizes = fields.since(start)
    message, base = _read(fields, head.depth + 1)
    is_plain = isinstance(base, EncodedDatatype)
    return _Properties(sizes + message, (message,), None if is_plain else Array(base, shape))


def _read_name(fields: Fields, head: DatatypeHead) -> tuple[str, bytes]:
    """Read a name; return it, and its bytes with NUL and padding."""
    start = fields.position
    return fields.terminated_text("name of member", padded=head.is_padded), fields.since(start)
