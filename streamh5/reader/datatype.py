"""Datatype message from bytes (specification IV.A.2.d).

Returns the records of `streamh5.format.datatype_class`. Versions 1 to 5 of atomic classes and 3 to 5 of
containers are the same bytes, so files of other writers decode as well.
"""

from __future__ import annotations

from streamh5.errors import ForeignStructureError
from streamh5.format.character_set import CharacterSet
from streamh5.format.datatype_class import (
    Array,
    Complex,
    Compound,
    CompoundMember,
    DatatypeClass,
    Enumeration,
    FixedLengthString,
    FixedPoint,
    FloatingPoint,
    ObjectReference,
    Opaque,
    RegionReference,
    StringPadding,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.primitives import MAX_RANK, encoded_length
from streamh5.reader.fields import Fields

__all__ = ["decode_datatype"]

_MAX_DEPTH = 32
"""Containers inside containers, so that no datatype exhausts the stack."""

_NEWEST_VERSION = 5
_FIRST_CONTAINER_VERSION = 3

_FOREIGN_CLASSES = {2: "time", 4: "bit field"}


def decode_datatype(body: bytes) -> DatatypeClass:
    """Decode the body of a datatype message.

    Raises
    ------
    FormatError
        A field is wrong, or the size does not follow from the members.
    ForeignStructureError
        A datatype that streamh5 does not write.
    """
    fields = Fields(body, "datatype message")
    record = _decode(fields, 0)
    fields.end()
    return record


def _decode(fields: Fields, depth: int) -> DatatypeClass:
    class_and_version = fields.uint(1, "class and version")
    bits = fields.uint(3, "class bit field")
    nbytes = fields.uint(4, "size")
    class_id, version = class_and_version & 0x0F, class_and_version >> 4
    if not 1 <= version <= _NEWEST_VERSION or not nbytes:
        raise fields.error(f"class {class_id} of version {version} and size {nbytes:,}")
    if depth > _MAX_DEPTH:
        raise ForeignStructureError(f"datatype message: nested more than {_MAX_DEPTH} deep")
    if class_id in (6, 8, 10) and version < _FIRST_CONTAINER_VERSION:
        raise ForeignStructureError(f"datatype message: class {class_id} of version {version}")
    record = _decode_class(fields, class_id, bits, nbytes, depth)
    if record.nbytes != nbytes:
        raise fields.error(f"size is {nbytes:,}, but its parts make {record.nbytes:,}")
    return record


def _decode_class(fields: Fields, class_id: int, bits: int, nbytes: int, depth: int) -> DatatypeClass:
    match class_id:
        case 0:
            return _decode_fixed_point(fields, bits, nbytes)
        case 1:
            return _decode_floating_point(fields, bits, nbytes)
        case 3:
            return FixedLengthString(nbytes, _charset(fields, bits >> 4 & 15), _padding(fields, bits & 15))
        case 5:
            return _decode_opaque(fields, bits, nbytes)
        case 6:
            return _decode_compound(fields, bits & 0xFFFF, nbytes, depth)
        case 7 if bits in (0, 1):
            return RegionReference() if bits else ObjectReference()
        case 8:
            return _decode_enumeration(fields, bits & 0xFFFF, depth)
        case 9:
            return _decode_variable_length(fields, bits, depth)
        case 10:
            return _decode_array(fields, depth)
        case 11:
            return _decode_complex(fields, bits, depth)
        case _ if class_id in _FOREIGN_CLASSES or class_id == 7:
            name = _FOREIGN_CLASSES.get(class_id, f"reference of type {bits & 15}")
            raise ForeignStructureError(f"datatype message: class {name}, which streamh5 does not write")
        case _:
            raise fields.error(f"class {class_id} is not known")


def _decode_fixed_point(fields: Fields, bits: int, nbytes: int) -> FixedPoint:
    offset, precision = fields.uint(2, "bit offset"), fields.uint(2, "bit precision")
    if bits & ~0x09 or offset or precision != 8 * nbytes:
        raise ForeignStructureError(
            f"datatype message: an integer of {nbytes} bytes with {precision} bits from bit {offset} on and "
            f"bit field {bits:#x}"
        )
    return FixedPoint(nbytes, signed=bool(bits & 0x08), big_endian=bool(bits & 0x01))


def _decode_floating_point(fields: Fields, bits: int, nbytes: int) -> FloatingPoint:
    offset, precision = fields.uint(2, "bit offset"), fields.uint(2, "bit precision")
    exponent_location, exponent_size = fields.uint(1, "exponent location"), fields.uint(1, "exponent size")
    mantissa_location, mantissa_size = fields.uint(1, "mantissa location"), fields.uint(1, "mantissa size")
    bias = fields.uint(4, "exponent bias")
    sign_location = bits >> 8 & 0xFF
    if bits & ~0xFF21 or offset:
        raise ForeignStructureError(
            f"datatype message: a float with bit field {bits:#x} and bit offset {offset}"
        )
    ends = (
        precision,
        sign_location + 1,
        exponent_location + exponent_size,
        mantissa_location + mantissa_size,
    )
    if max(ends) > 8 * nbytes or not exponent_size or not mantissa_size:
        raise fields.error(f"the bits of a float do not fit its {nbytes} bytes")
    return FloatingPoint(
        nbytes,
        precision,
        sign_location,
        exponent_location,
        exponent_size,
        mantissa_location,
        mantissa_size,
        bias,
        implied_msb=bool(bits & 0x20),
        big_endian=bool(bits & 0x01),
    )


def _decode_opaque(fields: Fields, bits: int, nbytes: int) -> Opaque:
    tag = fields.take(bits & 0xFF, "opaque tag")
    try:
        return Opaque(nbytes, tag.rstrip(b"\0").decode())
    except UnicodeDecodeError:
        raise fields.error(f"opaque tag {tag[:40]!r} is not UTF-8") from None


def _decode_compound(fields: Fields, n_members: int, nbytes: int, depth: int) -> Compound:
    width = encoded_length(nbytes)
    members = []
    for _ in range(n_members):
        name = fields.terminated_text("name of member")
        position = fields.uint(width, "byte offset of member")
        members.append(CompoundMember(name, position, _decode(fields, depth + 1)))
    ends = [(member.position, member.position + member.datatype.nbytes) for member in members]
    ends.sort()
    starts = [start for start, _ in ends[1:]] + [nbytes]
    if not members or any(stop > start for (_, stop), start in zip(ends, starts, strict=True)):
        raise fields.error(f"the members of a compound of {nbytes:,} bytes overlap or do not fit")
    return Compound(nbytes, tuple(members))


def _decode_enumeration(fields: Fields, n_members: int, depth: int) -> Enumeration:
    base = _decode(fields, depth + 1)
    if not isinstance(base, FixedPoint):
        raise fields.error("the base of an enumeration is no integer")
    names = [fields.terminated_text("name of member") for _ in range(n_members)]
    raw = fields.take(n_members * base.nbytes, "values of members")
    order = "big" if base.big_endian else "little"
    values = (
        int.from_bytes(raw[start : start + base.nbytes], order, signed=base.signed)  # type: ignore[arg-type]
        for start in range(0, len(raw), base.nbytes)
    )
    return Enumeration(base, tuple(zip(names, values, strict=True)))


def _decode_variable_length(
    fields: Fields, bits: int, depth: int
) -> VariableLengthString | VariableLengthSequence:
    base = _decode(fields, depth + 1)
    if bits & 15 == 0:
        return VariableLengthSequence(base)
    if bits & 15 != 1 or base.nbytes != 1:
        raise fields.error(f"a type of variable length with bit field {bits:#x}")
    return VariableLengthString(_charset(fields, bits >> 8 & 15), _padding(fields, bits >> 4 & 15))


def _decode_array(fields: Fields, depth: int) -> Array:
    rank = fields.uint(1, "dimensionality")
    shape = tuple(fields.uint(4, "dimension size") for _ in range(rank))
    if not 1 <= rank <= MAX_RANK or min(shape) < 1:
        raise fields.error(f"an array datatype of shape {shape[:MAX_RANK]}")
    return Array(_decode(fields, depth + 1), shape)


def _decode_complex(fields: Fields, bits: int, depth: int) -> Complex:
    base = _decode(fields, depth + 1)
    if bits != 1 or not isinstance(base, FloatingPoint):
        raise ForeignStructureError(f"datatype message: a complex number with bit field {bits:#x}")
    return Complex(base)


def _charset(fields: Fields, code: int) -> CharacterSet:
    if code > CharacterSet.UTF8:
        raise fields.error(f"character set {code} is not known")
    return CharacterSet(code)


def _padding(fields: Fields, code: int) -> StringPadding:
    if code > StringPadding.SPACE_PAD:
        raise fields.error(f"string padding {code} is not known")
    return StringPadding(code)
