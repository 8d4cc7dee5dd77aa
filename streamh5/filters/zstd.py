"""The Zstandard filter (32015) of the HDF Group's plugins: one frame with its content size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numcodecs import zstd as _zstd

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["Zstd"]

_compress: Any = _zstd.compress


@dataclass(frozen=True, slots=True)
class Zstd:
    """One Zstandard frame a chunk, by numcodecs, outside the GIL.

    The plugin's reader needs the content size in the frame header, which a one-shot call writes.

    Raises
    ------
    FilterError
        If the level is not from 1 to 22, or there is more than a level.
    """

    client_values: tuple[int, ...] = (3,)
    filter_id: ClassVar[int] = 32015
    name: ClassVar[str] = (
        "HDF5 zstd filter; see https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md"
    )
    optional: ClassVar[bool] = True
    reduces: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if len(self.client_values) > 1 or self.level not in range(1, 23):
            raise FilterError(
                f"zstd takes one level from 1 to 22, not {self.client_values}", values=self.client_values
            )

    @classmethod
    def from_values(cls, values: tuple[int, ...], chunk: RawChunk) -> Zstd:
        """Set the filter up from the client values that the user gave."""
        return cls(values)

    @property
    def level(self) -> int:
        """Compression level, 3 unless given."""
        return self.client_values[0] if self.client_values else 3

    def encode(self, chunk: Buffer) -> Buffer:
        """Compress one chunk into one frame."""
        frame: bytes = _compress(chunk, self.level)
        return frame
