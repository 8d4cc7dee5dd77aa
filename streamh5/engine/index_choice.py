"""Choose the chunk index of a dataset.

The first row that applies decides. The choice is that of the library (``H5D__layout_set_latest_indexing``,
``H5D__chunk_construct``), except in the rows marked with an asterisk:

============================================  ================  ==========================================
dimensions                                    index             why
============================================  ================  ==========================================
any, for readers before HDF5 1.10             v1 B-tree         the only index of layout version 3
fixed, no filters, allocated early            Implicit          chunk k lies at k times its size: no index
over 2^20 chunks, under 1 in 16 stored (*)    v2 B-tree         an array of all would be large and empty
one unlimited, the first                      Extensible Array  grows at its end; constant-time look-up
two or more unlimited                         v2 B-tree         keyed by coordinates, any may grow
one unlimited, not the first (*)              v2 B-tree         the library writes an Extensible Array, and
                                                                its chunk queries (``H5Dget_chunk_info``,
                                                                HDF5 1.14, 2.0) give wrong coordinates
fixed, one chunk holds them                   Single Chunk      the layout message holds the address
fixed                                         Fixed Array       one look-up for any number of chunks
============================================  ================  ==========================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.format.data_layout import ChunkIndexKind

if TYPE_CHECKING:
    from streamh5.model.dataset_spec import DatasetSpec


MIN_SPARSE_NUMBERS = 1 << 20
"""Largest number of chunks for which an array index is small (8 to 16 MiB), however few chunks are stored."""

MAX_SPARSENESS = 16
"""Chunks per stored chunk above which an array index is larger than a B-tree of the stored chunks."""


def is_sparse(n_numbers: int, n_written: int) -> bool:
    """Return whether an index with one element per chunk would be large and nearly empty."""
    return n_numbers > MIN_SPARSE_NUMBERS and n_numbers > MAX_SPARSENESS * n_written


def choose_index(spec: DatasetSpec, n_numbers: int, n_written: int) -> ChunkIndexKind:
    """Return the index kind of a dataset with chunks.

    Parameters
    ----------
    spec
        Its plan.
    n_numbers
        Number of chunks over its maximum shape, with the present extents of unlimited dimensions.
    n_written
        Number of stored chunks.
    """
    unlimited = [axis for axis, extent in enumerate(spec.maxshape or ()) if extent is None]
    if spec.libver == "v108":
        return ChunkIndexKind.V1_BTREE
    if spec.is_early:
        return ChunkIndexKind.IMPLICIT
    if is_sparse(n_numbers, n_written):
        return ChunkIndexKind.V2_BTREE
    if unlimited:
        return ChunkIndexKind.EXTENSIBLE_ARRAY if unlimited == [0] else ChunkIndexKind.V2_BTREE
    return ChunkIndexKind.SINGLE_CHUNK if n_numbers == 1 else ChunkIndexKind.FIXED_ARRAY
