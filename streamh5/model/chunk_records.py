"""Stored chunks as numpy records, and the rows of a `ChunkTable`: dense columns, or sorted records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import over_limit
from streamh5.format.chunk_index.element import ChunkColumns
from streamh5.format.primitives import MAX_CHUNK_NBYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECORD = np.dtype(
    [("number", "<u8"), ("address", "<u8"), ("stored_nbytes", "<u4"), ("filter_mask", "<u4")], align=False
)
"""One stored chunk: 24 bytes."""

ChunkRecords = np.ndarray[Any, np.dtype[np.void]]
"""``(n,)`` array of `RECORD`."""

MIN_SETTLED = 4096
"""Minimum number of pending records before they are sorted into the others (or half the number of those)."""


def chunk_records(
    numbers: NDArray[np.uint64],
    address: int,
    stored_nbytes: NDArray[np.uint64],
    filter_masks: NDArray[np.uint32] | None,
) -> ChunkRecords:
    """Return the records of chunks that are stored one after the other from `address` on.

    Parameters
    ----------
    numbers
        ``(n,)`` uint64 chunk numbers, in the order in which the chunks are stored.
    address
        Address of the first chunk.
    stored_nbytes
        ``(n,)`` uint64 sizes after filters.
    filter_masks
        ``(n,)`` uint32 masks of skipped filters; None for all zero.

    Raises
    ------
    LimitError
        A chunk is larger than 4 GiB - 1 after filters.
    """
    nbytes = int(stored_nbytes.max(initial=0))
    if nbytes > MAX_CHUNK_NBYTES:
        subject, advice = f"a chunk has {nbytes:,} bytes after its filters", ": use smaller chunks"
        raise over_limit(subject, MAX_CHUNK_NBYTES, advice, stored_nbytes=nbytes)
    if len(numbers) == 1:  # operations on columns of one row would be a third of what a small block costs
        mask = 0 if filter_masks is None else filter_masks[0]
        return np.array([(numbers[0], address, nbytes, mask)], RECORD)
    records = np.zeros(len(numbers), RECORD)
    records["number"] = numbers
    ends = np.cumsum(stored_nbytes, dtype=np.uint64)
    records["address"] = ends - stored_nbytes + np.uint64(address)
    records["stored_nbytes"] = stored_nbytes
    if filter_masks is not None:
        records["filter_mask"] = filter_masks
    return records


def _records(numbers: NDArray[Any], columns: ChunkColumns, chunk_nbytes: int) -> ChunkRecords:
    records = np.zeros(len(numbers), RECORD)
    records["number"], records["address"] = numbers, columns.addresses
    records["stored_nbytes"] = chunk_nbytes if columns.stored_nbytes is None else columns.stored_nbytes
    if columns.filter_masks is not None:
        records["filter_mask"] = columns.filter_masks
    return records


class DenseRows:
    """Dense columns: one row for each chunk number.

    12 bytes per chunk for a filtered dataset (address, stored size), 8 for an unfiltered one, and 4 more once a chunk
    skipped a filter. Columns come from ``calloc`` and ``realloc``, so rows that were never written use no memory until
    their page is touched.
    """

    __slots__ = ("_addresses", "_chunk_nbytes", "_filter_masks", "_stored_nbytes")

    def __init__(self, n_chunks: int, chunk_nbytes: int, *, filtered: bool) -> None:
        self._chunk_nbytes = chunk_nbytes
        self._addresses = np.zeros(n_chunks, np.uint64)
        self._stored_nbytes = np.zeros(n_chunks, np.uint32) if filtered else None
        self._filter_masks: NDArray[np.uint32] | None = None

    @classmethod
    def of(cls, records: ChunkRecords, n_chunks: int, chunk_nbytes: int, *, filtered: bool) -> DenseRows:
        """Return the rows of those sorted records whose numbers are below `n_chunks`."""
        rows = cls(n_chunks, chunk_nbytes, filtered=filtered)
        inside = records[: int(np.searchsorted(records["number"], n_chunks))]
        if len(inside):
            rows.enter(inside, n_chunks)
        return rows

    def __len__(self) -> int:
        return len(self._addresses)

    def enter(self, records: ChunkRecords, n_rows: int) -> tuple[int, int]:
        """Enter records with numbers below `n_rows`; return how many chunks they replaced, and the bytes of those."""
        numbers = records["number"].astype(np.intp)
        self._grow(n_rows)
        again = self._addresses[numbers] != 0
        n_again = int(np.count_nonzero(again))
        dead = self._sizes(numbers[again]) if n_again else 0
        self._addresses[numbers] = records["address"]
        if self._stored_nbytes is not None:
            self._stored_nbytes[numbers] = records["stored_nbytes"]
        if self._filter_masks is None and records["filter_mask"].any():
            self._filter_masks = np.zeros(len(self._addresses), np.uint32)
        if self._filter_masks is not None:
            self._filter_masks[numbers] = records["filter_mask"]
        return n_again, dead

    def first(self, n_chunks: int) -> ChunkColumns:
        """Return the columns of the first `n_chunks`."""
        self._grow(n_chunks)
        return self._columns[:n_chunks]

    def written(self, n_chunks: int | None) -> tuple[NDArray[np.intp], ChunkColumns]:
        """Return the numbers of the stored chunks below `n_chunks`, and their columns."""
        columns = self._columns[:n_chunks]
        numbers = np.flatnonzero(columns.addresses)
        return numbers, columns if len(numbers) == len(columns.addresses) else columns.take(numbers)

    def are_written(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which chunk numbers are stored."""
        known = numbers < len(self._addresses)
        written = np.zeros(len(numbers), bool)
        written[known] = self._addresses[numbers[known].astype(np.intp)] != 0
        return written

    def find(self, numbers: NDArray[np.uint64]) -> ChunkRecords:
        """Return the records of those of some chunks that are stored."""
        found = numbers[self.are_written(numbers)]
        at = found.astype(np.intp)
        return _records(found, self._columns.take(at), self._chunk_nbytes)

    def forget(self, n_chunks: int) -> tuple[NDArray[np.uint64], int]:
        """Delete the rows from `n_chunks` on; return the addresses of their chunks, and the bytes of those."""
        tail = np.flatnonzero(self._addresses[n_chunks:]) + n_chunks
        lost, nbytes = self._addresses[tail], self._sizes(tail)
        self._addresses[tail] = 0
        return lost, nbytes

    def records(self) -> ChunkRecords:
        """Return the records of the stored chunks, sorted by number."""
        return _records(*self.written(None), self._chunk_nbytes)

    @property
    def _columns(self) -> ChunkColumns:
        return ChunkColumns(self._addresses, self._stored_nbytes, self._filter_masks)

    def _sizes(self, numbers: NDArray[np.intp]) -> int:
        if self._stored_nbytes is None:
            return len(numbers) * self._chunk_nbytes
        return int(self._stored_nbytes[numbers].sum(dtype=np.uint64))

    def _grow(self, n_chunks: int) -> None:
        if n_chunks > len(self._addresses):
            # realloc moves pages instead of copying them; 1.5 keeps the unused tail below half. Without `refcheck`,
            # numpy would refuse while a view of a column exists: views must not be used after the table has grown.
            n_rows = max(n_chunks, len(self._addresses) * 3 // 2, 1024)
            for column in (self._addresses, self._stored_nbytes, self._filter_masks):
                if column is not None:
                    column.resize(n_rows, refcheck=False)


class SparseRows:
    """Records of the written chunks, sorted by number, and pending ones that are not sorted yet; 24 bytes each."""

    __slots__ = ("_filtered", "_n_pending", "pending", "settled")

    def __init__(self, settled: ChunkRecords | None = None, *, filtered: bool) -> None:
        self._filtered = filtered
        self.settled: ChunkRecords = np.zeros(0, RECORD) if settled is None else settled
        self.pending: list[ChunkRecords] = []
        self._n_pending = 0

    @property
    def is_due(self) -> bool:
        """Whether enough records are pending to sort them: each record is moved only a few times in total."""
        return self._n_pending > max(MIN_SETTLED, len(self.settled) // 2)

    def enter(self, records: ChunkRecords) -> None:
        """Add records to the pending ones."""
        self.pending.append(records)
        self._n_pending += len(records)

    def settle(self) -> tuple[int, int]:
        """Sort the pending records into the others; return how many chunks were replaced, and the bytes of those."""
        records = np.concatenate([self.settled, *self.pending])
        records = records[np.argsort(records["number"], kind="stable")]
        is_last = np.append(records["number"][1:] != records["number"][:-1], True)
        replaced = records["stored_nbytes"][~is_last]
        self.settled, self.pending, self._n_pending = records[is_last], [], 0
        return len(replaced), int(replaced.sum(dtype=np.uint64))

    def written(self, n_chunks: int | None) -> tuple[NDArray[np.intp], ChunkColumns]:
        """Return the numbers of the stored chunks below `n_chunks`, and their columns."""
        end = len(self.settled) if n_chunks is None else self._find(n_chunks)
        records = self.settled[:end]
        masks = records["filter_mask"]
        columns = ChunkColumns(
            records["address"],
            records["stored_nbytes"] if self._filtered else None,
            masks if masks.any() else None,
        )
        return records["number"].astype(np.intp), columns

    def are_written(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which chunk numbers are stored."""
        if not len(self.settled):
            return np.zeros(len(numbers), bool)
        at = np.searchsorted(self.settled["number"], numbers)
        found = self.settled["number"][np.minimum(at, len(self.settled) - 1)]
        return np.asarray(found == numbers, bool)

    def find(self, numbers: NDArray[np.uint64]) -> ChunkRecords:
        """Return the records of those of some chunks that are stored."""
        found = numbers[self.are_written(numbers)]
        records: ChunkRecords = self.settled[np.searchsorted(self.settled["number"], found)]
        return records

    def forget(self, n_chunks: int) -> tuple[NDArray[np.uint64], int]:
        """Delete the rows from `n_chunks` on; return the addresses of their chunks, and the bytes of those."""
        start = self._find(n_chunks)
        lost = self.settled[start:]
        self.settled = self.settled[:start]
        return lost["address"].copy(), int(lost["stored_nbytes"].sum(dtype=np.uint64))

    def _find(self, number: int) -> int:
        return int(np.searchsorted(self.settled["number"], np.uint64(number)))
