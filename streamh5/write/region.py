"""Regions of a dataset, as numpy indexes them: ``d[20:40, ..., 3]`` -> origin and shape."""

from __future__ import annotations

import operator
from typing import Any

from streamh5.errors import BlockError, shown

__all__ = ["parse_region"]


def parse_region(
    region: Any, shape: tuple[int | None, ...], *, path: str
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return origin and shape of a region, and its shape without the dimensions that ints take away.

    Parameters
    ----------
    region
        Slices, ints and ``...``, without steps.
    shape
        Shape of the dataset; the leading extent may be None.
    path
        Name of the dataset, for messages.

    Raises
    ------
    BlockError
        Too many indices, an index that is neither int nor slice, or one that leaves the dataset.
    """
    keys = list(region) if isinstance(region, tuple) else [region]
    n_given = sum(key is not Ellipsis for key in keys)
    if n_given > len(shape) or len(keys) - n_given > 1:
        raise BlockError(f"{path}: region {shown(region)} has too many indices for {len(shape)} dimensions")
    at = next((i for i, key in enumerate(keys) if key is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (len(shape) - n_given)
    ranges = [_range(key, n, path, axis) for axis, (key, n) in enumerate(zip(keys, shape, strict=True))]
    origin = tuple(start for start, _ in ranges)
    extents = tuple(stop - start for start, stop in ranges)
    return origin, extents, tuple(n for n, key in zip(extents, keys, strict=True) if isinstance(key, slice))


def _range(index: Any, extent: int | None, path: str, axis: int) -> tuple[int, int]:
    key = index

    def error(problem: str) -> BlockError:
        return BlockError(f"{path}: index {shown(index)} of dimension {axis} {problem}")

    if not isinstance(key, slice):
        try:
            key = operator.index(key)
        except TypeError:
            raise error("is neither a slice nor an int; write ranges of whole chunks") from None
        key = slice(key, key + 1 if key != -1 else None)
    if key.step not in (None, 1):
        raise error("has a step; write ranges of whole chunks")
    try:
        start: int = 0 if key.start is None else operator.index(key.start)
        stop: int = (-1 if extent is None else extent) if key.stop is None else operator.index(key.stop)
    except TypeError:
        raise error("has a bound that is no int") from None
    if extent is None and (start < 0 or stop < 0):
        raise error("is relative to the end, which is not known yet; give a start and a stop from 0 on")
    if extent is not None:
        start, stop = (i + extent if i < 0 else i for i in (start, stop))
    if not 0 <= start <= stop or (extent is not None and stop > extent):
        raise error(f"leaves the dimension of {extent} elements")
    return start, stop
