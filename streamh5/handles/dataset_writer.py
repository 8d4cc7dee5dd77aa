"""From blocks of one dataset to the file: the threads, the chunk writer, the journal and the table.

::

    hand_over ─ split ─▶ Job ─▶ Pool ─▶ write ─ encode ─▶ write_encoded ─▶ place     bytes at addresses
    (File)                    (threads)   ▲                     └────────▶ claim     in the journal
                                          │                                record    in the table
    a task of dask, in its thread ────────┘   returns the records, which the task behind it records
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.model.chunk_records import RECORD
from streamh5.write.chunk_writer import RawChunks
from streamh5.write.pool import Job

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.handles.session import Session
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.tree import DatasetNode
    from streamh5.write.chunk_writer import ChunkWriter, EncodedChunks


class DatasetWriter:
    """Writes chunks of one dataset and enters them in journal and table. Thread-safe.

    Parameters
    ----------
    session
        The write.
    node
        The dataset.
    number
        Its number in the journal.
    chunks
        Makes stored chunks of its blocks.
    writes_empty
        Whether chunks that hold nothing but the fill value are written.
    """

    def __init__(
        self, session: Session, node: DatasetNode, number: int, chunks: ChunkWriter, *, writes_empty: bool
    ) -> None:
        self._session = session
        self._node = node
        self._number = number
        self._chunks = chunks
        self._writes_empty = writes_empty
        self._skipped: list[NDArray[np.uint64]] = []

    def hand_over(self, elements: NDArray[Any], origin: tuple[int, ...]) -> None:
        """Hand a block of stored elements to the threads, batch by batch; each job owns its memory."""
        if self._node.spec.shape and self._node.spec.shape[0] is None:
            self._session.engine.extend(self._node, origin[0] + len(elements))
        # without filters there is nothing to compute: a thread would only cost a copy
        is_filtered = bool(self._chunks.chain.filters)
        run = self._session.submit if is_filtered else self._session.run
        for raw in self._chunks.split(elements, origin, self._session.place):
            rows = raw.rows
            if is_filtered and np.may_share_memory(rows, elements):
                rows = rows.copy()
            call = partial(self._write_and_record, RawChunks(raw.box, rows))
            run(Job(call, rows.nbytes, self._node, raw.box))

    def _write_and_record(self, raw: RawChunks) -> None:
        self.record(self.write(raw))

    def write(self, raw: RawChunks) -> ChunkRecords:
        """Encode and write a batch, but for the chunks that are left out because they are empty."""
        if self._writes_empty:
            return self.write_encoded(self._chunks.encode(raw))
        numbers = self._chunks.grid.numbers(raw.box)
        # an empty chunk that was written before is written again, or the earlier one would show
        skipped = self._chunks.are_empty(raw.rows) & ~self._node.table.are_written(numbers)
        if skipped.any():
            self._skipped.append(numbers[skipped])  # without a lock: `append` of a list is atomic
        if skipped.all():
            return np.zeros(0, RECORD)
        return self.write_encoded(self._chunks.encode(raw, ~skipped))

    def write_encoded(self, encoded: EncodedChunks) -> ChunkRecords:
        """Write encoded chunks and enter them in the journal, which never names what is not written."""
        records = self._chunks.write(encoded, self._session.place)
        self._session.engine.claim(self._number, records, encoded.buffers)
        return records

    def record(self, records: ChunkRecords) -> None:
        """Enter chunks that are written in the table."""
        self._session.engine.record(self._node, records)

    def finish(self) -> None:
        """Count what was left out, and fill the missing chunks of an Implicit index; before the file is closed."""
        if not self._writes_empty or self._node.spec.is_early:
            self._session.wait()
        if self._skipped:
            skipped = np.unique(np.concatenate(self._skipped))
            self._node.n_empty = int(np.count_nonzero(~self._node.table.are_written(skipped)))
        if self._node.spec.is_early:
            self._chunks.fill_missing(self._node, self._session.place)
