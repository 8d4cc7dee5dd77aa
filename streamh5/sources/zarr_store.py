"""zarr arrays and groups to HDF5; groups whose dimensions all have names become netCDF-4."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import DatatypeError, FilterError, SpecError
from streamh5.plan.attribute_spec import AttributeSpec, attribute_spec
from streamh5.plan.object_path import join_path, split_path
from streamh5.sources.array_target import ArrayTarget, SourceArray, StoredAs, copied, encoded
from streamh5.sources.conversion import KEEP, Conversion, Request, check_destination
from streamh5.sources.dask_blocks import limit_workers
from streamh5.sources.dask_graph import Write
from streamh5.sources.netcdf4 import (
    NetcdfGroup,
    NetcdfVariable,
    check_members,
    create_groups,
    define_dimensions,
)
from streamh5.sources.netcdf4_attributes import NUMBERS, netcdf_attribute, netcdf_name, string_attribute
from streamh5.sources.zarr_chunks import chunk_reader
from streamh5.sources.zarr_codecs import NotCopiable, stored_layout
from streamh5.sources.zarr_tree import ZarrArray, ZarrTree, json_attributes, read_tree

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from streamh5.file import File
    from streamh5.memory_size import MemorySize
    from streamh5.sinks.local_file import Sync
    from streamh5.sources.zarr_codecs import StoredLayout

__all__ = ["from_zarr"]

DIMENSION_LABELS = "DIMENSION_LABELS"
"""Attribute with the names of dimensions (``H5DSset_label`` of HDF5's high-level library)."""

SMALL_NBYTES = 64 << 10
"""Arrays of up to this size are not worth a plugin: coordinates stay readable where it is missing."""

FIRST_PLUGIN = 256
"""Numbers from here on are filters that are not part of the HDF5 library."""


def from_zarr(
    source: Any,
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    chunks: Any = None,
    compression: Any = KEEP,
    compression_opts: Any = None,
    shuffle: bool | None = None,
    fletcher32: bool | None = None,
    copy: bool | None = None,
    netcdf: bool | None = None,
    verify: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    sync: Sync = "close",
    libver: str = "v110",
    max_memory: MemorySize | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
) -> Conversion:
    """Write a zarr array or group, of format 2 or 3, as one HDF5 file.

    Stored chunks are copied without decoding where HDF5 has filters for their codecs, inner chunks of
    shards too; other arrays are decoded and encoded by dask's workers. Chunks that are missing in the
    store stay missing and read as the fill value. A group whose arrays all have names for their
    dimensions (xarray writes them) becomes netCDF-4.

    Parameters
    ----------
    source
        A `zarr.Array` or `zarr.Group`, a path (a directory or a zip file), a URL, or a store of zarr.
    path
        The file to write.
    name
        Path of the dataset or group in it; by default ``/data`` for an array, the root for a group.
    chunks
        None keeps the stored chunks. ``"auto"``, a shape (within each array of that many dimensions), or
        a dictionary of them by path: arrays whose chunks change are decoded and encoded.
    compression, compression_opts, shuffle, fletcher32
        ``"keep"`` keeps the filters of chunks that are copied, and gives the others gzip behind shuffle.
        Anything else, None too, is as for `to_fixed_h5`, and every array is decoded and encoded.
    copy
        False decodes every array; True refuses one that cannot be copied. By default arrays of up to 64 KiB
        are decoded, too, if their codec (blosc, zstd, ...) needs a plugin in readers.
    netcdf
        True refuses a group that cannot be netCDF-4, False writes plain HDF5 of any.
    verify
        Decode every chunk that is copied, too, as a reader will; one that is damaged is an error. Without
        it, headers and sizes of the stored chunks are looked at.
    overwrite, resume, sync, libver, max_memory, progress
        As for `to_fixed_h5`.

    Returns
    -------
    Conversion
        The summary of the file, and for each array how it came over and why.

    Raises
    ------
    SourceError
        There is no zarr array or group.
    MissingCodecError
        zarr is not installed.
    SpecError, DatatypeError, LimitError
        An array or attribute that cannot be written as asked; the message names it.
    SinkError
        The destination.
    """
    request = Request(chunks, compression, compression_opts, shuffle, fletcher32, copy, verify, libver)
    request.check()
    check_destination(source, path)
    tree = read_tree(source, name)
    request.check_arrays({one.path: one.array.shape for one in tree.arrays})
    notes: list[str] = []
    plan = _netcdf_plan(tree, request, notes, netcdf)
    if plan is None:
        plan = _plain_plan(tree, request)
    targets = [one.target for one in plan.targets]
    write = Write(
        path,
        targets,
        plan.prepare,
        mode="w" if overwrite else "x",
        options={"track_order": plan.is_netcdf, "resume": resume, "sync": sync, "libver": libver},
        progress=progress,
    )
    summary = write.compute(**({} if max_memory is None else limit_workers({}, targets, max_memory)))
    reports = tuple(one.report() for one in plan.targets)
    return Conversion(summary, reports, "netCDF-4" if plan.is_netcdf else "HDF5", tuple(notes))


@dataclass(frozen=True, slots=True)
class _Plan:
    targets: list[ArrayTarget]
    prepare: Callable[[File], None]
    is_netcdf: bool


def _plain_plan(tree: ZarrTree, request: Request) -> _Plan:
    """Datasets as the arrays are; names of dimensions become labels."""
    targets = [_target(one, request) for one in tree.arrays]
    attributes: dict[str, list[AttributeSpec]] = {}
    for path, values in tree.groups.items():
        attributes[path] = [attribute_spec(k, v, path=path) for k, v in json_attributes(values)]
    for one in tree.arrays:
        specs = [attribute_spec(k, v, path=one.path) for k, v in json_attributes(one.attributes)]
        if one.dims is not None and any(one.dims):
            labels = np.array([dim or "" for dim in one.dims], object)
            specs.append(attribute_spec(DIMENSION_LABELS, labels, path=one.path))
        attributes[one.path] = specs

    def prepare(file: File) -> None:
        handles: dict[str, Any] = {}
        for group in tree.groups:
            handles[group] = file.require_group(group)
        for target in targets:
            dataset = target.target.create(file, write_empty_chunks=False)
            handles[dataset.name] = dataset
        for path, specs in attributes.items():
            for spec in specs:
                file.session.set_attribute(handles[path].node, spec)

    return _Plan(targets, prepare, False)


def _netcdf_plan(tree: ZarrTree, request: Request, notes: list[str], netcdf: bool | None) -> _Plan | None:
    """Return the plan of a netCDF-4 file; None where it is to be plain HDF5, with the reason in `notes`.

    Raises
    ------
    StreamH5Error
        `netcdf` is True, and the tree cannot be netCDF-4.
    """
    has_names = any(one.dims for one in tree.arrays)
    if netcdf is False or (netcdf is None and (tree.is_single or not has_names)):
        return None
    try:
        groups, targets = _netcdf_groups(tree, request)
    except (SpecError, DatatypeError) as error:
        if netcdf:
            raise
        notes.append(f"plain HDF5, not netCDF-4: {error}")
        return None
    return _Plan(targets, partial(create_groups, groups=groups, write_empty_chunks=False), True)


def _netcdf_groups(tree: ZarrTree, request: Request) -> tuple[list[NetcdfGroup], list[ArrayTarget]]:
    """Plan groups and variables, parents first."""
    groups = {"/": NetcdfGroup("/")}
    targets: list[ArrayTarget] = []
    members: dict[str, dict[str, ZarrArray]] = {path: {} for path in tree.groups}
    for one in tree.arrays:
        *parents, name = split_path(one.path)
        members.setdefault(join_path(tuple(parents)), {})[name] = one
    n_dimensions = 0
    for path in sorted(members, key=split_path):
        names = split_path(path)
        for i in range(1, len(names) + 1):
            netcdf_name(names[i - 1], "group", join_path(names[: i - 1]))
            parent = groups[join_path(names[: i - 1])]
            groups.setdefault(join_path(names[:i]), NetcdfGroup(join_path(names[:i]), parent))
        group = groups[path]
        group.attributes.update(_netcdf_values(tree.groups.get(path, {}), path))
        dims = {name: _dims_of(one) for name, one in members[path].items()}
        shapes = {name: (dims[name], one.array.shape) for name, one in members[path].items()}
        define_dimensions(group, shapes, first=n_dimensions)
        n_dimensions += len(group.dimensions)
        for name, one in members[path].items():
            at = group.dataset_path(name, dims[name])
            target, attributes = _netcdf_target(replace(one, path=at), request)
            targets.append(target)
            dimensions = tuple(found for dim in dims[name] if (found := group.find(dim)) is not None)
            group.variables[name] = NetcdfVariable(name, dimensions, target.target, None, attributes)
    check_members(list(groups.values()))
    return list(groups.values()), targets


def _dims_of(one: ZarrArray) -> tuple[str, ...]:
    if not one.array.ndim:
        return ()
    if one.dims is None or None in one.dims:
        raise SpecError(
            f"{one.path}: its dimensions {one.array.shape} have no names; netCDF needs one for each",
            path=one.path,
        )
    return tuple(dim for dim in one.dims if dim is not None)


def _netcdf_target(one: ZarrArray, request: Request) -> tuple[ArrayTarget, tuple[AttributeSpec, ...]]:
    """Plan a variable and its attributes."""
    dtype = one.array.dtype
    is_number = f"{dtype.kind}{dtype.itemsize}" in NUMBERS or dtype == np.dtype("S1")
    if not is_number and dtype.kind not in "bUT":
        raise DatatypeError(f"{one.path}: netCDF-4 has no type for dtype {dtype}", path=one.path, dtype=dtype)
    fill = one.mask_value()
    attributes = {key: value for key, value in one.attributes.items() if key != "_FillValue"}
    if dtype.kind == "b":
        attributes["dtype"] = "bool"  # as xarray marks booleans in netCDF, and reads them
        dtype, fill = np.dtype("i1"), None
    specs = [
        netcdf_attribute(key, value, where=one.path)
        for key, value in _netcdf_values(attributes, one.path).items()
    ]
    if fill is not None and dtype.kind in "UT":
        specs.insert(0, string_attribute("_FillValue", [str(fill)], where=one.path))
    elif fill is not None:
        stored = np.asarray(fill).astype(dtype)[()]
        specs.insert(0, netcdf_attribute("_FillValue", stored, where=one.path))
    return _target(one, request, netcdf=True), tuple(specs)


def _netcdf_values(attributes: dict[str, Any], where: str) -> dict[str, Any]:
    """Return attributes as netCDF-4 holds them: booleans as integers of a byte."""
    values = dict(json_attributes(attributes))
    for key, value in values.items():
        if np.asarray(value).dtype.kind == "b":
            values[key] = np.asarray(value).astype("i1")
        netcdf_attribute(key, values[key], where=where)
    return values


def _target(one: ZarrArray, request: Request, *, netcdf: bool = False) -> ArrayTarget:
    """Plan an array: copied where that is possible, else decoded and encoded."""
    array = one.array
    dtype = np.dtype("U") if array.dtype.kind in "UT" else array.dtype
    fill = None if dtype.kind in "OU" else array.fill_value
    if netcdf and dtype.kind == "b":
        dtype = np.dtype("i1")
        fill = None if fill is None else np.int8(fill)
    read = partial(_read, one, dtype)
    is_regular = array.metadata.zarr_format == 2 or array.metadata.chunk_grid.to_dict()["name"] == "regular"
    chunks, unit = (array.chunks, array.shards) if is_regular else (None, None)
    source = SourceArray(one.path, array.shape, dtype, fill, read, chunks, one.identity, unit=unit)
    try:
        stored = _stored_as(one, dtype, request, netcdf=netcdf)
    except NotCopiable as reason:
        if request.copy:
            raise FilterError(
                f"{one.path}: its chunks cannot be copied: {reason}; leave copy=True out to have them decoded and "
                "encoded",
                path=one.path,
            ) from reason
        return encoded(source, request, str(reason), track_order=netcdf)
    return copied(source, stored, request, track_order=netcdf)


def _read(one: ZarrArray, dtype: np.dtype[Any], region: tuple[slice, ...]) -> Any:
    values = one.read(region)
    return values.astype(object) if dtype.kind == "U" else values.astype(dtype, copy=False)


def _stored_as(one: ZarrArray, dtype: np.dtype[Any], request: Request, *, netcdf: bool) -> StoredAs:
    """Decide how the chunks of an array can be copied.

    Raises
    ------
    NotCopiable
        They cannot, or are not to be.
    """
    if request.copy is False:
        raise NotCopiable("copy=False was asked for")
    if not request.keeps_filters:
        raise NotCopiable(f"compression={request.compression!r} was asked for")
    layout = stored_layout(one.metadata, one.array.dtype)
    chunks = request.chunks_of(one.path, one.array.shape)
    if chunks is not None and chunks != layout.chunks:
        raise NotCopiable(f"chunks {chunks} were asked for, those stored are {layout.chunks}")
    is_larger = any(c > n for c, n in zip(layout.chunks, one.array.shape, strict=True))
    if netcdf and is_larger:
        raise NotCopiable(
            f"chunks {layout.chunks} are larger than the dimensions {one.array.shape}, which netCDF refuses"
        )
    plugins = _plugins(layout)
    if request.copy is None and one.array.nbytes <= SMALL_NBYTES and plugins:
        raise NotCopiable(f"a small array, and readers need a plugin for {', '.join(plugins)}")
    what = f"{', '.join(layout.codecs) or 'no codecs'}" + (" in shards" if layout.shards else "")
    stored_dtype = dtype if dtype.itemsize == 1 else layout.dtype
    reader = chunk_reader(one.array, layout)
    chain = layout.chain
    return StoredAs(layout.chunks, stored_dtype, chain, chain.records, reader, layout.accept, what)


def _plugins(layout: StoredLayout) -> list[str]:
    """Codecs whose filters an HDF5 library of its own cannot undo (``H5Z_FILTER_RESERVED``)."""
    pairs = zip(layout.codecs, layout.chain.filters, strict=False)  # a CRC-32C, at the end, is no filter
    return [codec for codec, one in pairs if one.filter_id >= FIRST_PLUGIN]
