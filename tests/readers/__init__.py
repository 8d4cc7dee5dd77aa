"""Other people's programs that judge what streamh5 writes.

Take them from the ``reader`` fixture (one test a reader; a missing one skips and says which), or, where
one test asks all of them, from `readers_for`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.readers.h5dump_reader import H5dumpReader
from tests.readers.h5py_reader import H5pyReader
from tests.readers.h5wasm_reader import H5wasmReader
from tests.readers.netcdf_hdf5_reader import NetcdfHdf5Reader
from tests.readers.protocol import AttributeReader, Reader
from tests.readers.pytables_reader import PyTablesReader

__all__ = ["READERS", "AttributeReader", "Reader", "attribute_readers", "readers_for"]

READERS: tuple[Reader, ...] = (
    H5pyReader(),
    NetcdfHdf5Reader(),
    PyTablesReader(),
    H5dumpReader(),
    H5wasmReader(),
)


def readers_for(dtype: Any, filter_ids: frozenset[int] = frozenset()) -> list[Reader]:
    """Return the readers that are here, hold the dtype and undo the filters."""
    here = (reader for reader in READERS if reader.missing() is None)
    return [reader for reader in here if reader.refuses(np.dtype(dtype), filter_ids) is None]


def attribute_readers() -> list[AttributeReader]:
    """Return the readers that are here and show attributes."""
    return [r for r in READERS if isinstance(r, AttributeReader) and r.missing() is None]
