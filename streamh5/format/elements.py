"""Encode numpy arrays as elements of a datatype.

Most dtypes have the same bytes in memory and in the file. The exceptions: objects become pointers into the global heap,
which moves the fields after them, and padding becomes zero so that equal values give equal files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import DatatypeError
from streamh5.format.cast import cast_elements
from streamh5.format.character_set import CharacterSet, encode_text
from streamh5.format.datatype import AnyDatatype, datatype_class
from streamh5.format.datatype_class import (
    Array,
    Compound,
    DatatypeClass,
    FixedLengthString,
    ObjectReferenceClass,
    RegionReferenceClass,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.dtype import field_path, innermost, refusal
from streamh5.format.global_heap import SIZEOF_GLOBAL_HEAP_ID, VARIABLE_LENGTH_ELEMENT

_X87_MANTISSA_BITS = 63  # without the leading one
_X87_NBYTES = 10  # 80 bits

ObjectPlacer: TypeAlias = Callable[[Sequence[bytes]], tuple[NDArray[np.uint64], NDArray[np.uint32]]]
"""Stores objects in global heap collections and returns the collection address and index of each, ``(n,)``."""


def needs_global_heap(datatype: AnyDatatype) -> bool:
    """Return whether elements of `datatype` have content in the global heap."""
    return _consists_of(datatype, (VariableLengthString, VariableLengthSequence))


def has_references(datatype: AnyDatatype) -> bool:
    """Return whether elements of `datatype` are, or contain, object or region references."""
    return _consists_of(datatype, (ObjectReferenceClass, RegionReferenceClass))


def _consists_of(datatype: AnyDatatype, classes: tuple[type[DatatypeClass], ...]) -> bool:
    if isinstance(datatype, np.dtype) and datatype.kind in "biufc":
        return False  # asked for many times per dataset
    record = datatype_class(datatype)
    match record:
        case _ if isinstance(record, classes):
            return True
        case Array(base) | VariableLengthSequence(base):
            return _consists_of(base, classes)
        case Compound(_, members):
            return any(_consists_of(member.datatype, classes) for member in members)
        case _:
            return False


def heap_pointers_of(datatype: AnyDatatype) -> NDArray[np.bool_]:
    """Return which bytes of an element are pointers into the global heap, ``(nbytes,) bool``."""
    record = datatype_class(datatype)
    pointers = np.zeros(record.nbytes, bool)
    match record:
        case VariableLengthString() | VariableLengthSequence():
            pointers[-SIZEOF_GLOBAL_HEAP_ID:] = True
        case Array(base):
            inner = heap_pointers_of(base)
            pointers[:] = np.tile(inner, record.nbytes // len(inner))
        case Compound(_, members):
            for member in members:
                end = member.position + member.datatype.nbytes
                pointers[member.position : end] = heap_pointers_of(member.datatype)
    return pointers


def padding_of(dtype: np.dtype[Any]) -> NDArray[np.bool_] | None:
    """Return which bytes of an element are padding, ``(itemsize,) bool``; None if there is none.

    Padding is not covered by any field of a record, or fills up the 80-bit numbers of the x87 to 16 bytes. numpy does
    not copy it: in a copy, its bytes are the previous content of the memory.
    """
    if dtype.subdtype is not None:
        inner = padding_of(dtype.base)
        return None if inner is None else np.tile(inner, math.prod(dtype.shape))
    if dtype.kind in "fc" and np.finfo(dtype).nmant == _X87_MANTISSA_BITS:
        filling = np.arange(np.finfo(dtype).dtype.itemsize) >= _X87_NBYTES
        # Both parts of a complex number have padding; swapping the byte order reverses each part including its padding.
        return np.tile(filling if dtype.isnative else filling[::-1], 1 + (dtype.kind == "c"))
    if dtype.names is None:
        return None
    padding = np.ones(dtype.itemsize, bool)
    for name in dtype.names:
        # `fields` is None only where `names` is
        field, position = dtype.fields[name][:2]  # type: ignore[index]
        inner = padding_of(field)
        padding[position : position + field.itemsize] &= False if inner is None else inner
    return padding if padding.any() else None


def encode_elements(
    values: NDArray[Any], datatype: AnyDatatype, *, place_objects: ObjectPlacer | None = None
) -> bytes:
    """Return the elements of `values` in C order, as stored in the file.

    Parameters
    ----------
    values
        Elements of any shape. Strings of variable length: objects of ``str`` or ``bytes``, or StringDType.
        Sequences: objects that numpy converts to 1-d arrays. Object references: addresses as integers. Region
        references: global heap IDs as ``bytes``. Strings of fixed length: also ``U``. Others: the dtype of `datatype`.
    datatype
        A dtype (with h5py's marks on objects), or a record.
    place_objects
        Required if `needs_global_heap`; called once for every string or sequence type.

    Raises
    ------
    DatatypeError
        A value does not fit the datatype, or text is too long, is not ASCII in an ASCII type, or contains NUL.
    """
    if values.dtype is datatype and datatype.kind in "biu":
        return values.tobytes()  # nothing to convert, and no padding
    base, shape = _without_array(datatype)
    if values.size % math.prod(shape):
        raise refusal(f"{values.size} values are not a whole number of arrays of shape {shape}", "")
    return _encode(np.ascontiguousarray(values).reshape(-1), base, place_objects, "").tobytes()


def _encode(
    values: NDArray[Any], datatype: AnyDatatype, place: ObjectPlacer | None, path: str
) -> NDArray[np.uint8]:
    """Return ``(n, nbytes) uint8`` for ``(n,)`` values."""
    record = datatype_class(datatype)
    match record:
        case VariableLengthString():
            texts = _texts(values, record.charset, path)
            # an empty string is an object of size 0: C programs would read a null pointer as NULL (H5T_vlen_disk_write)
            return _encode_variable_length(
                texts, np.array(list(map(len, texts)), np.int64), place, range(len(texts))
            )
        case VariableLengthSequence():
            return _encode_sequences(values, datatype, record, place, path)
        case FixedLengthString():
            return _encode_fixed_strings(values, record, path)
        case ObjectReferenceClass():
            return _as_bytes(values.astype("<u8"))
        case RegionReferenceClass():
            return _as_bytes(values.astype(f"V{SIZEOF_GLOBAL_HEAP_ID}"))
        case Compound() if isinstance(datatype, np.dtype) and datatype.names is not None:
            return _encode_compound(values, datatype, record, place, path)
        case _:
            if values.dtype.hasobject or values.dtype.itemsize != record.nbytes:
                raise refusal(f"values of dtype {values.dtype} are not elements of {datatype}", path)
            return _without_padding(values)


def _without_padding(values: NDArray[Any]) -> NDArray[np.uint8]:
    found, padding = _as_bytes(values), padding_of(values.dtype)
    if padding is not None:
        found = np.where(padding, np.uint8(0), found)
    return found


def _encode_compound(
    values: NDArray[Any], dtype: np.dtype[Any], record: Compound, place: ObjectPlacer | None, path: str
) -> NDArray[np.uint8]:
    """Copy field by field, so that padding remains zero."""
    if values.dtype.names != dtype.names:
        raise refusal(f"fields {values.dtype.names} where {dtype.names} are expected", path)
    out = np.zeros((len(values), record.nbytes), np.uint8)
    for member in record.members:
        field: np.dtype[Any] = dtype[member.name]
        base, _ = _without_array(field)
        column = np.ascontiguousarray(values[member.name]).reshape(-1)
        end = member.position + member.datatype.nbytes
        encoded = _encode(column, base, place, field_path(path, member.name))
        out[:, member.position : end] = encoded.reshape(len(values), member.datatype.nbytes)
    return out


def _encode_sequences(
    values: NDArray[Any],
    datatype: AnyDatatype,
    record: VariableLengthSequence,
    place: ObjectPlacer | None,
    path: str,
) -> NDArray[np.uint8]:
    """Encode the concatenated elements of all sequences, then split the result."""
    base: AnyDatatype = record.base
    if isinstance(datatype, np.dtype) and datatype.metadata is not None:
        base = np.dtype(datatype.metadata["vlen"])
    arrays = [as_sequence(value, base, path) for value in values]
    lengths = np.array([len(array) for array in arrays], np.int64)
    joined = np.concatenate(arrays) if arrays else np.empty(0)
    contents = b"" if len(joined) == 0 else _encode(joined, base, place, f"{path}[...]").tobytes()
    ends = np.cumsum(lengths) * record.base.nbytes
    starts = ends - lengths * record.base.nbytes
    objects = [contents[start:end] for start, end in zip(starts, ends, strict=True)]
    # an empty sequence has no object, as it has no pointer in memory either (H5T_vlen_disk_setnull)
    return _encode_variable_length(objects, lengths, place, np.flatnonzero(lengths).tolist())


def as_sequence(value: object, base: AnyDatatype, path: str) -> NDArray[Any]:
    """Return one sequence as a 1-d array, of `base` unless that has objects.

    Raises
    ------
    DatatypeError
        The value is not 1-d, or numpy would round one of its elements.
    """
    array = np.asarray(value)
    if array.ndim != 1:
        raise refusal(f"a sequence of shape {array.shape} instead of a 1-d one", path)
    if not isinstance(base, np.dtype) or base.hasobject or array.dtype == base:
        return array
    return array.astype(base) if not len(array) else np.asarray(cast_elements(array, base, path=path))


def _encode_variable_length(
    objects: Sequence[bytes], lengths: NDArray[np.int64], place: ObjectPlacer | None, stored: Sequence[int]
) -> NDArray[np.uint8]:
    """Store the objects whose numbers are in `stored`; the other elements have no object."""
    if place is None:
        raise DatatypeError("elements of variable length need a place in the global heap")
    elements = np.zeros(len(objects), VARIABLE_LENGTH_ELEMENT)
    elements["length"] = lengths
    if len(stored):
        elements["address"][stored], elements["index"][stored] = place([objects[i] for i in stored])
    return _as_bytes(elements)


def _encode_fixed_strings(values: NDArray[Any], record: FixedLengthString, path: str) -> NDArray[np.uint8]:
    if values.dtype.kind == "S" and values.dtype.itemsize <= record.nbytes:
        return _as_bytes(values.astype(f"S{record.nbytes}"))
    texts = _texts(values, record.charset, path)
    longest = max(map(len, texts), default=0)
    if longest > record.nbytes:
        raise refusal(f"text of {longest} bytes does not fit strings of {record.nbytes}", path)
    return _as_bytes(np.array(texts, f"S{record.nbytes}"))


def _texts(values: NDArray[Any], charset: CharacterSet, path: str) -> list[bytes]:
    is_ascii = charset == CharacterSet.ASCII
    return [encode_string(value, path, is_ascii=is_ascii) for value in values.tolist()]


def encode_string(value: object, path: str, *, is_ascii: bool) -> bytes:
    """Return the bytes of a text in a string datatype.

    Raises
    ------
    DatatypeError
        The value is not str or bytes, contains NUL, or is a str beyond ASCII although the datatype is ASCII.
    UnicodeEncodeError
        The text has no UTF-8 encoding.
    """
    encoded = value
    if isinstance(value, str):
        # bytes are not checked, as in h5py: older files contain Latin-1
        if is_ascii and not value.isascii():
            raise refusal(
                f"text {value!r:.80} is beyond ASCII in a string datatype of ASCII; use UTF-8", path
            )
        encoded = encode_text(value)
    if not isinstance(encoded, bytes):
        raise refusal(f"a value of type {type(value).__name__} instead of text; give str or bytes", path)
    if b"\0" in encoded:
        raise refusal(f"text {encoded!r:.80} contains NUL, which ends an HDF5 string", path)
    return encoded


def _without_array(datatype: AnyDatatype) -> tuple[AnyDatatype, tuple[int, ...]]:
    """Return the innermost element type of an array type, and the shape of the array."""
    if isinstance(datatype, np.dtype):
        return innermost(datatype)
    if isinstance(datatype, Array):
        base, shape = _without_array(datatype.base)
        return base, (*datatype.shape, *shape)
    return datatype, ()


def _as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    contiguous = np.ascontiguousarray(values)
    return contiguous.view(np.uint8).reshape(len(values), contiguous.dtype.itemsize)
