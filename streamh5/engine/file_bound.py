"""The size that a file cannot exceed, from what it is to hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from streamh5.model.tree import DatasetNode, walk

if TYPE_CHECKING:
    from streamh5.model.tree import GroupNode

OBJECT_NBYTES = 1 << 14
"""Room for a header with its attributes, when they are not larger than most."""

CHUNK_OVERHEAD_NBYTES = 64
"""Per chunk: its element of the index, and what a filter adds to data that it cannot compress."""


def max_file_nbytes(root: GroupNode, page_nbytes: int = 0) -> int | None:
    """Return the size that a file cannot exceed, unless more objects are created; None if nobody knows.

    It is not known of datasets that grow, and of elements of variable length, which lie in a heap.

    Parameters
    ----------
    root
        What the file is to hold.
    page_nbytes
        Size of its pages: up to half of one may be unused behind each block of metadata, and some at the ends.
    """
    total = (1 << 20) + 4 * page_nbytes
    for node in walk(root):
        total += 2 * OBJECT_NBYTES if page_nbytes else OBJECT_NBYTES
        if not isinstance(node, DatasetNode):
            continue
        spec, shape = node.spec, node.spec.shape
        if spec.is_encoded or node.parts is not None or (shape is not None and None in shape):
            return None
        if spec.chunks is None:
            total += node.data_nbytes or spec.value_nbytes
        else:
            # a filter may add a byte for each 100 (blosc and szip add less)
            total += math.prod(node.grid.counts) * (spec.chunk_nbytes * 101 // 100 + CHUNK_OVERHEAD_NBYTES)
    return total
