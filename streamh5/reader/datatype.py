"""Datatype message, versions 1 to 5, from bytes (specification IV.A.2.d).

Returns the records of `streamh5.format.datatype_class`; what no record of streamh5's own can say (times, bit
fields, integers of odd precision, references of HDF5 1.12) becomes an `EncodedDatatype`, after its fields have been
checked.
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
    EncodedDatatype,
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
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.primitives import MAX_RANK, encoded_length

__all__ = ["decode_datatype", "decode_datatype_message"]

_MAX_DEPTH = 32
"""Containers inside containers, so that no datatype exhausts the stack."""

_NEWEST_VERSION = 5
_FIRST_UNPADDED_VERSION = 3
_N_MEMBER_DIMS = 4


def decode_datatype(body: bytes, encoding: Encoding = ENCODING) -> DatatypeClass:
    """Decode the body of a datatype message.

    Raises
    ------
    FormatError
        A field is wrong, or the size does not follow from the members.
    ForeignStructureError
        A datatype of more than 32 others inside each other.
    """
    return decode_datatype_message(body, encoding)[0]


def decode_datatype_message(body: bytes, encoding: Encoding = ENCODING) -> tuple[DatatypeClass, bytes]:
    """Decode the body of a datatype message, and return it also as it is, without padding behind it.

    Raises
    ------
    FormatError, ForeignStructureError
        As `decode_datatype`.
    """
    fields = Fields(body, "datatype message", encoding)
    record = _decode(fields, 0)
    stated = fields.since(0)
    fields.end()
    return record, stated


def _decode(fields: Fields, depth: int) -> DatatypeClass:
    start = fields.position
    class_and_version = fields.uint(1, "class and version")
    bits = fields.uint(3, "class bit field")
    nbytes = fields.uint(4, "size")
    class_id, version = class_and_version & 0x0F, class_and_version >> 4
    if not 1 <= version <= _NEWEST_VERSION or not nbytes:
        raise fields.error(f"class {class_id} of version {version} and size {nbytes:,}")
    if depth > _MAX_DEPTH:
        raise ForeignStructureError(f"datatype message: nested more than {_MAX_DEPTH} deep")
    record = _decode_class(fields, class_id, version, bits, nbytes, depth)
    if record is None:
        return EncodedDatatype(fields.since(start))
    if record.nbytes != nbytes:
        raise fields.error(f"size is {nbytes:,}, but its parts make {record.nbytes:,}")
    return record


def _decode_class(
    fields: Fields, class_id: int, version: int, bits: int, nbytes: int, depth: int
) -> DatatypeClass | None:
    """Decode what follows the size; None for what no record can say."""
    match class_id:
        case 0:
            return _decode_fixed_point(fields, bits, nbytes)
        case 1:
            return _decode_floating_point(fields, bits, nbytes)
        case 2:
            fields.uint(2, "bit precision")
            return None
        case 3:
            return FixedLengthString(nbytes, _charset(fields, bits >> 4 & 15), _padding(fields, bits & 15))
        case 4:
            _bit_range(fields, nbytes)
            return None
        case 5:
            return _decode_opaque(fields, bits, nbytes)
        case 6:
            return _decode_compound(fields, version, bits & 0xFFFF, nbytes, depth)
        case 7:
            return _decode_reference(fields, bits & 15, nbytes)
        case 8:
            return _decode_enumeration(fields, version, bits & 0xFFFF, depth)
        case 9:
            return _decode_variable_length(fields, bits, nbytes, depth)
        case 10:
            return _decode_array(fields, version, depth)
        case 11:
            return _decode_complex(fields, bits, depth)
        case _:
            raise fields.error(f"class {class_id} is not known")


def _bit_range(fields: Fields, nbytes: int) -> bool:
    """Read offset and precision of an integer; return whether all its bits are in use."""
    offset, precision = fields.uint(2, "bit offset"), fields.uint(2, "bit precision")
    if offset + precision > 8 * nbytes or not precision:
        raise fields.error(f"{precision} bits from bit {offset} on in {nbytes} bytes")
    return not offset and precision == 8 * nbytes


def _decode_fixed_point(fields: Fields, bits: int, nbytes: int) -> FixedPoint | None:
    is_whole = _bit_range(fields, nbytes)
    if bits & ~0x09 or not is_whole:
        return None
    return FixedPoint(nbytes, signed=bool(bits & 0x08), big_endian=bool(bits & 0x01))


def _decode_floating_point(fields: Fields, bits: int, nbytes: int) -> FloatingPoint | None:
    offset, precision = fields.uint(2, "bit offset"), fields.uint(2, "bit precision")
    exponent_location, exponent_size = fields.uint(1, "exponent location"), fields.uint(1, "exponent size")
    mantissa_location, mantissa_size = fields.uint(1, "mantissa location"), fields.uint(1, "mantissa size")
    bias = fields.uint(4, "exponent bias")
    sign_location = bits >> 8 & 0xFF
    ends = (
        precision,
        sign_location + 1,
        exponent_location + exponent_size,
        mantissa_location + mantissa_size,
    )
    if max(ends) > 8 * nbytes or not exponent_size or not mantissa_size:
        raise fields.error(f"the bits of a float do not fit its {nbytes} bytes")
    if bits & ~0xFF21 or offset:  # padding bits of 1, another normalization, the byte order of a VAX
        return None
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


def _decode_opaque(fields: Fields, bits: int, nbytes: int) -> Opaque | None:
    tag = fields.take(bits & 0xFF, "opaque tag")
    try:
        return Opaque(nbytes, tag.rstrip(b"\0").decode())
    except UnicodeDecodeError:
        return None


def _decode_compound(fields: Fields, version: int, n_members: int, nbytes: int, depth: int) -> Compound:
    is_padded = version < _FIRST_UNPADDED_VERSION
    width = 4 if is_padded else encoded_length(nbytes)
    members = []
    for _ in range(n_members):
        name = fields.terminated_text("name of member", padded=is_padded)
        position = fields.uint(width, "byte offset of member")
        shape = _member_shape(fields) if version == 1 else ()
        datatype = _decode(fields, depth + 1)
        members.append(CompoundMember(name, position, Array(datatype, shape) if shape else datatype))
    ends = sorted((member.position, member.position + member.datatype.nbytes) for member in members)
    starts = [start for start, _ in ends[1:]] + [nbytes]
    if not members or any(stop > start for (_, stop), start in zip(ends, starts, strict=True)):
        raise fields.error(f"the members of a compound of {nbytes:,} bytes overlap or do not fit")
    return Compound(nbytes, tuple(members))


def _member_shape(fields: Fields) -> tuple[int, ...]:
    """Read the dimensions that a member of a compound of version 1 has itself; ``()`` for none."""
    rank = fields.uint(1, "dimensionality of member")
    fields.take(3 + 4 + 4, "dimension permutation and reserved bytes")
    sizes = [fields.uint(4, "dimension size of member") for _ in range(_N_MEMBER_DIMS)]
    if rank > _N_MEMBER_DIMS or 0 in sizes[:rank]:
        raise fields.error(f"a member of rank {rank} and shape {sizes}")
    return tuple(sizes[:rank])


def _decode_reference(fields: Fields, kind: int, nbytes: int) -> ObjectReference | RegionReference | None:
    records: tuple[ObjectReference | RegionReference, ...] = (ObjectReference(), RegionReference())
    sizeof_address = fields.encoding.sizeof_address
    if kind < len(records) and nbytes != sizeof_address + 4 * kind:
        raise fields.error(f"a reference of type {kind} of {nbytes} bytes")
    return records[kind] if kind < len(records) and nbytes == records[kind].nbytes else None


def _decode_enumeration(fields: Fields, version: int, n_members: int, depth: int) -> Enumeration | None:
    base = _decode(fields, depth + 1)
    is_padded = version < _FIRST_UNPADDED_VERSION
    names = [fields.terminated_text("name of member", padded=is_padded) for _ in range(n_members)]
    raw = fields.take(n_members * base.nbytes, "values of members")
    if not isinstance(base, FixedPoint):
        return None
    order = "big" if base.big_endian else "little"
    values = (
        int.from_bytes(raw[start : start + base.nbytes], order, signed=base.signed)  # type: ignore[arg-type]
        for start in range(0, len(raw), base.nbytes)
    )
    return Enumeration(base, tuple(zip(names, values, strict=True)))


def _decode_variable_length(
    fields: Fields, bits: int, nbytes: int, depth: int
) -> VariableLengthString | VariableLengthSequence | None:
    base = _decode(fields, depth + 1)
    record: VariableLengthString | VariableLengthSequence
    if bits & 15 == 0:
        record = VariableLengthSequence(base)
    elif bits & 15 != 1 or base.nbytes != 1:
        raise fields.error(f"a type of variable length with bit field {bits:#x}")
    else:
        record = VariableLengthString(_charset(fields, bits >> 8 & 15), _padding(fields, bits >> 4 & 15))
    is_other_width = nbytes == fields.encoding.sizeof_address + 8 != record.nbytes
    return None if is_other_width else record


def _decode_array(fields: Fields, version: int, depth: int) -> Array:
    is_padded = version < _FIRST_UNPADDED_VERSION
    rank = fields.uint(1, "dimensionality")
    fields.take(3 if is_padded else 0, "reserved bytes")
    shape = tuple(fields.uint(4, "dimension size") for _ in range(rank))
    fields.take(4 * rank if is_padded else 0, "permutation indices")
    if not 1 <= rank <= MAX_RANK or min(shape) < 1:
        raise fields.error(f"an array datatype of shape {shape[:MAX_RANK]}")
    return Array(_decode(fields, depth + 1), shape)


def _decode_complex(fields: Fields, bits: int, depth: int) -> Complex | None:
    base = _decode(fields, depth + 1)
    return Complex(base) if bits == 1 and isinstance(base, FloatingPoint) else None


def _charset(fields: Fields, code: int) -> CharacterSet:
    if code > CharacterSet.UTF8:
        raise fields.error(f"character set {code} is not known")
    return CharacterSet(code)


def _padding(fields: Fields, code: int) -> StringPadding:
    if code > StringPadding.SPACE_PAD:
        raise fields.error(f"string padding {code} is not known")
    return StringPadding(code)
