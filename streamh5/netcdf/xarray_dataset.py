"""``to_netcdf``: an xarray Dataset, DataArray or DataTree becomes one netCDF-4 file, in one pass over its data.

xarray's own encoders turn times, masks, scales and strings into values that netCDF stores (the CF conventions);
`storage` reads how each variable is stored, and `netcdf4` defines dimensions and groups.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.write_options import WriteOptions
from streamh5.dask.blocks import check_known_sizes, limit_workers
from streamh5.dask.graph import Write
from streamh5.dask.scheduler import check_compute_keywords, check_scheduler
from streamh5.errors import DatatypeError, SourceError, SpecError, StreamH5Error
from streamh5.handles.dataset_plan import MAX_WHOLE_NBYTES
from streamh5.model.attribute_spec import AttributeSpec
from streamh5.model.object_path import join_path, split_path
from streamh5.netcdf.attributes import NUMBERS, netcdf_attribute, netcdf_name, string_attribute
from streamh5.netcdf.existing import ExistingNetcdf, read_existing_netcdf
from streamh5.netcdf.netcdf4 import NetcdfFile, NetcdfVariable
from streamh5.netcdf.storage import (
    COMPRESSION_FLAGS,
    Storage,
    default_fill,
    plan_variable,
    read_encoding,
    read_filters,
)
from streamh5.netcdf.xarray_encoding import PlannedGroup, dataset_nodes, encode_node, streamed_nbytes
from streamh5.sinks.destination_path import destination_exists, is_path, real_path
from streamh5.sinks.memory import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import xarray as xr
    from dask.delayed import Delayed

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.memory_size import MemorySize
    from streamh5.arguments.paths import LocalPath, WorkerPath
    from streamh5.filters import FilterOptions
    from streamh5.handles.file import File
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.sinks.destination_path import Destination
    from streamh5.write.summary import WriteSummary

NOT_NETCDF = {
    "auto_complex": "streamh5 writes no complex numbers",
    "invalid_netcdf": "streamh5 writes no booleans, complex numbers and the like",
}
"""Keywords of xarray's own ``to_netcdf`` that are accepted only if they are off."""


