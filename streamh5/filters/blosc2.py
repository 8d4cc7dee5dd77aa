"""The Blosc2 filter (32026): contiguous Blosc2 frames of one chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer
from streamh5.filters.codec_package import codec_package
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["Blosc2"]

# FILTER_BLOSC2_VERSION, which blosc2_set_local writes first.
_VERSION = 1
_MAX_TYPE_NBYTES = 255  # BLOSC_MAX_TYPESIZE; a larger element counts as bytes
_CODECS = {0: "BLOSCLZ", 1: "LZ4", 2: "LZ4HC", 4: "ZLIB", 5: "ZSTD"}
_FILTERS = ("NOFILTER", "SHUFFLE", "BITSHUFFLE", "DELTA", "TRUNC_PREC")


@dataclass(frozen=True, slots=True)
class Blosc2:
    """One Blosc2 frame a chunk, by python-blosc2, on the calling thread.

    The plugin itself writes a chunk of several dimensions as a B2ND array; its reader takes a plain
    frame as well, and a plain frame is what is written here. The call releases the GIL while it
    compresses, and holds it for about 50 us a chunk around that.

    Raises
    ------
    FilterError
        If the codec, the level or the filter is unknown, or would lose digits (TRUNC_PREC).
    MissingCodecError
        If blosc2 is not installed.
    """

    client_values: tuple[int, ...]
    filter_id: ClassVar[int] = 32026
    name: ClassVar[str] = "blosc2"
    optional: ClassVar[bool] = True
    reduces: ClassVar[bool] = True

    @classmethod
    def from_values(cls, values: tuple[int, ...], chunk: RawChunk) -> Blosc2:
        """Set the filter up as ``blosc2_set_local`` does: it adds type, size and, from 2-D up, shape."""
        if len(values) not in (0, 7):
            raise FilterError(
                f"blosc2 takes 7 client values, the first four unused, not {values}", values=values
            )
        local = (_VERSION, 0, chunk.dtype.base.itemsize, chunk.nbytes)
        shape = (len(chunk.chunks), *chunk.chunks) if len(chunk.chunks) > 1 else ()
        return cls(local + (values[4:] or (5, 1, 0)) + shape)

    def __post_init__(self) -> None:
        level, shuffle, codec = self.client_values[4:7]
        if not (level in range(10) and shuffle in range(4) and codec in _CODECS):
            raise FilterError(
                f"blosc2 takes a level from 0 to 9, a filter from 0 to 3 and a codec of {sorted(_CODECS)},"
                f" not {self.client_values[4:7]}",
                values=self.client_values,
            )
        codec_package("blosc2", "blosc2")

    def encode(self, chunk: Buffer) -> Buffer:
        """Compress one chunk into one frame."""
        blosc2 = codec_package("blosc2", "blosc2")
        type_nbytes, _, level, shuffle, codec = self.client_values[2:7]
        parameters = blosc2.CParams(
            codec=blosc2.Codec[_CODECS[codec]],
            clevel=level,
            typesize=type_nbytes if type_nbytes <= _MAX_TYPE_NBYTES else 1,
            filters=[blosc2.Filter[_FILTERS[shuffle]]],
            filters_meta=[0],
            nthreads=1,
        )
        raw = np.frombuffer(chunk, np.uint8)
        frame: bytes = blosc2.SChunk(
            chunksize=raw.size, data=raw, cparams=parameters, contiguous=True
        ).to_cframe()
        return frame
