"""The tasks of a write for a cluster, as a collection that `Client.persist` computes.

::

    store     w0 w1 w2 ... w15      w16 ... w31      one task with its source, where dask fuses the two
               '----+-----'          '---+---'
    collect         c2                   c1          one message to the client for many blocks

The names of the collect tasks count down, so that dask's order, which visits the ends of a graph one after the other,
takes up blocks in the order of their arrays: see `streamh5.dask.order`. With few blocks each has a collect task of its
own, which dask fuses with the store.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask._task_spec import List, Task, TaskRef
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

N_COLLECTS = 1000
MAX_COLLECTED = 128
"""Blocks of one message: a thousand messages for a write, as long as no more blocks wait for the others."""


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
    """

    __dask_scheduler__ = staticmethod(da.Array.__dask_scheduler__)

    def __init__(
        self, token: str, stores: Mapping[str, tuple[StoreTask, list[BlockId]]], targets: list[Target]
    ) -> None:
        # dask's types do not know its own arrays
        arrays: Any = [
            _stored(one, stores[one.spec.path][0], token) for one in targets if one.spec.path in stores
        ]
        own = {
            path: [(store_name(path, token), *one) for one in blocks] for path, (_, blocks) in stores.items()
        }
        keys = [key for _, key in in_turns(own)]
        n_each = min(MAX_COLLECTED, -(-len(keys) // N_COLLECTS))
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
        return partial(_optimized, self._notes)

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


def _optimized(notes: BlockNotes, graph: Any, keys: Any, **kwargs: Any) -> dict[Any, Any]:
    """Optimize as dask optimizes arrays, so that a block is computed and stored in one task."""
    optimised = dict(da.Array.__dask_optimize__(graph, keys, **kwargs))
    return {key: with_note(key, task, notes, is_sent=True) for key, task in optimised.items()}


def _stored(target: Target, task: StoreTask, token: str) -> da.Array:
    """Return one task for each block of an array, which stores it."""
    path, copy = target.spec.path, None
    if target.copy is not None:
        # a key of its own, so that it goes once to each worker and not with every block: it may list a million chunks
        copy = delayed(target.copy, name=f"source-{path}-{token}", traverse=False)
    return da.map_blocks(
        task,
        target.array,
        copy=copy,
        dtype=np.dtype(object),
        chunks=tuple((1,) * n for n in target.array.numblocks),
        meta=np.empty((0,) * target.array.ndim, object),
        name=store_name(path, token),
    )
