"""Align blocks with chunks: move block boundaries so that no chunk is shared by two blocks."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

Blocks = tuple[tuple[int, ...], ...]
"""Extents of the blocks along each dimension, as dask's ``Array.chunks``."""


def default_chunks(blocks: Blocks) -> tuple[int, ...]:
    """Return a chunk shape for an array of blocks: the largest block extent along each dimension.

    For a regular grid (equal blocks, the last one may be shorter) that is the block itself.
    """
    return tuple(max(1, max(extents, default=1)) for extents in blocks)


def aligned_blocks(blocks: Blocks, chunks: tuple[int, ...], origin: tuple[int, ...] | None = None) -> Blocks:
    """Move the boundaries between blocks to the nearest boundaries between chunks.

    Parameters
    ----------
    blocks
        The present blocks.
    chunks
        Chunk shape.
    origin
        Index of the first element of the array in the dataset; by default, that of the dataset. The first and
        the last blocks may then begin and end inside chunks.

    Returns
    -------
    Blocks
        The same blocks if they are aligned already.
    """
    starts = (0,) * len(chunks) if origin is None else origin
    return tuple(map(_aligned, blocks, chunks, starts))


def _aligned(extents: Sequence[int], chunk: int, first: int) -> tuple[int, ...]:
    total = sum(extents)
    ends = ((first + end + chunk // 2) // chunk * chunk - first for end in accumulate(extents[:-1]))
    bounds = sorted({0, *(min(max(end, 0), total) for end in ends), total})
    return tuple(stop - start for start, stop in pairwise(bounds)) or (0,)


def realign_factor(blocks: Blocks, aligned: Blocks) -> int:
    """Return the maximum number of old blocks that overlap one new block, which are in memory at the same time."""
    return math.prod(_most_drawn(old, new) for old, new in zip(blocks, aligned, strict=True))


def _most_drawn(old: Sequence[int], new: Sequence[int]) -> int:
    if tuple(old) == tuple(new):
        return 1
    old_stops, stops = np.cumsum(old), np.cumsum(new)
    n_before = np.searchsorted(old_stops, stops - new, "right")
    n_begun = np.searchsorted(old_stops - old, stops, "left")
    return max(1, int((n_begun - n_before).max()))
