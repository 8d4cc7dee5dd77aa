"""zarr arrays and groups to HDF5; groups whose dimensions all have names become netCDF-4."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.paths import local_path
from streamh5.arguments.write_options import WriteOptions
from streamh5.conversion.plan import ConversionPlan, run
from streamh5.conversion.request import KEEP, Conversion, Request, check_destination
from streamh5.conversion.zarr.array import plan_zarr_array
from streamh5.conversion.zarr.netcdf import plan_netcdf
from streamh5.conversion.zarr.tree import ZarrTree, json_attributes, read_tree
from streamh5.errors import DatatypeError, SpecError
from streamh5.handles.file_plan import FilePlan
from streamh5.model.attribute_spec import attribute_spec
from streamh5.model.tree import GroupNode
from streamh5.sinks.destination_path import is_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.memory_size import MemorySize
    from streamh5.sinks.destination_path import Destination

__all__ = ["from_zarr", "plan_zarr"]

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
    plan = plan_zarr(source, name, request, netcdf=netcdf)
    options = WriteOptions(mode="w" if overwrite else "x", libver=libver, resume=resume, sync=sync)
    return run(plan, path, options, max_memory=max_memory, progress=progress)


def plan_zarr(
    source: Any, name: str | None, request: Request, *, netcdf: bool | None = None
) -> ConversionPlan:
    """Plan a zarr array or group; see `from_zarr`."""
    tree = read_tree(source, name)
    request.check_arrays({one.path: one.array.shape for one in tree.arrays})
    notes: list[str] = []
    plan = _netcdf_plan(tree, request, notes, netcdf) or _plain_plan(tree, request)
    return replace(plan, notes=lambda: notes)


def _plain_plan(tree: ZarrTree, request: Request) -> ConversionPlan:
    """Datasets as the arrays are; names of dimensions become labels."""
    arrays = [plan_zarr_array(one, request) for one in tree.arrays]
    file = FilePlan(write_empty_chunks=False)
    file.objects |= {path: GroupNode(path) for path in tree.groups}
    file.objects |= {one.dataset.spec.path: one.dataset for one in arrays}
    for path, values in [*tree.groups.items(), *((one.path, one.attributes) for one in tree.arrays)]:
        file.attributes[path] = [attribute_spec(k, v, path=path) for k, v in json_attributes(values)]
    for one in tree.arrays:
        if one.dims is not None and any(one.dims):
            labels = np.array([dim or "" for dim in one.dims], object)
            file.attributes[one.path].append(attribute_spec(DIMENSION_LABELS, labels, path=one.path))
    return ConversionPlan(file, arrays)


def _netcdf_plan(
    tree: ZarrTree, request: Request, notes: list[str], netcdf: bool | None
) -> ConversionPlan | None:
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
        file, arrays = plan_netcdf(tree, request, found, is_strict=bool(netcdf))
    except (SpecError, DatatypeError) as error:
        if netcdf:
            raise
        notes.append(f"plain HDF5, not netCDF-4: {error}")
        return None
    notes += found
    return ConversionPlan(file, arrays, track_order=True, format="netCDF-4")
