"""A write that is computed later (``compute=False``), as one task of dask."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dask._task_spec import Task
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from streamh5.dask.scheduler import check_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.dask.graph import Write
    from streamh5.write.summary import WriteSummary


class DelayedWrite(Delayed):
    """A write as one task. Its own ``compute`` also cleans up after a failure.

    `dask.compute` of several objects only sees the graph; a failed write is then cleaned up when this object is
    deleted.

    Attributes
    ----------
    again
        Makes the write: each computation is a new one, because an aborted write stays aborted.
    compute_kwargs
        Defaults for `compute`.
    """

    __slots__ = ("again", "compute_kwargs")

    again: Callable[[], Write]
    compute_kwargs: dict[str, Any]

    def compute(self, **kwargs: Any) -> WriteSummary:
        """Write the file; the keywords are those of `dask.compute`."""
        write, compute_kwargs = self.again(), {**self.compute_kwargs, **kwargs}
        arrays = [target.array for target in write.targets]
        check_scheduler(compute_kwargs.get("scheduler"), arrays, write.path)
        return write.compute(**compute_kwargs)


def delayed_write(
    again: Callable[[], Write], graph: HighLevelGraph, name: str, compute_kwargs: dict[str, Any]
) -> DelayedWrite:
    """Return the task `name` of a graph as a write."""
    delayed = DelayedWrite(name, graph)
    delayed.again, delayed.compute_kwargs = again, compute_kwargs
    return delayed


def on_cluster(again: Callable[[], Write], name: str, compute_kwargs: dict[str, Any]) -> DelayedWrite:
    """Return a write as a task that runs it from beginning to end on a worker, which then owns the file.

    A graph for threads cannot be sent to a cluster, because its tasks share the open file.

    Parameters
    ----------
    again
        Makes the write; can be pickled.
    name
        Key of the task.
    compute_kwargs
        Keywords of `Write.compute`.
    """
    given = {key: value for key, value in compute_kwargs.items() if key != "scheduler"}
    graph = HighLevelGraph({name: {name: Task(name, _run, again, given)}}, {name: set()})
    return delayed_write(again, graph, name, compute_kwargs)


def _run(again: Callable[[], Write], compute_kwargs: dict[str, Any]) -> WriteSummary:
    # without the chunk map, which may be large
    return replace(again().compute(**compute_kwargs), tree=None)
