"""The accessor ``.streamh5`` of xarray objects; the rest of streamh5 is imported when somebody looks at a method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.processes.late_method import LateMethod

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def _to_netcdf() -> Callable[..., Any]:
    from streamh5.netcdf.xarray_methods import object_to_netcdf

    return object_to_netcdf


def _create_space() -> Callable[..., Any]:
    from streamh5.netcdf.xarray_methods import object_create_space

    return object_create_space


class StreamH5Accessor:
    """The accessor ``.streamh5`` of a Dataset, DataArray or DataTree."""

    to_netcdf = LateMethod(_to_netcdf)
    create_space = LateMethod(_create_space)

    def __init__(self, data: Any) -> None:
        self._data = data


def register_accessors(xarray: ModuleType) -> None:
    """Register the accessor ``.streamh5`` for xarray objects."""
    for kind in ("dataset", "dataarray", "datatree"):
        getattr(xarray, f"register_{kind}_accessor")("streamh5")(StreamH5Accessor)
