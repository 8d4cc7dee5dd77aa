"""``to_netcdf``: an xarray Dataset, DataArray or DataTree becomes one netCDF-4 file, in one pass over its data.

xarray's own encoders turn times, masks, scales and strings into values that netCDF stores (the CF conventions);
`storage` reads how each variable is stored, and `netcdf4` defines dimensions and groups.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.page_size import PageSize, read_page
from streamh5.arguments.write_options import WriteOptions
from streamh5.dask.blocks import limit_workers
from streamh5.dask.graph import Write
from streamh5.dask.scheduler import check_compute_keywords, check_scheduler
from streamh5.dask.stored_targets import present_file
from streamh5.errors import DestinationMissingError, SpecError
from streamh5.model.object_path import join_path, split_path
from streamh5.netcdf.attributes import netcdf_name
from streamh5.netcdf.classic_model import read_format
from streamh5.netcdf.existing import ExistingNetcdf, read_existing_netcdf
from streamh5.netcdf.placement import WriteRequest, read_request
from streamh5.netcdf.storage import read_filters
from streamh5.netcdf.xarray_encoding import dataset_nodes
from streamh5.netcdf.xarray_plan import XarrayPlan
from streamh5.sinks.destination_path import destination_name, is_path, real_path
from streamh5.sinks.memory import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    import xarray as xr
    from dask.delayed import Delayed

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.memory_size import MemorySize
    from streamh5.arguments.paths import LocalPath, WorkerPath
    from streamh5.filters import FilterOptions
    from streamh5.handles.file import File
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
    mode: str | None = None,
    format: str | None = None,
    group: str | None = None,
    engine: str | None = None,
    encoding: Mapping[Any, Any] | None = None,
    unlimited_dims: Any = None,
    compute: bool = True,
    *,
    append_dim: Hashable | None = None,
    region: Mapping[Any, slice | str] | str | None = None,
    compression: Any = None,
    compression_opts: Any = None,
    shuffle: bool | None = None,
    write_inherited_coords: bool = False,
    write_empty_chunks: bool = True,
    libver: str = "v110",
    page: PageSize | None = None,
    resume: bool = False,
    resume_key: str | None = None,
    journal: LocalPath | None = None,
    sync: Sync = "close",
    max_memory: MemorySize | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
    references: LocalPath | None = None,
    storage_options: Mapping[str, Any] | None = None,
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
        ``"a"`` adds to the netCDF-4 file: new groups and variables, also along its dimensions, and values of
        variables that are there. ``"a-"`` is ``"a"``, but with `append_dim` leaves variables without that dimension as
        they are. ``"r+"`` only writes values of variables that are there. Readers see the old content until the
        write is complete. By default ``"a"`` with `append_dim`, ``"r+"`` with `region`, otherwise ``"w"``.
    format
        ``"NETCDF4"``, the default, or ``"NETCDF4_CLASSIC"``: groups, strings and further types are refused, integers of
        64 bits and unsigned ones become narrower ones of the same values, and text becomes characters.
    group
        Path of the group to write to; it is created with its parents.
    engine
        None or ``"streamh5"``: no other library writes the file.
    encoding
        How to store each variable, by name, with the keys of xarray's `to_netcdf` for either of its engines
        for netCDF-4 (docs/xarray.md). For a DataTree, by path of the group, then by name.
    unlimited_dims
        Dimensions that readers may extend; by default those of ``data.encoding``. For a DataTree, by path
        of the group.
    compute
        False returns a `dask.delayed.Delayed` that writes the file when it is computed.
    append_dim
        Append along this dimension, as ``Dataset.to_zarr`` does: every variable along it grows, and those that `data`
        does not have get their fill value. It becomes unlimited if it was not. Times, scales, types, chunks and
        filters are the file's, and values that it cannot hold are refused. Coordinates along other dimensions must be
        those of the file. If there is no file, it is made with this dimension unlimited.
    region
        Write into this part of the variables that are there: a dictionary of slices by dimension; ``"auto"``, for a
        dimension or for all, finds the coordinates of `data` in the file.
    compression, compression_opts, shuffle
        Compression of every variable of more than 64 KiB whose `encoding` does not name one; see
        `to_fixed_h5`. None, the default, does not compress.
    write_inherited_coords
        Write the coordinates that a node of a DataTree inherits to its group, too.
    write_empty_chunks
        False skips chunks in which every element is the fill value.
    libver
        Oldest HDF5 library that can read the file. ``"v108"`` is also what pyfive reads, the backend with which
        h5netcdf does without the library: it knows no chunk index of HDF5 1.10.
    page, resume, resume_key, journal, sync, max_memory, progress, references, storage_options, worker_path
        See `to_fixed_h5`.
    **compute_kwargs
        Keywords of `dask.compute`, such as ``scheduler`` and ``num_workers``; xarray's ``invalid_netcdf``
        and ``auto_complex``, which must be off.

    Returns
    -------
    WriteSummary, Delayed or memoryview
        Sizes in bytes, numbers of chunks, and seconds; with ``compute=False`` what will return it; with
        ``path=None`` the bytes of the file.

    Raises
    ------
    SpecError, DatatypeError, LimitError
        A variable or an option that cannot be written; the message names it, and nothing has been computed.
    CoordinateError
        A coordinate differs from that of the file.
    BlockError
        A value would read back as another one in the file's encoding.
    SourceError
        `data` is not an xarray object, or the scheduler uses other processes.
    SinkError
        The destination cannot be written.

    Examples
    --------
    >>> import xarray as xr
    >>> day = xr.Dataset({"t": (("time", "x"), np.zeros((24, 1000)))}, {"time": np.arange(24)})
    >>> summary = streamh5.to_netcdf(day, "year.nc", unlimited_dims="time", compression="gzip")
    >>> summary = streamh5.to_netcdf(day.assign_coords(time=day.time + 24), "year.nc", append_dim="time")
    >>> xr.load_dataset("year.nc").sizes["time"]
    48
    """
    request = read_request(mode, append_dim, region)
    options = WriteOptions(
        mode="a" if request.is_addition else request.mode,
        libver=libver,
        page=read_page("page", page),
        track_order=True,
        resume=resume,
        journal=journal,
        resume_key=resume_key,
        sync=sync,
        references=references,
        storage_options=storage_options,
    )
    _check_request(engine, compute_kwargs)
    if not compute and (resume or path is None):
        what = "resume=True" if resume else "a file in memory (path=None)"
        raise SpecError(f"{what} needs compute=True")
    filters = _default_filters(to_netcdf, compression, compression_opts, shuffle)
    memory = MemorySink()
    with _existing(path, request, data, options, is_opened=compute) as (existing, file):
        options = replace(options, libver=existing.libver or libver)
        is_classic = read_format(format, existing)
        planned = XarrayPlan(request, existing, filters, options, is_classic=is_classic)
        planned.add(dataset_nodes(data, _group_path(group), encoding, unlimited_dims, write_inherited_coords))
        targets = planned.targets
        if compute:
            check_scheduler(compute_kwargs.get("scheduler"), [target.array for target in targets], path)
        compute_kwargs = limit_workers(compute_kwargs, targets, max_memory)
        write = Write(
            memory if path is None else path,
            targets,
            planned.preparation(write_empty_chunks=write_empty_chunks),
            planned.options,
            progress=progress,
            worker_path=worker_path,
            file=file,
        )
        if not compute:
            return write.delayed(**compute_kwargs)
        summary = write.compute(**compute_kwargs)
    return memoryview(memory.image) if path is None else summary


