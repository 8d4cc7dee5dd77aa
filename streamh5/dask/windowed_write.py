"""Computes the windows of a write one after the other, with dask's scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import dask.base

from streamh5.dask import windows
from streamh5.dask.window_graph import window_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dask.highlevelgraph import HighLevelGraph

    from streamh5.dask.order import BlockNotes, StoreTurns
    from streamh5.model.chunk_records import ChunkRecords


def compute_windows(
    graph: HighLevelGraph,
    turns: StoreTurns,
    record: Callable[[Iterable[tuple[str, ChunkRecords]]], None],
    note: BlockNotes,
    *,
    scheduler: Any = None,
    optimize_graph: bool = True,
    traverse: bool = True,
    **keywords: Any,
) -> None:
    """Store blocks.

    Parameters
    ----------
    graph
        The store tasks and all that they need, with fused blockwise operations.
    turns
        The stores.
    record
        Called with paths of arrays, and the records of blocks that are stored.
    note
        Notes for the errors of tasks.
    scheduler, optimize_graph, traverse
        As for `dask.compute`; there is nothing to traverse.
    **keywords
        Keywords of the scheduler.
    """
    del traverse
    get = dask.base.get_scheduler(scheduler=scheduler, cls=da.Array)
    parts = windows.Windows(graph, turns.keys(), windows.WINDOW_LENGTH)
    for part in parts:
        paths = turns.paths(part.stores)
        made = window_graph(part, paths, record, note, is_optimized=optimize_graph)
        values = get(made.tasks, [*made.ends, *made.shared], **keywords)
        if not made.is_collected:
            record(zip(paths, values, strict=False))
        parts.hand_on(dict(zip(part.shared, values[len(paths) :], strict=True)))
        del part, made, values  # what was handed to this window is not kept for another one
