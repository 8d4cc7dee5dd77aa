"""``ClaimedChunks``: what an interrupted addition has stored of a dataset whose shape it may have changed.

The journal numbers the chunks of a dataset in its grid, and gives the dataset another number when the grid changes
(entry O). Here the chunks are known by their coords. Those outside the present shape wait until the dataset is resized
again: a resumed program repeats its calls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from streamh5.model.chunk_grid import MAX_NUMBERS, ChunkGrid
from streamh5.model.chunk_records import RECORD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.tree import DatasetNode
    from streamh5.recovery.journal import Claims


@dataclass(slots=True)
class ClaimedChunks:
    """Chunks that are stored, each once.

    Attributes
    ----------
    coords
        ``(n, rank) int64``.
    records
        ``(n,)`` of `RECORD`; their numbers have no meaning.
    n_rows
        Rows that were appended without a gap; None if the dataset was not appended to.
    maxshape
        The present maximum shape of the dataset; None if that is its shape, also where these rows exceed it.
    """

    coords: NDArray[np.int64]
    records: ChunkRecords
    n_rows: int | None = None
    maxshape: tuple[int | None, ...] | None = None

    def take(self, dataset: DatasetNode) -> ChunkRecords:
        """Return the records of the chunks inside the present shape, which wait no longer."""
        is_inside = self._are_inside(dataset)
        taken = self.records[is_inside].copy()
        taken["number"], _ = dataset.spec.grid.locate(self.coords[is_inside].T)
        self.coords, self.records = self.coords[~is_inside], self.records[~is_inside]
        return taken

    def drop_outside(self, dataset: DatasetNode) -> None:
        """Forget the chunks outside the present shape."""
        is_inside = self._are_inside(dataset)
        self.coords, self.records = self.coords[is_inside], self.records[is_inside]

    def _are_inside(self, dataset: DatasetNode) -> NDArray[np.bool_]:
        return np.asarray((self.coords < np.array(dataset.grid.present.counts)).all(axis=1))


def claimed_chunks(
    dataset: DatasetNode,
    parts: Iterable[tuple[dict[str, Any], Claims]],
    check: Callable[[DatasetNode, ChunkRecords], None],
    are_kept: Callable[[DatasetNode, ChunkRecords, NDArray[np.uint32]], NDArray[np.bool_]],
) -> ClaimedChunks:
    """Return the chunks that were stored of a dataset.

    Parameters
    ----------
    dataset
        The dataset as the public file has it, or as it was created.
    parts
        Its O entries and their claims, in their order.
    check
        Refuses records that no writer can have made.
    are_kept
        Tells which chunks are stored as claimed.
    """
    chunks = dataset.spec.chunks or ()
    found = no_claims(len(chunks))
    session: int | None = None
    is_appended = is_open = False
    for facts, claims in parts:
        is_open |= was_open(facts)
        if tuple(facts["chunks"] or ()) != chunks:
            continue
        if session == facts["session"]:  # it was resized: what was cut off does not come back
            grid = grid_of(facts)
            found = found.only(np.asarray((found.coords < np.array(grid.present.counts)).all(axis=1)))
        session, is_appended = facts["session"], is_appended or claims.n_rows is not None
        found = found.joined(decode_claims(dataset, facts, claims, check, are_kept))
    found = found.last_of_each()  # the last claim of a chunk counts, even if it cannot be used
    found = found.only(found.is_kept & ~found.is_partial & ~found.is_last)
    n_rows, maxshape = None, None if is_open else dataset.spec.maxshape
    if is_appended:
        n_rows = _rows_without_a_gap(dataset, found.coords[found.end >= 0])
        bound = None if is_open else (maxshape or dataset.shape or (None,))[0]
        n_rows = n_rows if bound is None else min(n_rows, bound)
    return ClaimedChunks(found.coords, found.records, n_rows, maxshape)


class Claimed(NamedTuple):
    """Claims of one dataset, in their order.

    ``coords`` ``(n, rank) int64``; ``records`` ``(n,)`` of `RECORD`, whose numbers have no meaning; ``is_kept``
    ``(n,) bool``: it is stored as claimed; ``is_partial`` ``(n,) bool``: elements were still to be written; ``end``
    ``(n,) int64``: rows of the stream, if it had ended, so that every row was in the chunks that were claimed, 0 if it
    had begun, -1 before: such a chunk has no appended row; ``is_last`` ``(n,) bool``: it ended in the middle of that
    chunk.
    """

    coords: NDArray[np.int64]
    records: ChunkRecords
    is_kept: NDArray[np.bool_]
    is_partial: NDArray[np.bool_]
    end: NDArray[np.int64]
    is_last: NDArray[np.bool_]

    def only(self, which: NDArray[Any]) -> Claimed:
        """Return some of them: a mask, or indices."""
        return Claimed(*(one[which] for one in self))

    def joined(self, later: Claimed) -> Claimed:
        """Return these claims, then `later` ones."""
        return Claimed(*(np.concatenate(both) for both in zip(self, later, strict=True)))

    def before_append(self) -> Claimed:
        """Return them as claims that were made before rows were appended."""
        return self._replace(end=np.full(len(self.end), -1), is_last=np.zeros(len(self.end), np.bool_))

    def last_of_each(self) -> Claimed:
        """Return the last claim of each chunk, in their order."""
        return self.only(self._last())

    def without_last_of(self, which: NDArray[np.bool_]) -> Claimed:
        """Return them without the last claim of each chunk that is in a mask."""
        last = self._last()
        return self.only(np.setdiff1d(np.arange(len(self.coords)), last[which[last]]))

    def _last(self) -> NDArray[np.intp]:
        """Return the sorted indices of the last claim of each chunk."""
        if not len(self.coords):
            return np.zeros(0, np.intp)
        keys, extents = self.coords[::-1], self.coords.max(axis=0) + 1
        if math.prod(extents.tolist()) < MAX_NUMBERS:  # sorted many times as fast
            last = np.unique(np.ravel_multi_index(tuple(keys.T), tuple(extents)), return_index=True)[1]
        else:
            last = np.unique(keys, axis=0, return_index=True)[1]
        return np.sort(len(keys) - 1 - last)


def no_claims(rank: int) -> Claimed:
    """Return no claims of a dataset of some rank."""
    flags = np.zeros(0, np.bool_)
    coords = np.zeros((0, rank), np.int64)
    return Claimed(coords, np.zeros(0, RECORD), flags, flags, np.zeros(0, np.int64), flags)


def grid_of(facts: dict[str, Any]) -> ChunkGrid:
    """Return the grid of a D or O entry, which numbers the chunks that are claimed under its number."""
    maxshape = facts["maxshape"]
    return ChunkGrid(
        tuple(facts["shape"]), tuple(facts["chunks"]), None if maxshape is None else tuple(maxshape)
    )


def decode_claims(
    dataset: DatasetNode,
    facts: dict[str, Any],
    claims: Claims,
    check: Callable[[DatasetNode, ChunkRecords], None],
    are_kept: Callable[[DatasetNode, ChunkRecords, NDArray[np.uint32]], NDArray[np.bool_]],
) -> Claimed:
    """Return the claims under one number; `facts` is its D or O entry, the rest is as for `claimed_chunks`."""
    grid = grid_of(facts)
    n_rows = grid.chunks[0]
    parts = [no_claims(len(grid.chunks))]
    for claimed, checksums, is_partial, stop in zip(
        claims.records, claims.checksums, claims.are_partial, claims.ends, strict=True
    ):
        check(dataset, claimed)
        coords = np.stack(grid.coords_of(claimed["number"]), axis=1).astype(np.int64, copy=False)
        end = np.full(len(claimed), -1 if stop is None else stop)
        # the stream may continue in a later write, which then writes this chunk again
        is_last = (end > 0) & (coords[:, 0] == end // n_rows) & (end % n_rows > 0)
        is_kept = are_kept(dataset, claimed, checksums)
        parts.append(Claimed(coords, claimed, is_kept, np.full(len(claimed), is_partial), end, is_last))
    return Claimed(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def was_open(facts: dict[str, Any]) -> bool:
    """Return whether a dataset was to get its length at close: a `flush` shows it with the length of that moment.

    `facts` is its D or O entry. What was appended later may exceed the maximum that the public file has.
    """
    return facts["shape"][:1] == [None] and facts["maxshape"] is None


def began_empty(dataset: DatasetNode) -> bool:
    """Return whether a dataset was created without rows, to be resized or appended to."""
    spec = dataset.spec
    return (spec.shape or (None,))[0] == 0 and spec.chunks is not None and spec.maxshape is not None


def are_inside(dataset: DatasetNode, numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which chunks lie in the rows with which a dataset was created; others are written again after a resume."""
    spec = dataset.spec
    if spec.maxshape is None or spec.shape is None or spec.shape[0] is None:
        return np.ones(len(numbers), np.bool_)
    return np.asarray(numbers < spec.grid.present.counts[0] * spec.grid.n_numbers_per_row)


