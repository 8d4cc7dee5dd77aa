"""The shuffle filter (2): bytes of equal significance next to each other (``H5Zshuffle.c``).

numpy's narrowing casts are SIMD loops, but its strided byte copies are not. So each byte plane of elements of 2, 4
and 8 bytes is one cast of shifted integers, which is up to six times as fast as copying a transposed view
(``tests/benchmarks/shuffle.py``). Each plane is one call without the GIL: a thread that often has to take the GIL
back waits for every other thread that runs Python.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from streamh5.errors import FormatError
from streamh5.filters.base import Buffer, Bytes, Encode, FilterRow, RawChunk, Values, ZarrCodec, value_at

Bytes2D = npt.NDArray[np.uint8]

_INTEGER_NBYTES = (2, 4, 8)


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
    if element_nbytes not in _INTEGER_NBYTES:
        elements = rows[:, :whole].reshape(n_rows, n_elements, element_nbytes)
        np.copyto(planes, elements.transpose(0, 2, 1))
        return
    integers = rows[:, :whole].view(f"<u{element_nbytes}")
    np.copyto(planes[:, 0], integers, casting="unsafe")
    for plane in range(1, element_nbytes):
        shift = integers.dtype.type(8 * plane)
        np.right_shift(integers, shift, out=planes[:, plane], casting="unsafe")


def _decode(data: Bytes, most: int, values: Values) -> Bytes:
    element_nbytes = value_at(values, 0, 0)
    if not element_nbytes:  # H5Z__filter_shuffle refuses such a chunk
        raise FormatError("the shuffle filter has no element size")
    n_elements = len(data) // element_nbytes
    whole = n_elements * element_nbytes
    planes = np.frombuffer(data[:whole], np.uint8).reshape(element_nbytes, n_elements)
    return planes.T.tobytes() + bytes(data[whole:])


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
