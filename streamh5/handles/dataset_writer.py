"""Write blocks of one dataset to the file, and enter their chunks in the journal and the chunk table.

::

    hand_over ─ split ─▶ Job ─▶ Pool ─▶ write ─ encode ─▶ write_encoded ─▶ place     bytes at addresses
    (File)                    (threads)   ▲                     └────────▶ claim     in the journal
                                          │                                record    in the table
    a dask task, in its thread ───────────┘   returns the records; the task that follows enters them
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import BlockError, LimitError
from streamh5.handles.part_writer import PartWriter
from streamh5.model.chunk_grid import MAX_CHUNKS
from streamh5.model.chunk_records import RECORD
from streamh5.write.chunk_writer import RawChunks
from streamh5.write.pool import Job

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.handles.session import Session
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.tree import DatasetNode
    from streamh5.write.chunk_writer import ChunkWriter, EncodedChunks
    from streamh5.write.part_file import SharedFile
    from streamh5.write.part_records import PartRecords


class DatasetWriter:
    """Writes chunks of one dataset and enters them in the journal and the chunk table. Thread-safe.

    Parameters
    ----------
    session
        The write.
    node
        The dataset.
    chunks
        Turns its blocks into stored chunks.
    writes_empty
        Whether chunks that hold nothing but the fill value are written.
    """

    def __init__(
        self, session: Session, node: DatasetNode, chunks: ChunkWriter, *, writes_empty: bool
    ) -> None:
        self._session = session
        self._node = node
        self._chunks = chunks
        self._writes_empty = writes_empty
        grid = chunks.grid
        self._max_rows = (
            MAX_CHUNKS // max(1, grid.n_numbers_per_row) * grid.chunks[0] if grid.chunks else 2**64
        )
        self._skipped: list[NDArray[np.uint64]] = []

    def check_length(self, stop: int) -> None:
        """Refuse rows beyond the maximum length of the dataset, or more chunks than HDF5 allows."""
        bounds = self._node.spec.maxshape
        if bounds is not None and bounds[0] is not None and stop > bounds[0]:
            raise BlockError(
                f"{self._node.path}: {stop:,} rows exceed its maxshape {bounds}; give None or a larger extent there",
                maxshape=bounds,
            )
        if stop > self._max_rows:
            raise LimitError(
                f"{self._node.path}: {stop:,} rows in chunks {self._node.spec.chunks} make more than the "
                f"{MAX_CHUNKS:,} chunks that a dataset can have; use larger chunks",
                n_rows=stop,
            )

    def is_stored(self, origin: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        """Return whether every chunk of a block is stored; see `Dataset.is_stored`."""
        grid = self._chunks.grid
        stops = [o + n for o, n in zip(origin, shape, strict=True)]
        if len(stops) != len(grid.shape) or any(
            o < 0 or n < 0 or (extent is not None and stop > extent)
            for o, n, stop, extent in zip(origin, shape, stops, grid.shape, strict=True)
        ):
            raise BlockError(
                f"{self._node.path}: a block of shape {shape} at {origin} exceeds the dataset {grid.shape}",
                block_shape=shape,
                origin=origin,
            )
        return bool(self._node.table.are_written(grid.numbers(grid.covering(origin, shape))).all())

    def hand_over(self, elements: NDArray[Any], origin: tuple[int, ...]) -> None:
        """Pass a block of stored elements to the threads, batch by batch; each job owns its memory."""
        if self._node.spec.shape and self._node.spec.shape[0] is None:
            self._session.extend(self._node, origin[0] + len(elements))
        # without filters there is nothing to compute, and a thread would only cost a copy of the block
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
        """Encode and write a batch, except for empty chunks that are to be left out."""
        if self._writes_empty:
            return self.write_encoded(self._chunks.encode(raw))
        numbers = self._chunks.grid.numbers(raw.box)
        # an empty chunk that was written before must be written again, or readers would see the earlier data
        skipped = self._chunks.are_empty(raw.rows) & ~self._node.table.are_written(numbers)
        if skipped.any():
            self._skipped.append(numbers[skipped])  # without a lock: `append` of a list is atomic
        if skipped.all():
            return np.zeros(0, RECORD)
        return self.write_encoded(self._chunks.encode(raw, ~skipped))

    def write_encoded(self, encoded: EncodedChunks) -> ChunkRecords:
        """Write encoded chunks, then enter them in the journal, which must never claim unwritten chunks."""
        records = self._chunks.write(encoded, self._session.place)
        self._session.claim(self._node, records, encoded.buffers)
        return records

    def record(self, records: ChunkRecords) -> None:
        """Enter written chunks in the chunk table."""
        self._session.record(self._node, records)

    def claim_part(self, part: PartRecords) -> None:
        """Enter chunks in the journal that another process has written."""
        self._session.claim_part(self._node, part.records, part.checksums)

    def record_part(self, part: PartRecords) -> None:
        """Enter chunks in the chunk table that another process has written."""
        if len(part.skipped):
            self._skipped.append(part.skipped)
            # those that were written before must be written again, or readers would see the earlier data
            for number in part.skipped[self._node.table.are_written(part.skipped)]:
                self.record(self.write_encoded(self._chunks.empty(number, self._session.place)))
        if self._node.spec.shape and self._node.spec.shape[0] is None:
            self._session.extend(self._node, part.stop)
        self._session.sharing.enter(part)
        self.record(part.records)

    def part_writer(self, shared: SharedFile, *, is_flushing: bool) -> PartWriter:
        """Return what writes blocks of the dataset in another process."""
        return PartWriter(shared, self._chunks, writes_empty=self._writes_empty, is_flushing=is_flushing)

    def finish(self) -> None:
        """Before the file is closed: count the empty chunks, and fill the missing chunks of an Implicit index."""
        if not self._writes_empty or self._node.spec.is_early:
            self._session.wait()
        if self._skipped:
            skipped = np.unique(np.concatenate(self._skipped))
            self._node.n_empty = int(np.count_nonzero(~self._node.table.are_written(skipped)))
        if self._node.spec.is_early:
            self._chunks.fill_missing(self._node, self._session.place)
