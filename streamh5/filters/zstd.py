"""The Zstandard filter (32015) of the HDF Group's plugins: one frame with its content size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numcodecs import zstd as _zstd

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
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["DEFAULT_LEVEL", "MIN_LEVEL", "ROW", "Zstd"]

# ZSTD_CLEVEL_DEFAULT; ZSTD_minCLevel() and ZSTD_maxCLevel().
DEFAULT_LEVEL = 3
MIN_LEVEL, MAX_LEVEL = -(1 << 17), 22
_MAGIC = b"\x28\xb5\x2f\xfd"

_compress: Any = _zstd.compress  # numcodecs has no types


@dataclass(frozen=True, slots=True)
class Zstd:
    """One Zstandard frame a chunk, by numcodecs, outside the GIL.

    The plugin's reader needs the content size in the frame header, which a one-shot call writes.

    Raises
    ------
    FilterError
        If the level is not one of the codec's, -131072 to 22, or there is more than a level.
    """

    client_values: Values = (DEFAULT_LEVEL,)
    filter_id: ClassVar[int] = 32015

    def __post_init__(self) -> None:
        if len(self.client_values) != 1 or self.level not in range(MIN_LEVEL, MAX_LEVEL + 1):
            given = tuple(map(_signed, self.client_values))
            raise FilterError(
                f"zstd takes one level from {MIN_LEVEL} to {MAX_LEVEL}, not {given}",
                values=self.client_values,
            )

    @property
    def level(self) -> int:
        """Compression level: below 0 it is faster, 0 is the codec's own default."""
        return _signed(self.client_values[0])

    def encode(self, chunk: Buffer) -> Buffer:
        """Compress one chunk into one frame."""
        frame: bytes = _compress(chunk, self.level)
        return frame


def _signed(value: int) -> int:
    """Level of a client value: a level below 0 is stored as its two's complement."""
    return value - (1 << 32) if value >= 1 << 31 else value


def _decode(data: Bytes, most: int, values: Values) -> bytes:
    nbytes = _content_nbytes(data)
    if nbytes > most:
        raise FormatError(f"its Zstandard frame says {nbytes:,} bytes, {most:,} are allowed")
    try:
        return bytes(_zstd.decompress(data))
    except RuntimeError as error:
        raise FormatError(f"its Zstandard frame is damaged: {error}") from error


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
        raise FormatError("its Zstandard frame does not say how large its content is")
    return int.from_bytes(head[start : start + width], "little") + (256 if width == 2 else 0)


def _from_zarr(config: Any, chunk: RawChunk) -> Zstd:
    """Set the filter up for a codec; its level is clipped to what there is, as the codec itself does."""
    level = min(max(config.get("level", DEFAULT_LEVEL), MIN_LEVEL), MAX_LEVEL)
    return Zstd((level % (1 << 32),))


def _accept(data: memoryview, nbytes: int | None) -> Buffer | None:
    try:
        return data if nbytes in (None, _content_nbytes(data)) else None
    except FormatError:
        return None


ROW = RegisteredFilter(
    filter_id=Zstd.filter_id,
    keyword="zstd",
    build=lambda values, chunk: Zstd(values or (DEFAULT_LEVEL,)),
    name="HDF5 zstd filter; see https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md",
    wants_shuffle=True,
    default_values=(DEFAULT_LEVEL,),
    lowest_value=-1 << 31,  # netCDF-C stores levels below 0 so
    decode=_decode,
    numcodecs=lambda values: {"id": "zstd", "level": value_at(values, 0, DEFAULT_LEVEL)},
    zarr=(ZarrCodec("zstd", _from_zarr, _accept),),
    netcdf=NetcdfCompression("zstd", ("zstd",)),
)
