"""How many bits Granular BitRound rounds off each value.

netCDF-C computes this from two logarithms for each value. Between two powers of two the result has at most three steps,
so it is looked up in a table: for each exponent, the mantissas at which it changes. The table is made with the
expressions of netCDF-C (``nc4_convert_type`` of ``libsrc4/nc4var.c``), and so has its rounding errors too, which decide
about values close to a power of ten.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PIECE = 1 << 13
"""Elements that are handled at once, so that temporary arrays fit the cache."""

LN10, LN2 = 2.30258509299404568402, 0.69314718055994530942
BITS_PER_DIGIT, DIGITS_PER_BIT = LN10 / LN2, LN2 / LN10
"""``M_LN10 / M_LN2`` and its inverse, divided as netCDF-C divides them."""


class _Steps(NamedTuple):
    """Where the number of bits changes, by exponent.

    Attributes
    ----------
    first
        The exponent of the first entry.
    next_power, next_digit
        The mantissas from which a value has a power of two less, and a digit more.
    n_digits
        Digits before the decimal point of values below `next_digit`.
    """

    first: int
    next_power: NDArray[Any]
    next_digit: NDArray[Any]
    n_digits: NDArray[np.int64]


def zeroed_bits(values: NDArray[Any], n_digits: int) -> NDArray[Any]:
    """Return how many bits of each mantissa are rounded off.

    Parameters
    ----------
    values
        (n,) float32 or float64; for zeros, infinities and NaN the result has no meaning.
    n_digits
        Number of significant decimal digits.

    Returns
    -------
    (n,) unsigned integers of the size of `values`
    """
    n_mantissa = np.finfo(values.dtype).nmant
    steps = _steps(n_mantissa)
    table = _table(n_mantissa, n_digits)
    mantissas, exponents = np.frexp(np.abs(values))
    rows = np.subtract(exponents, steps.first, dtype=np.intp)
    np.clip(rows, 0, len(table) - 1, out=rows)
    is_behind_power = mantissas >= steps.next_power.take(rows)
    is_behind_digit = mantissas >= steps.next_digit.take(rows)
    rows *= 4
    rows += is_behind_power.view(np.int8) * np.int8(2)
    rows += is_behind_digit.view(np.int8)
    return table.take(rows)


@lru_cache
def _steps(n_mantissa: int) -> _Steps:
    """Return the steps for all exponents of a float type."""
    dtype = np.float32 if n_mantissa == 23 else np.float64
    first = int(np.frexp(np.finfo(dtype).smallest_subnormal)[1])
    last = int(np.frexp(np.finfo(dtype).max)[1])
    powers, places, digits = [], [], []
    for exponent in range(first, last + 1):
        low = _n_digits(0.5, exponent)
        powers.append(
            _first_mantissa(lambda one, e=exponent: _power(one, e) <= e, n_mantissa)  # type: ignore[misc]
        )
        places.append(
            _first_mantissa(lambda one, e=exponent, n=low: _n_digits(one, e) > n, n_mantissa)  # type: ignore[misc]
        )
        digits.append(low)
    # mantissas of the type are exact in it
    return _Steps(first, np.array(powers, dtype), np.array(places, dtype), np.array(digits))


@lru_cache
def _table(n_mantissa: int, n_digits: int) -> NDArray[Any]:
    """Return the number of bits, (n_exponents, 4): a column for each side of the two steps."""
    steps = _steps(n_mantissa)
    table = np.empty((len(steps.n_digits), 4), np.uint32 if n_mantissa == 23 else np.uint64)
    for row, digits in enumerate(steps.n_digits.tolist()):
        for column in range(4):
            power = steps.first + row + (0 if column & 2 else 1)
            quantum = math.floor(BITS_PER_DIGIT * (digits + (column & 1) - n_digits))
            table[row, column] = n_mantissa - (abs(power - quantum) - 1)
    return table


def _power(mantissa: float, exponent: int) -> int:
    return math.floor(exponent - BITS_PER_DIGIT * math.log10(mantissa))


def _n_digits(mantissa: float, exponent: int) -> int:
    return math.floor(exponent * DIGITS_PER_BIT + math.log10(mantissa)) + 1


def _first_mantissa(is_behind: Callable[[float], bool], n_mantissa: int) -> float:
    """Return the first mantissa of [0.5, 1) from which `is_behind` is true; 1 if it is for none."""
    n = 1 << n_mantissa
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if is_behind(0.5 + middle / (2 * n)):
            high = middle
        else:
            low = middle + 1
    return 0.5 + low / (2 * n)
