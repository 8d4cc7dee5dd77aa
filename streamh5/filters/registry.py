"""From h5py's keywords to a filter chain.

The words, their defaults and their conflicts are those of ``h5py._hl.dataset.make_new_dset`` and
``h5py._hl.filters.fill_dcpl``; the order is theirs too: scaleoffset, shuffle, compression, fletcher32.
Beyond h5py, a compression may be named by the words of ``known.py`` ("zstd", "blosc", ...).
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from streamh5.errors import FilterError, shown
from streamh5.filters.base import Filter
from streamh5.filters.chain import FilterChain
from streamh5.filters.deflate import Deflate
from streamh5.filters.fletcher32 import Fletcher32
from streamh5.filters.known import KNOWN_FILTERS, KnownFilter
from streamh5.filters.raw_chunk import RawChunk
from streamh5.filters.scaleoffset import FLOAT_DSCALE, INTEGER, ScaleOffset
from streamh5.filters.shuffle import Shuffle
from streamh5.filters.szip import ENTROPY_CODING, NEAREST_NEIGHBOR
from streamh5.filters.unknown import UnknownFilter

__all__ = ["chain_from_keywords", "check_compression"]

_COMPRESSIONS = tuple(known for known in KNOWN_FILTERS if known.is_compression)
_BY_KEYWORD = {known.keyword: known for known in _COMPRESSIONS}
_ALIASES = {"zlib": "gzip"}
"""netCDF4-python's and zarr's word for the same stream."""
_NO_FILTER = frozenset(("", "none", "no", "off", "false", "null", "uncompressed", "raw"))
"""Words with which people mean None."""
_BY_NUMBER = {known.filter_id: known for known in _COMPRESSIONS}

# Bitshuffle and Zstandard: a level of Zstandard below 0 is stored as its two's complement, as netCDF-C does.
_TAKE_NEGATIVE_LEVELS = (32008, 32015)
_MAX_FILTER_ID = 65_535  # H5Z_FILTER_MAX
# h5py's DEFAULT_SZIP and its words for the masks.
_DEFAULT_SZIP = ("nn", 8)
_SZIP_METHODS = {"ec": ENTROPY_CODING, "nn": NEAREST_NEIGHBOR}


def chain_from_keywords(
    *,
    dtype: np.dtype[Any],
    chunk_nbytes: int,
    compression: str | bool | int | Mapping[str, Any] | None = None,
    compression_opts: Any = None,
    shuffle: bool | None = False,
    fletcher32: bool | None = False,
    scaleoffset: bool | int | None = None,
    chunks: tuple[int, ...] | None = None,
    fillvalue: Any = None,
    allow_unknown_filter: bool = False,
) -> FilterChain:
    """Build the filter chain that h5py's keywords of the same names stand for.

    Parameters
    ----------
    dtype
        Of the elements as they are stored in the file.
    chunk_nbytes
        Raw size of one chunk in bytes.
    compression
        "gzip" (also "zlib"), "lzf", "szip", or another word of ``available()``; True or an integer from 0 to 9 for
        gzip (h5py's old form); the registered number of a filter; or a filter object such as
        hdf5plugin's, as it is or through ``**``.
    compression_opts
        For "gzip" the level, 0 to 9, 4 if None. For "szip" ("ec" or "nn", pixels a block). For a number
        and the other words the client values of the filter, or the only one.
    shuffle, fletcher32
        Whether to add these filters.
    scaleoffset
        Decimal digits of floats to keep; bits of integers, True or 0 for as many as a chunk needs.
    chunks
        Chunk shape, which szip, blosc2 and zfp go by; one dimension if None.
    fillvalue
        Of the dataset, zero if None; scaleoffset goes by it.
    allow_unknown_filter
        Take any number of a filter as `compression`; chunks must then be given filtered.

    Returns
    -------
    FilterChain
        Empty if no filter was asked for.

    Raises
    ------
    FilterError
        If the compression is not known, its options are out of range, or two arguments contradict.
    MissingCodecError
        If the codec's package is not installed.
    """
    shape = (chunk_nbytes // dtype.itemsize,) if chunks is None else chunks
    chunk = RawChunk(dtype, shape, chunk_nbytes, fillvalue)
    filters: list[Filter] = []
    # h5py reads False as 0, "as many bits as needed"; nobody means that.
    if scaleoffset is not None and scaleoffset is not False:
        filters.append(_scaleoffset_filter(scaleoffset, chunk, fletcher32=bool(fletcher32)))
    if shuffle:
        filters.append(Shuffle(dtype.itemsize))
    unknown = _unknown_filter(compression, compression_opts) if allow_unknown_filter else None
    if unknown is not None:
        filters.append(unknown)
    elif compression is not None:
        filters.append(_compression_filter(compression, compression_opts, chunk))
    elif compression_opts is not None:
        raise FilterError(
            f"compression_opts={compression_opts!r} without compression: name the compression too",
            compression_opts=compression_opts,
        )
    if fletcher32:
        filters.append(Fletcher32())
    return FilterChain(tuple(filters), chunk_nbytes)


def check_compression(compression: Any, compression_opts: Any, *, allow_unknown_filter: bool = False) -> None:
    """Refuse a compression that cannot be, where there is nothing to compress: a scalar, or small data.

    Raises
    ------
    FilterError, MissingCodecError
        As `chain_from_keywords`.
    """
    chain_from_keywords(
        dtype=np.dtype("f8"),
        chunk_nbytes=32768,
        compression=compression,
        compression_opts=compression_opts,
        allow_unknown_filter=allow_unknown_filter,
    )


def _scaleoffset_filter(scaleoffset: Any, chunk: RawChunk, *, fletcher32: bool) -> Filter:
    is_float = chunk.dtype.kind == "f"
    factor = _as_number(scaleoffset)
    if factor is None or factor < 0 or (is_float and scaleoffset is True):
        raise FilterError(
            f"scaleoffset must be a number of {'decimal digits' if is_float else 'bits'} from 0 up,"
            f" not {scaleoffset!r}",
            scaleoffset=scaleoffset,
        )
    if fletcher32:
        raise FilterError(
            "fletcher32 cannot be combined with scaleoffset, which may lose digits: leave out one of them"
        )
    if is_float:
        return ScaleOffset.from_values((FLOAT_DSCALE, factor), chunk)
    return ScaleOffset.from_values((INTEGER, 0 if scaleoffset is True else factor), chunk)


def wants_shuffle(compression: Any) -> bool:
    """Whether shuffle in front helps: the filter knows bytes only and does not shuffle by itself.

    Parameters
    ----------
    compression
        As for `chain_from_keywords`; False for None and for what is not known.
    """
    if isinstance(compression, Mapping):
        compression = compression.get("compression")
    if isinstance(compression, str):
        compression = _ALIASES.get(compression, compression)
    number = _as_number(compression)
    if compression is True or (number is not None and number in range(10)):
        return compression is not None
    return any(
        known.wants_shuffle for known in KNOWN_FILTERS if compression in (known.keyword, known.filter_id)
    )


def _compression_filter(compression: Any, options: Any, chunk: RawChunk) -> Filter:
    if isinstance(compression, Mapping):
        return _from_number(*_unpack(compression), chunk)
    if isinstance(compression, str):
        return _from_name(compression, options, chunk)
    if compression is True:
        return Deflate() if options is None else Deflate(options)
    number = _as_number(compression)
    if number is None:
        raise FilterError(
            f"compression {compression!r} cannot be written; known are {_known()}", compression=compression
        )
    if number not in range(10):
        return _from_number(number, options, chunk)
    if options is not None:
        raise FilterError(
            f"compression={compression!r} is a gzip level already, so compression_opts={options!r}"
            f" contradicts it; write compression='gzip' with compression_opts as the level",
            compression=compression,
            compression_opts=options,
        )
    return Deflate(number)


def _from_name(name: str, options: Any, chunk: RawChunk) -> Filter:
    name = _ALIASES.get(name, name)
    known = _BY_KEYWORD.get(name)
    if known is None:
        word = name.strip().lower()
        close = difflib.get_close_matches(word, [*_BY_KEYWORD, *_ALIASES], n=1)
        meant = "None" if word in _NO_FILTER else repr(close[0]) if close else ""
        raise FilterError(
            f"compression {shown(name)} cannot be written; {meant and f'did you mean {meant}? '}known are {_known()}",
            compression=name,
        )
    if name == "gzip":
        return Deflate() if options is None else Deflate(options)
    if name == "szip":
        return known.build(_szip_values(options), chunk)
    if options is None:
        return known.build(known.example_values if name in ("blosc", "bitshuffle") else (), chunk)
    return known.build(_client_values(known.filter_id, options), chunk)


def _szip_values(options: Any) -> tuple[int, ...]:
    method, pixels = _DEFAULT_SZIP if options is None else _pair(options)
    mask = _SZIP_METHODS.get(method) if isinstance(method, str) else None
    number = _as_number(pixels)
    if mask is None or number is None:
        raise FilterError(
            f"szip takes ('ec' or 'nn', an even number of pixels up to 32), not {options!r}",
            compression_opts=options,
        )
    return mask, number


def _pair(options: Any) -> tuple[Any, Any]:
    try:
        first, second = options
    except (TypeError, ValueError):
        return None, None
    return first, second


def _from_number(filter_id: int, options: Any, chunk: RawChunk) -> Filter:
    known: KnownFilter | None = _BY_NUMBER.get(filter_id)
    if known is None:
        raise FilterError(
            f"filter number {filter_id} cannot be written; known are {_known()}", filter_id=filter_id
        )
    return known.build(_client_values(filter_id, options), chunk)


def _unknown_filter(compression: Any, options: Any) -> UnknownFilter | None:
    """Return the filter of a number that is not among those that streamh5 writes."""
    if isinstance(compression, Mapping):
        compression, options = _unpack(compression)
    number = None if isinstance(compression, bool) else _as_number(compression)
    if number is None or number in range(10) or number in _BY_NUMBER or not 0 < number <= _MAX_FILTER_ID:
        return None
    return UnknownFilter(number, _client_values(number, options))


def _client_values(filter_id: int, options: Any) -> tuple[int, ...]:
    number = _as_number(options)
    try:
        values = (number,) if number is not None else tuple(map(operator.index, options or ()))
    except TypeError:
        values = (-1 << 32,)
    lowest = -1 << 31 if filter_id in _TAKE_NEGATIVE_LEVELS else 0
    if not all(lowest <= value < 1 << 32 for value in values):
        raise FilterError(
            f"compression_opts of filter number {filter_id} must be unsigned 32-bit integers,"
            f" not {options!r}",
            filter_id=filter_id,
            compression_opts=options,
        )
    return tuple(value % (1 << 32) for value in values)


def _unpack(filter_object: Mapping[str, Any]) -> tuple[int, Any]:
    number = _as_number(filter_object.get("compression"))
    if number is None:
        raise FilterError(
            f"{filter_object!r} is not a filter object: it needs 'compression' and 'compression_opts'",
            compression=filter_object,
        )
    return number, filter_object.get("compression_opts")


def _as_number(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None


def _known() -> str:
    names = ", ".join(repr(name) for name in _BY_KEYWORD)
    return f"{names} and the filter numbers {', '.join(map(str, sorted(_BY_NUMBER)))}"
