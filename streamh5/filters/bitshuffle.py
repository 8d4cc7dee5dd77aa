"""The Bitshuffle filter (32008): bits of equal significance side by side, alone or with LZ4 or Zstandard."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer, RegisteredFilter, Values
from streamh5.filters.codec_package import codec_package
from streamh5.filters.lz4 import lz4_block
from streamh5.filters.raw_chunk import RawChunk
from streamh5.filters.zstd import DEFAULT_LEVEL as DEFAULT_ZSTD_LEVEL
from streamh5.filters.zstd import Zstd

__all__ = ["ROW", "Bitshuffle"]

# BSHUF_VERSION_MAJOR and _MINOR, which bshuf_h5_set_local writes first.
_VERSIONS = (0, 4)
_NO_CODEC, _LZ4, _ZSTD = 0, 2, 3
# bshuf_default_block_size: 8 KiB in whole groups of 8 elements, 128 elements at least.
_BLOCK_NBYTES, _GROUP, _MIN_ELEMENTS = 8192, 8, 128

# The frames of the LZ4 filter and of this one: raw size and block size, then a size before each block.
_FRAME_HEADER_NBYTES = 12
_BLOCK_SIZE = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Bitshuffle:
    """Bitshuffle and LZ4 by imagecodecs, Zstandard by numcodecs, each outside the GIL (``bshuf_h5filter.c``).

    A chunk's LZ4 blocks of 8 KiB are compressed by one call, in the frame of the LZ4 filter, whose blocks
    are Bitshuffle's; block by block two threads would be no faster than one.

    Raises
    ------
    FilterError
        If the block size is no multiple of 8 elements, or the codec or its level is unknown.
    """

    client_values: Values
    filter_id: ClassVar[int] = 32008

    @classmethod
    def from_values(cls, values: Values, chunk: RawChunk) -> Bitshuffle:
        """Set the filter up as ``bshuf_h5_set_local`` does: versions and element size go in front."""
        defaults = (0, _NO_CODEC) if len(values) < 2 or values[1] != _ZSTD else (0, _ZSTD, DEFAULT_ZSTD_LEVEL)
        return cls((*_VERSIONS, chunk.dtype.itemsize, *values, *defaults[len(values) :]))

    def __post_init__(self) -> None:
        if len(self.client_values) > 6 or self.codec not in (_NO_CODEC, _LZ4, _ZSTD):
            raise FilterError(
                f"bitshuffle takes a block size, a codec of 0 (none), 2 (lz4) or 3 (zstd) and a zstd level,"
                f" not {self.client_values[3:]}",
                values=self.client_values,
            )
        if self.block_elements % _GROUP:
            raise FilterError(
                f"bitshuffle blocks must be a multiple of 8 elements, not {self.block_elements}",
                block_elements=self.block_elements,
            )
        if self.codec == _ZSTD:
            Zstd(self.client_values[5:])

    @property
    def element_nbytes(self) -> int:
        """Size of one element."""
        return self.client_values[2]

    @property
    def block_elements(self) -> int:
        """Elements a block, the library's choice unless given."""
        return self.client_values[3] or max(
            _BLOCK_NBYTES // self.element_nbytes // _GROUP * _GROUP, _MIN_ELEMENTS
        )

    @property
    def codec(self) -> int:
        """0 none, 2 LZ4, 3 Zstandard."""
        return self.client_values[4]

    def encode(self, chunk: Buffer) -> Buffer:
        """Shuffle one chunk and, with a codec, compress it block by block."""
        elements = np.frombuffer(chunk, np.dtype((np.void, self.element_nbytes)))
        imagecodecs = codec_package("imagecodecs", "bitshuffle")
        # The library's own loop: full blocks, one of the remaining groups of 8, the rest as it is.
        shuffled = memoryview(
            imagecodecs.bitshuffle_encode(
                elements, itemsize=self.element_nbytes, blocksize=self.block_elements
            ).view(np.uint8)
        )
        if self.codec == _NO_CODEC:
            return shuffled
        grouped = shuffled[: len(elements) // _GROUP * _GROUP * self.element_nbytes]
        block_nbytes = self.block_elements * self.element_nbytes
        blocks = self._blocks(imagecodecs, grouped, block_nbytes)
        return b"".join((struct.pack(">QI", len(shuffled), block_nbytes), *blocks, shuffled[len(grouped) :]))

    def _blocks(self, imagecodecs: Any, grouped: memoryview, block_nbytes: int) -> Iterator[Any]:
        """Yield each block's compressed size, 4 bytes, and its compressed bytes; or all at once."""
        if self.codec == _LZ4 and grouped:
            framed = imagecodecs.lz4h5_encode(grouped, blocksize=min(block_nbytes, len(grouped)))
            if not _has_raw_block(framed, len(grouped), block_nbytes):
                yield memoryview(framed)[_FRAME_HEADER_NBYTES:]
                return
        compress: Any = lz4_block if self.codec == _LZ4 else Zstd(self.client_values[5:]).encode
        for first in range(0, len(grouped), block_nbytes):
            compressed = compress(grouped[first : first + block_nbytes])
            yield struct.pack(">I", len(compressed))
            yield compressed


def _has_raw_block(framed: bytes, raw_nbytes: int, block_nbytes: int) -> bool:
    """Tell whether HDF5's LZ4 frame stores a block as it was, which Bitshuffle's frame cannot."""
    position = _FRAME_HEADER_NBYTES
    for first in range(0, raw_nbytes, block_nbytes):
        (stored_nbytes,) = _BLOCK_SIZE.unpack_from(framed, position)
        if stored_nbytes >= min(block_nbytes, raw_nbytes - first):
            return True
        position += _BLOCK_SIZE.size + stored_nbytes
    return False


ROW = RegisteredFilter(
    filter_id=Bitshuffle.filter_id,
    keyword="bitshuffle",
    build=Bitshuffle.from_values,
    name="bitshuffle; see https://github.com/kiyo-masui/bitshuffle",
    package="imagecodecs",
    default_values=(0, _LZ4),
    lowest_value=-1 << 31,  # a level of Zstandard
)
