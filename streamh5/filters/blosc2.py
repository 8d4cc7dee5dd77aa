"""The Blosc2 filter (32026): contiguous Blosc2 frames of one chunk.

imagecodecs compresses, the frame around it is written here (``README_CFRAME_FORMAT.rst`` of c-blosc2):
python-blosc2 holds the GIL while it compresses and takes 300 us for a frame.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer, RegisteredFilter, Values
from streamh5.filters.codec_package import codec_package
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["ROW", "Blosc2"]

# FILTER_BLOSC2_VERSION, which blosc2_set_local writes first.
_VERSION = 1
_N_GENERAL_VALUES = 7  # before the chunk shape
_MAX_CHUNK_NBYTES = 0x7FFFFFFF - 32  # BLOSC2_MAX_BUFFERSIZE
_MAX_TYPE_NBYTES = 255  # BLOSC_MAX_TYPESIZE; a larger element counts as bytes
_CODECS = (0, 1, 2, 4, 5)  # BloscLZ, LZ4, LZ4HC, zlib, Zstandard
# None, shuffle, bitshuffle. TRUNC_PREC would lose digits; a chunk compressed with DELTA outside a frame
# is read wrongly inside one (hdf5plugin 7.1).
_N_FILTERS = 3
# Flags of the header: version 2 with 64-bit offsets, a contiguous frame.
_GENERAL_FLAGS, _FRAME_TYPE, _RESERVED_FLAGS = 0x12, 0, 2
_FRAME_HEADER = struct.Struct(">2s8s cI cQ c4B cq cq cI cI cI ch ch c cB 6B 2B 8s 10s")
# A stored Blosc chunk that holds one 64-bit offset, 0.
_INDEX_CHUNK = struct.pack("<4B3I5xB10xQ", 5, 1, 7, 8, 8, 8, 40, 1, 0)
_TRAILER = bytes.fromhex("940193cd0006de0000dc0000ce00000023d800") + bytes(16)


@dataclass(frozen=True, slots=True)
class Blosc2:
    """One Blosc2 frame a chunk, on the calling thread, outside the GIL.

    The plugin itself writes a chunk of several dimensions as a B2ND array; its reader takes a plain
    frame as well, and a plain frame is what is written here.

    Raises
    ------
    FilterError
        If the codec, the level or the filter is unknown or would lose digits, or the chunk is 2 GiB or more.
    """

    client_values: Values
    filter_id: ClassVar[int] = 32026

    @classmethod
    def from_values(cls, values: Values, chunk: RawChunk) -> Blosc2:
        """Set the filter up as ``blosc2_set_local`` does: it adds type, size and, from 2-D up, shape."""
        if len(values) not in (0, _N_GENERAL_VALUES):
            raise FilterError(
                f"blosc2 takes 7 client values, the first four unused, not {values}", values=values
            )
        chunk.limit_nbytes(_MAX_CHUNK_NBYTES, "blosc2")
        local = (_VERSION, 0, chunk.dtype.base.itemsize, chunk.nbytes)
        shape = (len(chunk.chunks), *chunk.chunks) if len(chunk.chunks) > 1 else ()
        return cls(local + (values[4:] or (5, 1, 0)) + shape)

    def __post_init__(self) -> None:
        level, shuffle, codec = self.client_values[4:_N_GENERAL_VALUES]
        if not (level in range(10) and shuffle in range(_N_FILTERS) and codec in _CODECS):
            raise FilterError(
                f"blosc2 takes a level from 0 to 9, a filter of 0 (none), 1 (shuffle) or 2 (bitshuffle) and"
                f" a codec of {_CODECS}, not {(level, shuffle, codec)}",
                values=self.client_values,
            )

    def encode(self, chunk: Buffer) -> Buffer:
        """Compress one chunk into one frame."""
        type_nbytes, _, level, shuffle, codec = self.client_values[2:_N_GENERAL_VALUES]
        if type_nbytes > _MAX_TYPE_NBYTES:
            type_nbytes = 1
        compressed: bytes = codec_package("imagecodecs", "blosc2").blosc2_encode(
            chunk, level, compressor=codec, shuffle=shuffle, typesize=type_nbytes, numthreads=1
        )
        after = _INDEX_CHUNK + _TRAILER
        header = _FRAME_HEADER.pack(
            *(b"\x9e\xa8", b"b2frame\0"),
            *(b"\xd2", _FRAME_HEADER.size),
            *(b"\xcf", _FRAME_HEADER.size + len(compressed) + len(after)),
            *(b"\xa4", _GENERAL_FLAGS, _FRAME_TYPE, level << 4 | codec, _RESERVED_FLAGS),
            *(b"\xd3", len(chunk)),
            *(b"\xd3", len(compressed)),
            *(b"\xd2", type_nbytes),
            *(b"\xd2", 0),  # block size: each chunk says its own
            *(b"\xd2", len(chunk)),
            *(b"\xd1", 1, b"\xd1", 1),  # threads
            b"\xc2",  # no user metadata
            *(b"\xd8", 6, 0, 0, 0, 0, 0, shuffle, codec, 0, bytes(8)),  # filter slots, codec, their metadata
            bytes.fromhex("93cd0007de0000dc0000"),  # no metalayers
        )
        return b"".join((header, compressed, after))


ROW = RegisteredFilter(
    filter_id=Blosc2.filter_id,
    keyword="blosc2",
    build=Blosc2.from_values,
    name="blosc2",
    package="imagecodecs",
    example_values=(0, 0, 0, 0, 5, 1, 1),
)
