"""From h5py's keywords to a filter chain.

The words, their defaults and their conflicts are those of ``h5py._hl.dataset.make_new_dset`` and
``h5py._hl.filters.fill_dcpl``; the order is theirs too: shuffle, compression, fletcher32.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from streamh5.errors import FilterError
from streamh5.filters.base import Filter
from streamh5.filters.chain import FilterChain
from streamh5.filters.deflate import Deflate
from streamh5.filters.fletcher32 import Fletcher32
from streamh5.filters.shuffle import Shuffle

__all__ = ["chain_from_keywords"]


def chain_from_keywords(
    *,
    dtype: np.dtype[Any],
    chunk_nbytes: int,
    compression: str | bool | int | Mapping[str, Any] | None = None,
    compression_opts: Any = None,
    shuffle: bool | None = False,
    fletcher32: bool | None = False,
) -> FilterChain:
    """Build the filter chain that h5py's keywords of the same names stand for.

    Parameters
    ----------
    dtype
        Of the elements as they are stored in the file.
    chunk_nbytes
        Raw size of one chunk in bytes.
    compression
        "gzip"; True or an integer from 0 to 9 for gzip (h5py's old form); the registered number of a
        filter; or a filter object such as hdf5plugin's, as it is or through ``**``.
    compression_opts
        For "gzip" the level, 0 to 9, 4 if None. For a number the client values of the filter.
    shuffle, fletcher32
        Whether to add these filters.

    Returns
    -------
    FilterChain
        Empty if no filter was asked for.

    Raises
    ------
    FilterError
        If the compression is not known, its options are out of range, or two arguments contradict.
    """
    filters: list[Filter] = []
    if shuffle:
        filters.append(Shuffle(dtype.itemsize))
    if compression is not None:
        filters.append(_compression_filter(compression, compression_opts))
    elif compression_opts is not None:
        raise FilterError(
            f"compression_opts={compression_opts!r} without compression: name the compression too",
            compression_opts=compression_opts,
        )
    if fletcher32:
        filters.append(Fletcher32())
    return FilterChain(tuple(filters), chunk_nbytes)


def _compression_filter(compression: Any, options: Any) -> Filter:
    if isinstance(compression, Mapping):
        return _from_number(*_unpack(compression))
    if compression is True and options is None:
        return Deflate()
    number = _as_number(compression)
    if compression is not True and number is not None and number in range(10):
        if options is not None:
            raise FilterError(
                f"compression={compression!r} is a gzip level already, so compression_opts={options!r}"
                f" contradicts it; write compression='gzip' with compression_opts as the level",
                compression=compression,
                compression_opts=options,
            )
        return Deflate(number)
    if number is not None and compression is not True:
        return _from_number(number, options)
    name = "gzip" if compression is True else compression
    build = _BY_NAME.get(name) if isinstance(name, str) else None
    if build is None:
        raise FilterError(
            f"compression {compression!r} cannot be written; known are {_known()}", compression=compression
        )
    return build(options)


def _as_number(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None


def _unpack(filter_object: Mapping[str, Any]) -> tuple[int, Any]:
    number = _as_number(filter_object.get("compression"))
    if number is None:
        raise FilterError(
            f"{filter_object!r} is not a filter object: it needs 'compression' and 'compression_opts'",
            compression=filter_object,
        )
    return number, filter_object.get("compression_opts")


def _from_number(filter_id: int, options: Any) -> Filter:
    build = _BY_NUMBER.get(filter_id)
    if build is None:
        raise FilterError(
            f"filter number {filter_id} cannot be written; known are {_known()}", filter_id=filter_id
        )
    return build(_client_values(filter_id, options))


def _client_values(filter_id: int, options: Any) -> tuple[int, ...]:
    try:
        return tuple(operator.index(value) for value in options or ())
    except TypeError:
        raise FilterError(
            f"compression_opts of filter number {filter_id} must be a sequence of integers, not {options!r}",
            filter_id=filter_id,
            compression_opts=options,
        ) from None


def _known() -> str:
    names = ", ".join(repr(name) for name in _BY_NAME)
    numbers = ", ".join(str(number) for number in sorted(_BY_NUMBER))
    return f"{names} and the filter numbers {numbers}"


def _gzip_from_option(option: Any) -> Filter:
    return Deflate() if option is None else Deflate(option)


def _gzip_from_values(values: tuple[int, ...]) -> Filter:
    return Deflate(*values[:1])


_BY_NAME: dict[str, Callable[[Any], Filter]] = {"gzip": _gzip_from_option}
_BY_NUMBER: dict[int, Callable[[tuple[int, ...]], Filter]] = {1: _gzip_from_values}
