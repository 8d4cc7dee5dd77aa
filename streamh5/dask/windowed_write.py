"""Computes the windows of a large write one after the other, with dask's scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.base
from dask.highlevelgraph import HighLevelGraph

from streamh5.dask import windows
from streamh5.dask.order import collected, single_stores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamh5.dask.order import BlockNotes, StoreTurns
    from streamh5.model.chunk_records import ChunkRecords


def compute_windows(
    token: str,
    graph: HighLevelGraph,
    turns: StoreTurns,
    record: Callable[[Iterable[tuple[str, ChunkRecords]]], None],
    note: BlockNotes,
    keywords: dict[str, Any],
) -> None:
    """Store blocks.

    Parameters
    ----------
    token
        Identity of the write.
    graph
        The store tasks and all that they need, with fused blockwise operations.
    turns
        The stores.
    record
        Called with paths of arrays, and the records of blocks that are stored.
    note
        Notes for the errors of tasks.
    keywords
        Keywords of `dask.compute`.
    """
    n_after = len(turns)
    parts = windows.Windows(graph, turns.keys(), windows.WINDOW_LENGTH)
    for part in parts:
        n_after -= len(part.stores)
        if part.is_stores:
            ends = single_stores(token, part.tasks, part.stores, note, n_after=n_after)
            record(zip(turns.paths(part.stores), dask.base.compute(ends, **keywords)[0], strict=True))
        else:
            own = HighLevelGraph({f"window-{token}": part.tasks}, {f"window-{token}": set()})
            pairs = list(zip(turns.paths(part.stores), part.stores, strict=True))
            ends = collected(token, own, pairs, record, note, n_after=n_after, kept=part.shared)
            parts.hand_on(dict(zip(part.shared, dask.base.compute(ends, **keywords)[0], strict=True)))
            del own
        del part, ends  # the values that were handed to this window are not kept for another one
