"""Write blocks of one dataset to the file, and enter their chunks in the journal and the chunk table.

::

    write_region ── chunks that it fills in part ─▶ ChunkCache ─▶ write_partial ─▶ Job     merged with what is stored
        │ whole chunks                               (session)
        ▼
    hand_over ─ split ─▶ Job ─▶ Pool ─▶ write ─ encode ─▶ write_encoded ─▶ place     bytes at addresses
    (File)                    (threads)   ▲                     └────────▶ claim     in the journal
                                          │                                record    in the table
    a dask task, in its thread ───────────┘   returns the records; the task that follows enters them
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import BlockError, LimitError, StateError
from streamh5.handles.part_writer import PartWriter
from streamh5.model.chunk_grid import MAX_CHUNKS
from streamh5.model.chunk_records import RECORD
from streamh5.write.chunk_cache import reaches, union
from streamh5.write.chunk_writer import RawChunks
from streamh5.write.library_decoder import check_decodable
from streamh5.write.pool import Job
from streamh5.write.read_back import (
    StoredChunkSource,
    fill_up,
    inside,
    new_partial_chunk,
    overlaps,
    whole_pieces,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.handles.session import Session
    from streamh5.model.chunk_grid import Box
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.tree import DatasetNode
    from streamh5.write.chunk_cache import PartialChunk
    from streamh5.write.chunk_writer import ChunkWriter, EncodedChunks
    from streamh5.write.part_file import SharedFile
    from streamh5.write.part_records import PartRecords
    from streamh5.write.shared_upload import SharedUpload


class DatasetWriter:
    """Writes chunks of one dataset and enters them in the journal and the chunk table. Thread-safe.

    Parameters
    ----------
    session
        The write.
    node
        The dataset.
    writes_empty
        Whether chunks that hold nothing but the fill value are written.
    """

    def __init__(self, session: Session, node: DatasetNode, *, writes_empty: bool) -> None:
        self._session = session
        self._node = node
        self._writes_empty = writes_empty
        self.appended_from: int | None = None
        self._skipped: list[NDArray[np.uint64]] = []
        self._partial_chunks = session.partial_chunks
        self._source = StoredChunkSource(partial(session.find_chunks, node), session.read)
        self._end: int | None = None
        self._numbered_from = 0  # chunks at lower addresses were written with other numbers
        self.has_part_writers = False

    def renumber(self) -> None:
        """From now on, refuse to record blocks that were written before: their chunks get other numbers."""
        self._numbered_from = self._session.place.reserve(0)

    def use(self, chunks: ChunkWriter) -> None:
        """Write for the present shape, with a chunk writer for it; no job with other chunk numbers may be in flight."""
        self._chunks = chunks
        grid = chunks.grid
        self._max_rows = (
            MAX_CHUNKS // max(1, grid.n_numbers_per_row) * grid.chunks[0] if grid.chunks else 2**64
        )
        if self._node.incomplete:
            counts = (2**64, *grid.counts[1:]) if grid.shape[0] is None else grid.counts
            for coords in list(self._node.incomplete):
                if any(k >= n for k, n in zip(coords, counts, strict=True)):
                    del self._node.incomplete[coords]

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
        return bool(self.are_stored(grid.numbers(grid.covering(origin, shape))).all())

    def are_stored(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of ``(n,)`` chunk numbers this write has stored, with each of their elements."""
        begin, incomplete = self._session.begins_at, self._node.incomplete
        if not begin and not incomplete:
            return self._node.table.are_written(numbers)
        records = self._session.find_chunks(self._node, numbers)
        stored = records["number"][records["address"] >= begin]
        partial_ones = [self._chunks.grid.number(coords) for coords in list(incomplete)]
        return np.isin(numbers, stored) & ~np.isin(numbers, np.array(partial_ones, np.uint64))

    def stored_coords(self) -> tuple[NDArray[np.intp], ...]:
        """Return the coords of the chunks that this write has stored, with each of their elements: see `are_stored`."""
        numbers = self._node.table.written()[0].astype(np.uint64)
        return self._chunks.grid.coords_of(numbers[self.are_stored(numbers)])

    def write_region(
        self, elements: NDArray[Any], origin: tuple[int, ...], *, is_appended: bool = False
    ) -> None:
        """Write a block of stored elements anywhere in the dataset; the caller may reuse its memory afterwards.

        Chunks that it does not fill wait for their other elements in the cache of the session.
        """
        grid = self._chunks.grid
        whole, edges = grid.unbounded.parts(origin, elements.shape)
        # first: appended rows complete the chunks before them, which then come first in the file, too
        if edges:
            self._gather(elements, origin, edges, is_appended=is_appended)
        if whole is not None:
            self._partial_chunks.discard(self, whole)
            self.hand_over(*inside(elements, origin, whole, grid.chunks))

    def write_block(self, elements: NDArray[Any], origin: tuple[int, ...]) -> ChunkRecords:
        """Write a block of stored elements in the calling thread; return its records: see `Dataset.write_block`."""
        box = self._chunks.grid.covering(origin, elements.shape)
        parts: list[ChunkRecords] = []
        self._settle_regions(box)
        # after the whole chunks of earlier regions that are in the threads: they must not be entered after these
        write = partial(self._write_pieces, elements, origin, parts)
        self._session.run(Job(write, elements.nbytes, self._node, box))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, RECORD)

    def _write_pieces(
        self, elements: NDArray[Any], origin: tuple[int, ...], parts: list[ChunkRecords]
    ) -> None:
        """Write a block, with the stored elements of chunks that it does not fill; append its records to `parts`."""
        place = self._session.place
        for piece, first, chunk in whole_pieces(self._chunks, elements, origin, self._source, place):
            is_partial = chunk is not None and self._is_incomplete(chunk)
            write = partial(self.write, is_partial=is_partial)
            parts.extend(map(write, self._chunks.split(piece, first, place)))  # one batch is in memory

    def _settle_regions(self, box: Box) -> None:
        """Write chunks of earlier regions, which the caller is about to write in its own way."""
        if self._partial_chunks.knows(self):
            self._partial_chunks.write_out(self, box)
            self._session.wait()

    def _gather(
        self, elements: NDArray[Any], origin: tuple[int, ...], edges: list[Box], *, is_appended: bool
    ) -> None:
        """Put the elements of chunks that are not filled in the cache."""
        grid, cache = self._chunks.grid, self._partial_chunks
        row_nbytes = math.prod(grid.present.counts[1:]) * self._chunks.chain.chunk_nbytes
        cache.make_room(self, row_nbytes, is_appended=is_appended)
        with cache.lock:
            for box in edges:
                for coords, in_chunk, in_region in overlaps(grid.chunks, box, origin, elements.shape):
                    cache.put(self, coords, self._new_partial_chunk, in_chunk, elements[in_region])
        self._extend(origin[0] + len(elements))

    def _new_partial_chunk(self, coords: tuple[int, ...]) -> PartialChunk:
        if self._node.stored is not None:
            check_decodable(self._chunks.spec)  # now, and not when the chunk is written, perhaps at the end
        return new_partial_chunk(self._chunks, coords)

    def write_partial(self, chunk: PartialChunk) -> None:
        """Write a chunk of the cache, in a thread if it is filtered."""
        run = self._session.submit if self._chunks.chain.filters else self._session.run
        box = tuple((k, k + 1) for k in chunk.coords)
        run(Job(partial(self._fill_up_and_record, chunk), chunk.nbytes, self._node, box))

    def _fill_up_and_record(self, chunk: PartialChunk) -> None:
        is_partial, place = self._is_incomplete(chunk), self._session.place
        fill_up(self._chunks, chunk, self._source, place)
        for raw in self._chunks.split(chunk.elements, chunk.origin, place):
            self.record(self.write(raw, is_partial=is_partial))

    def _is_incomplete(self, chunk: PartialChunk) -> bool:
        """Return whether elements of a chunk that is about to be written are still missing, and enter which.

        Together with the elements that were stored before, it may be complete. Those of the file to which this write
        adds do not count: what a resumed write need not do again is what this one has done.
        """
        if chunk.is_complete:
            return False
        coords, incomplete, box = chunk.coords, self._node.incomplete, chunk.box
        # in the middle of a stream, more rows of its last chunk may come: nobody could tell afterwards how many it has
        is_growing = self._end is None and self.appended_from is not None and self._is_last(coords)
        if coords in incomplete:
            before = incomplete[coords]
            box = None if before is None or box is None else union(before, box)
        elif (
            not is_growing and self.are_stored(np.array([self._chunks.grid.number(coords)], np.uint64)).all()
        ):
            return False
        if box is not None and box[0][0] and chunk.origin[0] + box[0][0] == self.appended_from:
            box = ((0, box[0][1]), *box[1:])  # rows before the first appended one are not to be done again
        # of a dataset that may grow, what is there now is all that is missing
        end = self._chunks.grid.shape[0] if self._end is None else self._end
        ends = (None if is_growing else end, *self._chunks.grid.shape[1:])
        if box is not None and reaches(box, coords, self._chunks.grid.chunks, ends):
            return False
        incomplete[coords] = box
        return True

    def _is_last(self, coords: tuple[int, ...]) -> bool:
        """Return whether a chunk reaches beyond the present length."""
        return (self._node.shape or (0,))[0] < (coords[0] + 1) * self._chunks.grid.chunks[0]

    def hand_over(self, elements: NDArray[Any], origin: tuple[int, ...]) -> None:
        """Pass a block of stored elements to the threads, batch by batch; each job owns its memory."""
        self._extend(origin[0] + len(elements))
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

    def write(self, raw: RawChunks, *, is_partial: bool = False) -> ChunkRecords:
        """Encode and write a batch, except for empty chunks that are to be left out.

        Parameters
        ----------
        raw
            The chunks.
        is_partial
            Whether elements of them are still to be written.
        """
        if self._writes_empty:
            return self.write_encoded(self._chunks.encode(raw), is_partial=is_partial)
        numbers = self._chunks.grid.numbers(raw.box)
        # an empty chunk that was written before must be written again, or readers would see the earlier data
        skipped = self._chunks.are_empty(raw.rows) & ~self._node.table.are_written(numbers)
        if skipped.any():
            self._skipped.append(numbers[skipped])  # without a lock: `append` of a list is atomic
        if skipped.all():
            return np.zeros(0, RECORD)
        return self.write_encoded(
            self._chunks.encode(raw, ~skipped if skipped.any() else None), is_partial=is_partial
        )

    def write_encoded(self, encoded: EncodedChunks, *, is_partial: bool = False) -> ChunkRecords:
        """Write encoded chunks, then enter them in the journal, which must never claim unwritten chunks."""
        records = self._chunks.write(encoded, self._session.place)
        self._session.claim(self._node, records, encoded.buffers, is_partial=is_partial)
        if not is_partial:
            self._complete(encoded.numbers)
        return records

    def _complete(self, numbers: NDArray[np.uint64]) -> None:
        """Note that no elements of some chunks are missing any more."""
        if self._node.incomplete:
            for number in numbers.tolist():
                self._node.incomplete.pop(self._chunks.grid.coords(number), None)

    def record(self, records: ChunkRecords) -> None:
        """Enter written chunks in the chunk table."""
        self._session.record(self._node, records)

    def record_block(self, records: ChunkRecords) -> None:
        """Enter chunks that `write_block` has written, unless the dataset was resized meanwhile."""
        if len(records) and records["address"].min() < self._numbered_from:
            raise StateError(
                f"{self._node.path}: {len(records):,} chunks were written before the dataset was resized to "
                f"{self._node.shape}, which cut some off or gave them other numbers; record them before that, or write "
                "them again"
            )
        self.record(records)

    def take_part(self, part: PartRecords) -> None:
        """Enter chunks in journal and chunk table that another process has written, after those of earlier calls."""
        numbers = np.concatenate([part.records["number"], part.skipped])
        if not len(numbers):
            self._enter_part(part)
            return
        coords = self._chunks.grid.coords_of(numbers)
        box = tuple((int(one.min()), int(one.max()) + 1) for one in coords)
        self._settle_regions(box)
        self._session.run(Job(partial(self._enter_part, part), 0, self._node, box))

    def _enter_part(self, part: PartRecords) -> None:
        self.claim_part(part)
        self.record_part(part)

    def claim_part(self, part: PartRecords) -> None:
        """Enter chunks in the journal that another process has written."""
        self._session.claim_part(self._node, part.records, part.checksums)

    def record_part(self, part: PartRecords) -> None:
        """Enter chunks in the chunk table that another process has written, and nothing here writes meanwhile."""
        if len(part.skipped):
            self._skipped.append(part.skipped)
            # those that were written before must be written again, or readers would see the earlier data
            for number in part.skipped[self._node.table.are_written(part.skipped)]:
                self.record(self.write_encoded(self._chunks.empty(number, self._session.place)))
        if self._node.spec.shape and self._node.spec.shape[0] is None:
            self._session.extend(self._node, part.stop)
        self._session.sharing.enter(part)
        self._complete(part.records["number"])
        self.record(part.records)

    def part_writer(self, shared: SharedFile | SharedUpload, *, is_flushing: bool) -> PartWriter:
        """Return what writes blocks of the dataset in another process."""
        self.has_part_writers = True
        return PartWriter(shared, self._chunks, writes_empty=self._writes_empty, is_flushing=is_flushing)

    def write_pending(self, n_rows: int | None) -> None:
        """Write the chunks that wait in the cache.

        Parameters
        ----------
        n_rows
            Rows of a dataset that was appended to, at the end of its stream: no more elements come.
        """
        self._end = n_rows
        self._partial_chunks.write_out(self)

    def replace_chunk(self, encoded: EncodedChunks, box: Box) -> None:
        """Write one encoded chunk instead of everything that was written to it before."""
        self._partial_chunks.discard(self, box)
        self._session.run(
            Job(lambda: self.record(self.write_encoded(encoded)), len(encoded.buffers[0]), self._node, box)
        )

    def write_rows_below(self, coord: int) -> None:
        """Write the chunks that wait in the cache and lie before a row of chunks: `append` has passed them."""
        if not self._partial_chunks.knows(self):
            return  # rows that fill their chunks
        counts = self._chunks.grid.present.counts[1:]
        self._partial_chunks.write_out(self, ((0, coord), *((0, n) for n in counts)))

    def _extend(self, n_rows: int) -> None:
        if self._node.spec.shape and self._node.spec.shape[0] is None:
            self._session.extend(self._node, n_rows)

    def finish(self) -> None:
        """Before the file is closed: count the empty chunks, and fill the missing chunks of an Implicit index."""
        if not self._writes_empty or self._node.spec.is_early:
            self._session.wait()
        if self._skipped:
            skipped = np.unique(np.concatenate(self._skipped))
            self._node.n_empty = int(np.count_nonzero(~self._node.table.are_written(skipped)))
        if self._node.spec.is_early:
            self._chunks.fill_missing(self._node, self._session.place)
