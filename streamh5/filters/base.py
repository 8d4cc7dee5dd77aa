"""What the filters' modules are made of: what a filter is set up for, and the row that says all about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from streamh5.errors import FilterError

Buffer: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
"""Contiguous bytes. ``len()`` of each is its size in bytes: arrays are 1-D, memoryviews of format B."""

Bytes: TypeAlias = bytes | memoryview
"""Stored bytes as they are decoded."""

Values: TypeAlias = tuple[int, ...]
"""Client data values of a filter, ``uint32`` each."""


Encode: TypeAlias = Callable[[Buffer], Buffer]
"""Output of the filter before -> encoded bytes, in new memory or, where there is nothing to do, the same object.

It is called from many threads at once, and does not keep what it is given: that memory is reused.
"""

Decode: TypeAlias = Callable[[Bytes, int, Values], Bytes]
"""Stored bytes, the most bytes that they may give, client values -> the bytes before the filter."""


@dataclass(frozen=True, slots=True)
class RawChunk:
    """Raw chunks of one dataset, as the ``set_local`` functions of HDF5 filters see them.

    Attributes
    ----------
    dtype
        Of the elements as they are stored.
    chunks
        Chunk shape.
    nbytes
        Size of one chunk in bytes.
    fillvalue
        Fill value of the dataset, None for zero.
    """

    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    nbytes: int
    fillvalue: Any = None

    @property
    def n_elements(self) -> int:
        """Elements in one chunk."""
        return math.prod(self.chunks)

    @property
    def is_big_endian(self) -> bool:
        """Whether elements are stored with the most significant byte first."""
        return self.dtype.newbyteorder(">") == self.dtype and self.dtype.itemsize > 1

    def limit_nbytes(self, limit: int, filter_name: str) -> None:
        """Check that a codec can take a chunk of this size.

        Raises
        ------
        FilterError
            If the chunk is larger than ``limit`` bytes.
        """
        if self.nbytes > limit:
            raise FilterError(
                f"filter {filter_name!r} takes chunks of at most {limit} bytes, not {self.nbytes}; use smaller chunks",
                filter=filter_name,
                nbytes=self.nbytes,
                limit=limit,
            )

    def require(self, kinds: str, sizes: tuple[int, ...], filter_name: str) -> None:
        """Check that a filter can encode this dtype.

        Raises
        ------
        FilterError
            If the dtype's kind is not among ``kinds`` or its size not among ``sizes``.
        """
        if self.dtype.kind not in kinds or self.dtype.itemsize not in sizes:
            raise FilterError(
                f"filter {filter_name!r} cannot encode dtype {self.dtype}: it takes kinds {', '.join(kinds)}"
                f" of {', '.join(map(str, sizes))} bytes",
                filter=filter_name,
                dtype=self.dtype,
            )


@dataclass(frozen=True, slots=True)
class ZarrCodec:
    """A codec of zarr 2 or 3 whose chunks a filter of HDF5 undoes.

    Attributes
    ----------
    name
        ``id`` in zarr 2; ``name`` in zarr 3, without the prefix ``numcodecs.``.
    values
        From the configuration of the codec to client values of the filter, as a user would give them.
    accept
        From the stored bytes and their raw size, None where that is not known, to the bytes that HDF5 is to
        hold; None where they are not what they must be. Left out for codecs that do not compress.
    is_reframed
        Whether `accept` puts the compressed data into another frame, so that nothing may follow it.
    """

    name: str
    values: Callable[[Mapping[str, Any], RawChunk], Values]
    accept: Callable[[memoryview, int | None], Buffer | None] | None = None
    is_reframed: bool = False


def _level(name: str, level: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """``complevel`` is the one client value, unless h5netcdf's word is given."""
    return {"compression_opts": level} if given.get("compression_opts") is None else {}