@check_keywords
def to_netcdf(
    data: xr.Dataset | xr.DataArray | xr.DataTree,
    path: Destination | None = None,
    mode: str = "w",
    format: str | None = None,
    group: str | None = None,
    engine: str | None = None,
    encoding: Mapping[Any, Any] | None = None,
    unlimited_dims: Any = None,
    compute: bool = True,
    *,
    compression: Any = None,
    compression_opts: Any = None,
    shuffle: bool | None = None,
    write_inherited_coords: bool = False,
    write_empty_chunks: bool = True,
    libver: str = "v110",
    resume: bool = False,
    resume_key: str | None = None,
    sync: Sync = "close",
    max_memory: MemorySize | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
    references: LocalPath | None = None,
    worker_path: WorkerPath | None = None,
    **compute_kwargs: Any,
) -> WriteSummary | Delayed | memoryview:
    """Write an xarray object as one netCDF-4 file, compressed on all cores.

    All variables are computed in one pass; blocks of dask arrays, and parts of large arrays that are not
    loaded yet, are written by worker threads. The file appears under its name when it is complete.

    Parameters
    ----------
    data
        A Dataset; a DataArray, which is written in the same form as by xarray; or a DataTree, whose nodes
        become groups.
    path
        The file to write; None returns its bytes.
    mode
        ``"w"`` replaces an existing file, once the new one is complete; ``"x"`` fails if there is one.
        ``"a"`` adds groups, and variables whose dimensions are new in their group, to a netCDF-4 file of
        streamh5 or netCDF-C. Existing variables keep their values, and attributes of groups are replaced.
        Readers see the old content until the write is complete.
    format
        None or ``"NETCDF4"``.
    group
        Path of the group to write to; it is created with its parents.
    engine
        None: no other library writes the file.
    encoding
        How to store each variable, by name, with the keys of xarray's `to_netcdf` for either of its engines
        for netCDF-4 (docs/xarray.md). For a DataTree, by path of the group, then by name.
    unlimited_dims
        Dimensions that readers may extend; by default those of ``data.encoding``. For a DataTree, by path
        of the group.
    compute
        False returns a `dask.delayed.Delayed` that writes the file when it is computed.
    compression, compression_opts, shuffle
        Compression of every variable of more than 64 KiB whose `encoding` does not name one; see
        `to_fixed_h5`. None, the default, does not compress.
    write_inherited_coords
        Write the coordinates that a node of a DataTree inherits to its group, too.
    write_empty_chunks
        False skips chunks in which every element is the fill value.
    libver, resume, resume_key, sync, max_memory, progress, references, worker_path
        See `to_fixed_h5`.
    **compute_kwargs
        Keywords of `dask.compute`, such as ``scheduler`` and ``num_workers``; xarray's ``invalid_netcdf``
        and ``auto_complex``, which must be off.

    Returns
    -------
    WriteSummary, Delayed or memoryview

    Raises
    ------
    SpecError, DatatypeError, LimitError
        A variable or an option that cannot be written; the message names it, and nothing has been computed.
    SourceError
        `data` is not an xarray object, or the scheduler uses other processes.
    SinkError
        The destination cannot be written.
    """
    options = WriteOptions(
        mode=mode,
        libver=libver,
        track_order=True,
        resume=resume,
        resume_key=resume_key,
        sync=sync,
        references=references,
    )
    _check_request(format, engine, compute_kwargs)
    if not compute and (resume or path is None or mode == "a"):
        what = "resume=True" if resume else "mode='a'" if mode == "a" else "a file in memory (path=None)"
        raise SpecError(f"{what} needs compute=True")
    if path is None and mode == "a":
        raise SpecError("mode='a' needs a path")
    existing = ExistingNetcdf()
    if mode == "a" and path is not None and is_path(path) and destination_exists(path):
        existing = read_existing_netcdf(real_path(path))
    nodes = dataset_nodes(data, _group_path(group), encoding, unlimited_dims, write_inherited_coords)
    default = read_filters(
        {"compression": compression, "compression_opts": compression_opts, "shuffle": shuffle},
        path="of to_netcdf",
    )
    default.check_compression()
    options = replace(options, libver=existing.libver or libver)
    planned = _plan_groups(nodes, default, existing, options)
    targets = [one.target for one in planned.variables() if one.target is not None]
    plan = planned.plan(
        libver=options.libver, write_empty_chunks=write_empty_chunks, is_new=existing.status is None
    )
    if compute:
        check_scheduler(compute_kwargs.get("scheduler"), [target.array for target in targets], path)
    compute_kwargs = limit_workers(compute_kwargs, targets, max_memory)

    def prepare(file: File) -> None:
        existing.check_unchanged()
        plan.create(file)

    memory = MemorySink()
    destination = memory if path is None else path
    write = Write(destination, targets, prepare, options, progress=progress, worker_path=worker_path)
    if not compute:
        return write.delayed(**compute_kwargs)
    summary = write.compute(**compute_kwargs)
    return memoryview(memory.image) if path is None else summary


def _check_request(format: Any, engine: Any, compute_kwargs: dict[str, Any]) -> None:
    if format is not None and (not isinstance(format, str) or format.upper() != "NETCDF4"):
        raise SpecError(f"format must be 'NETCDF4', not {format!r}: streamh5 writes no other", format=format)
    if engine is not None:
        raise SpecError(
            f"engine={engine!r}: streamh5 writes the file itself; leave engine out", engine=engine
        )
    for keyword, what in NOT_NETCDF.items():
        if compute_kwargs.pop(keyword, None):
            raise SpecError(
                f"{keyword}=True: {what}, which netCDF-4 has no type for; leave it out", keywords=[keyword]
            )
    check_compute_keywords(to_netcdf, compute_kwargs)


def _group_path(group: Any) -> str:
    names = split_path("/" if group is None or group == "" else group)
    return join_path(tuple(netcdf_name(name, "group", "/") for name in names))


def _plan_groups(
    nodes: list[PlannedGroup], default: FilterOptions, existing: ExistingNetcdf, options: WriteOptions
) -> NetcdfFile:
    """Plan the groups of all nodes, with empty groups between them where needed."""
    file = NetcdfFile(existing.n_dimensions)
    max_nbytes = streamed_nbytes(nodes)
    for node in nodes:
        variables, attributes, explicit, in_memory = encode_node(node, max_nbytes)
        for name, one in variables.items():
            check_known_sizes(f"variable {node.path.rstrip('/')}/{name}", one)
        group = file.add_group(
            node.path,
            [netcdf_attribute(name, value, where=node.path) for name, value in attributes.items()],
            {name: (one.dims, one.shape) for name, one in variables.items()},
            unlimited=node.unlimited,
        )
        for planned, (name, variable) in zip(group.variables.values(), variables.items(), strict=True):
            try:
                _plan_variable(planned, variable, default, options, is_explicit=name in explicit)
            except StreamH5Error as error:
                if planned.path in str(error):
                    raise
                raise type(error)(f"variable {planned.path}: {error}", **error.facts) from error
            if planned.target is not None and name in in_memory:
                planned.target = replace(planned.target, is_local=True)
    existing.check(file.groups.values())
    return file


