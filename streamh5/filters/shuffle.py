"""The shuffle filter (2): bytes of equal significance next to each other (``H5Zshuffle.c``).

numpy's narrowing casts are SIMD loops, but its strided byte copies are not. So the byte planes of elements of 2, 4
and 8 bytes are casts of shifted integers, up to four times as fast as copying a transposed view. All planes of a
piece that fits the first-level cache come one after the other, so that memory is read once; numpy's buffer has the size
of a piece, because numpy copies what crosses the end of its inner loop (``tests/benchmarks/shuffle.py``). All pieces of
all rows are one call without the GIL: a thread that often has to take the GIL back waits for every other thread that
runs Python.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from streamh5.errors import FormatError
from streamh5.filters.base import Buffer, Bytes, Encode, FilterRow, RawChunk, Values, ZarrCodec, value_at

Bytes2D = npt.NDArray[np.uint8]

SHUFFLED_AT_ONCE_NBYTES = 1 << 14
"""With as much for the planes and for numpy's buffer, half a first-level cache (``tests/benchmarks/shuffle.py``)."""

_SHIFTS = {n: 8 * np.arange(n, dtype=f"<u{n}")[:, np.newaxis] for n in (2, 4, 8)}
"""Bytes of an element -> ``(n, 1)``: by how many bits it is shifted for each plane."""

_BUFFER_UNIT = 16
"""numpy's buffer holds a multiple of this number of elements."""

_WIDENED_NBYTES = (2, 4)
"""Sizes of elements that `unshuffle` puts together by shifts; strided copies are faster for others."""

MIN_PLANE_LENGTH = 2048
"""Elements from which planes are copied one by one: shorter ones cost more calls than they save, and a transposed copy
is slow where the cache gets one line for many planes (``tests/benchmarks/shuffle.py``)."""


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    (element_nbytes,) = values or (chunk.dtype.itemsize,)
    return (element_nbytes,), partial(_encode, element_nbytes)


def _encode(element_nbytes: int, chunk: Buffer) -> Buffer:
    """Shuffle one chunk; trailing bytes that are less than an element stay at the end."""
    row = np.frombuffer(chunk, np.uint8)[np.newaxis]
    out = np.empty_like(row)
    shuffle_rows(row, out, element_nbytes)
    shuffled: npt.NDArray[np.uint8] = out[0]
    return shuffled


def shuffle_rows(rows: Bytes2D, out: Bytes2D, element_nbytes: int) -> None:
    """Shuffle every row of a batch, without the GIL.

    Parameters
    ----------
    rows
        `(n_chunks, chunk_nbytes) uint8`, C-contiguous: one raw chunk per row.
    out
        Array of the same shape that receives the shuffled chunks. It must not overlap ``rows``.
    element_nbytes
        Size of one element in bytes; with 1, rows are copied.
    """
    n_rows, row_nbytes = rows.shape
    n_elements = row_nbytes // element_nbytes
    whole = n_elements * element_nbytes
    out[:, whole:] = rows[:, whole:]
    planes = out[:, :whole].reshape(n_rows, element_nbytes, n_elements)
    if element_nbytes not in _SHIFTS:
        elements = rows[:, :whole].reshape(n_rows, n_elements, element_nbytes)
        np.copyto(planes, elements.transpose(0, 2, 1))
        return
    integers = rows[:, :whole].view(f"<u{element_nbytes}")
    n_pieces = -(-whole // SHUFFLED_AT_ONCE_NBYTES) or 1
    width = n_elements // n_pieces // _BUFFER_UNIT * _BUFFER_UNIT
    end = n_pieces * width
    if end:
        pieces = integers[:, :end].reshape(n_rows, n_pieces, 1, width)
        targets = planes[:, :, :end].reshape(n_rows, element_nbytes, n_pieces, width).transpose(0, 2, 1, 3)
        before = np.setbufsize(width)
        try:
            _shift(pieces, targets)
        finally:
            np.setbufsize(before)
    if end < n_elements:
        _shift(integers[:, np.newaxis, end:], planes[:, :, end:])


def _shift(integers: npt.NDArray[Any], planes: npt.NDArray[np.uint8]) -> None:
    """Set ``(..., element_nbytes, n)`` planes to the bytes of ``(..., 1, n)`` integers, in this order of axes."""
    np.right_shift(integers, _SHIFTS[integers.itemsize], out=planes, casting="unsafe", order="C")


def unshuffle(planes: npt.NDArray[np.uint8], out: npt.NDArray[Any]) -> None:
    """Put elements together from their bytes, without the GIL.

    Parameters
    ----------
    planes
        ``(element_nbytes, ...) uint8``: the first bytes of all elements, their second bytes, and so on.
    out
        Array of any dtype of ``element_nbytes`` and of the other dimensions of `planes`, with any strides.
    """
    element_nbytes = len(planes)
    if element_nbytes not in _WIDENED_NBYTES:
        elements = out.view((np.void, element_nbytes))[..., np.newaxis].view(np.uint8)
        if out.size < MIN_PLANE_LENGTH:  # there may be millions of planes
            np.copyto(elements, np.moveaxis(planes, 0, -1))
            return
        for k, plane in enumerate(planes):
            elements[..., k] = plane
        return
    # SIMD loops, unlike the strided copies above (tests/benchmarks, rechunk --codecs)
    integers = out.view(f"<u{element_nbytes}")
    np.copyto(integers, planes[-1])
    for plane in planes[-2::-1]:
        np.left_shift(integers, 8, out=integers)
        np.bitwise_or(integers, plane, out=integers)


def _decode(data: Bytes, most: int, values: Values) -> Bytes:
    element_nbytes = value_at(values, 0, 0)
    if not element_nbytes:  # H5Z__filter_shuffle refuses such a chunk
        raise FormatError("the shuffle filter has no element size")
    n_elements = len(data) // element_nbytes
    if n_elements <= 1:  # as it is; numpy has no elements of 2 GiB
        return data
    whole = n_elements * element_nbytes
    planes = np.frombuffer(data[:whole], np.uint8).reshape(element_nbytes, n_elements)
    elements = np.empty(n_elements, (np.void, element_nbytes))
    unshuffle(planes, elements)
    return elements.tobytes() + bytes(data[whole:])


ROW = FilterRow(
    filter_id=2,
    keyword="shuffle",
    set_up=_set_up,
    is_compression=False,
    decode=_decode,
    added_nbytes=0,
    numcodecs=lambda values: {"id": "shuffle", "elementsize": value_at(values, 0, 1)},
    zarr=(ZarrCodec("shuffle", lambda config, chunk: (config["elementsize"],)),),
)
