"""From blocks to stored chunks: split, encode, write, record.

::

    block ── elements ─▶ stored elements ── split ─▶ RawChunks ── encode ─▶ EncodedChunks ── write ─▶ ChunkRecords
             strings and                 about 4 MiB            numbers,                 at addresses
             sequences to                each                   buffers, masks           of a place
             the global heap

Every block takes this path, in a thread of dask or of `streamh5.write.pool.Pool`. Only `write`, and `elements` and
`split` for elements in the global heap, touch the file, through the `Place` that they are given.
`streamh5.handles.dataset_writer.DatasetWriter` then enters the written chunks in the journal and the chunk table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from streamh5.errors import BlockError, DatatypeError
from streamh5.format.elements import encode_elements, heap_pointers_of, padding_of
from streamh5.model.block_value import as_elements
from streamh5.model.chunk_records import chunk_records
from streamh5.model.parts import stored_elements
from streamh5.write.place import place_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from streamh5.filters import Buffer, FilterChain
    from streamh5.model.chunk_grid import Box
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.tree import DatasetNode
    from streamh5.write.place import Place

BATCH_NBYTES = 4 << 20
"""Raw bytes that are split, filtered and then written with one call. Large enough that the overhead of a batch
is negligible for 256 chunks of 16 KiB, small enough to stay in the cache and to bound the memory of a thread
(measured with tests/benchmarks, works b, c and h)."""


N_FILLED_AT_ONCE = 1 << 16
"""Chunks whose numbers `fill_missing` holds in memory at a time: half a MiB."""


class RawChunks(NamedTuple):
    """Chunks before the filters: ``(n, chunk_nbytes) uint8`` rows, in row-major order of a box of chunk coords."""

    box: Box
    rows: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class EncodedChunks:
    """Filtered chunks.

    Parameters
    ----------
    numbers
        ``(n,) uint64`` numbers of the chunks in the grid of the dataset.
    buffers
        Their stored bytes, one buffer each.
    filter_masks
        ``(n,) uint32``: bit i set where filter i was skipped; None for all zero.
    memory
        All of `buffers`, one after the other, where they are parts of one piece of memory; otherwise None.
    """

    numbers: NDArray[np.uint64]
    buffers: Sequence[Buffer]
    filter_masks: NDArray[np.uint32] | None = None
    memory: Buffer | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # filters return memoryviews where that saves a copy, and these cannot be pickled
        buffers = [bytes(one) for one in self.buffers]
        return EncodedChunks, (self.numbers, buffers, self.filter_masks)


def joined(parts: Sequence[EncodedChunks]) -> EncodedChunks:
    """Join encoded chunks, so that they are written with one call."""
    if len(parts) == 1:
        return parts[0]
    masks = None
    if any(one.filter_masks is not None for one in parts):
        masks = np.concatenate(
            [
                np.zeros(len(one.numbers), np.uint32) if one.filter_masks is None else one.filter_masks
                for one in parts
            ]
        )
    buffers = [buffer for one in parts for buffer in one.buffers]
    return EncodedChunks(np.concatenate([one.numbers for one in parts]), buffers, masks)


class ChunkWriter:
    """Turns blocks of one dataset into stored chunks. Immutable and thread-safe; its pickle has a few hundred bytes.

    Parameters
    ----------
    spec
        The plan of the dataset.
    chain
        Its filters.
    region_address
        Address of chunk 0 of an Implicit index, where chunk k lies k chunk sizes later; None for other indexes.
    """

    __slots__ = ("_fill", "_has_heap_elements", "chain", "grid", "region_address", "spec")

    def __init__(self, spec: DatasetSpec, chain: FilterChain, region_address: int | None = None) -> None:
        self.spec = spec
        self.chain = chain
        self.region_address = region_address
        # computed once, because `append` of single rows needs them each time
        self.grid = spec.grid
        self._fill = spec.fill_stored
        self._has_heap_elements = spec.is_encoded and not spec.has_parts

    def __reduce__(self) -> tuple[Any, ...]:
        return ChunkWriter, (self.spec, self.chain, self.region_address)

    @property
    def fill(self) -> np.ndarray[Any, Any]:
        """``()`` array of the stored dtype: the fill value, or 0 if that is in the global heap."""
        return self._fill

    def as_block(self, value: Any) -> np.ndarray[Any, Any]:
        """Return an array-like as an array of the dtype: see `streamh5.model.block_value`.

        Raises
        ------
        BlockError, FilterError
            The dtype cannot hold the values, or the filters of the dataset cannot be applied.
        """
        self.chain.check_encodes()
        return as_elements(value, self.spec)

    def elements(self, block: NDArray[Any], place: Place) -> NDArray[Any]:
        """Return elements as the file stores them; strings and sequences go to the global heap at `place`.

        Raises
        ------
        DatatypeError
            A value does not fit the dtype.
        """
        if not self._has_heap_elements:
            return block
        placer = partial(place_objects, place)
        try:
            data = encode_elements(block.reshape(-1), self.spec.dtype, place_objects=placer)
        except DatatypeError as error:
            raise DatatypeError(f"{self.spec.path}: {error}", path=self.spec.path) from error
        return np.frombuffer(data, self._fill.dtype).reshape(block.shape)

    def split(
        self, elements: NDArray[Any], origin: tuple[int, ...], place: Place | None = None
    ) -> Iterator[RawChunks]:
        """Cut a block of stored elements into chunks, in batches of about `BATCH_NBYTES`.

        Parameters
        ----------
        elements
            Elements as returned by `elements`; the fill value pads incomplete chunks.
        origin
            Index of the first element of the block, on a chunk boundary.
        place
            Where objects of the fill value go; needed only if it lies in the global heap.

        Yields
        ------
        RawChunks
            Views of the block where its chunks are contiguous.
        """
        chunks = self.grid.chunks
        counts = tuple(-(-n // c) for n, c in zip(elements.shape, chunks, strict=True))
        if 0 in counts:
            return
        first = tuple(o // c for o, c in zip(origin, chunks, strict=True))
        filled = partial(self.filled, place=place)
        for box in self.grid.batches(counts, max(1, BATCH_NBYTES // self.chain.chunk_nbytes)):
            absolute = tuple((f + a, f + b) for f, (a, b) in zip(first, box, strict=True))
            yield RawChunks(absolute, chunk_rows(elements, chunks, box, filled))

    def encode(self, raw: RawChunks, kept: NDArray[np.bool_] | None = None) -> EncodedChunks:
        """Run the filters over a batch of chunks.

        Parameters
        ----------
        raw
            The chunks.
        kept
            ``(n,)`` mask of the chunks to encode; None for all.
        """
        numbers, rows = self.grid.numbers(raw.box), raw.rows
        if kept is not None:
            numbers, rows = numbers[kept], rows[kept]
        encoded = self.chain.encode_rows(rows)
        return EncodedChunks(numbers, encoded.buffers, encoded.filter_masks)

    def write(self, encoded: EncodedChunks, place: Place) -> ChunkRecords:
        """Write encoded chunks with one call to one address range; those of an Implicit index have their own addresses.

        Returns
        -------
        ndarray, ``(n,)`` of `RECORD`
        """
        numbers, buffers = encoded.numbers, encoded.buffers
        stored_nbytes = np.fromiter(map(len, buffers), np.uint64, len(buffers))
        region = self.region_address
        address = place.reserve(sum(map(len, buffers))) if region is None else region
        records = chunk_records(numbers, address, stored_nbytes, encoded.filter_masks)
        if region is None:
            place.write(address, buffers if encoded.memory is None else [encoded.memory])
            return records
        records["address"] = np.uint64(region) + numbers * np.uint64(self.chain.chunk_nbytes)
        for chunk_address, buffer in zip(records["address"].tolist(), buffers, strict=True):
            place.write(chunk_address, [buffer])
        return records

    def fill_missing(self, dataset: DatasetNode, place: Place) -> None:
        """Write the fill value to the addresses of missing chunks, which an Implicit index cannot mark as missing."""
        shape = (self.chain.chunk_nbytes // self._fill.itemsize,)
        is_in_heap = self.spec.fill_parts is not None
        row = np.ascontiguousarray(self.filled(shape, place))
        for box in self.grid.batches(dataset.grid.present.counts, N_FILLED_AT_ONCE):
            numbers = self.grid.numbers(box)
            for number in numbers[~dataset.table.are_written(numbers)].tolist():
                if is_in_heap:  # each element needs an object of its own
                    row = self.filled(shape, place)
                place.write((self.region_address or 0) + number * row.nbytes, [row.view(np.uint8)])

    def empty(self, number: np.uint64, place: Place) -> EncodedChunks:
        """Return one chunk that holds only the fill value."""
        row = np.ascontiguousarray(self.filled((self.chain.chunk_nbytes // self._fill.itemsize,), place))
        encoded = self.chain.encode_rows(row.view(np.uint8)[np.newaxis])
        return EncodedChunks(np.array([number], np.uint64), encoded.buffers, encoded.filter_masks)

    def are_empty(self, rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which of ``(n, chunk_nbytes)`` raw chunks contain only the fill value."""
        fill = np.frombuffer(self._fill.tobytes(), np.uint8)
        elements = rows.reshape(len(rows), -1, len(fill))
        if self._has_heap_elements and self.spec.fill_parts is None:  # empty text has an object, too
            elements = np.where(heap_pointers_of(self.spec.dtype), np.uint8(0), elements)
        return np.asarray((elements == fill).all(axis=(1, 2)))

    def filled(self, shape: tuple[int, ...], place: Place | None) -> NDArray[Any]:
        """Return stored elements of the fill value.

        Each has an object of its own in the global heap, because a program that overwrites an element frees its object.
        """
        parts = self.spec.fill_parts
        if parts is None:
            return np.broadcast_to(self._fill, shape)
        if place is None:
            raise TypeError(f"{self.spec.path}: its fill value lies in the global heap, which needs a place")
        data = stored_elements(list(parts) * math.prod(shape), partial(place_objects, place))
        return np.frombuffer(data, self._fill.dtype).reshape(shape)

    def check_inside(self, block: NDArray[Any], origin: tuple[int, ...]) -> None:
        """Refuse a block that does not lie inside the dataset.

        Raises
        ------
        BlockError
            It has another rank, or exceeds the dataset.
        """
        shape = self.grid.shape
        if block.ndim != len(shape) or len(origin) != len(shape):
            where, facts = self._described(block, origin)
            raise BlockError(f"{where} does not have the {len(shape)} dimensions of the dataset", **facts)
        for axis, (o, n, extent) in enumerate(zip(origin, block.shape, shape, strict=True)):
            if o < 0 or (extent is not None and o + n > extent):
                where, facts = self._described(block, origin)
                raise BlockError(f"{where} exceeds the dataset {shape} in dimension {axis}", **facts)

    def check(self, block: NDArray[Any], origin: tuple[int, ...]) -> None:
        """Refuse a block that does not consist of whole chunks.

        Raises
        ------
        BlockError
            It has another rank, begins or ends inside a chunk, or exceeds the dataset.
        """
        self.check_inside(block, origin)
        for axis, (o, n, c, extent) in enumerate(
            zip(origin, block.shape, self.grid.chunks, self.grid.shape, strict=True)
        ):
            stop = o + n
            if o % c or (stop % c and stop != extent):
                where, facts = self._described(block, origin)
                raise BlockError(
                    f"{where} does not fill whole chunks {self.grid.chunks} in dimension {axis}: "
                    f"it must begin on a multiple of {c} and end on one or at the end of the dataset",
                    **facts,
                )

    def _described(self, block: NDArray[Any], origin: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
        where = f"{self.spec.path}: a block of shape {block.shape} at {origin}"
        return where, {"block_shape": block.shape, "origin": origin, "chunks": self.grid.chunks}


def chunk_rows(
    block: NDArray[Any], chunks: tuple[int, ...], box: Box, filled: Callable[[tuple[int, ...]], NDArray[Any]]
) -> NDArray[np.uint8]:
    """Return chunks of a block as rows of bytes, through one strided view.

    Parameters
    ----------
    block
        Array whose first element is the origin of a chunk.
    chunks
        Chunk shape.
    box
        Ranges of chunk coords in the block.
    filled
        Returns elements of the fill value, which pad chunks at the end of the block.

    Returns
    -------
    ndarray, ``(n_chunks, chunk_nbytes)`` uint8
        C-contiguous. A view of `block` if its chunks are contiguous, else a copy.
        Bytes that no field of a structured dtype covers are zero.
    """
    part = block[tuple(slice(a * c, b * c) for (a, b), c in zip(box, chunks, strict=True))]
    counts = tuple(b - a for a, b in box)
    whole = tuple(n * c for n, c in zip(counts, chunks, strict=True))
    if part.shape != whole:
        padded = np.empty(whole, part.dtype)
        for axis, n in enumerate(part.shape):
            # outside of the block along this axis, inside along the earlier ones: each element is filled once
            outside = padded[(*map(slice, part.shape[:axis]), slice(n, None))]
            outside[...] = filled(outside.shape)
        padded[tuple(map(slice, part.shape))] = part
        part = padded
    if part.shape[1:] != chunks[1:]:  # otherwise the chunks lie one after the other
        split = part.reshape([n for pair in zip(counts, chunks, strict=True) for n in pair])
        rank = len(chunks)
        part = split.transpose(*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))
    rows = np.ascontiguousarray(part).reshape(math.prod(counts), -1).view(np.uint8)
    padding = padding_of(block.dtype)
    if padding is not None:
        rows = rows.copy()
        rows.reshape(-1, len(padding))[:, padding] = 0
    return rows
