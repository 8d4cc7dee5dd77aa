"""The tasks of a write for a cluster, as a collection that `Client.persist` computes.

::

    store     w0 w1 w2 ... w15      w16 ... w31      one task with its source, where dask fuses the two
               '----+-----'          '---+---'
    collect         c2                   c1          one message to the client for many blocks
    join                       j1                    where there is an upload: what is left of several collects

The names of the collect tasks count down, so that dask's order, which visits the ends of a graph one after the other,
takes up blocks in the order of their arrays: see `streamh5.dask.order`.

A task costs the scheduler and the client 2 ms, and its worker 1 ms, which is a quarter of what a block of 4 MiB costs
with gzip. So small blocks that need nothing else become one task with their collect task, which computes and stores one
after the other, and holds one at a time.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

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
    from collections.abc import Callable, Mapping

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


class Collecting(NamedTuple):
    """Which blocks are collected by one task, and how.

    Attributes
    ----------
    groups
        Paths and block ids of each collect task.
    calls
        Its function, which is called with a list of the results of stores.
    is_fused
        Whether it becomes one task with its stores, if these need nothing else.
    join
        Function of the tasks that follow, each called with a list of results of the tasks before.
    first_join
        The same for the first task of each level.
    levels
        How many results are joined; one number for each level of the tree.
    """

    groups: list[list[tuple[str, BlockId]]]
    calls: list[Callable[..., Any]]
    is_fused: bool
    join: Callable[..., Any] = collect
    first_join: Callable[..., Any] = collect
    levels: tuple[int, ...] = ()

    @classmethod
    def in_messages(
        cls, targets: list[Target], blocks: Mapping[str, list[BlockId]], *, n_threads: int
    ) -> Collecting:
        """Return what makes a thousand messages of a write, as far as no more blocks wait for the others."""
        turns = block_turns(blocks)
        targets = [one for one in targets if blocks.get(one.spec.path)]
        n_fused = n_fused_blocks(targets, len(turns), n_threads)
        n_each = max(1, n_fused if n_fused > 1 else min(MAX_COLLECTED, -(-len(turns) // N_COLLECTS)))
        groups = [turns[i : i + n_each] for i in range(0, len(turns), n_each)]
        # dask makes one task of a single store and its collect task, but leaves an alias, which is a task, too
        return cls(groups, [collect] * len(groups), n_fused > 1 or n_each == 1)


def block_turns(blocks: Mapping[str, list[BlockId]]) -> list[tuple[str, BlockId]]:
    """Return paths and ids of blocks in the order in which they are stored."""
    return in_turns(dict(blocks))


class StoredCollection(DaskMethodsMixin):
    """The store and collect tasks of a write.

    Parameters
    ----------
    token
        Identity of the write.
    stores
        The task of each array by its path.
    targets
        The arrays.
    edges
        Records of the stored chunks that an array fills only in part, by its path.
    collecting
        Which blocks are stored, and what collects their results.
    """

    __dask_scheduler__ = staticmethod(da.Array.__dask_scheduler__)

    def __init__(
        self,
        token: str,
        stores: Mapping[str, StoreTask],
        targets: list[Target],
        edges: Mapping[str, ChunkRecords],
        collecting: Collecting,
    ) -> None:
        targets = [one for one in targets if one.spec.path in stores]
        # dask's types do not know its own arrays
        arrays: Any = [
            _stored(one, stores[one.spec.path], edges.get(one.spec.path), token) for one in targets
        ]
        self._collecting = collecting
        layer: dict[Any, Any] = {}
        keys: list[Any] = []
        for group, call in zip(collecting.groups, collecting.calls, strict=True):
            keys.append(f"{_name(token)}-{len(collecting.groups) - len(keys):09d}")
            refs = [TaskRef((store_name(path, token), *block_id)) for path, block_id in group]
            layer[keys[-1]] = Task(keys[-1], call, List(*refs))
        for level, n_joined in enumerate(collecting.levels):
            parts, keys = [keys[i : i + n_joined] for i in range(0, len(keys), n_joined)], []
            for part in parts:
                call = collecting.join if keys else collecting.first_join
                keys.append(f"join-{token}-{level}-{len(parts) - len(keys):09d}")
                layer[keys[-1]] = Task(keys[-1], call, List(*map(TaskRef, part)))
        self._keys = keys
        self._notes = BlockNotes(token, {path: task.blocks for path, task in stores.items()})
        self._token = token
        self._graph = HighLevelGraph.from_collections(_name(token), layer, dependencies=arrays)

    @property
    def __dask_optimize__(self) -> Any:
        # pickled without the collection: the scheduler runs it
        return partial(_optimized, self._notes, self._token, self._collecting.is_fused, self._collecting.join)

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


def _name(token: str) -> str:
    return f"collect-{token}"


def n_fused_blocks(targets: list[Target], n_blocks: int, n_threads: int) -> int:
    """Return how many blocks become one task."""
    nbytes = sum(int(one.array.nbytes) for one in targets)
    n_all = sum(one.array.npartitions for one in targets)  # some of them may be stored already
    per_task = TASK_NBYTES * n_all // max(1, nbytes)
    return min(MAX_COLLECTED, per_task, n_blocks // (MIN_TASKS_PER_THREAD * max(1, n_threads)))


def _optimized(
    notes: BlockNotes,
    token: str,
    is_fused: bool,
    join: Callable[..., Any],
    graph: Any,
    keys: Any,
    **kwargs: Any,
) -> dict[Any, Any]:
    """Optimize as dask optimizes arrays, so that a block is computed and stored in one task."""
    collects = [key for key in graph.layers[_name(token)] if key.startswith(_name(token))]
    optimised = dict(da.Array.__dask_optimize__(graph, [*keys, *collects], **kwargs))
    noted = {key: with_note(key, task, notes, is_sent=True) for key, task in optimised.items()}
    if is_fused:
        for key in collects:
            _fuse(noted, key, join)
    return noted


def _fuse(graph: dict[Any, Any], key: Any, join: Callable[..., Any]) -> None:
    """Make one task of a collect task and its stores, if these need nothing that other tasks compute."""
    task = graph[key]
    is_alias = isinstance(task, Alias)  # of a collect task that dask has made one task with its store
    stores = [task.target] if is_alias else [one.key for one in task.args[0].args]
    if all(isinstance(graph.get(need), DataNode) for one in stores for need in graph[one].dependencies):
        # a task within a task is computed when its value is needed, so the stores run in this order
        graph[key] = Task(key, join if is_alias else task.func, List(*map(graph.pop, stores)))


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
