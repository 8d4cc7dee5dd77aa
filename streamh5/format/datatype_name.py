"""Datatypes as a person names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamh5.format.character_set import CharacterSet
from streamh5.format.datatype_class import (
    Array,
    ClassNumber,
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

_MAX_LENGTH = 200
_ENCODINGS = {CharacterSet.ASCII: "ASCII", CharacterSet.UTF8: "UTF-8"}
_CLASS_NAMES: dict[int, str] = {
    ClassNumber.FIXED_POINT: "integer",
    ClassNumber.FLOATING_POINT: "float",
    ClassNumber.TIME: "time",
    ClassNumber.BIT_FIELD: "bit field",
    ClassNumber.OPAQUE: "opaque",
    ClassNumber.REFERENCE: "reference",
    ClassNumber.ENUMERATION: "enumeration",
    ClassNumber.VARIABLE_LENGTH: "sequence",
    ClassNumber.COMPLEX: "complex",
}
_IEEE_BITS = {(16, 10), (32, 23), (64, 52), (128, 112)}


def datatype_name(datatype: DatatypeClass) -> str:
    """Name a datatype in the words of numpy and h5py, cut where it gets long."""
    name = _name(datatype)
    return name if len(name) <= _MAX_LENGTH else f"{name[: _MAX_LENGTH - 3]}..."


def _name(datatype: DatatypeClass) -> str:
    return _NAMES[type(datatype)](datatype)


def _integer_name(datatype: FixedPoint) -> str:
    name = f"{'int' if datatype.signed else 'uint'}{8 * datatype.nbytes}"
    return f"big-endian {name}" if datatype.big_endian and datatype.nbytes > 1 else name


def _float_name(datatype: FloatingPoint) -> str:
    is_ieee = (datatype.precision, datatype.mantissa_size) in _IEEE_BITS
    name = f"float{datatype.precision}"
    if not is_ieee:
        name += f" (exponent {datatype.exponent_size}, mantissa {datatype.mantissa_size} bits)"
    return f"big-endian {name}" if datatype.big_endian else name


def _enumeration_name(datatype: Enumeration) -> str:
    names = dict(datatype.members)
    return "bool" if names == {"FALSE": 0, "TRUE": 1} else f"enumeration of {len(names):,}"


def _compound_name(datatype: Compound) -> str:
    members = [(member.name, _name(member.datatype)) for member in datatype.members[:_MAX_LENGTH]]
    if [name for name, _ in members] == ["r", "i"] and members[0][1] in ("float32", "float64"):
        return f"complex{8 * datatype.nbytes}"
    return "{" + ", ".join(f"{name}: {of}" for name, of in members) + "}"


def _foreign_name(datatype: EncodedDatatype) -> str:
    return f"{_CLASS_NAMES.get(datatype.class_number, 'datatype')} of {datatype.nbytes:,} bytes"


_NAMES: dict[type[DatatypeClass], Callable[[Any], str]] = {
    FixedPoint: _integer_name,
    FloatingPoint: _float_name,
    FixedLengthString: lambda of: f"{_ENCODINGS[of.charset]} string of {of.nbytes:,} bytes",
    VariableLengthString: lambda of: f"{_ENCODINGS[of.charset]} string",
    VariableLengthSequence: lambda of: f"sequence of {_name(of.base)}",
    Enumeration: _enumeration_name,
    Compound: _compound_name,
    Array: lambda of: f"{_name(of.base)} {of.shape}",
    Complex: lambda of: f"complex of {_name(of.base)}",
    Opaque: lambda of: of.tag.removeprefix("NUMPY:") or f"opaque of {of.nbytes:,} bytes",
    ObjectReference: lambda of: "object reference",
    RegionReference: lambda of: "region reference",
    EncodedDatatype: _foreign_name,
}
