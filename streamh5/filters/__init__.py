"""Filters: one raw chunk in, its stored bytes out. One filter a file, and a registry.

A filter here is the writing half of an HDF5 filter. :class:`FilterChain` runs the filters of one
dataset over whole batches of chunks, :func:`chain_from_keywords` builds it from h5py's keywords.
"""

from __future__ import annotations

from streamh5.filters.available import AvailableFilter, available
from streamh5.filters.base import Buffer
from streamh5.filters.chain import EncodedRows, FilterChain
from streamh5.filters.deflate import SlowCodecWarning, deflate_engine
from streamh5.filters.keywords import chain_from_keywords, check_compression, wants_shuffle
from streamh5.filters.registry import Filter

__all__ = [
    "AvailableFilter",
    "Buffer",
    "EncodedRows",
    "Filter",
    "FilterChain",
    "SlowCodecWarning",
    "available",
    "chain_from_keywords",
    "check_compression",
    "deflate_engine",
    "wants_shuffle",
]
