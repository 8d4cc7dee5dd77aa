"""Dask arrays: one store task for each block, in dask's own graph and threads.

The graph of a write::

    source blocks -> realign (only where needed) -> store -> collect -> close

``store`` filters and writes a block in the worker thread that computed it, fused with the source by
dask's own optimisation, and returns the records of its chunks. ``collect`` enters the records of up
to `COLLECT_WIDTH` blocks in the chunk table, so that they do not pile up. A worker takes up its next
block when it has stored this one: that is the backpressure.
"""

from __future__ import annotations

import math
import os
import threading
import uuid
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import dask.array as da
import dask.base
import dask.local
import dask.threaded
import numpy as np
from dask.core import flatten
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from streamh5.dataset_plan import check_new_path, plan_dataset
from streamh5.errors import (
    BlockError,
    PathError,
    SchedulerError,
    SourceError,
    SpecError,
    StateError,
    UnknownChunksError,
)
from streamh5.file import File
from streamh5.plan.chunk_shape import auto_chunks, check_chunks
from streamh5.plan.chunk_table import RECORD
from streamh5.plan.realign import Blocks, aligned_blocks, default_chunks, realign_factor
from streamh5.progress import Progress
from streamh5.sinks.local_file import Sync, check_destination

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamh5.dataset import Dataset
    from streamh5.filters import FilterChain
    from streamh5.plan.chunk_table import ChunkRecords
    from streamh5.plan.dataset_spec import DatasetSpec
    from streamh5.summary import WriteSummary

__all__ = ["RealignWarning", "array_to_fixed_h5", "to_fixed_h5"]

COLLECT_WIDTH = 64
"""Blocks whose records wait for one collect task: a few KiB each at most for one chunk a block."""

COSTLY_REALIGN = 16
"""Old blocks that a realigned block may draw on before a warning says what it costs."""


class RealignWarning(UserWarning):
    """Blocks do not match the chunks, and realigning them holds many at a time."""


def to_fixed_h5(
    path: str | os.PathLike[str],
    *args: Any,
    chunks: Any = None,
    compression: Any = "gzip",
    compression_opts: Any = None,
    shuffle: bool = True,
    fletcher32: bool = False,
    fillvalue: Any = None,
    write_empty_chunks: bool = True,
    maxshape: Any = None,
    libver: str = "v110",
    track_order: bool = False,
    attrs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    resume_key: str | None = None,
    sync: Sync = "close",
    compute: bool = True,
    progress: bool | Callable[[int, int], object] | None = None,
    **compute_kwargs: Any,
) -> WriteSummary | Delayed:
    """Write dask arrays into one HDF5 file with Fixed Array chunk indexes.

    The arrays stream: a block is computed, filtered and written by one worker thread, and nothing
    but its chunks' addresses stays in memory. The file gets its name when it is complete.

    Parameters
    ----------
    path
        The file to write.
    *args
        ``name, array`` or one dictionary of arrays by name, as `dask.array.to_hdf5` takes them. All
        arrays are computed in one pass, so work that they share is done once.
    chunks
        HDF5 chunk shape. By default dask's blocks where they form a uniform grid; otherwise their
        largest extents, and the blocks are realigned. ``"auto"`` picks 1 to 8 MiB that divide the
        blocks. True is the default too.
    compression, compression_opts, shuffle, fletcher32
        Filters, as in h5py. ``compression=None`` stores without compression (and without shuffle).
    fillvalue
        What pads the chunks at the edge; stands in for masked elements.
    write_empty_chunks
        False leaves chunks out that hold nothing but the fill value.
    maxshape
        Extents up to which readers may resize the datasets later; by default they are fixed.
    libver
        Oldest library that is to read the file; see `File`.
    track_order
        Track the creation order of links and attributes.
    attrs
        Attributes of the dataset; with several datasets, of each.
    overwrite
        Replace an existing file; it stays until the new one is complete.
    resume
        Take up an interrupted write, or start a new one when there is none: blocks whose chunks are
        there are not computed again. A failure keeps what is written, to be resumed.
    resume_key
        Identity of the source, in place of dask's token where that differs from run to run.
    sync
        ``"close"`` (fsync at the end), ``"batch"`` (also every two seconds: a power cut loses no
        more) or ``"none"``; see docs/reliability.md.
    compute
        False returns a `dask.delayed.Delayed` that writes the file when it is computed.
    progress
        True or False; None for a bar when a person is looking; or a function that is called with
        the bytes done and the bytes in all.
    **compute_kwargs
        ``scheduler``, ``num_workers`` and the like for `dask.compute`.

    Returns
    -------
    WriteSummary or Delayed

    Raises
    ------
    SourceError
        Not dask arrays, unknown chunk sizes, or a scheduler of other processes.
    SpecError, DatatypeError, LimitError
        Something that cannot be written; nothing has been computed then.
    SinkError
        The destination.

    Examples
    --------
    >>> import dask.array as da, streamh5
    >>> x = da.ones((1000, 1000), chunks=(250, 1000))
    >>> streamh5.to_fixed_h5("ones.h5", "/x", x)  # doctest: +SKIP
    """
    arrays, attributes = _arguments(args, attrs)
    if resume and not compute:
        raise SpecError(
            "resume=True needs compute=True: what is to be computed is known when the file is opened"
        )
    if compute:
        _check_scheduler(compute_kwargs.get("scheduler"), list(arrays.values()))
    targets = []
    for name, array in arrays.items():
        blocks, chunk_shape = _layout(name, array, chunks)
        spec, chain = plan_dataset(
            name,
            shape=array.shape,
            dtype=array.dtype,
            chunks=chunk_shape,
            compression=compression,
            compression_opts=compression_opts,
            shuffle=bool(shuffle and compression is not None),
            fletcher32=fletcher32,
            fillvalue=fillvalue,
            maxshape=maxshape,
            libver=libver,
            track_order=track_order,
        )
        source = array.name if resume_key is None else resume_key
        targets.append(
            _Target(spec, chain, _realigned(name, array, blocks), attributes.get(name, {}), source)
        )
    options = {"track_order": track_order, "resume": resume, "sync": sync, "libver": libver}
    write = _Write(
        path,
        targets,
        overwrite=overwrite,
        options=options,
        write_empty_chunks=write_empty_chunks,
        progress=progress,
    )
    if not compute:
        return write.delayed([write.collected(target) for target in targets])
    try:
        write.open()
        dask.base.compute([write.collected(target) for target in targets], **compute_kwargs)
        return write.close()
    except BaseException as error:
        write.abort()
        if isinstance(error, Exception):
            error.add_note(f"while writing {', '.join(arrays)} to {os.fspath(path)}")
            if resume:
                error.add_note("what is written is kept: call again with resume=True to go on")
        raise


