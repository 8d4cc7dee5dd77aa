"""What every filter is: a number in the HDF5 registry, a record for the file, and ``encode``."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Buffer", "Filter"]

Buffer: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
"""Contiguous bytes. ``len()`` of each is its size in bytes: arrays are 1-D, memoryviews of format B."""


class Filter(Protocol):
    """The writing half of one HDF5 filter, set up for one dataset.

    Implementations are immutable and their ``encode`` is called from many threads at once.
    """

    @property
    def filter_id(self) -> int:
        """Number of the filter in the HDF Group's registry."""

    @property
    def name(self) -> str:
        """Name that goes into the filter pipeline message of filters from 256 up."""

    @property
    def optional(self) -> bool:
        """Whether a chunk may be stored without this filter (H5Z_FLAG_OPTIONAL)."""

    @property
    def client_values(self) -> tuple[int, ...]:
        """Client data values that the file holds, uint32 each: all that any reader asks for.

        They are those that the filter's ``set_local`` writes, and where the user left some out, the defaults:
        netCDF-C's zstd and jHDF's bitshuffle do not read a chunk whose pipeline leaves it to them.
        """

    def encode(self, chunk: Buffer) -> Buffer:
        """Encode one chunk.

        Parameters
        ----------
        chunk
            Output of the filter before this one. It must not be kept: its memory is reused.

        Returns
        -------
        Buffer
            The encoded bytes, in new memory or, where there is nothing to do, ``chunk`` itself.
        """
