"""``to_fixed_h5``: arguments are checked, arrays divided into blocks of whole chunks, and the file is planned."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
from dask.delayed import Delayed

from streamh5.arguments.keywords import Sync, check_keywords
from streamh5.arguments.page_size import PageSize, read_page
from streamh5.arguments.signatures import passes_on, said_as
from streamh5.arguments.write_options import WriteOptions
from streamh5.dask.array_like import as_dask
from streamh5.dask.blocks import aligned_array, limit_workers
from streamh5.dask.graph import Target, Write
from streamh5.dask.scheduler import check_compute_keywords, check_scheduler
from streamh5.dask.stored_targets import (
    check_growing_mode,
    find_datasets,
    placements_of,
    plan_stored,
    present_file,
)
from streamh5.errors import DatatypeError, PathError, SourceError, SpecError, did_you_mean, listed
from streamh5.filters import FilterOptions, wants_shuffle
from streamh5.handles.dataset_plan import plan_dataset
from streamh5.handles.file_plan import FilePlan, PlannedDataset
from streamh5.handles.region_plan import append_axis
from streamh5.model.attribute_spec import AttributeSpec, attribute_spec
from streamh5.model.object_path import check_new_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.arguments.memory_size import MemorySize
    from streamh5.arguments.paths import LocalPath, WorkerPath
    from streamh5.sinks.destination_path import Destination
    from streamh5.write.summary import WriteSummary


class _Default(str):
    """A default value that can be told from an equal one that was given."""

    __slots__ = ()


DEFAULT_COMPRESSION = _Default("gzip")
"""A dataset that is there keeps its compression unless one is named: then it must be the same."""


@check_keywords
def to_fixed_h5(
    path: Destination,
    *args: Any,
    chunks: Any = None,
    compression: Any = DEFAULT_COMPRESSION,
    compression_opts: Any = None,
    shuffle: bool | None = None,
    fletcher32: bool | None = None,
    scaleoffset: int | bool | None = None,
    fillvalue: Any = None,
    write_empty_chunks: bool = True,
    maxshape: Any = None,
    libver: str = "v110",
    page: PageSize | None = None,
    track_order: bool | None = False,
    attrs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    mode: str | None = None,
    append_dim: Any = None,
    region: Any = None,
    resume: bool = False,
    resume_key: str | None = None,
    journal: LocalPath | None = None,
    sync: Sync = "close",
    max_memory: MemorySize | None = None,
    references: LocalPath | None = None,
    storage_options: Mapping[str, Any] | None = None,
    worker_path: WorkerPath | None = None,
    compute: bool = True,
    progress: bool | Callable[[int, int], object] | None = None,
    **compute_kwargs: Any,
) -> WriteSummary | Delayed:
    """Write arrays that may be larger than memory into one HDF5 file, compressed on all cores.

    The arrays stream: a block is computed, filtered and written by one worker thread, and nothing
    but its chunks' addresses stays in memory. The file gets its name when it is complete.

    Parameters
    ----------
    path
        The file to write: a path, the URL of an object, a binary file object or a `Sink`.
    *args
        ``name, array`` or one dictionary of arrays by name, as in `dask.array.to_hdf5`. All
        arrays are computed in one pass, so tasks that they share run once. Arrays of numpy, h5py, zarr
        and xarray, and others with ``shape``, ``dtype`` and slices, are read in blocks of about 16 MiB.
    chunks
        HDF5 chunk shape. By default dask's blocks where they form a uniform grid; otherwise their
        largest extents, and the blocks are realigned. Other arrays keep their own chunks, if they have
        some; otherwise ``"auto"`` is used, which picks chunks of 1 to 8 MiB that divide the
        blocks. True means the default, too.
    compression, compression_opts, shuffle, fletcher32
        Filters, as in h5py. ``compression=None`` stores without compression. By default, shuffle is on
        except for blosc and bitshuffle, which shuffle themselves.
    scaleoffset
        Store integers with this number of bits (0 or True: as many as each chunk needs), and floats rounded to this
        number of decimal digits, as in h5py.
    fillvalue
        Value that pads the chunks at the edge and replaces masked elements.
    write_empty_chunks
        False skips chunks in which every element is the fill value.
    maxshape
        Extents up to which readers may resize the datasets later; by default they are fixed.
    libver
        Oldest version of the HDF5 library that can read the file; see `File`. A file that is there keeps its own.
    page
        Write the file with pages, so that readers with a page buffer get all metadata with one or two requests: True,
        or their size; see `File`.
    track_order
        Track the creation order of links and attributes.
    attrs
        Attributes of the dataset; with several datasets, of each.
    overwrite
        Replace an existing file, once the new one is complete.
    mode
        ``"w"`` and ``"x"`` are `overwrite` True and False; ``"a"`` adds the datasets to a file that is there (see
        `File`), and is the default with `append_dim` and `region`.
    append_dim
        Append to datasets that are there, along this axis; negative ones count from the last. Their other extents are
        those of the arrays, and chunks, filters and dtype stay as they are. A dataset may grow past its maxshape, which
        is raised then. A dataset, or a file, that does not exist is created, with an unlimited axis. With a
        dictionary of arrays also a dictionary ``{"/name": axis}``; those it does not name are new datasets.
    region
        Write to this region of datasets that are there: a tuple of slices (without steps) and ints, and ``...``, as
        in `dask.array.to_zarr`; with a dictionary of arrays also a dictionary of regions by name. The arrays have the
        shape of the region. Chunks that a region or an addition fills in part are read, and written again.
    resume
        Resume an interrupted write, or start a new one if there is none: blocks whose chunks are
        stored are not computed again. After a failure, the data already written is kept, to be resumed.
    resume_key
        Identity of the source; needed if dask's token differs from run to run.
    journal
        Of a URL: keep a journal of the write in this local file, so that it can be resumed; with `resume` by default
        in ``NAME.upload.journal`` in the working directory.
    sync
        ``"close"`` (fsync at the end), ``"batch"`` (also every two seconds: a power cut loses no
        more) or ``"none"``; see docs/reliability.md.
    max_memory
        Bytes that the write may use, without the interpreter; a number or text such as ``"1 GB"``. It limits the
        number of workers, each of which is assumed to use three times the largest block (`BLOCKS_PER_WORKER`),
        beside 64 MiB for all: large blocks leave fewer threads than cores. By default dask decides.
    references
        Also write kerchunk references, with which zarr readers open the file: a ``.json`` file or a
        ``.parquet`` directory (`WriteSummary.to_kerchunk`).
    storage_options
        How to reach the object store of a URL (``s3://``, ``gs://``, ``az://``, ...; docs/cloud.md), as for fsspec and
        `dask.array.to_zarr`.
    worker_path
        With a `distributed.Client`: the file as the workers see it, if they see it under another name; a path, or a
        dictionary ``{"/here": "/there"}`` of prefixes of paths.
    compute
        False returns a `dask.delayed.Delayed` that writes the file when it is computed.
    progress
        True or False; None shows a bar in terminals and notebooks; or a function that is called with the number of
        bytes written and the total.
    **compute_kwargs
        Keywords of `dask.compute`, such as ``scheduler`` and ``num_workers``. If the scheduler is a
        `distributed.Client`, which dask uses by itself while one is active, the blocks of dask arrays are written by
        its workers (docs/cluster.md), and keywords of `Client.persist` such as ``workers``, ``resources``, ``retries``
        and ``priority`` are passed on.

    Returns
    -------
    WriteSummary or Delayed
        Sizes in bytes, numbers of chunks, and seconds; with ``compute=False`` what will return it.

    Raises
    ------
    SourceError
        A source is not an array or has unknown chunk sizes, or the scheduler cannot write (`SchedulerError`).
    SpecError, DatatypeError, LimitError, BlockError
        An array or an option that cannot be written, or that contradicts the dataset that it goes to; nothing has been
        computed.
    SinkError
        The destination cannot be written.

    Examples
    --------
    >>> import dask.array as da, streamh5
    >>> x = da.ones((1000, 1000), chunks=(250, 1000))
    >>> summary = streamh5.to_fixed_h5("ones.h5", {"/x": x, "/twice": 2 * x}, compression="gzip")
    >>> summary.nbytes
    16000000

    A file that grows every day:

    >>> for day in range(2):
    ...     summary = x.to_fixed_h5("year.h5", "/x", append_dim=0)
    >>> summary.datasets[0].shape
    (2000, 1000)
    """
    arrays, attributes = _arguments(args, attrs)
    placements = placements_of(list(arrays), append_dim, region)
    is_growing = not all(one.is_new for one in placements.values())
    if is_growing:
        mode = check_growing_mode(mode, overwrite=overwrite)
    options = WriteOptions(
        mode=("w" if overwrite else "x") if mode is None else mode,
        libver=libver,
        page=read_page("page", page),
        track_order=bool(track_order),
        resume=resume,
        journal=journal,
        resume_key=resume_key,
        sync=sync,
        references=references,
        storage_options=storage_options,
    )
    settings = {
        "chunks": chunks,
        "shuffle": shuffle,
        "fletcher32": fletcher32,
        "scaleoffset": scaleoffset,
        "fillvalue": fillvalue,
        "maxshape": maxshape,
    }
    if compression is not DEFAULT_COMPRESSION or compression_opts is not None:
        settings |= {"compression": compression, "compression_opts": compression_opts}
    check_compute_keywords(to_fixed_h5, compute_kwargs)
    plan = FilePlan(attributes=attributes, write_empty_chunks=write_empty_chunks)
    if resume and not compute:
        raise SpecError(
            "resume=True needs compute=True: the blocks to compute are known only when the file is open"
        )
    if compute:
        own = [array for array in arrays.values() if isinstance(array, da.Array)]
        check_scheduler(compute_kwargs.get("scheduler"), own, path)
    with present_file(path, options, is_opened=compute) if options.mode == "a" else nullcontext() as present:
        options = options if present is None else replace(options, libver=present.libver)
        stored = find_datasets(path, present, placements) if is_growing else {}
        targets = []
        for name, given in arrays.items():
            if name in stored:
                plan.objects[name], target = plan_stored(
                    stored[name], given, placements[name], settings, resume_key
                )
            else:
                axis = placements[name].append_dim
                plan.objects[name], target = _plan_array(name, given, options, settings, append_dim=axis)
            targets.append(target)
        compute_kwargs = limit_workers(compute_kwargs, targets, max_memory)
        write = Write(
            path,
            targets,
            plan.create,
            options,
            progress=progress,
            worker_path=worker_path,
            file=None if present is None else present.file,
        )
        return write.compute(**compute_kwargs) if compute else write.delayed(**compute_kwargs)


@passes_on(to_fixed_h5)
@said_as("to_fixed_h5")
def array_to_fixed_h5(self: da.Array, path: Destination, name: str, **kwargs: Any) -> WriteSummary | Delayed:
    """Write this array into one HDF5 file: `streamh5.to_fixed_h5` as a method.

    The array streams: a block is computed, filtered and written by one worker thread, and nothing but its chunks'
    addresses stays in memory. The file gets its name when it is complete.

    Parameters
    ----------
    path
        The file to write: a path, the URL of an object, a binary file object or a `Sink`.
    name
        Path of the dataset in the file, for example ``"/x"``.
    **kwargs
        Those of `to_fixed_h5`.

    Examples
    --------
    >>> import dask.array as da
    >>> x = da.ones((1000, 1000), chunks=(250, 1000))
    >>> x.to_fixed_h5("ones.h5", "/x").n_chunks
    4
    """
    return to_fixed_h5(path, name, self, **kwargs)


def _plan_array(
    path: str, given: Any, options: WriteOptions, settings: Mapping[str, Any], *, append_dim: Any
) -> tuple[PlannedDataset, Target]:
    """Divide an array-like into blocks of whole chunks, and plan its dataset.

    Parameters
    ----------
    settings
        The keywords of the call that the dataset depends on.
    append_dim
        An axis that becomes unlimited; None for no axis.
    """
    array, wanted, is_local = as_dask(path, given, settings["chunks"])
    source = array.name if options.resume_key is None else options.resume_key
    if array.dtype == object and not array.dtype.metadata:
        raise DatatypeError(
            f"{path}: an array of dtype object does not tell the type of its objects; for text, convert it with "
            ".astype(numpy.dtypes.StringDType()), or make it from numpy arrays of h5py.string_dtype() or "
            "h5py.vlen_dtype(...)",
            path=path,
            dtype=array.dtype,
        )
    maxshape = settings["maxshape"]
    if append_dim is not None and maxshape is None:
        axis = append_axis(append_dim, array.ndim, path=path)
        maxshape = tuple(None if i == axis else n for i, n in enumerate(array.shape))
    array, chunk_shape = aligned_array(path, array, wanted)
    spec, chain = plan_dataset(
        path,
        shape=array.shape,
        dtype=array.dtype,
        chunks=chunk_shape,
        libver=options.libver,
        track_order=options.track_order,
        filters=_filters(settings),
        fillvalue=settings["fillvalue"],
        maxshape=maxshape,
    )
    return PlannedDataset(spec, chain, source), Target(spec, array, is_local=is_local)


def _filters(settings: Mapping[str, Any]) -> FilterOptions:
    """Return the filters of a new dataset."""
    compression, shuffle = settings.get("compression", DEFAULT_COMPRESSION), settings["shuffle"]
    return FilterOptions(
        compression=compression,
        compression_opts=settings.get("compression_opts"),
        shuffle=wants_shuffle(compression) if shuffle is None else shuffle,
        fletcher32=settings["fletcher32"],
        scaleoffset=settings["scaleoffset"],
    )


def _arguments(
    args: tuple[Any, ...], attrs: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, list[AttributeSpec]]]:
    """Return arrays and attributes by absolute path, from the argument forms of `dask.array.to_hdf5`."""
    if len(args) == 1 and isinstance(args[0], Mapping):
        if not isinstance(attrs or {}, Mapping):
            raise SpecError(f"attrs must be a dictionary of dictionaries, not {type(attrs).__name__}")
        given, by_name = dict(args[0]), dict(attrs or {})
    elif len(args) == 2:
        name = check_new_path(args[0])
        given, by_name = {name: args[1]}, {name: attrs or {}}
    else:
        raise SourceError("give a name and an array, or one dictionary {'/name': array}")
    if not given:
        raise SourceError("the dictionary of arrays is empty; give at least one {'/name': array}")
    arrays: dict[str, Any] = {}
    attributes: dict[str, list[AttributeSpec]] = {}
    for name, array in given.items():
        path = check_new_path(name)
        if path in arrays:
            raise PathError(f"{path} is named twice", path=path)
        arrays[path], values = array, by_name.pop(name, {})
        if not isinstance(values, Mapping):
            raise SpecError(f"attrs of {path} must be a dictionary, not {type(values).__name__}", path=path)
        attributes[path] = [attribute_spec(key, value, path=path) for key, value in values.items()]
    if by_name:
        raise SpecError(
            f"attrs names {listed(map(repr, by_name))}, which is not an array of this call"
            + (
                did_you_mean(next(iter(by_name)), given)
                or "; with a dictionary of arrays, attrs is a dictionary of dictionaries with the same names"
            ),
            names=list(by_name),
        )
    return arrays, attributes
