"""Numpy dtypes to HDF5 datatypes, as h5py chooses them, and back.

Where numpy has no dtype, h5py stores marks in the metadata of a dtype (``h5py.string_dtype()`` and similar); they are
supported here, also inside structured dtypes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from streamh5.errors import DatatypeError, ForeignStructureError
from streamh5.format.character_set import CharacterSet
from streamh5.format.datatype_class import (
    Array,
    ClassNumber,
    Complex,
    Compound,
    CompoundMember,
    DatatypeClass,
    EncodedDatatype,
    Enumeration,
    FixedLengthString,
    FixedPoint,
    FloatingPoint,
    ObjectReferenceClass,
    Opaque,
    RegionReferenceClass,
    VariableLengthSequence,
    VariableLengthString,
)

_NUMBER_SIZES = (1, 2, 4, 8)
_NUMPY_TAG = "NUMPY:"

# By stored mantissa bits: float16, float32, float64, x87 extended, binary128.
_IEEE_FLOATS = {
    10: FloatingPoint(2, 16, 15, 10, 5, 0, 10, 15),
    23: FloatingPoint(4, 32, 31, 23, 8, 0, 23, 127),
    52: FloatingPoint(8, 64, 63, 52, 11, 0, 52, 1023),
    63: FloatingPoint(16, 80, 79, 64, 15, 0, 64, 16383, implied_msb=False),
    112: FloatingPoint(16, 128, 127, 112, 15, 0, 112, 16383),
}
_BFLOAT16 = FloatingPoint(2, 16, 15, 7, 8, 0, 7, 127)
_BOOL = Enumeration(FixedPoint(1, signed=True), (("FALSE", 0), ("TRUE", 1)))

_HINTS = {
    "U": "; write it as UTF-8: h5py.string_dtype(), or h5py.string_dtype('utf-8', nbytes)",
    "O": "; say what the objects are: h5py.string_dtype() or h5py.vlen_dtype(...)",
}


NATIVE_COMPLEX = "streamh5_native_complex"
"""Mark of a complex dtype that is written as the complex datatype of HDF5 2.0."""


def native_complex_dtype(dtype: Any = np.complex128) -> np.dtype[Any]:
    """Return a dtype that is written as the complex datatype of HDF5 2.0, which older libraries do not open.

    Without it, complex numbers are a compound of ``r`` and ``i``, as h5py writes them. Datasets with it need
    ``libver="v200"``.

    Parameters
    ----------
    dtype
        A complex dtype.

    Raises
    ------
    DatatypeError
        Not a complex dtype.

    Examples
    --------
    >>> with streamh5.File("x.h5", "w", libver="v200") as f:
    ...     x = f.create_dataset("x", (100, 100), streamh5.native_complex_dtype("c8"))
    >>> x.dtype
    dtype('complex64')
    """
    try:
        element: np.dtype[Any] = np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise DatatypeError(f"{dtype!r:.80} is not a dtype: {error}") from error
    if element.kind != "c":
        raise DatatypeError(f"{element} is not a complex dtype", dtype=element)
    return np.dtype(element.str, metadata={NATIVE_COMPLEX: True})


def innermost(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the innermost element type of a subarray dtype, and the joined shape of all nested subarrays.

    numpy appends these dimensions to the shape of an array with such a dtype or field.
    """
    shape: tuple[int, ...] = ()
    while dtype.subdtype is not None:
        dtype, inner = dtype.subdtype
        shape += inner
    return dtype, shape


def datatype_from_dtype(dtype: np.dtype[Any], path: str = "") -> DatatypeClass:
    """Return the record of the HDF5 datatype for elements of `dtype`.

    Parameters
    ----------
    dtype
        Any numpy dtype.
    path
        Path of the field inside an outer structured dtype, for the error.

    Raises
    ------
    DatatypeError
        The dtype, or a member of it, has no HDF5 datatype.
    """
    if dtype.metadata is None and dtype.names is None and dtype.subdtype is None:
        return _without_marks(dtype, path)
    marked = _from_metadata(dtype, path)
    if marked is not None:
        return marked
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        if 0 in shape:
            raise _refusal(dtype, path, "; HDF5 arrays have no dimension of size 0")
        return Array(datatype_from_dtype(base, f"{path}[{', '.join(map(str, shape))}]"), shape)
    if dtype.names is not None:
        return _compound(dtype, path)
    return _atomic(dtype, path)


