"""The Blosc filter (32001): Blosc 1 containers, by numcodecs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numcodecs import blosc as _blosc

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["Blosc"]

_compress: Any = _blosc.compress

# BLOSC_BLOSCLZ ... BLOSC_ZSTD of blosc.h, by number.
_CODECS = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")
_WRITABLE = tuple(_blosc.list_compressors())
# FILTER_BLOSC_VERSION and BLOSC_VERSION_FORMAT, which blosc_set_local writes first.
_VERSIONS = (2, 2)
# Level, shuffle and codec that blosc_filter uses where the file has none: 5, bytes, BloscLZ.
_DEFAULTS = (5, 1, 0)
_MAX_CHUNK_NBYTES = 0x7FFFFFFF - 16  # BLOSC_MAX_BUFFERSIZE
_MAX_TYPE_NBYTES = 255  # BLOSC_MAX_TYPESIZE; a larger element counts as bytes


@dataclass(frozen=True, slots=True)
class Blosc:
    """Blosc 1 with any of its codecs and shuffles (``blosc_filter.c``).

    numcodecs runs a call from a worker thread on that thread alone, in a context of its own, outside
    the GIL. A call from the main thread uses numcodecs' own Blosc threads and its lock.

    Raises
    ------
    FilterError
        If the codec, the level or the shuffle is unknown, the codec is not in numcodecs' Blosc, or the
        chunk is 2 GiB or more.
    """

    client_values: tuple[int, ...]
    filter_id: ClassVar[int] = 32001
    name: ClassVar[str] = "blosc"
    optional: ClassVar[bool] = True

    @classmethod
    def from_values(cls, values: tuple[int, ...], chunk: RawChunk) -> Blosc:
        """Set the filter up as ``blosc_set_local`` does: the first four values are its own."""
        chunk.limit_nbytes(_MAX_CHUNK_NBYTES, "blosc")
        type_nbytes = chunk.dtype.base.itemsize
        local = (*_VERSIONS, type_nbytes if type_nbytes <= _MAX_TYPE_NBYTES else 1, chunk.nbytes)
        return cls(local + values[4:] + _DEFAULTS[max(0, len(values) - 4) :])

    def __post_init__(self) -> None:
        if len(self.client_values) != 7:
            raise FilterError(
                f"blosc takes at most 7 client values, not {len(self.client_values)}",
                values=self.client_values,
            )
        if not (self.level in range(10) and self.shuffle in range(3) and self.codec_number in range(6)):
            raise FilterError(
                f"blosc takes a level from 0 to 9, a shuffle from 0 to 2 and a codec from 0 to 5,"
                f" not {self.client_values[4:]}",
                values=self.client_values,
            )
        codec = _CODECS[self.codec_number]
        if codec not in _WRITABLE:
            raise FilterError(
                f"numcodecs' Blosc has no codec {codec!r}; it has {', '.join(_WRITABLE)}", codec=codec
            )

    @property
    def level(self) -> int:
        """Compression level."""
        return self.client_values[4]

    @property
    def shuffle(self) -> int:
        """0 none, 1 bytes, 2 bits."""
        return self.client_values[5]

    @property
    def codec_number(self) -> int:
        """Number of the codec in blosc.h."""
        return self.client_values[6]

    def encode(self, chunk: Buffer) -> Buffer:
        """Compress one chunk into one container."""
        codec = _CODECS[self.codec_number].encode()
        container: bytes = _compress(
            chunk, codec, self.level, self.shuffle, 0, typesize=self.client_values[2]
        )
        return container
