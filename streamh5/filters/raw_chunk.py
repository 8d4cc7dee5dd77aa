"""What a filter is set up for: the raw chunks of one dataset."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamh5.errors import FilterError

__all__ = ["RawChunk"]


@dataclass(frozen=True, slots=True)
class RawChunk:
    """Raw chunks of one dataset, as the ``set_local`` functions of HDF5 filters see them.

    Attributes
    ----------
    dtype
        Of the elements as they are stored.
    chunks
        Chunk shape.
    nbytes
        Size of one chunk in bytes.
    fillvalue
        Fill value of the dataset, None for zero.
    """

    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    nbytes: int
    fillvalue: Any = None

    @property
    def n_elements(self) -> int:
        """Elements in one chunk."""
        return math.prod(self.chunks)

    @property
    def is_big_endian(self) -> bool:
        """Whether elements are stored with the most significant byte first."""
        return self.dtype.newbyteorder(">") == self.dtype and self.dtype.itemsize > 1

    def limit_nbytes(self, limit: int, filter_name: str) -> None:
        """Check that a codec can take a chunk of this size.

        Raises
        ------
        FilterError
            If the chunk is larger than ``limit`` bytes.
        """
        if self.nbytes > limit:
            raise FilterError(
                f"filter {filter_name!r} takes chunks of at most {limit} bytes, not {self.nbytes}; use smaller chunks",
                filter=filter_name,
                nbytes=self.nbytes,
                limit=limit,
            )

    def require(self, kinds: str, sizes: tuple[int, ...], filter_name: str) -> None:
        """Check that a filter can encode this dtype.

        Raises
        ------
        FilterError
            If the dtype's kind is not among ``kinds`` or its size not among ``sizes``.
        """
        if self.dtype.kind not in kinds or self.dtype.itemsize not in sizes:
            raise FilterError(
                f"filter {filter_name!r} cannot encode dtype {self.dtype}: it takes kinds {', '.join(kinds)}"
                f" of {', '.join(map(str, sizes))} bytes",
                filter=filter_name,
                dtype=self.dtype,
            )
