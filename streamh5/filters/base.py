"""What the modules of filters share: types, `RawChunk`, and `FilterRow`, which describes a filter."""

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


def byte_view(data: Buffer) -> memoryview:
    """Return the bytes of a buffer, without a copy."""
    # an array has the buffer protocol, which memoryview's signature cannot say before Python 3.12
    return memoryview(data).cast("B")  # type: ignore[arg-type]


Bytes: TypeAlias = bytes | memoryview
"""Stored bytes on their way through the decoders."""

Values: TypeAlias = tuple[int, ...]
"""Client data values of a filter, each a ``uint32``."""


Encode: TypeAlias = Callable[[Buffer], Buffer]
"""Output of the previous filter -> encoded bytes, in new memory or, if there is nothing to do, the same object.

It is called from many threads at once and must not keep its argument: that memory is reused.
"""

Decode: TypeAlias = Callable[[Bytes, int, Values], Bytes]
"""Stored bytes, maximum size of the result, client values -> the bytes before the filter."""


@dataclass(frozen=True, slots=True)
class RawChunk:
    """The raw chunks of one dataset, as the ``set_local`` functions of HDF5 filters see them.

    Attributes
    ----------
    dtype
        Element type as stored.
    chunks
        Chunk shape.
    nbytes
        Size of one chunk in bytes.
    fillvalue
        Fill value of the dataset, None for zero.

    Examples
    --------
    >>> from streamh5.filters.base import RawChunk
    >>> chunk = RawChunk(np.dtype(">f4"), (100, 100), 40_000)
    >>> chunk.n_elements, chunk.is_big_endian
    (10000, True)
    """

    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    nbytes: int
    fillvalue: Any = None

    @property
    def n_elements(self) -> int:
        """Number of elements in one chunk."""
        return math.prod(self.chunks)

    @property
    def is_big_endian(self) -> bool:
        """Whether elements are stored with the most significant byte first."""
        return self.dtype.newbyteorder(">") == self.dtype and self.dtype.itemsize > 1

    def limit_nbytes(self, limit: int, filter_name: str) -> None:
        """Check that a codec accepts chunks of this size.

        Parameters
        ----------
        limit
            Most bytes of a chunk.
        filter_name
            Keyword of the filter, for the message.

        Raises
        ------
        FilterError
            If the chunk is larger than ``limit`` bytes.

        Examples
        --------
        >>> from streamh5.filters.base import RawChunk
        >>> RawChunk(np.dtype("f4"), (100, 100), 40_000).limit_nbytes(2**31, "mine")
        """
        if self.nbytes > limit:
            raise FilterError(
                f"filter {filter_name!r} accepts chunks of at most {limit} bytes, not {self.nbytes}:"
                " use smaller chunks",
                filter=filter_name,
                nbytes=self.nbytes,
                limit=limit,
            )

    def require(self, kinds: str, sizes: tuple[int, ...], filter_name: str) -> None:
        """Check that a filter can encode this dtype.

        Parameters
        ----------
        kinds
            Letters of the kinds that it accepts (`numpy.dtype.kind`).
        sizes
            Sizes in bytes that it accepts.
        filter_name
            Keyword of the filter, for the message.

        Raises
        ------
        FilterError
            If the dtype's kind is not among ``kinds`` or its size not among ``sizes``.

        Examples
        --------
        >>> from streamh5.filters.base import RawChunk
        >>> RawChunk(np.dtype("f4"), (100, 100), 40_000).require("iuf", (4, 8), "mine")
        """
        if self.dtype.kind not in kinds or self.dtype.itemsize not in sizes:
            raise FilterError(
                f"filter {filter_name!r} cannot encode dtype {self.dtype}: it accepts kinds {', '.join(kinds)}"
                f" of {', '.join(map(str, sizes))} bytes",
                filter=filter_name,
                dtype=self.dtype,
            )


@dataclass(frozen=True, slots=True)
class ZarrCodec:
    """A codec of zarr 2 or 3 whose chunks an HDF5 filter decodes.

    Attributes
    ----------
    name
        ``id`` in zarr 2; ``name`` in zarr 3, without the prefix ``numcodecs.``.
    values
        Return the client values of the filter, as a user would give them, for a configuration of the codec.
    accept
        Return the bytes that HDF5 is to store, from the stored bytes of zarr and their raw size (None if not
        known); return None if the bytes are invalid. Omitted for codecs that do not compress.
    is_reframed
        Whether `accept` puts the compressed data into another frame, so that no other codec may follow.
    """

    name: str
    values: Callable[[Mapping[str, Any], RawChunk], Values]
    accept: Callable[[memoryview, int | None], Buffer | None] | None = None
    is_reframed: bool = False


