"""Datatype message (specification IV.A.2.d): versions 1 to 5 are read, the oldest possible version is written.

Atomic classes are written as version 1; compound, enumeration and array as version 3, which HDF5 1.8 and all later
libraries read. A type of variable length has the version of its base, and a container at least the version of its
members (H5T_upgrade_version).

Datatypes that no record of `streamh5.format.datatype_class` can represent (times, bit fields, integers of odd
precision, references of HDF5 1.12) are decoded to an `EncodedDatatype`, after their fields have been checked.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from streamh5.errors import DatatypeError, ForeignStructureError
from streamh5.format.atomic_datatype import (
    ATOMIC_DECODERS,
    ATOMIC_ENCODERS,
    NIBBLE,
    DatatypeHead,
    Encoded,
    read_text_kind,
)
from streamh5.format.character_set import encode_name
from streamh5.format.datatype_class import (
    Array,
    ClassNumber,
    Complex,
    Compound,
    CompoundMember,
    DatatypeClass,
    EncodedDatatype,
    Enumeration,
    FixedPoint,
    FloatingPoint,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.dtype import datatype_from_dtype
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import MAX_RANK, N_CACHED, concat, encoded_length, uint

AnyDatatype: TypeAlias = np.dtype[Any] | DatatypeClass

_NEWEST_VERSION = 5  # of HDF5 2.0

_MAX_DEPTH = 32
"""Limit of nested datatypes, so that a hostile file cannot exhaust the stack."""

_MAX_MEMBERS = 0xFFFF  # mask of the bit field
_N_MEMBER_DIMS = 4  # of a version 1 member, of any rank up to 4
_VARIABLE_LENGTH_PADDING_SHIFT = 4
_VARIABLE_LENGTH_CHARSET_SHIFT = 8
_COMPLEX_HOMOGENEOUS = 0x01


_MAX_PLAIN_NBYTES = 8
"""Numbers of numpy up to this size have the same size in the file."""


class _VariableLengthType(IntEnum):
    SEQUENCE = 0
    STRING = 1


def datatype_class(datatype: AnyDatatype) -> DatatypeClass:
    """Return the record of a numpy dtype; a record is returned unchanged.

    Raises
    ------
    DatatypeError
        The dtype, or a member of it, has no HDF5 datatype.
    """
    return datatype_from_dtype(datatype) if isinstance(datatype, np.dtype) else datatype


def sizeof_element(datatype: AnyDatatype) -> int:
    """Return the size of an element in the file, in bytes."""
    if isinstance(datatype, np.dtype) and datatype.kind in "biuf" and datatype.itemsize <= _MAX_PLAIN_NBYTES:
        return datatype.itemsize  # asked for many times per dataset
    return datatype_class(datatype).nbytes


def encode_datatype_message(datatype: AnyDatatype) -> Message:
    """Encode the datatype message of a dataset."""
    return Message(MessageType.DATATYPE, encode_datatype(datatype), MessageFlag.CONSTANT)


def encode_committed_datatype_message(datatype: AnyDatatype) -> Message:
    """Encode the datatype message of a committed datatype (``H5T__commit``)."""
    flags = MessageFlag.CONSTANT | MessageFlag.DO_NOT_SHARE
    return Message(MessageType.DATATYPE, encode_datatype(datatype), flags)


def encode_datatype(datatype: AnyDatatype) -> bytes:
    """Return the body of a datatype message, which attributes contain too.

    Parameters
    ----------
    datatype
        A numpy dtype or a record of `streamh5.format.datatype_class`. A dtype gets the datatype that h5py chooses: bool
        an enumeration, complex a compound of ``r`` and ``i``, datetime64 tagged opaque data.

    Raises
    ------
    DatatypeError
        The dtype, or a member of it, has no HDF5 datatype.
    LimitError
        A size or a number of members does not fit its field.
    """
    if isinstance(datatype, np.dtype) and datatype.kind in "biuf" and datatype.metadata is None:
        return _encode_plain(
            datatype
        )  # most objects have numbers, and each encodes its datatype several times
    record = datatype_class(datatype)
    return record.message if isinstance(record, EncodedDatatype) else _encode(record)


@lru_cache(N_CACHED)  # never with metadata, which dtype equality ignores
def _encode_plain(dtype: np.dtype[Any]) -> bytes:
    return _encode(datatype_class(dtype))


@lru_cache(N_CACHED)
def _encode(record: DatatypeClass) -> bytes:
    class_number, bit_field, properties = _ENCODERS[type(record)](record)
    return concat(
        uint(_version(record) << 4 | class_number, 1, "class and version"),
        uint(bit_field, 3, "class bit field"),
        uint(record.nbytes, 4, "datatype size"),
        properties,
    )


@lru_cache(N_CACHED)
def decode_datatype(body: bytes, encoding: Encoding = ENCODING) -> DatatypeClass:
    """Decode the body of a datatype message.

    Raises
    ------
    FormatError
        A field is wrong, or the size contradicts the members.
    ForeignStructureError
        Datatypes are nested more than 32 deep.
    """
    fields = Fields(body, "datatype message", encoding)
    record = _decode(fields, 0)
    fields.end()
    return record


@lru_cache(N_CACHED)
def decode_datatype_message(body: bytes, encoding: Encoding = ENCODING) -> tuple[DatatypeClass, bytes]:
    """Decode the body of a datatype message; return the record and the encoded datatype without padding after it.

    HDF5 1.8 reserved too much for some compounds and arrays, so any message may have padding.

    Raises
    ------
    FormatError, ForeignStructureError
        See `decode_datatype`.
    """
    fields = Fields(body, "datatype message", encoding)
    record = _decode(fields, 0)
    return record, fields.since(0)


def _version(record: DatatypeClass) -> int:
    match record:
        case Complex():
            return 5
        case Compound():
            return max([3, *(_version(member.datatype) for member in record.members)])
        case Array():
            return max(3, _version(record.base))
        case Enumeration():
            return 3
        case VariableLengthSequence():
            return _version(record.base)
        case EncodedDatatype():
            return record.message[0] >> 4
        case _:
            return 1


def _decode(fields: Fields, depth: int) -> DatatypeClass:
    start = fields.position
    class_and_version = fields.uint(1, "class and version")
    head = DatatypeHead(
        class_and_version >> 4, fields.uint(3, "class bit field"), fields.uint(4, "size"), depth
    )
    class_id = class_and_version & NIBBLE
    if not 1 <= head.version <= _NEWEST_VERSION or not head.nbytes:
        raise fields.error(f"class {class_id} of version {head.version} and size {head.nbytes:,}")
    if depth > _MAX_DEPTH:
        raise ForeignStructureError(f"datatype message: nested more than {_MAX_DEPTH} deep")
    record = _DECODERS[fields.known(ClassNumber, class_id, "class")](fields, head)
    if record is None:
        return EncodedDatatype(fields.since(start))
    if record.nbytes != head.nbytes:
        raise fields.error(f"size is {head.nbytes:,}, but its parts need {record.nbytes:,}")
    return record


def _encode_compound(record: Compound) -> Encoded:
    if not record.members:
        raise DatatypeError("a compound datatype needs at least one member")
    width = encoded_length(record.nbytes)
    members = (
        concat(
            _encode_name(member.name),
            uint(member.position, width, "byte offset of member"),
            encode_datatype(member.datatype),
        )
        for member in record.members
    )
    return ClassNumber.COMPOUND, _n_members(record), b"".join(members)


def _decode_compound(fields: Fields, head: DatatypeHead) -> Compound:
    width = 4 if head.is_padded else encoded_length(head.nbytes)
    members = []
    for _ in range(head.bits & _MAX_MEMBERS):
        name = fields.terminated_text("name of member", padded=head.is_padded)
        position = fields.uint(width, "byte offset of member")
        shape = _read_member_shape(fields) if head.version == 1 else ()
        datatype = _decode(fields, head.depth + 1)
        members.append(CompoundMember(name, position, Array(datatype, shape) if shape else datatype))
    ends = sorted((member.position, member.position + member.datatype.nbytes) for member in members)
    starts = [start for start, _ in ends[1:]] + [head.nbytes]
    if not members or any(stop > start for (_, stop), start in zip(ends, starts, strict=True)):
        raise fields.error(f"the members of a compound of {head.nbytes:,} bytes overlap or do not fit")
    return Compound(head.nbytes, tuple(members))


def _read_member_shape(fields: Fields) -> tuple[int, ...]:
    """Read the dimensions of a member of a version 1 compound; ``()`` for none."""
    rank = fields.uint(1, "dimensionality of member")
    fields.take(3 + 4 + 4, "dimension permutation and reserved bytes")
    sizes = [fields.uint(4, "dimension size of member") for _ in range(_N_MEMBER_DIMS)]
    if rank > _N_MEMBER_DIMS or 0 in sizes[:rank]:
        raise fields.error(f"a member of rank {rank} and shape {sizes}")
    return tuple(sizes[:rank])


def _encode_name(name: str) -> bytes:
    return encode_name(name, "member name", DatatypeError) + b"\0"


def _n_members(record: Compound | Enumeration) -> int:
    """Return the number of members, which uses two of the three bytes of the bit field."""
    return int.from_bytes(uint(len(record.members), 2, "number of members"), "little")


def _encode_enumeration(record: Enumeration) -> Encoded:
    base = record.base
    try:
        values = [
            value.to_bytes(base.nbytes, base.byteorder, signed=base.signed) for _, value in record.members
        ]
    except OverflowError:
        raise DatatypeError(
            f"an enumeration value of {dict(record.members)} does not fit {base.nbytes} bytes",
            members=record.members,
            nbytes=base.nbytes,
        ) from None
    names = [_encode_name(name) for name, _ in record.members]
    properties = concat(encode_datatype(base), *names, *values)
    return ClassNumber.ENUMERATION, _n_members(record), properties


def _decode_enumeration(fields: Fields, head: DatatypeHead) -> Enumeration | None:
    base = _decode(fields, head.depth + 1)
    n_members = head.bits & _MAX_MEMBERS
    names = [fields.terminated_text("name of member", padded=head.is_padded) for _ in range(n_members)]
    raw = fields.take(n_members * base.nbytes, "values of members")
    if not isinstance(base, FixedPoint):
        return None
    values = (
        int.from_bytes(raw[start : start + base.nbytes], base.byteorder, signed=base.signed)
        for start in range(0, len(raw), base.nbytes)
    )
    return Enumeration(base, tuple(zip(names, values, strict=True)))


def _encode_variable_length_string(record: VariableLengthString) -> Encoded:
    bits = _VariableLengthType.STRING | record.padding << _VARIABLE_LENGTH_PADDING_SHIFT
    bits |= record.charset << _VARIABLE_LENGTH_CHARSET_SHIFT
    return ClassNumber.VARIABLE_LENGTH, bits, encode_datatype(FixedPoint(1, signed=False))


def _decode_variable_length(
    fields: Fields, head: DatatypeHead
) -> VariableLengthString | VariableLengthSequence | None:
    base = _decode(fields, head.depth + 1)
    record: VariableLengthString | VariableLengthSequence
    if head.bits & NIBBLE == _VariableLengthType.SEQUENCE:
        record = VariableLengthSequence(base)
    elif head.bits & NIBBLE != _VariableLengthType.STRING or base.nbytes != 1:
        raise fields.error(f"a type of variable length with bit field {head.bits:#x}")
    else:
        charset = head.bits >> _VARIABLE_LENGTH_CHARSET_SHIFT
        padding = head.bits >> _VARIABLE_LENGTH_PADDING_SHIFT
        record = VariableLengthString(*read_text_kind(fields, charset, padding))
    # In a file with addresses of another width, elements are not as large as the records say: they are kept encoded.
    is_other_width = head.nbytes == fields.encoding.sizeof_address + 8 != record.nbytes
    return None if is_other_width else record


def _encode_array(record: Array) -> Encoded:
    if not 1 <= len(record.shape) <= MAX_RANK or min(record.shape) < 1:
        raise DatatypeError(
            f"an array datatype of shape {record.shape}; HDF5 allows 1 to {MAX_RANK} dimensions, none below 1",
            shape=record.shape,
        )
    properties = (
        uint(len(record.shape), 1, "dimensionality"),
        *(uint(size, 4, "dimension size") for size in record.shape),
        encode_datatype(record.base),
    )
    return ClassNumber.ARRAY, 0, b"".join(properties)


def _decode_array(fields: Fields, head: DatatypeHead) -> Array:
    rank = fields.uint(1, "dimensionality")
    fields.take(3 if head.is_padded else 0, "reserved bytes")
    shape = tuple(fields.uint(4, "dimension size") for _ in range(rank))
    fields.take(4 * rank if head.is_padded else 0, "permutation indices")
    if not 1 <= rank <= MAX_RANK or min(shape) < 1:
        raise fields.error(f"an array datatype of shape {shape[:MAX_RANK]}")
    return Array(_decode(fields, head.depth + 1), shape)


def _decode_complex(fields: Fields, head: DatatypeHead) -> Complex | None:
    base = _decode(fields, head.depth + 1)
    return Complex(base) if head.bits == _COMPLEX_HOMOGENEOUS and isinstance(base, FloatingPoint) else None


_ENCODERS: dict[type[DatatypeClass], Callable[[Any], Encoded]] = {
    **ATOMIC_ENCODERS,
    Compound: _encode_compound,
    Enumeration: _encode_enumeration,
    VariableLengthString: _encode_variable_length_string,
    VariableLengthSequence: lambda of: (
        ClassNumber.VARIABLE_LENGTH,
        _VariableLengthType.SEQUENCE,
        encode_datatype(of.base),
    ),
    Array: _encode_array,
    Complex: lambda of: (ClassNumber.COMPLEX, _COMPLEX_HOMOGENEOUS, encode_datatype(of.base)),
}

_DECODERS: dict[ClassNumber, Callable[[Fields, DatatypeHead], DatatypeClass | None]] = {
    **ATOMIC_DECODERS,
    ClassNumber.COMPOUND: _decode_compound,
    ClassNumber.ENUMERATION: _decode_enumeration,
    ClassNumber.VARIABLE_LENGTH: _decode_variable_length,
    ClassNumber.ARRAY: _decode_array,
    ClassNumber.COMPLEX: _decode_complex,
}
