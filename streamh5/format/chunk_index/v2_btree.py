"""Version 2 B-tree of chunks: the index for several unlimited dimensions (specification III.A.2, types 10, 11).

Only written chunks have a record; records are sorted by chunk coordinates, first by the first dimension.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streamh5.format.chunk_index.element import (
    ChunkColumns,
    element_dtype,
    fill_elements,
    stored_nbytes_width,
)
from streamh5.format.v2_btree import encode_v2_btree_nodes
from streamh5.format.v2_btree_sizes import RecordType, V2BTree

CHUNK_NODE_SIZE = 2048
"""H5D_BT2_NODE_SIZE."""


def chunk_btree(n_chunks: int, record: np.dtype[np.void], node_size: int = CHUNK_NODE_SIZE) -> V2BTree:
    """Return the sizes of the tree of `n_chunks` written chunks, with records from `chunk_record`.

    Its header is encoded by `streamh5.format.v2_btree.encode_v2_btree_header`.
    """
    return V2BTree(chunk_record_type(record), record.itemsize, n_chunks, node_size)


def encode_chunk_btree_nodes(
    tree: V2BTree,
    nodes_address: int,
    chunk_numbers: NDArray[np.integer],
    grid: tuple[int, ...],
    columns: ChunkColumns,
) -> Iterator[bytes]:
    """Encode all nodes as consecutive pieces of a few MiB.

    Parameters
    ----------
    tree, nodes_address
        Sizes of the tree, from `chunk_btree`, and address of its first node.
    chunk_numbers
        ``(n_chunks,)`` integers, ascending: row-major numbers in `grid` of the written chunks.
    grid
        Chunks along each dimension.
    columns
        Columns of the written chunks, ``(n_chunks,)`` each.

    Raises
    ------
    LimitError
        A stored size does not fit its field.
    """
    rank = len(grid)
    is_filtered = tree.record_type == RecordType.FILTERED_CHUNK
    # The stored size has all bytes except for address, filter mask and coordinates.
    dtype = _record_dtype(tree.record_nbytes - 8 * rank - 12 if is_filtered else 0, rank)

    def encode_records(positions: NDArray[np.intp]) -> NDArray[np.uint8]:
        records = np.empty(len(positions), dtype)
        fill_elements(records, columns.take(positions))
        for dimension, scaled in enumerate(np.unravel_index(chunk_numbers[positions].astype(np.intp), grid)):
            records["scaled"][:, dimension] = scaled
        return records.view(np.uint8).reshape(len(positions), dtype.itemsize)

    return encode_v2_btree_nodes(tree, nodes_address, encode_records)


def chunk_record_type(record: np.dtype[np.void]) -> RecordType:
    """Return the type of records from `chunk_record`."""
    return RecordType.FILTERED_CHUNK if stored_nbytes_width(record) else RecordType.UNFILTERED_CHUNK


def chunk_record(rank: int, element: np.dtype[np.void]) -> np.dtype[np.void]:
    """Return the dtype of a record: an element from `chunk_element`, then the coordinates of the chunk, ``scaled``."""
    return _record_dtype(stored_nbytes_width(element), rank)


def _record_dtype(stored_nbytes_width: int, rank: int) -> np.dtype[np.void]:
    return element_dtype(stored_nbytes_width, (("scaled", f"({rank},)<u8"),))
