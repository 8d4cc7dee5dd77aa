"""The LZ4 filter (32004) of the HDF Group's plugins: LZ4 blocks in a big-endian frame of its own."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numcodecs import lz4 as _lz4

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["Lz4", "lz4_block"]

# DEFAULT_BLOCK_SIZE of the plugin's H5Zlz4.c; LZ4_MAX_INPUT_SIZE of lz4.h.
_DEFAULT_BLOCK_NBYTES = 1 << 30
_MAX_BLOCK_NBYTES = 0x7E000000

_compress: Any = _lz4.compress


def lz4_block(data: Buffer) -> memoryview:
    """Compress into one bare LZ4 block, outside the GIL."""
    # numcodecs puts the raw size, 4 bytes, in front of the block.
    return memoryview(_compress(data))[4:]


@dataclass(frozen=True, slots=True)
class Lz4:
    """LZ4 in the plugin's frame; a block that LZ4 does not shrink is stored raw.

    Raises
    ------
    FilterError
        If there is more than a block size, or it is above LZ4's limit.
    """

    client_values: tuple[int, ...] = (0,)
    filter_id: ClassVar[int] = 32004
    name: ClassVar[str] = (
        "HDF5 lz4 filter; see https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md"
    )
    optional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if len(self.client_values) != 1 or self.block_nbytes > _MAX_BLOCK_NBYTES:
            raise FilterError(
                f"lz4 takes one block size of at most {_MAX_BLOCK_NBYTES} bytes, not {self.client_values}",
                values=self.client_values,
            )

    @classmethod
    def from_values(cls, values: tuple[int, ...], chunk: RawChunk) -> Lz4:
        """Set the filter up from the client values that the user gave."""
        return cls(values or (0,))

    @property
    def block_nbytes(self) -> int:
        """Raw bytes a block; 0 stands for the plugin's own size."""
        return self.client_values[0] or _DEFAULT_BLOCK_NBYTES

    def encode(self, chunk: Buffer) -> Buffer:
        """Compress one chunk block by block."""
        raw: Any = chunk if isinstance(chunk, memoryview) else np.frombuffer(chunk, np.uint8)
        block_nbytes = min(self.block_nbytes, len(raw))
        parts: list[Any] = [struct.pack(">QI", len(raw), block_nbytes)]
        for first in range(0, len(raw), block_nbytes):
            block = raw[first : first + block_nbytes]
            compressed = lz4_block(block)
            smallest = compressed if len(compressed) < len(block) else block
            parts += (struct.pack(">I", len(smallest)), smallest)
        return b"".join(parts)
