"""``.npy`` and netCDF classic files as sources: mapped into memory, read block by block."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from streamh5.arguments.write_options import WriteOptions
from streamh5.conversion.array_plan import ArrayPlan, SourceArray, encoded, file_identity, lazy
from streamh5.conversion.classic_header import read_header
from streamh5.conversion.plan import ConversionPlan
from streamh5.dask.foreign_errors import foreign_errors
from streamh5.dask.seen_file import SeenFile
from streamh5.dask.stored_chunks import Regions
from streamh5.errors import FilterError
from streamh5.filters import FilterOptions
from streamh5.handles.dataset_plan import MAX_WHOLE_NBYTES
from streamh5.handles.file_plan import FilePlan
from streamh5.model.chunk_shape import auto_chunks
from streamh5.model.object_path import check_new_path
from streamh5.netcdf.attributes import netcdf_attribute
from streamh5.netcdf.netcdf4 import NetcdfFile, NetcdfVariable
from streamh5.netcdf.storage import Storage, default_fill, plan_variable

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.conversion.classic_header import ClassicVariable
    from streamh5.conversion.request import Request


def plan_npy(source: str | os.PathLike[str], name: str, request: Request) -> ConversionPlan:
    """Plan the array of a ``.npy`` file as one dataset, with shuffle followed by gzip by default.

    Parameters
    ----------
    source
        The file that is read.
    name
        Path of the dataset.
    request
        How it is to be stored.

    Raises
    ------
    SourceError
        Not a ``.npy`` file, or one of Python objects.
    """
    if request.copy:
        raise FilterError(f"{source} has no stored chunks that could be copied; leave copy=True out")
    with foreign_errors(f"{source}: numpy cannot map it", source=str(source)):
        array = _map_npy(source)
    name = check_new_path(name)
    request.check_arrays({name: array.shape})
    is_text = array.dtype.kind == "U"
    dtype, read_dtype = (np.dtype("U"), np.dtype(object)) if is_text else (array.dtype, array.dtype)
    identity = file_identity(source)
    mapped = _Mapped(source, _map_npy, read_dtype, array)
    one = SourceArray(
        name, array.shape, dtype, Regions(mapped), identity, is_contiguous=array.flags.c_contiguous
    )
    planned = encoded(one, request.for_cloud(one), "a .npy file has no chunks", [])
    return ConversionPlan(FilePlan({name: planned.dataset}), [planned])


def _map_npy(source: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.load(source, mmap_mode="r", allow_pickle=False)
    return array


class _Mapped:
    """Reads regions of an array that is mapped in this process, and mapped again where a pickle of it arrives.

    Parameters
    ----------
    source
        The file.
    map_file
        Maps the array, given the path of the file.
    dtype
        Of the values that are read.
    array
        The array as it is mapped here; None after the journey, until it is first read.
    seen
        The file as the process saw it where it was mapped.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        map_file: Callable[[str], np.ndarray[Any, Any]],
        dtype: np.dtype[Any],
        array: np.ndarray[Any, Any] | None,
        seen: SeenFile | None = None,
    ) -> None:
        self._source, self._map, self._dtype = source, map_file, dtype
        self._array, self._seen = array, seen

    def __reduce__(self) -> tuple[Any, ...]:
        if self._seen is None:
            self._seen = SeenFile.of(self._source)
        return _Mapped, (self._seen.path, self._map, self._dtype, None, self._seen)

    def __call__(self, region: tuple[slice, ...]) -> Any:
        array = self._array
        if array is None:
            if self._seen is not None:
                self._seen.check()
            array = self._array = self._map(os.fspath(self._source))
        return np.asarray(array[region]).astype(self._dtype, copy=False)


FILL_VALUE = "_FillValue"


