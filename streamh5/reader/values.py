"""Elements from their stored bytes: the numpy types that have the same bytes, and values as h5py gives them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError
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
    StringPadding,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.primitives import UNDEFINED_ADDRESS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HeapObjects", "decode_values", "heap_contents", "numpy_dtype", "refers_to_objects"]

HeapObjects: TypeAlias = Callable[[int, int], bytes]
"""Gives the object of the global heap at an address and an index."""

_HEAP_ELEMENT = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
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
    match datatype:
        case FixedPoint(nbytes, signed, big_endian) if nbytes in (1, 2, 4, 8):
            return np.dtype(f"{'>' if big_endian else '<'}{'i' if signed else 'u'}{nbytes}")
        case FloatingPoint(nbytes=nbytes, big_endian=big_endian) if nbytes in (2, 4, 8):
            dtype: np.dtype[Any] = np.dtype(f"{'>' if big_endian else '<'}f{nbytes}")
            if datatype_class(dtype) == datatype:
                return dtype
        case FixedLengthString():
            return np.dtype(f"S{datatype.nbytes}")
        case Opaque():
            return _opaque(datatype)
        case Compound():
            return _compound(datatype)
        case ObjectReference() | RegionReference():
            return np.dtype("O", metadata={"ref": type(datatype)})
        case Enumeration():
            is_bool = datatype.base.nbytes == 1 and set(datatype.members) == {("FALSE", 0), ("TRUE", 1)}
            return np.dtype("?") if is_bool else numpy_dtype(datatype.base)
        case VariableLengthString():
            return np.dtype("O", metadata={"vlen": str})
        case VariableLengthSequence():
            return np.dtype("O", metadata={"vlen": numpy_dtype(datatype.base)})
        case Array():
            return np.dtype((numpy_dtype(datatype.base), datatype.shape))
        case Complex():
            part = numpy_dtype(datatype.base)
            if part.itemsize > 2:
                return np.dtype(f"{part.byteorder}c{2 * part.itemsize}")
        case EncodedDatatype(message) if message[0] & 15 == _BIT_FIELD and datatype.nbytes in (1, 2, 4, 8):
            if message[8:12] == bytes(2) + (8 * datatype.nbytes).to_bytes(2, "little"):
                return np.dtype(f"{'>' if message[1] & 1 else '<'}u{datatype.nbytes}")
        case _:
            pass
    raise ForeignStructureError(f"elements that numpy has no type for: {type(datatype).__name__}")


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


def refers_to_objects(datatype: DatatypeClass) -> bool:
    """Whether elements, or what they consist of, are references to objects or regions."""
    match datatype:
        case ObjectReference() | RegionReference():
            return True
        case Compound():
            return any(refers_to_objects(member.datatype) for member in datatype.members)
        case Array() | VariableLengthSequence():
            return refers_to_objects(datatype.base)
        case _:
            return False


def decode_values(datatype: DatatypeClass, shape: tuple[int, ...], data: bytes, heap: HeapObjects) -> Any:
    """Decode elements of an attribute or dataset.

    Parameters
    ----------
    datatype
        Of an element; not of references to objects.
    shape
        Of the value.
    data
        Stored bytes of the elements in C order.
    heap
        Of the file.

    Returns
    -------
    ndarray, or for shape ``()`` what h5py gives for one element
        Text is str, with replacement characters for what is not UTF-8; sequences are arrays.

    Raises
    ------
    ForeignStructureError
        numpy has no such type.
    FormatError
        The heap is damaged.
    """
    raw = np.frombuffer(data, np.uint8).reshape(math.prod(shape), datatype.nbytes)
    values = _decode(raw, datatype, heap)
    found = values.reshape((*shape, *values.shape[1:]))
    return found[()]


def _decode(raw: NDArray[np.uint8], datatype: DatatypeClass, heap: HeapObjects) -> NDArray[Any]:
    match datatype:
        case VariableLengthString():
            texts = [_text(content) for content in heap_contents(raw, 1, heap)]
            return np.array([*texts, None], object)[:-1]
        case VariableLengthSequence(base):
            found = np.empty(len(raw), object)
            for i, content in enumerate(heap_contents(raw, base.nbytes, heap)):
                items = np.frombuffer(content, np.uint8).reshape(-1, base.nbytes)
                found[i] = _decode(items, base, heap)
            return found
        case FixedLengthString(padding=padding):
            return np.array([_unpadded(one.tobytes(), padding) for one in raw], f"S{datatype.nbytes}")
        case Array(base, shape):
            return _decode(raw.reshape(-1, base.nbytes), base, heap).reshape(len(raw), *shape)
    dtype = numpy_dtype(datatype)
    if isinstance(datatype, Compound) and dtype.names is not None:
        return _members(raw, datatype, dtype, heap)
    return np.ascontiguousarray(raw).view(dtype).reshape(len(raw))


def _members(
    raw: NDArray[np.uint8], datatype: Compound, dtype: np.dtype[Any], heap: HeapObjects
) -> NDArray[Any]:
    found = np.zeros(len(raw), dtype)
    for member in datatype.members:
        part = raw[:, member.position : member.position + member.datatype.nbytes]
        found[member.name] = _decode(part, member.datatype, heap)
    return found


def heap_contents(raw: NDArray[np.uint8], base_nbytes: int, heap: HeapObjects) -> list[bytes]:
    """Return what elements of variable length hold: ``(n, 16) uint8``.

    Raises
    ------
    ForeignStructureError
        Addresses are not of 8 bytes.
    FormatError
        The heap is damaged, or an object is shorter than its element says.
    """
    if raw.shape[1] != _HEAP_ELEMENT.itemsize:
        raise ForeignStructureError(f"elements of variable length of {raw.shape[1]} bytes")
    found = []
    for length, address, index in np.ascontiguousarray(raw).view(_HEAP_ELEMENT).ravel().tolist():
        content = heap(address, index) if address not in (0, UNDEFINED_ADDRESS) else b""
        if len(content) < length * base_nbytes:
            raise FormatError(
                f"heap object {index} at address {address:,}: {len(content):,} bytes for {length:,} items of "
                f"{base_nbytes}"
            )
        found.append(content[: length * base_nbytes])
    return found


def _text(content: bytes) -> str:
    return content.partition(b"\0")[0].decode("utf-8", "replace")


def _unpadded(content: bytes, padding: StringPadding) -> bytes:
    if padding == StringPadding.NULL_TERMINATE:
        return content.partition(b"\0")[0]
    return content.rstrip(b" " if padding == StringPadding.SPACE_PAD else b"\0")
