"""Which chunk index a dataset gets, and why.

The choice is the library's own (``H5D__layout_set_latest_indexing``, ``H5D__chunk_construct``), with
one exception:

============================================  ================  ==========================================
dimensions                                    index             why
============================================  ================  ==========================================
any, for readers before HDF5 1.10             v1 B-tree         the only index of layout version 3
two or more unlimited                         v2 B-tree         keyed by coordinates, any may grow
one unlimited, the first                      Extensible Array  grows at its end; constant-time look-up
one unlimited, not the first                  v2 B-tree         the exception: the library writes an
                                                                Extensible Array, and its chunk queries
                                                                (``H5Dget_chunk_info``, HDF5 1.14, 2.0)
                                                                then give wrong coordinates
fixed, one chunk holds them                   Single Chunk      the layout message holds the address
fixed, no filters, allocated early            Implicit          chunk k lies at k times its size: no index
fixed                                         Fixed Array       one look-up, whatever the number
============================================  ================  ==========================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.format.chunk_index.kind import ChunkIndexKind

if TYPE_CHECKING:
    from streamh5.plan.dataset_spec import DatasetSpec

__all__ = ["choose_index"]


def choose_index(spec: DatasetSpec, n_numbers: int) -> ChunkIndexKind:
    """Index for a dataset with chunks.

    Parameters
    ----------
    spec
        Its plan.
    n_numbers
        Chunks of the grid over its maximum shape; unlimited dimensions as they are.
    """
    unlimited = [axis for axis, extent in enumerate(spec.maxshape or ()) if extent is None]
    if spec.libver == "v108":
        return ChunkIndexKind.V1_BTREE
    if unlimited:
        return ChunkIndexKind.EXTENSIBLE_ARRAY if unlimited == [0] else ChunkIndexKind.V2_BTREE
    if spec.is_early:
        return ChunkIndexKind.IMPLICIT
    return ChunkIndexKind.SINGLE_CHUNK if n_numbers == 1 else ChunkIndexKind.FIXED_ARRAY