def plan_classic(source: str | os.PathLike[str], request: Request) -> ConversionPlan:
    """Plan a netCDF classic file (CDF-1, CDF-2 or CDF-5) as netCDF-4; values are not decoded or scaled.

    Dimensions, variables and attributes keep their order; unused dimensions are carried over, too.

    Parameters
    ----------
    source
        The file that is read.
    request
        How arrays are to be stored; shuffle followed by gzip by default.

    Raises
    ------
    SourceError
        The file cannot be read, or is damaged.
    SpecError, LimitError
        A name or an attribute that netCDF-4 does not allow; the message names it.
    """
    if request.copy:
        raise FilterError(f"{source} has no stored chunks that could be copied; leave copy=True out")
    header = read_header(source)
    request.check_arrays({f"/{one.name}": one.shape for one in header.variables})
    notes: list[str] = []
    planned = NetcdfFile()
    root = planned.add_group(
        "/",
        [netcdf_attribute(name, value, where="/") for name, value in header.attributes.items()],
        {one.name: ([dim.name for dim in one.dimensions], one.shape) for one in header.variables},
        unlimited=[one.name for one in header.dimensions if one.is_record],
        declared={one.name: one.length for one in header.dimensions},
    )
    identity = file_identity(source)
    arrays = []
    for variable, one in zip(root.variables.values(), header.variables, strict=True):
        blocks = _plan_variable(variable, one, source, request, identity, notes)
        arrays.append(ArrayPlan(variable.dataset, "netCDF classic has no chunks", blocks))
    file = planned.plan(libver=request.libver, write_empty_chunks=True)
    return ConversionPlan(file, arrays, track_order=True, format="netCDF-4", notes=lambda: notes)


def _plan_variable(
    planned: NetcdfVariable,
    variable: ClassicVariable,
    source: str | os.PathLike[str],
    request: Request,
    identity: str,
    notes: list[str],
) -> da.Array | None:
    """Plan a variable; return its blocks, None where it is written as one value."""
    path, data = planned.path, variable.map(source)
    dtype = data.dtype.newbyteorder("=")
    fill = default_fill(dtype)
    if FILL_VALUE in variable.attributes:
        given = variable.attributes[FILL_VALUE]
        stored = np.frombuffer(given, "S1") if isinstance(given, bytes) else given
        if stored.dtype == data.dtype and stored.size == 1:
            fill = stored.astype(dtype)[0]
        else:
            notes.append(
                f"variable {path} of {dtype} has {stored.size} of {stored.dtype.newbyteorder('=')} as {FILL_VALUE}, "
                "which cannot be its fill value: it is kept as an attribute"
            )
    if data.nbytes > MAX_WHOLE_NBYTES:
        described = SourceArray(
            path, data.shape, dtype, Regions(data.__getitem__), chunks=auto_chunks(data.shape, dtype.itemsize)
        )
        request = request.for_cloud(described)
    chunks: Any = request.chunks_of(path, data.shape)
    filters = request.filters
    if data.nbytes <= MAX_WHOLE_NBYTES and chunks is None:
        filters = FilterOptions(fletcher32=bool(request.fletcher32 and data.ndim))
    storage = Storage(chunks=chunks if isinstance(chunks, tuple) else None, filters=filters)
    maxshape = tuple(None if one.is_record else one.length for one in variable.dimensions)
    array: Any = data
    if data.nbytes > MAX_WHOLE_NBYTES:
        unit = storage.chunks or auto_chunks(data.shape, dtype.itemsize)
        map_file = replace(variable, attributes={}).map  # attributes need not travel with each block
        mapped = _Mapped(source, map_file, dtype, data)
        array = lazy(SourceArray(path, data.shape, dtype, Regions(mapped), identity, unit=unit))
    options = WriteOptions(libver=request.libver, resume_key=identity)
    planned.dataset, target = plan_variable(path, array, dtype, storage, maxshape, fill, options)
    planned.attributes = [
        netcdf_attribute(key, value, where=path) for key, value in variable.attributes.items()
    ]
    return None if target is None else target.array
