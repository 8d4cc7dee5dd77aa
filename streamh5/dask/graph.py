"""The task graph that writes dask arrays, and the file that its tasks share.

::

    source blocks --> realign ---------> store --------------> collect ----------> close
                      where blocks do    filters and writes    enters the          publishes
                      not hold whole     the chunks of one     records in the      the file
                      chunks             block                 chunk table

`store` runs in the worker thread that computed its block (dask's own optimisation makes one task of both), and
returns small records of where the chunks lie. A worker starts on its next block only when this one is stored, so the
disk slows the computation down when it has to. The order of the blocks is decided in `streamh5.dask.order`, and
where there are no other tasks, there is no collect task (`streamh5.dask.window_graph`).

On a cluster, other processes store the blocks: see `streamh5.dask.cluster`. Only graphs of `delayed` have a close task.
"""

from __future__ import annotations

import math
import sys
import threading
import uuid
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import dask.array as da
import numpy as np
from dask._task_spec import List, Task, TaskRef
from dask.blockwise import blockwise, optimize_blockwise
from dask.highlevelgraph import HighLevelGraph
from dask.layers import ArrayBlockIdDep

from streamh5.dask.cluster_client import find_client, usable
from streamh5.dask.delayed_write import delayed_write, on_cluster
from streamh5.dask.order import BlockList, BlockNotes, StoreTurns
from streamh5.dask.scheduler import cluster_keywords, gathered, is_for_workers, local_keywords, store_name
from streamh5.dask.store_task import BlockGrid, missing_blocks, region_of
from streamh5.dask.stored_chunks import CopyCounts
from streamh5.dask.window_graph import window_graph
from streamh5.dask.windowed_write import compute_windows
from streamh5.dask.windows import Windows
from streamh5.errors import SchedulerError, StateError, listed
from streamh5.handles.file import open_file
from streamh5.handles.object_destination import check_url
from streamh5.model.chunk_records import RECORD
from streamh5.sinks.destination_path import (
    Destination,
    check_destination,
    check_path,
    destination_name,
    destination_url,
    is_path,
    is_sink,
)
from streamh5.sinks.file_object import check_file_object
from streamh5.write.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import IO

    from dask.delayed import Delayed
    from distributed import Client

    from streamh5.arguments.paths import WorkerPath
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
    shape of a block, stores its chunks, and returns their records and what became of them. With `is_local`, the array
    can only be read in this process: its blocks are stored here even if others are stored by a cluster. `origin` is the
    index of its first element in the dataset, None for an array that is the whole dataset.
    """

    spec: DatasetSpec
    array: da.Array
    copy: CopyBlock | None = None
    is_local: bool = False
    origin: tuple[int, ...] | None = None


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
    progress, worker_path
        See `to_fixed_h5`.
    file
        The destination, if it is open already, because the write was planned on its objects.

    Attributes
    ----------
    path, name
        The destination, and what messages call it.
    token
        Identity of the write.
    targets
        The arrays.
    blocks
        Their blocks, by the path of the dataset.
    counts
        What became of the chunks of each target, by its path; of those without `copy` only what was stored before.
    """

    def __init__(
        self,
        path: Destination,
        targets: list[Target],
        prepare: Callable[[File], None],
        options: WriteOptions,
        *,
        progress: bool | Callable[[int, int], object] | None,
        worker_path: WorkerPath | None = None,
        file: File | None = None,
    ) -> None:
        check_path(path)
        self._again = partial(
            Write, path, targets, prepare, options, progress=progress, worker_path=worker_path
        )
        self.path = path
        self.name = destination_name(path)
        self.targets = targets
        self._copies = {one.spec.path: one.copy for one in targets if one.copy is not None}
        self.blocks = {one.spec.path: BlockGrid(one.array.chunks, one.origin) for one in targets}
        self._worker_path = worker_path
        self._prepare = prepare
        self._options = options
        self._is_given_up = False
        self._show = progress
        self.token = uuid.uuid4().hex
        self._lock = threading.Lock()
        self.counts = dict.fromkeys(self.blocks, CopyCounts())
        self._given = file
        self._file: File | None = None
        self._progress: Progress | None = None
        if is_path(path):
            check_destination(path, overwrite=options.mode != "x")
        elif (url := destination_url(path)) is not None:
            check_url(url, options)
        elif not is_sink(path):
            check_file_object(cast("IO[bytes]", path), overwrite=options.mode != "x")

    def compute(self, **compute_kwargs: Any) -> WriteSummary:
        """Write the file; `compute_kwargs` are those of `dask.compute`.

        Any exception aborts the write; a note on it tells what was being written.
        """
        try:
            client = self._client(compute_kwargs.get("scheduler"))
            with nullcontext() if client is None else usable(client) as own:
                self.open()
                self._store_all(own, compute_kwargs)
                return self.close()
        except BaseException as error:
            if isinstance(error, Exception):
                names = listed(target.spec.path for target in self.targets)
                error.add_note(f"while writing {names or 'data'} to {self.name}")
            self.interrupt(error)
            raise

    def _client(self, scheduler: Any) -> Client | None:
        """Return the client of the cluster that stores the blocks; None if threads of this process do.

        Raises
        ------
        SchedulerError
            Other processes cannot write a dataset.
        """
        remote = [target for target in self.targets if not target.is_local]
        if not remote or not is_for_workers(self.path):
            return None
        client = find_client(scheduler, [target.array for target in remote])
        if client is not None and (self._options.resume or self._options.journal) and not is_path(self.path):
            raise SchedulerError(
                f"the parts that workers send to {self.name} are in no journal: leave resume and journal out, or pass "
                "scheduler='threads'"
            )
        fixed = [target.spec.path for target in remote if target.spec.is_early]
        if client is not None and fixed:
            raise SchedulerError(
                f"{listed(fixed)}: chunks with fixed addresses (alloc_time='early') are overwritten in place, which "
                "only threads of one process may do: pass scheduler='threads'"
            )
        return client

    def _store_all(self, client: Client | None, compute_kwargs: dict[str, Any]) -> None:
        """Store every block that is not stored yet: on the cluster of `client`, or in threads of this process."""
        blocks = {target.spec.path: self._missing(target) for target in self.targets}
        here = [target for target in self.targets if client is None or self._is_local(target)]
        fetched = [one for one in here if client and not (one.is_local or one.copy)]  # others compute them
        local = [one for one in here if one not in fetched]
        if local:
            arrays = [target.array for target in local]
            # with a client, the keywords are those of its cluster
            keywords = {"scheduler": "threads"} if client else local_keywords(compute_kwargs, arrays)
            self._compute_local(local, {one.spec.path: blocks[one.spec.path] for one in local}, keywords)
        if client is not None:
            from streamh5.dask.cluster import cluster_write  # imports distributed
            from streamh5.dask.fetched_blocks import store_fetched

            keywords = cluster_keywords(compute_kwargs)
            for one in fetched:
                store_fetched(client, self, one, blocks[one.spec.path].ids(), keywords)
            given = {one.spec.path: blocks[one.spec.path].ids() for one in self.targets if one not in here}
            cluster_write(client, self, self._worker_path, keywords).run(given)

    def _is_local(self, target: Target) -> bool:
        """Tell whether this process stores an array, although there is a cluster."""
        # chunks with addresses in the global heap cannot be sent before the addresses are known
        return target.is_local or (target.spec.has_heap_elements and not is_path(self.path))

    def _compute_local(
        self, targets: list[Target], blocks: Mapping[str, BlockList], keywords: dict[str, Any]
    ) -> None:
        """Store blocks in threads of this process, window by window."""
        graph = self._store_graph(targets, is_optimized=keywords.get("optimize_graph", True))
        note = BlockNotes(self.token, self.blocks)
        compute_windows(graph, StoreTurns(self.token, blocks), self.record, note, **keywords)

    def _store_graph(self, targets: list[Target], *, is_optimized: bool = True) -> HighLevelGraph:
        """Return the graph of the store tasks, with fused blockwise operations."""
        graph = HighLevelGraph.merge(*map(self._stored, targets))
        names = [(store_name(target.spec.path, self.token),) for target in targets]
        return optimize_blockwise(graph, keys=names) if is_optimized else graph

    def _stored(self, target: Target) -> HighLevelGraph:
        """Return the graph of the tasks that store the blocks of an array and return the records of their chunks.

        dask makes each task of the layer by itself, so that every argument costs: `map_blocks` would add four.
        """
        array, name = gathered(target.array), store_name(target.spec.path, self.token)
        index = tuple(range(array.ndim))
        layer = blockwise(
            partial(self.store, target.spec.path),
            name,
            index,
            array.name,
            index,
            ArrayBlockIdDep(array.chunks),
            index,
            numblocks={array.name: array.numblocks},
        )
        dependencies: Any = [array]  # dask's types do not know its own arrays
        return HighLevelGraph.from_collections(name, layer, dependencies=dependencies)

    def _missing(self, target: Target) -> BlockList:
        """Return the blocks to store, in order: those that an interrupted write has stored are left out."""
        if self._file is None or not self._options.resume or target.spec.chunks is None:
            return BlockList(target.array.numblocks)
        path, dataset = target.spec.path, self._file.datasets[target.spec.path]
        stored = dataset.out.stored_coords()
        self.count(path, CopyCounts(n_resumed=len(stored[0])))
        missing = missing_blocks(self.blocks[path], dataset.node.spec.grid, stored, target.copy)
        n_stored = int(target.array.size) - self.blocks[path].n_elements(missing)
        if n_stored:
            self.add_progress(n_stored * dataset.dtype.itemsize)
        return BlockList(target.array.numblocks, missing)

    def block(self, path: str, block_id: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return origin and shape in the dataset of a block of the array that is written to `path`."""
        return self.blocks[path].block(block_id)

    def delayed(self, **compute_kwargs: Any) -> Delayed:
        """Return the whole write as one task, whose graph is already optimised.

        Parameters
        ----------
        **compute_kwargs
            Defaults for its ``compute``.
        """
        name = f"write-{self.token}"
        if self._client(compute_kwargs.get("scheduler")) is not None:
            return on_cluster(self._again, name, compute_kwargs)
        blocks = {target.spec.path: self._missing(target) for target in self.targets}
        turns = StoreTurns(self.token, blocks)
        tasks: dict[Any, Any] = {}
        ends: list[Any] = []
        for whole in Windows(self._store_graph(self.targets), turns.keys(), sys.maxsize):
            note = BlockNotes(self.token, self.blocks)
            made = window_graph(
                whole, turns.paths(whole.stores), self.record, note, name=f"block-{self.token}"
            )
            tasks, ends = made.tasks, made.ends
        layers = {f"arrays-{name}": tasks, name: {name: Task(name, self._close, List(*map(TaskRef, ends)))}}
        dependencies = {f"arrays-{name}": set[str](), name: {f"arrays-{name}"}}
        return delayed_write(self._again, HighLevelGraph(layers, dependencies), name, compute_kwargs)

    def open(self) -> File:
        """Return the file; the first call opens it."""
        with self._lock:
            if self._is_given_up:
                raise StateError(f"the write to {self.name} was aborted after an error; start a new one")
            if self._file is None:
                file = self._given or open_file(self.path, self._options)
                self._given = None
                try:
                    self._prepare(file)
                    file.session.check_resumed()
                except BaseException as error:
                    file.session.interrupt(error)
                    raise
                nbytes = sum(int(target.array.nbytes) for target in self.targets)
                self._progress = Progress(nbytes, self._show, self.name)
                self._file = file
            return self._file

    def store(self, path: str, block: Any, block_id: tuple[int, ...]) -> ChunkRecords:
        """Store the chunks of a block, or copy them from the source; return where they lie."""
        dataset = self.open().datasets[path]
        origin, expected = self.blocks[path].checked(block, path, block_id)
        copy = self._copies.get(path)
        try:
            if dataset.chunks is None:
                dataset[region_of(origin, expected)] = block
                records = np.zeros(0, RECORD)
            elif copy is None:
                records = dataset.write_block(block, origin)
            else:
                records, counts = copy(dataset, origin, expected)
                self.count(path, counts)
        except Exception as error:
            error.add_note(f"while writing the block at {origin} of {path}")
            raise
        self.add_progress(math.prod(expected) * dataset.dtype.itemsize)
        return records

    def record(self, stored: Iterable[tuple[str, ChunkRecords]]) -> None:
        """Enter the records of blocks in the chunk tables; a call for many, because what it costs is the same."""
        by_path: dict[str, list[ChunkRecords]] = {}
        for path, records in stored:
            by_path.setdefault(path, []).append(records)
        for path, some in by_path.items():
            self.open().datasets[path].record(np.concatenate(some))

    def count(self, path: str, counts: CopyCounts) -> None:
        """Count what became of chunks that were copied."""
        with self._lock:
            self.counts[path] += counts

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
        return self.token

    def __reduce__(self) -> Any:
        raise SchedulerError(
            f"the write to {self.name} lives in this process; compute it with scheduler='threads' or 'synchronous', "
            "call its compute(), or make it while the distributed.Client is active"
        )
