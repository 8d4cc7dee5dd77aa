"""The LZF filter (32000) of h5py: one LZF stream per chunk, by imagecodecs, without the GIL (``lzf_filter.c``)."""

from __future__ import annotations

from streamh5.errors import FilterError
from streamh5.filters.base import Encode, FilterRow, RawChunk, Values

# H5PY_FILTER_LZF_VERSION and LZF_VERSION, which h5py's lzf_set_local writes first.
_VERSIONS = (4, 0x0105)


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    import imagecodecs

    if values:
        raise FilterError(f"lzf accepts no options, not {values}", values=values)
    return (*_VERSIONS, chunk.nbytes), imagecodecs.lzf_encode


ROW = FilterRow(
    filter_id=32000,
    keyword="lzf",
    set_up=_set_up,
    given_values=lambda values: (),
    is_named_by_h5py=True,
    wants_shuffle=True,
    package="imagecodecs",
)