def _rows_without_a_gap(dataset: DatasetNode, coords: NDArray[np.int64]) -> int:
    """Return the length of a dataset with the rows of chunks that follow its present rows without a gap.

    Parameters
    ----------
    dataset
        The dataset as the public file has it.
    coords
        ``(n, rank)`` of the chunks that were stored since.
    """
    shape, chunks = dataset.shape or (), dataset.spec.chunks or ()
    grid = dataset.grid.present
    is_inside = (coords[:, 1:] < np.array(grid.counts[1:])).all(axis=1)
    rows, n_stored = np.unique(coords[is_inside, 0], return_counts=True)
    whole = rows[n_stored == np.prod(grid.counts[1:], dtype=int)]
    first = shape[0] // chunks[0]
    whole = whole[whole >= first]
    is_next = whole == first + np.arange(len(whole))
    end = first + (len(whole) if is_next.all() else int(np.argmin(is_next)))
    return int(max(shape[0], end * chunks[0]))


def open_edges(dataset: DatasetNode, shape: tuple[int, ...]) -> None:
    """Before a resumed dataset grows to `shape`, mark the chunks at its present end as incomplete.

    What was stored of them is known to be right only up to that end.
    """
    grid, old = dataset.grid.present, dataset.shape or ()
    for axis, (extent, now, n) in enumerate(zip(old, shape, grid.chunks, strict=True)):
        if now > extent and extent % n:
            box = [(0, count) for count in grid.counts]
            box[axis] = (extent // n, extent // n + 1)
            for coords in product(*(range(*one) for one in box)):
                dataset.incomplete[coords] = None
