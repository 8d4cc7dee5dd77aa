"""The Blosc2 filter (32026): contiguous Blosc2 frames of one chunk.

imagecodecs compresses, and this module writes the frame around it (``README_CFRAME_FORMAT.rst`` of c-blosc2), because
python-blosc2 holds the GIL while it compresses and needs 300 us for a frame. The plugin itself writes chunks with
several dimensions as B2ND arrays, but it also reads plain frames, and this module writes plain frames.
"""

from __future__ import annotations

import struct

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer, Encode, FilterRow, RawChunk, Values
from streamh5.filters.blosc import shuffled_nbytes

# FILTER_BLOSC2_VERSION, which blosc2_set_local writes first.
_VERSION = 1
_N_GENERAL_VALUES = 7  # before the chunk shape
_MAX_CHUNK_NBYTES = 0x7FFFFFFF - 32  # BLOSC2_MAX_BUFFERSIZE
_CODECS = (0, 1, 2, 4, 5)  # BloscLZ, LZ4, LZ4HC, zlib, Zstandard
# None, shuffle, bitshuffle. TRUNC_PREC would lose digits; hdf5plugin 7.1 decodes a chunk wrongly that was
# compressed with DELTA outside a frame and put into one.
_N_FILTERS = 3
# Flags of the header: version 2 with 64-bit offsets, a contiguous frame.
_GENERAL_FLAGS, _FRAME_TYPE, _RESERVED_FLAGS = 0x12, 0, 2
_FRAME_HEADER = struct.Struct(">2s8s cI cQ c4B cq cq cI cI cI ch ch c cB 6B 2B 8s 10s")
# A Blosc chunk that stores one 64-bit offset, 0, uncompressed.
_INDEX_CHUNK = struct.pack("<4B3I5xB10xQ", 5, 1, 7, 8, 8, 8, 40, 1, 0)
# After the chunk: that index, and the trailer in MessagePack: version 1, no metadata of variable length, its own length
# (35 bytes), no fingerprint (16 bytes of zeros).
_AFTER = _INDEX_CHUNK + bytes.fromhex("940193cd0006de0000dc0000ce00000023d800") + bytes(16)


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    """Set the filter up as ``blosc2_set_local`` does: it adds type size, chunk size and, from 2-D up, the shape."""
    import imagecodecs

    if len(values) not in (0, _N_GENERAL_VALUES):
        raise FilterError(
            f"blosc2 accepts 7 client values, the first four unused, not {values}", values=values
        )
    chunk.limit_nbytes(_MAX_CHUNK_NBYTES, "blosc2")
    level, shuffle, codec = values[4:] or (5, 1, 0)
    if not (level in range(10) and shuffle in range(_N_FILTERS) and codec in _CODECS):
        raise FilterError(
            f"blosc2 accepts a level from 0 to 9, a filter of 0 (none), 1 (shuffle) or 2 (bitshuffle) and"
            f" a codec of {_CODECS}, not {(level, shuffle, codec)}",
            values=values,
        )
    shape = (len(chunk.chunks), *chunk.chunks) if len(chunk.chunks) > 1 else ()
    client_values = (_VERSION, 0, chunk.dtype.base.itemsize, chunk.nbytes, level, shuffle, codec, *shape)
    type_nbytes = shuffled_nbytes(chunk)

    def encode(data: Buffer) -> Buffer:
        compressed: bytes = imagecodecs.blosc2_encode(
            data, level, compressor=codec, shuffle=shuffle, typesize=type_nbytes, numthreads=1
        )
        header = _frame_header(len(data), len(compressed), level, shuffle, codec, type_nbytes)
        return b"".join((header, compressed, _AFTER))

    return client_values, encode


def _frame_header(
    nbytes: int, stored_nbytes: int, level: int, shuffle: int, codec: int, type_nbytes: int
) -> bytes:
    return _FRAME_HEADER.pack(
        *(b"\x9e\xa8", b"b2frame\0"),
        *(b"\xd2", _FRAME_HEADER.size),
        *(b"\xcf", _FRAME_HEADER.size + stored_nbytes + len(_AFTER)),
        *(b"\xa4", _GENERAL_FLAGS, _FRAME_TYPE, level << 4 | codec, _RESERVED_FLAGS),
        *(b"\xd3", nbytes),
        *(b"\xd3", stored_nbytes),
        *(b"\xd2", type_nbytes),
        *(b"\xd2", 0),  # block size: each chunk says its own
        *(b"\xd2", nbytes),
        *(b"\xd1", 1, b"\xd1", 1),  # threads
        b"\xc2",  # no user metadata
        *(b"\xd8", 6, 0, 0, 0, 0, 0, shuffle, codec, 0, bytes(8)),  # filter slots, codec, their metadata
        bytes.fromhex("93cd0007de0000dc0000"),  # no metalayers
    )


ROW = FilterRow(
    filter_id=32026,
    keyword="blosc2",
    set_up=_set_up,
    given_values=lambda values: values[:_N_GENERAL_VALUES],
    package="imagecodecs",
    example_values=(0, 0, 0, 0, 5, 1, 1),
)
