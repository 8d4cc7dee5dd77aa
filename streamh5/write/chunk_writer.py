"""From blocks to stored chunks: split, filter, reserve, write.

`ChunkStore.store` is the way of every block, whoever calls it: a dask worker in its own thread, or
`streamh5.write.pool.Pool` for blocks that a person hands over. It touches no shared state but the address reservation
and returns what it stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.engine.attribute_heap import MAX_COLLECTION_NBYTES
from streamh5.errors import BlockError, DatatypeError
from streamh5.format.elements import encode_elements, heap_pointers_of, padding_of
from streamh5.format.global_heap import (
    GlobalHeapCollection,
    encode_global_heap_collection,
    split_into_collections,
)
from streamh5.model.chunk_records import MAX_STORED_NBYTES, RECORD, chunk_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from streamh5.filters import Buffer, FilterChain
    from streamh5.format.elements import ObjectPlacer
    from streamh5.model.chunk_grid import Box, ChunkGrid
    from streamh5.model.chunk_records import ChunkRecords

__all__ = ["BATCH_NBYTES", "ChunkStore", "chunk_rows", "place_objects"]

BATCH_NBYTES = 4 << 20
"""Raw bytes that are split and filtered at once, then written with one call. Large enough that the
cost of a batch vanishes beside 256 chunks of 16 KiB, small enough to stay in the cache and to bound
what a thread holds (tests/benchmarks, works b, c and h)."""


N_FILLED_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class ChunkStore:
    """All that is needed to store blocks of one dataset.

    Parameters
    ----------
    path
        Name of the dataset, for messages.
    grid
        Its chunk grid.
    dtype
        Element type of blocks.
    fill
        ``()`` array of the stored dtype: what pads the chunks at the edge.
    chain
        Its filters.
    reserve
        Reserve bytes, return their address.
    write
        Write buffers one after the other at an address.
    claim
        Enter stored chunks and their buffers in the journal.
    place_objects
        Put objects into the global heap; None for elements that have nothing there.
    make_fill
        Gives the bytes of so many elements of a fill value that has something in the global heap, which is put there;
        None for `fill`.
    region_address
        Where chunk 0 lies when chunk k lies at k times its size (Implicit index); None otherwise.
    skip_empty
        Says of chunk numbers which may be left out when they hold nothing but the fill value; None to
        write every chunk.
    """

    path: str
    grid: ChunkGrid
    dtype: np.dtype[Any]
    fill: np.ndarray[Any, Any]
    chain: FilterChain
    reserve: Callable[[int], int]
    write: Callable[[int, Sequence[Buffer]], None]
    claim: Callable[[ChunkRecords, Sequence[Buffer]], None]
    place_objects: ObjectPlacer | None = None
    make_fill: Callable[[int], bytes] | None = None
    region_address: int | None = None
    skip_empty: Callable[[NDArray[np.uint64], NDArray[np.bool_]], NDArray[np.bool_]] | None = None

    def store(self, block: NDArray[Any], origin: tuple[int, ...]) -> ChunkRecords:
        """Filter and write the chunks of a block.

        Parameters
        ----------
        block
            Part of the dataset, of its dtype. Its extent along each dimension is a multiple of the
            chunk's, or ends where the dataset ends.
        origin
            Its first element, on a chunk boundary.

        Returns
        -------
        ndarray, ``(n_chunks,)`` of `RECORD`
        """
        self.check(block, origin)
        block = self.stored(block)
        parts = [self.store_rows(*self.rows(block, origin, box)) for box in self.boxes(block)]
        return np.concatenate(parts) if parts else np.zeros(0, RECORD)

    def stored(self, block: NDArray[Any]) -> NDArray[Any]:
        """Elements as the file stores them; strings and sequences go to the global heap."""
        if self.place_objects is None:
            return block
        try:
            data = encode_elements(block.reshape(-1), self.dtype, place_objects=self.place_objects)
        except DatatypeError as error:
            raise DatatypeError(f"{self.path}: {error}", path=self.path) from error
        return np.frombuffer(data, self.fill.dtype).reshape(block.shape)

    def filled(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return stored elements of the fill value.

        Each has an object of its own in the global heap: a reader that writes one of them frees its object.
        """
        if self.make_fill is None:
            return np.broadcast_to(self.fill, shape)
        return np.frombuffer(self.make_fill(math.prod(shape)), self.fill.dtype).reshape(shape)

    def boxes(self, block: NDArray[Any]) -> Iterator[Box]:
        """Cut a block into boxes of chunk coords, relative to it, of about `BATCH_NBYTES` each."""
        counts = tuple(-(-n // c) for n, c in zip(block.shape, self.grid.chunks, strict=True))
        if 0 not in counts:
            yield from self.grid.batches(counts, max(1, BATCH_NBYTES // self.chain.chunk_nbytes))

    def rows(self, block: NDArray[Any], origin: tuple[int, ...], box: Box) -> tuple[NDArray[np.uint8], Box]:
        """Chunks of one box as rows (see `chunk_rows`), and the box in coords of the grid."""
        first = tuple(o // c for o, c in zip(origin, self.grid.chunks, strict=True))
        absolute = tuple((f + a, f + b) for f, (a, b) in zip(first, box, strict=True))
        return chunk_rows(block, self.grid.chunks, box, self.filled), absolute

    def store_rows(self, rows: NDArray[np.uint8], box: Box) -> ChunkRecords:
        """Filter chunks, reserve one address range, write it with one call.

        Parameters
        ----------
        rows
            ``(n_chunks, chunk_nbytes)`` uint8, in row-major order of `box`.
        box
            Their coords in the grid.
        """
        numbers = self.grid.numbers(box)
        if self.skip_empty is not None:
            kept = ~self.skip_empty(numbers, self._is_empty(rows))
            rows, numbers = rows[kept], numbers[kept]
            if not len(rows):
                return np.zeros(0, RECORD)
        encoded = self.chain.encode_rows(rows)
        return self.store_encoded(numbers, encoded.buffers, encoded.filter_masks)

    def store_encoded(
        self,
        numbers: NDArray[np.uint64],
        buffers: Sequence[Buffer],
        filter_masks: NDArray[np.uint32] | None = None,
    ) -> ChunkRecords:
        """Write chunks that have been through the filters: one address range, one call.

        Chunks of an Implicit index go to their places.

        Parameters
        ----------
        numbers
            ``(n,)`` uint64 chunk numbers.
        buffers
            Their stored bytes, one buffer each.
        filter_masks
            ``(n,)`` uint32 masks of skipped filters; None for all zero.
        """
        stored_nbytes = np.fromiter(map(len, buffers), np.uint64, len(buffers))
        address = (
            self.reserve(int(stored_nbytes.sum())) if self.region_address is None else self.region_address
        )
        records = chunk_records(numbers, address, stored_nbytes, filter_masks)
        if self.region_address is None:
            self.write(address, buffers)
        else:
            records["address"] = np.uint64(address) + numbers * np.uint64(self.chain.chunk_nbytes)
            for place, buffer in zip(records["address"].tolist(), buffers, strict=True):
                self.write(place, [buffer])
        self.claim(records, buffers)
        return records

    def fill_places(
        self,
        counts: tuple[int, ...],
        are_stored: Callable[[NDArray[np.uint64]], NDArray[np.bool_]],
    ) -> None:
        """Write the fill value into places of an Implicit index, which knows no missing chunks.

        Parameters
        ----------
        counts
            Chunks along each dimension.
        are_stored
            Says of chunk numbers which need none.
        """
        shape = (self.chain.chunk_nbytes // self.fill.itemsize,)
        row = np.ascontiguousarray(self.filled(shape))
        for box in self.grid.batches(counts, N_FILLED_AT_ONCE):
            numbers = self.grid.numbers(box)
            for number in numbers[~are_stored(numbers)].tolist():
                if self.make_fill is not None:
                    row = self.filled(shape)
                self.write((self.region_address or 0) + number * row.nbytes, [row.view(np.uint8)])

    def _is_empty(self, rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which chunks hold nothing but the fill value."""
        fill = np.frombuffer(self.fill.tobytes(), np.uint8)
        elements = rows.reshape(len(rows), -1, len(fill))
        if self.place_objects is not None and self.make_fill is None:  # empty text has an object too
            elements = np.where(heap_pointers_of(self.dtype), np.uint8(0), elements)
        return np.asarray((elements == fill).all(axis=(1, 2)))

    def check(self, block: NDArray[Any], origin: tuple[int, ...]) -> None:
        """Refuse a block that does not fill whole chunks of the grid.

        Raises
        ------
        BlockError
            Wrong rank, misaligned, or past the end of the dataset.
        """
        shape = self.grid.shape
        where = f"{self.path}: a block of shape {block.shape} at {origin}"
        facts: dict[str, Any] = {"block_shape": block.shape, "origin": origin, "chunks": self.grid.chunks}
        if block.ndim != len(shape) or len(origin) != len(shape):
            raise BlockError(f"{where} does not have the {len(shape)} dimensions of the dataset", **facts)
        for axis, (o, n, c, extent) in enumerate(
            zip(origin, block.shape, self.grid.chunks, shape, strict=True)
        ):
            stop = o + n
            if o < 0 or (extent is not None and stop > extent):
                raise BlockError(f"{where} leaves the dataset {shape} in dimension {axis}", **facts)
            if o % c or (stop % c and stop != extent):
                raise BlockError(
                    f"{where} does not fill whole chunks {self.grid.chunks} in dimension {axis}: "
                    f"it must begin on a multiple of {c} and end on one or at the end of the dataset",
                    **facts,
                )

    def check_stored(self, where: str, stored_nbytes: int, filter_mask: int) -> None:
        """Refuse a chunk that cannot be right, filtered as its mask says.

        Raises
        ------
        BlockError
            A mask of filters that the dataset does not have, or a size that cannot be right.
        """
        n_filters, nbytes = len(self.chain.filters), self.chain.chunk_nbytes
        facts: dict[str, Any] = {"stored_nbytes": stored_nbytes, "filter_mask": filter_mask}
        if not 0 <= filter_mask < 1 << n_filters:
            raise BlockError(
                f"{where}: filter mask {filter_mask:#x} names a filter beyond the {n_filters} there are",
                **facts,
            )
        if filter_mask == (1 << n_filters) - 1 and stored_nbytes != nbytes:
            raise BlockError(
                f"{where}: an unfiltered chunk has {nbytes:,} bytes, not {stored_nbytes:,}", **facts
            )
        if not 0 < stored_nbytes <= MAX_STORED_NBYTES:
            raise BlockError(
                f"{where}: a stored chunk has 1 to {MAX_STORED_NBYTES:,} bytes, not {stored_nbytes:,}",
                **facts,
            )


def place_objects(
    objects: Sequence[bytes], *, reserve: Callable[[int], int], write: Callable[[int, Sequence[Buffer]], None]
) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Write objects to global heap collections of their own; return the address and index of each."""
    sizes = [len(data) for data in objects]
    addresses, indices = np.zeros(len(objects), np.uint64), np.zeros(len(objects), np.uint32)
    for part in split_into_collections(sizes, MAX_COLLECTION_NBYTES):
        collection = encode_global_heap_collection(GlobalHeapCollection(tuple(objects[part])))
        address = reserve(len(collection))
        write(address, [collection])
        addresses[part] = address
        indices[part] = np.arange(1, part.stop - part.start + 1)
    return addresses, indices


def chunk_rows(
    block: NDArray[Any], chunks: tuple[int, ...], box: Box, filled: Callable[[tuple[int, ...]], NDArray[Any]]
) -> NDArray[np.uint8]:
    """Chunks of a block as rows of bytes, through one strided view.

    Parameters
    ----------
    block
        Array whose first element is the origin of a chunk.
    chunks
        Chunk shape.
    box
        Ranges of chunk coords in the block.
    filled
        Returns elements of the fill value, which pad chunks that pass the end of the block.

    Returns
    -------
    ndarray, ``(n_chunks, chunk_nbytes)`` uint8
        C-contiguous. A view of `block` where the chunks lie in it one after the other, else a copy.
        Bytes that no field of a structured dtype covers are zero.
    """
    part = block[tuple(slice(a * c, b * c) for (a, b), c in zip(box, chunks, strict=True))]
    counts = tuple(b - a for a, b in box)
    whole = tuple(n * c for n, c in zip(counts, chunks, strict=True))
    if part.shape != whole:
        padded = np.empty(whole, part.dtype)
        for axis, n in enumerate(
            part.shape
        ):  # what is outside along this axis, and inside along those before
            outside = padded[(*map(slice, part.shape[:axis]), slice(n, None))]
            outside[...] = filled(outside.shape)
        padded[tuple(map(slice, part.shape))] = part
        part = padded
    split = part.reshape([n for pair in zip(counts, chunks, strict=True) for n in pair])
    rank = len(chunks)
    ordered = split.transpose(*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))
    rows = np.ascontiguousarray(ordered).reshape(math.prod(counts), -1).view(np.uint8)
    padding = padding_of(block.dtype)
    if padding is not None:
        rows = rows.copy()
        rows.reshape(-1, len(padding))[:, padding] = 0
    return rows
