"""The fletcher32 filter (3): four checksum bytes behind every chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numcodecs.fletcher32 import Fletcher32 as _NumcodecsFletcher32

from streamh5.filters.base import Buffer

__all__ = ["Fletcher32"]

# numcodecs computes what H5_checksum_fletcher32 does, odd lengths and the two zeros of ones'
# complement sums included (tests/filters/test_fletcher32.py). It holds the GIL, at 3 to 5 GB/s.
_append_checksum = _NumcodecsFletcher32().encode


@dataclass(frozen=True, slots=True)
class Fletcher32:
    """Fletcher checksum of the bytes as stored, appended little-endian (``H5Zfletcher32.c``)."""

    filter_id: ClassVar[int] = 3
    name: ClassVar[str] = "fletcher32"
    # H5Pset_fletcher32 adds it with H5Z_FLAG_MANDATORY.
    optional: ClassVar[bool] = False
    client_values: ClassVar[tuple[int, ...]] = ()

    def encode(self, chunk: Buffer) -> Buffer:
        """Copy one chunk and append its checksum; holds the GIL."""
        return memoryview(_append_checksum(chunk)).cast("B")
