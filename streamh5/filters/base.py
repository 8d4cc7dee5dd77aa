"""What every filter is: an encoder set up for one dataset, and a row that says everything else about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from streamh5.filters.codec_package import codec_package
from streamh5.filters.raw_chunk import RawChunk

__all__ = [
    "Buffer",
    "Bytes",
    "Filter",
    "NetcdfCompression",
    "RegisteredFilter",
    "Values",
    "ZarrCodec",
    "value_at",
]

Buffer: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
"""Contiguous bytes. ``len()`` of each is its size in bytes: arrays are 1-D, memoryviews of format B."""

Bytes: TypeAlias = bytes | memoryview
"""Stored bytes as they are decoded."""

Values: TypeAlias = tuple[int, ...]
"""Client data values of a filter, ``uint32`` each."""


class Filter(Protocol):
    """The encoder of one HDF5 filter, set up for one dataset.

    Implementations are immutable, small when pickled, and their ``encode`` is called from many threads at once.
    """

    @property
    def filter_id(self) -> int:
        """Number of the filter in the HDF Group's registry."""

    @property
    def client_values(self) -> Values:
        """Client data values that the file holds: all that any reader asks for.

        They are those that the filter's ``set_local`` writes, and where the user left some out, the defaults:
        netCDF-C's zstd and jHDF's bitshuffle do not read a chunk whose pipeline leaves it to them.
        """

    def encode(self, chunk: Buffer) -> Buffer:
        """Encode one chunk.

        Parameters
        ----------
        chunk
            Output of the filter before this one. It must not be kept: its memory is reused.

        Returns
        -------
        Buffer
            The encoded bytes, in new memory or, where there is nothing to do, ``chunk`` itself.
        """


@dataclass(frozen=True, slots=True)
class ZarrCodec:
    """A codec of zarr 2 or 3 whose chunks a filter of HDF5 undoes.

    Attributes
    ----------
    name
        ``id`` in zarr 2; ``name`` in zarr 3, without the prefix ``numcodecs.``.
    build
        From the configuration of the codec to the filter that stands for it.
    accept
        From the stored bytes and their raw size, None where that is not known, to the bytes that HDF5 is to
        hold; None where they are not what they must be. Left out for codecs that do not compress.
    is_reframed
        Whether `accept` puts the compressed data into another frame, so that nothing may follow it.
    """

    name: str
    build: Callable[[Mapping[str, Any], RawChunk], Filter]
    accept: Callable[[memoryview, int | None], Buffer | None] | None = None
    is_reframed: bool = False


def _level(name: str, level: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """``complevel`` is the one client value, unless h5netcdf's word is given."""
    return {"compression_opts": level} if given.get("compression_opts") is None else {}


@dataclass(frozen=True, slots=True)
class NetcdfCompression:
    """A filter in the words of netCDF4-python.

    Attributes
    ----------
    flag
        Keyword that switches it on in the older style: ``zlib=True``.
    names
        What ``compression=`` calls it; the first stands for the flag.
    keywords
        From one of the names, ``complevel`` and the whole encoding of a variable to those keywords of
        `chain_from_keywords` that they change.
    """

    flag: str
    names: tuple[str, ...]
    keywords: Callable[[str, Any, Mapping[str, Any]], dict[str, Any]] = _level


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredFilter:
    """One row of the registry: all that this package knows of a filter.

    It is what ``H5Z_class2_t`` is to the library, with the names of the filter in other formats.

    Attributes
    ----------
    filter_id
        Number in the HDF Group's registry.
    keyword
        ``compression=`` word, or the keyword of its own; also what `inspect` and messages call the filter.
    build
        From the user's client values and the raw chunks to the filter (``set_local``).
    name
        Name that goes into the filter pipeline message of filters from 256 up.
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
        Codec package of the extra ``codecs`` that it needs, None where streamh5's own requirements do.
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
        filter. Whatever the stored bytes claim, it must not take more memory than that, and anything that is
        not exactly one encoded chunk is a `FormatError`. None where only HDF5 can decode.
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
    build: Callable[[Values, RawChunk], Filter]
    name: str
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
    decode: Callable[[Bytes, int, Values], Bytes] | None = None
    decoded_nbytes: Callable[[Bytes, int, Values], int] | None = None
    added_nbytes: int | None = None
    is_checksummed: bool = False
    numcodecs: Callable[[Values], dict[str, Any]] | None = None
    zarr: tuple[ZarrCodec, ...] = ()
    netcdf: NetcdfCompression | None = None

    def set_up(self, values: Values, chunk: RawChunk) -> Filter:
        """Set the filter up for the chunks of a dataset.

        Raises
        ------
        FilterError
            Client values out of range, or chunks that it cannot encode.
        MissingCodecError
            Its package is not installed.
        """
        one = self.build(values, chunk)
        if self.package is not None:
            codec_package(self.package, self.keyword)
        return one

    def set_up_example(self, chunk: RawChunk) -> Filter:
        """Set the filter up with its example values; raises as `set_up` does."""
        return self.set_up(self.default_values if self.example_values is None else self.example_values, chunk)


def value_at(values: Values, index: int, default: int) -> int:
    """Return a client value of a file of others, `default` where it holds fewer."""
    return values[index] if len(values) > index else default
