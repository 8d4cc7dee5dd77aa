"""Convert h5py's keywords to a filter chain.

The words, their defaults and their conflicts are those of ``h5py._hl.dataset.make_new_dset`` and
``h5py._hl.filters.fill_dcpl``; the order is the same, too: scaleoffset, shuffle, compression, fletcher32.
Unlike in h5py, the keywords of the registry ("zstd", "blosc", ...) also name compressions.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import FilterError, did_you_mean, shown
from streamh5.filters.base import RawChunk
from streamh5.filters.chain import FilterChain
from streamh5.filters.deflate import ROW as GZIP
from streamh5.filters.fletcher32 import ROW as FLETCHER32
from streamh5.filters.registry import FILTERS, Filter, set_up_filter
from streamh5.filters.scaleoffset import FLOAT_DSCALE, INTEGER
from streamh5.filters.scaleoffset import ROW as SCALEOFFSET
from streamh5.filters.shuffle import ROW as SHUFFLE

if TYPE_CHECKING:
    from streamh5.filters.base import FilterRow, Values

_BY_NUMBER = {row.filter_id: row for row in FILTERS if row.is_compression}
_BY_WORD = {word: row for row in _BY_NUMBER.values() for word in (row.keyword, *row.aliases)}
_NO_FILTER = frozenset(("", "none", "no", "off", "false", "null", "uncompressed", "raw"))
"""Words that users write when they mean None."""
_GZIP_LEVELS = range(10)
"""These integers are levels of gzip (h5py's old form), not numbers of filters."""
_MAX_FILTER_ID = 65_535  # H5Z_FILTER_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterOptions:
    """The filters that the user requested for a dataset, as h5py's keywords; none by default.

    Parameters
    ----------
    compression
        "gzip" (also "zlib"), "lzf", "szip", or another word of ``available()``; True or an integer from 0 to 9 for
        gzip (h5py's old form), so that szip and nbit have words only; the registered number of another filter; or a
        filter object such as hdf5plugin's, directly or unpacked with ``**``.
    compression_opts
        For "gzip" the level, 0 to 9, 4 if None. For "szip" ("ec" or "nn", pixels per block). For
        a number and the other words the client values of the filter, or its only one.
    shuffle, fletcher32
        Whether to add these filters.
    scaleoffset
        Number of decimal digits of floats to keep; number of bits of integers, True or 0 for as many as a chunk needs.
    allow_unknown_filter
        Accept any filter number as `compression`; chunks must then be given encoded.
    """

    compression: Any = None
    compression_opts: Any = None
    shuffle: bool | None = None
    fletcher32: bool | None = None
    scaleoffset: bool | int | None = None
    allow_unknown_filter: bool = False

    @property
    def need_chunks(self) -> bool:
        """Whether any filter is requested, so that the dataset needs chunks."""
        return bool(
            self.compression is not None or self.shuffle or self.fletcher32 or self.scaleoffset is not None
        )

    def chain(
        self,
        dtype: np.dtype[Any],
        chunk_nbytes: int,
        *,
        chunks: tuple[int, ...] | None = None,
        fillvalue: Any = None,
    ) -> FilterChain:
        """Build the filter chain; it is empty if no filter is requested.

        Parameters
        ----------
        dtype
            Element type as stored in the file.
        chunk_nbytes
            Raw size of one chunk in bytes.
        chunks
            Chunk shape, which szip, blosc2 and zfp use; one dimension if None.
        fillvalue
            Fill value of the dataset, which scaleoffset uses; zero if None.

        Raises
        ------
        FilterError
            The compression is not known, its options are out of range, or two options contradict each other.
        MissingCodecError
            If the codec's package is not installed.
        """
        shape = (chunk_nbytes // dtype.itemsize,) if chunks is None else chunks
        chunk = RawChunk(dtype, shape, chunk_nbytes, fillvalue)
        filters: list[Filter | None] = [
            _scaleoffset(self, chunk),
            set_up_filter(SHUFFLE.filter_id, (), chunk) if self.shuffle else None,
            _compression(self, chunk),
            set_up_filter(FLETCHER32.filter_id, (), chunk) if self.fletcher32 else None,
        ]
        return FilterChain(tuple(one for one in filters if one is not None), chunk_nbytes)

    def check_compression(self) -> None:
        """Refuse an invalid compression even if there is nothing to compress: for a scalar, or small data.

        Raises
        ------
        FilterError, MissingCodecError
            See `chain`.
        """
        _compression(self, RawChunk(np.dtype("f8"), (4096,), 32768))


def wants_shuffle(compression: Any) -> bool:
    """Return whether shuffle before a compression helps, because the filter does not shuffle by itself.

    Parameters
    ----------
    compression
        See `FilterOptions`; None and unknown compressions give False.
    """
    try:
        number, _ = _number_and_values(compression, None)
    except FilterError:
        return False
    return number in _BY_NUMBER and _BY_NUMBER[number].wants_shuffle


def _scaleoffset(asked: FilterOptions, chunk: RawChunk) -> Filter | None:
    scaleoffset = asked.scaleoffset
    # h5py reads False as 0, "as many bits as needed", which users do not mean.
    if scaleoffset is None or scaleoffset is False:
        return None
    is_float = chunk.dtype.kind == "f"
    factor = _as_number(scaleoffset)
    if factor is None or factor < 0 or (is_float and scaleoffset is True):
        raise FilterError(
            f"scaleoffset must be a number of {'decimal digits' if is_float else 'bits'} from 0 up,"
            f" not {scaleoffset!r}",
            scaleoffset=scaleoffset,
        )
    if asked.fletcher32:
        raise FilterError(
            "fletcher32 cannot be combined with scaleoffset, which may lose digits: omit one of them"
        )
    values = (FLOAT_DSCALE, factor) if is_float else (INTEGER, 0 if scaleoffset is True else factor)
    return set_up_filter(SCALEOFFSET.filter_id, values, chunk)


def _compression(asked: FilterOptions, chunk: RawChunk) -> Filter | None:
    compression, options = asked.compression, asked.compression_opts
    if compression is None:
        if options is None:
            return None
        raise FilterError(
            f"compression_opts={options!r} without compression: add compression=...",
            compression_opts=options,
        )
    number, values = _number_and_values(compression, options)
    is_foreign = asked.allow_unknown_filter and number not in _GZIP_LEVELS and 0 < number <= _MAX_FILTER_ID
    if number in _BY_NUMBER or is_foreign:
        return set_up_filter(number, values, chunk)
    raise FilterError(_why_not(number), filter_id=number)


def _why_not(number: int) -> str:
    """Return why a filter number is refused, and what to do."""
    if not 0 < number <= _MAX_FILTER_ID:
        return f"compression={number}: filter numbers are positive and below {_MAX_FILTER_ID + 1:,}"
    if number in _GZIP_LEVELS:
        return f"filter number {number} is not a compression; known are {_known()}"
    return (
        f"streamh5 cannot encode with filter number {number}. For encoded chunks: File.create_dataset with shape and "
        f"dtype, without data, then write_direct_chunk. It encodes with {_words()}"
    )


def _number_and_values(compression: Any, options: Any) -> tuple[int, Values]:
    """Return the number of the requested filter, and its client values as given."""
    if isinstance(compression, str):
        return _by_word(_row_of_word(compression), options)
    if compression is True:
        return _by_word(GZIP, options)
    if isinstance(compression, Mapping):
        number, options = _as_number(compression.get("compression")), compression.get("compression_opts")
        if number is None:
            raise FilterError(
                f"{compression!r} is not a filter object: it needs 'compression' and 'compression_opts'",
                compression=compression,
            )
        return number, _client_values(number, options)
    number = _as_number(compression)
    if number is None:
        raise FilterError(
            f"compression {compression!r} cannot be written; known are {_known()}", compression=compression
        )
    if number not in _GZIP_LEVELS:
        return number, _client_values(number, options)
    if options is not None:
        raise FilterError(
            f"compression={compression!r} is a gzip level already, so compression_opts={options!r}"
            f" contradicts it; use compression='gzip' with compression_opts as the level",
            compression=compression,
            compression_opts=options,
        )
    return GZIP.filter_id, (number,)


def _row_of_word(word: str) -> FilterRow:
    if word in _BY_WORD:
        return _BY_WORD[word]
    plain = word.strip().lower()
    meant = "; did you mean None?" if plain in _NO_FILTER else did_you_mean(plain, _BY_WORD)
    raise FilterError(
        f"compression {shown(word)} cannot be written{meant or ';'} known are {_known()}", compression=word
    )


def _by_word(row: FilterRow, options: Any) -> tuple[int, Values]:
    if options is None:
        return row.filter_id, row.default_values
    return row.filter_id, row.options(options) if row.options else _client_values(row.filter_id, options)


def _client_values(filter_id: int, options: Any) -> Values:
    number = _as_number(options)
    try:
        values = (number,) if number is not None else tuple(map(operator.index, options or ()))
    except TypeError:
        values = (-1 << 32,)  # not integers: refused with the message for integers that are out of range
    row = _BY_NUMBER.get(filter_id)
    lowest = 0 if row is None else row.lowest_value
    if not all(lowest <= value < 1 << 32 for value in values):
        raise FilterError(
            f"compression_opts of filter number {filter_id} must be unsigned 32-bit integers,"
            f" not {options!r}",
            filter_id=filter_id,
            compression_opts=options,
        )
    return tuple(value % (1 << 32) for value in values)


def _as_number(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None


def _words() -> str:
    return ", ".join(repr(row.keyword) for row in _BY_NUMBER.values())


def _known() -> str:
    numbers = [str(number) for number in _BY_NUMBER if number not in _GZIP_LEVELS]
    return f"{_words()} and the filter numbers {', '.join(numbers)}"