@check_keywords
def create_space(
    data: xr.Dataset | xr.DataArray | xr.DataTree,
    path: Destination,
    mode: str = "w",
    group: str | None = None,
    encoding: Mapping[Any, Any] | None = None,
    unlimited_dims: Any = None,
    *,
    format: str | None = None,
    compression: Any = None,
    compression_opts: Any = None,
    shuffle: bool | None = None,
    write_inherited_coords: bool = False,
    libver: str = "v110",
    page: PageSize | None = None,
    sync: Sync = "close",
    storage_options: Mapping[str, Any] | None = None,
) -> WriteSummary:
    """Write a netCDF-4 file with everything except the data, which calls with `region` fill later.

    Dimensions, coordinates, attributes and encodings are those of `data`. Its data variables get their shape, type,
    chunks and filters, but no chunk is stored: elements that are not filled read as the fill value. Their values are
    not computed, so a lazy array of the right shape and dtype will do.

    Parameters
    ----------
    data
        What the file will hold; data variables without dimensions are written.
    path
        The file to write.
    mode
        ``"w"`` replaces an existing file, ``"x"`` fails if there is one, ``"a"`` adds to it.
    group, encoding, unlimited_dims, format, compression, compression_opts, shuffle, write_inherited_coords, libver
        See `to_netcdf`.
    page, sync, storage_options
        See `to_fixed_h5`.

    Returns
    -------
    WriteSummary
        Of a file without chunks.

    Raises
    ------
    SpecError, DatatypeError, LimitError
        A variable or an option that cannot be written; the message names it.
    SinkError
        The destination cannot be written.

    Examples
    --------
    >>> import dask.array as da, xarray as xr, streamh5
    >>> year = xr.Dataset({"t": (("time", "x"), da.zeros((365, 1000)))}, {"time": range(365)})
    >>> summary = streamh5.create_space(year, "year.nc", compression="gzip")
    >>> day = year.isel(time=[41]).compute()
    >>> summary = day.streamh5.to_netcdf("year.nc", region="auto")
    """
    request = read_request(mode, None, None)
    options = WriteOptions(
        mode="a" if request.is_addition else request.mode,
        libver=libver,
        page=read_page("page", page),
        track_order=True,
        sync=sync,
        storage_options=storage_options,
    )
    filters = _default_filters(create_space, compression, compression_opts, shuffle)
    with _existing(path, request, data, options) as (existing, file):
        options = replace(options, libver=existing.libver or libver)
        is_classic = read_format(format, existing)
        planned = XarrayPlan(request, existing, filters, options, is_space=True, is_classic=is_classic)
        planned.add(dataset_nodes(data, _group_path(group), encoding, unlimited_dims, write_inherited_coords))
        prepare = planned.preparation(write_empty_chunks=True)
        return Write(path, planned.targets, prepare, planned.options, progress=False, file=file).compute()


