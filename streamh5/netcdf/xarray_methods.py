"""The methods of the accessor ``.streamh5``: public functions with the object of the accessor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.arguments.signatures import passes_on
from streamh5.netcdf.xarray_dataset import create_space, to_netcdf

if TYPE_CHECKING:
    from dask.delayed import Delayed

    from streamh5.netcdf.xarray_accessor import StreamH5Accessor
    from streamh5.write.summary import WriteSummary


@passes_on(to_netcdf, omit=("data",))
def object_to_netcdf(
    self: StreamH5Accessor, *args: Any, **kwargs: Any
) -> WriteSummary | Delayed | memoryview:
    """Write this object as one netCDF-4 file, compressed on all cores: `streamh5.to_netcdf` as a method.

    The parameters are those of xarray's own method, and more. All variables are computed in one pass; blocks of dask
    arrays, and parts of large arrays that are not loaded yet, are written by worker threads. The file appears under its
    name when it is complete.

    Parameters
    ----------
    **kwargs
        Those of `to_netcdf`.

    Examples
    --------
    >>> import xarray as xr
    >>> ds = xr.Dataset({"t": (("time", "x"), np.zeros((365, 1000)))})
    >>> summary = ds.streamh5.to_netcdf("t.nc", compression="gzip")
    """
    if "filepath" in kwargs and "path" not in kwargs:
        kwargs["path"] = kwargs.pop("filepath")  # its name in `xarray.DataTree.to_netcdf`
    return to_netcdf(self._data, *args, **kwargs)


@passes_on(create_space, omit=("data",))
def object_create_space(self: StreamH5Accessor, *args: Any, **kwargs: Any) -> WriteSummary:
    """Write a file with everything except the data of this object: `streamh5.create_space` as a method.

    Parameters
    ----------
    **kwargs
        Those of `create_space`.

    Examples
    --------
    >>> import xarray as xr
    >>> ds = xr.Dataset({"t": (("time", "x"), np.zeros((365, 1000)))})
    >>> summary = ds.streamh5.create_space("t.nc")
    >>> summary.n_missing == summary.n_chunks
    True
    """
    return create_space(self._data, *args, **kwargs)
