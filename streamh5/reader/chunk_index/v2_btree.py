"""Version 2 B-tree of chunks from bytes (specification III.A.2, types 10 and 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.chunk_index.element import SIZEOF_FILTER_MASK, ChunkColumns
from streamh5.format.primitives import SIZEOF_ADDRESS
from streamh5.format.v2_btree import RecordType
from streamh5.reader.chunk_index.chunk_map import ChunkFrame, chunk_map, grid_numbers
from streamh5.reader.file_map import Kind
from streamh5.reader.v2_btree import V2BTreeReader, decode_uints

if TYPE_CHECKING:
    from streamh5.format import data_layout
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["read_chunk_btree"]


def read_chunk_btree(
    file: FileBytes, file_map: FileMap, frame: ChunkFrame, index: data_layout.V2BTree
) -> ChunkMap:
    """Read the chunks of a version 2 B-tree.

    Raises
    ------
    FormatError
        A field or checksum is wrong, or a chunk is there twice or outside the shape.
    """
    rank = len(frame.chunks)
    width = frame.stored_nbytes_width
    sizeof_element = SIZEOF_ADDRESS + (0 if width is None else width + SIZEOF_FILTER_MASK)
    record_type = RecordType.UNFILTERED_CHUNK if width is None else RecordType.FILTERED_CHUNK
    trees = V2BTreeReader(file, file_map, Kind.INDEX, frame.owner)
    records = trees.read(index.address, record_type, sizeof_element + 8 * rank, index.node_size)
    scaled = [decode_uints(records[:, sizeof_element + 8 * axis :][:, :8]) for axis in range(rank)]
    addresses = decode_uints(records[:, :SIZEOF_ADDRESS])
    if not addresses.all():
        raise FormatError("version 2 B-tree: a chunk at address 0, where the superblock is")
    if width is None:
        columns = ChunkColumns(addresses)
    else:
        end = SIZEOF_ADDRESS + width
        masks = decode_uints(records[:, end : end + SIZEOF_FILTER_MASK]).astype(np.uint32)
        columns = ChunkColumns(addresses, decode_uints(records[:, SIZEOF_ADDRESS:end]), masks)
    numbers = grid_numbers(frame, scaled, "version 2 B-tree")
    return chunk_map(frame, numbers, columns)
