"""Version 2 B-tree of chunks (specification III.A.2, types 10 and 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.format.chunk_index.element import columns_of
from streamh5.format.chunk_index.v2_btree import chunk_record, chunk_record_type
from streamh5.reader.chunk_index.chunk_frame import ChunkFrame, grid_numbers
from streamh5.reader.v2_btree import read_v2_btree

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamh5.format import data_layout
    from streamh5.format.chunk_index.element import ChunkColumns
    from streamh5.reader.structure_reader import StructureReader

__all__ = ["read_chunk_btree"]


def read_chunk_btree(
    reader: StructureReader, frame: ChunkFrame, index: data_layout.V2BTreeIndex
) -> tuple[NDArray[np.int64], ChunkColumns]:
    """Read the chunks of a version 2 B-tree: their numbers in `frame.grid`, and where they are.

    Raises
    ------
    FormatError
        A field or checksum is wrong, or a chunk is there twice or outside the shape.
    """
    record = chunk_record(
        len(frame.chunks),
        chunk_nbytes=frame.chunk_nbytes,
        filtered=frame.n_filters > 0,
        layout_version=frame.layout_version,
    )
    record_type = chunk_record_type(filtered=frame.n_filters > 0)
    records = read_v2_btree(reader, index.address, record_type, record, index.node_size)
    numbers = grid_numbers(frame, list(records["scaled"].T), "version 2 B-tree")
    return numbers, columns_of(records)
