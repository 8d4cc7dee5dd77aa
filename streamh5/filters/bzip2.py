"""The bzip2 filter (307)."""

from __future__ import annotations

import bz2
from dataclasses import dataclass
from typing import Any, ClassVar

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["Bzip2"]

_compress: Any = bz2.compress


@dataclass(frozen=True, slots=True)
class Bzip2:
    """One bzip2 stream a chunk, by the standard library, outside the GIL.

    Raises
    ------
    FilterError
        If the block size is not from 1 to 9 (times 100 kB), or there is more than it.
    """

    client_values: tuple[int, ...] = (9,)
    filter_id: ClassVar[int] = 307
    name: ClassVar[str] = "bzip2"
    optional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if len(self.client_values) != 1 or self.block_size not in range(1, 10):
            raise FilterError(
                f"bzip2 takes one block size from 1 to 9, not {self.client_values}", values=self.client_values
            )

    @classmethod
    def from_values(cls, values: tuple[int, ...], chunk: RawChunk) -> Bzip2:
        """Set the filter up from the client values that the user gave."""
        return cls(values or (9,))

    @property
    def block_size(self) -> int:
        """Block size in 100 kB."""
        return self.client_values[0]

    def encode(self, chunk: Buffer) -> Buffer:
        """Compress one chunk."""
        stream: bytes = _compress(chunk, self.block_size)
        return stream
