"""Every filter that streamh5 knows: the rows of the filters' modules, side by side and by number."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from streamh5.filters.base import RegisteredFilter
    from streamh5.format.filter_pipeline import FilterRecord

__all__ = ["FILTERS", "REGISTRY", "filter_name"]

FILTERS: tuple[RegisteredFilter, ...] = (
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
"""By filter number."""

REGISTRY = {row.filter_id: row for row in FILTERS}


def filter_name(record: FilterRecord) -> str:
    """Name a filter of a file for people: by its keyword, else by the name and number that the file has."""
    row = REGISTRY.get(record.filter_id)
    return row.keyword if row else f"{record.name.split(';')[0] or 'filter'} ({record.filter_id})"
