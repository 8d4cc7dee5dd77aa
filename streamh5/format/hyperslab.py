"""Regular hyperslabs, and selections as files store them (H5S__hyper_serialize, H5S__all_serialize).

A hyperslab has, for each dimension, a start, a stride, a number of blocks and their size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from streamh5.format.primitives import MAX_RANK, UNLIMITED, concat, uint

if TYPE_CHECKING:
    from streamh5.format.fields import Fields

_SIZEOF_AXIS = 4 * 8


class _SelectionType(IntEnum):
    HYPERSLAB = 2
    ALL = 3


class _HyperslabFlag(IntEnum):
    REGULAR = 0x01


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


def encode_selection(selected: Hyperslab | None) -> bytes:
    """Encode a selection.

    Hyperslabs have version 2, which HDF5 1.10 and later read, and which has room for one without end.

    Parameters
    ----------
    selected
        None for everything, whatever the shape.
    """
    if selected is None:
        return concat(uint(_SelectionType.ALL, 4, "type of selection"), uint(1, 4, "version"), bytes(8))
    rank = len(selected.blocks)
    axes = [
        concat(
            uint(one.start, 8, "start"),
            uint(one.stride, 8, "stride"),
            uint(one.count, 8, "count"),
            uint(one.block, 8, "block"),
        )
        for one in selected.blocks
    ]
    return concat(
        uint(_SelectionType.HYPERSLAB, 4, "type of selection"),
        uint(2, 4, "version"),
        uint(_HyperslabFlag.REGULAR, 1, "flags"),
        uint(4 + rank * _SIZEOF_AXIS, 4, "length"),
        uint(rank, 4, "rank"),
        *axes,
    )


def decode_selection(fields: Fields) -> Hyperslab | None:
    """Decode a selection that `encode_selection` has encoded.

    Raises
    ------
    FormatError
        It is of another type or version.
    """
    selection_type = fields.known(_SelectionType, fields.uint(4, "type of selection"), "type of selection")
    if selection_type == _SelectionType.ALL:
        fields.expect(1, 4, "version")
        fields.take(8, "reserved bytes and length")
        return None
    fields.expect(2, 4, "version")
    fields.expect(_HyperslabFlag.REGULAR, 1, "flags")
    fields.uint(4, "length")
    rank = fields.uint(4, "rank")
    if not 1 <= rank <= MAX_RANK:
        raise fields.error(f"a selection of {rank} dimensions")
    names = ("start", "stride", "count", "block")
    blocks = tuple(AxisBlocks(*(fields.uint(8, name) for name in names)) for _ in range(rank))
    return Hyperslab(blocks, tuple(range(rank)))
