"""Which chunk index a dataset gets.

The choice follows the library's own (``H5D__layout_set_latest_indexing``) for datasets whose
dimensions are fixed once the file is closed:

===========================  ==========================================================
grid                         index
===========================  ==========================================================
one chunk                    Single Chunk: the layout message holds the chunk's address
any other number of chunks   Fixed Array: one lookup finds a chunk, whatever its number
===========================  ==========================================================
"""

from __future__ import annotations

from enum import Enum

__all__ = ["ChunkIndex", "choose_index"]


class ChunkIndex(Enum):
    """A chunk index of the version 4 layout message."""

    SINGLE_CHUNK = "Single Chunk"
    FIXED_ARRAY = "Fixed Array"


def choose_index(n_chunks: int) -> ChunkIndex:
    """Index for a grid of `n_chunks` with fixed dimensions."""
    return ChunkIndex.SINGLE_CHUNK if n_chunks == 1 else ChunkIndex.FIXED_ARRAY
