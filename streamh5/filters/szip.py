"""The szip filter (4): szip streams, each after its raw size, by libaec in imagecodecs, without the GIL."""

from __future__ import annotations

import operator
import struct
from collections.abc import Mapping
from typing import Any

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer, Encode, FilterRow, NetcdfWords, RawChunk, Values

# Option masks of szlib.h, by H5Pset_szip and H5Z__set_local_szip.
ENTROPY_CODING, _NEAREST_NEIGHBOR = 4, 32
_ALLOW_K13, _CHIP, _LSB, _MSB, _RAW = 1, 2, 8, 16, 128
# h5py's words for the masks.
_METHODS = {"ec": ENTROPY_CODING, "nn": _NEAREST_NEIGHBOR}
_MAX_PIXELS_PER_BLOCK, _MAX_BLOCKS_PER_SCANLINE = 32, 128


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    """Set the filter up from an option mask and pixels per block, as ``H5Z__set_local_szip`` does."""
    import imagecodecs

    mask, pixels_per_block = values if len(values) == 2 else (0, 0)
    if not mask & (ENTROPY_CODING | _NEAREST_NEIGHBOR):
        raise FilterError(
            f"szip accepts an option mask with 4 (ec) or 32 (nn) and pixels per block, not {values}",
            values=values,
        )
    if pixels_per_block % 2 or not 0 < pixels_per_block <= _MAX_PIXELS_PER_BLOCK:
        raise FilterError(
            f"szip accepts an even number of pixels per block up to {_MAX_PIXELS_PER_BLOCK},"
            f" not {pixels_per_block}",
            pixels_per_block=pixels_per_block,
        )
    if chunk.n_elements < pixels_per_block:
        raise FilterError(
            f"szip needs {pixels_per_block} elements for one block; a chunk {chunk.chunks} has"
            f" {chunk.n_elements}",
            pixels_per_block=pixels_per_block,
            chunks=chunk.chunks,
        )
    chunk.require("iufb", (1, 2, 4, 8), "szip")
    mask = mask & ~(_CHIP | _LSB | _MSB) | _ALLOW_K13 | _RAW | (_MSB if chunk.is_big_endian else _LSB)
    pixels = chunk.chunks[-1] if chunk.chunks[-1] >= pixels_per_block else chunk.n_elements
    pixels_per_scanline = min(pixels, pixels_per_block * _MAX_BLOCKS_PER_SCANLINE)
    client_values = (mask, pixels_per_block, 8 * chunk.dtype.itemsize, pixels_per_scanline)

    def encode(data: Buffer) -> Buffer:
        return struct.pack("<I", len(data)) + bytes(imagecodecs.szip_encode(data, *client_values))

    return client_values, encode


def _values(options: Any) -> Values:
    """Return the client values of h5py's options such as ``("nn", 8)``."""
    try:
        method, pixels_per_block = options
        return _METHODS[method], operator.index(pixels_per_block)
    except (KeyError, TypeError, ValueError):
        raise FilterError(
            f"szip accepts ('ec' or 'nn', an even number of pixels up to 32), not {options!r}",
            compression_opts=options,
        ) from None


def _netcdf_keywords(name: str, level: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    if given.get("compression_opts") is not None:
        return {}
    described = given.get("szip")
    if isinstance(described, dict):  # how netCDF4-python describes a variable that it has read
        return {"compression_opts": (described["coding"], described["pixels_per_block"])}
    options = given.get("szip_coding", "nn"), given.get("szip_pixels_per_block", 8)
    return {"compression_opts": options}


ROW = FilterRow(
    filter_id=4,
    keyword="szip",
    set_up=_set_up,
    given_values=lambda values: values[:2],
    is_named_by_h5py=True,
    package="imagecodecs",
    default_values=(_NEAREST_NEIGHBOR, 8),  # h5py's DEFAULT_SZIP
    options=_values,
    netcdf=NetcdfWords("szip", ("szip",), _netcdf_keywords),
)
