"""The contents of a zarr store: arrays and groups by path, with attributes and dimension names."""

from __future__ import annotations

import base64
import itertools
import json
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.array_plan import source_identity
from streamh5.dask.foreign_errors import describe, foreign_errors
from streamh5.dask.shared_array import SharedArray
from streamh5.errors import MissingCodecError, SourceError, SourceMissingError, shown
from streamh5.model.object_path import join_path, split_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr

ARRAY_DIMENSIONS = "_ARRAY_DIMENSIONS"
"""Attribute in which xarray stores the names of dimensions in zarr 2."""


@dataclass(frozen=True, slots=True)
class StoreArray:
    """An array of a store.

    Parameters
    ----------
    path
        Path of the new dataset.
    shared
        The array itself, also for other processes.
    dims
        Names of its dimensions; None without names, or None in it for one without.
    attributes
        Its attributes except those that contain these names.
    """

    path: str
    shared: SharedArray
    dims: tuple[str | None, ...] | None
    attributes: dict[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        # tasks only read values: names and attributes need not travel with each of them
        return StoreArray, (self.path, self.shared, None, {})

    @property
    def array(self) -> zarr.Array[Any]:
        """The array."""
        return self.shared.open()

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata document."""
        return dict(self.array.metadata.to_dict())

    @property
    def identity(self) -> str:
        """Identity of the array, for a resume: its location and metadata."""
        return source_identity(str(self.array.store_path), json.dumps(self.metadata, default=str))

    def read(self, region: tuple[slice, ...]) -> Any:
        """Return the values of a region.

        Raises
        ------
        SourceError
            A chunk cannot be read or decoded; the message names it.
        """
        array = self.array
        try:
            return np.asarray(array[region])
        except Exception as error:
            coords = self._culprit(region)
            where = f"chunk {coords}" if coords is not None else f"the region {shown(region)}"
            raise SourceError(
                f"{self.path}: {where} of the zarr array cannot be decoded: {describe(error)}",
                path=self.path,
                coords=coords,
            ) from error

    def _culprit(self, region: tuple[slice, ...]) -> tuple[int, ...] | None:
        """Return the first chunk of a region that cannot be read by itself."""
        array = self.array
        if array.metadata.zarr_format == 3 and array.metadata.chunk_grid.to_dict()["name"] != "regular":
            return None
        unit = array.shards or array.chunks
        if 0 in unit:
            return None
        ranges = [range(one.start // n, -(-one.stop // n)) for one, n in zip(region, unit, strict=True)]
        for coords in itertools.product(*ranges):
            part = tuple(slice(i * n, (i + 1) * n) for i, n in zip(coords, unit, strict=True))
            try:
                array[part]
            except Exception:  # noqa: BLE001 - what it raises is known already
                return coords
        return None

    def mask_value(self) -> Any:
        """Return what xarray uses as ``_FillValue``: zarr's fill value in zarr 2, an attribute in zarr 3."""
        if self.array.metadata.zarr_format == 2:
            return self.array.fill_value
        value = self.attributes.get("_FillValue")
        return None if value is None else _decoded_fill(value, self.array.dtype)


@dataclass(frozen=True, slots=True)
class ZarrTree:
    """The arrays of a store and the attributes of its groups, by their new paths."""

    arrays: tuple[StoreArray, ...]
    groups: dict[str, dict[str, Any]]
    is_single: bool


def read_tree(source: Any, path: str | None) -> ZarrTree:
    """Read the contents of a store.

    Parameters
    ----------
    source
        A `zarr.Array` or `zarr.Group`, a path, a URL, or anything else that zarr accepts as a store.
    path
        Path of the dataset or group in the file; ``/data`` for an array, the root for a group by default.

    Raises
    ------
    MissingCodecError
        zarr is not installed, or what the protocol of a URL needs.
    SourceError
        There is no zarr array or group.
    """
    node = _open(source)
    name = str(node.store_path)
    with foreign_errors(f"{name}: the zarr store cannot be listed", source=name):
        if not hasattr(node, "members"):
            return ZarrTree((_array(path or "/data", node),), {}, True)
        root = split_path(path or "/")
        groups: dict[str, dict[str, Any]] = {}
        arrays = []
        waiting = [(root, node)]
        while waiting:  # no recursion: groups may be nested hundreds deep
            names, node = waiting.pop()
            if hasattr(node, "members"):
                groups[join_path(names)] = dict(node.attrs.asdict())
                waiting += [((*names, _member_name(key, node)), member) for key, member in node.members()]
            else:
                arrays.append(_array(join_path(names), node))
    arrays.sort(key=lambda one: one.path)
    return ZarrTree(tuple(arrays), dict(sorted(groups.items())), False)


def _member_name(key: str, group: Any) -> str:
    """Return the name of a member, which a store that names its keys wrongly leaves empty."""
    if key in ("", ".", "..") or "/" in key:
        raise SourceError(
            f"{shown(str(group.store_path), quoted=False)}: a member of the group has the name {shown(key)}; "
            "keys of a zarr store are relative paths",
            name=key,
        )
    return key


def _open(source: Any) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise MissingCodecError(
            "reading zarr stores needs the package 'zarr' (3 or later), which is not installed: "
            "pip install 'streamh5[zarr]'",
            package="zarr",
            extra="zarr",
        ) from error
    if isinstance(source, (zarr.Array, zarr.Group)):
        return source
    if isinstance(source, (str, os.PathLike)) and "://" not in os.fspath(source):
        if not os.path.exists(source):
            raise SourceMissingError(f"{source}: there is no such file or directory", source=str(source))
        if os.path.isfile(source):
            source = _zip_store(os.fspath(source))
    with foreign_errors(f"{source}: no zarr array or group can be opened there", source=str(source)):
        try:
            return zarr.open(source, mode="r")
        except ImportError as error:  # fsspec imports what a protocol needs when it is used
            raise MissingCodecError(
                f"{source}: {error} (pip install 'streamh5[s3]', or gcs, azure, http: what the URL begins with)",
                package=error.name or "fsspec",
            ) from error


def _zip_store(path: str) -> Any:
    import zipfile

    from zarr.storage import ZipStore

    with foreign_errors(f"{path} cannot be read as a zip file of a zarr store", source=path):
        if not zipfile.is_zipfile(path):
            raise SourceError(f"{path} is neither a directory nor a zip file of a zarr store", source=path)
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
        for name in names:
            if name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.rstrip("/").split("/")):
                raise SourceError(
                    f"{path}: the zip file has an entry {shown(name)}; keys of a zarr store are relative paths: "
                    "pack it again from within its folder",
                    source=path,
                    name=name,
                )
        return ZipStore(path, mode="r")


