"""All elements of a dataset as bytes: for small ones, such as strings whose elements refer to the heap."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.filters.chunk_decoder import chunk_decoder
from streamh5.format.data_layout import CompactLayout, ContiguousLayout
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.chunk_index.chunk_frame import impossible_chunks
from streamh5.reader.chunk_index.read_index import read_chunk_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streamh5.filters.chunk_decoder import ChunkDecoder
    from streamh5.format.filter_pipeline import FilterRecord
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.chunk_index.chunk_frame import ChunkFrame
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap
    from streamh5.reader.object_content import DatasetMessages

__all__ = ["read_elements", "stored_chunks"]

_MAX_CHUNK_NBYTES = 256 << 20
"""Raw bytes of the largest chunk that is decoded for its elements: there is one in memory."""


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
    if frame is not None and n_elements:
        _read_chunks(file, file_map, messages.filters, frame, found)
    elif not isinstance(layout, ContiguousLayout) and n_elements:
        raise ForeignStructureError("elements of a layout that is not read")
    return found.reshape(n_elements, nbytes)


def _read_chunks(
    file: FileBytes,
    file_map: FileMap,
    filters: tuple[FilterRecord, ...],
    frame: ChunkFrame,
    found: NDArray[np.uint8],
) -> None:
    chunks = read_chunk_map(file, file_map, frame)
    if impossible_chunks(frame, chunks, file.nbytes).any():
        raise FormatError("chunk index: chunks lie outside the file")
    chunks = chunks.present()
    for row, decoder, stored in stored_chunks(file, filters, frame, chunks):
        raw = np.frombuffer(decoder.decode(stored), np.uint8).reshape(*frame.chunks, -1)
        box = chunks.grid.region(chunks.coords_at(row))
        found[box] = raw[tuple(slice(0, one.stop - one.start) for one in box)]


def stored_chunks(
    file: FileBytes, filters: tuple[FilterRecord, ...], frame: ChunkFrame, chunks: ChunkMap
) -> Iterator[tuple[int, ChunkDecoder, bytes]]:
    """Yield row, decoder and stored bytes of chunks that lie in the file, one after the other.

    Raises
    ------
    FormatError
        They overlap: together they are larger than the file.
    ForeignStructureError
        A filter that is not known, or chunks of more than 256 MiB.
    """
    n_stored = int(chunks.stored_nbytes.sum(dtype=np.float64))
    if n_stored > file.nbytes:
        raise FormatError(f"chunk index: its chunks overlap, they have {n_stored:,} bytes together")
    if len(chunks) and frame.chunk_nbytes > _MAX_CHUNK_NBYTES:
        raise ForeignStructureError(f"elements in chunks of {frame.chunk_nbytes:,} bytes")
    for row in range(len(chunks)):
        decoder = chunk_decoder(filters, int(chunks.filter_masks[row]), frame.chunk_nbytes)
        if decoder.unknown_filters:
            raise ForeignStructureError(f"elements behind filters {decoder.unknown_filters}")
        yield row, decoder, file.read(int(chunks.addresses[row]), int(chunks.stored_nbytes[row]), "chunk")
