"""Lossy rounding of floats, so that they compress better: netCDF-C's quantization, and netCDF4-python's rounding.

Quantized values keep a number of significant digits; the bits behind them are equal, and compress well. Any program
reads the result as ordinary floats. The three modes set the same bits as ``nc4_convert_type`` of ``libsrc4/nc4var.c``
(netCDF-C 4.10), with two exceptions that keep data: infinities stay infinite, where netCDF-C's BitGroom makes every
second one a NaN and its Granular BitRound makes them 0; and values equal to ``missing_value`` stay equal to it, where
netCDF-C only spares ``_FillValue``.
"""

from __future__ import annotations

import operator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from streamh5.errors import SpecError, did_you_mean, shown
from streamh5.netcdf.granular_bits import BITS_PER_DIGIT, PIECE, zeroed_bits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from streamh5.netcdf.existing import StoredVariable

ATTRIBUTES = {
    "BitGroom": "_QuantizeBitGroomNumberOfSignificantDigits",
    "GranularBitRound": "_QuantizeGranularBitRoundNumberOfSignificantDigits",
    "BitRound": "_QuantizeBitRoundNumberOfSignificantBits",
}
"""Name of the attribute that netCDF-C gives a variable, by quantize mode (``NC_QUANTIZE_..._ATT_NAME`` of netcdf.h)."""

ROUNDING_KEYS = frozenset({"least_significant_digit", "significant_digits", "quantize_mode"})
"""Keys of an encoding that ask for rounding."""

LEAST_DIGIT = "least_significant_digit"

MAX_LEAST_DIGIT = 300
"""Beyond it the power of ten, or its power of two, is no float64."""

MAX_DIGITS = {4: 6, 8: 15}
"""``NC_QUANTIZE_MAX_FLOAT_NSD`` and ``..._DOUBLE_NSD``, by size of the element."""

MANTISSA_BITS = {4: 23, 8: 52}
"""Stored bits of the mantissa, by size of the element: also the most that BitRound keeps."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """How the values of a variable are rounded before they are stored; by default not at all.

    Parameters
    ----------
    mode
        Quantize mode of netCDF-C.
    digits
        Significant decimal digits to keep, of BitRound bits; 0 does not quantize.
    least_digit
        netCDF4-python's ``least_significant_digit``: power of ten of the smallest decimal place that is kept, 1 for
        0.1; None does not round.
    """

    mode: str = "BitGroom"
    digits: int = 0
    least_digit: Any = None

    def __bool__(self) -> bool:
        return bool(self.digits) or self.least_digit is not None

    def with_attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes of a variable with those that tell its rounding, in netCDF-C's order and types."""
        first: dict[str, Any] = {}
        if self.digits:
            first = {ATTRIBUTES[self.mode]: np.int32(self.digits)}
            # another mode's, of the file that the data is from: it would tell readers and appends another rounding
            attributes = {name: one for name, one in attributes.items() if name not in ATTRIBUTES.values()}
        fill = {"_FillValue": attributes["_FillValue"]} if "_FillValue" in attributes else {}
        second = {} if self.least_digit is None else {LEAST_DIGIT: self.least_digit}
        return {**first, **fill, **second, **attributes, **first, **second}

    def apply(self, array: Any, kept: Iterable[Any]) -> Any:
        """Return an array, of numpy or dask, with rounded values; values in `kept` stay as they are.

        BitGroom shaves the bits of elements with an even number and sets those with an odd one. The number is the
        position in `array`, so that the result does not depend on its blocks.
        """
        if not self or array.dtype.kind != "f":
            return array
        function = partial(rounded, rounding=self, kept=tuple(kept), shape=array.shape)
        if not isinstance(array, da.Array):
            return function(array, starts=(0,) * array.ndim)
        starts = tuple(tuple(np.cumsum([0, *one[:-1]]).tolist()) for one in array.chunks)
        meta = np.empty((0,) * array.ndim, array.dtype)
        return da.map_blocks(partial(_rounded_block, function, starts), array, dtype=array.dtype, meta=meta)


