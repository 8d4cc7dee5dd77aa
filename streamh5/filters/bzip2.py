"""The bzip2 filter (307): one bzip2 stream per chunk, by the standard library, without the GIL."""

from __future__ import annotations

import bz2
from typing import Any

from streamh5.errors import FilterError, FormatError
from streamh5.filters.base import Bytes, Encode, FilterRow, NetcdfWords, RawChunk, Values, ZarrCodec, value_at

_compress: Any = bz2.compress  # typeshed describes buffers by a protocol of Python 3.12


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    values = values or (9,)
    if len(values) != 1 or values[0] not in range(1, 10):
        raise FilterError(f"bzip2 accepts one block size from 1 to 9, not {values}", values=values)
    return values, lambda data: _compress(data, values[0])


def _decode(data: Bytes, most: int, values: Values) -> bytes:
    stream = bz2.BZ2Decompressor()
    decoded = stream.decompress(data, most + 1)
    if len(decoded) > most or not stream.eof or stream.unused_data:
        raise FormatError("its bzip2 stream does not end where the chunk ends")
    return decoded


def _accept(data: memoryview, nbytes: int | None) -> memoryview | None:
    return data if bytes(data[:3]) == b"BZh" else None


ROW = FilterRow(
    filter_id=307,
    keyword="bzip2",
    set_up=_set_up,
    wants_shuffle=True,
    default_values=(9,),
    decode=_decode,
    is_checksummed=True,  # a CRC-32 of every block
    numcodecs=lambda values: {"id": "bz2", "level": value_at(values, 0, 9)},
    zarr=(ZarrCodec("bz2", lambda config, chunk: (config.get("level", 1),), _accept),),
    netcdf=NetcdfWords("bzip2", ("bzip2",)),
)
