"""The Zstandard filter (32015) of the HDF Group's plugins: one frame per chunk.

Python's own module encodes (``compression.zstd``; before Python 3.14 the package ``backports.zstd``), without the GIL.
A thread keeps the compressor that it used last: a new one for each chunk would cost a third of the time of a chunk of
16 KiB. Both give the same bytes. numcodecs decodes, which takes it a little less time, and encodes large chunks at low
levels: its Zstandard 1.5.6 does not look for the best places to split blocks, which from 1.5.7 on costs up to 17 % of
the time there and shrinks most fields of floats by less than 1 %.

The plugin's reader needs the content size in the frame header. It is there because each chunk is compressed in one
call.
"""

from __future__ import annotations

import sys
import threading
from functools import cache, partial
from typing import Any

from streamh5.errors import FilterError, FormatError, MissingCodecError
from streamh5.filters.base import (
    Buffer,
    Bytes,
    Encode,
    FilterRow,
    NetcdfWords,
    RawChunk,
    Values,
    ZarrCodec,
    value_at,
)

# ZSTD_CLEVEL_DEFAULT; ZSTD_minCLevel() and ZSTD_maxCLevel().
_DEFAULT_LEVEL = 3
_MIN_LEVEL, _MAX_LEVEL = -(1 << 17), 22
_MAGIC = b"\x28\xb5\x2f\xfd"

# Compressors of higher levels hold up to 70 MB. They are not kept: it would save little at 16 KiB and nothing at
# 64 KiB (tests/benchmarks/zstd_levels.py --kept).
_MAX_KEPT_LEVEL = 7

# tests/benchmarks/zstd_levels.py: up to 1 MiB, and at higher levels, Python's module is as fast or makes smaller files.
_NUMCODECS_MAX_LEVEL = 3
_PYTHON_MAX_NBYTES = 1 << 20


class _PerThread(threading.local):
    """Level and compressor that this thread used last."""

    kept: tuple[int | None, Any] = (None, None)


_per_thread = _PerThread()


def zstd_encoder(values: Values, nbytes: int) -> tuple[Values, Encode]:
    """Return the client values of a level, by default 3, and the function that encodes `nbytes` at a time with it.

    Raises
    ------
    FilterError
        The level is out of range, or there is more than one value.
    MissingCodecError
        This Python has no Zstandard.
    """
    levels = tuple(map(_signed, values or (_DEFAULT_LEVEL,)))
    if len(levels) != 1 or levels[0] not in range(_MIN_LEVEL, _MAX_LEVEL + 1):
        raise FilterError(
            f"zstd accepts one level from {_MIN_LEVEL} to {_MAX_LEVEL}, not {levels}", values=values
        )
    level = int(levels[0])  # it may be one of numpy's integers
    encode = partial(_encode, _codec(), level)
    if level <= _NUMCODECS_MAX_LEVEL and nbytes > _PYTHON_MAX_NBYTES:
        encode = partial(_encode_by_numcodecs, level)
    return values or levels, encode


@cache
def _numcodecs_zstd() -> Any:
    from numcodecs import zstd  # here, so that only who needs it waits for the import

    return zstd


def _codec() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        # Not numcodecs instead: the same call would give other bytes.
        raise MissingCodecError(
            "filter 'zstd' needs compression.zstd, which this Python was built without, or before Python 3.14 the"
            " package 'backports.zstd', which is not installed",
            package="backports.zstd",
            filter="zstd",
        ) from error
    return zstd


def _encode(codec: Any, level: int, data: Buffer) -> bytes:
    frame: bytes
    if level > _MAX_KEPT_LEVEL:
        frame = codec.compress(data, level)
        return frame
    kept_level, compressor = _per_thread.kept
    if kept_level != level:
        compressor = codec.ZstdCompressor(level)
        _per_thread.kept = level, compressor
    frame = compressor.compress(data, compressor.FLUSH_FRAME)
    return frame


def _encode_by_numcodecs(level: int, data: Buffer) -> bytes:
    frame: bytes = _numcodecs_zstd().compress(data, level)
    return frame


def _signed(value: int) -> int:
    """Return the level of a client value: negative levels are stored as their two's complement."""
    return value - (1 << 32) if value >= 1 << 31 else value


def _decode(data: Bytes, most: int, values: Values) -> bytes:
    nbytes = _content_nbytes(data)
    if nbytes > most:
        raise FormatError(f"its Zstandard frame declares {nbytes:,} bytes, but at most {most:,} are allowed")
    return bytes(_numcodecs_zstd().decompress(data))


def _content_nbytes(data: Bytes) -> int:
    """Read the frame content size (RFC 8878, 3.1.1.1), without which the HDF5 filter refuses a frame."""
    head = bytes(data[:18])
    if len(head) < 6 or head[:4] != _MAGIC:
        raise FormatError("it is not a Zstandard frame")
    descriptor = head[4]
    is_single_segment = bool(descriptor & 0x20)
    width = (1 if is_single_segment else 0, 2, 4, 8)[descriptor >> 6]
    start = 5 + (not is_single_segment) + (0, 1, 2, 4)[descriptor & 3]
    if not width or len(head) < start + width:
        raise FormatError("its Zstandard frame has no content size")
    return int.from_bytes(head[start : start + width], "little") + (256 if width == 2 else 0)


def _from_zarr(config: Any, chunk: RawChunk) -> Values:
    """Clip the level of a codec to the valid range, as the codec itself does."""
    return (min(max(config.get("level", _DEFAULT_LEVEL), _MIN_LEVEL), _MAX_LEVEL) % (1 << 32),)


def _accept(data: memoryview, nbytes: int | None) -> Buffer | None:
    try:
        return data if nbytes in (None, _content_nbytes(data)) else None
    except FormatError:
        return None


ROW = FilterRow(
    filter_id=32015,
    keyword="zstd",
    set_up=lambda values, chunk: zstd_encoder(values, chunk.nbytes),
    name="HDF5 zstd filter; see https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md",
    wants_shuffle=True,
    default_values=(_DEFAULT_LEVEL,),
    lowest_value=-1 << 31,  # netCDF-C stores negative levels as their two's complement
    decode=_decode,
    numcodecs=lambda values: {"id": "zstd", "level": value_at(values, 0, _DEFAULT_LEVEL)},
    zarr=(ZarrCodec("zstd", _from_zarr, _accept),),
    netcdf=NetcdfWords("zstd", ("zstd",)),
)
