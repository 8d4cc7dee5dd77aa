"""``ClaimedChunks``: what an interrupted addition has stored of a dataset whose shape it may have changed.

The journal numbers the chunks of a dataset in its grid, and gives the dataset another number when the grid changes
(entry O). Here the chunks are known by their coords. Those outside the present shape wait until the dataset is resized
again: a resumed program repeats its calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.model.chunk_grid import ChunkGrid
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
    """

    coords: NDArray[np.int64]
    records: ChunkRecords
    n_rows: int | None = None

    def take(self, dataset: DatasetNode) -> ChunkRecords:
        """Return the records of the chunks inside the present shape, which wait no longer."""
        is_inside = self._are_inside(dataset)
        taken = self.records[is_inside].copy()
        taken["number"], _ = dataset.spec.grid.locate(self.coords[is_inside].T)
        self.coords, self.records = self.coords[~is_inside], self.records[~is_inside]
        return taken

    def shape(self, dataset: DatasetNode, n_rows: int | None) -> tuple[int, ...]:
        """Return the shape of a dataset that was created empty: all chunks, within its maximum shape and its rows."""
        ends = (self.coords.max(axis=0) + 1) * np.array(dataset.grid.chunks)
        ends[0] = min(int(ends[0]), n_rows or int(ends[0]))
        return tuple(
            max(n, int(end) if bound is None else min(int(end), bound))
            for n, end, bound in zip(dataset.shape or (), ends, dataset.spec.bounds, strict=True)
        )

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
    coords, records = np.zeros((0, len(chunks)), np.int64), np.zeros(0, RECORD)
    is_good = np.zeros(0, np.bool_)
    session: int | None = None
    n_rows: int | None = None
    for facts, claims in parts:
        grid = ChunkGrid(tuple(facts["shape"]), tuple(facts["chunks"] or ()), _extents(facts["maxshape"]))
        if grid.chunks != chunks:
            continue
        if session == facts["session"]:  # it was resized: what was cut off does not come back
            is_kept = (coords < np.array(grid.present.counts)).all(axis=1)
            coords, records, is_good = coords[is_kept], records[is_kept], is_good[is_kept]
        session, n_rows = facts["session"], claims.n_rows
        for claimed, checksums, is_partial in zip(
            claims.records, claims.checksums, claims.are_partial, strict=True
        ):
            check(dataset, claimed)
            coords = np.concatenate([coords, np.stack(grid.coords_of(claimed["number"]), axis=1)])
            records = np.concatenate([records, claimed])
            is_kept = are_kept(dataset, claimed, checksums)
            is_good = np.concatenate([is_good, is_kept & (not is_partial)])
    last = _last_of_each(coords)  # the last claim of a chunk counts, even if it cannot be used
    last = last[is_good[last]]
    found = ClaimedChunks(coords[last], records[last])
    if n_rows is not None:
        found.n_rows = _rows_without_a_gap(dataset, found.coords, n_rows)
    return found


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


def _extents(facts: list[int | None] | None) -> tuple[int | None, ...] | None:
    return None if facts is None else tuple(facts)


def _last_of_each(coords: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the index of the last occurrence of each row of ``(n, rank)`` coords."""
    last = np.unique(coords[::-1], axis=0, return_index=True)[1]
    return np.asarray(np.sort(len(coords) - 1 - last))


def _rows_without_a_gap(dataset: DatasetNode, coords: NDArray[np.int64], n_rows: int | None) -> int:
    """Return the length of a dataset with the rows of chunks that follow its present rows without a gap.

    Parameters
    ----------
    dataset
        The dataset as the public file has it.
    coords
        ``(n, rank)`` of the chunks that were stored since.
    n_rows
        Its length at the end of the stream, of which the last chunk may contain padding; None if it did not end.
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
    if n_rows:
        end = min(end, n_rows // chunks[0])
    bound = (dataset.spec.maxshape or shape)[0]
    return max(shape[0], end * chunks[0] if bound is None else min(end * chunks[0], bound))


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
