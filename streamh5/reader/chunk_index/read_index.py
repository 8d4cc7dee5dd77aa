"""Read the chunk index of a dataset, of any kind, as a chunk map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.chunk_index.element import ChunkColumns, columns_of, no_chunks
from streamh5.format.chunk_index.v2_btree import chunk_record, chunk_record_type
from streamh5.format.data_layout import (
    ExtensibleArrayIndex,
    FixedArrayIndex,
    ImplicitIndex,
    SingleChunkIndex,
    V1BTreeIndex,
    V2BTreeIndex,
)
from streamh5.format.primitives import SIZEOF_ADDRESS, SIZEOF_LENGTH, UNDEFINED_ADDRESS
from streamh5.reader.chunk_index.arrays import read_extensible_array, read_fixed_array
from streamh5.reader.chunk_index.chunk_frame import ChunkFrame, chunk_map, grid_numbers, impossible_chunks
from streamh5.reader.chunk_index.v1_btree import read_v1_btree
from streamh5.reader.file_map import Kind, StructureReader
from streamh5.reader.v2_btree import read_v2_btree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap


def read_chunk_map(file: FileBytes, file_map: FileMap, frame: ChunkFrame) -> ChunkMap:
    """Read the chunk index of a dataset.

    Raises
    ------
    FormatError
        The index is damaged.
    ForeignStructureError
        The index is newer than HDF5 1.8, but addresses or lengths of the file do not have 8 bytes.
    """
    numbers, columns = _read(StructureReader(file, file_map, Kind.INDEX, frame.owner), frame)
    return chunk_map(frame, numbers, columns)


def read_present_chunks(file: FileBytes, file_map: FileMap, frame: ChunkFrame) -> ChunkMap:
    """Read the chunk index of a dataset, and return the chunks of its current shape, numbered in the grid of that.

    Raises
    ------
    FormatError
        The index is damaged, or gives a chunk a place outside the file or an impossible size.
    ForeignStructureError
        See `read_chunk_map`.
    """
    found = read_chunk_map(file, file_map, frame)
    n_impossible = int(np.count_nonzero(impossible_chunks(frame, found, file.nbytes)))
    if n_impossible:
        raise FormatError(
            f"chunk index: {n_impossible:,} chunks lie outside the file or have an impossible size"
        )
    return found.present()


def _read(reader: StructureReader, frame: ChunkFrame) -> tuple[NDArray[np.int64] | None, ChunkColumns]:
    """Return the numbers of the chunks, None for ``0 .. n - 1``, and where they are stored."""
    layout, encoding = frame.layout, reader.encoding
    if layout.index.address == UNDEFINED_ADDRESS:
        return None, no_chunks(frame.chunk_element)
    if isinstance(layout.index, V1BTreeIndex):
        return read_v1_btree(reader, frame, layout.index)
    if encoding.sizeof_address != SIZEOF_ADDRESS or encoding.sizeof_length != SIZEOF_LENGTH:
        raise ForeignStructureError(
            f"{layout.index_kind.value} index in a file with addresses of {encoding.sizeof_address} bytes"
        )
    match layout.index:
        case SingleChunkIndex() as index:
            return None, _single_chunk(frame, index)
        case ImplicitIndex() as index:
            return None, _implicit(reader, frame, index)
        case FixedArrayIndex() as index:
            return read_fixed_array(reader, frame, index)
        case ExtensibleArrayIndex() as index:
            return read_extensible_array(reader, frame, index)
        case V2BTreeIndex() as index:
            return read_chunk_btree(reader, frame, index)


def _single_chunk(frame: ChunkFrame, index: SingleChunkIndex) -> ChunkColumns:
    if (index.stored_nbytes is not None) != bool(frame.filters):
        raise FormatError(
            f"data layout message: the single chunk has a stored size of {index.stored_nbytes}, but the dataset has "
            f"{len(frame.filters)} filters"
        )
    if frame.n_max_chunks != 1:
        raise FormatError(f"data layout message: a single chunk for a grid of {frame.grid.counts}")
    stored = None if index.stored_nbytes is None else np.array([index.stored_nbytes], np.uint64)
    masks = np.array([index.filter_mask], np.uint32)
    return ChunkColumns(np.array([index.address], np.uint64), stored, masks)


def _implicit(reader: StructureReader, frame: ChunkFrame, index: ImplicitIndex) -> ChunkColumns:
    if frame.filters:
        raise FormatError("data layout message: an Implicit index, but chunks have filters")
    nbytes = frame.chunk_nbytes
    reader.file.check_range(index.address, frame.n_max_chunks * nbytes, "implicitly indexed chunks")
    addresses = np.uint64(index.address) + np.arange(frame.n_max_chunks, dtype=np.uint64) * np.uint64(nbytes)
    return ChunkColumns(addresses)


def read_chunk_btree(
    reader: StructureReader, frame: ChunkFrame, index: V2BTreeIndex
) -> tuple[NDArray[np.int64], ChunkColumns]:
    """Read the chunks of a version 2 B-tree: their numbers in `frame.grid`, and where they are stored.

    Raises
    ------
    FormatError
        A field or a checksum is wrong, or a chunk has two entries or is outside the grid.
    """
    record = chunk_record(len(frame.chunks), frame.chunk_element)
    records = read_v2_btree(reader, index.address, chunk_record_type(record), record, index.node_size)
    numbers = grid_numbers(frame, list(records["scaled"].T), "version 2 B-tree")
    return numbers, columns_of(records)
