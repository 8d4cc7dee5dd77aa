"""The task graph that writes dask arrays, and the file that its tasks share.

::

    source blocks --> realign ---------> store --------------> collect ----------> close
                      where blocks do    filters and writes    enters the          publishes
                      not hold whole     the chunks of one     records in the      the file
                      chunks             block                 chunk table

`store` runs in the worker thread that computed its block (dask's own optimisation makes one task of both), and
returns small records of where the chunks lie. A worker starts on its next block only when this one is stored, so the
disk slows the computation down when it has to. The order of the blocks is decided in `streamh5.dask.order`.
"""

from __future__ import annotations

import math
import threading
import uuid
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

import dask.array as da
import dask.base
import dask.local
import dask.threaded
import numpy as np
from dask.core import flatten
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from streamh5.dask.order import Collected
from streamh5.dask.scheduler import check_scheduler, gathered, local_keywords
from streamh5.dask.stored_chunks import CopyCounts
from streamh5.errors import BlockError, SchedulerError, StateError, listed
from streamh5.handles.file import open_file
from streamh5.model.chunk_records import RECORD
from streamh5.sinks.destination_path import (
    Destination,
    check_destination,
    check_path,
    destination_name,
    is_path,
)
from streamh5.sinks.file_object import check_file_object
from streamh5.write.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from streamh5.arguments.write_options import WriteOptions
    from streamh5.dask.stored_chunks import CopyBlock
    from streamh5.handles.file import File
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.write.summary import WriteSummary


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One array of a write: the plan of its dataset, and its aligned blocks.

    With `copy`, blocks of `array` only tell their position: `copy` is called with a `BlockWriter`, the origin and the
    shape of a block, stores its chunks, and returns their records and what became of them.
    """

    spec: DatasetSpec
    array: da.Array
    copy: CopyBlock | None = None


class Write:
    """A write that the tasks of a graph share; the first task opens the file.

    Parameters
    ----------
    path
        The destination, or a `Sink`.
    targets
        The arrays; all are computed in one pass.
    prepare
        Called with the open file before the first block; creates the datasets of the targets, and all other objects
        of the file.
    options
        How the file is written.
    progress
        See `to_fixed_h5`.

    Attributes
    ----------
    counts
        What became of the chunks of each target with `copy`, by its path.
    """

    def __init__(
        self,
        path: Destination,
        targets: list[Target],
        prepare: Callable[[File], None],
        options: WriteOptions,
        *,
        progress: bool | Callable[[int, int], object] | None,
    ) -> None:
        check_path(path)
        self._path = path
        self._name = destination_name(path)
        self._targets = targets
        self._copies = {one.spec.path: one.copy for one in targets if one.copy is not None}
        self._starts = {one.spec.path: [[0, *accumulate(c)] for c in one.array.chunks] for one in targets}
        self._prepare = prepare
        self._options = options
        self._is_given_up = False
        self._show = progress
        self._token = uuid.uuid4().hex
        self._lock = threading.Lock()
        self.counts = dict.fromkeys(self._copies, CopyCounts())
        self._file: File | None = None
        self._progress: Progress | None = None
        if is_path(path):
            check_destination(path, overwrite=options.mode != "x")
        elif not hasattr(path, "commit"):
            check_file_object(cast("IO[bytes]", path), overwrite=options.mode != "x")

    def compute(self, **compute_kwargs: Any) -> WriteSummary:
        """Write the file; `compute_kwargs` are those of `dask.compute`.

        Any exception aborts the write; a note on it tells what was being written.
        """
        try:
            self.open()
            if self._targets:
                arrays = [target.array for target in self._targets]
                dask.base.compute(self._collected(), **local_keywords(compute_kwargs, arrays))
            return self.close()
        except BaseException as error:
            if isinstance(error, Exception):
                names = listed(target.spec.path for target in self._targets)
                error.add_note(f"while writing {names or 'data'} to {self._name}")
            self.interrupt(error)
            raise

    def _collected(self) -> Collected:
        """Return one task for each block of each array, which enters its records in the chunk table."""
        stores = {}
        for target in self._targets:
            stored, done = self._stored(target), self._done(target)
            keys = [key for key in flatten(stored.__dask_keys__()) if key[1:] not in done]
            stores[target.spec.path] = stored, keys
        return Collected(self._token, stores, self.collect, self._note)

    def _note(self, key: Any) -> str | None:
        """Return a note that tells which block the task of a key stores; None for other tasks."""
        if not isinstance(key, tuple):
            return None
        for path in self._starts:
            if key[0] == self._store_name(path):
                return f"while writing the block at {self.block(path, key[1:])[0]} of {path}"
        return None

    def _store_name(self, path: str) -> str:
        return f"store-{path}-{self._token}"

    def _stored(self, target: Target) -> da.Array:
        """Return one task for each block, which stores it and returns its records."""
        return gathered(target.array).map_blocks(
            self.store,  # type: ignore[arg-type] # dask's types take the method for a function of an Array
            target.spec.path,
            dtype=RECORD,
            chunks=tuple((1,) * n for n in target.array.numblocks),
            meta=np.empty((0,) * target.array.ndim, RECORD),
            name=self._store_name(target.spec.path),
        )

    def _done(self, target: Target) -> set[tuple[int, ...]]:
        """Return the blocks that an interrupted write has stored; the graph leaves them out."""
        if self._file is None or not self._options.resume or target.spec.chunks is None:
            return set()
        dataset = self._file.datasets[target.spec.path]
        done = set()
        for block_id in np.ndindex(*target.array.numblocks):
            origin, shape = self.block(target.spec.path, block_id)
            if dataset.is_stored(origin, shape):
                done.add(block_id)
                self.add_progress(math.prod(shape) * dataset.dtype.itemsize)
        return done

    def block(self, path: str, block_id: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return origin and shape of a block of the array that is written to `path`."""
        starts = self._starts[path]
        origin = tuple(starts[axis][i] for axis, i in enumerate(block_id))
        return origin, tuple(starts[axis][i + 1] - origin[axis] for axis, i in enumerate(block_id))

    def delayed(self, **compute_kwargs: Any) -> Delayed:
        """Return the whole write as one task, whose graph is already optimised.

        Parameters
        ----------
        **compute_kwargs
            Defaults for its ``compute``.
        """
        name = f"write-{self._token}"
        collected = self._collected()
        keys = collected.__dask_keys__()
        graph = collected.__dask_optimize__(collected.__dask_graph__(), keys)
        layers = {f"arrays-{name}": dict(graph), name: {name: (self._close, keys)}}
        delayed = _DelayedWrite(
            name, HighLevelGraph(layers, {f"arrays-{name}": set(), name: {f"arrays-{name}"}})
        )
        delayed.write, delayed.compute_kwargs = self, compute_kwargs
        return delayed

    def open(self) -> File:
        """Return the file; the first call opens it."""
        with self._lock:
            if self._is_given_up:
                raise StateError(f"the write to {self._name} was aborted after an error; start a new one")
            if self._file is None:
                file = open_file(self._path, self._options)
                try:
                    self._prepare(file)
                    file.session.check_resumed()
                except BaseException as error:
                    file.session.interrupt(error)
                    raise
                nbytes = sum(int(target.array.nbytes) for target in self._targets)
                self._progress = Progress(nbytes, self._show, self._name)
                self._file = file
            return self._file

    def store(self, block: Any, path: str, block_id: tuple[int, ...] | None = None) -> ChunkRecords:
        """Store the chunks of a block, or copy them from the source; return where they lie."""
        dataset = self.open().datasets[path]
        origin, expected = self.block(path, block_id or ())
        if np.shape(block) != expected:
            raise BlockError(
                f"{path}: the block at {origin} has the shape {np.shape(block)}, the dask array says {expected}; "
                "correct the chunks of the array (map_blocks needs chunks= when the function changes shapes)",
                block_shape=np.shape(block),
                expected=expected,
            )
        copy = self._copies.get(path)
        try:
            if dataset.chunks is None:
                dataset[()] = block
                records = np.zeros(0, RECORD)
            elif copy is None:
                records = dataset.write_block(block, origin)
            else:
                records, counts = copy(dataset, origin, expected)
                with self._lock:
                    self.counts[path] += counts
        except Exception as error:
            error.add_note(f"while writing the block at {origin} of {path}")
            raise
        self.add_progress(math.prod(expected) * dataset.dtype.itemsize)
        return records

    def collect(self, path: str, records: ChunkRecords, _before: object) -> int:
        """Enter records in the chunk table; return how many."""
        self.open().datasets[path].record(records)
        return len(records)

    def add_progress(self, nbytes: int) -> None:
        """Report bytes as written."""
        if self._progress is not None:
            self._progress.add(nbytes)

    def close(self) -> WriteSummary:
        """Publish the file. The next task opens a new one."""
        summary = self.open().close()
        self._end()
        return summary

    def _close(self, _counts: object) -> WriteSummary:
        return self.close()

    def interrupt(self, error: BaseException) -> None:
        """Abort the write for good: a late worker must not open a new file."""
        self._is_given_up = True
        if self._file is not None:
            self._file.session.interrupt(error)
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
            f"the write to {self._name} lives in this process; compute it with scheduler='threads' or 'synchronous'"
        )


class _DelayedWrite(Delayed):
    """A write as one task. Its own ``compute`` also cleans up after a failure.

    `dask.compute` of several objects only sees the graph; a failed write is then cleaned up when this object is
    deleted.
    """

    __slots__ = ("compute_kwargs", "write")

    write: Write
    compute_kwargs: dict[str, Any]

    def compute(self, **kwargs: Any) -> WriteSummary:
        """Write the file; the keywords are those of `dask.compute`."""
        given, compute_kwargs = self.write, {**self.compute_kwargs, **kwargs}
        arrays = [target.array for target in given._targets]
        check_scheduler(compute_kwargs.get("scheduler"), arrays)
        # a new one, because an aborted write stays aborted
        write = Write(given._path, given._targets, given._prepare, given._options, progress=given._show)
        return write.compute(**compute_kwargs)
