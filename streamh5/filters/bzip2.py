"""The bzip2 filter (307)."""

from __future__ import annotations

import bz2
from dataclasses import dataclass
from typing import Any, ClassVar

from streamh5.errors import FilterError, FormatError
from streamh5.filters.base import (
    Buffer,
    Bytes,
    NetcdfCompression,
    RegisteredFilter,
    Values,
    ZarrCodec,
    value_at,
)

__all__ = ["ROW", "Bzip2"]

_compress: Any = bz2.compress  # typeshed knows buffers by a protocol of Python 3.12


@dataclass(frozen=True, slots=True)
class Bzip2:
    """One bzip2 stream a chunk, by the standard library, outside the GIL.

    Raises
    ------
    FilterError
        If the block size is not from 1 to 9 (times 100 kB), or there is more than it.
    """

    client_values: Values
    filter_id: ClassVar[int] = 307

    def __post_init__(self) -> None:
        if len(self.client_values) != 1 or self.client_values[0] not in range(1, 10):
            raise FilterError(
                f"bzip2 takes one block size from 1 to 9, not {self.client_values}", values=self.client_values
            )

    def encode(self, chunk: Buffer) -> Buffer:
        """Compress one chunk."""
        stream: bytes = _compress(chunk, self.client_values[0])
        return stream


def _decode(data: Bytes, most: int, values: Values) -> bytes:
    stream = bz2.BZ2Decompressor()
    try:
        decoded = stream.decompress(data, most + 1)
    except (OSError, EOFError) as error:
        raise FormatError(f"its bzip2 stream is damaged: {error}") from error
    if len(decoded) > most or not stream.eof or stream.unused_data:
        raise FormatError("its bzip2 stream does not end where the chunk ends")
    return decoded


ROW = RegisteredFilter(
    filter_id=Bzip2.filter_id,
    keyword="bzip2",
    build=lambda values, chunk: Bzip2(values or (9,)),
    name="bzip2",
    wants_shuffle=True,
    default_values=(9,),
    decode=_decode,
    is_checksummed=True,  # a CRC-32 of every block
    numcodecs=lambda values: {"id": "bz2", "level": value_at(values, 0, 9)},
    zarr=(
        ZarrCodec(
            "bz2",
            lambda config, chunk: Bzip2((config.get("level", 1),)),
            lambda data, nbytes: data if bytes(data[:3]) == b"BZh" else None,
        ),
    ),
    netcdf=NetcdfCompression("bzip2", ("bzip2",)),
)
