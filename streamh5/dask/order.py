"""The order in which dask computes the blocks of a write, which decides how many it keeps in memory.

::

    source    s0      s1      s2      s3          s0 ... s3 may be shared by several arrays
              |       |       |       |
    store     w0      w1      w2      w3          one task with its source, where dask fuses the two
              |       |       |       |
    collect   c-4 --> c-3 --> c-2     c-1 --> ... an arrow: the right one waits for the left one
              '---- one run ----'     '- the next

Blocks should be computed in the order of their array, arrays that share sources should advance together, and a source
should be released once all of them have stored it. dask has no option for that. Its static order (`dask.order.order`)
visits the ends of the graph one by one, each with all the tasks that it needs. It compares ends by the number of tasks
and roots that lead to them, and finally by their keys as text, of which it starts with the one that sorts last. The
collect tasks are these ends:

* Their names count down, so that among similar blocks the first one is computed first.
* Each waits for the one before it, so that within a run the number of tasks that lead to an end grows with its
  position, even if blocks need different numbers of tasks. Only the records wait: stores run in parallel.
* After `RUN_LENGTH` of them a new run begins, because dask keeps the set of all roots that lead to each task.

The stores themselves cannot be the ends: dask fuses them with their sources under keys of its choice, and keeps only
the keys that were requested.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
from dask._task_spec import Task
from dask.base import DaskMethodsMixin
from dask.highlevelgraph import HighLevelGraph

from streamh5.dask.scheduler import store_name
from streamh5.sinks.machine import host_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamh5.dask.store_task import BlockGrid


RUN_LENGTH = 32
"""Number of collect tasks that wait for each other. The memory of dask's ordering grows with its square.

For the graphs in tests/dask/test_dask_order.py, the order of blocks is the same for any length of 8 or more. That does
not hold for blocks that overlap: in a trial with `dask.array.map_overlap`, dask kept up to 41 blocks with 32, and 18
with 1. The length stays, because the order of blocks decides the bytes of the files."""


def in_turns(keys: Mapping[str, list[Any]]) -> list[tuple[str, Any]]:
    """Return paths and keys such that all arrays advance in proportion to their number of blocks."""
    # block i of n has the position (i + 0.5) / n
    turns = [((i + 0.5) / len(own), path, key) for path, own in keys.items() for i, key in enumerate(own)]
    turns.sort(key=lambda turn: turn[0])
    return [(path, key) for _, path, key in turns]


class BlockNotes:
    """Says which block the task of a key stores, for the errors of tasks; can be pickled.

    Parameters
    ----------
    token
        Identity of the write.
    blocks
        Blocks of the arrays, by the path of the dataset.
    """

    def __init__(self, token: str, blocks: Mapping[str, BlockGrid]) -> None:
        self._blocks = {store_name(path, token): (path, grid) for path, grid in blocks.items()}

    def __call__(self, key: Any) -> str | None:
        """Return the note; None for tasks that store nothing."""
        if not isinstance(key, tuple) or key[0] not in self._blocks:
            return None
        path, grid = self._blocks[key[0]]
        return f"while writing the block at {grid.block(key[1:])[0]} of {path}"


class Collected(DaskMethodsMixin):
    """The collect tasks of a write, as a collection that dask computes.

    Parameters
    ----------
    token
        Identity of the write.
    stores
        The store tasks of each array by its path, and the keys of those to collect, in order.
    collect
        Function of the task: called with the path of an array, the records that a store has returned, and the result
        of the task before it.
    note
        Notes for the errors of tasks.
    """

    __dask_scheduler__ = staticmethod(da.Array.__dask_scheduler__)

    def __init__(
        self,
        token: str,
        stores: Mapping[str, tuple[da.Array, list[Any]]],
        collect: Callable[[str, Any, Any], int],
        note: BlockNotes,
    ) -> None:
        turns = in_turns({path: keys for path, (_, keys) in stores.items()})
        name = f"collect-{token}"
        self._keys = [f"{name}-{len(turns) - i:012d}" for i in range(len(turns))]
        layer: dict[Any, Any] = {}
        for i, (path, key) in enumerate(turns):
            before = self._keys[i - 1] if i % RUN_LENGTH else None
            layer[self._keys[i]] = (collect, path, key, before)
        dependencies: Any = [
            stored for stored, _ in stores.values()
        ]  # dask's types do not know its own arrays
        self._graph = HighLevelGraph.from_collections(name, layer, dependencies=dependencies)
        self._token = token
        self._note = note

    def __dask_optimize__(self, graph: Any, keys: Any, **kwargs: Any) -> dict[Any, Any]:
        # as dask optimises arrays, so that a block is computed and stored in one task
        optimised = da.Array.__dask_optimize__(graph, keys, **kwargs)
        return {key: with_note(key, task, self._note) for key, task in dict(optimised).items()}

    def __dask_tokenize__(self) -> str:
        # otherwise dask hashes the whole graph with every array in it (tests/benchmarks, work da)
        return self._token

    def __dask_graph__(self) -> HighLevelGraph:
        return self._graph

    def __dask_keys__(self) -> list[str]:
        return self._keys

    def __dask_postcompute__(self) -> tuple[Any, tuple[()]]:
        return sum, ()  # the number of chunks


class _NotedTask(Task):
    """A task that adds a note to its errors: which block was being computed, even if dask has fused several tasks."""

    __slots__ = ("note",)

    note: Callable[[], str]

    def __call__(self, values: Any = ()) -> Any:
        try:
            return super().__call__(values)
        except Exception as error:
            note = self.note()
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            raise


_SLOTS = [slot for kind in Task.__mro__ for slot in getattr(kind, "__slots__", ()) if slot != "__weakref__"]


def with_note(key: Any, task: Any, notes: BlockNotes, *, is_sent: bool = False) -> Any:
    """Return a task that adds a note to its errors.

    With `is_sent` the task runs in another process: it gets the text, and not what makes it, and adds its host.
    """
    if type(task) is not Task:
        return task
    other = object.__new__(_NotedTask)
    for slot in _SLOTS:
        if hasattr(task, slot):
            setattr(other, slot, getattr(task, slot))
    here = partial(_note_of, key, task, notes)
    other.note = partial(_note_on_host, here()) if is_sent else here
    return other


def _note_on_host(note: str) -> str:
    return f"{note}, on {host_name()}"


def _note_of(key: Any, task: Task, notes: BlockNotes) -> str:
    inner = task.args[0] if task.args and isinstance(task.args[0], dict) else {}  # tasks that dask has fused
    for one in (key, *inner):
        note = notes(one)
        if note is not None:
            return note
    name, *index = key if isinstance(key, tuple) else (key,)
    return (
        f"while computing block {tuple(index)} of {str(name)[:80]}"
        if index
        else f"while computing {str(name)[:80]}"
    )
