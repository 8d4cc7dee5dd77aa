"""``.streamh5`` of xarray objects: registered when xarray is imported, be it before or after streamh5.

Importing streamh5 does not import xarray, which takes longer than all of streamh5. Where xarray comes
later, a finder on ``sys.meta_path`` hands it on unchanged and registers the accessors behind it.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from typing import TYPE_CHECKING, Any

from streamh5.netcdf.xarray_dataset import to_netcdf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from dask.delayed import Delayed

    from streamh5.sinks.destination_path import Destination
    from streamh5.write.summary import WriteSummary

__all__ = ["StreamH5Accessor", "register_accessors"]


class StreamH5Accessor:
    """``.streamh5`` of a Dataset, DataArray or DataTree."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def to_netcdf(
        self,
        path: Destination | None = None,
        mode: str = "w",
        format: str | None = None,
        group: str | None = None,
        engine: str | None = None,
        encoding: Mapping[Any, Any] | None = None,
        unlimited_dims: Any = None,
        compute: bool = True,
        **kwargs: Any,
    ) -> WriteSummary | Delayed | memoryview:
        """Write this object as one netCDF-4 file: `streamh5.to_netcdf` with this object.

        Parameters
        ----------
        path, mode, format, group, engine, encoding, unlimited_dims, compute
            As xarray's own ``to_netcdf`` takes them; see `streamh5.to_netcdf`.
        **kwargs
            Further keywords of `streamh5.to_netcdf`.
        """
        if path is None:
            path = kwargs.pop("filepath", None)  # its name in `xarray.DataTree.to_netcdf`
        return to_netcdf(
            self._data, path, mode, format, group, engine, encoding, unlimited_dims, compute, **kwargs
        )


def register_accessors() -> None:
    """Register ``.streamh5`` now where xarray is imported, as soon as it is otherwise."""
    xarray = sys.modules.get("xarray")
    if xarray is None:
        sys.meta_path.insert(0, _Finder())
    else:
        _register(xarray)


def _register(xarray: ModuleType) -> None:
    for kind in ("dataset", "dataarray", "datatree"):
        getattr(xarray, f"register_{kind}_accessor")("streamh5")(StreamH5Accessor)


class _Finder(MetaPathFinder):
    """Finds xarray where the other finders do."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "xarray":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec


class _Loader(Loader):
    """Loads xarray as its own loader does, then registers the accessors."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        _register(module)
