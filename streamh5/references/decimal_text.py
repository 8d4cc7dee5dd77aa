"""Lines of text with numbers in them, from columns, without a loop over the lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["lines"]

N_ROWS = 1 << 16
"""Lines of one batch: some MiB of characters, which stay in the cache."""


def lines(parts: Sequence[bytes | NDArray[Any]], n: int) -> Iterator[bytes]:
    """Yield `n` lines, in batches of `N_ROWS`.

    Parameters
    ----------
    parts
        What stands in a line one after the other: constant bytes, or a column of ``(n,)`` non-negative
        integers, which are written in decimal.
    n
        Number of lines.
    """
    for first in range(0, n, N_ROWS):
        rows = slice(first, min(first + N_ROWS, n))
        cells = [
            _constant(part, rows.stop - first) if isinstance(part, bytes) else _digits(part[rows])
            for part in parts
        ]
        characters = np.concatenate([cell[0] for cell in cells], axis=1)
        is_shown = np.concatenate([cell[1] for cell in cells], axis=1)
        yield characters[is_shown].tobytes()


def _constant(part: bytes, n: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    shape = (n, len(part))
    return np.broadcast_to(np.frombuffer(part, np.uint8), shape), np.broadcast_to(np.True_, shape)


def _digits(column: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Digits as characters, and which of them are no leading zeros: ``(n, width)`` each."""
    rest = column.astype(np.uint64)
    width = len(str(int(rest.max())))
    characters = np.empty((len(rest), width), np.uint8)
    is_shown = np.ones((len(rest), width), np.bool_)
    for i in reversed(range(width)):
        if i < width - 1:
            is_shown[:, i] = rest != 0
        rest, digit = np.divmod(rest, np.uint64(10))
        characters[:, i] = digit
    characters += ord("0")
    return characters, is_shown
