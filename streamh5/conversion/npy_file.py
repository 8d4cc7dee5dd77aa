"""``.npy`` files as sources: mapped into memory, read block by block."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.base
import numpy as np

from streamh5.conversion.array_plan import SourceArray, encoded
from streamh5.conversion.plan import ConversionPlan
from streamh5.dask.foreign_errors import foreign_errors
from streamh5.errors import FilterError
from streamh5.handles.file_plan import FilePlan
from streamh5.model.object_path import check_new_path

if TYPE_CHECKING:
    from streamh5.conversion.request import Request

__all__ = ["plan_npy"]


def plan_npy(source: str | os.PathLike[str], name: str, request: Request) -> ConversionPlan:
    """Plan the array of a ``.npy`` file as one dataset, gzip behind shuffle by default.

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
        array = np.load(source, mmap_mode="r", allow_pickle=False)
    name = check_new_path(name)
    request.check_arrays({name: array.shape})
    dtype = np.dtype("U") if array.dtype.kind == "U" else array.dtype
    identity = dask.base.tokenize(os.path.realpath(source), os.stat(source).st_mtime_ns)
    one = SourceArray(name, array.shape, dtype, partial(_read, array), identity)
    planned = encoded(one, request, "a .npy file has no chunks", [])
    return ConversionPlan(FilePlan({name: planned.dataset}), [planned])


def _read(array: Any, region: tuple[slice, ...]) -> Any:
    values = np.asarray(array[region])
    return values.astype(object) if values.dtype.kind == "U" else values
