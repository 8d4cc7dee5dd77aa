"""Chunk sizes for object stores, where every chunk is a request, and a shape for chunks of another size."""

from __future__ import annotations

import math

from streamh5.model.chunk_shape import AUTO_NBYTES

MIN_CLOUD_NBYTES, MAX_CLOUD_NBYTES = 1_000_000, 10_000_000
"""Raw size of a chunk that data providers ask for: a request takes 20 to 100 ms, as long as some MB take to arrive."""


def cloud_chunks(
    shape: tuple[int, ...], chunks: tuple[int, ...] | None, itemsize: int
) -> tuple[int, ...] | None:
    """Return chunks of 1 to 10 MB for a dataset whose chunks have another size; None where they are right.

    New chunks are made of whole old ones, or old ones of whole new ones, where extents can be divided. They grow along
    the axis with the most chunks, and are divided along their longest axis.

    Parameters
    ----------
    shape
        Shape of the dataset.
    chunks
        Its chunks; None for a dataset without.
    itemsize
        Size in bytes of an element as it is stored.

    Returns
    -------
    tuple of int or None
        None also for a dataset that is one chunk of at most 10 MB.
    """
    new = list(shape if chunks is None else chunks)
    if 0 in shape or not shape:
        return None
    while math.prod(new) * itemsize > MAX_CLOUD_NBYTES and max(new) > 1:
        axis = max(range(len(new)), key=new.__getitem__)
        factor = next((p for p in (2, 3, 5, 7) if new[axis] % p == 0), 0)
        new[axis] = new[axis] // factor if factor else -(-new[axis] // 2)
    if math.prod(new) * itemsize < MIN_CLOUD_NBYTES:
        while math.prod(new) * itemsize < AUTO_NBYTES:
            axis = max(range(len(new)), key=lambda i: shape[i] / new[i])
            if shape[axis] <= new[axis]:
                break  # one chunk
            new[axis] = min(2 * new[axis], shape[axis])
        _balance(new, shape, chunks or (1,) * len(shape), itemsize)
    return None if tuple(new) == chunks else tuple(new)


def _balance(new: list[int], shape: tuple[int, ...], old: tuple[int, ...], itemsize: int) -> None:
    """Make chunks smaller along axes where the last one would hang over: 100 of 200 elements, not 128."""
    for axis, (n, unit) in enumerate(zip(shape, old, strict=True)):
        n_old = -(-n // unit)
        n_new = -(-n // new[axis])
        extent = min(unit * -(-n_old // n_new), n)
        if math.prod(new) // new[axis] * extent * itemsize >= MIN_CLOUD_NBYTES:
            new[axis] = extent
