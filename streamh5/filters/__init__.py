"""Filters: one raw chunk in, its stored bytes out, and back. One module a filter, and a registry of their rows.

A :class:`FilterChain`, made from h5py's keywords by :class:`FilterOptions`, encodes whole batches of chunks and
decodes single ones. A stored pipeline whose filters may be anybody's is undone by ``chunk_decoder``.

To add a filter, write one module and add its row to ``FILTERS`` in ``registry.py``, nothing else::

    def _set_up(values, chunk):            # the user's client values and the raw chunks (H5Z's set_local)
        ...                                # check them: FilterError
        return client_values, encode       # what the file holds, and bytes -> stored bytes

    def _decode(data, most, values):       # stored bytes -> bytes, at most `most`; else FormatError
        ...

    ROW = FilterRow(filter_id=..., keyword="...", set_up=_set_up, decode=_decode, ...)

``FilterRow`` (``base.py``) says what else a row may hold: other words for it, the package it needs, and what
numcodecs, zarr and netCDF call it. ``compression=``, `available`, `inspect`, `verify`, references, conversion of zarr
and the encodings of netCDF know the filter from its row; ``tests/filters/test_rows.py`` goes through all of them for
each row. A chain pickles as what its filters were set up from, a few hundred bytes; what unpickles it takes the
codecs of its own machine.
"""

from __future__ import annotations

from streamh5.filters.available import AvailableFilter, available
from streamh5.filters.base import Buffer
from streamh5.filters.chain import EncodedRows, FilterChain
from streamh5.filters.deflate import SlowCodecWarning, deflate_engine
from streamh5.filters.keywords import FilterOptions, wants_shuffle
from streamh5.filters.registry import Filter

__all__ = [
    "AvailableFilter",
    "Buffer",
    "EncodedRows",
    "Filter",
    "FilterChain",
    "FilterOptions",
    "SlowCodecWarning",
    "available",
    "deflate_engine",
    "wants_shuffle",
]
