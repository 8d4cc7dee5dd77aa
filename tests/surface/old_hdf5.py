"""HDF5 1.8 as a reader: its shared library, called through ctypes.

.ci/readers brings it, from a wheel of h5py 2.7. STREAMH5_HDF5_1_8 names another ``libhdf5.so.10``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
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
    for call in (found.H5Sget_simple_extent_npoints, found.H5Aget_name):
        call.restype = ctypes.c_ssize_t
    found.H5Tget_size.restype = ctypes.c_size_t
    found.H5Aopen_by_idx.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_ulonglong,
        ctypes.c_int,
        ctypes.c_int,
    ]
    found.H5open()
    found.H5Eset_auto2(0, None, None)
    major, minor, release = (ctypes.c_uint() for _ in range(3))
    found.H5get_libversion(ctypes.byref(major), ctypes.byref(minor), ctypes.byref(release))
    if (major.value, minor.value) != (1, 8):
        raise ReaderError(f"{LIBRARY} is HDF5 {major.value}.{minor.value}, not 1.8")
    return found


@contextmanager
def opened(path: Path, object_path: str) -> Iterator[int]:
    """Open an object; its handle is for the functions below.

    Raises ReaderError when HDF5 1.8 refuses the file or the object, as they do for what is in it.
    """
    hdf5 = library()
    file = _checked(hdf5.H5Fopen(str(path).encode(), 0, 0), f"open {path}")
    try:
        node = _checked(hdf5.H5Oopen(file, object_path.encode(), 0), f"open {object_path}")
        try:
            yield node
        finally:
            hdf5.H5Oclose(node)
    finally:
        hdf5.H5Fclose(file)


def elements(dataset: int) -> bytes:
    """Return the elements of a dataset as the file stores their type; variable-length ones as pointers."""
    hdf5 = library()

    def read(datatype: int, content: Any) -> int:
        status: int = hdf5.H5Dread(dataset, datatype, 0, 0, 0, content)
        return status

    return _values(hdf5.H5Dget_type(dataset), hdf5.H5Dget_space(dataset), read)


def attributes(node: int) -> dict[str, bytes]:
    """Return the values of all attributes as the file stores their types; variable-length ones as pointers."""
    hdf5 = library()
    found = {}
    for i in range(_checked(hdf5.H5Aget_num_attrs(node), "count attributes")):
        attribute = _checked(hdf5.H5Aopen_by_idx(node, b".", 0, 0, i, 0, 0), f"open attribute {i}")
        name = ctypes.create_string_buffer(_checked(hdf5.H5Aget_name(attribute, 0, None), "name it") + 1)
        hdf5.H5Aget_name(attribute, len(name), name)
        read = partial(hdf5.H5Aread, attribute)
        found[name.value.decode()] = _values(hdf5.H5Aget_type(attribute), hdf5.H5Aget_space(attribute), read)
        hdf5.H5Aclose(attribute)
    return found


def n_links(group: int) -> int:
    """Return the number of links in a group."""
    n = ctypes.c_ulonglong()
    _checked(library().H5Gget_num_objs(group, ctypes.byref(n)), "count links")
    return n.value


def has_link(group: int, name: str) -> bool:
    """Tell whether a group has a link of this name."""
    return bool(_checked(library().H5Lexists(group, name.encode(), 0), f"look for {name}"))


def _values(datatype: int, space: int, read: Callable[[int, Any], int]) -> bytes:
    hdf5 = library()
    nbytes = hdf5.H5Sget_simple_extent_npoints(space) * hdf5.H5Tget_size(datatype)
    content = ctypes.create_string_buffer(max(1, nbytes))
    _checked(read(datatype, content), "read the values")
    hdf5.H5Tclose(datatype)
    hdf5.H5Sclose(space)
    return content.raw[:nbytes]


def _checked(status: int, what: str) -> int:
    if status < 0:
        raise ReaderError(f"HDF5 1.8 cannot {what}")
    return status
