"""The LZF filter (32000) of h5py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer
from streamh5.filters.codec_package import codec_package
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["Lzf"]

# H5PY_FILTER_LZF_VERSION and LZF_VERSION, which h5py's lzf_set_local writes first.
_VERSIONS = (4, 0x0105)


@dataclass(frozen=True, slots=True)
class Lzf:
    """One LZF stream a chunk, by imagecodecs, outside the GIL (h5py's ``lzf_filter.c``).

    Raises
    ------
    MissingCodecError
        If imagecodecs is not installed.
    """

    client_values: tuple[int, ...]
    filter_id: ClassVar[int] = 32000
    name: ClassVar[str] = "lzf"
    optional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        codec_package("imagecodecs", "lzf")

    @classmethod
    def from_values(cls, values: tuple[int, ...], chunk: RawChunk) -> Lzf:
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
