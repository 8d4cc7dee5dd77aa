"""Regular hyperslabs: for each dimension a start, a stride, a number of blocks and their size, as HDF5 selects."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

from streamh5.errors import SpecError, shown
from streamh5.format.primitives import UNLIMITED


@dataclass(frozen=True, slots=True)
class AxisBlocks:
    """The blocks of one dimension: `count` blocks of `block` elements, `stride` apart, from `start` on."""

    start: int
    stride: int
    count: int
    block: int

    @property
    def is_unlimited(self) -> bool:
        """Whether the blocks have no end."""
        return self.count == UNLIMITED

    @property
    def n_elements(self) -> int:
        """Number of elements; of one block if there is no end."""
        return self.block if self.is_unlimited else self.count * self.block

    @property
    def stop(self) -> int:
        """One past the last element; of the first block if there is no end."""
        n_before = 0 if self.is_unlimited else self.count - 1
        return self.start + n_before * self.stride + self.block


@dataclass(frozen=True, slots=True)
class Hyperslab:
    """A selection: the product of the blocks of all dimensions.

    Parameters
    ----------
    blocks
        One for each dimension.
    kept
        Dimensions that are not selected by an int, as numpy keeps them.
    """

    blocks: tuple[AxisBlocks, ...]
    kept: tuple[int, ...] = ()

    @property
    def n_blocks(self) -> int:
        """Number of blocks; of the dimensions that have an end."""
        return math.prod(one.count for one in self.blocks if not one.is_unlimited)

    @property
    def n_elements(self) -> int:
        """Number of elements, as `AxisBlocks.n_elements` counts them."""
        return math.prod(one.n_elements for one in self.blocks)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the selected elements, as numpy gives it."""
        return tuple(self.blocks[axis].n_elements for axis in self.kept)

    @property
    def unlimited_axis(self) -> int | None:
        """The dimension without end, if there is one."""
        return next((axis for axis, one in enumerate(self.blocks) if one.is_unlimited), None)

    def slices(self) -> list[list[slice]]:
        """Return the blocks of each dimension as slices."""
        return [
            [
                slice(start, start + one.block)
                for start in (one.start + i * one.stride for i in range(one.count))
            ]
            for one in self.blocks
        ]


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
        raise SpecError(f"{what}: the index {shown(key)} does not fit {len(shape)} dimensions", index=key)
    at = next((i for i, one in enumerate(keys) if one is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (len(shape) - n_given)
    blocks = tuple(_blocks(one, n, what, axis) for axis, (one, n) in enumerate(zip(keys, shape, strict=True)))
    if sum(one.is_unlimited for one in blocks) > 1:
        raise SpecError(f"{what}: the index {shown(key)} is unlimited in several dimensions; HDF5 allows one")
    return Hyperslab(blocks, tuple(axis for axis, one in enumerate(keys) if not _is_int(one)))


def whole(shape: tuple[int, ...]) -> Hyperslab:
    """Return the selection of everything."""
    return Hyperslab(tuple(AxisBlocks(0, 1, 1, n) for n in shape), tuple(range(len(shape))))


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
        raise SpecError(f"{where} exceeds {extent} elements", index=key)
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
