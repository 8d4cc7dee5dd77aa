"""The setting of ISA-L for one large chunk, chosen by its bytes: the fastest within about 1 % of the smallest.

ISA-L's level 2 finds matches in all of deflate's window, level 1 mostly in its nearest quarter, in a tenth less time.
Medium blocks need fewer code tables; small ones follow data that changes. Which is better depends on the data, and
never on other chunks, so that the same bytes always have the same stream.

All constants were tuned with ``tests/benchmarks/deflate_levels.py --choice``; the table is in ``docs/filters.md``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

TOLERANCE = 0.01
"""How much larger than the smallest stream that of a faster setting may be."""
HISTORY_NBYTES = 1 << 15
"""Deflate's window."""
TRIAL_NBYTES = 1 << 13
"""With this much, a trial tells 1 % from nothing; it costs as much time as 30 KiB of data."""
MAX_SHORT_NBYTES = TRIAL_NBYTES // 16
"""Where a trial is smaller, code tables are most of a stream, and small blocks have the shorter ones."""

SMALL_BLOCK_NBYTES = 1 << 15
"""Content of a small block of ISA-L without matches."""
N_BLOCKS = 16
N_PLACES_OF_A_BLOCK = 256
GOLDEN_RATIO = 0.618034
"""Places that follow it never align with the rows of an image."""
_PLACES = np.sort((SMALL_BLOCK_NBYTES * (GOLDEN_RATIO * np.arange(N_PLACES_OF_A_BLOCK) % 1)).astype(np.intp))
_BLOCK_NUMBERS = 256 * np.arange(N_BLOCKS)[:, np.newaxis]


class IsalSetting(NamedTuple):
    """Level of ISA-L and name of its memory, which determines the size of blocks (``MEM_LEVEL_...``)."""

    level: int
    memory: str


def chosen_setting(levels: tuple[int, ...], part: memoryview) -> IsalSetting:
    """Choose a setting for one chunk.

    Parameters
    ----------
    levels
        Levels of ISA-L that may be chosen, in ascending order.
    part
        The part of the chunk that will take the most room in the stream, at least 384 KiB.
    """
    sizes = [trial_nbytes(part, level) for level in levels]
    if sizes[-1] < MAX_SHORT_NBYTES:
        return IsalSetting(levels[-1], "SMALL")
    fastest = next(i for i, size in enumerate(sizes) if size <= min(sizes) * (1 + TOLERANCE))
    return IsalSetting(levels[fastest], "SMALL" if _drifts(part) else "MEDIUM")


def trial_nbytes(part: memoryview, level: int) -> int:
    """Compress a few KiB in the middle, with the window before them, by a level of ISA-L; return their new size.

    Parameters
    ----------
    part
        At least 128 KiB of a chunk.
    level
        Level of ISA-L, 1 or 2.
    """
    from isal import isal_zlib

    start = (len(part) - TRIAL_NBYTES) // 2
    history = bytes(part[start - HISTORY_NBYTES : start])
    deflate: Any = isal_zlib.compressobj(level, wbits=-15, zdict=history)
    return len(deflate.compress(part[start : start + TRIAL_NBYTES])) + len(deflate.flush())


def _drifts(part: memoryview) -> bool:
    """Return whether one code table for two adjacent small blocks would make them larger than a table for each.

    Both are estimated from the entropy (Renyi's, of order 2) of bytes at some places of each block.
    """
    n_blocks = min(N_BLOCKS, len(part) // SMALL_BLOCK_NBYTES)
    blocks = np.frombuffer(part, np.uint8, n_blocks * SMALL_BLOCK_NBYTES).reshape(
        n_blocks, SMALL_BLOCK_NBYTES
    )
    samples = blocks.take(_PLACES, axis=1) + _BLOCK_NUMBERS[:n_blocks]
    counts = np.bincount(samples.ravel(), minlength=256 * n_blocks)
    within = (int(counts @ counts) - samples.size) / (samples.size * (N_PLACES_OF_A_BLOCK - 1))
    between = int(counts[:-256] @ counts[256:]) / ((n_blocks - 1) * N_PLACES_OF_A_BLOCK**2)
    if not within:
        return False
    gain_bits = np.log2(2 * within / (within + between))
    return bool(gain_bits > TOLERANCE * -np.log2(within))
