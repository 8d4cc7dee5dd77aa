"""The Bitshuffle filter (32008): bits of equal significance next to each other, uncompressed or with LZ4 or Zstandard.

imagecodecs does Bitshuffle and LZ4, `zstd_encoder` Zstandard, both without the GIL (``bshuf_h5filter.c``). One call
compresses all LZ4 blocks of a chunk, 8 KiB each, into the frame of the LZ4 filter, whose blocks are the same as
Bitshuffle's; with one call per block, two threads were no faster than one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer, Encode, FilterRow, RawChunk, Values
from streamh5.filters.lz4 import BLOCK_SIZE, FRAME_HEADER, lz4_block
from streamh5.filters.zstd import zstd_encoder

# BSHUF_VERSION_MAJOR and _MINOR, which bshuf_h5_set_local writes first.
_VERSIONS = (0, 4)
_NO_CODEC, _LZ4, _ZSTD = 0, 2, 3
# bshuf_default_block_size: 8 KiB in whole groups of 8 elements, at least 128 elements.
_BLOCK_NBYTES, _GROUP, _MIN_ELEMENTS = 8192, 8, 128


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    """Set the filter up as ``bshuf_h5_set_local`` does: versions and element size come first."""
    import imagecodecs

    element_nbytes = chunk.dtype.itemsize
    block_elements, codec, *levels = values + (0, _NO_CODEC)[len(values) :]
    if len(values) > 3 or codec not in (_NO_CODEC, _LZ4, _ZSTD):
        raise FilterError(
            f"bitshuffle accepts a block size, a codec of 0 (none), 2 (lz4) or 3 (zstd) and a zstd level,"
            f" not {values}",
            values=values,
        )
    client_values = (*_VERSIONS, element_nbytes, block_elements, codec, *levels)
    block_elements = block_elements or max(_BLOCK_NBYTES // element_nbytes // _GROUP * _GROUP, _MIN_ELEMENTS)
    if block_elements % _GROUP:
        raise FilterError(
            f"bitshuffle blocks must be a multiple of 8 elements, not {block_elements}",
            block_elements=block_elements,
        )

    def shuffled(data: Buffer) -> memoryview:
        # As the library's own loop: full blocks, one block of the remaining groups of 8, the rest unchanged.
        elements = np.frombuffer(data, np.dtype((np.void, element_nbytes)))
        planes = imagecodecs.bitshuffle_encode(elements, itemsize=element_nbytes, blocksize=block_elements)
        return memoryview(planes.view(np.uint8))

    if codec == _NO_CODEC:
        return client_values, shuffled
    frame = imagecodecs.lz4h5_encode if codec == _LZ4 else None
    compress: Encode = lz4_block
    if codec == _ZSTD:
        level, compress = zstd_encoder(tuple(levels), block_elements * element_nbytes)
        client_values = (*client_values[:5], *level)

    def encode(data: Buffer) -> Buffer:
        whole = shuffled(data)
        grouped = whole[: len(data) // element_nbytes // _GROUP * _GROUP * element_nbytes]
        block_nbytes = block_elements * element_nbytes
        header = FRAME_HEADER.pack(len(whole), block_nbytes)
        return b"".join((header, *_blocks(frame, compress, grouped, block_nbytes), whole[len(grouped) :]))

    return client_values, encode


def _blocks(frame: Any, compress: Any, grouped: memoryview, block_nbytes: int) -> Iterator[Any]:
    """Yield the compressed size, 4 bytes, and the compressed bytes of each block; or all of them as one buffer."""
    if frame is not None and grouped:
        framed = frame(grouped, blocksize=min(block_nbytes, len(grouped)))
        if not _has_raw_block(framed, len(grouped), block_nbytes):
            yield memoryview(framed)[FRAME_HEADER.size :]
            return
    for first in range(0, len(grouped), block_nbytes):
        compressed = compress(grouped[first : first + block_nbytes])
        yield BLOCK_SIZE.pack(len(compressed))
        yield compressed


def _has_raw_block(framed: bytes, raw_nbytes: int, block_nbytes: int) -> bool:
    """Return whether HDF5's LZ4 frame stores a block uncompressed, which Bitshuffle's frame cannot."""
    position = FRAME_HEADER.size
    for first in range(0, raw_nbytes, block_nbytes):
        (stored_nbytes,) = BLOCK_SIZE.unpack_from(framed, position)
        if stored_nbytes >= min(block_nbytes, raw_nbytes - first):
            return True
        position += BLOCK_SIZE.size + stored_nbytes
    return False


ROW = FilterRow(
    filter_id=32008,
    keyword="bitshuffle",
    set_up=_set_up,
    given_values=lambda values: values[3:],
    name="bitshuffle; see https://github.com/kiyo-masui/bitshuffle",
    package="imagecodecs",
    default_values=(0, _LZ4),
    lowest_value=-1 << 31,  # a level of Zstandard
)
