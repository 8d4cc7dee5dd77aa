"""The scaleoffset filter (6): values minus their minimum, in as few bits as possible, by numpy (``H5Zscaleoffset.c``).

Integers are kept exactly unless they need more bits than requested; floats are rounded to decimal digits.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from streamh5.errors import BlockError, FilterError
from streamh5.filters.base import Buffer, Encode, FilterRow, RawChunk, Values, value_at

# H5Z_SO_FLOAT_DSCALE and H5Z_SO_INT.
FLOAT_DSCALE, INTEGER = 0, 2
_CLASS_INTEGER, _CLASS_FLOAT = 0, 1
_N_VALUES, _N_BEFORE_FILL, _FILL_AVAILABLE = 20, 8, 7
# H5Z__filter_scaleoffset: 4 bytes of minbits, 1 of the size of minval, minval, zeros up to byte 21.
_HEADER = struct.Struct("<IBQ8x")
_MINVAL_NBYTES = 8
# Values packed in one pass: a multiple of 8, so that every pass ends on a whole byte.
_VALUES_PER_PASS = 1 << 15

Elements = npt.NDArray[Any]


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    """Set the filter up from a scale type and factor, as ``H5Z__set_local_scaleoffset`` does.

    Parameters
    ----------
    values
        Scale type (0 decimal digits of floats, 2 bits of integers) and its factor.
    chunk
        Raw chunks; the fill value has a code of its own.
    """
    is_float = chunk.dtype.kind == "f"
    chunk.require("iuf", (4, 8) if is_float else (1, 2, 4, 8), "scaleoffset")
    scale_type, factor = values if len(values) == 2 else (None, 0)
    n_bits = 8 * chunk.dtype.itemsize
    if scale_type != (FLOAT_DSCALE if is_float else INTEGER) or not (is_float or 0 <= factor <= n_bits):
        raise FilterError(
            f"scaleoffset of {chunk.dtype} accepts (0, decimal digits) for floats and (2, bits up to"
            f" {n_bits}) for integers, not {values}",
            values=values,
            dtype=chunk.dtype,
        )
    fillvalue = np.zeros((), chunk.dtype) if chunk.fillvalue is None else chunk.fillvalue
    native = np.asarray(fillvalue, chunk.dtype).astype(chunk.dtype.newbyteorder("<"))
    if is_float and not np.isfinite(native):
        raise FilterError(
            f"scaleoffset cannot store the fill value {native}: it must be finite", fillvalue=native
        )
    fill_words = np.frombuffer(native.tobytes().ljust(-(-native.nbytes // 4) * 4, b"\0"), "<u4")
    local = (
        scale_type,
        factor & 0xFFFFFFFF,
        chunk.n_elements,
        _CLASS_FLOAT if is_float else _CLASS_INTEGER,
        chunk.dtype.itemsize,
        1 if chunk.dtype.kind == "i" else 0,
        1 if chunk.is_big_endian else 0,
        1,  # a fill value is defined: HDF5's default is zero
        *map(int, fill_words),
    )
    padded = local + (0,) * (_N_VALUES - len(local))
    return padded, partial(
        _encode, chunk.dtype, native[()], factor - (1 << 32) if factor >= 1 << 31 else factor
    )


def _given_values(stored: Values) -> Values:
    if value_at(stored, _FILL_AVAILABLE, 0) != 1:
        raise FilterError("scaleoffset without a fill value, for which it has no code", values=stored)
    return stored[:2]


def _encode(dtype: np.dtype[Any], fillvalue: Any, factor: int, chunk: Buffer) -> Buffer:
    """Encode one chunk.

    Raises
    ------
    BlockError
        Floats that are not finite.
    """
    n_bits = 8 * dtype.itemsize
    if dtype.kind != "f" and factor == n_bits:
        return chunk
    native = np.frombuffer(chunk, dtype).astype(dtype.newbyteorder("<"), copy=False)
    if dtype.kind == "f":
        min_bits, minimum, offsets = _offsets_of_floats(native, fillvalue, factor)
    else:
        min_bits, minimum, offsets = _offsets_of_integers(native, fillvalue, factor)
    header = _HEADER.pack(min_bits, _MINVAL_NBYTES, minimum)
    if min_bits == n_bits:
        return header + offsets.tobytes()
    # as in the library: one byte more if bits fill whole bytes
    nbytes = native.nbytes * min_bits // n_bits + 1
    return (header + _packed(offsets, min_bits)).ljust(len(header) + nbytes, b"\0")


def _offsets_of_integers(values: Elements, fillvalue: Any, min_bits: int) -> tuple[int, int, Elements]:
    """Return (minbits, minval, values as unsigned offsets): ``H5Z_scaleoffset_precompress_1`` and ``_2``."""
    n_bits = 8 * values.itemsize
    unsigned = np.dtype(f"<u{values.itemsize}")
    is_fill = values == fillvalue
    others = values[~is_fill] if is_fill.any() else values
    minimum, maximum = (int(others.min()), int(others.max())) if others.size else (0, 0)
    minval = minimum & 0xFFFFFFFFFFFFFFFF
    if min_bits == 0:
        if maximum - minimum > (1 << n_bits) - 3:
            return n_bits, 0, values
        min_bits = (maximum - minimum + 1).bit_length()
    if min_bits == n_bits:
        return n_bits, minval, values
    offsets = values.view(unsigned) - unsigned.type(minimum & (1 << n_bits) - 1)
    offsets[is_fill] = (1 << min_bits) - 1
    return min_bits, minval, offsets


def _offsets_of_floats(values: Elements, fillvalue: Any, digits: int) -> tuple[int, int, Elements]:
    """Return (minbits, minval, values as unsigned offsets): ``H5Z_scaleoffset_precompress_3``."""
    if not np.isfinite(values).all():
        raise BlockError("scaleoffset can only store finite numbers; this chunk has nan or inf")
    n_bits = 8 * values.itemsize
    one = values.dtype.type
    distance = np.abs(values - fillvalue)
    others = values[distance >= 10.0**-digits]
    minimum, maximum = (others.min(), others.max()) if others.size else (one(0), one(0))
    scale = np.power(one(10), one(digits))
    span = _rounded(maximum * scale - minimum * scale)
    if span > 2.0 ** (n_bits - 1):
        return n_bits, 0, values
    min_bits = (int(span) + 1).bit_length()
    minval = int.from_bytes(minimum.tobytes(), "little")
    if min_bits == n_bits:
        return n_bits, minval, values
    offsets = _rounded(values * scale - minimum * scale).astype(f"<i{values.itemsize}")
    offsets = offsets.view(f"<u{values.itemsize}")
    offsets[distance < np.power(one(10), one(-digits))] = (1 << min_bits) - 1
    return min_bits, minval, offsets


def _rounded(values: Any) -> Any:
    """Round half away from zero, as C's ``round`` does."""
    whole = np.trunc(values)
    return whole + np.where(np.abs(values - whole) >= 0.5, np.sign(values), 0)


def _packed(offsets: Elements, n_bits: int) -> bytes:
    """Join the low ``n_bits`` of every offset, most significant bit first."""
    big_endian = offsets.astype(offsets.dtype.newbyteorder(">"))
    passes = []
    for first in range(0, len(big_endian), _VALUES_PER_PASS):
        some = big_endian[first : first + _VALUES_PER_PASS]
        bits = np.unpackbits(some.view(np.uint8).reshape(len(some), -1), axis=1)
        passes.append(np.packbits(bits[:, -n_bits:]).tobytes())
    return b"".join(passes)


ROW = FilterRow(
    filter_id=6,
    keyword="scaleoffset",
    set_up=_set_up,
    given_values=_given_values,
    is_compression=False,
    is_lossy=True,
    example_values=(FLOAT_DSCALE, 3),
)
