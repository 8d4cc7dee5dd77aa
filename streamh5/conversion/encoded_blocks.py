"""Blocks of an array that is decoded and encoded: of whole chunks of the new dataset, and if possible of the source."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from streamh5.dask.stored_chunks import MAX_BLOCK_NBYTES, block_shape
from streamh5.model.chunk_shape import auto_chunks, check_chunks

if TYPE_CHECKING:
    from streamh5.conversion.array_plan import SourceArray

_GAP_NBYTES = 64 << 10
"""Bytes that HDF5 reads at a time of a dataset without chunks (`H5Pset_sieve_buf_size`), and a disk reads ahead."""

_MAX_PASSES_NBYTES = 256 << 20
"""Bytes that may be read of a dataset without chunks, if that is more than twice its size."""


def chunk_shape(source: SourceArray, asked: Any) -> tuple[int, ...]:
    """Return the chunks of the new dataset.

    Parameters
    ----------
    source
        The array, with at least one dimension.
    asked
        A chunk shape, or ``"auto"``.

    Raises
    ------
    ChunkShapeError, LimitError
        See `check_chunks`.
    """
    shape = source.shape or ()
    if isinstance(asked, str):
        block = tuple(max(1, min(b, n)) for b, n in zip(unit_block(source), shape, strict=True))
        return auto_chunks(block, source.dtype.itemsize)
    return check_chunks(asked, source.maxshape or shape, source.dtype.itemsize, path=source.path)


def chunks_within(chunks: tuple[int, ...], bounds: tuple[int | None, ...]) -> tuple[int, ...]:
    """Limit chunks to the maximum extents of the dataset."""
    return tuple(c if not n else min(c, n) for c, n in zip(chunks, bounds, strict=True))


def unit_block(source: SourceArray) -> tuple[int, ...]:
    """Return the shape of blocks of whole units of the source."""
    shape = source.shape or ()
    # a guess for objects, whose size is not known before they are read
    itemsize = 64 if source.dtype.kind in "OUT" else source.element_nbytes
    unit = source.unit or source.chunks or (1,) * len(shape)
    return block_shape(shape, tuple(max(1, n) for n in unit), itemsize)


def shared_blocks(source: SourceArray, chunks: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape of blocks that hold whole chunks of the dataset, while no unit of the source is decoded twice.

    They hold whole units as well, or small enough parts of a row of units for the source to keep them in memory. Each
    block is read, decoded and encoded by one thread.

    Parameters
    ----------
    source
        The array.
    chunks
        Chunk shape of the dataset.

    Returns
    -------
    tuple of int or None
        None where neither is possible.
    """
    shape, itemsize = source.shape or (), source.element_nbytes
    unit = source.unit or source.chunks
    parts = block_shape(shape, chunks, itemsize)
    if unit is None:
        return parts if source.is_contiguous and _is_read_rarely(shape, parts, itemsize) else None
    unit = tuple(max(1, n) for n in unit)
    block = tuple(
        min(math.lcm(u, c), -(-n // c) * c) if n else c for u, c, n in zip(unit, chunks, shape, strict=True)
    )
    inside = math.prod(map(min, block, shape)) * itemsize
    if inside <= max(MAX_BLOCK_NBYTES, math.prod(chunks) * itemsize, math.prod(unit) * itemsize):
        return block_shape(shape, block, itemsize)
    # half: threads may begin with the next row of units before the last blocks of this one are read
    return parts if _open_nbytes(shape, unit, parts, itemsize) <= source.regions.kept_nbytes // 2 else None


def _is_read_rarely(shape: tuple[int, ...], block: tuple[int, ...], itemsize: int) -> bool:
    """Return whether reading a contiguous array block by block reads few bytes several times."""
    n_passes, nbytes = 1, itemsize  # `nbytes`: of a whole row along the axes behind
    for b, n in zip(reversed(block), reversed(shape), strict=True):
        if b < n and min(b, n) * nbytes >= _GAP_NBYTES:
            break  # what lies between such pieces is not read
        n_passes *= -(-n // b)
        nbytes *= n
    return n_passes <= 2 or n_passes * math.prod(shape) * itemsize <= _MAX_PASSES_NBYTES


def _open_nbytes(shape: tuple[int, ...], unit: tuple[int, ...], block: tuple[int, ...], itemsize: int) -> int:
    """Return how many bytes of units were read in part at a time, if blocks are read in row-major order."""
    axis = next(i for i, (u, b, n) in enumerate(zip(unit, block, shape, strict=True)) if b % u and b < n)
    before = [-(-b // u) * u for u, b in zip(unit[:axis], block[:axis], strict=True)]
    return math.prod(before) * unit[axis] * math.prod(shape[axis + 1 :]) * itemsize
