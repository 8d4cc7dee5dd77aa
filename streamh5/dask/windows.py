"""Cuts the graph of a large write into windows, which are computed one after the other.

dask makes all tasks of a graph before it starts the first one, which takes 6 to 8 KB for each block. Here the tasks of
a window exist only while it is computed::

    window 0           window 1             window 2
    s0  s1  s2         s3   s4  s5          s6   s7         stores, in their order: each needs two neighbours
    x0  x1  x2  x3 ──▶ [x3] x4  x5  x6 ──▶  [x6] x7 ...     a value in brackets is handed on, and not computed again

The tasks are taken up in the order of a depth-first search: those that a store needs, then the store, then the next
store. The sequence is cut where a window is full, behind a store if possible. What a window needs of earlier ones is
handed on as a value, which is dropped after the last window that needs it. What leads to one store, say a mean of the
whole array, may fill many windows: of a tree of partial results, a cut of the search leaves few for each level.

The search runs twice: the first time it only finds the keys that windows share, and the last window that needs each.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from dask._task_spec import DataNode, convert_legacy_graph
from dask.blockwise import Blockwise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from dask.highlevelgraph import HighLevelGraph

MIN_KEPT, MAX_KEPT_ROWS = 64, 8
"""Values, or rows of blocks, that may wait for a later window. Overlapping blocks keep 5 rows. Where more would wait,
as for an array that is written with its transpose, dask's order over the whole graph may keep fewer."""

WINDOW_LENGTH = 4096
"""Tasks of a window, collect tasks not counted. The memory of dask's graph is that of a window, 40 MB of the peak in
tests/benchmarks/blocks.py; writes of fewer blocks keep their order."""


