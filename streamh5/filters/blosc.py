"""The Blosc filter (32001): Blosc 1 containers, by numcodecs (``blosc_filter.c``).

Called from a worker thread, numcodecs uses that thread only, with a context of its own and without the GIL. Called
from the main thread, it uses its own Blosc threads and a lock.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
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

# BLOSC_BLOSCLZ ... BLOSC_ZSTD of blosc.h, by number.
_CODECS = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")
_NETCDF_CODECS = {"blosc_lz": 0, "blosc_lz4": 1, "blosc_lz4hc": 2, "blosc_zlib": 4, "blosc_zstd": 5}
_ZARR_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2, 0: 0, 1: 1, 2: 2}
# FILTER_BLOSC_VERSION and BLOSC_VERSION_FORMAT, which blosc_set_local writes first.
_VERSIONS = (2, 2)
# Level, shuffle and codec that blosc_filter uses if the file has none: 5, bytes, BloscLZ.
_DEFAULTS = (5, 1, 0)
_MAX_CHUNK_NBYTES = 0x7FFFFFFF - 16  # BLOSC_MAX_BUFFERSIZE
# Header of a container: version, three bytes, then raw size, block size and stored size.
_HEADER = struct.Struct("<B3xIII")
_MAX_TYPE_NBYTES = 255  # BLOSC_MAX_TYPESIZE


@cache
def _blosc() -> Any:
    from numcodecs import blosc  # here, so that only who needs it waits for the import

    return blosc


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    """Set the filter up as ``blosc_set_local`` does: it computes the first four values."""
    chunk.limit_nbytes(_MAX_CHUNK_NBYTES, "blosc")
    if len(values) > 7:
        raise FilterError(f"blosc accepts at most 7 client values, not {len(values)}", values=values)
    level, shuffle, number = values[4:] + _DEFAULTS[max(0, len(values) - 4) :]
    if not (level in range(10) and shuffle in range(3) and number in range(6)):
        raise FilterError(
            f"blosc accepts a level from 0 to 9, a shuffle from 0 to 2 and a codec from 0 to 5,"
            f" not {(level, shuffle, number)}",
            values=values,
        )
    codec = _CODECS[number]
    writable = _blosc().list_compressors()
    if codec not in writable:
        raise FilterError(
            f"Blosc of numcodecs has no codec {codec!r}; use one of {', '.join(writable)}", codec=codec
        )
    type_nbytes = shuffled_nbytes(chunk)
    codec_name, compress = codec.encode(), _blosc().compress
    return (
        (*_VERSIONS, type_nbytes, chunk.nbytes, level, shuffle, number),
        lambda data: compress(data, codec_name, level, shuffle, 0, typesize=type_nbytes),
    )


def shuffled_nbytes(chunk: RawChunk) -> int:
    """Return the element size that Blosc shuffles by: that of the dtype, or 1 if it is too large."""
    nbytes = chunk.dtype.base.itemsize
    return nbytes if nbytes <= _MAX_TYPE_NBYTES else 1


def _decode(data: Bytes, most: int, values: Values) -> bytes:
    if len(data) < _HEADER.size:
        raise FormatError(f"{len(data)} bytes are too few for a Blosc chunk")
    _, nbytes, _, stored_nbytes = _HEADER.unpack_from(data)
    if nbytes > most or stored_nbytes != len(data):
        raise FormatError(
            f"its Blosc header declares {stored_nbytes:,} stored and {nbytes:,} raw bytes, not "
            f"{len(data):,} and at most {most:,}"
        )
    return bytes(_blosc().decompress(data))


def _numcodecs(values: Values) -> dict[str, Any]:
    # These only matter for encoding: a Blosc container says itself how to decode it.
    codec = value_at(values, 6, 0)
    return {
        "id": "blosc",
        "cname": _CODECS[codec] if codec < len(_CODECS) else _CODECS[0],
        "clevel": min(value_at(values, 4, 5), 9),
        "shuffle": value_at(values, 5, 1),
        "blocksize": 0,
    }


def _from_zarr(config: Mapping[str, Any], chunk: RawChunk) -> Values:
    """Return the client values of a codec; its automatic shuffle (-1, or none given) is by bits for single bytes."""
    shuffle = _ZARR_SHUFFLES.get(config["shuffle"], 2 if chunk.dtype.itemsize == 1 else 1)
    return (0, 0, 0, 0, config["clevel"], shuffle, _CODECS.index(config["cname"]))


def _accept(data: memoryview, nbytes: int | None) -> Buffer | None:
    if len(data) < _HEADER.size:
        return None
    version, raw_nbytes, _, stored_nbytes = _HEADER.unpack_from(data)
    is_good = version <= _VERSIONS[1] and stored_nbytes == len(data) and nbytes in (None, raw_nbytes)
    return data if is_good else None


def _netcdf_keywords(name: str, level: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    described = given.get("blosc")  # a dictionary if netCDF4-python describes a variable that it has read
    shuffle = described.get("shuffle") if isinstance(described, dict) else given.get("blosc_shuffle")
    values = (0, 0, 0, 0, level, 1 if shuffle is None else shuffle, _NETCDF_CODECS[name])
    return {"compression_opts": values, "shuffle": False}


ROW = FilterRow(
    filter_id=32001,
    keyword="blosc",
    set_up=_set_up,
    default_values=(0, 0, 0, 0, 5, 1, 1),
    decode=_decode,
    numcodecs=_numcodecs,
    zarr=(ZarrCodec("blosc", _from_zarr, _accept),),
    netcdf=NetcdfWords("blosc", tuple(_NETCDF_CODECS), _netcdf_keywords),
)