def read_rounding(
    encoding: Mapping[str, Any], dtype: np.dtype[Any], path: str, *, is_explicit: bool
) -> Rounding:
    """Read the rounding that an encoding asks for.

    Parameters
    ----------
    encoding
        The encoding of a variable.
    dtype
        Its element type in the file.
    path
        Its path, for messages.
    is_explicit
        Whether the encoding was given in this call. xarray enters ``least_significant_digit`` of a file that it reads
        in the encoding; where that does not fit it is ignored.

    Raises
    ------
    SpecError
        netCDF-C refuses the mode, the number of digits, or the type.
    """
    mode, digits = encoding.get("quantize_mode"), encoding.get("significant_digits")
    least = encoding.get(LEAST_DIGIT)
    if mode is not None and mode not in ATTRIBUTES:
        raise SpecError(
            f"variable {path}: quantize_mode must be one of {', '.join(map(repr, ATTRIBUTES))}, not {shown(mode)}"
            + (did_you_mean(mode, sorted(ATTRIBUTES)) if isinstance(mode, str) else ""),
            path=path,
        )
    mode = mode or "BitGroom"  # netCDF4-python's default
    if least is not None:
        _check_least_digit(least, path)
        is_whole = dtype.kind in "iu" and least >= 0  # integers have no decimal places to round
        if not is_whole and dtype.kind != "f":
            if is_explicit:
                raise SpecError(
                    f"variable {path}: least_significant_digit={least} is for floats, from 0 on also for integers, and "
                    f"this is {dtype}; leave it out",
                    path=path,
                )
            least = None
    return Rounding(mode, 0 if digits is None else _digits(mode, digits, dtype, path), least)


def rounding_of(stored: StoredVariable) -> Rounding:
    """Return the rounding of a variable that is in the file, from its attributes.

    Raises
    ------
    SpecError
        An attribute has a value that netCDF-C and netCDF4-python do not write.
    """
    if stored.dtype.kind != "f":
        return Rounding()
    encoding = {LEAST_DIGIT: stored.attributes.get(LEAST_DIGIT)}
    # of several the first, as in ``get_quantize_info`` of ``libhdf5/hdf5open.c``
    found = next(((mode, name) for mode, name in ATTRIBUTES.items() if name in stored.attributes), None)
    if found is not None:
        mode, name = found
        encoding |= {"quantize_mode": mode, "significant_digits": stored.attributes[name]}
    return read_rounding(encoding, stored.dtype, stored.path, is_explicit=True)


