"""The LZ4 filter (32004) of the HDF Group's plugins: LZ4 blocks in a big-endian frame of their own."""

from __future__ import annotations

import struct
from functools import cache, partial
from typing import Any

import numpy as np

from streamh5.errors import FilterError, FormatError
from streamh5.filters.base import Buffer, Bytes, Encode, FilterRow, RawChunk, Values, ZarrCodec

# DEFAULT_BLOCK_SIZE of the plugin's H5Zlz4.c; LZ4_MAX_INPUT_SIZE of lz4.h.
_DEFAULT_BLOCK_NBYTES = 1 << 30
_MAX_BLOCK_NBYTES = 0x7E000000

# Raw size and block size; then the size of each block, followed by the block. Also the frame of Bitshuffle.
FRAME_HEADER = struct.Struct(">QI")
BLOCK_SIZE = struct.Struct(">I")


@cache
def _lz4() -> Any:
    from numcodecs import lz4  # here, so that only who needs it waits for the import

    return lz4


def lz4_block(data: Buffer) -> memoryview:
    """Compress data into one bare LZ4 block, without the GIL."""
    # numcodecs writes the raw size, 4 bytes, before the block.
    return memoryview(_lz4().compress(data))[4:]


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    values = values or (0,)
    block_nbytes = values[0] or _DEFAULT_BLOCK_NBYTES
    if len(values) != 1 or block_nbytes > _MAX_BLOCK_NBYTES:
        raise FilterError(
            f"lz4 accepts one block size of at most {_MAX_BLOCK_NBYTES} bytes, not {values}", values=values
        )
    return values, partial(_encode, block_nbytes)


def _encode(block_nbytes: int, chunk: Buffer) -> Buffer:
    """Compress block by block; a block that LZ4 does not shrink is stored raw."""
    raw: Any = chunk if isinstance(chunk, memoryview) else np.frombuffer(chunk, np.uint8)
    block_nbytes = min(block_nbytes, len(raw))
    parts: list[Any] = [FRAME_HEADER.pack(len(raw), block_nbytes)]
    for first in range(0, len(raw), block_nbytes):
        block = raw[first : first + block_nbytes]
        compressed = lz4_block(block)
        smallest = compressed if len(compressed) < len(block) else block
        parts += (BLOCK_SIZE.pack(len(smallest)), smallest)
    return b"".join(parts)


def _decode(data: Bytes, most: int, values: Values) -> bytes:
    nbytes, block_nbytes = FRAME_HEADER.unpack_from(data)
    if nbytes > most or (nbytes and not block_nbytes):
        raise FormatError(f"its LZ4 header declares {nbytes:,} bytes in blocks of {block_nbytes:,}")
    position, n_left = FRAME_HEADER.size, nbytes
    blocks = []
    while n_left:
        expected = min(block_nbytes, n_left)
        (stored_nbytes,) = BLOCK_SIZE.unpack_from(data, position)
        position += BLOCK_SIZE.size
        block = bytes(data[position : position + stored_nbytes])
        if stored_nbytes != expected:  # otherwise the block is not compressed
            block = bytes(_lz4().decompress(struct.pack("<I", expected) + block))
        if len(block) != expected:
            raise FormatError(f"an LZ4 block has {len(block):,} bytes instead of {expected:,}")
        blocks.append(block)
        position, n_left = position + stored_nbytes, n_left - expected
    if position != len(data):
        raise FormatError(f"its LZ4 blocks end at {position:,} of {len(data):,} bytes")
    return b"".join(blocks)


def _accept(data: memoryview, nbytes: int | None) -> Buffer | None:
    """Put the block of numcodecs into the frame of HDF5's plugin (``H5Zlz4.c``).

    The plugin reads a block of the raw size as one that is not compressed.
    """
    raw_nbytes = int.from_bytes(data[:4], "little")
    block_nbytes = len(data) - 4
    if nbytes not in (None, raw_nbytes) or not 0 < block_nbytes < raw_nbytes <= _MAX_BLOCK_NBYTES:
        return None
    return b"".join((FRAME_HEADER.pack(raw_nbytes, raw_nbytes), BLOCK_SIZE.pack(block_nbytes), data[4:]))


ROW = FilterRow(
    filter_id=32004,
    keyword="lz4",
    set_up=_set_up,
    name="HDF5 lz4 filter; see https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md",
    wants_shuffle=True,
    default_values=(0,),
    decode=_decode,
    # No numcodecs: its LZ4 codec has another frame, so it cannot decode what HDF5 stores.
    zarr=(ZarrCodec("lz4", lambda config, chunk: (), _accept, is_reframed=True),),
)
