"""Datatype message (specification IV.A.2.d).

Atomic classes are written as version 1, compound, enumeration and array as version 3, as HDF5 1.8 and
all later libraries read them. A type of variable length takes the version of its base, and no container
a lower one than its members (H5T_upgrade_version).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np

from streamh5.errors import DatatypeError, LimitError
from streamh5.format.character_set import encode_text
from streamh5.format.datatype_class import (
    Array,
    Complex,
    Compound,
    DatatypeClass,
    EncodedDatatype,
    Enumeration,
    FixedLengthString,
    FixedPoint,
    FloatingPoint,
    ObjectReference,
    Opaque,
    RegionReference,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.datatype_from_dtype import datatype_from_dtype
from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import MAX_RANK, encoded_length, uint

Datatype: TypeAlias = np.dtype[Any] | DatatypeClass

_MAX_TAG_NBYTES = 248  # the tag's length field keeps multiples of 8 in one byte


class _Class(IntEnum):
    FIXED_POINT = 0
    FLOATING_POINT = 1
    STRING = 3
    OPAQUE = 5
    COMPOUND = 6
    REFERENCE = 7
    ENUMERATION = 8
    VARIABLE_LENGTH = 9
    ARRAY = 10
    COMPLEX = 11


# Bit fields of the classes, in the 24 bits after class and version.
_BIG_ENDIAN = 0x01
_SIGNED = 0x08
_MANTISSA_MSB_IMPLIED = 0x20
_SIGN_LOCATION_SHIFT = 8
_STRING_CHARSET_SHIFT = 4
_REGION_REFERENCE = 0x01
_VARIABLE_LENGTH_STRING = 0x01
_VARIABLE_LENGTH_PADDING_SHIFT = 4
_VARIABLE_LENGTH_CHARSET_SHIFT = 8
_COMPLEX_HOMOGENEOUS = 0x01


def datatype_class(datatype: Datatype) -> DatatypeClass:
    """Return the record of a numpy dtype; a record stays as it is.

    Raises
    ------
    DatatypeError
        The dtype, or a member of it, has no HDF5 datatype.
    """
    return datatype_from_dtype(datatype) if isinstance(datatype, np.dtype) else datatype


def sizeof_element(datatype: Datatype) -> int:
    """Return the bytes that one element takes in the file."""
    return datatype_class(datatype).nbytes


def encode_datatype_message(datatype: Datatype) -> Message:
    """Encode the datatype message of a dataset."""
    return Message(MessageType.DATATYPE, encode_datatype(datatype), MessageFlag.CONSTANT)


def encode_committed_datatype_message(datatype: Datatype) -> Message:
    """Encode the datatype message of a committed datatype (``H5T__commit``)."""
    flags = MessageFlag.CONSTANT | MessageFlag.DO_NOT_SHARE
    return Message(MessageType.DATATYPE, encode_datatype(datatype), flags)


def encode_datatype(datatype: Datatype) -> bytes:
    """Return the body of a datatype message, as attributes hold it too.

    Parameters
    ----------
    datatype
        A numpy dtype or a record of `streamh5.format.datatype_class`. A dtype becomes what h5py makes of
        it: bool an enumeration, complex a compound of ``r`` and ``i``, datetime64 tagged opaque data.

    Raises
    ------
    DatatypeError
        The dtype, or a member of it, has no HDF5 datatype.
    LimitError
        A size or a number of members does not fit its field.
    """
    record = datatype_class(datatype)
    match record:
        case FixedPoint():
            bits = (_BIG_ENDIAN if record.big_endian else 0) | (_SIGNED if record.signed else 0)
            properties = uint(0, 2, "bit offset") + uint(8 * record.nbytes, 2, "bit precision")
            return _encode_class(record, _Class.FIXED_POINT, bits, properties)
        case FloatingPoint():
            return _encode_floating_point(record)
        case FixedLengthString():
            bits = record.padding | record.charset << _STRING_CHARSET_SHIFT
            return _encode_class(record, _Class.STRING, bits, b"")
        case Opaque():
            return _encode_opaque(record)
        case Compound():
            return _encode_compound(record)
        case ObjectReference():
            return _encode_class(record, _Class.REFERENCE, 0, b"")
        case RegionReference():
            return _encode_class(record, _Class.REFERENCE, _REGION_REFERENCE, b"")
        case Enumeration():
            return _encode_enumeration(record)
        case VariableLengthString():
            bits = _VARIABLE_LENGTH_STRING | record.padding << _VARIABLE_LENGTH_PADDING_SHIFT
            bits |= record.charset << _VARIABLE_LENGTH_CHARSET_SHIFT
            character = encode_datatype(FixedPoint(1, signed=False))
            return _encode_class(record, _Class.VARIABLE_LENGTH, bits, character)
        case VariableLengthSequence():
            return _encode_class(record, _Class.VARIABLE_LENGTH, 0, encode_datatype(record.base))
        case Array():
            return _encode_array(record)
        case Complex():
            return _encode_class(record, _Class.COMPLEX, _COMPLEX_HOMOGENEOUS, encode_datatype(record.base))
        case EncodedDatatype():
            return record.message


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


def _encode_class(record: DatatypeClass, class_id: _Class, bit_field: int, properties: bytes) -> bytes:
    return b"".join(
        (
            uint(_version(record) << 4 | class_id, 1, "class and version"),
            uint(bit_field, 3, "class bit field"),
            uint(record.nbytes, 4, "datatype size"),
            properties,
        )
    )


def _encode_floating_point(record: FloatingPoint) -> bytes:
    bits = record.sign_location << _SIGN_LOCATION_SHIFT
    bits |= _BIG_ENDIAN if record.big_endian else 0
    bits |= _MANTISSA_MSB_IMPLIED if record.implied_msb else 0
    properties = (
        uint(0, 2, "bit offset"),
        uint(record.precision, 2, "bit precision"),
        uint(record.exponent_location, 1, "exponent location"),
        uint(record.exponent_size, 1, "exponent size"),
        uint(record.mantissa_location, 1, "mantissa location"),
        uint(record.mantissa_size, 1, "mantissa size"),
        uint(record.exponent_bias, 4, "exponent bias"),
    )
    return _encode_class(record, _Class.FLOATING_POINT, bits, b"".join(properties))


def _encode_opaque(record: Opaque) -> bytes:
    tag = encode_text(record.tag)
    tag += bytes(-len(tag) % 8)
    if len(tag) > _MAX_TAG_NBYTES:
        raise LimitError(
            f"an opaque tag of {len(encode_text(record.tag))} bytes; HDF5 allows {_MAX_TAG_NBYTES}",
            tag=record.tag,
            limit=_MAX_TAG_NBYTES,
        )
    return _encode_class(record, _Class.OPAQUE, len(tag), tag)


def _encode_compound(record: Compound) -> bytes:
    width = encoded_length(record.nbytes)

    def members() -> Iterator[bytes]:
        for member in record.members:
            yield _encode_name(member.name)
            yield uint(member.position, width, "byte offset of member")
            yield encode_datatype(member.datatype)

    if not record.members:
        raise DatatypeError("a compound datatype needs at least one member")
    n_members = uint(len(record.members), 2, "number of members")
    return _encode_class(record, _Class.COMPOUND, int.from_bytes(n_members, "little"), b"".join(members()))


def _encode_enumeration(record: Enumeration) -> bytes:
    n_members = uint(len(record.members), 2, "number of members")
    order = "big" if record.base.big_endian else "little"
    try:
        values = [
            value.to_bytes(record.base.nbytes, order, signed=record.base.signed)  # type: ignore[arg-type]
            for _, value in record.members
        ]
    except OverflowError:
        raise DatatypeError(
            f"an enumeration value of {dict(record.members)} does not fit {record.base.nbytes} bytes",
            members=record.members,
            nbytes=record.base.nbytes,
        ) from None
    names = [_encode_name(name) for name, _ in record.members]
    properties = b"".join((encode_datatype(record.base), *names, *values))
    return _encode_class(record, _Class.ENUMERATION, int.from_bytes(n_members, "little"), properties)


def _encode_array(record: Array) -> bytes:
    if not 1 <= len(record.shape) <= MAX_RANK or min(record.shape) < 1:
        raise DatatypeError(
            f"an array datatype of shape {record.shape}; HDF5 takes 1 to {MAX_RANK} sizes, none below 1",
            shape=record.shape,
        )
    properties = (
        uint(len(record.shape), 1, "dimensionality"),
        *(uint(size, 4, "dimension size") for size in record.shape),
        encode_datatype(record.base),
    )
    return _encode_class(record, _Class.ARRAY, 0, b"".join(properties))


def _encode_name(name: str) -> bytes:
    if not name or "\0" in name:
        raise DatatypeError(f"member name {name!r} is empty or contains NUL", name=name)
    try:
        return encode_text(name) + b"\0"
    except UnicodeEncodeError as error:
        raise DatatypeError(
            f"member name {name!r:.80} cannot be encoded as UTF-8: {error.reason}", name=name
        ) from error
