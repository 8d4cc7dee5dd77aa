"""Filters: each encodes one raw chunk to its stored bytes and back.

Every filter is one module with one row of a registry. `FilterOptions` turns h5py's keywords into a `FilterChain`, which
encodes batches of chunks and decodes single ones.

* ``base``: what the modules of filters share: the types, `RawChunk` and `FilterRow`.
* ``bitshuffle``, ``blosc``, ``blosc2``, ``bzip2``, ``deflate`` (``deflate_stretches``, ``deflate_settings``),
  ``fletcher32``, ``lz4``, ``lzf``, ``nbit``, ``scaleoffset``, ``shuffle``, ``szip``, ``zfp``, ``zstd``: a filter each.
* ``registry``: the rows of all filters, and `Filter`, one that is set up for the chunks of a dataset.
* ``chain``: the filters of one dataset, applied to batches of chunks.
* ``keywords``: from h5py's keywords to a chain.
* ``chunk_decoder``: decodes and checks chunks of any file.
* ``available``: which filters this machine can write, and how fast.

To add a filter, write one module and add its row to ``FILTERS`` in ``registry.py``; no other code changes::

    def _set_up(values, chunk):            # the user's client values and the raw chunks (H5Z's set_local)
        ...                                # check them: FilterError
        return client_values, encode       # what the file stores, and bytes -> stored bytes

    def _decode(data, most, values):       # stored bytes -> bytes, at most `most`; else FormatError
        ...

    ROW = FilterRow(filter_id=..., keyword="...", set_up=_set_up, decode=_decode, ...)

`FilterRow` documents the other fields of a row: aliases, the package that the filter needs, and what numcodecs, zarr
and netCDF call it. ``compression=``, `available`, `inspect`, `verify`, references, the conversion of zarr and the
encodings of netCDF all read the row; ``tests/filters/test_rows.py`` runs each row through all of them. A chain pickles
as the arguments its filters were set up from, a few hundred bytes; the process that unpickles it uses its own codecs.
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
