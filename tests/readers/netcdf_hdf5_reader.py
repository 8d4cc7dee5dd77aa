"""The HDF5 library inside the netCDF4 wheel, called through ctypes.

`netCDF4.Dataset` itself is no judge of plain HDF5 files: netCDF-C has no float16, and reading such a
variable ends the interpreter with a segmentation fault. The library below it reads every type.
Values are read in the file's own datatype, so nothing but the layout and the filters is at work.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.readers.plugins import plugin_folder
from tests.readers.protocol import ReaderError, Values, compound_dtype, is_boolean

INTEGER, FLOAT, STRING, OPAQUE, COMPOUND, ENUM, COMPLEX = 0, 1, 3, 5, 6, 8, 11
NULL_SPACE = 2
ORDERS = {0: "<", 1: ">", 4: "|"}
HID, HSIZES = c_int64, POINTER(c_uint64)

SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "H5open": (c_int, []),
    "H5get_libversion": (c_int, [POINTER(c_uint)] * 3),
    "H5free_memory": (c_int, [c_void_p]),
    "H5Zfilter_avail": (c_int, [c_int]),
    "H5Fopen": (HID, [c_char_p, c_uint, HID]),
    "H5Fclose": (c_int, [HID]),
    "H5Dopen2": (HID, [HID, c_char_p, HID]),
    "H5Dclose": (c_int, [HID]),
    "H5Dget_type": (HID, [HID]),
    "H5Dget_space": (HID, [HID]),
    "H5Dread": (c_int, [HID, HID, HID, HID, HID, c_void_p]),
    "H5Oopen": (HID, [HID, c_char_p, HID]),
    "H5Oclose": (c_int, [HID]),
    "H5Aget_num_attrs": (c_int, [HID]),
    "H5Aopen_by_idx": (HID, [HID, c_char_p, c_int, c_int, c_uint64, HID, HID]),
    "H5Aclose": (c_int, [HID]),
    "H5Aget_name": (c_int64, [HID, c_size_t, c_char_p]),
    "H5Aget_type": (HID, [HID]),
    "H5Aget_space": (HID, [HID]),
    "H5Aread": (c_int, [HID, HID, c_void_p]),
    "H5Sclose": (c_int, [HID]),
    "H5Sget_simple_extent_type": (c_int, [HID]),
    "H5Sget_simple_extent_ndims": (c_int, [HID]),
    "H5Sget_simple_extent_dims": (c_int, [HID, HSIZES, HSIZES]),
    "H5Tclose": (c_int, [HID]),
    "H5Tget_class": (c_int, [HID]),
    "H5Tget_size": (c_size_t, [HID]),
    "H5Tget_order": (c_int, [HID]),
    "H5Tget_sign": (c_int, [HID]),
    "H5Tget_super": (HID, [HID]),
    "H5Tget_nmembers": (c_int, [HID]),
    "H5Tget_member_name": (c_void_p, [HID, c_uint]),
    "H5Tget_member_offset": (c_size_t, [HID, c_uint]),
    "H5Tget_member_type": (HID, [HID, c_uint]),
    "H5Tget_member_value": (c_int, [HID, c_uint, c_void_p]),
    "H5Tis_variable_str": (c_int, [HID]),
    "H5Treclaim": (c_int, [HID, HID, HID, c_void_p]),
}


class NetcdfHdf5Reader:
    """HDF5 2.2, as the netCDF4 wheel carries it."""

    name = "netCDF4's HDF5"

    def version(self) -> str:
        numbers = [c_uint() for _ in range(3)]
        _call("H5get_libversion", *map(byref, numbers))
        package = importlib.metadata.version("netCDF4")
        return f"HDF5 {'.'.join(str(number.value) for number in numbers)} of netCDF4 {package}"

    def missing(self) -> str | None:
        return (
            None if library_path() is not None else "no HDF5 library of a netCDF4 wheel (pip install netCDF4)"
        )

    def refuses(self, dtype: np.dtype[Any], filter_ids: frozenset[int] = frozenset()) -> str | None:
        unknown = sorted(number for number in filter_ids if _library().H5Zfilter_avail(number) <= 0)
        return f"{self.name} has no plugin for filters {unknown}" if unknown else None

    def read(self, path: Path, dataset: str) -> Values:
        with _opened_in(path, "H5D", "H5Dopen2", dataset) as node:
            return _read(node, "H5D", lambda kind, buffer: _call("H5Dread", node, kind, 0, 0, 0, buffer))

    def attributes(self, path: Path, object_path: str) -> dict[str, Any]:
        found = {}
        with _opened_in(path, "H5O", "H5Oopen", object_path) as node:
            for index in range(_call("H5Aget_num_attrs", node)):
                with _opened("H5A", "H5Aopen_by_idx", node, b".", 0, 0, index, 0, 0) as attribute:
                    found[_name(attribute)] = _attribute(attribute)
        return found


@cache
def library_path() -> Path | None:
    """Return the HDF5 library among the files of the installed netCDF4, if there is one."""
    try:
        files = importlib.metadata.files("netCDF4") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = (Path(str(f.locate())) for f in files if f.name.startswith(("libhdf5-", "libhdf5.")))
    return next((path for path in found if path.exists()), None)


@cache
def _library() -> ctypes.CDLL:
    plugin_folder()
    library = ctypes.CDLL(str(library_path()))
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.H5open()
    return library


def _call(name: str, *arguments: Any) -> int:
    """Call the library; it prints its error stack itself, which pytest shows beside a failure."""
    result = int(getattr(_library(), name)(*arguments))
    if result < 0:
        raise ReaderError(f"{name} of netCDF4's HDF5 failed")
    return result


@contextmanager
def _opened(kind: str, name: str, *arguments: Any) -> Iterator[int]:
    identifier = _call(name, *arguments)
    try:
        yield identifier
    finally:
        _call(f"{kind}close", identifier)


@contextmanager
def _opened_in(path: Path, kind: str, name: str, object_path: str) -> Iterator[int]:
    file_access = _opened("H5F", "H5Fopen", bytes(path), 0, 0)
    with file_access as file, _opened(kind, name, file, object_path.encode(), 0) as node:
        yield node


def _read(node: int, kind: str, read: Callable[[int, c_void_p], int]) -> Values:
    with (
        _opened("H5T", f"{kind}get_type", node) as datatype,
        _opened("H5S", f"{kind}get_space", node) as space,
    ):
        shape = _shape(space)
        if _call("H5Tget_class", datatype) == STRING and _call("H5Tis_variable_str", datatype):
            return _read_texts(datatype, space, shape, read)
        dtype = _dtype(datatype)
        values = np.zeros((0,) if shape is None else shape, dtype)
        if values.size:
            read(datatype, values.ctypes.data_as(c_void_p))
        return values


def _read_texts(
    datatype: int, space: int, shape: tuple[int, ...] | None, read: Callable[[int, c_void_p], int]
) -> Values:
    if shape is None:
        return np.empty(0, object)
    pointers = (c_char_p * max(1, math.prod(shape)))()
    read(datatype, ctypes.cast(pointers, c_void_p))
    texts = np.empty(math.prod(shape), object)
    texts[:] = [(pointers[i] or b"").decode() for i in range(len(texts))]
    _call("H5Treclaim", datatype, space, 0, ctypes.cast(pointers, c_void_p))
    return texts.reshape(shape)


def _shape(space: int) -> tuple[int, ...] | None:
    if _call("H5Sget_simple_extent_type", space) == NULL_SPACE:
        return None
    extents = (c_uint64 * max(1, _call("H5Sget_simple_extent_ndims", space)))()
    rank = _call("H5Sget_simple_extent_dims", space, extents, None)
    return tuple(int(extents[i]) for i in range(rank))


def _name(attribute: int) -> str:
    buffer = ctypes.create_string_buffer(_call("H5Aget_name", attribute, 0, None) + 1)
    _call("H5Aget_name", attribute, len(buffer), buffer)
    return buffer.value.decode()


def _attribute(attribute: int) -> Any:
    values = _read(attribute, "H5A", lambda datatype, buffer: _call("H5Aread", attribute, datatype, buffer))
    return values[()] if values.ndim == 0 else values


def _dtype(datatype: int) -> np.dtype[Any]:
    kind, nbytes = _call("H5Tget_class", datatype), _call("H5Tget_size", datatype)
    if kind in (STRING, OPAQUE):
        return np.dtype(f"{'S' if kind == STRING else 'V'}{nbytes}")
    if kind == COMPOUND:
        return _compound(datatype, nbytes)
    if kind == ENUM:
        with _opened("H5T", "H5Tget_super", datatype) as base:
            integer = _dtype(base)
        return np.dtype(np.bool_) if is_boolean(_members(datatype, integer)) else integer
    if kind not in (INTEGER, FLOAT, COMPLEX):
        raise ReaderError(f"netCDF4's HDF5: no numpy dtype for datatype class {kind}")
    order = ORDERS[_call("H5Tget_order", datatype)]
    if kind == INTEGER:
        return np.dtype(f"{order}{'i' if _call('H5Tget_sign', datatype) else 'u'}{nbytes}")
    return np.dtype(f"{order}{'f' if kind == FLOAT else 'c'}{nbytes}")


def _compound(datatype: int, nbytes: int) -> np.dtype[Any]:
    names, fields, offsets = [], [], []
    for index in range(_call("H5Tget_nmembers", datatype)):
        names.append(_member_name(datatype, index))
        offsets.append(_call("H5Tget_member_offset", datatype, index))
        with _opened("H5T", "H5Tget_member_type", datatype, index) as member:
            fields.append(_dtype(member))
    compound: np.dtype[Any] = compound_dtype(names, fields, offsets, nbytes)
    return compound


def _members(datatype: int, integer: np.dtype[Any]) -> dict[str, int]:
    members = {}
    for index in range(_call("H5Tget_nmembers", datatype)):
        value = np.zeros(1, integer)
        _call("H5Tget_member_value", datatype, index, value.ctypes.data_as(c_void_p))
        members[_member_name(datatype, index)] = int(value[0])
    return members


def _member_name(datatype: int, index: int) -> str:
    address = _library().H5Tget_member_name(datatype, index)
    if not address:
        raise ReaderError("H5Tget_member_name of netCDF4's HDF5 failed")
    name = ctypes.string_at(address).decode()
    _library().H5free_memory(address)
    return name
