"""``.npy`` files as sources: mapped into memory, read block by block."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.base
import numpy as np

from streamh5.arguments.write_options import WriteOptions
from streamh5.conversion.array_target import SourceArray, encoded
from streamh5.conversion.request import Conversion
from streamh5.dask.blocks import limit_workers
from streamh5.dask.foreign_errors import foreign_errors
from streamh5.dask.graph import Write
from streamh5.errors import FilterError
from streamh5.handles.dataset_plan import check_new_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.memory_size import MemorySize
    from streamh5.conversion.request import Request
    from streamh5.handles.file import File
    from streamh5.sinks.destination_path import Destination

__all__ = ["from_npy"]


def from_npy(
    source: str | os.PathLike[str],
    path: Destination,
    name: str,
    request: Request,
    *,
    overwrite: bool = False,
    sync: Sync = "close",
    max_memory: MemorySize | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
) -> Conversion:
    """Write the array of a ``.npy`` file as one dataset, gzip behind shuffle by default.

    Parameters
    ----------
    source
        The file that is read.
    path
        The file to write.
    name
        Path of the dataset.
    request
        How it is to be stored.
    overwrite, sync, max_memory, progress
        As for `to_fixed_h5`.

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
    one = SourceArray(name, array.shape, dtype, None, partial(_read, array), None, identity)
    planned = encoded(one, request, "a .npy file has no chunks", track_order=False)

    def prepare(file: File) -> None:
        planned.target.create(file)

    write = Write(
        path,
        [planned.target],
        prepare,
        WriteOptions(mode="w" if overwrite else "x", libver=request.libver, sync=sync),
        progress=progress,
    )
    summary = write.compute(**limit_workers({}, [planned.target], max_memory))
    return Conversion(summary, (planned.report(),))


def _read(array: Any, region: tuple[slice, ...]) -> Any:
    values = np.asarray(array[region])
    return values.astype(object) if values.dtype.kind == "U" else values
