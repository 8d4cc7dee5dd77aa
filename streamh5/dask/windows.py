"""Cuts the graph of a write into windows, which are computed one after the other.

dask makes all tasks of a graph before it starts the first one, which takes 6 to 8 KB for each block. Here the tasks of
a window exist only while it is computed::

    window 0           window 1             window 2
    s0  s1  s2         s3   s4  s5          s6   s7         stores, in their order: each needs two neighbours
    x0  x1  x2  x3 ──▶ [x3] x4  x5  x6 ──▶  [x6] x7 ...     a value in brackets is handed on, and not computed again

The tasks are taken up in the order of a depth-first search: those that a store needs, then the store, then the next
store. Two things are taken up before their turn, as soon as all that they need was taken up, because values are then
dropped early: a store, say of the block (1, 0) of ``x + x.T`` behind that of (0, 1); and the tasks that need a value
which few need, say the parts of a mean and of a maximum of one block.

The sequence is cut before a window is full, where the fewest values are needed later: behind a column of blocks, say,
of ``x - x.mean(axis=0)``. What a window needs of earlier ones is handed on as a value, which is dropped after the last
window that needs it. What leads to one store, say a mean of a whole array, may fill many windows: of a tree of partial
results, a cut of the search leaves few for each level. A write that needs all blocks twice, as ``x - x.mean()``, keeps
all of them, as it does with dask alone, but not their tasks.

The search works with the numbers of tasks, in arrays: 4 bytes for each need and about 30 for each task, which take a
graph of dask a hundred times as much.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from dask._task_spec import DataNode

from streamh5.dask.lazy_graph import LazyGraph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dask.highlevelgraph import HighLevelGraph
    from numpy.typing import NDArray

    Numbers = NDArray[np.integer[Any]]

WINDOW_LENGTH = 4096
"""Most tasks of a window, collect tasks not counted. The memory of dask's graph is that of a window, 40 MB of the peak
in tests/benchmarks/blocks.py."""

FEW = 8
"""Tasks that a value may have that are taken up before their turn: several reductions of a block, but not the
thousands of slices of a value that is one block."""


class Window(NamedTuple):
    """A part of a graph.

    Attributes
    ----------
    stores
        Keys of its stores, in order.
    tasks
        The values that it needs of earlier windows, and its tasks in the order in which they are taken up.
    shared
        Keys of the tasks whose values later windows need.
    """

    stores: list[Any]
    tasks: dict[Any, Any]
    shared: list[Any]


class Windows:
    """The windows of a write.

    Parameters
    ----------
    graph
        The store tasks and all that they need, with fused blockwise operations.
    stores
        The keys of the stores, in order.
    length
        Tasks of a window.
    """

    def __init__(self, graph: HighLevelGraph, stores: Iterable[Any], length: int) -> None:
        self._graph = LazyGraph(graph)
        self._length = length
        self._values: dict[Any, Any] = {}
        # else there are only stores
        has_needs = any(graph.dependencies.values())
        self._needs = _Needs(self._graph, stores, length, has_needs=has_needs)
        tasks, needed = self._needs.columns()
        self._order = np.frombuffer(_order(self._needs, *_users(tasks, needed, len(self._needs))), np.int32)
        self._position = np.empty(len(self._order), np.int32)
        self._position[self._order] = np.arange(len(self._order), dtype=np.int32)
        self._last_use = np.full(len(self._order), -1, np.int32)
        np.maximum.at(self._last_use, needed, self._position[tasks])

    def __iter__(self) -> Iterator[Window]:
        """Yield the windows; each has to be computed before the next one is asked for."""
        for start, stop in self._cuts():
            yield self._window(start, stop)

    def _window(self, start: int, stop: int) -> Window:
        own = self._order[start:stop]
        needed = self._needs.of(own)
        before = np.unique(needed[self._position[needed] < start])
        given = self._keys(before)
        tasks: dict[Any, Any] = {key: DataNode(key, self._values[key]) for key in given}
        tasks.update(self._graph.tasks(self._keys(own)))
        for key, last in zip(given, self._last_use[before].tolist(), strict=True):
            if last < stop:
                del self._values[key]
        stores = own[own < self._needs.n_stores]
        return Window(self._keys(stores), tasks, self._keys(own[self._last_use[own] >= stop]))

    def hand_on(self, values: Mapping[Any, Any]) -> None:
        """Keep the values of shared keys for the windows that need them."""
        self._values.update(values)

    def _cuts(self) -> Iterator[tuple[int, int]]:
        """Yield where windows start and stop: where the fewest values are handed on, the later one of equal places."""
        n_tasks, is_needed = len(self._order), self._last_use >= 0
        ends = np.bincount(self._last_use[is_needed], minlength=n_tasks)
        n_handed_on = np.cumsum(is_needed[self._order] - ends)  # behind each task
        start = 0
        while start < n_tasks:
            stop = start + self._length
            if stop < n_tasks:
                least = start + (self._length - 1) // 2
                stop -= int(np.argmin(n_handed_on[least:stop][::-1]))
            yield start, min(stop, n_tasks)
            start = stop

    def _keys(self, tasks: Numbers) -> list[Any]:
        return [self._graph.key(self._needs.numbers[i]) for i in tasks.tolist()]


class _Needs:
    """What each task of a write needs; tasks are counted as they are found, first the stores in their order.

    Attributes
    ----------
    numbers
        Numbers of the tasks in the graph.
    starts, needs
        Task ``i`` needs ``needs[starts[i]:starts[i + 1]]``.
    n_stores
        Number of stores.
    """

    def __init__(self, graph: LazyGraph, stores: Iterable[Any], length: int, *, has_needs: bool) -> None:
        self.numbers = array("q", map(graph.number, stores))
        self.n_stores = len(self.numbers)
        self.needs = array("i")
        self.starts = array("q", [0])
        if not has_needs:
            self.starts = array("q", bytes(8 * (self.n_stores + 1)))
            return
        found: dict[int, int] = {}
        done = 0
        while done < len(self.numbers):  # a call for one task is costly
            some = self.numbers[done : done + length]
            for needs in graph.needs(some):
                for number in needs:
                    task = found.get(number)
                    if task is None:
                        task = found[number] = len(self.numbers)
                        self.numbers.append(number)
                    self.needs.append(task)
                self.starts.append(len(self.needs))
            done += len(some)

    def __len__(self) -> int:
        return len(self.numbers)

    def columns(self) -> tuple[Numbers, Numbers]:
        """Return tasks, and what they need, one row for each need."""
        starts = np.frombuffer(self.starts, np.int64)
        return np.repeat(np.arange(len(self)), starts[1:] - starts[:-1]), np.array(self.needs, np.intp)

    def of(self, tasks: Numbers) -> Numbers:
        """Return what some tasks need."""
        found = [self.needs[self.starts[i] : self.starts[i + 1]] for i in tasks.tolist()]
        return np.array([one for needs in found for one in needs], np.intp)


def _users(tasks: Numbers, needed: Numbers, n_tasks: int) -> tuple[array[int], array[int]]:
    """Return where the tasks that need each task start in a sequence, and the sequence."""
    counts = np.bincount(needed, minlength=n_tasks)
    by_need = tasks[np.argsort(needed, kind="stable")].astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return array("q", starts.tobytes()), array("i", by_need.tobytes())


def _order(needs: _Needs, starts: array[int], users: array[int]) -> array[int]:
    """Return the tasks in the order in which they are taken up; see `_users`."""
    order = array("i")
    n_missing = array("i", np.diff(np.frombuffer(needs.starts, np.int64)).astype(np.int32).tobytes())
    is_taken = bytearray(len(needs))

    def take(first: int) -> None:
        ready = [first]
        while ready:
            task = ready.pop()
            if is_taken[task]:
                continue
            is_taken[task] = 1
            order.append(task)
            own = users[starts[task] : starts[task + 1]]
            for one in own:
                n_missing[one] -= 1
            early = [one for one in own if not n_missing[one] and (len(own) <= FEW or one < needs.n_stores)]
            ready.extend(reversed(early))

    for store in range(needs.n_stores):
        stack = [store]
        while stack:
            task = stack[-1]
            waiting = [
                one for one in needs.needs[needs.starts[task] : needs.starts[task + 1]] if not is_taken[one]
            ]
            if waiting and not is_taken[task]:
                stack.extend(reversed(waiting))
            else:
                stack.pop()
                take(task)
    return order
