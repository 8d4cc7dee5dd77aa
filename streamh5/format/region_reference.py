"""The global heap object of a dataset region reference (specification, appendix B).

It contains the address of the dataset's object header and a selection in the dataset, here a union of blocks
(H5S__hyper_serialize, version 1).
"""

from __future__ import annotations

from collections.abc import Sequence

from streamh5.errors import BlockError
from streamh5.format.primitives import address, concat, uint

_HYPERSLAB_SELECTION = 2


def encode_region_reference_object(object_address: int, blocks: Sequence[Sequence[slice]]) -> bytes:
    """Encode the heap object of a region reference.

    Parameters
    ----------
    object_address
        Address of the object header of the dataset.
    blocks
        At least one block; each is a ``slice(start, stop)`` for every dimension of the dataset.

    Raises
    ------
    BlockError
        There are no blocks, or a block is empty, or ranks differ.
    LimitError
        A coordinate needs more than 4 bytes.
    """
    rank = len(blocks[0]) if blocks else 0
    if rank == 0 or any(
        len(block) != rank or any(part.start >= part.stop for part in block) for block in blocks
    ):
        raise BlockError(f"a region of {list(blocks)} is empty or of several ranks", blocks=blocks)
    body = concat(
        uint(rank, 4, "rank"),
        uint(len(blocks), 4, "number of blocks"),
        *(_encode_block(block) for block in blocks),
    )
    return concat(
        address(object_address, "object header address"),
        uint(_HYPERSLAB_SELECTION, 4, "type of selection"),
        uint(1, 4, "version"),
        bytes(4),
        uint(len(body), 4, "length"),
        body,
    )


def _encode_block(block: Sequence[slice]) -> bytes:
    return concat(
        *(uint(part.start, 4, "start offset") for part in block),
        *(uint(part.stop - 1, 4, "end offset") for part in block),
    )
