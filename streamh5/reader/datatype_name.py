"""Datatypes as a person names them."""

from __future__ import annotations

from streamh5.format.character_set import CharacterSet
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

__all__ = ["datatype_name"]

_MAX_LENGTH = 200
_ENCODINGS = {CharacterSet.ASCII: "ASCII", CharacterSet.UTF8: "UTF-8"}
_CLASS_NAMES = {
    0: "integer",
    1: "float",
    2: "time",
    4: "bit field",
    5: "opaque",
    7: "reference",
    8: "enumeration",
    9: "sequence",
    11: "complex",
}
_IEEE_BITS = {(16, 10), (32, 23), (64, 52), (128, 112)}


def datatype_name(datatype: DatatypeClass) -> str:
    """Name a datatype in the words of numpy and h5py, cut where it gets long."""
    name = _name(datatype)
    return name if len(name) <= _MAX_LENGTH else f"{name[: _MAX_LENGTH - 3]}..."


def _name(datatype: DatatypeClass) -> str:
    match datatype:
        case FixedPoint():
            name = f"{'int' if datatype.signed else 'uint'}{8 * datatype.nbytes}"
            return f"big-endian {name}" if datatype.big_endian and datatype.nbytes > 1 else name
        case FloatingPoint():
            return _float_name(datatype)
        case FixedLengthString():
            return f"{_ENCODINGS[datatype.charset]} string of {datatype.nbytes:,} bytes"
        case VariableLengthString():
            return f"{_ENCODINGS[datatype.charset]} string"
        case VariableLengthSequence():
            return f"sequence of {_name(datatype.base)}"
        case Enumeration():
            names = dict(datatype.members)
            return "bool" if names == {"FALSE": 0, "TRUE": 1} else f"enumeration of {len(names):,}"
        case Compound():
            members = [(member.name, _name(member.datatype)) for member in datatype.members[:_MAX_LENGTH]]
            if [name for name, _ in members] == ["r", "i"] and members[0][1] in ("float32", "float64"):
                return f"complex{8 * datatype.nbytes}"
            return "{" + ", ".join(f"{name}: {of}" for name, of in members) + "}"
        case Array():
            return f"{_name(datatype.base)} {datatype.shape}"
        case Complex():
            return f"complex of {_name(datatype.base)}"
        case Opaque():
            return datatype.tag.removeprefix("NUMPY:") or f"opaque of {datatype.nbytes:,} bytes"
        case ObjectReference():
            return "object reference"
        case RegionReference():
            return "region reference"
        case EncodedDatatype():
            return f"{_CLASS_NAMES.get(datatype.message[0] & 15, 'datatype')} of {datatype.nbytes:,} bytes"


def _float_name(datatype: FloatingPoint) -> str:
    is_ieee = (datatype.precision, datatype.mantissa_size) in _IEEE_BITS
    name = f"float{datatype.precision}"
    if not is_ieee:
        name += f" (exponent {datatype.exponent_size}, mantissa {datatype.mantissa_size} bits)"
    return f"big-endian {name}" if datatype.big_endian else name