def array_to_fixed_h5(
    self: da.Array, path: str | os.PathLike[str], name: str, **kwargs: Any
) -> WriteSummary | Delayed:
    """Write this array into one HDF5 file: `streamh5.to_fixed_h5` with this array.

    Parameters
    ----------
    path
        The file to write.
    name
        Path of the dataset in it, for example ``"/x"``.
    **kwargs
        As for `streamh5.to_fixed_h5`.
    """
    return to_fixed_h5(path, name, self, **kwargs)


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    """One array of a write: its plan, its filters, its aligned blocks, its attributes, its identity."""

    spec: DatasetSpec
    chain: FilterChain
    array: da.Array
    attributes: Mapping[str, Any]
    source: str


class _Write:
    """A write that the tasks of a graph share; the file is opened by the first of them."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        targets: list[_Target],
        *,
        overwrite: bool,
        options: dict[str, Any],
        write_empty_chunks: bool,
        progress: bool | Callable[[int, int], object] | None,
    ) -> None:
        self._path = path
        self._targets = targets
        self._overwrite = overwrite
        self._options = options
        self._write_empty_chunks = write_empty_chunks
        self._is_given_up = False
        self._show = progress
        self._token = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._file: File | None = None
        self._progress: Progress | None = None
        check_destination(path, overwrite=overwrite)

    def collected(self, target: _Target) -> da.Array:
        """One task for each `COLLECT_WIDTH` blocks, which stores and enters them."""
        path, array = target.spec.path, target.array
        starts = [[0, *accumulate(extents)] for extents in array.chunks]
        stored = array.map_blocks(
            _store,  # type: ignore[arg-type]
            self,
            path,
            starts,
            dtype=RECORD,
            chunks=tuple((1,) * n for n in array.numblocks),
            meta=np.empty((0,) * array.ndim, RECORD),
            name=f"store-{path}-{self._token}",
        )
        name = f"collect-{path}-{self._token}"
        done = self._done(target, starts)
        keys = [key for key in flatten(stored.__dask_keys__()) if key[1:] not in done]
        groups = [keys[i : i + COLLECT_WIDTH] for i in range(0, len(keys), COLLECT_WIDTH)]
        layer: dict[Any, Any] = {(name, i): (_collect, self, path, group) for i, group in enumerate(groups)}
        graph = HighLevelGraph.from_collections(name, layer, dependencies=[stored])
        return da.Array(graph, name, ((1,) * len(groups),), meta=np.empty(0, np.int64))

    def _done(self, target: _Target, starts: list[list[int]]) -> set[tuple[int, ...]]:
        """Blocks that an interrupted write has stored; the graph leaves them out."""
        if self._file is None or not self._options["resume"] or target.spec.chunks is None:
            return set()
        dataset = self._file.datasets[target.spec.path]
        done = set()
        for block_id in np.ndindex(*target.array.numblocks):
            origin = tuple(starts[axis][i] for axis, i in enumerate(block_id))
            shape = tuple(starts[axis][i + 1] - starts[axis][i] for axis, i in enumerate(block_id))
            if dataset.is_stored(origin, shape):
                done.add(block_id)
                self.add_progress(math.prod(shape) * dataset.dtype.itemsize)
        return done

    def delayed(self, collected: list[da.Array]) -> Delayed:
        """Return the whole write as one task, with the arrays' own optimisation done."""
        name = f"write-{self._token}"
        keys = [key for array in collected for key in flatten(array.__dask_keys__())]
        graph = HighLevelGraph.merge(*(array.__dask_graph__() for array in collected))
        graph = collected[0].__dask_optimize__(graph, keys)
        layers = {f"arrays-{name}": dict(graph), name: {name: (_close, self, keys)}}
        return Delayed(name, HighLevelGraph(layers, {f"arrays-{name}": set(), name: {f"arrays-{name}"}}))

    def open(self) -> File:
        """Return the file, which the first call opens."""
        with self._lock:
            if self._is_given_up:
                raise StateError(f"the write to {self._path} was given up after an error")
            if self._file is None:
                file = File(
                    self._path,
                    "w" if self._overwrite else "x",
                    header_slack=0,
                    **self._options,
                )
                try:
                    for target in self._targets:
                        dataset = file.add_dataset(
                            target.spec,
                            target.chain,
                            source=target.source,
                            write_empty_chunks=self._write_empty_chunks,
                        )
                        dataset.attrs.update(target.attributes)
                except BaseException:
                    file.abort()
                    raise
                nbytes = sum(int(target.array.nbytes) for target in self._targets)
                self._progress = Progress(nbytes, self._show, str(self._path))
                self._file = file
            return self._file

    def dataset(self, path: str) -> Dataset:
        """Dataset at `path`."""
        return self.open().datasets[path]

    def add_progress(self, nbytes: int) -> None:
        """Count bytes that are written."""
        if self._progress is not None:
            self._progress.add(nbytes)

    def close(self) -> WriteSummary:
        """Publish the file. The next task opens a new one."""
        summary = self.open().close()
        self._end()
        return summary

    def abort(self) -> None:
        """Give the write up, for good: a worker that comes late must not open a new file."""
        self._is_given_up = True
        if self._file is not None:
            self._file.abort()
        self._end()

    def _end(self) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress.close()
            self._file = self._progress = None

    def __dask_tokenize__(self) -> str:
        return self._token

    def __reduce__(self) -> Any:
        raise SchedulerError(
            f"the write to {self._path} lives in this process; compute it with scheduler='threads' or 'synchronous'"
        )


