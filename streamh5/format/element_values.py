"""Decode stored elements to the values that h5py returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.datatype_class import (
    Array,
    Compound,
    DatatypeClass,
    FixedLengthString,
    StringPadding,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.dtype import numpy_dtype
from streamh5.format.global_heap import VARIABLE_LENGTH_ELEMENT
from streamh5.format.primitives import UNDEFINED_ADDRESS

if TYPE_CHECKING:
    from numpy.typing import NDArray


HeapObjects: TypeAlias = Callable[[int, int], bytes]
"""Returns the object of the global heap with a collection address and an index."""


def decode_values(datatype: DatatypeClass, shape: tuple[int, ...], data: bytes, heap: HeapObjects) -> Any:
    """Decode elements of an attribute or dataset.

    Parameters
    ----------
    datatype
        Datatype of an element; not of references to objects.
    shape
        Shape of the value.
    data
        Stored bytes of the elements in C order.
    heap
        Global heap of the file.

    Returns
    -------
    ndarray, or for shape ``()`` the object that h5py returns for one element
        Text is str, with replacement characters for invalid UTF-8; sequences are arrays.

    Raises
    ------
    ForeignStructureError
        numpy has no such dtype.
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
            return np.array([_text(content) for content in heap_contents(raw, 1, heap)], object)
        case VariableLengthSequence(base):
            found = np.empty(len(raw), object)
            for i, content in enumerate(heap_contents(raw, base.nbytes, heap)):
                items = np.frombuffer(content, np.uint8).reshape(-1, base.nbytes)
                found[i] = _decode(items, base, heap)
            return found
        case FixedLengthString(padding=padding):
            return np.array([_unpadded(one.tobytes(), padding) for one in raw], f"S{datatype.nbytes}")
        case Array(base, shape):
            items = _decode(raw.reshape(-1, base.nbytes), base, heap)
            return items.reshape(len(raw), *shape, *items.shape[1:])  # arrays of arrays have more of them
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
    """Return the content of elements of variable length, ``(n, 16) uint8``.

    Raises
    ------
    ForeignStructureError
        Addresses do not have 8 bytes.
    FormatError
        The heap is damaged, or an object is shorter than its element requires.
    """
    if raw.shape[1] != VARIABLE_LENGTH_ELEMENT.itemsize:
        raise ForeignStructureError(f"elements of variable length of {raw.shape[1]} bytes")
    found = []
    for length, address, index in np.ascontiguousarray(raw).view(VARIABLE_LENGTH_ELEMENT).ravel().tolist():
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
