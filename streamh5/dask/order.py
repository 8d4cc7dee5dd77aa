"""In which order dask takes up the blocks of a write, and so what it holds in memory meanwhile.

::

    source    s0      s1      s2      s3          s0 ... s3 may be shared by several arrays
              |       |       |       |
    store     w0      w1      w2      w3          one task with its source, where dask fuses the two
              |       |       |       |
    collect   c-4 --> c-3 --> c-2     c-1 --> ... an arrow: the right one waits for the left one
              '---- one run ----'     '- the next

Wanted: blocks in the order of their array, arrays that share sources in step, and a source dropped as soon as all have
stored it. dask has no way to ask for that. Its static order (`dask.order.order`) takes the ends of the graph one by
one, each with all that it needs: first by how many tasks and roots lead to an end, last by its key as text, of which
it begins with the one that sorts last. The collect tasks are these ends:

* Their names count down, so that among blocks alike the first is taken first.
* Each waits for the one before it, so that within a run the number of tasks which lead to an end grows with its place,
  also where blocks differ in what they need. Only the records wait: stores run side by side.
* After `RUN_LENGTH` of them a new run begins, as the order keeps for each task the set of all roots that lead to it.

The stores themselves cannot be the ends: dask fuses them with their sources under keys of its choice, and keeps only
the keys that it was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
from dask._task_spec import Task
from dask.base import DaskMethodsMixin
from dask.highlevelgraph import HighLevelGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


RUN_LENGTH = 32
"""Collect tasks that wait for each other: the memory of dask's ordering grows with its square, the order
of blocks is the same from 8 on (tests/dask/test_dask_order.py)."""


class Collected(DaskMethodsMixin):
    """The collect tasks of a write, as a collection that dask computes.

    Parameters
    ----------
    token
        Identity of the write.
    stores
        Of each array, by path: its store tasks, and the keys of those that are to be collected, in order.
    collect
        The task: called with the path of an array, the records that a store has returned, and what the task before
        it has returned.
    note
        Says what the task of a key was at work on, for its errors; None for a key of other libraries.
    """

    __dask_scheduler__ = staticmethod(da.Array.__dask_scheduler__)

    def __init__(
        self,
        token: str,
        stores: Mapping[str, tuple[da.Array, list[Any]]],
        collect: Callable[[str, Any, Any], int],
        note: Callable[[Any], str | None],
    ) -> None:
        # arrays take turns in proportion to their blocks: block i of n stands at (i + 0.5) / n of the way
        turns = [
            ((i + 0.5) / len(keys), path, key)
            for path, (_, keys) in stores.items()
            for i, key in enumerate(keys)
        ]
        turns.sort(key=lambda turn: turn[0])
        name = f"collect-{token}"
        self._keys = [f"{name}-{len(turns) - i:012d}" for i in range(len(turns))]
        layer: dict[Any, Any] = {}
        for i, (_, path, key) in enumerate(turns):
            before = self._keys[i - 1] if i % RUN_LENGTH else None
            layer[self._keys[i]] = (collect, path, key, before)
        dependencies: Any = [
            stored for stored, _ in stores.values()
        ]  # dask's types do not know its own arrays
        self._graph = HighLevelGraph.from_collections(name, layer, dependencies=dependencies)
        self._token = token
        self._note = note

    def __dask_optimize__(self, graph: Any, keys: Any, **kwargs: Any) -> dict[Any, Any]:
        # as arrays are, so that a block is computed and stored in one task
        optimised = da.Array.__dask_optimize__(graph, keys, **kwargs)
        return {key: _noted(key, task, self._note) for key, task in dict(optimised).items()}

    def __dask_tokenize__(self) -> str:
        # without it dask hashes the whole graph, with every array in it (tests/benchmarks, work da)
        return self._token

    def __dask_graph__(self) -> HighLevelGraph:
        return self._graph

    def __dask_keys__(self) -> list[str]:
        return self._keys

    def __dask_postcompute__(self) -> tuple[Any, tuple[()]]:
        return sum, ()  # the number of chunks


class _NotedTask(Task):
    """A task that says on an error what it was at work on."""

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


def _noted(key: Any, task: Any, what: Callable[[Any], str | None]) -> Any:
    """Return a task that adds a note to its errors; `what` gives the note of a key of streamh5."""
    if type(task) is not Task:
        return task
    other = object.__new__(_NotedTask)
    for slot in _SLOTS:
        if hasattr(task, slot):
            setattr(other, slot, getattr(task, slot))
    other.note = lambda: _note_of(key, task, what)
    return other


def _note_of(key: Any, task: Task, what: Callable[[Any], str | None]) -> str:
    inner = task.args[0] if task.args and isinstance(task.args[0], dict) else {}  # tasks that dask has fused
    for one in (key, *inner):
        note = what(one)
        if note is not None:
            return note
    name, *index = key if isinstance(key, tuple) else (key,)
    return (
        f"while computing block {tuple(index)} of {str(name)[:80]}"
        if index
        else f"while computing {str(name)[:80]}"
    )