def _array(path: str, array: Any) -> StoreArray:
    attributes = dict(array.attrs.asdict())
    dims: Any = getattr(array.metadata, "dimension_names", None)
    if array.metadata.zarr_format == 2:
        dims = attributes.pop(ARRAY_DIMENSIONS, None)
    if dims is not None and (not isinstance(dims, (tuple, list)) or len(dims) != array.ndim):
        raise SourceError(
            f"{path}: the array of shape {array.shape} has the dimension names {dims!r}; "
            "one for each dimension is needed",
            path=path,
        )
    return StoreArray(path, SharedArray(array), None if dims is None else tuple(dims), attributes)


def _decoded_fill(value: Any, dtype: np.dtype[Any]) -> Any:
    """Decode ``_FillValue`` as xarray stores it in JSON (``FillValueCoder`` of xarray.backends.zarr)."""
    if dtype.kind not in "fS" or not isinstance(value, str):
        return value
    try:
        data = base64.standard_b64decode(value)
        return data if dtype.kind == "S" else struct.unpack("<d", data)[0]
    except (ValueError, struct.error):
        return value  # encoded differently by another writer: it stays an attribute


def storable_attributes(attributes: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield attributes with values that HDF5 can store; others become JSON text."""
    for name, value in attributes.items():
        yield name, value if _is_plain(value) else json.dumps(value)


def _is_plain(value: Any) -> bool:
    """Whether a JSON value is text, numbers, or a regular list of one of them."""
    if isinstance(value, (bool, str, float)):
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    if not isinstance(value, list):
        return False
    if all(isinstance(item, str) for item in value):
        return True
    kinds = {bool if isinstance(item, bool) else list if isinstance(item, list) else float for item in value}
    return len(kinds) == 1 and all(map(_is_plain, value)) and _is_regular(value)


def _is_regular(value: list[Any]) -> bool:
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:
        return False
