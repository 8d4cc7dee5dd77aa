"""The LZF filter (32000) of h5py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer, RegisteredFilter, Values
from streamh5.filters.codec_package import codec_package
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["ROW", "Lzf"]

# H5PY_FILTER_LZF_VERSION and LZF_VERSION, which h5py's lzf_set_local writes first.
_VERSIONS = (4, 0x0105)


@dataclass(frozen=True, slots=True)
class Lzf:
    """One LZF stream a chunk, by imagecodecs, outside the GIL (h5py's ``lzf_filter.c``)."""

    client_values: Values
    filter_id: ClassVar[int] = 32000

    @classmethod
    def from_values(cls, values: Values, chunk: RawChunk) -> Lzf:
        """Set the filter up; it has no options.

        Raises
        ------
        FilterError
            If there are client values.
        """
        if values:
            raise FilterError(f"lzf takes no options, not {values}", values=values)
        return cls((*_VERSIONS, chunk.nbytes))

    def encode(self, chunk: Buffer) -> Buffer:
        """Compress one chunk."""
        stream: bytes = codec_package("imagecodecs", "lzf").lzf_encode(chunk)
        return stream


ROW = RegisteredFilter(
    filter_id=Lzf.filter_id,
    keyword="lzf",
    build=Lzf.from_values,
    name="lzf",
    is_named_by_h5py=True,
    wants_shuffle=True,
    package="imagecodecs",
)