def _store(
    block: Any, write: _Write, path: str, starts: list[list[int]], block_id: tuple[int, ...] | None = None
) -> ChunkRecords:
    dataset = write.dataset(path)
    origin = tuple(starts[axis][i] for axis, i in enumerate(block_id or ()))
    expected = tuple(starts[axis][i + 1] - origin[axis] for axis, i in enumerate(block_id or ()))
    if np.shape(block) != expected:
        raise BlockError(
            f"{path}: the block at {origin} has the shape {np.shape(block)}, the dask array says {expected}; "
            "correct the chunks of the array (map_blocks needs chunks= when the function changes shapes)",
            block_shape=np.shape(block),
            expected=expected,
        )
    try:
        if dataset.chunks is None:
            dataset[()] = block
            records = np.zeros(0, RECORD)
        else:
            records = dataset.store(block, origin)
    except Exception as error:
        error.add_note(f"while writing the block at {origin} of {path}")
        raise
    write.add_progress(math.prod(expected) * dataset.dtype.itemsize)
    return records


def _collect(write: _Write, path: str, parts: Iterable[ChunkRecords]) -> np.ndarray[Any, Any]:
    dataset = write.dataset(path)
    n_chunks = 0
    for records in parts:
        dataset.record(records)
        n_chunks += len(records)
    return np.array([n_chunks])


