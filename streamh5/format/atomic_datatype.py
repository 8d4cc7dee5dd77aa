"""Bit field and properties of each atomic datatype class (specification IV.A.2.d).

An encoder returns class, bit field and properties. A decoder reads the properties, and returns None if no record of
`streamh5.format.datatype_class` can represent the datatype.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

from streamh5.errors import over_limit
from streamh5.format.character_set import CharacterSet, encode_text
from streamh5.format.datatype_class import (
    ClassNumber,
    DatatypeClass,
    FixedLengthString,
    FixedPoint,
    FloatingPoint,
    ObjectReferenceClass,
    Opaque,
    RegionReferenceClass,
    StringPadding,
)
from streamh5.format.fields import Fields
from streamh5.format.primitives import concat, uint

NIBBLE = 0x0F
"""Mask of a 4-bit number in the bit field."""

_FIRST_UNPADDED_VERSION = 3
_MAX_TAG_NBYTES = 248  # the tag's length field keeps multiples of 8 in one byte
_SIGN_LOCATION_SHIFT = 8
_STRING_CHARSET_SHIFT = 4

_FLOAT_PROPERTIES = (
    ("precision", 2, "bit precision"),
    ("exponent_location", 1, "exponent location"),
    ("exponent_size", 1, "exponent size"),
    ("mantissa_location", 1, "mantissa location"),
    ("mantissa_size", 1, "mantissa size"),
    ("exponent_bias", 4, "exponent bias"),
)
"""Properties of a float after the bit offset: attribute of its record, bytes, name in the specification."""


class _NumberBit(IntEnum):
    BIG_ENDIAN = 0x01
    SIGNED = 0x08
    IMPLIED_MSB = 0x20
    SIGN_LOCATION = 0xFF00


class _ReferenceType(IntEnum):
    OBJECT = 0
    REGION = 1


Encoded: TypeAlias = tuple[ClassNumber, int, bytes]
"""Class, bit field and properties."""


@dataclass(frozen=True, slots=True)
class DatatypeHead:
    """The first fields of every datatype message, and the depth of nesting of this datatype."""

    version: int
    bits: int
    nbytes: int
    depth: int

    @property
    def is_padded(self) -> bool:
        """Whether padding follows names of members and the rank of an array."""
        return self.version < _FIRST_UNPADDED_VERSION


def _encode_fixed_point(record: FixedPoint) -> Encoded:
    bits = _NumberBit.BIG_ENDIAN * record.big_endian | _NumberBit.SIGNED * record.signed
    properties = uint(0, 2, "bit offset") + uint(8 * record.nbytes, 2, "bit precision")
    return ClassNumber.FIXED_POINT, bits, properties


def _decode_fixed_point(fields: Fields, head: DatatypeHead) -> FixedPoint | None:
    is_whole = _read_bit_range(fields, head)
    if head.bits & ~(_NumberBit.BIG_ENDIAN | _NumberBit.SIGNED) or not is_whole:
        return None
    signed, big_endian = head.bits & _NumberBit.SIGNED, head.bits & _NumberBit.BIG_ENDIAN
    return FixedPoint(head.nbytes, signed=bool(signed), big_endian=bool(big_endian))


def _read_bit_range(fields: Fields, head: DatatypeHead) -> bool:
    """Read offset and precision of an integer; return whether all its bits are in use."""
    offset, precision = fields.uint(2, "bit offset"), fields.uint(2, "bit precision")
    if offset + precision > 8 * head.nbytes or not precision:
        raise fields.error(f"{precision} bits from bit {offset} on in {head.nbytes} bytes")
    return not offset and precision == 8 * head.nbytes


def _encode_floating_point(record: FloatingPoint) -> Encoded:
    bits = record.sign_location << _SIGN_LOCATION_SHIFT
    bits |= _NumberBit.BIG_ENDIAN * record.big_endian | _NumberBit.IMPLIED_MSB * record.implied_msb
    properties = (uint(getattr(record, name), nbytes, field) for name, nbytes, field in _FLOAT_PROPERTIES)
    return ClassNumber.FLOATING_POINT, bits, concat(uint(0, 2, "bit offset"), *properties)


def _decode_floating_point(fields: Fields, head: DatatypeHead) -> FloatingPoint | None:
    offset = fields.uint(2, "bit offset")
    properties = {name: fields.uint(nbytes, field) for name, nbytes, field in _FLOAT_PROPERTIES}
    record = FloatingPoint(
        head.nbytes,
        sign_location=(head.bits & _NumberBit.SIGN_LOCATION) >> _SIGN_LOCATION_SHIFT,
        **properties,
        implied_msb=bool(head.bits & _NumberBit.IMPLIED_MSB),
        big_endian=bool(head.bits & _NumberBit.BIG_ENDIAN),
    )
    ends = (
        record.precision,
        record.sign_location + 1,
        record.exponent_location + record.exponent_size,
        record.mantissa_location + record.mantissa_size,
    )
    if max(ends) > 8 * head.nbytes or not record.exponent_size or not record.mantissa_size:
        raise fields.error(f"the bits of a float do not fit its {head.nbytes} bytes")
    known = _NumberBit.SIGN_LOCATION | _NumberBit.IMPLIED_MSB | _NumberBit.BIG_ENDIAN
    # Not represented: padding bits of 1, other normalizations, the byte order of a VAX.
    return None if head.bits & ~known or offset else record


def _decode_time(fields: Fields, head: DatatypeHead) -> None:
    fields.uint(2, "bit precision")


def _decode_bit_field(fields: Fields, head: DatatypeHead) -> None:
    _read_bit_range(fields, head)


def _decode_string(fields: Fields, head: DatatypeHead) -> FixedLengthString:
    charset, padding = read_text_kind(fields, head.bits >> _STRING_CHARSET_SHIFT, head.bits)
    return FixedLengthString(head.nbytes, charset, padding)


def read_text_kind(fields: Fields, charset: int, padding: int) -> tuple[CharacterSet, StringPadding]:
    """Return the character set and the padding in the low 4 bits of two numbers."""
    return (
        fields.known(CharacterSet, charset & NIBBLE, "character set"),
        fields.known(StringPadding, padding & NIBBLE, "string padding"),
    )


def _encode_opaque(record: Opaque) -> Encoded:
    tag = encode_text(record.tag)
    tag += bytes(-len(tag) % 8)
    if len(tag) > _MAX_TAG_NBYTES:
        raise over_limit(
            f"an opaque tag of {len(tag):,} bytes with its padding", _MAX_TAG_NBYTES, tag=record.tag
        )
    return ClassNumber.OPAQUE, len(tag), tag


def _decode_opaque(fields: Fields, head: DatatypeHead) -> Opaque | None:
    tag = fields.take(head.bits & 0xFF, "opaque tag")
    try:
        return Opaque(head.nbytes, tag.rstrip(b"\0").decode())
    except UnicodeDecodeError:
        return None


def _decode_reference(
    fields: Fields, head: DatatypeHead
) -> ObjectReferenceClass | RegionReferenceClass | None:
    records: tuple[ObjectReferenceClass | RegionReferenceClass, ...] = (
        ObjectReferenceClass(),
        RegionReferenceClass(),
    )
    kind = head.bits & NIBBLE
    if kind >= len(records):
        return None
    if head.nbytes != fields.encoding.sizeof_address + 4 * kind:
        raise fields.error(f"a reference of type {kind} of {head.nbytes} bytes")
    return records[kind] if head.nbytes == records[kind].nbytes else None


ATOMIC_ENCODERS: dict[type[DatatypeClass], Callable[[Any], Encoded]] = {
    FixedPoint: _encode_fixed_point,
    FloatingPoint: _encode_floating_point,
    FixedLengthString: lambda of: (ClassNumber.STRING, of.padding | of.charset << _STRING_CHARSET_SHIFT, b""),
    Opaque: _encode_opaque,
    ObjectReferenceClass: lambda of: (ClassNumber.REFERENCE, _ReferenceType.OBJECT, b""),
    RegionReferenceClass: lambda of: (ClassNumber.REFERENCE, _ReferenceType.REGION, b""),
}

ATOMIC_DECODERS: dict[ClassNumber, Callable[[Fields, DatatypeHead], DatatypeClass | None]] = {
    ClassNumber.FIXED_POINT: _decode_fixed_point,
    ClassNumber.FLOATING_POINT: _decode_floating_point,
    ClassNumber.TIME: _decode_time,
    ClassNumber.STRING: _decode_string,
    ClassNumber.BIT_FIELD: _decode_bit_field,
    ClassNumber.OPAQUE: _decode_opaque,
    ClassNumber.REFERENCE: _decode_reference,
}
