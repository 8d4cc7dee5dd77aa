"""The handle of a dataset that is being written."""

from __future__ import annotations

import operator
import threading
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np

from streamh5.errors import BlockError, LimitError
from streamh5.handles.dataset_facts import DatasetFacts
from streamh5.model.block_value import as_arrays, as_block
from streamh5.model.chunk_grid import MAX_CHUNKS
from streamh5.model.chunk_records import RECORD
from streamh5.write.chunk_writer import ChunkWriter, EncodedChunks, RawChunks
from streamh5.write.pool import Job
from streamh5.write.region import parse_region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from streamh5.filters import Buffer, FilterChain
    from streamh5.handles.session import Session
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.dataset_spec import DatasetSpec

__all__ = ["Dataset"]

P = ParamSpec("P")
T = TypeVar("T")


def _writing(method: Callable[Concatenate[Dataset, P], T]) -> Callable[Concatenate[Dataset, P], T]:
    """Make a method one call that writes: see `Session.call`."""

    @wraps(method)
    def call(self: Dataset, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.session.call():
            return method(self, *args, **kwargs)

    return call


class Dataset(DatasetFacts):
    """A dataset that is being written; made by `create_dataset`.

    Thread-safe. Blocks are split, filtered and written by the threads of the file; a call copies
    what it is given, so the caller's memory is free when it returns. A chunk may be written more
    than once: the last call counts, and the summary tells how many bytes lie unused.
    """

    def __init__(
        self,
        session: Session,
        spec: DatasetSpec,
        chain: FilterChain,
        *,
        source: str | None = None,
        write_empty_chunks: bool = True,
    ) -> None:
        node, number, n_rows = session.create_dataset(spec, source)
        self._number = number
        self.session = session
        self._node = node
        self._lock = threading.Lock()
        self._n_appended = n_rows
        self._is_appended = False
        self._pending: np.ndarray[Any, Any] | None = None
        self._skipped: list[NDArray[np.uint64]] = []
        region_address = session.allocate(node).address if spec.is_early else None
        self._writer = ChunkWriter(spec, chain, region_address)
        self._writes_empty = write_empty_chunks
        grid = spec.grid
        n_rows_of_chunks = MAX_CHUNKS // max(1, grid.n_numbers_per_row) if grid.chunks else 2**64
        self._max_rows = n_rows_of_chunks * (grid.chunks or (1,))[0]
        session.before_close(node, self._flush)

    @property
    def n_appended(self) -> int:
        """Rows that `append` has taken; after a resume, those that are safe: go on with the next."""
        return self._n_appended

    @_writing
    def append(self, rows: Any) -> None:
        """Append along the leading dimension.

        Rows that fill no whole chunk yet are kept, at most ``chunks[0]`` rows, and written when the
        chunk is full or the file is closed.

        Parameters
        ----------
        rows
            One row, of shape ``shape[1:]``, or several, of shape ``(n, *shape[1:])``.

        Raises
        ------
        BlockError
            Another shape, a dtype that cannot be stored without loss, or rows past the end of a
            dataset of fixed length. Nothing of the call is written then.
        StateError
            The file is closed.
        """
        shape = self._chunked_shape("append to")
        block = self._as_block(rows)
        if block.ndim == len(shape) - 1:
            block = block[np.newaxis]
        if block.ndim != len(shape) or block.shape[1:] != shape[1:]:
            raise BlockError(
                f"{self.name}: cannot append a block of shape {np.shape(rows)}; "
                f"give one row {shape[1:]} or several (n, {', '.join(map(str, shape[1:]))})",
                block_shape=np.shape(rows),
                shape=shape,
            )
        with self._lock:
            start, stop = self._n_appended, self._n_appended + len(block)
            self._check_length(stop)
            if shape[0] is not None and stop > shape[0]:
                raise BlockError(
                    f"{self.name}: {len(block)} rows appended at row {start} pass the end of the dataset {shape}; "
                    "create it with shape=(None, ...) when the length is not known",
                    start=start,
                    n_rows=len(block),
                    shape=shape,
                )
            if self.chunks is None:  # data stored whole
                self.session.set_value(self._number, self._node, slice(start, stop), block)
                self._n_appended = stop
                return
            self._append(self._writer.elements(block, self.session.place))

    @_writing
    def __setitem__(self, region: Any, value: Any) -> None:
        """Write a chunk-aligned region: ``d[20:40, 0:10] = block``.

        Parameters
        ----------
        region
            Slices, ints and ``...`` as for numpy, without steps. Each range begins on a chunk
            boundary and ends on one or at the end of the dataset.
        value
            Array-like that broadcasts to the region.

        Raises
        ------
        BlockError
            A region that is not aligned or leaves the dataset, or a value that does not fit it.
        StateError
            The file is closed.
        """
        if self._node.spec.chunks is None:
            self._set_value(region, value)
            return
        extents = self._chunked_shape("write a region of")
        origin, shape, kept = parse_region(region, extents, path=self.name)
        self._check_length(origin[0] + shape[0])
        block = self._as_block(value)
        try:
            whole = np.broadcast_to(block, kept).reshape(shape)
        except ValueError:
            raise BlockError(
                f"{self.name}: a block of shape {block.shape} does not fit the region of shape {kept}",
                block_shape=block.shape,
                region_shape=kept,
            ) from None
        self._writer.check(whole, origin)
        if self._is_appended and extents[0] is None and origin[0] + shape[0] > self._n_appended:
            raise BlockError(
                f"{self.name}: it is appended to and has {self._n_appended} rows; a region up to row "
                f"{origin[0] + shape[0]} is behind them: use either append or regions for new rows",
                n_rows=self._n_appended,
            )
        self._hand_over(self._writer.elements(whole, self.session.place), origin)

    @_writing
    def write_direct_chunk(self, offsets: Sequence[int], data: Buffer, filter_mask: int = 0) -> None:
        """Write one chunk that has been through the filters already (h5py's method of this name).

        Parameters
        ----------
        offsets
            First element of the chunk, multiples of the chunk shape.
        data
            Bytes as they are to be stored.
        filter_mask
            Bit i set: filter i of the pipeline was skipped.

        Raises
        ------
        BlockError
            Offsets outside the grid or not on it, a size that cannot be right (an unfiltered chunk
            has exactly the chunk's bytes), or a mask of filters that the dataset does not have.
        StateError
            The file is closed.
        """
        shape = self._chunked_shape("write a chunk of")
        if self.chunks is None:
            raise BlockError(
                f"{self.name} is stored whole and has no chunks; create it with chunks=True or a shape"
            )
        chunks, grid = self._writer.grid.chunks, self._writer.grid
        where = f"{self.name}: the chunk at {offsets}"
        try:
            offsets = tuple(map(operator.index, offsets))
            filter_mask = operator.index(filter_mask)
            piece = memoryview(cast("bytes", data)).cast("B")
        except TypeError as error:
            raise BlockError(
                f"{where} needs a tuple of ints, contiguous bytes and an int as filter mask: {error}"
            ) from error
        if len(offsets) != len(shape) or any(o % c for o, c in zip(offsets, chunks, strict=False)):
            raise BlockError(f"{where} is not on the grid of chunks {chunks}", offsets=offsets, chunks=chunks)
        if any(o < 0 or (n is not None and o >= n) for o, n in zip(offsets, shape, strict=True)):
            raise BlockError(f"{where} is outside the dataset {shape}", offsets=offsets, shape=shape)
        self._check_length(offsets[0] + 1)
        self._writer.check_encoded(where, piece.nbytes, filter_mask)
        box = tuple((o // c, o // c + 1) for o, c in zip(offsets, chunks, strict=True))

        def run() -> None:
            masks = np.array([filter_mask], np.uint32) if filter_mask else None
            self.record(self._write_encoded(EncodedChunks(grid.numbers(box), [piece], masks)))

        self.session.run(Job(run, piece.nbytes, self, box))
        if shape[0] is None:
            bound = (self._node.spec.maxshape or (None,))[0]
            self.session.extend(self._node, min(offsets[0] + chunks[0], bound or 2**64))

    @_writing
    def write_block(self, block: Any, origin: tuple[int, ...]) -> ChunkRecords:
        """Encode and write a block in the calling thread; return its records, which `record` enters.

        For sources that bring their own threads. It changes nothing that another call sees but the
        end of the file.

        Parameters
        ----------
        block
            Array-like of whole chunks.
        origin
            Its first element.
        """
        values = self._as_block(block)
        self._writer.check(values, origin)
        elements = self._writer.elements(values, self.session.place)
        parts = [self._write(raw) for raw in self._writer.split(elements, origin, self.session.place)]
        return np.concatenate(parts) if parts else np.zeros(0, RECORD)

    @_writing
    def write_encoded(self, encoded: EncodedChunks) -> ChunkRecords:
        """Write chunks that have been through the filters; they are trusted. As `write_block` otherwise."""
        return self._write_encoded(encoded)

    def is_stored(self, origin: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        """Whether every chunk of a block is stored: after a resume, the block need not come again.

        Parameters
        ----------
        origin, shape
            First element and shape of the block, as for `store`.

        Raises
        ------
        BlockError
            The block leaves the dataset.
        """
        extents = self._writer.grid.shape
        if self._node.spec.chunks is None:
            return False
        stops = [o + n for o, n in zip(origin, shape, strict=True)]
        if len(stops) != len(extents) or any(
            o < 0 or n < 0 or (extent is not None and stop > extent)
            for o, n, stop, extent in zip(origin, shape, stops, extents, strict=True)
        ):
            raise BlockError(
                f"{self.name}: a block of shape {shape} at {origin} leaves the dataset {extents}",
                block_shape=shape,
                origin=origin,
            )
        grid = self._writer.grid
        return bool(self.are_stored(grid.numbers(grid.covering(origin, shape))).all())

    def are_stored(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which chunks are stored, by their numbers."""
        return self._node.table.are_written(numbers)

    def record(self, records: ChunkRecords) -> None:
        """Enter chunks that `store` has written."""
        self.session.record(self._node, records)

    def _as_block(self, value: Any) -> np.ndarray[Any, Any]:
        self._writer.chain.check_encodes()
        if self.dtype.subdtype is not None:
            return as_arrays(value, self.dtype, path=self.name)
        return as_block(value, self.dtype, path=self.name, fillvalue=self._node.spec.fillvalue)

    def _chunked_shape(self, verb: str) -> tuple[int | None, ...]:
        shape = self._node.spec.shape
        if not shape:
            raise BlockError(
                f"cannot {verb} {self.name}: it has no dimensions; set its value with dataset[()] = ..."
            )
        return shape

    def _check_length(self, stop: int) -> None:
        """Refuse rows past the length up to which the dataset may grow, or more chunks than there can be."""
        bounds = self._node.spec.maxshape
        if bounds is not None and bounds[0] is not None and stop > bounds[0]:
            raise BlockError(
                f"{self.name}: {stop:,} rows pass its maxshape {bounds}; give None or more there",
                maxshape=bounds,
            )
        if stop > self._max_rows:
            raise LimitError(
                f"{self.name}: {stop:,} rows in chunks {self.chunks} make more chunks than there can be: "
                f"{MAX_CHUNKS:,} are the most; use larger chunks",
                n_rows=stop,
            )

    def _check_only_appended(self) -> None:
        """Refuse to append where regions were written: both would say where the dataset ends."""
        if (self._node.spec.shape or (0,))[0] is None and self._node.n_rows > self._n_appended:
            raise BlockError(
                f"{self.name}: regions of it were written up to row {self._node.n_rows}, so that nothing can be "
                "appended; use either append or regions for a dataset of unknown length",
                n_rows=self._node.n_rows,
            )

    def _append(self, block: np.ndarray[Any, Any]) -> None:
        """Store the whole chunks of what is pending and `block`; keep the rest."""
        n_chunk_rows = self._writer.grid.chunks[0]
        if not self._is_appended:
            self._check_only_appended()
            self.session.log_rows(self._number, 0)
            self._is_appended = True
        while len(block):
            n_pending = self._n_appended % n_chunk_rows
            origin = (self._n_appended - n_pending,) + (0,) * (self.ndim - 1)
            if n_pending == 0 and len(block) >= n_chunk_rows:
                n = len(block) // n_chunk_rows * n_chunk_rows
                self._hand_over(block[:n], origin)
            else:
                n = min(len(block), n_chunk_rows - n_pending)
                if self._pending is None:
                    self._pending = np.empty((n_chunk_rows, *block.shape[1:]), block.dtype)
                self._pending[n_pending : n_pending + n] = block[:n]
                if n_pending + n == n_chunk_rows:
                    self._hand_over(self._pending, origin)
            self._n_appended += n
            block = block[n:]

    def _flush(self, *, is_interrupted: bool) -> None:
        """Store the rows that fill no whole chunk; the rest of the chunk is the fill value."""
        if self._node.spec.chunks is None:
            return
        self._flush_rows()
        if is_interrupted:
            return
        if not self._writes_empty or self._node.spec.is_early:
            self.session.wait()
        if self._skipped:
            skipped = np.unique(np.concatenate(self._skipped))
            self._node.n_empty = int(np.count_nonzero(~self.are_stored(skipped)))
        if self._node.spec.is_early:
            self._writer.fill_missing(self._node, self.session.place)

    def _flush_rows(self) -> None:
        self.session.extend(self._node, self._n_appended)
        n_pending = self._n_appended % self._writer.grid.chunks[0]
        if self._pending is None or not n_pending:
            return
        self.session.log_rows(self._number, self._n_appended)
        origin = (self._n_appended - n_pending,) + (0,) * (self.ndim - 1)
        self._hand_over(self._pending[:n_pending], origin)

    def _hand_over(self, elements: np.ndarray[Any, Any], origin: tuple[int, ...]) -> None:
        """Hand a block of stored elements to the threads, batch by batch; each job owns its memory."""
        if self._node.spec.shape and self._node.spec.shape[0] is None:
            self.session.extend(self._node, origin[0] + len(elements))
        # without filters there is nothing to compute: a thread would only cost a copy
        is_filtered = bool(self._writer.chain.filters)
        for raw in self._writer.split(elements, origin, self.session.place):
            rows = raw.rows
            if is_filtered and np.may_share_memory(rows, elements):
                rows = rows.copy()
            job = Job(partial(self._write_and_record, RawChunks(raw.box, rows)), rows.nbytes, self, raw.box)
            if is_filtered:
                self.session.submit(job)
            else:
                self.session.run(job)

    def _write_and_record(self, raw: RawChunks) -> None:
        self.record(self._write(raw))

    def _write(self, raw: RawChunks) -> ChunkRecords:
        """Encode and write a batch, but for the chunks that are left out because they are empty."""
        if self._writes_empty:
            return self._write_encoded(self._writer.encode(raw))
        numbers = self._writer.grid.numbers(raw.box)
        # an empty chunk that was written before is written again, or the earlier one would show
        skipped = self._writer.are_empty(raw.rows) & ~self.are_stored(numbers)
        if skipped.any():
            self._skipped.append(numbers[skipped])  # without the lock, which `append` holds while it waits
        if skipped.all():
            return np.zeros(0, RECORD)
        return self._write_encoded(self._writer.encode(raw, ~skipped))

    def _write_encoded(self, encoded: EncodedChunks) -> ChunkRecords:
        """Write encoded chunks and enter them in the journal, which never names what is not written."""
        records = self._writer.write(encoded, self.session.place)
        self.session.claim(self._number, records, encoded.buffers)
        return records

    def _set_value(self, region: Any, value: Any) -> None:
        """Set data without chunks, or a part of it; it is kept until the file is closed."""
        if self._node.shape is None:
            raise BlockError(f"{self.name} has a null dataspace: it holds no value")
        block = self._as_block(value)
        with self._lock:
            self.session.set_value(self._number, self._node, region, block)
