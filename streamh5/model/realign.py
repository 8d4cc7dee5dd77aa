"""Align blocks with chunks: move block boundaries so that no chunk is shared by two blocks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Blocks = tuple[tuple[int, ...], ...]
"""Extents of the blocks along each dimension, as dask's ``Array.chunks``."""


def default_chunks(blocks: Blocks) -> tuple[int, ...]:
    """Return a chunk shape for an array of blocks: the largest block extent along each dimension.

    For a regular grid (equal blocks, the last one may be shorter) that is the block itself.
    """
    return tuple(max(1, max(extents, default=1)) for extents in blocks)


def aligned_blocks(blocks: Blocks, chunks: tuple[int, ...]) -> Blocks:
    """Move the boundaries between blocks to the nearest multiples of the chunk.

    Parameters
    ----------
    blocks
        The present blocks.
    chunks
        Chunk shape.

    Returns
    -------
    Blocks
        The same blocks if they are aligned already.
    """
    return tuple(_aligned(extents, chunk) for extents, chunk in zip(blocks, chunks, strict=True))


def _aligned(extents: Sequence[int], chunk: int) -> tuple[int, ...]:
    total = sum(extents)
    bounds = [0]
    end = 0
    for extent in extents[:-1]:
        end += extent
        bound = min((end + chunk // 2) // chunk * chunk, total)
        if bound > bounds[-1]:
            bounds.append(bound)
    if total > bounds[-1] or len(bounds) == 1:
        bounds.append(total)
    return tuple(stop - start for start, stop in pairwise(bounds))


def realign_factor(blocks: Blocks, aligned: Blocks) -> int:
    """Return the maximum number of old blocks that overlap one new block, which are in memory at the same time."""
    return math.prod(_most_drawn(old, new) for old, new in zip(blocks, aligned, strict=True))


def _most_drawn(old: Sequence[int], new: Sequence[int]) -> int:
    if tuple(old) == tuple(new):
        return 1
    ends = [0]
    for extent in old:
        ends.append(ends[-1] + extent)
    most, start, first = 1, 0, 0
    for extent in new:
        stop = start + extent
        while first < len(old) and ends[first + 1] <= start:
            first += 1
        last = first
        while last < len(old) and ends[last] < stop:
            last += 1
        most = max(most, last - first)
        start = stop
    return most
