"""The numpy dtype of a datatype: the one whose elements have the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamh5.errors import ForeignStructureError
from streamh5.format.datatype import datatype_class
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

_SIZES = (1, 2, 4, 8)
_BIT_FIELD = 4
_NUMPY_TAG = "NUMPY:"


def numpy_dtype(datatype: DatatypeClass) -> np.dtype[Any]:
    """Return the type whose elements have the bytes of the stored ones.

    Elements that refer to other places of the file are objects; metadata says of which kind, as in h5py.

    Raises
    ------
    ForeignStructureError
        numpy has no such type.
    """
    dtype = _plain(datatype)
    if dtype is None:
        dtype = _composed(datatype)
    if dtype is None:
        raise ForeignStructureError(f"elements that numpy has no type for: {type(datatype).__name__}")
    return dtype


def _plain(datatype: DatatypeClass) -> np.dtype[Any] | None:
    """Numbers, text, opaque bytes and pointers."""
    match datatype:
        case FixedPoint(nbytes, signed, big_endian) if nbytes in _SIZES:
            return np.dtype(f"{'>' if big_endian else '<'}{'i' if signed else 'u'}{nbytes}")
        case FloatingPoint(nbytes=nbytes, big_endian=big_endian) if nbytes in _SIZES[1:]:
            dtype: np.dtype[Any] = np.dtype(f"{'>' if big_endian else '<'}f{nbytes}")
            return dtype if datatype_class(dtype) == datatype else None
        case FixedLengthString():
            return np.dtype(f"S{datatype.nbytes}")
        case Opaque():
            return _opaque(datatype)
        case ObjectReference() | RegionReference():
            return np.dtype("O", metadata={"ref": type(datatype)})
        case VariableLengthString():
            return np.dtype("O", metadata={"vlen": str})
        case EncodedDatatype(message) if message[0] & 15 == _BIT_FIELD and datatype.nbytes in _SIZES:
            # Offset and precision: all bits of the element.
            is_whole = message[8:12] == bytes(2) + (8 * datatype.nbytes).to_bytes(2, "little")
            return np.dtype(f"{'>' if message[1] & 1 else '<'}u{datatype.nbytes}") if is_whole else None
        case _:
            return None


def _composed(datatype: DatatypeClass) -> np.dtype[Any] | None:
    """Types that consist of others."""
    match datatype:
        case Compound():
            return _compound(datatype)
        case Enumeration():
            is_bool = datatype.base.nbytes == 1 and set(datatype.members) == {("FALSE", 0), ("TRUE", 1)}
            return np.dtype("?") if is_bool else numpy_dtype(datatype.base)
        case VariableLengthSequence():
            return np.dtype("O", metadata={"vlen": numpy_dtype(datatype.base)})
        case Array():
            return np.dtype((numpy_dtype(datatype.base), datatype.shape))
        case Complex():
            part = numpy_dtype(datatype.base)
            return np.dtype(f"{part.byteorder}c{2 * part.itemsize}") if part.itemsize > 2 else None
        case _:
            return None


def _opaque(datatype: Opaque) -> np.dtype[Any]:
    """Tagged with the name of a numpy type, as h5py stores dates."""
    if datatype.tag.startswith(_NUMPY_TAG):
        try:
            named = np.dtype(datatype.tag.removeprefix(_NUMPY_TAG))
        except (TypeError, ValueError, SyntaxError):
            return np.dtype(f"V{datatype.nbytes}")
        if named.kind in "mM" and named.itemsize == datatype.nbytes:
            return named
    return np.dtype(f"V{datatype.nbytes}")


def _compound(datatype: Compound) -> np.dtype[Any]:
    types = [numpy_dtype(member.datatype) for member in datatype.members]
    names = [member.name for member in datatype.members]
    positions = [member.position for member in datatype.members]
    is_complex = (
        names == ["r", "i"]
        and types[0] == types[1]
        and types[0].kind == "f"
        and types[0].itemsize > 2
        and (positions, datatype.nbytes) == ([0, types[0].itemsize], 2 * types[0].itemsize)
    )
    if is_complex:
        return np.dtype(f"{types[0].byteorder}c{2 * types[0].itemsize}")
    if any(kind.hasobject for kind in types):
        return np.dtype(list(zip(names, types, strict=True)))
    try:
        fields: Any = {
            "names": names,
            "formats": types,
            "offsets": positions,
            "itemsize": datatype.nbytes,
        }
        dtype: np.dtype[Any] = np.dtype(fields)
        return dtype
    except (ValueError, TypeError) as error:  # two members of one name, or one without
        raise ForeignStructureError(f"a compound that numpy has no type for: {error}") from error