@dataclass(frozen=True, slots=True)
class NetcdfWords:
    """A filter in the words of netCDF4-python.

    Attributes
    ----------
    flag
        Keyword that switches it on in the older style: ``zlib=True``.
    names
        What ``compression=`` calls it; the first stands for the flag.
    keywords
        From one of the names, ``complevel`` and the whole encoding of a variable to those keywords of
        `FilterOptions` that they change.
    """

    flag: str
    names: tuple[str, ...]
    keywords: Callable[[str, Any, Mapping[str, Any]], dict[str, Any]] = _level


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRow:
    """One row of the registry: all that this package knows of a filter.

    It is what ``H5Z_class2_t`` is to the library, with the names of the filter in other formats.

    Attributes
    ----------
    filter_id
        Number in the HDF Group's registry.
    keyword
        ``compression=`` word, or the keyword of its own; also what `inspect` and messages call the filter.
    set_up
        From the user's client values and the raw chunks to the client values that the file is to hold and what
        encodes a chunk (``set_local``). The values are all that any reader asks for, where the user left some out
        the defaults: netCDF-C's zstd and jHDF's bitshuffle do not read a chunk whose pipeline leaves it to them.
        A `FilterError` where they are out of range or the chunks are not what the filter takes.
    name
        Name for the filter pipeline message, where it is not the keyword.
    optional
        Whether a chunk may be stored without this filter (``H5Z_FLAG_OPTIONAL``).
    is_compression
        Whether ``compression=`` takes the keyword and the number.
    aliases
        Other ``compression=`` words for it.
    is_named_by_h5py
        Whether ``Dataset.compression`` of h5py gives the keyword; it gives None for other filters.
    wants_shuffle
        Whether it compresses better behind shuffle: it knows bytes only, not elements.
    is_lossy
        Whether values may come back changed, with some of its options.
    package
        Codec package of the extra ``codecs`` that it needs, None where streamh5's own requirements do. It is
        there when `set_up` is called.
    default_values
        Client values of the keyword without ``compression_opts``.
    example_values
        Client values for a plain use of it on float32; None for `default_values`.
    lowest_value
        Lowest client value that the user may give; a negative one is stored as its two's complement.
    options
        From ``compression_opts`` behind the keyword to client values, None where they are client values.
    decode
        From stored bytes, the most bytes that they may give, and the client values to the bytes before the
        filter. Whatever the stored bytes claim, it must not use more memory than that. Bytes that are not exactly
        one encoded chunk raise `FormatError`, or the error of the codec, which `chunk_decoder` turns into one. None
        where only HDF5 can decode.
    decoded_nbytes
        As `decode`, but only the size; None where it takes decoding.
    added_nbytes
        Bytes by which a chunk grows: 0 for a filter that only moves bytes. None for a compressor.
    is_checksummed
        Whether decoding finds every changed byte, by a checksum in the stored bytes.
    numcodecs
        From client values to the configuration of the numcodecs codec that decodes what HDF5 stores; None
        where there is none.
    zarr
        Codecs of zarr whose stored bytes it takes.
    netcdf
        Its words in netCDF4-python, None where netCDF-C does not write it.
    """

    filter_id: int
    keyword: str
    set_up: Callable[[Values, RawChunk], tuple[Values, Encode]]
    name: str = ""
    optional: bool = True
    is_compression: bool = True
    aliases: tuple[str, ...] = ()
    is_named_by_h5py: bool = False
    wants_shuffle: bool = False
    is_lossy: bool = False
    package: str | None = None
    default_values: Values = ()
    example_values: Values | None = None
    lowest_value: int = 0
    options: Callable[[Any], Values] | None = None
    decode: Decode | None = None
    decoded_nbytes: Callable[[Bytes, int, Values], int] | None = None
    added_nbytes: int | None = None
    is_checksummed: bool = False
    numcodecs: Callable[[Values], dict[str, Any]] | None = None
    zarr: tuple[ZarrCodec, ...] = ()
    netcdf: NetcdfWords | None = None

    @property
    def example(self) -> Values:
        """Client values for a plain use of it on float32."""
        return self.default_values if self.example_values is None else self.example_values


def value_at(values: Values, index: int, default: int) -> int:
    """Return a client value of a file of others, `default` where it holds fewer."""
    return values[index] if len(values) > index else default