def kept_values(fill: Any, attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> list[Any]:
    """Return the values of a variable that rounding leaves alone: its fill value and its missing values."""
    found: list[Any] = []
    if dtype.kind != "f":
        return found
    missing: list[Any] = []
    with suppress(ValueError):  # a list of different lengths is refused where all attributes are checked
        missing = list(np.ravel(attributes.get("missing_value", ())))
    for one in [fill, *missing]:
        # so are numbers that no type holds; fill values that are no numbers are refused where all of them are checked
        with suppress(TypeError, ValueError, OverflowError):
            found.append(dtype.type(one))
    return found


def rounded(
    block: NDArray[Any],
    *,
    rounding: Rounding,
    kept: tuple[Any, ...],
    shape: tuple[int, ...],
    starts: tuple[int, ...],
) -> NDArray[Any]:
    """Return a block with rounded values.

    Parameters
    ----------
    block
        Floats.
    rounding
        How to round them.
    kept
        Values that stay as they are; zeros, infinities and NaN always do.
    shape
        Shape of the array of which this is a block.
    starts
        Index of the first element of the block in it.
    """
    values = np.array(block, block.dtype.newbyteorder("="), order="C")
    with np.errstate(all="ignore"):
        if rounding.least_digit is not None:
            _round_to_place(values, _is_kept(values, kept), rounding.least_digit)
        if rounding.digits:
            is_kept = _is_kept(values, kept)
            saved = values[is_kept]
            _quantize(values, rounding, shape, starts)
            values[is_kept] = saved
    return values.astype(block.dtype, copy=False)


def _rounded_block(
    function: Any, starts: tuple[tuple[int, ...], ...], block: NDArray[Any], block_id: tuple[int, ...]
) -> Any:
    return function(block, starts=tuple(one[i] for one, i in zip(starts, block_id, strict=True)))


def _digits(mode: str, digits: Any, dtype: np.dtype[Any], path: str) -> int:
    """Return the number of significant digits, checked as ``nc_def_var_quantize`` does."""
    if dtype.kind != "f" or dtype.itemsize not in MAX_DIGITS:
        raise SpecError(
            f"variable {path}: significant_digits is for float32 and float64, and this is {dtype}; leave it out",
            path=path,
        )
    most = (MANTISSA_BITS if mode == "BitRound" else MAX_DIGITS)[dtype.itemsize]
    try:
        number = operator.index(digits)
    except TypeError:
        number = 0
    if isinstance(digits, bool) or not 1 <= number <= most:
        what = "bits" if mode == "BitRound" else "decimal digits"
        raise SpecError(
            f"variable {path}: significant_digits must be an int from 1 to {most} ({what} of {dtype.name}, "
            f"quantize_mode {mode!r}), not {shown(digits)}",
            path=path,
        )
    return number


def _check_least_digit(digit: Any, path: str) -> None:
    is_number = isinstance(digit, int | float | np.integer | np.floating) and not isinstance(digit, bool)
    if not is_number or not abs(digit) <= MAX_LEAST_DIGIT:
        raise SpecError(
            f"variable {path}: least_significant_digit must be a number from {-MAX_LEAST_DIGIT} to {MAX_LEAST_DIGIT}, "
            f"not {shown(digit)}",
            path=path,
        )


def _is_kept(values: NDArray[Any], kept: tuple[Any, ...]) -> NDArray[np.bool_]:
    """Return which values stay as they are."""
    is_kept = ~np.isfinite(values)
    is_kept |= values == 0
    for one in kept:
        is_kept |= values == one
    return is_kept


def _round_to_place(values: NDArray[Any], is_kept: NDArray[np.bool_], digit: Any) -> None:
    """Round to multiples of the power of two that keeps a decimal place (``netCDF4.utils._quantize``)."""
    exponent = np.log10(pow(10.0, -float(digit)))
    exponent = np.floor(exponent) if exponent < 0 else np.ceil(exponent)
    scale = 2.0 ** np.ceil(np.log2(pow(10.0, -exponent)))
    places = np.asarray(np.multiply(values, scale, dtype=np.float64))  # a scalar, where there is no dimension
    np.rint(places, out=places)
    places /= scale
    # a number so large that its product overflows has no such places to round
    is_kept |= ~np.isfinite(places)
    np.copyto(values, places, where=~is_kept, casting="same_kind")


def _quantize(
    values: NDArray[Any], rounding: Rounding, shape: tuple[int, ...], starts: tuple[int, ...]
) -> None:
    """Set the last bits of the mantissas, in place."""
    bits = values.view(f"u{values.dtype.itemsize}")
    if rounding.mode == "GranularBitRound":
        flat, flat_bits = values.reshape(-1), bits.reshape(-1)
        for i in range(0, flat.size, PIECE):  # temporary arrays that fit the cache
            _round_bits(flat_bits[i : i + PIECE], zeroed_bits(flat[i : i + PIECE], rounding.digits))
        return
    n_mantissa = MANTISSA_BITS[values.dtype.itemsize]
    if rounding.mode == "BitRound":
        _round_bits(bits, bits.dtype.type(n_mantissa - rounding.digits))
        return
    n_zeroed = n_mantissa - (int(np.ceil(rounding.digits * BITS_PER_DIGIT)) + 1)
    ones = bits.dtype.type((1 << n_zeroed) - 1)
    bits |= ones
    bits ^= ones * _is_even(values.shape, shape, starts).astype(bits.dtype)


def _round_bits(bits: NDArray[Any], n_zeroed: Any) -> None:
    """Round to a multiple of ``2**n_zeroed``, half up, in place: the carry goes to the exponent where it must."""
    one = bits.dtype.type(1)
    ones = (one << n_zeroed) - one
    bits += ones ^ (ones >> one)  # half of the multiple
    bits &= ~ones


def _is_even(extents: tuple[int, ...], shape: tuple[int, ...], starts: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which elements of a block have an even number in the whole array, in a shape that broadcasts to the block.

    The number of an element is the sum of its indices times the strides; only indices with an odd stride count.
    """
    is_odd, stride = np.zeros((1,) * len(extents), np.int8), 1
    for axis in reversed(range(len(extents))):
        if stride % 2:
            indices = (np.arange(extents[axis]) + starts[axis]) % 2
            is_odd = is_odd ^ indices.astype(np.int8).reshape(-1, *(1,) * (len(extents) - axis - 1))
        stride *= shape[axis]
    return is_odd == 0
