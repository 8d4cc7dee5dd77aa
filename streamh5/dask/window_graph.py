"""The graph of a window as dask's scheduler gets it: small, and the same whatever the seed of Python's hashes.

dask's order (`dask.order.order`) goes through sets of keys. The hash of a text differs from process to process, and
with it the order in which dask takes up blocks that need several tasks; the hash of an int does not. So keys are ints.
They count down in the order of `streamh5.dask.windows`, because dask takes up the one first whose key as text sorts
last, of tasks that are equal otherwise.

The ints of each window are the same, but a key equals none of another window or write: dask's opportunistic cache
(`dask.cache.Cache`, and ``cache=`` of a scheduler) keeps values by their keys, and would hand out those of other tasks.
"""

from __future__ import annotations

import copy
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from dask import config
from dask._task_spec import Alias, DataNode, Task, TaskRef, fuse_linear_task_spec
from dask.array.optimization import _optimize_slices

from streamh5.dask.order import RUN_LENGTH, with_note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamh5.dask.order import Note
    from streamh5.dask.windows import Window
    from streamh5.model.chunk_records import ChunkRecords

    Records = list[tuple[str, ChunkRecords]]

FIRST_KEY = 2 * 10**12 - 1
"""Key of the first task. All have the same number of digits, since dask compares them as text."""


_WINDOW_NUMBERS = count()


class WindowKey(int):
    """An int that equals only the same int of the same window; its hash is that of the int."""

    window: int

    @classmethod
    def of(cls, position: int, window: int) -> WindowKey:
        """Return the key of the task at `position` of the window with the number `window`."""
        key = cls(FIRST_KEY - position)
        key.window = window
        return key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WindowKey) and int(self) == int(other) and self.window == other.window

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__


class WindowGraph(NamedTuple):
    """Tasks, and those whose values are wanted.

    Attributes
    ----------
    tasks
        The tasks by their keys.
    ends
        Keys of the last tasks, one for each store: they collect the records, or are the stores.
    shared
        Keys of the values that later windows need.
    is_collected
        Whether there are collect tasks.
    """

    tasks: dict[Any, Any]
    ends: list[Any]
    shared: list[Any]
    is_collected: bool


def window_graph(
    window: Window,
    paths: Sequence[str],
    record: Callable[[Records], None],
    note: Note,
    *,
    is_optimized: bool = True,
    name: str | None = None,
) -> WindowGraph:
    """Return the graph of a window: linear chains are one task, as dask makes them, and there are no aliases.

    Parameters
    ----------
    window
        The window.
    paths
        The arrays of its stores.
    record
        Called by the last collect task of a run, with paths and the records that the stores have returned.
    note
        Notes for the errors of tasks.
    is_optimized
        Whether to join tasks, and to add notes.
    name
        Of a graph that becomes part of another one, whose keys begin with it, and whose records are all collected.
    """
    tasks = window.tasks
    if is_optimized and config.get("optimization.fuse.active") is not False:
        tasks = _optimize_slices(fuse_linear_task_spec(tasks, keys=[*window.stores, *window.shared]))
    aliases = {key: task.target for key, task in tasks.items() if isinstance(task, Alias)}

    def found(key: Any) -> Any:
        while key in aliases:
            key = aliases[key]
        return key

    made_key = _key_maker(name)
    positions: dict[Any, int] = {}
    for key in window.tasks:
        if key in tasks:  # else it is within another task
            positions.setdefault(found(key), 2 * len(positions))
    own_keys = {key: made_key(position) for key, position in positions.items()}
    keys = {key: own_keys[found(key)] for key in tasks}
    made = {keys[key]: _renamed(tasks[key], keys) for key in positions}
    if is_optimized:
        made = {keys[key]: with_note(key, made[keys[key]], note) for key in positions}
    stores, shared = [keys[key] for key in window.stores], [keys[key] for key in window.shared]
    n_values = sum(isinstance(task, DataNode) for task in made.values())
    if name is None and len(made) == len(stores) + n_values:
        return WindowGraph(made, stores, shared, is_collected=False)
    ends = [made_key(positions[found(key)] + 1) for key in window.stores]
    for i, (key, path) in enumerate(zip(ends, paths, strict=True)):
        before = TaskRef(ends[i - 1]) if i % RUN_LENGTH else None
        is_last = i + 1 == len(ends) or not (i + 1) % RUN_LENGTH
        made[key] = Task(key, _collect, record, path, TaskRef(stores[i]), before, is_last)
    return WindowGraph(made, ends, shared, is_collected=True)


def _key_maker(name: str | None) -> Callable[[int], Any]:
    """Return what makes the key of the task at a position of a window."""
    if name is not None:
        return lambda position: f"{name}-{FIRST_KEY - position}"
    number = next(_WINDOW_NUMBERS)
    return lambda position: WindowKey.of(position, number)


def _renamed(task: Any, keys: Mapping[Any, Any]) -> Any:
    key = keys[task.key]
    other = task.substitute({need: keys[need] for need in task.dependencies}, key=key)
    if other.key != key:  # a list of tasks does not take a key
        other = copy.copy(other)
        other.key = key
    return other


def _collect(
    record: Callable[[Records], None],
    path: str,
    records: ChunkRecords,
    before: Records | None,
    is_last: bool,
) -> Records:
    held = [] if before is None else before
    held.append((path, records))
    if is_last:
        record(held)
        held.clear()
    return held