@lru_cache(maxsize=256)  # called many times per dataset; never with metadata, which dtype equality ignores
def _without_marks(dtype: np.dtype[Any], path: str) -> DatatypeClass:
    if dtype.name == "bfloat16":  # of ml_dtypes, which is not imported for it; its kind is "V"
        return _BFLOAT16
    if dtype.itemsize == 0:
        raise _refusal(dtype, path, "; HDF5 has no elements of size 0")
    return _atomic(dtype, path)


def _atomic(dtype: np.dtype[Any], path: str) -> DatatypeClass:
    big_endian = dtype.str.startswith(">")
    match dtype.kind:
        case "b":
            return _BOOL
        case "i" | "u":
            return FixedPoint(dtype.itemsize, signed=dtype.kind == "i", big_endian=big_endian)
        case "f":
            return _floating_point(dtype, path)
        case "c":
            part = _floating_point(np.dtype(f"{dtype.str[0]}f{dtype.itemsize // 2}"), path)
            members = (CompoundMember("r", 0, part), CompoundMember("i", part.nbytes, part))
            return Compound(dtype.itemsize, members)
        case "S":
            return FixedLengthString(dtype.itemsize)
        case "T":
            return VariableLengthString()
        case "V" if dtype.type is np.void:
            return Opaque(dtype.itemsize)
        case "M" | "m":
            return Opaque(dtype.itemsize, f"{_NUMPY_TAG}{dtype.str}")
        case _:
            raise _refusal(dtype, path, _HINTS.get(dtype.kind, ""))


def _floating_point(dtype: np.dtype[Any], path: str) -> FloatingPoint:
    record = _IEEE_FLOATS.get(np.finfo(dtype).nmant)
    if record is None or record.nbytes != dtype.itemsize:
        raise _refusal(dtype, path, "; its byte layout is not known")
    return replace(record, big_endian=dtype.str.startswith(">"))


def _compound(dtype: np.dtype[Any], path: str) -> Compound:
    """Keep numpy's offsets, increased where earlier fields are larger in the file (references, strings).

    H5T_set_loc does the same when such a member is converted from memory to the file.
    """
    fields: Mapping[str, tuple[Any, ...]] = dtype.fields or {}
    names = sorted(dtype.names or (), key=lambda name: int(fields[name][1]))
    if not names:
        raise _refusal(dtype, path, "; a compound datatype needs at least one field")
    for before, after in pairwise(names):
        if fields[before][1] + fields[before][0].itemsize > fields[after][1]:
            raise _refusal(dtype, path, f"; its fields {before!r} and {after!r} overlap")
    members: dict[str, CompoundMember] = {}
    growth = 0
    for name in names:
        if "\0" in name or not name:
            raise _refusal(dtype, field_path(path, name), "; a field's name is not empty and has no NUL")
        member, offset = fields[name][:2]
        record = datatype_from_dtype(member, field_path(path, name))
        members[name] = CompoundMember(name, offset + growth, record)
        growth += record.nbytes - member.itemsize
    return Compound(dtype.itemsize + growth, tuple(members[name] for name in dtype.names or ()))


def _from_metadata(dtype: np.dtype[Any], path: str) -> DatatypeClass | None:
    """Return the datatype that h5py's marks ask for; None without marks."""
    metadata: Mapping[str, Any] = dtype.metadata or {}
    if "vlen" in metadata:
        base = metadata["vlen"]
        if base is str:
            return VariableLengthString(CharacterSet.UTF8)
        if base is bytes:
            return VariableLengthString(CharacterSet.ASCII)
        return VariableLengthSequence(datatype_from_dtype(np.dtype(base), f"{path}[...]"))
    if "ref" in metadata:
        # by name: the class is h5py's, which is not imported for it, or streamh5's
        is_region = metadata["ref"].__name__ == "RegionReference"
        return RegionReferenceClass() if is_region else ObjectReferenceClass()
    if NATIVE_COMPLEX in metadata:
        return Complex(_floating_point(np.dtype(f"{dtype.str[0]}f{dtype.itemsize // 2}"), path))
    if "enum" in metadata:
        base_record = _atomic(dtype, path)
        if not isinstance(base_record, FixedPoint):
            raise _refusal(dtype, path, "; an enumeration has an integer dtype")
        return Enumeration(base_record, tuple(sorted(metadata["enum"].items())))
    if "h5py_opaque" in metadata:
        return Opaque(dtype.itemsize, f"{_NUMPY_TAG}{dtype.str}")
    if metadata.get("h5py_encoding") == "utf-8" and dtype.kind == "S":
        return FixedLengthString(dtype.itemsize, CharacterSet.UTF8)
    return None


