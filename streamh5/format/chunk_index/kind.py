"""The chunk indexes of HDF5, by the names that everything here gives them."""

from __future__ import annotations

from enum import Enum


class ChunkIndexKind(Enum):
    """A chunk index; its value is its name, in the order of ``H5D_chunk_index_t``."""

    V1_BTREE = "v1 B-tree"
    SINGLE_CHUNK = "Single Chunk"
    IMPLICIT = "Implicit"
    FIXED_ARRAY = "Fixed Array"
    EXTENSIBLE_ARRAY = "Extensible Array"
    V2_BTREE = "v2 B-tree"
