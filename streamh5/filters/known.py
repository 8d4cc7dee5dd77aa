"""Every filter that streamh5 writes, in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streamh5.filters.base import Filter
from streamh5.filters.bitshuffle import Bitshuffle
from streamh5.filters.blosc import Blosc
from streamh5.filters.blosc2 import Blosc2
from streamh5.filters.bzip2 import Bzip2
from streamh5.filters.deflate import Deflate
from streamh5.filters.fletcher32 import Fletcher32
from streamh5.filters.lz4 import Lz4
from streamh5.filters.lzf import Lzf
from streamh5.filters.nbit import Nbit
from streamh5.filters.raw_chunk import RawChunk
from streamh5.filters.scaleoffset import ScaleOffset
from streamh5.filters.shuffle import Shuffle
from streamh5.filters.szip import Szip
from streamh5.filters.zfp import Zfp
from streamh5.filters.zstd import Zstd

__all__ = ["KNOWN_FILTERS", "KnownFilter"]


@dataclass(frozen=True, slots=True)
class KnownFilter:
    """One filter: its number, the keyword that asks for it, and how it is set up.

    Attributes
    ----------
    filter_id
        Registered number.
    keyword
        ``compression=`` word, or the keyword of its own.
    is_compression
        Whether ``compression=`` takes the keyword and the number.
    wants_shuffle
        Whether it compresses better behind shuffle: it knows bytes only, not elements.
    example_values
        Client values for a plain use of it on float32, as the user gives them.
    build
        From the user's client values and the raw chunks to the filter.
    """

    filter_id: int
    keyword: str
    is_compression: bool
    wants_shuffle: bool
    example_values: tuple[int, ...]
    build: Callable[[tuple[int, ...], RawChunk], Filter]


KNOWN_FILTERS: tuple[KnownFilter, ...] = (
    KnownFilter(1, "gzip", True, True, (4,), Deflate.from_values),
    KnownFilter(2, "shuffle", False, False, (), lambda values, chunk: Shuffle(chunk.dtype.itemsize)),
    KnownFilter(3, "fletcher32", False, False, (), lambda values, chunk: Fletcher32()),
    KnownFilter(4, "szip", True, False, (32, 8), Szip.from_values),
    KnownFilter(5, "nbit", True, False, (), Nbit.from_values),
    KnownFilter(6, "scaleoffset", False, False, (0, 3), ScaleOffset.from_values),
    KnownFilter(307, "bzip2", True, True, (9,), Bzip2.from_values),
    KnownFilter(32000, "lzf", True, True, (), Lzf.from_values),
    KnownFilter(32001, "blosc", True, False, (0, 0, 0, 0, 5, 1, 1), Blosc.from_values),
    KnownFilter(32004, "lz4", True, True, (0,), Lz4.from_values),
    KnownFilter(32008, "bitshuffle", True, False, (0, 2), Bitshuffle.from_values),
    KnownFilter(32013, "zfp", True, False, (5, 0, 0, 0, 0, 0), Zfp.from_values),
    KnownFilter(32015, "zstd", True, True, (3,), Zstd.from_values),
    KnownFilter(32026, "blosc2", True, False, (0, 0, 0, 0, 5, 1, 1), Blosc2.from_values),
)