def _close(write: _Write, counts: object) -> WriteSummary:
    return write.close()


def _arguments(
    args: tuple[Any, ...], attrs: Mapping[str, Any] | None
) -> tuple[dict[str, da.Array], dict[str, Mapping[str, Any]]]:
    """Arrays and attributes by absolute path, from the argument forms of `dask.array.to_hdf5`."""
    if len(args) == 1 and isinstance(args[0], Mapping):
        given, by_name = dict(args[0]), dict(attrs or {})
    elif len(args) == 2:
        given, by_name = {args[0]: args[1]}, {args[0]: attrs or {}}
    else:
        raise SourceError("give a name and a dask array, or one dictionary {'/name': array}")
    if not given:
        raise SourceError("the dictionary of arrays is empty; give at least one {'/name': array}")
    arrays: dict[str, da.Array] = {}
    attributes: dict[str, Mapping[str, Any]] = {}
    for name, array in given.items():
        path = check_new_path(name)
        if not isinstance(array, da.Array):
            raise SourceError(
                f"{path}: a dask array is needed, not {type(array).__name__}; "
                "wrap other arrays with dask.array.from_array, or write them with streamh5.File",
                path=path,
            )
        if path in arrays:
            raise PathError(f"{path} is named twice", path=path)
        arrays[path] = array
        attributes[path] = by_name.pop(name, {})
        if not isinstance(attributes[path], Mapping):
            raise SpecError(
                f"attrs of {path} must be a dictionary, not {type(attributes[path]).__name__}", path=path
            )
    if by_name:
        raise SpecError(
            f"attrs names {', '.join(map(repr, by_name))}, which is no array of this call; "
            "with a dictionary of arrays, attrs is a dictionary of dictionaries with the same names",
            names=list(by_name),
        )
    return arrays, attributes


def _check_scheduler(scheduler: Any, arrays: list[da.Array]) -> None:
    """Refuse a scheduler whose tasks run in other processes.

    Raises
    ------
    SchedulerError
        Anything but the threaded and the synchronous scheduler, or a pool of threads.
    """
    if isinstance(scheduler, ThreadPoolExecutor):
        return
    get = dask.base.get_scheduler(scheduler=scheduler, collections=arrays)
    if get in (dask.threaded.get, dask.local.get_sync):
        return
    submit = getattr(get, "args", (None,))[0]
    if isinstance(getattr(submit, "__self__", None), ThreadPoolExecutor):
        return
    name = getattr(scheduler or get, "__qualname__", None) or repr(scheduler or get)
    raise SchedulerError(
        f"streamh5 writes with the threaded or the synchronous scheduler, not {name}; pass scheduler='threads'",
        scheduler=name,
    )


def _layout(path: str, array: da.Array, chunks: Any) -> tuple[Blocks, Any]:
    """Blocks that hold whole chunks, and the chunk shape."""
    if any(math.isnan(extent) for extents in array.chunks for extent in extents):
        raise UnknownChunksError(
            f"{path}: the array has chunks of unknown size {array.chunks}; call array.compute_chunk_sizes() first",
            path=path,
        )
    if chunks is None or chunks is True:
        shape = default_chunks(array.chunks)
    elif isinstance(chunks, str) and chunks == "auto":
        shape = auto_chunks(default_chunks(array.chunks), array.dtype.itemsize)
    else:
        shape = check_chunks(chunks, array.shape, array.dtype.itemsize, path=path)
    if not array.ndim:
        return array.chunks, None if chunks in (None, True, "auto") else chunks
    return aligned_blocks(array.chunks, shape), shape


def _realigned(path: str, array: da.Array, blocks: Blocks) -> da.Array:
    if blocks == array.chunks:
        return array
    factor = realign_factor(array.chunks, blocks)
    if factor > COSTLY_REALIGN:
        warnings.warn(
            f"{path}: the blocks {array.chunks} do not match the chunks, and one realigned block draws on {factor} "
            "of them at a time; choose chunks that divide the blocks to save memory and time",
            RealignWarning,
            stacklevel=3,
        )
    return array.rechunk(blocks)
