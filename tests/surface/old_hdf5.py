"""HDF5 1.8 as a reader: its shared library, called through ctypes.

.ci/readers brings it, from a wheel of h5py 2.7. STREAMH5_HDF5_1_8 names another ``libhdf5.so.10``.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from tests.readers.programs import brought
from tests.readers.protocol import ReaderError

LIBRARY = brought("STREAMH5_HDF5_1_8", "hdf5-1.8/libhdf5.so.10")


def missing() -> str | None:
    """Tell that the library is not here; None when it is."""
    return None if LIBRARY.is_file() else f"HDF5 1.8 is not at {LIBRARY} (.ci/readers)"


@cache
def library() -> Any:
    """Return the library."""
    found = ctypes.CDLL(str(LIBRARY))
    for call in (
        "H5Fopen",
        "H5Oopen",
        "H5Dopen2",
        "H5Dget_type",
        "H5Dget_space",
        "H5Aopen_by_idx",
        "H5Aget_type",
    ):
        getattr(found, call).restype = ctypes.c_int
    found.H5Sget_simple_extent_npoints.restype = ctypes.c_longlong
    found.H5Tget_size.restype = ctypes.c_size_t
    found.H5open()
    found.H5Eset_auto2(0, None, None)
    major, minor, release = (ctypes.c_uint() for _ in range(3))
    found.H5get_libversion(ctypes.byref(major), ctypes.byref(minor), ctypes.byref(release))
    if (major.value, minor.value) != (1, 8):
        raise ReaderError(f"{LIBRARY} is HDF5 {major.value}.{minor.value}, not 1.8")
    return found


def read_elements(path: Path, dataset: str) -> bytes:
    """Return the elements of a dataset as the file stores their type.

    Raises ReaderError when HDF5 1.8 refuses the file or the dataset.
    """
    hdf5 = library()
    file = _checked(hdf5.H5Fopen(str(path).encode(), 0, 0), f"open {path}")
    try:
        node = _checked(hdf5.H5Dopen2(file, dataset.encode(), 0), f"open {dataset}")
        datatype, space = hdf5.H5Dget_type(node), hdf5.H5Dget_space(node)
        nbytes = hdf5.H5Tget_size(datatype)
        n_points = hdf5.H5Sget_simple_extent_npoints(space)
        content = ctypes.create_string_buffer(max(1, n_points * nbytes))
        _checked(hdf5.H5Dread(node, datatype, 0, 0, 0, content), f"read {dataset}")
        for close, handle in ((hdf5.H5Tclose, datatype), (hdf5.H5Sclose, space), (hdf5.H5Dclose, node)):
            close(handle)
        return content.raw[: n_points * nbytes] if n_points else b""
    finally:
        hdf5.H5Fclose(file)


def _checked(status: int, what: str) -> int:
    if status < 0:
        raise ReaderError(f"HDF5 1.8 cannot {what}")
    return status
