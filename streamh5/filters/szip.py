"""The szip filter (4): libaec's szip streams behind their raw size."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer
from streamh5.filters.codec_package import codec_package
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["ENTROPY_CODING", "NEAREST_NEIGHBOR", "Szip"]

# Option masks of szlib.h, by H5Pset_szip and H5Z__set_local_szip.
ENTROPY_CODING, NEAREST_NEIGHBOR = 4, 32
_ALLOW_K13, _CHIP, _LSB, _MSB, _RAW = 1, 2, 8, 16, 128
_MAX_PIXELS_PER_BLOCK, _MAX_BLOCKS_PER_SCANLINE = 32, 128


@dataclass(frozen=True, slots=True)
class Szip:
    """Szip by imagecodecs (libaec), outside the GIL (``H5Zszip.c``).

    Raises
    ------
    FilterError
        If the options or the dtype are not what szip takes.
    MissingCodecError
        If imagecodecs is not installed.
    """

    client_values: tuple[int, ...]
    filter_id: ClassVar[int] = 4
    name: ClassVar[str] = "szip"
    optional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        codec_package("imagecodecs", "szip")

    @classmethod
    def from_values(cls, values: tuple[int, ...], chunk: RawChunk) -> Szip:
        """Set the filter up from an option mask and pixels a block, as ``H5Z__set_local_szip`` does."""
        mask, pixels_per_block = values if len(values) == 2 else (0, 0)
        if not mask & (ENTROPY_CODING | NEAREST_NEIGHBOR):
            raise FilterError(
                f"szip takes an option mask with 4 (ec) or 32 (nn) and pixels a block, not {values}",
                values=values,
            )
        if pixels_per_block % 2 or not 0 < pixels_per_block <= _MAX_PIXELS_PER_BLOCK:
            raise FilterError(
                f"szip takes an even number of pixels a block up to {_MAX_PIXELS_PER_BLOCK},"
                f" not {pixels_per_block}",
                pixels_per_block=pixels_per_block,
            )
        if chunk.n_elements < pixels_per_block:
            raise FilterError(
                f"szip needs {pixels_per_block} elements for one block; a chunk {chunk.chunks} has"
                f" {chunk.n_elements}",
                pixels_per_block=pixels_per_block,
                chunks=chunk.chunks,
            )
        chunk.require("iufb", (1, 2, 4, 8), "szip")
        mask = mask & ~(_CHIP | _LSB | _MSB) | _ALLOW_K13 | _RAW | (_MSB if chunk.is_big_endian else _LSB)
        pixels = chunk.chunks[-1] if chunk.chunks[-1] >= pixels_per_block else chunk.n_elements
        pixels_per_scanline = min(pixels, pixels_per_block * _MAX_BLOCKS_PER_SCANLINE)
        return cls((mask, pixels_per_block, 8 * chunk.dtype.itemsize, pixels_per_scanline))

    def encode(self, chunk: Buffer) -> Buffer:
        """Compress one chunk."""
        stream = codec_package("imagecodecs", "szip").szip_encode(chunk, *self.client_values)
        return struct.pack("<I", len(chunk)) + bytes(stream)
