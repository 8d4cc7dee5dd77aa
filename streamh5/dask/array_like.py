"""Arrays of other libraries as dask arrays: read lazily, in blocks of whole chunks."""

from __future__ import annotations

import sys
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import dask.base
import numpy as np

from streamh5.dask.foreign_errors import foreign_errors
from streamh5.dask.shared_array import SharedArray
from streamh5.dask.shared_dataset import SharedDataset
from streamh5.dask.source_arrays import lazy_array
from streamh5.dask.stored_chunks import block_shape
from streamh5.errors import SourceError
from streamh5.handles.given_data import as_array
from streamh5.model.chunk_shape import is_chunk_shape, unit_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.dask.stored_chunks import Region


TEXT_NBYTES = 64
"""Assumed size in memory of an element of text or of variable length."""


def as_dask(path: str, value: Any, chunks: Any) -> tuple[da.Array, Any, bool]:
    """Return an array-like as a dask array, the chunks to store it with, and whether only this process reads it.

    Parameters
    ----------
    path
        Name of the dataset, for messages.
    value
        A dask array; an array of numpy, h5py, zarr or xarray, or of anything with ``shape``, ``dtype`` and
        slices, which is read in blocks of about 16 MiB as the write proceeds; or a list or number.
    chunks
        See `to_fixed_h5`. None stands for the chunks of `value`, or for ``"auto"`` if it has none.

    Raises
    ------
    SourceError
        Not an array.
    """
    if isinstance(value, da.Array):
        return value, chunks, False
    with foreign_errors(f"{path}: {type(value).__name__} cannot be read as an array", path=path):
        data, read, is_local = _opened(path, value)
    if isinstance(data, da.Array):
        return data, chunks, False
    is_open = chunks is None or chunks is True
    shape = tuple(data.shape)
    own = getattr(data, "chunks", None)
    own = own if is_chunk_shape(own, len(shape)) else None
    dtype: np.dtype[Any] = data.dtype
    itemsize = TEXT_NBYTES if dtype.hasobject or dtype.kind in "UT" else max(1, dtype.itemsize)
    unit = unit_shape(getattr(data, "shards", None) or own or chunks, shape, itemsize)
    block = block_shape(shape, unit, itemsize)
    array = lazy_array(read, shape, block, dtype, path, _identity(data))
    if not is_open or not shape:
        return array, chunks, is_local
    return array, tuple(map(min, own, shape)) if own and 0 not in shape else "auto", is_local


def _opened(path: str, value: Any) -> tuple[Any, Callable[[Region], Any], bool]:
    """Return an object with shape and dtype, what reads a region of it, and whether only this process can do so."""
    xarray = sys.modules.get("xarray")
    if xarray is not None and isinstance(value, (xarray.DataArray, xarray.Variable)):
        variable = value.variable if isinstance(value, xarray.DataArray) else value
        if variable.chunks is not None:
            return variable.data, partial(_read, variable.data), False
        if variable.dtype.kind != "O":
            return variable, partial(_read_variable, variable), variable._in_memory
        value = variable.to_numpy()
    is_sliced = all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__"))
    is_table = hasattr(value, "iloc")  # pandas
    if is_sliced and value.shape is None:
        raise SourceError(f"{path}: an empty dataset has no blocks; write it with streamh5.File", path=path)
    is_open = isinstance(value, np.ndarray) and value.dtype == object and not value.dtype.metadata
    if is_sliced and not is_table and not is_open and value.shape:
        return value, *_reader(value)
    is_plain = isinstance(value, (list, tuple, int, float, complex, str, bytes, np.generic))
    if not is_plain and (not hasattr(value, "__array__") or hasattr(value, "__dask_graph__")):
        raise SourceError(
            f"{path}: an array is needed (of dask, numpy, h5py, zarr or xarray), not {type(value).__name__}",
            path=path,
        )
    array = as_array(value, None, path)
    return array, partial(_read, array), True


def _identity(data: Any) -> str:
    """Return the identity of an array, for a resume.

    It is derived from where the array is stored or from its content; otherwise it differs in each call.
    """
    place = getattr(data, "store_path", None)
    if place is not None:  # zarr
        return str(dask.base.tokenize(str(place), data.shape, str(data.dtype), data.chunks))
    file = getattr(data, "file", None)
    if file is not None and hasattr(file, "filename"):  # h5py
        return str(
            dask.base.tokenize(str(file.filename), data.name, data.shape, str(data.dtype), data.chunks)
        )
    if isinstance(data, np.ndarray) or hasattr(data, "__dask_tokenize__"):
        return str(dask.base.tokenize(data))
    return uuid.uuid4().hex  # dask would pickle the whole array


def _reader(value: Any) -> tuple[Callable[[Region], Any], bool]:
    """Return a function that reads a region of an array, and whether only this process can."""
    h5py, zarr = sys.modules.get("h5py"), sys.modules.get("zarr")
    if h5py is not None and type(value) is h5py.Dataset:
        dataset = SharedDataset(value.id, value.file, h5py.h5i.get_name(value.id))
        return partial(_read_h5py, dataset), dataset.is_local
    if zarr is not None and type(value) is zarr.Array and hasattr(value, "store_path"):  # zarr 2 has none
        array = SharedArray(value)
        return partial(_read_zarr, array), array.is_local
    return partial(_read, value), True


def _read_h5py(shared: SharedDataset, region: Region) -> Any:
    import h5py

    return _read(h5py.Dataset(shared.open()), region)


def _read_zarr(shared: SharedArray, region: Region) -> Any:
    return _read(shared.open(), region)


def _read(data: Any, region: Region) -> Any:
    values = data[region]
    # sparse arrays and those of a GPU are converted, or refused, where blocks are stored
    is_known = any(hasattr(values, name) for name in ("todense", "__cuda_array_interface__"))
    return values if is_known else np.asanyarray(values)  # a masked array keeps its mask


def _read_variable(variable: Any, region: Region) -> Any:
    return variable[region].to_numpy()
