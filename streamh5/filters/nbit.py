"""The nbit filter (5), which packs datatypes of fewer significant bits than they have room for.

numpy's dtypes use all their bits. For those the library marks the filter as having nothing to do and
stores the chunk as it is, and so does this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer, RegisteredFilter, Values
from streamh5.filters.raw_chunk import RawChunk

__all__ = ["ROW", "Nbit"]

_NEED_NOT_COMPRESS = 1
_ATOMIC = 1  # H5Z_NBIT_ATOMIC


@dataclass(frozen=True, slots=True)
class Nbit:
    """Nbit of full-precision datatypes: a record in the pipeline, bytes as they are (``H5Znbit.c``).

    Raises
    ------
    FilterError
        If there are options, or the dtype is compound or has array elements.
    """

    client_values: Values
    filter_id: ClassVar[int] = 5

    @classmethod
    def from_values(cls, values: Values, chunk: RawChunk) -> Nbit:
        """Set the filter up as ``H5Z__set_local_nbit`` does."""
        if values:
            raise FilterError(f"nbit takes no options, not {values}", values=values)
        dtype = chunk.dtype
        if dtype.names is not None or dtype.subdtype is not None or dtype.kind == "c":
            raise FilterError(f"nbit is not written for the compound dtype {dtype}", dtype=dtype)
        parameters: Values = (_NEED_NOT_COMPRESS, chunk.n_elements)
        if dtype.kind in "iuf":
            order = 1 if chunk.is_big_endian else 0
            parameters += (_ATOMIC, dtype.itemsize, order, 8 * dtype.itemsize, 0)
        return cls((1 + len(parameters), *parameters))

    def encode(self, chunk: Buffer) -> Buffer:
        """Return the chunk."""
        return chunk


ROW = RegisteredFilter(filter_id=Nbit.filter_id, keyword="nbit", build=Nbit.from_values, name="nbit")