class LazyGraph:
    """The tasks of a graph by their keys, made when they are needed: layers of blockwise operations stay small.

    Parameters
    ----------
    graph
        The graph, in which blockwise operations are fused.
    """

    def __init__(self, graph: HighLevelGraph) -> None:
        layers = graph.layers.values()
        self._blockwise = {layer.output: layer for layer in layers if isinstance(layer, Blockwise)}
        # one dictionary: an array that is joined from many files has a layer or two for each of them
        self._given: dict[Any, Any] = {}
        others = [layer for layer in layers if not isinstance(layer, Blockwise)]
        for layer in others:
            self._given.update(layer)
        if any(layer.has_legacy_tasks for layer in others):
            self._given = convert_legacy_graph(self._given, self)

    def __contains__(self, key: Any) -> bool:
        if isinstance(key, tuple) and key and isinstance(key[0], str) and key[0] in self._blockwise:
            return len(key) == 1 + len(self._blockwise[key[0]].output_indices)
        return key in self._given

    def needs(self, keys: Iterable[Any]) -> dict[Any, list[Any]]:
        """Return the keys that each of some keys needs, in an order that does not depend on hashes."""
        found: dict[Any, list[Any]] = {key: [] for key in keys}
        for layer, own in self._by_layer(keys):
            if isinstance(layer, Blockwise):
                needs = layer.cull(set(own), ())[1]
                found.update((key, _sorted(needs[key])) for key in own)
            else:
                found.update((key, _sorted(layer[key].dependencies)) for key in own)
        return found

    def tasks(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """Return the tasks of some keys."""
        found: dict[Any, Any] = {}
        for layer, own in self._by_layer(keys):
            made = layer.cull(set(own), ())[0] if isinstance(layer, Blockwise) else layer
            found.update((key, made[key]) for key in own)
        return found

    def _by_layer(self, keys: Iterable[Any]) -> Iterator[tuple[Any, list[Any]]]:
        of_name: dict[Any, list[Any]] = {}
        rest = []
        for key in keys:
            if isinstance(key, tuple) and key[0] in self._blockwise:
                of_name.setdefault(key[0], []).append(key)
            else:
                rest.append(key)
        for name, own in of_name.items():
            yield self._blockwise[name], own
        if rest:
            yield self._given, rest


def _sorted(keys: Iterable[Any]) -> list[Any]:
    try:
        return sorted(keys)
    except TypeError:  # names and tuples, or tuples of both
        return sorted(keys, key=str)


class _Window(NamedTuple):
    """One window: the number of stores that it ends with, its keys, and the keys of earlier windows that it needs."""

    n_stores: int
    keys: dict[Any, None]
    before: set[Any]


class Windows:
    """The windows of a write.

    Parameters
    ----------
    graph
        The store tasks and all that they need, with fused blockwise operations.
    stores
        Returns an iterator over their keys, in order.
    length
        Tasks of a window.
    """

    def __init__(
        self,
        graph: HighLevelGraph,
        stores: Callable[[], Iterator[Any]],
        length: int,
    ) -> None:
        self._graph = LazyGraph(graph)
        self._stores = stores
        self._length = length
        self._values: dict[Any, Any] = {}
        self._last_use: dict[Any, int] = {}
        if any(graph.dependencies.values()):  # else there are only stores
            for number, window in enumerate(_Search(self._graph, length).windows(stores())):
                self._last_use.update(dict.fromkeys(window.before, number))

    def __iter__(self) -> Iterator[tuple[int, dict[Any, Any], list[Any]]]:
        """Yield the number of stores, the tasks, and the keys whose values `hand_on` wants, for each window.

        Each window has to be computed before the next one is asked for.
        """
        search = _Search(self._graph, self._length)
        for number, window in enumerate(search.windows(self._stores())):
            tasks = self._graph.tasks(window.keys)
            for key in window.before:
                tasks[key] = DataNode(key, self._values[key])
            shared = [key for key in window.keys if key in self._last_use]
            for key in window.before:
                if self._last_use[key] == number:
                    del self._values[key]
            yield window.n_stores, tasks, shared

    def keeps_more_than(self, most: int) -> bool:
        """Return whether at any time more than `most` values wait for a later window."""
        if len(self._last_use) <= most:
            return False
        n_kept = 0
        for number, window in enumerate(_Search(self._graph, self._length).windows(self._stores())):
            n_kept += sum(key in self._last_use for key in window.keys)
            if n_kept > most:
                return True
            n_kept -= sum(self._last_use[key] == number for key in window.before)
        return False

    def hand_on(self, values: Mapping[Any, Any]) -> None:
        """Keep the values of shared keys for the windows that need them."""
        self._values.update(values)


class _Search:
    """A depth-first search through the tasks of a write, cut into windows."""

    def __init__(self, graph: LazyGraph, length: int) -> None:
        self._graph = graph
        self._length = length
        self._done: set[Any] = set()  # keys that were visited, but for stores, which nothing else needs
        self._needs: dict[Any, list[Any]] = {}

    def windows(self, stores: Iterator[Any]) -> Iterator[_Window]:
        """Yield windows of about `length` tasks; of twice as many if a single store needs them."""
        n_stores, keys, before = 0, dict[Any, None](), set[Any]()
        while group := list(islice(stores, self._length)):
            self._look_up(group)
            for store in group:
                for key, needs in self._visit(store):
                    before.update(one for one in needs if one not in keys)
                    keys[key] = None
                    if key is store:
                        n_stores += 1
                    if len(keys) >= (1 if key is store else 2) * self._length:
                        yield _Window(n_stores, keys, before)
                        n_stores, keys, before = 0, {}, set()
        if keys:
            yield _Window(n_stores, keys, before)

    def _visit(self, store: Any) -> Iterator[tuple[Any, list[Any]]]:
        """Yield the keys that a store needs and that were not visited yet, then the store; with what each needs."""
        if store in self._needs and not self._needs[store]:
            yield store, self._needs.pop(store)
            return
        stack = [(store, self._needs_of([store])[0], False)]
        while stack:
            key, needs, is_ready = stack.pop()
            if not is_ready:
                missing = [one for one in needs if one not in self._done]
                if missing:
                    stack.append((key, needs, True))
                    found = self._needs_of(missing)
                    stack.extend(
                        (a, b, False) for a, b in zip(reversed(missing), reversed(found), strict=True)
                    )
                    continue
            if key is not store:
                if key in self._done:
                    continue  # another of the keys on the stack has led to it
                self._done.add(key)
            yield key, needs

    def _needs_of(self, keys: list[Any]) -> list[list[Any]]:
        if not all(key in self._needs for key in keys):
            self._look_up(keys)
        return [self._needs[key] for key in keys]

    def _look_up(self, keys: list[Any]) -> None:
        """Look up what keys need, and what these need, as long as they are few: a call for one key is costly."""
        if len(self._needs) > 4 * self._length:
            self._needs.clear()
        level: Iterable[Any] = keys
        while level:
            self._needs.update(self._graph.needs(level))
            needed = dict.fromkeys(chain.from_iterable(self._needs[key] for key in level))
            level = [one for one in needed if one not in self._needs and one not in self._done]
            if len(self._needs) + len(level) > 4 * self._length:
                break