def _default_filters(
    function: Callable[..., Any], compression: Any, compression_opts: Any, shuffle: bool | None
) -> FilterOptions:
    """Return the filters of variables whose encoding names none."""
    given = {"compression": compression, "compression_opts": compression_opts, "shuffle": shuffle}
    default = read_filters(given, path=f"of {function.__name__}")
    default.check_compression()
    return default


@contextmanager
def _existing(
    path: Destination | None,
    request: WriteRequest,
    data: Any,
    options: WriteOptions,
    *,
    is_opened: bool = True,
) -> Iterator[tuple[ExistingNetcdf, File | None]]:
    """Yield the contents of the file that is added to, and the file itself if `is_opened`: see `present_file`.

    Raises
    ------
    SpecError
        The request needs a path, or a Dataset.
    DestinationMissingError
        The request needs a file, and there is none.
    """
    is_part = request.append_dim is not None or request.region is not None
    if is_part and type(data).__name__ == "DataTree":
        raise SpecError(
            "append_dim and region are for a Dataset or a DataArray; write the nodes of a DataTree one by one, with "
            "group="
        )
    if not request.is_addition:
        yield ExistingNetcdf(), None
        return
    if path is None:
        raise SpecError(f"mode={request.mode!r} needs a path")
    with present_file(path, options, is_opened=is_opened) as present:
        if present is not None and is_path(path):
            yield read_existing_netcdf(real_path(path), present), present.file
            return
        if request.mode == "r+" or request.region is not None:
            raise DestinationMissingError(
                f"{destination_name(path)} does not exist, so it has no variables to write values of; make it with "
                "mode='w', or with streamh5.create_space",
                path=path,
            )
        yield ExistingNetcdf(), None


def _check_request(engine: Any, compute_kwargs: dict[str, Any]) -> None:
    if engine not in (None, "streamh5"):
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
