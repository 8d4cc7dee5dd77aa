"""All elements of a dataset as bytes: for small ones, such as strings whose elements refer to the heap."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.filters.chunk_decoder import chunk_decoder
from streamh5.format.data_layout import ChunkedLayout, ChunkedLayoutV3, CompactLayout, ContiguousLayout
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.chunk_index.chunk_map import impossible_chunks
from streamh5.reader.chunk_index.read_index import read_chunk_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.reader.chunk_index.chunk_map import ChunkFrame
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap
    from streamh5.reader.object_content import DatasetMessages

__all__ = ["read_elements"]

_MAX_CHUNK_NBYTES = 256 << 20


def read_elements(
    file: FileBytes, file_map: FileMap, owner: str, messages: DatasetMessages
) -> NDArray[np.uint8]:
    """Read a dataset into memory: ``(n_elements, nbytes) uint8``, in C order.

    Raises
    ------
    FormatError
        An index or a chunk is damaged.
    ForeignStructureError
        A filter or layout that is not known, or chunks of more than 256 MiB.
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
    if isinstance(layout, (ChunkedLayout, ChunkedLayoutV3)) and frame is not None and n_elements:
        _read_chunks(file, file_map, messages, frame, layout, found)
    elif not isinstance(layout, ContiguousLayout) and n_elements:
        raise ForeignStructureError("elements of a layout that is not read")
    return found.reshape(n_elements, nbytes)


def _read_chunks(
    file: FileBytes,
    file_map: FileMap,
    messages: DatasetMessages,
    frame: ChunkFrame,
    layout: ChunkedLayout | ChunkedLayoutV3,
    found: NDArray[np.uint8],
) -> None:
    if frame.chunk_nbytes > _MAX_CHUNK_NBYTES:
        raise ForeignStructureError(f"chunks of {frame.chunk_nbytes:,} bytes")
    chunks = read_chunk_map(file, file_map, frame, layout)
    if impossible_chunks(frame, chunks, file.nbytes).any():
        raise FormatError("chunk index: chunks lie outside the file")
    if int(chunks.stored_nbytes.sum(dtype=np.float64)) > file.nbytes:
        raise FormatError("chunk index: its chunks overlap")
    for row in np.flatnonzero(chunks.is_present()).tolist():
        decoder = chunk_decoder(messages.filters, int(chunks.filter_masks[row]), frame.chunk_nbytes)
        if decoder.unknown_filters:
            raise ForeignStructureError(f"elements behind filters {decoder.unknown_filters}")
        stored = file.read(int(chunks.addresses[row]), int(chunks.stored_nbytes[row]), "chunk")
        raw = np.frombuffer(decoder.decode(stored), np.uint8).reshape(*frame.chunks, -1)
        box = tuple(
            slice(start, min(start + size, stop))
            for start, size, stop in zip(chunks.origin_at(row), frame.chunks, frame.shape, strict=True)
        )
        found[box] = raw[tuple(slice(0, one.stop - one.start) for one in box)]
