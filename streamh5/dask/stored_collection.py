"""The tasks of a write for a cluster, as a collection that `Client.persist` computes.

::

    store     w0 w1 w2 ... w15      w16 ... w31      one task with its source, where dask fuses the two
               '----+-----'          '---+---'
    collect         c2                   c1          one message to the client for many blocks

The names of the collect tasks count down, so that dask's order, which visits the ends of a graph one after the other,
takes up blocks in the order of their arrays: see `streamh5.dask.order`.

A task costs the scheduler and the client 2 ms, and its worker 1 ms, which is a quarter of what a block of 4 MiB costs
with gzip. So small blocks that need nothing else become one task with their collect task, which computes and stores one
after the other, and holds one at a time.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask._task_spec import Alias, DataNode, List, Task, TaskRef
from dask.base import DaskMethodsMixin
from dask.delayed import delayed
from dask.highlevelgraph import HighLevelGraph

from streamh5.dask.order import BlockNotes, in_turns, with_note
from streamh5.dask.scheduler import store_name
from streamh5.dask.store_task import collect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamh5.dask.graph import Target
    from streamh5.dask.store_task import BlockId, StoreTask
    from streamh5.model.chunk_records import ChunkRecords

N_COLLECTS = 1000
MAX_COLLECTED = 128
"""Blocks of one message: a thousand messages for a write, as long as no more blocks wait for the others."""

TASK_NBYTES = 32 << 20
"""Raw bytes of the blocks that become one task. Eight blocks of 4 MiB cost a third of the processor time of eight tasks
(tests/benchmarks, cluster, tables "speed" and "client")."""

MIN_TASKS_PER_THREAD = 16
"""Fewer tasks for each thread would leave threads idle at the end of a write, while others work on their last task."""


class StoredCollection(DaskMethodsMixin):
    """The store and collect tasks of a write.

    Parameters
    ----------
    token
        Identity of the write.
    stores
        The task of each array by its path, and the blocks to store, in order.
    targets
        The arrays.
    edges
        Records of the stored chunks that an array fills only in part, by its path.
    n_threads
        Threads of all workers.
    """

    __dask_scheduler__ = staticmethod(da.Array.__dask_scheduler__)

    def __init__(
        self,
        token: str,
        stores: Mapping[str, tuple[StoreTask, list[BlockId]]],
        targets: list[Target],
        edges: Mapping[str, ChunkRecords],
        *,
        n_threads: int,
    ) -> None:
        targets = [one for one in targets if one.spec.path in stores]
        # dask's types do not know its own arrays
        arrays: Any = [
            _stored(one, stores[one.spec.path][0], edges.get(one.spec.path), token) for one in targets
        ]
        own = {
            path: [(store_name(path, token), *one) for one in blocks] for path, (_, blocks) in stores.items()
        }
        keys = [key for _, key in in_turns(own)]
        n_fused = _n_fused(targets, len(keys), n_threads)
        n_each = n_fused if n_fused > 1 else min(MAX_COLLECTED, -(-len(keys) // N_COLLECTS))
        # dask makes one task of a single store and its collect task, but leaves an alias, which is a task, too
        self._is_fused = n_fused > 1 or n_each == 1
        name = f"collect-{token}"
        layer: dict[Any, Any] = {}
        groups = [keys[i : i + n_each] for i in range(0, len(keys), max(1, n_each))]
        for i, group in enumerate(groups):
            key = f"{name}-{len(groups) - i:09d}"
            layer[key] = Task(key, collect, List(*map(TaskRef, group)))
        self._keys = list(layer)
        self._notes = BlockNotes(token, {path: task.blocks for path, (task, _) in stores.items()})
        self._token = token
        self._graph = HighLevelGraph.from_collections(name, layer, dependencies=arrays)

    @property
    def __dask_optimize__(self) -> Any:
        # pickled without the collection: the scheduler runs it
        return partial(_optimized, self._notes, self._is_fused)

    def __dask_tokenize__(self) -> str:
        return self._token

    def __dask_graph__(self) -> HighLevelGraph:
        return self._graph

    def __dask_keys__(self) -> list[Any]:
        return self._keys

    def __dask_postcompute__(self) -> tuple[Any, tuple[()]]:
        return list, ()

    def __dask_postpersist__(self) -> tuple[Any, tuple[()]]:
        return dict, ()  # futures by key


def _n_fused(targets: list[Target], n_blocks: int, n_threads: int) -> int:
    """Return how many blocks become one task."""
    nbytes = sum(int(one.array.nbytes) for one in targets)
    n_all = sum(one.array.npartitions for one in targets)  # some of them may be stored already
    per_task = TASK_NBYTES * n_all // max(1, nbytes)
    return min(MAX_COLLECTED, per_task, n_blocks // (MIN_TASKS_PER_THREAD * max(1, n_threads)))


def _optimized(notes: BlockNotes, is_fused: bool, graph: Any, keys: Any, **kwargs: Any) -> dict[Any, Any]:
    """Optimize as dask optimizes arrays, so that a block is computed and stored in one task."""
    optimised = dict(da.Array.__dask_optimize__(graph, keys, **kwargs))
    noted = {key: with_note(key, task, notes, is_sent=True) for key, task in optimised.items()}
    if is_fused:
        for key in keys:
            _fuse(noted, key)
    return noted


def _fuse(graph: dict[Any, Any], key: Any) -> None:
    """Make one task of a collect task and its stores, if these need nothing that other tasks compute."""
    task = graph[key]
    stores = [task.target] if isinstance(task, Alias) else [one.key for one in task.args[0].args]
    if all(isinstance(graph.get(need), DataNode) for one in stores for need in graph[one].dependencies):
        # a task within a task is computed when its value is needed, so the stores run in this order
        graph[key] = Task(key, collect, List(*map(graph.pop, stores)))


def _stored(target: Target, task: StoreTask, edges: ChunkRecords | None, token: str) -> da.Array:
    """Return one task for each block of an array, which stores it."""
    path, copy, stored = target.spec.path, None, None
    # keys of their own, so that they go once to each worker and not with every block: they may list a million chunks
    if target.copy is not None:
        copy = delayed(target.copy, name=f"source-{path}-{token}", traverse=False)
    if edges is not None:
        stored = delayed(edges, name=f"edges-{path}-{token}", traverse=False)
    return da.map_blocks(
        task,
        target.array,
        copy=copy,
        stored=stored,
        dtype=np.dtype(object),
        chunks=tuple((1,) * n for n in target.array.numblocks),
        meta=np.empty((0,) * target.array.ndim, object),
        name=store_name(path, token),
    )
