"""What an index in the sense of numpy selects in a dataset, as a regular hyperslab."""

from __future__ import annotations

import operator
from typing import Any

from streamh5.errors import BlockError, SpecError, counted, shown
from streamh5.format.hyperslab import AxisBlocks, Hyperslab
from streamh5.format.primitives import UNLIMITED


def select(shape: tuple[int, ...], key: Any, what: str) -> Hyperslab:
    """Return the selection that an index makes.

    Parameters
    ----------
    shape
        Shape of the dataset.
    key
        Ints, slices with positive steps, ``...``, and objects with ``start``, ``stride``, ``count`` and ``block``, such
        as `h5py.MultiBlockSlice`. A slice may end with `UNLIMITED`.
    what
        The dataset, for messages.

    Raises
    ------
    SpecError
        The index is anything else, selects nothing, or exceeds the shape.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    n_given = sum(one is not Ellipsis for one in keys)
    if n_given > len(shape) or len(keys) - n_given > 1:
        raise SpecError(
            f"{what}: the index {shown(key)} does not fit {counted(len(shape), 'dimension')}", index=key
        )
    at = next((i for i, one in enumerate(keys) if one is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (len(shape) - n_given)
    blocks = tuple(_blocks(one, n, what, axis) for axis, (one, n) in enumerate(zip(keys, shape, strict=True)))
    if sum(one.is_unlimited for one in blocks) > 1:
        raise SpecError(f"{what}: the index {shown(key)} is unlimited in several dimensions; HDF5 allows one")
    return Hyperslab(blocks, tuple(axis for axis, one in enumerate(keys) if not _is_int(one)))


def refuse_field_names(region: Any, path: str) -> None:
    """Refuse to write a field of the elements alone.

    Raises
    ------
    BlockError
        The region names a field.
    """
    if any(isinstance(key, str) for key in (region if isinstance(region, tuple) else (region,))):
        raise BlockError(f"{path}: {region!r} names a field; give whole elements, with all their fields")


def _is_int(key: Any) -> bool:
    return hasattr(key, "__index__")


def _blocks(key: Any, extent: int, what: str, axis: int) -> AxisBlocks:
    where = f"{what}: index {shown(key)} of dimension {axis}"
    try:
        if isinstance(key, slice):
            found = _of_slice(key, extent)
        elif all(hasattr(key, name) for name in ("start", "stride", "count", "block")):
            found = _of_multi_block(key, extent)
        else:
            index = operator.index(key)
            found = AxisBlocks(index + extent if index < 0 else index, 1, 1, 1)
    except TypeError:
        raise SpecError(f"{where} is neither an int nor a slice of ints", index=key) from None
    if found.count < 1 or found.block < 1 or found.start < 0:
        raise SpecError(f"{where} selects no element of {extent}", index=key)
    if found.stride < found.block and found.count > 1:
        raise SpecError(f"{where} has blocks that overlap, or a step below 1", index=key)
    if found.stop > extent and not found.is_unlimited:
        raise SpecError(f"{where} exceeds {counted(extent, 'element')}", index=key)
    return found


def _of_slice(key: slice, extent: int) -> AxisBlocks:
    if key.stop is not None and operator.index(key.stop) == UNLIMITED:
        step = 1 if key.step is None else operator.index(key.step)
        return AxisBlocks(operator.index(key.start or 0), step, UNLIMITED, 1)
    start, stop, step = key.indices(extent)
    count = len(range(start, stop, step))
    # one block instead of adjacent ones, as the library stores it
    return AxisBlocks(start, 1, min(count, 1), count) if step == 1 else AxisBlocks(start, step, count, 1)


def _of_multi_block(key: Any, extent: int) -> AxisBlocks:
    start, stride, block = (operator.index(one) for one in (key.start, key.stride, key.block))
    if key.count is not None:
        return AxisBlocks(start, stride, operator.index(key.count), block)
    return AxisBlocks(start, stride, max(0, (extent - start - block) // stride + 1), block)