def _plan_variable(
    planned: NetcdfVariable,
    variable: xr.Variable,
    default: FilterOptions,
    options: WriteOptions,
    *,
    is_explicit: bool,
) -> None:
    """Plan the dataset and the attributes of a variable."""
    path = planned.path
    is_unlimited = tuple(dimension.is_unlimited for dimension in planned.dimensions)
    storage = read_encoding(
        variable.encoding,
        path=path,
        is_explicit=is_explicit,
        shape=variable.shape,
        is_unlimited=is_unlimited,
    )
    storage = _with_default(storage, variable, default, is_explicit=is_explicit)
    attributes = dict(variable.attrs)
    fill = attributes.pop("_FillValue", None)
    array, dtype = _typed(variable, path, storage)
    if fill is None:
        fill = default_fill(dtype)
    elif dtype.kind == "U":
        fill = str(fill)
    maxshape = tuple(None if free else n for n, free in zip(variable.shape, is_unlimited, strict=True))
    planned.dataset, planned.target = plan_variable(path, array, dtype, storage, maxshape, fill, options)
    if "_FillValue" in variable.attrs:
        planned.attributes.append(_fill_attribute(variable.attrs["_FillValue"], planned.dataset.spec, path))
    planned.attributes += [netcdf_attribute(key, value, where=path) for key, value in attributes.items()]


def _with_default(
    storage: Storage, variable: xr.Variable, default: FilterOptions, *, is_explicit: bool
) -> Storage:
    """Apply the compression of the call, unless the encoding given for the variable names one."""
    asked = {"compression", *COMPRESSION_FLAGS} & variable.encoding.keys()
    is_small = variable.nbytes <= MAX_WHOLE_NBYTES and not isinstance(variable.data, da.Array)
    if default.compression is None or is_small or storage.contiguous or (is_explicit and asked):
        return storage
    return replace(storage, filters=replace(default, fletcher32=storage.filters.fletcher32))


def _typed(variable: xr.Variable, path: str, storage: Storage) -> tuple[Any, np.dtype[Any]]:
    """Return the data as a dask or numpy array, and its dtype in netCDF-4; ``U`` stands for strings."""
    data = variable.data
    if not isinstance(data, da.Array):
        data = variable.to_numpy()
    element: np.dtype[Any] = data.dtype
    metadata: Mapping[str, Any] = element.metadata or {}
    if (
        element.kind in "UT"
        or str in (metadata.get("element_type"), metadata.get("vlen"))
        or (variable.encoding.get("dtype") is str and element.kind in "SO")
    ):
        return data if element.kind == "U" else data.astype(object), np.dtype("U")
    if "enum" in metadata:
        raise DatatypeError(
            f"variable {path}: netCDF enumerations cannot be written; remove dtype from the variable's encoding to "
            "store the integers",
            dtype=element,
        )
    if element != np.dtype("S1") and f"{element.kind}{element.itemsize}" not in NUMBERS:
        real = "float32" if element.itemsize < 4 else "float64"
        hint = {"c": "split it into .real and .imag", "f": f"encode it with dtype={real!r}"}.get(element.kind)
        raise DatatypeError(
            f"variable {path}: netCDF-4 has no type for dtype {element}; {hint or 'convert it to numbers or text'}",
            dtype=element,
        )
    # numpy's types list the byte orders; the encoding gives a str, which was checked when it was read
    wanted = element.newbyteorder(storage.byteorder)  # type: ignore[arg-type]
    return data if element == wanted else data.astype(wanted), wanted


def _fill_attribute(fill: Any, spec: DatasetSpec, path: str) -> AttributeSpec:
    """Return ``_FillValue`` in the type of the variable; ``nc_put_att`` refuses any other type."""
    if spec.is_encoded:
        return string_attribute("_FillValue", [fill if isinstance(fill, str) else str(fill)], where=path)
    value = spec.fillvalue
    if value is None:
        raise SourceError(f"variable {path}: _FillValue {fill!r} cannot be stored", fillvalue=fill)
    stored = value[()]
    return netcdf_attribute("_FillValue", bytes(stored) if value.dtype.kind == "S" else stored, where=path)
