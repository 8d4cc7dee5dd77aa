"""A dataset as `StoredArray`, from what its writer or a reader knows about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError, ReferencesError
from streamh5.format.data_layout import CompactLayout, ContiguousLayout
from streamh5.format.datatype_class import FixedLengthString, StringPadding
from streamh5.format.dtype import numpy_dtype
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.chunk_index.read_index import read_present_chunks
from streamh5.references.stored_file import single_chunk
from streamh5.references.zarr_elements import check_n_texts, encode_texts, is_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.format.datatype_class import DatatypeClass
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap
    from streamh5.reader.object_content import DatasetMessages
    from streamh5.reader.object_walk import ObjectPlace
    from streamh5.references.stored_file import StoredArray

VIRTUAL = "a virtual dataset, whose data is in other datasets; make references to those"
EXTERNAL = "its data is in external files"

_MAX_HEADER_NBYTES = 64 << 10
"""Bytes of an object header that are searched for compact data, in addition to the size of the data: the first block of
a header is rarely larger."""


def with_data(
    array: StoredArray, read_texts: Callable[[], Any], find_data: Callable[[], ChunkMap | bytes | None]
) -> StoredArray:
    """Return a dataset with its data, or with the problem why no reference to its data is possible.

    Parameters
    ----------
    array
        The dataset without data.
    read_texts
        Reads the elements if they are strings of variable length.
    find_data
        Finds all other data: `StoredArray.data`. It raises `ReferencesError` if no reference to it is possible.
    """
    if array.problem is not None or array.shape is None:
        return array
    try:
        if is_text(array.dtype):
            check_n_texts(array.shape)
            return replace(array, data=encode_texts(read_texts()))
        if array.dtype.hasobject:  # zarr has no type for other objects, and refuses them by their dtype
            return array
        return replace(array, data=find_data())
    except ForeignStructureError:
        raise
    except ReferencesError as error:
        return replace(array, problem=str(error))
    except (FormatError, UnicodeError) as error:
        return replace(array, problem=f"its strings cannot be read: {error}")


def stored_dtype(datatype: DatatypeClass) -> tuple[np.dtype[Any], str | None]:
    """Return a dtype of the same size as the elements, and why its values would be wrong; None if they are right."""
    if isinstance(datatype, FixedLengthString) and datatype.padding == StringPadding.SPACE_PAD:
        return np.dtype(f"S{datatype.nbytes}"), "its strings are padded with spaces, which zarr would show"
    try:
        return numpy_dtype(datatype), None
    except ForeignStructureError:
        problem = f"its elements, {type(datatype).__name__}, are not stored the way numpy stores any"
        return np.dtype(f"V{datatype.nbytes}"), problem


def find_data(
    raw: FileBytes, file_map: FileMap, place: ObjectPlace, messages: DatasetMessages
) -> ChunkMap | bytes | None:
    """Find the data of a dataset whose object header is known.

    Raises
    ------
    ForeignStructureError
        The chunk index is of a kind that the reader does not support.
    ReferencesError
        No reference to the data is possible.
    """
    shape = messages.dataspace.shape or ()
    match messages.layout:
        case CompactLayout(data):
            return _compact_data(raw, place.address, shape, data) if data else None
        case ContiguousLayout(address, nbytes):
            if address == UNDEFINED_ADDRESS or not nbytes:
                return None
            if address + nbytes > raw.nbytes:
                raise ReferencesError(f"its {nbytes:,} bytes at {address:,} lie outside the file")
            return single_chunk(shape, raw.base_address + address, nbytes)
    try:
        return _chunked_data(raw, file_map, place.shown, messages)
    except ForeignStructureError:
        raise
    except FormatError as error:
        raise ReferencesError(str(error)) from error


def _compact_data(raw: FileBytes, address: int, shape: tuple[int, ...], content: bytes) -> ChunkMap | bytes:
    """Find compact data in the object header at `address`; return its bytes if it is in a continuation block.

    The decoded message has the bytes but not their position, so the block is searched for the encoded message.
    """
    n_header = max(0, min(_MAX_HEADER_NBYTES + len(content), raw.nbytes - address))
    header = raw.read(address, n_header, "object header")
    # a data layout message of version 3 or 4: version, layout class 0, size, data
    begins = [bytes((version, 0)) + len(content).to_bytes(2, "little") for version in (3, 4)]
    position = max(header.find(begin + content) for begin in begins)
    if position < 0:
        return content
    return single_chunk(shape, position + raw.base_address + address + len(begins[0]), len(content))


def _chunked_data(raw: FileBytes, file_map: FileMap, path: str, messages: DatasetMessages) -> ChunkMap:
    """Read the chunk index, and return the chunks of the current shape."""
    frame = messages.frame(path)
    if frame is None:
        raise FormatError(f"{path}: a chunk index of a dataset without chunks")
    if frame.filters and not frame.layout.filter_partial_edge_chunks:
        raise ReferencesError("chunks at its edge are stored without filters (H5Pset_chunk_opts)")
    found = read_present_chunks(raw, file_map, frame)
    if raw.base_address:
        found = replace(found, addresses=found.addresses + np.uint64(raw.base_address))
    return found
