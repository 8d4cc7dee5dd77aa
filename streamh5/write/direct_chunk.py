"""A chunk that somebody else has filtered: checked, because nothing behind this looks at it again."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from streamh5.errors import BlockError
from streamh5.model.chunk_records import MAX_STORED_NBYTES
from streamh5.write.chunk_writer import EncodedChunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamh5.filters import Buffer
    from streamh5.model.chunk_grid import Box
    from streamh5.write.chunk_writer import ChunkWriter

__all__ = ["direct_chunk"]


def direct_chunk(
    writer: ChunkWriter, offsets: Sequence[int], data: Buffer, filter_mask: int
) -> tuple[Box, EncodedChunks]:
    """Return a filtered chunk as `ChunkWriter.write` takes it, and its box in the grid.

    Parameters
    ----------
    writer
        The writer of the dataset.
    offsets
        First element of the chunk.
    data
        Its stored bytes.
    filter_mask
        Bit i set: filter i was skipped.

    Raises
    ------
    BlockError
        Offsets outside the grid or not on it, a size that cannot be right, or a mask of filters that the dataset
        does not have.
    """
    chunks, shape = writer.grid.chunks, writer.grid.shape
    where = f"{writer.spec.path}: the chunk at {offsets}"
    try:
        offsets = tuple(map(operator.index, offsets))
        filter_mask = operator.index(filter_mask)
        stored = memoryview(cast("bytes", data)).cast("B")
    except TypeError as error:
        raise BlockError(
            f"{where} needs a tuple of ints, contiguous bytes and an int as filter mask: {error}"
        ) from error
    if len(offsets) != len(shape) or any(o % c for o, c in zip(offsets, chunks, strict=False)):
        raise BlockError(f"{where} is not on the grid of chunks {chunks}", offsets=offsets, chunks=chunks)
    if any(o < 0 or (n is not None and o >= n) for o, n in zip(offsets, shape, strict=True)):
        raise BlockError(f"{where} is outside the dataset {shape}", offsets=offsets, shape=shape)
    _check_size(writer, where, stored.nbytes, filter_mask)
    box = tuple((o // c, o // c + 1) for o, c in zip(offsets, chunks, strict=True))
    masks = np.array([filter_mask], np.uint32) if filter_mask else None
    return box, EncodedChunks(writer.grid.numbers(box), [stored], masks)


def _check_size(writer: ChunkWriter, where: str, stored_nbytes: int, filter_mask: int) -> None:
    n_filters, nbytes = len(writer.chain.filters), writer.chain.chunk_nbytes
    facts: dict[str, Any] = {"stored_nbytes": stored_nbytes, "filter_mask": filter_mask}
    if not 0 <= filter_mask < 1 << n_filters:
        raise BlockError(
            f"{where}: filter mask {filter_mask:#x} names a filter beyond the {n_filters} there are", **facts
        )
    if filter_mask == (1 << n_filters) - 1 and stored_nbytes != nbytes:
        raise BlockError(f"{where}: an unfiltered chunk has {nbytes:,} bytes, not {stored_nbytes:,}", **facts)
    if not 0 < stored_nbytes <= MAX_STORED_NBYTES:
        raise BlockError(
            f"{where}: a stored chunk has 1 to {MAX_STORED_NBYTES:,} bytes, not {stored_nbytes:,}", **facts
        )
