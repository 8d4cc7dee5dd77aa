"""The deflate filter (1): zlib streams, by the best engine for each level.

``compression_opts`` has the same meaning as in h5py: 0 to 9, higher is smaller. The engines were
chosen by measurement (``tests/benchmarks/deflate_levels.py``; table in ``docs/filters.md``):

* 0: stored blocks, by zlib.
* 1 to 4: ISA-L (package ``isal``), about ten times as fast as zlib level 4; files are 1 to 3 % larger than zlib
  level 4's on measured fields. Size and bytes of a chunk choose the setting (`deflate_settings`). In large chunks,
  noise is stored uncompressed (`deflate_stretches`).
* 5 to 9: the smaller result of libdeflate (package ``deflate``) and of ISA-L with the shortest blocks.
  libdeflate wins on smooth data; short blocks win, by up to a quarter, where values are noise
  without matches (photon counts), and take less time than libdeflate.

Every stream is an ordinary zlib stream. Both packages release the GIL.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from streamh5.errors import FilterError, FormatError
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
from streamh5.filters.deflate_stretches import isal_compressor

igzip_lib: Any
inflater: Any
libdeflate: Any
try:
    from isal import igzip_lib
    from isal import isal_zlib as inflater
except ImportError:  # no wheel for this platform
    igzip_lib, inflater = None, zlib
try:
    import deflate as libdeflate
except ImportError:
    libdeflate = None

# h5py's DEFAULT_GZIP.
DEFAULT_LEVEL = 4

# Bytes inflated in one step, so that a damaged chunk cannot make the decoder allocate more than it is allowed.
_PIECE_NBYTES = 1 << 20

# No deflate stream is smaller: 258 bytes in two bits.
_MAX_RATIO = 1032

# tests/benchmarks/deflate_levels.py
_ISAL_LEVELS = {1: (1,), 2: (1,), 3: (1, 2), 4: (1, 2)}
_LIBDEFLATE_LEVELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 8: 10, 9: 12}


class SlowCodecWarning(UserWarning):
    """A fast codec package is missing, and a slower one is used instead."""


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    if len(values) > 1:
        raise FilterError(f"gzip accepts one level, not {values}", values=values)
    (level,) = values or (DEFAULT_LEVEL,)
    if level not in range(10):
        raise FilterError(f"gzip level must be an integer from 0 to 9, not {level!r}", level=level)
    level = int(level)  # it may be one of numpy's integers
    _warn_of_slow_engine(level)
    return (level,), deflate_encoder(level)


def deflate_engine(level: int) -> str:
    """Return the name of the engine that makes the zlib streams of one level on this machine.

    Parameters
    ----------
    level
        ``compression_opts`` of gzip, 0 to 9.

    Returns
    -------
    str
        Packages and their settings, for example ``"isal 1 or 2"`` or ``"libdeflate 6 or isal 1 min"``.

    Examples
    --------
    >>> from streamh5.filters import deflate_engine
    >>> engine = deflate_engine(4)
    """
    return " or ".join(_engines(level))


def deflate_encoder(level: int) -> Encode:
    """Return a function that makes the zlib streams of one level on this machine, without the GIL."""
    first, *others = _engines(level).values()
    return (lambda chunk: min(first(chunk), *(one(chunk) for one in others), key=len)) if others else first


def _engines(level: int) -> dict[str, Encode]:
    """Return the engines of one level by their names; if there are two, the smaller stream is used."""
    compress: Any = zlib.compress  # typeshed describes buffers by a protocol of Python 3.12
    engines: dict[str, Encode] = {}
    if libdeflate is not None and level > (0 if igzip_lib is None else 4):
        libdeflate_level = _LIBDEFLATE_LEVELS[level]
        engines[f"libdeflate {libdeflate_level}"] = lambda chunk: libdeflate.zlib_compress(
            chunk, libdeflate_level
        )
    if level > 0 and igzip_lib is not None and (level <= 4 or engines):
        if level in _ISAL_LEVELS:
            isal_levels = _ISAL_LEVELS[level]
            engines[f"isal {' or '.join(map(str, isal_levels))}"] = isal_compressor(isal_levels)
        else:
            engines["isal 1 min"] = _short_blocks
    return engines or {f"zlib {level}": lambda chunk: compress(chunk, level)}


def _short_blocks(chunk: Buffer) -> Buffer:
    stream: bytes = igzip_lib.compress(chunk, 1, igzip_lib.COMP_ZLIB, igzip_lib.MEM_LEVEL_MIN)
    return stream


def _warn_of_slow_engine(level: int) -> None:
    missing = igzip_lib if level <= 4 else libdeflate
    if level == 0 or missing is not None:
        return
    package = "isal" if level <= 4 else "deflate"
    # Python shows one message once per place, so this one appears once for each level.
    warnings.warn(
        f"gzip level {level} is compressed by {deflate_engine(level)} because the package {package!r} is not"
        f" installed; 'pip install {package}' makes it several times as fast",
        SlowCodecWarning,
        stacklevel=4,
    )


def _decode(data: Bytes, most: int, values: Values) -> Bytes:
    """Inflate one chunk.

    libdeflate takes half the time of zlib (tests/benchmarks, rechunk --codecs). It does not tell what is wrong with a
    stream, nor where it ends, so zlib has the last word on all but those that end with the Adler-32 of their content.
    """
    if libdeflate is not None:
        try:
            fast: Bytes = memoryview(libdeflate.zlib_decompress(data, min(most, _MAX_RATIO * len(data))))
        except libdeflate.DeflateError:
            pass
        else:
            if data[-4:] == inflater.adler32(fast).to_bytes(4, "big"):
                return fast
    whole = bytearray()
    _inflate(data, most, whole.extend)
    return memoryview(whole)


def _inflate(data: Bytes, most: int, keep: Callable[[bytes], object] | None = None) -> int:
    """Inflate a zlib stream piece by piece and return its size."""
    # ISA-L would need half the time, but it accepts incomplete Huffman codes, which zlib, and so HDF5, refuse.
    stream = zlib.decompressobj()
    nbytes = 0
    for start in range(0, len(data), _PIECE_NBYTES):
        rest: Bytes = data[start : start + _PIECE_NBYTES]
        while not stream.eof:
            piece = stream.decompress(rest, _PIECE_NBYTES)
            nbytes += len(piece)
            if nbytes > most:
                raise FormatError(f"decodes to more than the allowed {most:,} bytes")
            if keep is not None:
                keep(piece)
            rest = stream.unconsumed_tail
            if not rest and len(piece) < _PIECE_NBYTES:
                break
        if stream.eof:
            n_behind = len(stream.unused_data) + max(0, len(data) - start - _PIECE_NBYTES)
            if n_behind:
                raise FormatError(f"{n_behind:,} bytes follow the end of its zlib stream", nbytes=nbytes)
            return nbytes
    raise FormatError(f"its zlib stream ends too early, after {nbytes:,} bytes")


def _from_zarr(config: Mapping[str, Any], chunk: RawChunk) -> Values:
    level = config.get("level", 1)
    return (level if level in range(10) else 6,)  # -1 means zlib's default, 6


def _accept_zlib(data: memoryview, nbytes: int | None) -> Buffer | None:
    """Accept a zlib stream by its two header bytes (RFC 1950, 2.2): deflate, no dictionary."""
    is_zlib = len(data) > 2 and data[0] & 15 == 8 and not data[1] & 32 and (data[0] << 8 | data[1]) % 31 == 0
    return data if is_zlib else None


def _accept_gzip(data: memoryview, nbytes: int | None) -> Buffer | None:
    """Put the deflate body of one gzip member (RFC 1952) into a zlib stream.

    A zlib stream ends with the Adler-32 of the content, a gzip member with its CRC-32. So the body must be inflated,
    which takes a fifth of the time of compressing it again, and also checks it.
    """
    if len(data) < 18 or bytes(data[:4]) != b"\x1f\x8b\x08\x00":
        return None
    inflate = inflater.decompressobj(-15)
    try:
        raw = inflate.decompress(data[10:])
    except inflater.error:
        return None
    crc, size = struct.unpack("<II", data[-8:])
    if not inflate.eof or len(inflate.unused_data) != 8 or nbytes not in (None, len(raw)):
        return None
    if size != len(raw) & 0xFFFFFFFF or crc != inflater.crc32(raw):
        return None
    return b"".join((b"\x78\x9c", data[10:-8], inflater.adler32(raw).to_bytes(4, "big")))


ROW = FilterRow(
    filter_id=1,
    keyword="gzip",
    set_up=_set_up,
    name="deflate",
    aliases=("zlib",),  # netCDF4-python's and zarr's word for the same stream
    is_named_by_h5py=True,
    wants_shuffle=True,
    default_values=(DEFAULT_LEVEL,),
    options=lambda level: (level,),
    decode=_decode,
    decoded_nbytes=lambda data, most, values: _inflate(data, most),
    is_checksummed=True,  # zlib streams end with an Adler-32
    numcodecs=lambda values: {"id": "zlib", "level": value_at(values, 0, 1)},
    zarr=(
        ZarrCodec("zlib", _from_zarr, _accept_zlib),
        ZarrCodec("gzip", _from_zarr, _accept_gzip, is_reframed=True),
    ),
    netcdf=NetcdfWords("zlib", ("zlib", "gzip")),
)
