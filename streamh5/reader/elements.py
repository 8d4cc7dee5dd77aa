"""What elements refer to: heap objects of variable-length data, headers of object references."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.datatype_class import (
    Array,
    Compound,
    DatatypeClass,
    ObjectReference,
    RegionReference,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.elements import has_references, needs_global_heap
from streamh5.format.global_heap import GLOBAL_HEAP_ID, VARIABLE_LENGTH_ELEMENT
from streamh5.format.primitives import UNDEFINED_ADDRESS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.reader.global_heap import GlobalHeap

__all__ = ["check_elements", "refers_elsewhere"]


def refers_elsewhere(datatype: DatatypeClass) -> bool:
    """Whether elements refer to other places in the file."""
    return needs_global_heap(datatype) or has_references(datatype)


def check_elements(
    elements: NDArray[np.uint8], datatype: DatatypeClass, heap: GlobalHeap, owner: str
) -> NDArray[np.uint64]:
    """Check that elements refer to heap objects that exist and have their length.

    Variable-length data inside variable-length data is not followed.

    Parameters
    ----------
    elements
        ``(n, datatype.nbytes) uint8``.
    datatype
        Their type.
    heap
        Of the file.
    owner
        Object that holds them, for the file map.

    Returns
    -------
    ndarray, ``(n_references,) uint64``
        Addresses of the objects that the elements refer to.

    Raises
    ------
    FormatError
        A heap object is missing, or has another length.
    """
    none = np.empty(0, np.uint64)
    match datatype:
        case VariableLengthString():
            _check_variable_length(elements, 1, heap, owner)
        case VariableLengthSequence():
            _check_variable_length(elements, datatype.base.nbytes, heap, owner)
        case RegionReference():
            for address, index in np.unique(_records(elements, GLOBAL_HEAP_ID)).tolist():
                if address not in (0, UNDEFINED_ADDRESS):
                    heap.object_nbytes(address, index, owner)
        case ObjectReference():
            addresses = np.unique(np.ascontiguousarray(elements).view("<u8").ravel().astype(np.uint64))
            defined: NDArray[np.uint64] = addresses[(addresses != 0) & (addresses != UNDEFINED_ADDRESS)]
            return defined
        case Compound():
            parts = [
                check_elements(
                    elements[:, member.position : member.position + member.datatype.nbytes],
                    member.datatype,
                    heap,
                    owner,
                )
                for member in datatype.members
                if refers_elsewhere(member.datatype)
            ]
            return np.concatenate([none, *parts])
        case Array() if refers_elsewhere(datatype):
            items = np.ascontiguousarray(elements).reshape(-1, datatype.base.nbytes)
            return check_elements(items, datatype.base, heap, owner)
        case _:
            pass
    return none


def _records(elements: NDArray[np.uint8], dtype: np.dtype[np.void]) -> NDArray[np.void]:
    return np.ascontiguousarray(elements).view(dtype).ravel()


def _check_variable_length(
    elements: NDArray[np.uint8], base_nbytes: int, heap: GlobalHeap, owner: str
) -> None:
    for length, address, index in np.unique(_records(elements, VARIABLE_LENGTH_ELEMENT)).tolist():
        if length == 0:
            continue
        found = heap.object_nbytes(address, index, owner)
        if found != length * base_nbytes:
            raise FormatError(
                f"heap object {index} of the collection at address {address:,} has {found:,} bytes, its "
                f"element says {length * base_nbytes:,}",
                address=address,
                index=index,
            )
