"""netCDF classic files as sources, through xarray: every value and attribute as stored, as netCDF-4."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

from streamh5.errors import FilterError, MissingCodecError, SourceError
from streamh5.sources.conversion import ArrayConversion, Conversion
from streamh5.sources.xarray_dataset import to_netcdf
from streamh5.sources.xarray_encoding import EncodedDataset
from streamh5.summary import WriteSummary

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.memory_size import MemorySize
    from streamh5.sinks.local_file import Sync
    from streamh5.sources.conversion import Request

__all__ = ["from_netcdf_classic"]

ENGINES = (("scipy", "scipy"), ("netcdf4", "netCDF4"))
"""Engines of xarray that read the format, and the packages that they need."""


def from_netcdf_classic(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    request: Request,
    *,
    overwrite: bool = False,
    sync: Sync = "close",
    max_memory: MemorySize | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
) -> Conversion:
    """Write a netCDF classic file as netCDF-4: nothing is decoded or scaled on the way.

    Parameters
    ----------
    source
        The file that is read.
    path
        The file to write.
    request
        How arrays are to be stored; gzip behind shuffle by default.
    overwrite, sync, max_memory, progress
        As for `to_fixed_h5`.

    Raises
    ------
    MissingCodecError
        xarray is not installed, or neither scipy nor netCDF4 is.
    SourceError
        The file cannot be read.
    """
    if request.copy:
        raise FilterError(f"{source} has no stored chunks that could be copied; leave copy=True out")
    with _opened(source) as dataset:
        request.check_arrays({f"/{name}": one.shape for name, one in dataset.variables.items()})
        filters = {key: value for key, value in request.filters.items() if key != "fletcher32"}
        encoding = {
            name: _encoding(f"/{name}", variable, request) for name, variable in dataset.variables.items()
        }
        summary = to_netcdf(
            EncodedDataset(dataset),
            path,
            "w" if overwrite else "x",
            encoding=encoding,
            sync=sync,
            libver=request.libver,
            max_memory=max_memory,
            progress=progress,
            **filters,
        )
    if not isinstance(summary, WriteSummary):
        raise SourceError(f"{source}: nothing was written")
    reason = "netCDF classic has no chunks"
    arrays = tuple(
        ArrayConversion(one.path, False, reason)
        for one in summary.datasets
        if one.path.lstrip("/") in encoding
    )
    return Conversion(summary, arrays, "netCDF-4")


def _encoding(path: str, variable: Any, request: Request) -> dict[str, Any]:
    """How a variable is stored."""
    encoding: dict[str, Any] = {}
    chunks = request.chunks_of(path, variable.shape)
    if isinstance(chunks, tuple):
        encoding["chunksizes"] = chunks
    if request.fletcher32 and variable.ndim:
        encoding["fletcher32"] = True
    return encoding


def _opened(source: str | os.PathLike[str]) -> Any:
    """Open with the first engine that can: scipy knows no 64-bit data (CDF-5)."""
    engines = [name for name, package in ENGINES if importlib.util.find_spec(package)]
    if importlib.util.find_spec("xarray") is None or not engines:
        raise MissingCodecError(
            "reading netCDF classic files needs the packages 'xarray' and 'scipy' (or 'netCDF4'), which are not "
            "installed: pip install xarray scipy",
            package="xarray",
        )
    import xarray as xr

    problems = []
    for engine in engines:
        try:
            return xr.open_dataset(os.fspath(source), engine=engine, decode_cf=False)
        except (OSError, ValueError, TypeError, LookupError) as error:
            problems.append(f"{engine}: {error}")
    raise SourceError(f"{source}: it cannot be read as netCDF ({'; '.join(problems)})", source=str(source))
