"""Where the chunks of a dataset lie: numpy columns, one row a chunk number.

12 bytes a chunk for a filtered dataset (address, stored size), 8 for an unfiltered one, 4 more
from the first chunk on that skipped a filter. Columns come from ``calloc`` and ``realloc``, so a
row that was never written costs no memory before its page is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from streamh5.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["RECORD", "ChunkRecords", "ChunkTable", "Columns", "chunk_records"]

RECORD = np.dtype(
    [("number", "<u8"), ("address", "<u8"), ("stored_nbytes", "<u4"), ("filter_mask", "<u4")], align=False
)
"""What is known of one stored chunk: 24 bytes."""

ChunkRecords = np.ndarray[Any, np.dtype[np.void]]
"""``(n,)`` array of `RECORD`."""

MAX_STORED_NBYTES = 2**32 - 1


def chunk_records(
    numbers: NDArray[np.uint64],
    address: int,
    stored_nbytes: NDArray[np.uint64],
    filter_masks: NDArray[np.uint32] | None,
) -> ChunkRecords:
    """Return the records of chunks that lie one after the other from `address` on.

    Parameters
    ----------
    numbers
        ``(n,)`` uint64 chunk numbers, in the order in which the chunks are stored.
    address
        Address of the first.
    stored_nbytes
        ``(n,)`` uint64 sizes after filters.
    filter_masks
        ``(n,)`` uint32 masks of skipped filters; None for all zero.

    Raises
    ------
    LimitError
        A chunk is larger than 4 GiB - 1 after filters.
    """
    records = np.zeros(len(numbers), RECORD)
    records["number"] = numbers
    ends = np.cumsum(stored_nbytes, dtype=np.uint64)
    records["address"] = ends - stored_nbytes + np.uint64(address)
    if len(numbers) and int(stored_nbytes.max()) > MAX_STORED_NBYTES:
        raise LimitError(
            f"a chunk has {int(stored_nbytes.max()):,} bytes after its filters; "
            f"HDF5 holds {MAX_STORED_NBYTES:,} at most: use smaller chunks",
            stored_nbytes=int(stored_nbytes.max()),
        )
    records["stored_nbytes"] = stored_nbytes
    if filter_masks is not None:
        records["filter_mask"] = filter_masks
    return records


class Columns(NamedTuple):
    """``(n,)`` uint64 addresses, uint32 stored sizes and uint32 filter masks of a table's first rows."""

    addresses: NDArray[np.uint64]
    stored_nbytes: NDArray[np.uint32] | None
    filter_masks: NDArray[np.uint32] | None

    def take(self, numbers: NDArray[np.intp]) -> Columns:
        """Columns of some rows."""
        stored, masks = self.stored_nbytes, self.filter_masks
        return Columns(
            self.addresses[numbers],
            None if stored is None else stored[numbers],
            None if masks is None else masks[numbers],
        )


class ChunkTable:
    """Addresses, stored sizes and filter masks by chunk number.

    Not thread-safe: its owner (the engine) holds a lock.

    Parameters
    ----------
    n_chunks
        Rows to begin with; `record` grows the table when a higher number comes.
    chunk_nbytes
        Raw size of a chunk.
    filtered
        False when every chunk is stored with exactly `chunk_nbytes`: the column is left out.
    """

    __slots__ = (
        "_addresses",
        "_filter_masks",
        "_stored_nbytes",
        "chunk_nbytes",
        "dead_nbytes",
        "n_rewritten",
        "n_written",
        "total_stored_nbytes",
    )

    def __init__(self, n_chunks: int, chunk_nbytes: int, *, filtered: bool) -> None:
        self.chunk_nbytes = chunk_nbytes
        self._addresses = np.zeros(n_chunks, np.uint64)
        self._stored_nbytes = np.zeros(n_chunks, np.uint32) if filtered else None
        self._filter_masks: NDArray[np.uint32] | None = None
        self.n_written = 0
        self.n_rewritten = 0
        self.total_stored_nbytes = 0
        self.dead_nbytes = 0

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def addresses(self) -> NDArray[np.uint64]:
        """``(n,)`` uint64; 0 for a chunk that was never written."""
        return self._addresses

    @property
    def stored_nbytes(self) -> NDArray[np.uint32] | None:
        """``(n,)`` uint32; None for an unfiltered dataset."""
        return self._stored_nbytes

    @property
    def filter_masks(self) -> NDArray[np.uint32] | None:
        """``(n,)`` uint32; None while no chunk has skipped a filter."""
        return self._filter_masks

    def record(self, records: ChunkRecords) -> None:
        """Enter stored chunks; for a number that came before, the later one counts.

        Parameters
        ----------
        records
            ``(n,)`` of `RECORD`, numbers unique within the call.
        """
        if not len(records):
            return
        numbers = records["number"].astype(np.intp)
        self._grow(int(numbers.max()) + 1)
        stored = records["stored_nbytes"]
        again = self._addresses[numbers] != 0
        n_again = int(np.count_nonzero(again))
        if n_again:
            self.n_rewritten += n_again
            dead = self._sizes(numbers[again])
            self.dead_nbytes += dead
            self.total_stored_nbytes -= dead
        self.n_written += len(records) - n_again
        self.total_stored_nbytes += int(stored.sum(dtype=np.uint64))
        self._addresses[numbers] = records["address"]
        if self._stored_nbytes is not None:
            self._stored_nbytes[numbers] = stored
        if self._filter_masks is None and records["filter_mask"].any():
            self._filter_masks = np.zeros(len(self._addresses), np.uint32)
        if self._filter_masks is not None:
            self._filter_masks[numbers] = records["filter_mask"]

    def first(self, n_chunks: int) -> Columns:
        """Columns of the first `n_chunks`; the table grows to them where it is shorter."""
        self._grow(n_chunks)
        stored, masks = self._stored_nbytes, self._filter_masks
        return Columns(
            self._addresses[:n_chunks],
            None if stored is None else stored[:n_chunks],
            None if masks is None else masks[:n_chunks],
        )

    def forget(self, n_chunks: int) -> None:
        """Take every chunk from number `n_chunks` on for not written."""
        tail = np.flatnonzero(self._addresses[n_chunks:]) + n_chunks
        if len(tail):
            dead = self._sizes(tail)
            self.dead_nbytes += dead
            self.total_stored_nbytes -= dead
            self.n_written -= len(tail)
            self._addresses[tail] = 0

    def _sizes(self, numbers: NDArray[np.intp]) -> int:
        if self._stored_nbytes is None:
            return len(numbers) * self.chunk_nbytes
        return int(self._stored_nbytes[numbers].sum(dtype=np.uint64))

    def _columns(self) -> Iterable[NDArray[Any]]:
        return (c for c in (self._addresses, self._stored_nbytes, self._filter_masks) if c is not None)

    def _grow(self, n_chunks: int) -> None:
        if n_chunks > len(self._addresses):
            # realloc moves pages instead of copying them; 1.5 keeps the unused tail below half
            n_rows = max(n_chunks, len(self._addresses) * 3 // 2, 1024)
            for column in self._columns():
                column.resize(n_rows, refcheck=False)
