"""zarr arrays and groups to HDF5; groups whose dimensions all have names become netCDF-4."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.paths import local_path
from streamh5.arguments.write_options import WriteOptions
from streamh5.conversion.array_target import ArrayTarget
from streamh5.conversion.request import KEEP, Conversion, Request, check_destination
from streamh5.conversion.zarr.netcdf import plan_netcdf
from streamh5.conversion.zarr.target import plan_array
from streamh5.conversion.zarr.tree import ZarrTree, json_attributes, read_tree
from streamh5.dask.blocks import limit_workers
from streamh5.dask.graph import Write
from streamh5.errors import DatatypeError, SpecError
from streamh5.model.attribute_spec import AttributeSpec, attribute_spec
from streamh5.netcdf.netcdf4 import (
    create_groups,
)
from streamh5.sinks.destination_path import is_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.memory_size import MemorySize
    from streamh5.handles.file import File
    from streamh5.sinks.destination_path import Destination

__all__ = ["from_zarr"]

DIMENSION_LABELS = "DIMENSION_LABELS"
"""Attribute with the names of dimensions (``H5DSset_label`` of HDF5's high-level library)."""


@check_keywords
def from_zarr(
    source: Any,
    path: Destination,
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
    source = local_path(source) if is_path(source) else source
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
        WriteOptions(
            mode="w" if overwrite else "x",
            libver=libver,
            track_order=plan.is_netcdf,
            resume=resume,
            sync=sync,
        ),
        progress=progress,
    )
    summary = write.compute(**limit_workers({}, targets, max_memory))
    reports = tuple(one.report() for one in plan.targets)
    return Conversion(summary, reports, "netCDF-4" if plan.is_netcdf else "HDF5", tuple(notes))


@dataclass(frozen=True, slots=True)
class _Plan:
    targets: list[ArrayTarget]
    prepare: Callable[[File], None]
    is_netcdf: bool


def _plain_plan(tree: ZarrTree, request: Request) -> _Plan:
    """Datasets as the arrays are; names of dimensions become labels."""
    targets = [plan_array(one, request) for one in tree.arrays]
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
    found: list[str] = []
    try:
        groups, targets = plan_netcdf(tree, request, found, is_strict=bool(netcdf))
    except (SpecError, DatatypeError) as error:
        if netcdf:
            raise
        notes.append(f"plain HDF5, not netCDF-4: {error}")
        return None
    notes += found
    return _Plan(targets, partial(create_groups, groups=groups, write_empty_chunks=False), True)
