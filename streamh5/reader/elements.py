"""Elements of datasets: read into memory, or checked if they refer to other places in the file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.data_layout import CompactLayout, ContiguousLayout
from streamh5.format.datatype_class import (
    Array,
    Compound,
    DatatypeClass,
    ObjectReferenceClass,
    RegionReferenceClass,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.elements import has_references, needs_global_heap
from streamh5.format.global_heap import GLOBAL_HEAP_ID, VARIABLE_LENGTH_ELEMENT
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.chunk_index.read_index import read_present_chunks
from streamh5.reader.stored_chunks import StoredChunks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap
    from streamh5.reader.global_heap import GlobalHeap
    from streamh5.reader.object_content import DatasetMessages


def refers_elsewhere(datatype: DatatypeClass) -> bool:
    """Return whether elements of a datatype refer to other places in the file: to heap objects or to other objects."""
    return needs_global_heap(datatype) or has_references(datatype)


def check_elements(
    elements: NDArray[np.uint8], datatype: DatatypeClass, heap: GlobalHeap, owner: str
) -> NDArray[np.uint64]:
    """Check that heap objects to which elements refer exist and have the right length.

    References inside variable-length data are not followed.

    Parameters
    ----------
    elements
        ``(n, datatype.nbytes) uint8``.
    datatype
        Datatype of the elements.
    heap
        Global heap of the file.
    owner
        Path of the object that contains the elements, for the file map.

    Returns
    -------
    ndarray, ``(n_references,) uint64``
        Addresses of the objects to which object references refer, without repetitions within a member.

    Raises
    ------
    FormatError
        A heap object is missing, or has the wrong length.
    """
    none = np.empty(0, np.uint64)
    match datatype:
        case VariableLengthString():
            _check_variable_length(elements, 1, heap, owner)
        case VariableLengthSequence():
            _check_variable_length(elements, datatype.base.nbytes, heap, owner)
        case RegionReferenceClass():
            for address, index in _distinct(elements, GLOBAL_HEAP_ID).tolist():
                if address not in (0, UNDEFINED_ADDRESS):
                    heap.object_nbytes(address, index, owner)
        case ObjectReferenceClass():
            addresses = _distinct(elements, np.dtype("<u8"))
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


def _distinct(elements: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the distinct values of elements, read as `dtype`."""
    # Without the counts, the first call of np.unique imports numpy.ma: 8 ms of a command on a small file.
    return np.unique(np.ascontiguousarray(elements).view(dtype), return_counts=True)[0]


def _check_variable_length(
    elements: NDArray[np.uint8], base_nbytes: int, heap: GlobalHeap, owner: str
) -> None:
    for length, address, index in _distinct(elements, VARIABLE_LENGTH_ELEMENT).tolist():
        if length == 0:
            continue
        found = heap.object_nbytes(address, index, owner)
        if found != length * base_nbytes:
            raise FormatError(
                f"heap object {index} of the collection at address {address:,} has {found:,} bytes, but its "
                f"element has {length * base_nbytes:,}",
                address=address,
                index=index,
            )


def read_elements(
    file: FileBytes, file_map: FileMap, owner: str, messages: DatasetMessages
) -> NDArray[np.uint8]:
    """Read all elements of a dataset: ``(n_elements, nbytes) uint8``, in C order.

    Raises
    ------
    FormatError
        The chunk index or a chunk is damaged.
    ForeignStructureError
        The reader does not know a filter or the layout, or chunks have more than 256 MiB.
    """
    shape, nbytes = messages.dataspace.shape or (), messages.datatype.nbytes
    n_elements = math.prod(shape)
    layout, frame = messages.layout, messages.frame(owner)
    fill = messages.fill_value.value if messages.fill_value is not None else None
    match layout:
        case CompactLayout():
            return np.frombuffer(layout.data, np.uint8).reshape(n_elements, nbytes)
        case ContiguousLayout() if layout.address != UNDEFINED_ADDRESS:
            raw = file.read(layout.address, n_elements * nbytes, "contiguous data")
            return np.frombuffer(raw, np.uint8).reshape(n_elements, nbytes)
    found = np.zeros((*shape, nbytes), np.uint8)
    if fill:
        found[...] = np.frombuffer(fill, np.uint8)
    if frame is not None and n_elements:
        _read_chunks(file, StoredChunks(frame, read_present_chunks(file, file_map, frame)), found)
    elif not isinstance(layout, ContiguousLayout) and n_elements:
        raise ForeignStructureError("elements in a layout that streamh5 does not read")
    return found.reshape(n_elements, nbytes)


def _read_chunks(file: FileBytes, chunks: StoredChunks, found: NDArray[np.uint8]) -> None:
    for coords, decoder, stored in chunks.read_each(file):
        raw = np.frombuffer(decoder.decode(stored), np.uint8).reshape(*chunks.frame.chunks, -1)
        box = chunks.chunk_map.grid.region(coords)
        found[box] = raw[tuple(slice(0, one.stop - one.start) for one in box)]
