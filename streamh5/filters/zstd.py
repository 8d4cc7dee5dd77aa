"""The Zstandard filter (32015) of the HDF Group's plugins: one frame with its content size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numcodecs import zstd as _zstd

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["DEFAULT_LEVEL", "MIN_LEVEL", "Zstd"]

# ZSTD_CLEVEL_DEFAULT; ZSTD_minCLevel() and ZSTD_maxCLevel().
DEFAULT_LEVEL = 3
MIN_LEVEL, MAX_LEVEL = -(1 << 17), 22

_compress: Any = _zstd.compress


@dataclass(frozen=True, slots=True)
class Zstd:
    """One Zstandard frame a chunk, by numcodecs, outside the GIL.

    The plugin's reader needs the content size in the frame header, which a one-shot call writes.

    Raises
    ------
    FilterError
        If the level is not one of the codec's, -131072 to 22, or there is more than a level.
    """

    client_values: tuple[int, ...] = (DEFAULT_LEVEL,)
    filter_id: ClassVar[int] = 32015
    name: ClassVar[str] = (
        "HDF5 zstd filter; see https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md"
    )
    optional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if len(self.client_values) != 1 or self.level not in range(MIN_LEVEL, MAX_LEVEL + 1):
            given = tuple(map(_signed, self.client_values))
            raise FilterError(
                f"zstd takes one level from {MIN_LEVEL} to {MAX_LEVEL}, not {given}",
                values=self.client_values,
            )

    @classmethod
    def from_values(cls, values: tuple[int, ...], chunk: RawChunk) -> Zstd:
        """Set the filter up from the client values that the user gave."""
        return cls(values or (DEFAULT_LEVEL,))

    @classmethod
    def from_level(cls, level: int) -> Zstd:
        """Set the filter up for a level, clipped to what the codec has, as the codec itself does."""
        return cls((min(max(level, MIN_LEVEL), MAX_LEVEL) % (1 << 32),))

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
