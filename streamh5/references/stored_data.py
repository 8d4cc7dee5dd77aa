"""Where the data of a dataset lies, as the chunk map to which references refer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.model.chunk_grid import ChunkGrid
from streamh5.model.chunk_map import ChunkMap
from streamh5.reader.chunk_index.chunk_frame import impossible_chunks
from streamh5.reader.chunk_index.read_index import read_chunk_map

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap
    from streamh5.reader.object_content import DatasetMessages

__all__ = ["chunked_data", "compact_data", "whole_data"]

MAX_HEADER_NBYTES = 64 << 10
"""Bytes of an object header in which compact data is searched for."""


def whole_data(shape: tuple[int, ...], address: int, nbytes: int) -> ChunkMap:
    """Return data without chunks as one chunk."""
    return ChunkMap(
        ChunkGrid(shape, tuple(max(1, n) for n in shape)),
        np.zeros(1, np.int64),
        np.array([address], np.uint64),
        np.array([nbytes], np.uint64),
        np.zeros(1, np.uint32),
    )


def compact_data(
    raw: FileBytes, address: int, shape: tuple[int, ...], content: bytes
) -> tuple[ChunkMap | None, bytes | None]:
    """Find compact data in the object header at `address`; its bytes where it is not there (in a continuation)."""
    if not content:
        return None, None
    n_there = max(0, min(MAX_HEADER_NBYTES + len(content), raw.nbytes - address))
    header = raw.read(address, n_there, "object header")
    # data layout message, version 3 or 4: its class, the size, the data
    begins = [bytes((version, 0)) + len(content).to_bytes(2, "little") for version in (3, 4)]
    position = max(header.find(begin + content) for begin in begins)
    if position < 0:
        return None, content
    return whole_data(shape, raw.base_address + address + position + len(begins[0]), len(content)), None


def chunked_data(
    raw: FileBytes, file_map: FileMap, path: str, messages: DatasetMessages
) -> tuple[ChunkMap | None, str | None]:
    """Read the index of a chunked dataset: the chunks of its present shape, or why they cannot be referred to.

    Raises
    ------
    FormatError
        The index is damaged.
    ForeignStructureError
        An index that is not read.
    """
    frame = messages.frame(path)
    if frame is None:
        raise FormatError(f"{path}: a chunk index of a dataset without chunks")
    if frame.n_filters and not frame.filters_edges:
        return None, "chunks at its edge are stored without filters (H5Pset_chunk_opts)"
    found = read_chunk_map(raw, file_map, frame)
    n_impossible = int(np.count_nonzero(impossible_chunks(frame, found, raw.nbytes)))
    if n_impossible:
        return None, f"{n_impossible:,} chunks lie outside the file"
    if raw.base_address:
        found = replace(found, addresses=found.addresses + np.uint64(raw.base_address))
    return found.present(), None