def field_path(path: str, name: str) -> str:
    """Return the path of a field, for messages: names of fields joined by dots; `path` is empty outside of fields."""
    return f"{path}.{name}" if path else name


def refusal(message: str, path: str, **facts: object) -> DatatypeError:
    """Return the error that refuses the dtype or the values of a field."""
    return DatatypeError(f"field {path!r}: {message}" if path else message, path=path, **facts)


def _refusal(dtype: np.dtype[Any], path: str, hint: str) -> DatatypeError:
    return refusal(f"dtype {dtype} cannot be written to HDF5{hint}", path, dtype=dtype)


def numpy_dtype(datatype: DatatypeClass) -> np.dtype[Any]:
    """Return the dtype whose elements have the same bytes as the stored elements.

    Elements that refer to other parts of the file are objects; metadata tells the kind, as in h5py.

    Raises
    ------
    ForeignStructureError
        numpy has no such dtype.
    """
    dtype = _plain(datatype)
    if dtype is None:
        dtype = _composed(datatype)
    if dtype is None:
        raise ForeignStructureError(f"numpy has no dtype for these elements: {type(datatype).__name__}")
    return dtype


def _plain(datatype: DatatypeClass) -> np.dtype[Any] | None:
    """Return the dtype of a number, text, opaque bytes or a pointer."""
    match datatype:
        case FixedPoint(nbytes, signed, big_endian) if nbytes in _NUMBER_SIZES:
            return np.dtype(f"{'>' if big_endian else '<'}{'i' if signed else 'u'}{nbytes}")
        case FloatingPoint(nbytes=nbytes, big_endian=big_endian) if nbytes in _NUMBER_SIZES[1:]:
            dtype: np.dtype[Any] = np.dtype(f"{'>' if big_endian else '<'}f{nbytes}")
            return dtype if datatype_from_dtype(dtype) == datatype else None
        case FixedLengthString():
            return np.dtype(f"S{datatype.nbytes}")
        case Opaque():
            return _opaque(datatype)
        case ObjectReferenceClass() | RegionReferenceClass():
            return np.dtype("O", metadata={"ref": type(datatype)})
        case VariableLengthString():
            return np.dtype("O", metadata={"vlen": str})
        case EncodedDatatype(message, class_number=ClassNumber.BIT_FIELD) if datatype.nbytes in _NUMBER_SIZES:
            # Bit offset 0 and full precision: all bits of the element are significant.
            is_whole = message[8:12] == bytes(2) + (8 * datatype.nbytes).to_bytes(2, "little")
            return np.dtype(f"{'>' if message[1] & 1 else '<'}u{datatype.nbytes}") if is_whole else None
        case _:
            return None


def _composed(datatype: DatatypeClass) -> np.dtype[Any] | None:
    """Return the dtype of a datatype that consists of others."""
    match datatype:
        case Compound():
            return _structured(datatype)
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
    """Return the dtype of opaque data; a tag may name a numpy dtype, as h5py stores dates."""
    if datatype.tag.startswith(_NUMPY_TAG):
        try:
            named = np.dtype(datatype.tag.removeprefix(_NUMPY_TAG))
        except (TypeError, ValueError, SyntaxError):
            return np.dtype(f"V{datatype.nbytes}")
        if named.kind in "mM" and named.itemsize == datatype.nbytes:
            return named
    return np.dtype(f"V{datatype.nbytes}")


def _structured(datatype: Compound) -> np.dtype[Any]:
    types = [numpy_dtype(member.datatype) for member in datatype.members]
    names = [member.name for member in datatype.members]
    positions = [member.position for member in datatype.members]
    if names == ["r", "i"] and types[0].kind == "f" and types[0].itemsize > 2:
        whole: np.dtype[Any] = np.dtype(f"{types[0].byteorder}c{2 * types[0].itemsize}")
        if datatype_from_dtype(whole) == datatype:
            return whole
    if any(kind.hasobject for kind in types):  # not as large in memory as in the file: no offsets
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
    except (ValueError, TypeError) as error:  # two members of the same name, or an empty name
        raise ForeignStructureError(f"numpy has no dtype for a compound: {error}") from error
