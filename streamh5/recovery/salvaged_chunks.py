"""What an interrupted write has stored of one dataset, entered in its node: its shape, then its chunks.

The history of the dataset (`Journal.histories`) is followed in its order: the chunks that were claimed under each of
its numbers, and its shapes. The last claim of a chunk that is stored counts, also of one of which elements were still
to be written: these have the values of the generation before, or the fill value.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from streamh5.model.tree import DatasetNode
from streamh5.recovery.claimed_chunks import grid_of, no_claims, was_open
from streamh5.recovery.dataset_history import Resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.engine.engine import Engine
    from streamh5.recovery.claimed_chunks import Claimed
    from streamh5.recovery.dataset_history import DatasetHistory
    from streamh5.recovery.journal import Journal
    from streamh5.recovery.resume import Recovery


class KeptChunks(NamedTuple):
    """What was kept of a dataset: number of chunks, and appended rows before the first gap; None without `append`."""

    n_chunks: int
    n_rows: int | None


def keep_chunks(
    engine: Engine,
    node: DatasetNode,
    history: DatasetHistory,
    journal: Journal,
    recovery: Recovery,
    *,
    until_gap: bool,
) -> KeptChunks:
    """Give a dataset the shape that it had, and the chunks that are stored.

    Parameters
    ----------
    engine
        Whose tree has the dataset, as it was created or as the public file has it.
    node
        The dataset.
    history
        What the journal has of it.
    journal, recovery
        The interrupted write.
    until_gap
        End a dataset that was appended to before the first gap; otherwise chunks after it are kept, too.

    Raises
    ------
    JournalError
        A claim lies outside the dataset or the file.
    """
    is_made = node.stored_address is None
    recovery.restore_region(node)
    claimed = no_claims(len(node.spec.chunks or (node.shape or ())))
    is_resized = False
    for event in history.events:
        if not isinstance(event, Resized):
            claimed = claimed.joined(_claimed(node, event, journal, recovery))
        elif _resize(engine, node, event, claimed):
            is_resized = True
            if event.is_cut:  # from here on, none of them has a row that is not in the dataset
                claimed = claimed.only(_are_inside(node, claimed)).before_append()
        else:
            if event.is_cut:  # the fill value was written where it cuts chunks, which is their last claim
                claimed = claimed.without_last_of(_are_cut_through(node, event, claimed))
            break
    if node.spec.chunks is None:  # data without chunks that was to get chunks, of which some are lost
        return KeptChunks(0, None)
    stored = claimed.only(claimed.is_kept)
    claimed = stored.last_of_each()
    n_rows = None
    if any(n in journal.claims and journal.claims[n].n_rows is not None for n in history.numbers):
        length = (node.shape or (0,))[0]
        n_rows = _rows_without_a_gap(node, claimed, length)
        if is_made and not is_resized and n_rows == length:  # the stream began at row 0, or has no row
            n_rows = _rows_without_a_gap(node, claimed, 0)
    is_flushed = not is_made and any(was_open(journal.datasets[n]) for n in history.numbers)
    _set_length(engine, node, claimed, n_rows, until_gap=until_gap, is_flushed=is_flushed)
    if until_gap and n_rows is not None:
        claimed = stored.only(~_has_later_rows(node, stored)).last_of_each()
    claimed = claimed.only(_are_inside(node, claimed))
    grid = node.spec.grid
    records = claimed.records.copy()
    records["number"], _ = grid.locate(claimed.coords.T)
    if len(records):
        engine.record(node, records)
    node.incomplete = {tuple(coords): None for coords in claimed.coords[claimed.is_partial].tolist()}
    if n_rows is not None:
        n_rows = min(n_rows, (node.shape or (0,))[0])
    return KeptChunks(len(records), n_rows)


def _has_later_rows(node: DatasetNode, claimed: Claimed) -> NDArray[np.bool_]:
    """Return which chunks may have appended rows after the end of the dataset, which would show when it grows."""
    length, n = (node.shape or (0,))[0], (node.spec.chunks or (1,))[0]
    is_at_end = (claimed.coords[:, 0] == length // n) & (length % n > 0)
    is_padded = claimed.is_last & (claimed.end == length)
    return np.asarray(is_at_end & (claimed.end >= 0) & ~is_padded)


def _claimed(node: DatasetNode, number: int, journal: Journal, recovery: Recovery) -> Claimed:
    """Return the chunks that were claimed under one number."""
    facts = journal.datasets[number]
    if not facts["chunks"]:
        return no_claims(len(node.spec.chunks or (node.shape or ())))
    chunks = tuple(facts["chunks"])
    if node.spec.chunks is None:  # it is getting chunks: its first shape with them follows
        node = DatasetNode(replace(node.spec, chunks=chunks, maxshape=grid_of(facts).maxshape))
    return recovery.claimed(node, number)


def _resize(engine: Engine, node: DatasetNode, resized: Resized, claimed: Claimed) -> bool:
    """Give a dataset its next shape, unless data that this must not lose is not there."""
    if node.spec.chunks is None:
        old = math.prod(-(-n // c) for n, c in zip(node.shape or (), resized.chunks, strict=True))
        if len(claimed.only(claimed.is_kept).last_of_each().coords) < old:
            return False
        engine.make_chunked(node, resized.chunks)
    elif resized.is_cut and not claimed.is_kept.all():
        # the fill value that was written where a chunk was cut may be lost: old values would come back
        return False
    shape = resized.shape
    if not resized.is_cut:
        shape = tuple(map(max, shape, node.shape or ()))
    engine.resize(node, shape, resized.maxshape)
    return True


def _are_cut_through(node: DatasetNode, cut: Resized, claimed: Claimed) -> NDArray[np.bool_]:
    """Return which chunks have elements on both sides of a new end of the dataset."""
    found = np.zeros(len(claimed.coords), np.bool_)
    for axis, (n, m, c) in enumerate(zip(cut.shape, node.shape or (), cut.chunks, strict=True)):
        if n < m and n % c:
            found |= claimed.coords[:, axis] == n // c
    return found


def _are_inside(node: DatasetNode, claimed: Claimed) -> NDArray[np.bool_]:
    """Return which chunks are inside the present shape; a length that is not known yet has no end."""
    counts = np.array(node.grid.present.counts)
    axes = slice(1, None) if (node.spec.shape or (0,))[0] is None and not node.n_rows else slice(None)
    return np.asarray((claimed.coords[:, axes] < counts[axes]).all(axis=1))


def _rows_without_a_gap(node: DatasetNode, claimed: Claimed, start: int) -> int:
    """Return the rows of a dataset that was appended to, before the first chunk that is not stored as a whole.

    Parameters
    ----------
    node
        The dataset.
    claimed
        Its stored chunks, each once.
    start
        Rows that it had before it was appended to.
    """
    (n, *_), counts = node.spec.chunks or (1,), node.grid.present.counts[1:]
    is_whole = (~claimed.is_partial & (claimed.end == 0)) | (claimed.end > 0)
    whole = claimed.only((claimed.coords[:, 1:] < np.array(counts)).all(axis=1) & is_whole)
    rows, first, n_stored = np.unique(whole.coords[:, 0], return_index=True, return_counts=True)
    is_next = n_stored == math.prod(counts)
    is_next &= rows >= start // n
    rows, first = rows[is_next], first[is_next]
    is_next = rows == start // n + np.arange(len(rows))
    n_next = len(rows) if is_next.all() else int(np.argmin(is_next))
    for row, i in zip(rows[:n_next].tolist(), first[:n_next].tolist(), strict=True):
        if whole.is_last[i]:  # the stream ended here
            return max(start, int(whole.end[i]))
        start = max(start, (row + 1) * n)
    return start


def _set_length(
    engine: Engine,
    node: DatasetNode,
    claimed: Claimed,
    n_rows: int | None,
    *,
    until_gap: bool,
    is_flushed: bool,
) -> None:
    """Set the length of a dataset: of all rows before the first gap, or of all stored rows.

    With `is_flushed` it was to get its length at close, and the public file has it with the length of a `flush`.
    """
    spec = node.spec
    is_open, maxshape = (
        spec.shape is not None and spec.shape[0] is None,
        None if is_flushed else spec.maxshape,
    )
    if not spec.shape or not (is_open or (n_rows is not None and (is_flushed or maxshape is not None))):
        return
    length, (n, *_) = (node.shape or (0,))[0], spec.chunks or (1,)
    rows = claimed if n_rows is None else claimed.only(claimed.end >= 0)
    if n_rows is not None and until_gap:
        length = max(length, n_rows)
    elif len(rows.coords):
        last = int(rows.coords[:, 0].max())
        ends = rows.end[(rows.coords[:, 0] == last) & rows.is_last]
        length = max(length, int(ends.max()) if len(ends) else (last + 1) * n)
    if (bound := spec.bounds[0]) is not None and not is_flushed:
        length = min(length, bound)
    if is_open:
        engine.extend(node, length)
        node.n_rows = length
    elif length != (node.shape or (0,))[0]:
        engine.resize(node, (length, *(node.shape or ())[1:]), maxshape)
