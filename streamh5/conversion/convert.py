"""``convert``: a file or store of another kind becomes one HDF5 file."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamh5.arguments.keywords import Sync, check_keywords
from streamh5.arguments.page_size import PageSize, read_page
from streamh5.arguments.paths import LocalPath, local_path, unfinished_write
from streamh5.arguments.write_options import WriteOptions
from streamh5.conversion.cloud_chunks import CloudChunks
from streamh5.conversion.origin import origin_of
from streamh5.conversion.plan import run
from streamh5.conversion.request import KEEP, Conversion, Request, check_not_source
from streamh5.errors import FormatError, SourceError, SourceMissingError, SpecError, UnreadableError
from streamh5.processes.child_process import call_in_child
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.superblock import find_superblock
from streamh5.sinks.destination_path import destination_name, destination_url, is_path
from streamh5.write.progress import progress_of_child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamh5.arguments.memory_size import MemorySize
    from streamh5.arguments.paths import WorkerPath
    from streamh5.conversion.plan import ConversionPlan
    from streamh5.sinks.destination_path import Destination

_MAGIC = ((b"CDF", "netcdf"), (b"\x93NUMPY", "npy"), (b"PK", "zarr"))


@check_keywords
def convert(
    source: LocalPath,
    path: Destination,
    name: str | None = None,
    *,
    chunks: Any = None,
    compression: Any = KEEP,
    compression_opts: Any = None,
    shuffle: bool | None = None,
    fletcher32: bool | None = None,
    copy: bool | None = None,
    verify: bool = False,
    skip_unsupported: bool = False,
    cloud: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    journal: LocalPath | None = None,
    sync: Sync = "close",
    libver: str = "v110",
    page: PageSize | None = None,
    max_memory: MemorySize | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
    scheduler: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    worker_path: WorkerPath | None = None,
    safe: bool = False,
) -> Conversion:
    """Write a zarr store, an HDF5 or netCDF file or a ``.npy`` file as one HDF5 file.

    The kind of the source is recognized by its first bytes. Stored chunks of zarr, HDF5 and netCDF-4 are copied
    unchanged where neither chunks nor filters change.

    Parameters
    ----------
    source
        A zarr store (a directory, a zip file or a URL), an HDF5 or netCDF-4 file, a netCDF classic file,
        or a ``.npy`` file, which is mapped into memory.
    path
        The file to write.
    name
        Path of the dataset, ``/data`` by default, for a source with one array; of the group for a
        zarr group.
    chunks
        None keeps those of the source. ``"auto"``, a shape (within each array of that many dimensions), or
        a dictionary of them by path.
    compression, compression_opts, shuffle, fletcher32
        ``"keep"`` keeps the filters of the source, with shuffle followed by gzip where it has none that HDF5
        knows; any other value, including None, is as for `to_fixed_h5`.
    copy
        False decodes every chunk; True refuses an array whose chunks cannot be copied.
    verify
        Decode every chunk that is copied, too.
    skip_unsupported
        Leave out objects of an HDF5 file that cannot be carried over; the notes name them.
    cloud
        Make the file right for object stores (`FileInspection.cloud`): with pages, and arrays get chunks of 1 to 10 MB,
        or one for all that is smaller, where they have others. `chunks` and `page` win where they are given.
    overwrite
        As for `to_fixed_h5`.
    resume
        Go on with an interrupted conversion of the same source with the same options, or start a new one if there is
        none: chunks that are stored are neither read nor written again. After a failure, what was stored is kept. See
        docs/convert.md for what is compared.
    journal, sync, libver, page, max_memory, progress
        As for `to_fixed_h5`.
    scheduler
        As for `dask.compute`: ``"threads"``, ``"synchronous"`` or a `distributed.Client`, which dask uses by itself
        while one is active: its workers then read the source and write (docs/cluster.md). All of them must see the
        source under its path, unchanged. Unless a Client is given, threads of this process write file objects and files
        with a user block, and stores in the memory of this process.
    storage_options
        Of `path`, as for `to_fixed_h5`.
    worker_path
        As for `to_fixed_h5`.
    safe
        Convert in a child process: for untrusted sources, which may crash the HDF5 library.

    Returns
    -------
    Conversion
        The summary of the file, and for each array how it was converted and why.

    Raises
    ------
    SourceMissingError
        There is no such source.
    SourceError
        It is not of a supported kind, or an object in it cannot be carried over.
        With `safe` also: the child process died; what remains is that of any interrupted write.
    SpecError, DatatypeError, LimitError
        Something cannot be written as requested; the message names the array.
    ResumeError
        The interrupted conversion had another source, or other options; the message says what differs.
    SinkError
        The destination cannot be written.

    Examples
    --------
    >>> import h5py
    >>> with h5py.File("old.h5", "w") as f:
    ...     x = f.create_dataset("x", data=np.zeros((100, 100)), chunks=(50, 100), compression="gzip")
    >>> done = streamh5.convert("old.h5", "new.h5")
    >>> print(done.explain())
    /x: 2 chunks copied as stored: ...
    >>> done.arrays[0].to_dict()["n_copied"], done.to_dict()["format"]
    (2, 'HDF5')

    Other chunks and filters; every chunk is decoded and encoded:

    >>> done = streamh5.convert("old.h5", "small.h5", chunks={"/x": (10, 100)}, compression="gzip")

    Hours of work that a power cut must not undo; the same call goes on:

    >>> done = streamh5.convert("old.h5", "large.h5", chunks=(100, 100), resume=True, sync="batch")
    """
    source = local_path(source)
    if cloud and page is None:
        if libver == "v108":
            raise SpecError(
                "cloud=True writes pages, which HDF5 1.8 does not read: leave libver='v108' out, or give page=False"
            )
        page = True
    asked = {**locals()}
    if asked.pop("safe"):
        return _in_child(**asked)
    found = CloudChunks() if cloud else None
    request = Request(chunks, compression, compression_opts, shuffle, fletcher32, copy, verify, libver, found)
    check_not_source(source, path)
    if resume and skip_unsupported:
        raise SpecError(
            "resume=True (--resume) does not read again what is stored, so the notes would not name each block that "
            "could not be read: leave resume or skip_unsupported (--skip-unsupported) out"
        )
    options = WriteOptions(
        mode="w" if overwrite else "x",
        libver=libver,
        page=read_page("page", page),
        resume=resume,
        journal=journal,
        sync=sync,
        storage_options=storage_options,
    )
    with ExitStack() as stack:
        plan = _plan(source, name, request, stack, skip_unsupported=skip_unsupported)
        options = replace(options, origin=origin_of(source, plan.files, asked, is_resumable=resume))
        done = run(
            plan,
            path,
            options,
            max_memory=max_memory,
            progress=progress,
            scheduler=scheduler,
            worker_path=worker_path,
        )
    return (
        done
        if found is None
        else replace(done, notes=(*found.notes(has_pages=bool(options.page)), *done.notes))
    )


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
    journal: LocalPath | None = None,
    sync: Sync = "close",
    libver: str = "v110",
    page: PageSize | None = None,
    max_memory: MemorySize | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
    scheduler: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    worker_path: WorkerPath | None = None,
) -> Conversion:
    """Write a zarr array or group, of format 2 or 3, as one HDF5 file.

    Stored chunks are copied without decoding where HDF5 has filters for their codecs, including inner chunks of
    shards; other arrays are decoded and encoded by dask's workers. Chunks that are missing in the
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
        ``"keep"`` keeps the filters of chunks that are copied, and gives the others shuffle followed by gzip.
        Any other value, including None, is as for `to_fixed_h5`, and every array is decoded and encoded.
    copy
        False decodes every array; True refuses one that cannot be copied. By default arrays of up to 64 KiB
        are decoded, too, if their codec (blosc, zstd, ...) needs a plugin in readers.
    netcdf
        True refuses a group that cannot be netCDF-4, False writes plain HDF5 of any.
    verify
        Decode every chunk that is copied, too, as a reader will; one that is damaged is an error. Without
        it, only headers and sizes of the stored chunks are checked.
    overwrite, resume, journal, sync, libver, page, max_memory, progress
        As for `to_fixed_h5`.
    scheduler
        As for `convert`.
    storage_options, worker_path
        As for `to_fixed_h5`.

    Returns
    -------
    Conversion
        The summary of the file, and for each array how it was converted and why.

    Raises
    ------
    SourceError
        There is no zarr array or group.
    MissingCodecError
        zarr is not installed.
    SpecError, DatatypeError, LimitError
        An array or attribute cannot be written as requested; the message names it.
    SinkError
        The destination cannot be written.

    See Also
    --------
    convert : The same for a store at a path, and other kinds of files.

    Examples
    --------
    >>> import zarr
    >>> array = zarr.create_array("x.zarr", shape=(100, 100), chunks=(50, 100), dtype="f4")
    >>> array[...] = 1
    >>> streamh5.from_zarr(array, "x.h5", "/x").summary.datasets[0].shape
    (100, 100)
    """
    request = Request(chunks, compression, compression_opts, shuffle, fletcher32, copy, verify, libver)
    source = local_path(source) if is_path(source) else source
    check_not_source(source, path)
    from streamh5.conversion.zarr.plan import plan_zarr

    plan = plan_zarr(source, name, request, netcdf=netcdf)
    options = WriteOptions(
        mode="w" if overwrite else "x",
        libver=libver,
        page=read_page("page", page),
        resume=resume,
        journal=journal,
        sync=sync,
        storage_options=storage_options,
    )
    return run(
        plan,
        path,
        options,
        max_memory=max_memory,
        progress=progress,
        scheduler=scheduler,
        worker_path=worker_path,
    )


def _plan(
    source: str, name: str | None, request: Request, stack: ExitStack, *, skip_unsupported: bool
) -> ConversionPlan:
    """Plan a source of any kind; `stack` closes what has to stay open until the end."""
    # each imports what only this kind needs
    kind = _kind(source)
    if kind == "zarr":
        from streamh5.conversion.zarr.plan import plan_zarr

        return plan_zarr(source, name, request)
    if kind == "npy":
        from streamh5.conversion.mapped_file import plan_npy

        return plan_npy(source, name or "/data", request)
    if name is not None:
        raise SpecError(f"{source} has names for its arrays, which stay; leave name={name!r} out", name=name)
    if kind == "netcdf":
        from streamh5.conversion.mapped_file import plan_classic

        return plan_classic(source, request)
    from streamh5.conversion.hdf5.plan import plan_hdf5

    return plan_hdf5(source, request, stack, skip_unsupported=skip_unsupported)


def _in_child(source: str, **asked: Any) -> Conversion:
    if not (is_path(asked["path"]) or destination_url(asked["path"])):
        raise SpecError("safe=True writes in a child process, so to a path, not to a file object")
    if asked["scheduler"] is not None or asked["worker_path"] is not None:
        raise SpecError(
            "safe=True writes with threads of a child process; leave scheduler and worker_path out"
        )

    def died(how: str) -> SourceError:
        return SourceError(
            f"{source}: the conversion ended by {how} in a child process: the source is damaged, malicious, or "
            "needs more memory than available",
            source=source,
            signal=how,
        )

    with progress_of_child(asked.pop("progress"), destination_name(asked["path"])) as shown:
        done: Conversion = call_in_child(_convert, source, died=died, progress=shown, **asked)
    return done


def _convert(source: Any, **asked: Any) -> Conversion:
    """Convert, and return a result without the tree of the file, which cannot be sent to another process."""
    done = convert(source, **asked)
    return replace(done, summary=replace(done.summary, tree=None))


def _kind(source: str) -> str:
    """Return the kind of a source, from its first bytes.

    Raises
    ------
    SourceMissingError
        It does not exist.
    SourceError
        It is not of a supported kind.
    """
    if "://" in source:
        return "zarr"
    where, unfinished = Path(source), unfinished_write(source)
    if not where.exists():
        raise SourceMissingError(f"{source}: there is no such file or directory{unfinished}", source=source)
    if where.is_dir():
        return "zarr"
    try:
        with FileBytes(source) as file:
            start = file.read(0, min(8, file.nbytes), "signature")
            for magic, kind in _MAGIC:
                if start.startswith(magic):
                    return kind
            with suppress(FormatError):
                find_superblock(file)  # of an HDF5 file, maybe after a user block
                return "hdf5"
    except UnreadableError as error:
        raise SourceError(f"{source} cannot be read: {error}", source=str(source)) from error
    kinds = f"a zarr store, HDF5, netCDF or .npy file (it begins with {start!r})"
    raise SourceError(
        f"{source} is not {'an HDF5 file yet' + unfinished if unfinished else kinds}", source=source
    )
