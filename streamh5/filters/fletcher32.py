"""The fletcher32 filter (3): a Fletcher checksum at the end of every chunk, little-endian (``H5Zfletcher32.c``)."""

from __future__ import annotations

from functools import cache
from typing import Any

from streamh5.errors import FormatError
from streamh5.filters.base import Buffer, Bytes, FilterRow, Values, ZarrCodec


# numcodecs computes the same as H5_checksum_fletcher32, also for odd lengths and for the two zeros of ones'
# complement sums (tests/filters/test_base_filters.py). It holds the GIL, at 3 to 5 GB/s.
@cache
def _codec() -> Any:
    from numcodecs.fletcher32 import Fletcher32  # here, so that only who needs it waits for the import

    return Fletcher32()


_SIZEOF_CHECKSUM = 4


def _encode(chunk: Buffer) -> Buffer:
    """Copy one chunk and append its checksum; holds the GIL."""
    return memoryview(_codec().encode(chunk)).cast("B")


def _decode(data: Bytes, most: int, values: Values) -> Bytes:
    if len(data) < _SIZEOF_CHECKSUM:
        raise FormatError(f"{len(data)} bytes are too few for a chunk with a Fletcher checksum")
    return memoryview(_codec().decode(data)).cast("B")


ROW = FilterRow(
    filter_id=3,
    keyword="fletcher32",
    set_up=lambda values, chunk: ((), _encode),
    optional=False,  # H5Pset_fletcher32 adds it with H5Z_FLAG_MANDATORY
    is_compression=False,
    decode=_decode,
    added_nbytes=_SIZEOF_CHECKSUM,
    is_checksummed=True,
    numcodecs=lambda values: {"id": "fletcher32"},
    zarr=(ZarrCodec("fletcher32", lambda config, chunk: ()),),
)
