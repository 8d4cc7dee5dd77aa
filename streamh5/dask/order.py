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

* Their keys count down, so that among similar blocks the first one is computed first.
* Each waits for the one before it, so that within a run the number of tasks that lead to an end grows with its
  position, even if blocks need different numbers of tasks. Only the records wait: stores run in parallel.
* After `RUN_LENGTH` of them a new run begins, because dask keeps the set of all roots that lead to each task.

A collect task for each store costs a tenth of what a small block costs (tests/benchmarks/blocks.py). Where there are
only stores, they are the ends themselves (`streamh5.dask.window_graph`); where blocks need other tasks, dask keeps more
of them without runs.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from dask._task_spec import Task

from streamh5.dask.fused_task import is_fused, run_fused
from streamh5.dask.scheduler import store_name
from streamh5.sinks.machine import host_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from streamh5.dask.store_task import BlockGrid

    Note = Callable[[Any], str | None]


RUN_LENGTH = 32
"""Number of collect tasks that wait for each other. The memory of dask's ordering grows with its square.

For the graphs in tests/dask/test_dask_order.py, the order of blocks is the same for any length of 8 or more. That does
not hold for blocks that overlap: in a trial with `dask.array.map_overlap`, dask kept up to 41 blocks with 32, and 18
with 1. The length stays, because the order of blocks decides the bytes of the files."""

KEYS_AT_ONCE = 4096
"""Keys that `StoreTurns.keys` holds in memory."""


def turn_order(lengths: Iterable[int]) -> NDArray[np.intp]:
    """Return in which order to take the blocks of arrays, numbered one array after the other.

    All arrays advance in proportion to their number of blocks.
    """
    # block i of n has the position (i + 0.5) / n
    positions = [np.zeros(0), *((np.arange(n) + 0.5) / n for n in lengths)]
    return np.argsort(np.concatenate(positions), kind="stable")


def in_turns(keys: Mapping[str, list[Any]]) -> list[tuple[str, Any]]:
    """Return paths and keys in the order of `turn_order`."""
    turns = [(path, key) for path, own in keys.items() for key in own]
    return [turns[i] for i in turn_order(map(len, keys.values())).tolist()]


class BlockList:
    """Some blocks of an array, of which there may be millions.

    Parameters
    ----------
    numblocks
        Number of blocks of the array in each dimension.
    numbers
        ``(n,)`` numbers of the blocks, in row-major order; by default of all.
    """

    def __init__(self, numblocks: tuple[int, ...], numbers: NDArray[np.intp] | None = None) -> None:
        self._numblocks = numblocks
        self._numbers = np.arange(math.prod(numblocks)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def ids(self, chosen: NDArray[np.intp] | slice = slice(None)) -> list[tuple[int, ...]]:
        """Return the indices of blocks."""
        numbers = self._numbers[chosen]
        if not self._numblocks:
            return [()] * len(numbers)
        return list(zip(*(one.tolist() for one in np.unravel_index(numbers, self._numblocks)), strict=True))


class StoreTurns:
    """The keys of the store tasks of a write, in the order of `turn_order`.

    Parameters
    ----------
    token
        Identity of the write.
    blocks
        The blocks of each array, by its path.
    """

    def __init__(self, token: str, blocks: Mapping[str, BlockList]) -> None:
        self._blocks = [(path, store_name(path, token), own) for path, own in blocks.items()]
        lengths = [len(own) for own in blocks.values()]
        self._starts = np.cumsum([0, *lengths])
        self._order = turn_order(lengths)

    def __len__(self) -> int:
        return len(self._order)

    def part(self, start: int, stop: int) -> list[tuple[str, Any]]:
        """Return paths and keys of some turns."""
        chosen = self._order[start:stop]
        turns: list[Any] = [None] * len(chosen)
        for (path, name, own), first, last in zip(self._blocks, self._starts, self._starts[1:], strict=False):
            where = np.flatnonzero((chosen >= first) & (chosen < last))
            for i, block_id in zip(where.tolist(), own.ids(chosen[where] - first), strict=True):
                turns[i] = path, (name, *block_id)
        return turns

    def paths(self, keys: Iterable[Any]) -> list[str]:
        """Return the paths of the arrays of some keys."""
        of_name = {name: path for path, name, _ in self._blocks}
        return [of_name[key[0]] for key in keys]

    def keys(self) -> Iterator[Any]:
        """Yield the keys alone."""
        for start in range(0, len(self), KEYS_AT_ONCE):
            yield from (key for _, key in self.part(start, start + KEYS_AT_ONCE))


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


def with_note(key: Any, task: Any, notes: Note, *, is_sent: bool = False) -> Any:
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
    if is_fused(task) and not is_sent:  # a cluster's dask asks for its own function
        other.func = run_fused
    return other


def _note_on_host(note: str) -> str:
    return f"{note}, on {host_name()}"


def _note_of(key: Any, task: Task, notes: Note) -> str:
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
