"""The ZFP filter (32013) of H5Z-ZFP: the ZFP header in the client values, bare streams in the chunks.

imagecodecs compresses serially, without the GIL. All modes except the reversible one are lossy.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Any

import numpy as np

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer, Encode, FilterRow, RawChunk, Values

# First client value: ZFP 1.0.1.0, its codec 5, H5Z-ZFP 1.1.1 (H5Zzfp_version.h).
_VERSIONS = 0x1010_5111
# Bits of a header with a short and with a full mode: magic 32, shape 52, mode 12 or 64 (zfp.h).
_SHORT_HEADER_NBITS, _LONG_HEADER_NBITS = 96, 148
# H5Z_ZFP_MODE_RATE ... H5Z_ZFP_MODE_REVERSIBLE.
_RATE, _PRECISION, _ACCURACY, _EXPERT, _REVERSIBLE = 1, 2, 3, 4, 5
# zfp_stream_open's parameters, which H5Z-ZFP uses if no mode is given: ZFP_MIN_BITS, ZFP_MAX_BITS,
# ZFP_MAX_PREC, ZFP_MIN_EXP (-1074). imagecodecs expects the exponent as the unsigned number of its bits.
_DEFAULT_EXPERT = (1, 16658, 64, -1074 & 0xFFFFFFFF)


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    """Set the filter up from H5Z-ZFP's generic client values, as ``H5Z_zfp_set_local`` does."""
    import imagecodecs

    chunk.require("if", (4, 8), "zfp")
    shape = tuple(extent for extent in chunk.chunks if extent > 1)
    if chunk.is_big_endian or not 1 <= len(shape) <= 4:
        raise FilterError(
            f"zfp accepts little-endian chunks with one to four dimensions longer than 1,"
            f" not {chunk.dtype} {chunk.chunks}",
            dtype=chunk.dtype,
            chunks=chunk.chunks,
        )
    mode, parameters = _mode(values)
    dtype = chunk.dtype.newbyteorder("=")
    compress = partial(
        imagecodecs.zfp_encode, level=parameters, mode=mode, execution="serial", numthreads=1, header=True
    )
    encoded = compress(np.zeros(shape, dtype))
    # The mode's 12 bits are all ones if 64 bits follow (zfp_stream_mode).
    short_mode = int.from_bytes(encoded[10:12], "little") >> 4
    header_nbits = _LONG_HEADER_NBITS if short_mode == 0xFFF else _SHORT_HEADER_NBITS
    header = int.from_bytes(encoded[:24], "little") & ((1 << header_nbits) - 1)
    words = struct.unpack("<6I", header.to_bytes(24, "little"))[: -(-header_nbits // 32)]

    def encode(data: Buffer) -> Buffer:
        """Compress one chunk and remove the header from its stream."""
        encoded = np.frombuffer(compress(np.frombuffer(data, dtype).reshape(shape)), np.uint8)
        stream = encoded[header_nbits // 8 :]
        # ZFP reads whole 64-bit words.
        whole = np.zeros(-(-len(stream) // 8) * 8, np.uint8)
        whole[: len(stream)] = stream
        if header_nbits % 8:  # 148 bits: half a byte of the header remains
            whole >>= np.uint8(4)
            whole[: len(stream) - 1] |= stream[1:] << np.uint8(4)
        return whole.data

    return (_VERSIONS, *words), encode


def _mode(values: Values) -> tuple[str, Any]:
    mode, number = (values[0] if values else 0), 0.0
    if len(values) >= 4:
        number = struct.unpack("<d", struct.pack("<2I", *values[2:4]))[0]
    if not values:
        return "expert", _DEFAULT_EXPERT
    if mode == _REVERSIBLE:
        return "reversible", None
    if mode == _RATE and number > 0:
        return "rate", number
    if mode == _PRECISION and len(values) >= 3:
        return "precision", values[2]
    if mode == _ACCURACY and len(values) >= 4:
        return "accuracy", number
    if mode == _EXPERT and len(values) == 6:
        return "expert", values[2:6]
    raise FilterError(f"zfp: unknown mode in the client values {values}", values=values)


ROW = FilterRow(
    filter_id=32013,
    keyword="zfp",
    set_up=_set_up,
    given_values=None,
    name="H5Z-ZFP-1.1.1 (ZFP-1.0.1)",
    is_lossy=True,
    package="imagecodecs",
    example_values=(_REVERSIBLE, 0, 0, 0, 0, 0),
)
