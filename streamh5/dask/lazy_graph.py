"""The tasks of a graph by their keys and numbers, made when they are needed."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from dask._task_spec import convert_legacy_graph
from dask.blockwise import Blockwise

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dask.highlevelgraph import HighLevelGraph


class LazyGraph:
    """A graph whose layers of blockwise operations stay small: their tasks are made when they are asked for.

    Each key has a number; those of blockwise operations are not listed anywhere.

    Parameters
    ----------
    graph
        The graph, in which blockwise operations are fused.
    """

    def __init__(self, graph: HighLevelGraph) -> None:
        # by name, because the order of a graph's layers can come from a set
        layers = [graph.layers[name] for name in sorted(graph.layers, key=str)]
        self._blockwise = {layer.output: layer for layer in layers if isinstance(layer, Blockwise)}
        # one dictionary: an array that is joined from many files has a layer or two for each of them
        self._given: dict[Any, Any] = {}
        others = [layer for layer in layers if not isinstance(layer, Blockwise)]
        for other in others:
            self._given.update(other)
        if any(other.has_legacy_tasks for other in others):
            self._given = convert_legacy_graph(self._given, self)
        self._given_keys = list(self._given)
        self._given_numbers = {key: number for number, key in enumerate(self._given_keys)}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._firsts: dict[str, int] = {}  # the lowest number of each blockwise operation
        n_numbers = len(self._given)
        for name, layer in self._blockwise.items():
            self._firsts[name] = n_numbers
            self._shapes[name] = tuple(layer.dims[axis] for axis in layer.output_indices)
            n_numbers += math.prod(self._shapes[name])
        self._names, self._starts = list(self._firsts), list(self._firsts.values())

    def __contains__(self, key: Any) -> bool:
        if isinstance(key, tuple) and key and isinstance(key[0], str) and key[0] in self._blockwise:
            return len(key) == 1 + len(self._blockwise[key[0]].output_indices)
        return key in self._given

    def number(self, key: Any) -> int:
        """Return the number of a key."""
        if not isinstance(key, tuple) or key[0] not in self._firsts:
            return self._given_numbers[key]
        number = 0
        for i, n in zip(key[1:], self._shapes[key[0]], strict=True):
            number = number * n + i
        return self._firsts[key[0]] + number

    def key(self, number: int) -> Any:
        """Return the key of a number."""
        if number < len(self._given_keys):
            return self._given_keys[number]
        # an operation without blocks has no number of its own: the last one that starts here is meant
        name = self._names[bisect_right(self._starts, number) - 1]
        number -= self._firsts[name]
        index = []
        for n in reversed(self._shapes[name]):
            number, i = divmod(number, n)
            index.append(i)
        return (name, *reversed(index))

    def needs(self, numbers: Iterable[int]) -> Iterator[list[int]]:
        """Yield the numbers of what each of some tasks needs, in ascending order."""
        keys = [self.key(number) for number in numbers]
        found: dict[Any, Iterable[Any]] = {}
        for layer, own in self._by_layer(keys):
            if isinstance(layer, Blockwise):
                found |= layer.cull(set(own), ())[1]
            else:
                found.update((key, layer[key].dependencies) for key in own)
        for key in keys:
            yield sorted(map(self.number, found[key]))

    def tasks(self, keys: list[Any]) -> dict[Any, Any]:
        """Return the tasks of some keys, in their order."""
        found: dict[Any, Any] = {}
        for layer, own in self._by_layer(keys):
            made = layer.cull(set(own), ())[0] if isinstance(layer, Blockwise) else layer
            found.update((key, made[key]) for key in own)
        return {key: found[key] for key in keys}

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
