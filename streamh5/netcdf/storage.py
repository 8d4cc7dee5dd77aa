"""How the data of a netCDF-4 variable are stored: chunks, filters and fill value -> the target of a write."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da

from streamh5.dask.blocks import block_layout, realigned
from streamh5.dask.graph import Target
from streamh5.errors import SpecError
from streamh5.handles.dataset_plan import NO_FILTERS, plan_dataset
from streamh5.handles.file_plan import PlannedDataset
from streamh5.model.chunk_shape import auto_chunks

if TYPE_CHECKING:
    import numpy as np

    from streamh5.handles.dataset import Dataset
    from streamh5.netcdf.cf_encoding import Storage

__all__ = ["default_fill", "plan_variable"]

DEFAULT_FILLVALUES: dict[str, Any] = {
    "S1": b"\0",
    "i1": -127,
    "u1": 255,
    "i2": -32767,
    "u2": 65535,
    "i4": -2147483647,
    "u4": 4294967295,
    "i8": -9223372036854775806,
    "u8": 18446744073709551614,
    "f4": 9.9692099683868690e36,
    "f8": 9.9692099683868690e36,
}
"""``NC_FILL_CHAR`` ... ``NC_FILL_DOUBLE`` of netcdf.h: what was never written reads as."""

MIN_RECORDS = 512
"""Chunk extent of a short coordinate along an unlimited dimension, so that it can grow (4 KiB of float64)."""


def default_fill(dtype: np.dtype[Any]) -> Any:
    """Return what netCDF-C fills a variable with, unless it has a ``_FillValue``: of text, the empty string."""
    if dtype.kind == "U":
        return ""
    return DEFAULT_FILLVALUES[f"{dtype.kind}{dtype.itemsize}"]


def plan_variable(
    path: str,
    array: Any,
    dtype: np.dtype[Any],
    storage: Storage,
    maxshape: tuple[int | None, ...],
    fillvalue: Any,
    *,
    libver: str,
    resume_key: str | None,
) -> tuple[PlannedDataset, Target | None]:
    """Plan the dataset of a variable, and what tasks write of it: None for data in memory, which it writes itself.

    Parameters
    ----------
    path
        The dataset.
    array
        A dask array, which the tasks of the write store, or a numpy array.
    dtype
        Element type in the file; ``U`` for strings.
    storage
        How it is to be stored.
    maxshape
        Length of each dimension, None for an unlimited one.
    fillvalue
        What elements read as that were never written.
    libver, resume_key
        As for `to_netcdf`.

    Raises
    ------
    SpecError, DatatypeError, LimitError
        Something that cannot be written as asked.
    """
    is_streamed = isinstance(array, da.Array)
    if storage.contiguous and is_streamed and array.ndim:
        raise SpecError(
            f"variable {path}: contiguous=True is for data in memory, and this is a dask array; leave contiguous "
            "out, or load the variable first",
            path=path,
        )
    chunks: Any = storage.chunks if array.ndim else None
    if is_streamed:
        blocks, chunks = block_layout(path, array, "auto" if chunks is None else chunks, maxshape)
        array = realigned(path, array, blocks)
    elif array.ndim and chunks is None and (storage.filters.need_chunks or None in maxshape):
        chunks = _record_chunks(array.shape, maxshape, 16 if dtype.kind == "U" else dtype.itemsize)
    has_chunks = chunks is not None
    spec, chain = plan_dataset(
        path,
        shape=array.shape,
        dtype=dtype,
        chunks=chunks,
        maxshape=maxshape if None in maxshape else None,
        filters=storage.filters if has_chunks else NO_FILTERS,
        fillvalue=fillvalue,
        track_order=True,
        libver=libver,
    )
    if not has_chunks:
        spec = replace(spec, chunks=None)
    source = array.name if is_streamed and resume_key is None else resume_key
    if is_streamed:
        return PlannedDataset(spec, chain, source), Target(spec, chain, array, source)
    return PlannedDataset(spec, chain, source, partial(_write, value=array)), None


def _write(dataset: Dataset, value: np.ndarray[Any, Any]) -> None:
    """Write the data of a variable that is in memory."""
    if not value.size:
        return
    if dataset.chunks is None:
        dataset[()] = value
    elif not dataset.is_stored((0,) * value.ndim, value.shape):  # it is, after a resume
        dataset[...] = value


def _record_chunks(
    shape: tuple[int, ...], maxshape: tuple[int | None, ...], itemsize: int
) -> tuple[int, ...]:
    """Chunk shape of data in memory: all of it, within `auto_chunks`; room to grow for a short vector."""
    if len(shape) == 1 and maxshape[0] is None:
        shape = (max(shape[0], MIN_RECORDS),)
    return auto_chunks(shape, itemsize)