def _level(name: str, level: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Use ``complevel`` as the only client value, unless h5netcdf's ``compression_opts`` is given."""
    return {"compression_opts": level} if given.get("compression_opts") is None else {}


@dataclass(frozen=True, slots=True)
class NetcdfWords:
    """How netCDF4-python names a filter and its options.

    Attributes
    ----------
    flag
        Keyword of the older style that enables it: ``zlib=True``.
    names
        ``compression=`` words for it; the flag means the first.
    keywords
        Return the keywords of `FilterOptions` that differ from the defaults, for one of the names, ``complevel`` and
        the whole encoding of a variable.
    """

    flag: str
    names: tuple[str, ...]
    keywords: Callable[[str, Any, Mapping[str, Any]], dict[str, Any]] = _level


def _unchanged(values: Values) -> Values:
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRow:
    """One row of the registry: everything that streamh5 knows about a filter.

    It corresponds to ``H5Z_class2_t`` of the library, plus the names of the filter in other formats.

    Attributes
    ----------
    filter_id
        Number in the HDF Group's registry of filters.
    keyword
        ``compression=`` word, or a keyword of its own; also the name of the filter in `inspect` and in messages.
    set_up
        Return the client values that the file stores and the function that encodes a chunk, for the user's client
        values and the raw chunks (``set_local``). All values are stored, with defaults for those that the user
        omitted: netCDF-C's zstd and jHDF's bitshuffle do not read chunks whose pipeline omits them. Raises
        `FilterError` if values are out of range or the filter does not accept the chunks.
    name
        Name in the filter pipeline message, if it differs from the keyword.
    optional
        Whether a chunk may be stored without this filter (``H5Z_FLAG_OPTIONAL``).
    is_compression
        Whether ``compression=`` accepts the keyword and the number.
    aliases
        Other ``compression=`` words for it.
    is_named_by_h5py
        Whether ``Dataset.compression`` of h5py gives the keyword; it gives ``"unknown"`` for other compressions.
    wants_shuffle
        Whether it compresses better after shuffle, because it treats data as bytes and does not know the elements.
    is_lossy
        Whether some of its options change values.
    package
        Codec package of the extra ``codecs`` that it needs; None if streamh5's own requirements suffice. It is
        imported before `set_up` is called.
    default_values
        Client values of the keyword without ``compression_opts``.
    example_values
        Client values of a typical use on float32 data; None for `default_values`.
    lowest_value
        Lowest client value that the user may give; negative values are stored as their two's complement.
    options
        Convert ``compression_opts`` to client values; None if they are client values already.
    given_values
        Return client values for `set_up` from those that a file stores; None if they do not tell how chunks were
        encoded.
    decode
        Return the bytes before the filter, from stored bytes, the maximum size of the result and the client
        values. Whatever the stored bytes claim, it must not use more memory than that. Bytes that are not exactly
        one encoded chunk raise `FormatError`, or the error of the codec, which `chunk_decoder` turns into one. None
        where only HDF5 can decode.
    decoded_nbytes
        Return only the size of what `decode` returns; None if it is found by decoding.
    added_nbytes
        Bytes by which a chunk grows: 0 for a filter that only reorders bytes; None for a compressor.
    is_checksummed
        Whether the stored bytes contain a checksum, so that decoding detects every changed byte.
    numcodecs
        Return the configuration of the numcodecs codec that decodes what HDF5 stores, for client values; None if
        there is no such codec.
    zarr
        Codecs of zarr whose stored bytes it can decode.
    netcdf
        Its names in netCDF4-python; None if netCDF-C does not write it.

    Examples
    --------
    >>> from streamh5.filters.registry import REGISTRY
    >>> REGISTRY[1].keyword, REGISTRY[1].example
    ('gzip', (4,))
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
    given_values: Callable[[Values], Values] | None = _unchanged
    decode: Decode | None = None
    decoded_nbytes: Callable[[Bytes, int, Values], int] | None = None
    added_nbytes: int | None = None
    is_checksummed: bool = False
    numcodecs: Callable[[Values], dict[str, Any]] | None = None
    zarr: tuple[ZarrCodec, ...] = ()
    netcdf: NetcdfWords | None = None

    @property
    def example(self) -> Values:
        """Client values of a typical use on float32 data."""
        return self.default_values if self.example_values is None else self.example_values


def value_at(values: Values, index: int, default: int) -> int:
    """Return one client value; `default` if the file, written by another program, has fewer."""
    return values[index] if len(values) > index else default
