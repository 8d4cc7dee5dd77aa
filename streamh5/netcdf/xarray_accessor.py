"""The accessor ``.streamh5`` of xarray objects; the rest of streamh5 is imported when it is first called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.processes.import_hook import IMPORT_LOCK

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from dask.delayed import Delayed

    from streamh5.sinks.destination_path import Destination
    from streamh5.write.summary import WriteSummary


class StreamH5Accessor:
    """The accessor ``.streamh5`` of a Dataset, DataArray or DataTree."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def to_netcdf(
        self,
        path: Destination | None = None,
        mode: str | None = None,
        format: str | None = None,
        group: str | None = None,
        engine: str | None = None,
        encoding: Mapping[Any, Any] | None = None,
        unlimited_dims: Any = None,
        compute: bool = True,
        **kwargs: Any,
    ) -> WriteSummary | Delayed | memoryview:
        """Write this object as one netCDF-4 file: `streamh5.to_netcdf` with this object.

        The parameters are those of xarray's own method, with their names for editors and ``help``.

        Parameters
        ----------
        path
            The file to write; None returns its bytes.
        mode, format, group, engine, encoding, unlimited_dims, compute
            See `streamh5.to_netcdf`.
        **kwargs
            Further keywords of `streamh5.to_netcdf`, which names the errors, too.

        Returns
        -------
        WriteSummary, Delayed or memoryview
            See `streamh5.to_netcdf`.

        Examples
        --------
        >>> import xarray as xr
        >>> ds = xr.Dataset({"t": (("time", "x"), np.zeros((365, 1000)))})
        >>> summary = ds.streamh5.to_netcdf("t.nc", compression="gzip")
        """
        if path is None:
            path = kwargs.pop("filepath", None)  # its name in `xarray.DataTree.to_netcdf`
        with IMPORT_LOCK:
            from streamh5.netcdf.xarray_dataset import to_netcdf

        return to_netcdf(
            self._data, path, mode, format, group, engine, encoding, unlimited_dims, compute, **kwargs
        )

    def create_space(self, path: Destination, mode: str = "w", **kwargs: Any) -> WriteSummary:
        """Write a file with everything except the data: `streamh5.create_space` with this object.

        Parameters
        ----------
        path, mode
            See `streamh5.create_space`.
        **kwargs
            Further keywords of `streamh5.create_space`.

        Returns
        -------
        WriteSummary
            Of a file without chunks.

        Examples
        --------
        >>> import xarray as xr
        >>> ds = xr.Dataset({"t": (("time", "x"), np.zeros((365, 1000)))})
        >>> summary = ds.streamh5.create_space("t.nc")
        >>> summary.n_missing == summary.n_chunks
        True
        """
        with IMPORT_LOCK:
            from streamh5.netcdf.xarray_dataset import create_space

        return create_space(self._data, path, mode, **kwargs)


def register_accessors(xarray: ModuleType) -> None:
    """Register the accessor ``.streamh5`` for xarray objects."""
    for kind in ("dataset", "dataarray", "datatree"):
        getattr(xarray, f"register_{kind}_accessor")("streamh5")(StreamH5Accessor)
