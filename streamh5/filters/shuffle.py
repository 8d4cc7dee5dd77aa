"""The shuffle filter (2): bytes of equal significance side by side.

numpy's narrowing casts are SIMD loops, its strided byte copies are not. So elements are split
into halves, and those into halves, by casts of shifted integers (``tests/benchmarks/shuffle.py``:
about twice the speed of copying a transposed view for 4-byte elements, five times for 2-byte ones).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from streamh5.filters.base import Buffer

__all__ = ["Shuffle", "shuffle_rows"]

Bytes2D = npt.NDArray[np.uint8]

# Elements a pass: input, planes and the two halves stay in a 1 MiB level-2 cache
# (tests/benchmarks/shuffle.py).
ELEMENTS_PER_PASS = 65536


@dataclass(frozen=True, slots=True)
class Shuffle:
    """Byte shuffle for elements of ``element_nbytes`` bytes (``H5Zshuffle.c``)."""

    element_nbytes: int
    filter_id: ClassVar[int] = 2
    name: ClassVar[str] = "shuffle"
    optional: ClassVar[bool] = True
    reduces: ClassVar[bool] = False

    @property
    def client_values(self) -> tuple[int, ...]:
        """Element size in bytes, as ``H5Z__set_local_shuffle`` sets it."""
        return (self.element_nbytes,)

    def encode(self, chunk: Buffer) -> Buffer:
        """Shuffle one chunk; trailing bytes that fill no element stay at the end."""
        row = np.frombuffer(chunk, np.uint8)[np.newaxis]
        out = np.empty_like(row)
        shuffle_rows(row, out, self.element_nbytes)
        shuffled: npt.NDArray[np.uint8] = out[0]
        return shuffled


def shuffle_rows(rows: Bytes2D, out: Bytes2D, element_nbytes: int) -> None:
    """Shuffle every row of a batch, outside the GIL.

    Parameters
    ----------
    rows
        `(n_chunks, chunk_nbytes) uint8`, C-contiguous: one raw chunk a row.
    out
        Array of the same shape that receives the shuffled chunks. It must not overlap ``rows``.
    element_nbytes
        Size of one element. With 1 the rows are copied.
    """
    n_rows, row_nbytes = rows.shape
    n_elements = row_nbytes // element_nbytes
    whole = n_elements * element_nbytes
    out[:, whole:] = rows[:, whole:]
    if n_elements == 0:
        return
    # Integers that split an element evenly: 8 bytes where they fit, 1 for odd sizes.
    word_nbytes = next(size for size in (8, 4, 2, 1) if element_nbytes % size == 0)
    words = rows[:, :whole].view(f"<u{word_nbytes}").reshape(n_rows, n_elements, -1)
    planes = out[:, :whole].reshape(n_rows, element_nbytes, n_elements)
    rows_per_pass = max(1, ELEMENTS_PER_PASS // n_elements)
    for row in range(0, n_rows, rows_per_pass):
        for first in range(0, n_elements, ELEMENTS_PER_PASS):
            here = np.s_[row : row + rows_per_pass], np.s_[first : first + ELEMENTS_PER_PASS]
            for word in range(element_nbytes // word_nbytes):
                _split(words[(*here, word)], planes[here[0], :, here[1]], word * word_nbytes, word_nbytes)


def _split(words: npt.NDArray[Any], planes: Bytes2D, first_plane: int, word_nbytes: int) -> None:
    if word_nbytes == 1:
        planes[:, first_plane] = words
        return
    half = word_nbytes // 2
    if half == 1:
        np.copyto(planes[:, first_plane], words, casting="unsafe")
        np.copyto(planes[:, first_plane + 1], words >> words.dtype.type(8), casting="unsafe")
        return
    _split(words.astype(f"<u{half}"), planes, first_plane, half)
    _split((words >> words.dtype.type(8 * half)).astype(f"<u{half}"), planes, first_plane + half, half)
