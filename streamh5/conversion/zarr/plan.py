"""Plan zarr arrays and groups as plain HDF5, or as netCDF-4: named dimensions become scales."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.plan import ConversionPlan
from streamh5.conversion.request import Request
from streamh5.conversion.zarr.array import WIDENED, are_characters, plan_zarr_array
from streamh5.conversion.zarr.tree import StoreArray, ZarrTree, read_tree, storable_attributes
from streamh5.errors import AttributeValueError, DatatypeError, SpecError, listed, shown
from streamh5.handles.file_plan import FilePlan
from streamh5.model.attribute_spec import attribute_spec
from streamh5.model.object_path import join_path, split_path
from streamh5.model.tree import GroupNode
from streamh5.netcdf.attributes import NUMBERS, netcdf_attribute, netcdf_name, string_attribute
from streamh5.netcdf.netcdf4 import NetcdfFile

if TYPE_CHECKING:
    from streamh5.conversion.array_plan import ArrayPlan
    from streamh5.model.attribute_spec import AttributeSpec


DIMENSION_LABELS = "DIMENSION_LABELS"
"""Attribute with the names of dimensions (``H5DSset_label`` of HDF5's high-level library)."""


def plan_zarr(
    source: Any, name: str | None, request: Request, *, netcdf: bool | None = None
) -> ConversionPlan:
    """Plan a zarr array or group; see `from_zarr`.

    Raises
    ------
    StreamH5Error
        `netcdf` is True, and the tree cannot be netCDF-4.
    """
    tree = read_tree(source, name)
    request.check_arrays({one.path: one.array.shape for one in tree.arrays})
    notes: list[str] = []
    has_names = any(one.dims for one in tree.arrays)
    if netcdf or (netcdf is None and has_names and not tree.is_single):
        try:
            return _plan_netcdf(tree, request, is_strict=bool(netcdf))
        except (SpecError, DatatypeError) as error:
            if netcdf:
                raise
            notes.append(f"plain HDF5, not netCDF-4: {error}")
    return _plan_plain(tree, request, notes)


def _plan_plain(tree: ZarrTree, request: Request, notes: list[str]) -> ConversionPlan:
    """Plan datasets like the arrays; names of dimensions become labels."""
    arrays = [plan_zarr_array(one, request) for one in tree.arrays]
    file = FilePlan(write_empty_chunks=False)
    file.objects |= {path: GroupNode(path) for path in tree.groups}
    file.objects |= {one.dataset.spec.path: one.dataset for one in arrays}
    for path, values in [*tree.groups.items(), *((one.path, one.attributes) for one in tree.arrays)]:
        file.attributes[path] = [attribute_spec(k, v, path=path) for k, v in storable_attributes(values)]
    for one in tree.arrays:
        if one.dims is not None and any(one.dims):
            labels = np.array([dim or "" for dim in one.dims], object)
            file.attributes[one.path].append(attribute_spec(DIMENSION_LABELS, labels, path=one.path))
    return ConversionPlan(file, arrays, notes=lambda: notes)


def _plan_netcdf(tree: ZarrTree, request: Request, *, is_strict: bool) -> ConversionPlan:
    """Plan a netCDF-4 file, in which arrays are variables.

    Arrays and attributes that netCDF cannot represent are converted anyway, with a note, unless `is_strict`.

    Raises
    ------
    SpecError, DatatypeError, LimitError
        The tree cannot be netCDF-4; the message names the object.
    """
    notes: list[str] = []
    file = NetcdfFile()
    arrays: list[ArrayPlan] = []
    members: dict[str, dict[str, StoreArray]] = {path: {} for path in tree.groups}
    for one in tree.arrays:
        *parents, name = split_path(one.path)
        members.setdefault(join_path(tuple(parents)), {})[name] = one
    for path in sorted(members, key=split_path):
        names = split_path(path)
        for i, name in enumerate(names):
            netcdf_name(name, "group", join_path(names[:i]))
        phony: dict[int, str] = {}
        group = file.add_group(
            path,
            _attributes(tree.groups.get(path, {}), path),
            {
                name: (_dims_of(one, phony, notes, is_strict=is_strict), _shape_of(one))
                for name, one in members[path].items()
            },
        )
        for planned, one in zip(group.variables.values(), members[path].values(), strict=True):
            at = replace(one, path=planned.path)
            array, planned.attributes = _variable(at, request, notes, is_strict=is_strict)
            planned.dataset = array.dataset
            arrays.append(array)
    plan = file.plan(libver=request.libver, write_empty_chunks=False)
    return ConversionPlan(plan, arrays, track_order=True, format="netCDF-4", notes=lambda: notes)


def _shape_of(one: StoreArray) -> tuple[int, ...]:
    """Shape of the variable: bytes of a fixed length are characters along one more dimension."""
    shape: tuple[int, ...] = one.array.shape
    return (*shape, one.array.dtype.itemsize) if are_characters(one.array.dtype) else shape


def _dims_of(one: StoreArray, phony: dict[int, str], notes: list[str], *, is_strict: bool) -> tuple[str, ...]:
    """Names of the dimensions of a variable; unnamed ones share one `phony` name for each length, as in netCDF-C."""
    shape = one.array.shape
    given = one.dims or (None,) * len(shape)
    pairs = zip(given, shape, strict=True)
    dims = tuple(phony.setdefault(n, f"phony_dim_{len(phony)}") if dim is None else dim for dim, n in pairs)
    if None in given and shape:
        if is_strict:
            raise SpecError(
                f"{one.path}: not all of its dimensions {shape} have names; netCDF needs one for each",
                path=one.path,
            )
        notes.append(f"{one.path}: not all of its dimensions have names; they are called {listed(dims)}")
    return (*dims, f"string{one.array.dtype.itemsize}") if are_characters(one.array.dtype) else dims


def _variable(
    one: StoreArray, request: Request, notes: list[str], *, is_strict: bool
) -> tuple[ArrayPlan, list[AttributeSpec]]:
    """Plan a variable and its attributes."""
    dtype = one.array.dtype
    is_known = f"{dtype.kind}{dtype.itemsize}" in NUMBERS or dtype.kind in "UTS" or dtype in WIDENED
    if not is_known:
        if is_strict:
            raise DatatypeError(
                f"{one.path}: netCDF-4 has no type for dtype {dtype}", path=one.path, dtype=dtype
            )
        notes.append(
            f"{one.path}: netCDF-4 has no type for dtype {dtype}: h5py and h5netcdf read it, netCDF-C may "
            "leave it out"
        )
    attributes = dict(one.attributes)
    fill = one.mask_value()
    if dtype.kind == "b":
        attributes["dtype"] = "bool"  # as xarray marks booleans in netCDF, and reads them
        attributes.pop("_FillValue", None)
        fill = None
    specs = []
    if fill is not None and is_known and not (are_characters(dtype) and not fill):
        spec = _fill_attribute(one, fill)
        if spec is None:
            notes.append(
                f"{one.path}: its _FillValue {shown(fill)} is not a value of dtype {dtype}; it stays an attribute"
            )
            attributes.setdefault("_FillValue", fill)
        else:
            attributes.pop("_FillValue", None)
            specs.append(spec)
    return plan_zarr_array(one, request, netcdf=True), [*specs, *_attributes(attributes, one.path)]


def _fill_attribute(one: StoreArray, fill: Any) -> AttributeSpec | None:
    """Return ``_FillValue`` in the type of the variable; None where it cannot represent it."""
    dtype: np.dtype[Any] = WIDENED.get(one.array.dtype, one.array.dtype)
    if dtype.kind in "UT":
        return string_attribute("_FillValue", [str(fill)], where=one.path)
    try:
        with np.errstate(all="ignore"):
            value = np.asarray(fill)
            stored = value.astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return None
    is_kept = dtype.kind == "f" or np.array_equal(value, stored)
    if value.ndim or not is_kept or are_characters(dtype):
        return None
    return netcdf_attribute("_FillValue", stored[()], where=one.path)


def _attributes(attributes: dict[str, Any], where: str) -> list[AttributeSpec]:
    """Plan attributes as netCDF-4 stores them: booleans as integers of a byte, lists of lists as JSON text."""
    specs = []
    for key, value in storable_attributes(attributes):
        array = np.asarray(value)
        try:
            number = array.astype("i1") if array.dtype.kind == "b" else value
            specs.append(netcdf_attribute(key, number, where=where))
        except AttributeValueError:
            specs.append(netcdf_attribute(key, json.dumps(value), where=where))
    return specs
