"""All filters that streamh5 knows: the rows of their modules in one table, and `Filter`, one that is set up."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

from streamh5.errors import FilterError, MissingCodecError
from streamh5.filters import (
    bitshuffle,
    blosc,
    blosc2,
    bzip2,
    deflate,
    fletcher32,
    lz4,
    lzf,
    nbit,
    scaleoffset,
    shuffle,
    szip,
    zfp,
    zstd,
)
from streamh5.filters.base import Buffer, Encode, FilterRow, RawChunk, Values
from streamh5.format.filter_pipeline import FilterRecord

EXTRA = "codecs"

FILTERS: tuple[FilterRow, ...] = (
    deflate.ROW,
    shuffle.ROW,
    fletcher32.ROW,
    szip.ROW,
    nbit.ROW,
    scaleoffset.ROW,
    bzip2.ROW,
    lzf.ROW,
    blosc.ROW,
    lz4.ROW,
    bitshuffle.ROW,
    zfp.ROW,
    zstd.ROW,
    blosc2.ROW,
)
"""Ordered by filter number."""

REGISTRY = {row.filter_id: row for row in FILTERS}


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that is set up for the chunks of one dataset.

    It pickles as the arguments it was set up from, a few hundred bytes, and is set up again when it is unpickled: each
    machine uses its own codecs.

    Attributes
    ----------
    filter_id
        Number of the filter in the HDF Group's registry.
    client_values
        Client data values that the file stores.
    encode
        Returns the encoded bytes of one chunk. A field and not a method that calls it, because a chunk of 16 KiB takes
        25 us and one more call is 0.5 % of that.
    given
        The client values as the user gave them, and the raw chunks.
    """

    filter_id: int
    client_values: Values
    encode: Encode = field(repr=False, compare=False)
    given: tuple[Values, RawChunk] = field(repr=False, compare=False)
    can_encode: bool = field(default=True, repr=False, compare=False)

    @property
    def optional(self) -> bool:
        """Whether a chunk may be stored without this filter (``H5Z_FLAG_OPTIONAL``)."""
        return self.filter_id not in REGISTRY or REGISTRY[self.filter_id].optional

    @property
    def record(self) -> FilterRecord:
        """Record for the filter pipeline message."""
        row = REGISTRY.get(self.filter_id)
        name = "" if row is None else row.name or row.keyword
        return FilterRecord(self.filter_id, name, 1 if self.optional else 0, self.client_values)

    def __reduce__(self) -> tuple[object, ...]:
        return _set_up_again, (self.filter_id, self.client_values, *self.given)


def set_up_filter(filter_id: int, values: Values, chunk: RawChunk) -> Filter:
    """Set a filter up for the chunks of a dataset.

    A number that is not in the registry gives a filter that refuses to encode: the caller writes encoded chunks with
    ``write_direct_chunk``.

    Raises
    ------
    FilterError
        Client values out of range, or chunks that the filter cannot encode.
    MissingCodecError
        Its package is not installed.
    """
    row = REGISTRY.get(filter_id)
    if row is not None and row.package is not None:
        codec_package(row.package, row.keyword)
    client_values, encode = (
        (values, partial(_refuse, filter_id)) if row is None else row.set_up(values, chunk)
    )
    return Filter(filter_id, client_values, encode, (values, chunk), row is not None)


def restored_filter(record: FilterRecord, chunk: RawChunk) -> Filter:
    """Set a filter up for more chunks of a dataset of an existing file.

    It keeps the client values of the file. If streamh5 cannot encode as they say, it refuses to encode: chunks are then
    written with ``write_direct_chunk``.
    """
    row = REGISTRY.get(record.filter_id)
    reason = "streamh5 does not have it"
    if row is not None and row.given_values is not None:
        try:
            return _set_up_again(
                record.filter_id, record.client_values, row.given_values(record.client_values), chunk
            )
        except (FilterError, MissingCodecError) as error:
            reason = str(error)
    elif row is not None:
        reason = "its client values do not tell how chunks were encoded"
    encode = partial(_refuse_again, filter_name(record), reason)
    return Filter(
        record.filter_id, record.client_values, encode, (record.client_values, chunk), can_encode=False
    )


def _set_up_again(filter_id: int, stored: Values, values: Values, chunk: RawChunk) -> Filter:
    return replace(set_up_filter(filter_id, values, chunk), client_values=stored)


def _refuse_again(name: str, reason: str, chunk: Buffer) -> Buffer:
    raise FilterError(
        f"chunks cannot be encoded with the filter {name} of the file: {reason}; write encoded chunks with "
        "write_direct_chunk"
    )


@cache
def codec_package(package: str, filter_name: str) -> Any:
    """Import a codec package of the extra ``codecs``, once.

    Raises
    ------
    MissingCodecError
        It is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingCodecError(
            f"filter {filter_name!r} needs the package {package!r}, which is not installed:"
            f" pip install 'streamh5[{EXTRA}]'",
            package=package,
            extra=EXTRA,
            filter=filter_name,
        ) from error


def _refuse(filter_id: int, chunk: Buffer) -> Buffer:
    raise FilterError(
        f"streamh5 cannot encode with filter number {filter_id}; write encoded chunks with "
        "write_direct_chunk, or choose another compression",
        filter_id=filter_id,
    )


def filter_name(record: FilterRecord) -> str:
    """Return a readable name for a filter of a file: its keyword, or the name and number in the file."""
    row = REGISTRY.get(record.filter_id)
    return row.keyword if row else f"{record.name.split(';')[0] or 'filter'} ({record.filter_id})"
