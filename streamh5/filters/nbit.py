"""The nbit filter (5), which packs datatypes that have fewer significant bits than their size.

numpy's dtypes use all their bits. For those, the library records that the filter has nothing to do and stores the
chunk unchanged (``H5Znbit.c``), and so does this module.
"""

from __future__ import annotations

from streamh5.errors import FilterError
from streamh5.filters.base import Encode, FilterRow, RawChunk, Values

_NEED_NOT_COMPRESS = 1
_ATOMIC = 1  # H5Z_NBIT_ATOMIC


def _set_up(values: Values, chunk: RawChunk) -> tuple[Values, Encode]:
    if values:
        raise FilterError(f"nbit accepts no options, not {values}", values=values)
    dtype = chunk.dtype
    if dtype.names is not None or dtype.subdtype is not None or dtype.kind == "c":
        raise FilterError(
            f"nbit does not support the compound dtype {dtype}; use another compression", dtype=dtype
        )
    parameters: Values = (_NEED_NOT_COMPRESS, chunk.n_elements)
    if dtype.kind in "iuf":
        parameters += (_ATOMIC, dtype.itemsize, int(chunk.is_big_endian), 8 * dtype.itemsize, 0)
    return (1 + len(parameters), *parameters), lambda data: data


ROW = FilterRow(filter_id=5, keyword="nbit", set_up=_set_up, given_values=lambda values: ())
