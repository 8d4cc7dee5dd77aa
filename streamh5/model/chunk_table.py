"""Where the chunks of a dataset are stored while it is written: numpy columns by chunk number."""

from __future__ import annotations

from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.model.chunk_records import DenseRows, SparseRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.chunk_index.element import ChunkColumns
    from streamh5.model.chunk_records import ChunkRecords

MAX_DENSE_ROWS = 1 << 22
"""Up to this many rows a table may be dense, however few are written: 50 MB."""

MIN_SPARSENESS, MAX_SPARSENESS = 4, 16
"""Rows per written row below which a sparse table becomes dense, and above which a dense one becomes sparse."""


@dataclass(slots=True)
class ChunkCounts:
    """Counts of the chunks of a table.

    Attributes
    ----------
    n_written
        Stored chunks.
    n_rewritten
        How often a chunk replaced a stored one.
    stored_nbytes
        Bytes of the stored chunks.
    dead_nbytes
        Bytes of chunks that were replaced or deleted.
    """

    n_written: int = 0
    n_rewritten: int = 0
    stored_nbytes: int = 0
    dead_nbytes: int = 0

    def enter(self, records: ChunkRecords, replaced: tuple[int, int]) -> None:
        """Count new records, and how many chunks of how many bytes they replaced."""
        n_again, dead = replaced
        self.n_rewritten += n_again
        self.dead_nbytes += dead
        self.stored_nbytes += int(records["stored_nbytes"].sum(dtype=np.uint64)) - dead
        self.n_written += len(records) - n_again


class ChunkTable:
    """Addresses, stored sizes and filter masks by chunk number.

    Rows are dense columns while most of them are written or there are few, and sorted records of the written ones
    otherwise: memory and time depend on the stored chunks, not on the size of the grid.

    Thread-safe: threads ask which chunks are stored while others record theirs, and each look sorts what was recorded
    before; dense columns move when they grow. Returned columns may be views, to be used while nothing is recorded.

    Parameters
    ----------
    n_chunks
        Initial number of rows; `record` extends the table for higher numbers.
    chunk_nbytes
        Raw size of a chunk.
    filtered
        False if every chunk is stored with exactly `chunk_nbytes`: the column of sizes is omitted.
    """

    __slots__ = ("_counts", "_filtered", "_lock", "_rows", "chunk_nbytes")

    def __init__(self, n_chunks: int, chunk_nbytes: int, *, filtered: bool) -> None:
        self.chunk_nbytes = chunk_nbytes
        self._filtered = filtered
        self._lock = RLock()  # a signal handler may come back here
        self._counts = ChunkCounts()
        self._rows: DenseRows | SparseRows = (
            SparseRows(filtered=filtered)
            if n_chunks > MAX_DENSE_ROWS
            else DenseRows(n_chunks, chunk_nbytes, filtered=filtered)
        )

    def record(self, records: ChunkRecords) -> None:
        """Add stored chunks; a later chunk replaces an earlier one of the same number.

        Parameters
        ----------
        records
            ``(n,)`` array of `RECORD`, with unique numbers.
        """
        if len(records):
            with self._lock:
                self._record(records)

    def first(self, n_chunks: int) -> ChunkColumns:
        """Return the columns of the first `n_chunks`; a shorter dense table is extended."""
        with self._lock:
            self._settle()
            rows = self._rows
            if isinstance(rows, SparseRows):
                rows = self._dense(rows, n_chunks)
            return rows.first(n_chunks)

    def written(self, n_chunks: int | None = None) -> tuple[NDArray[np.intp], ChunkColumns]:
        """Return the numbers of the stored chunks below `n_chunks`, ascending, and their columns."""
        with self._lock:
            self._settle()
            return self._rows.written(n_chunks)

    def sizes(self) -> tuple[NDArray[np.intp], NDArray[np.unsignedinteger[Any]]]:
        """Return copies of numbers and stored sizes of the stored chunks, which stay as they are when others record."""
        with self._lock:
            self._settle()
            numbers, columns = self._rows.written(None)
            if columns.stored_nbytes is not None:
                return numbers, columns.stored_nbytes.copy()
        return numbers, np.broadcast_to(np.uint64(self.chunk_nbytes), len(numbers))

    def are_written(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of ``(n,)`` chunk numbers are stored."""
        with self._lock:
            self._settle()
            return self._rows.are_written(numbers)

    def find(self, numbers: NDArray[np.uint64]) -> ChunkRecords:
        """Return the records of those of ``(n,)`` chunk numbers that are stored, in their order."""
        with self._lock:
            self._settle()
            return self._rows.find(numbers)

    def forget(self, n_chunks: int) -> NDArray[np.uint64]:
        """Mark every chunk from number `n_chunks` on as not written; return the addresses of those that were."""
        with self._lock:
            self._settle()
            counts = self._counts
            lost, nbytes = self._rows.forget(n_chunks)
            counts.n_written -= len(lost)
            counts.stored_nbytes -= nbytes
            counts.dead_nbytes += nbytes
            return lost

    def renumbered(self, kept: NDArray[np.bool_], numbers: NDArray[np.int64], n_chunks: int) -> ChunkTable:
        """Return a table of some of the stored chunks, with other numbers, whose counts continue those of this one.

        Parameters
        ----------
        kept
            ``(n,) bool``: which of the stored chunks it has, in ascending order of their present numbers.
        numbers
            ``(n_kept,)`` their numbers there.
        n_chunks
            Its initial number of rows.
        """
        numbered, counts = self.records(), self.counts
        records = numbered[kept]
        records["number"] = numbers
        table = ChunkTable(n_chunks, self.chunk_nbytes, filtered=self._filtered)
        table.record(records[np.argsort(numbers, kind="stable")])
        lost = int(numbered["stored_nbytes"][~kept].sum(dtype=np.uint64))
        table.counts.n_rewritten = counts.n_rewritten
        table.counts.dead_nbytes = counts.dead_nbytes + lost
        return table

    def records(self) -> ChunkRecords:
        """Return the records of the stored chunks, sorted by number."""
        with self._lock:
            self._settle()
            rows = self._rows
            return rows.settled.copy() if isinstance(rows, SparseRows) else rows.records()

    @property
    def counts(self) -> ChunkCounts:
        """Counts of the chunks, including pending records."""
        with self._lock:
            self._settle()
            return self._counts

    def _record(self, records: ChunkRecords) -> None:
        rows = self._rows
        if isinstance(rows, DenseRows):
            n_rows = int(records["number"].max()) + 1
            is_far = n_rows > MAX_DENSE_ROWS and n_rows > len(rows)
            if is_far and n_rows > MAX_SPARSENESS * self._counts.n_written:
                rows = self._rows = SparseRows(rows.records(), filtered=self._filtered)
            else:
                self._counts.enter(records, rows.enter(records, n_rows))
                return
        rows.enter(records)
        if rows.is_due:
            self._settle()

    def _settle(self) -> None:
        """Sort and count pending records, and change to dense columns if those need less memory."""
        rows = self._rows
        if isinstance(rows, SparseRows) and rows.pending:
            new = np.concatenate(rows.pending)
            self._counts.enter(new, rows.settle())
            n_rows = int(rows.settled["number"][-1]) + 1
            if n_rows < MIN_SPARSENESS * len(rows.settled):
                self._rows = self._dense(rows, n_rows)

    def _dense(self, rows: SparseRows, n_rows: int) -> DenseRows:
        return DenseRows.of(rows.settled, n_rows, self.chunk_nbytes, filtered=self._filtered)
