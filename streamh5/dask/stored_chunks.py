"""Copy stored chunks of another format into a dataset, block by block, unchanged where possible.

A `ChunkReader` returns the stored bytes of each chunk; `Accept` checks them and returns the bytes to store in
HDF5, or None for a chunk that has to be decoded and encoded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np

from streamh5.errors import SourceError
from streamh5.model.chunk_records import RECORD
from streamh5.write.chunk_writer import EncodedChunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from streamh5.filters import Buffer
    from streamh5.model.chunk_grid import ChunkGrid
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.write.place import Place

    Accept = Callable[[Buffer], Buffer | None]
    Region = tuple[slice, ...]
    CopyBlock = Callable[["BlockWriter", tuple[int, ...], tuple[int, ...]], tuple[ChunkRecords, "CopyCounts"]]

BLOCK_NBYTES = 16 << 20
"""Raw bytes of the chunks that one task reads and writes together: a task costs about 0.2 ms, and a worker
holds one block (tests/benchmarks/zarr_copy.py)."""

MAX_BLOCK_NBYTES = 2 * BLOCK_NBYTES
"""Raw bytes of a block that holds whole chunks of source and dataset. Each thread of the file holds one; larger blocks,
of one large chunk, share the file's memory budget."""

MAX_N_BLOCKS = 10_000_000
"""Blocks of one array: 160 TiB; dask holds 1.3 KiB for each."""


class StoredBatch(NamedTuple):
    """Some of the chunks that a `ChunkReader` was asked for, read together.

    Attributes
    ----------
    part
        Which of them: a range, or ``(n,)`` indexes.
    stored
        The stored bytes of each, None for one that is missing.
    filter_masks
        ``(n,) uint32``: bit i set where a chunk skipped filter i; None where none did.
    memory
        All of `stored`, one after the other, where they are parts of one piece of memory; otherwise None.
    """

    part: slice | NDArray[np.intp]
    stored: Sequence[Buffer | None]
    filter_masks: NDArray[np.uint32] | None = None
    memory: Buffer | None = None


class ChunkReader(Protocol):
    """Reads stored chunks; thread-safe."""

    def read(self, coords: NDArray[np.intp]) -> Iterator[StoredBatch]:
        """Read chunks in batches, each of which may use the memory of the one before.

        Parameters
        ----------
        coords
            ``(n, rank)`` coords of the chunks in the grid.
        """


class BlockWriter(Protocol):
    """Stores blocks of one dataset; thread-safe: a `Dataset`, or what stands for it in another process."""

    @property
    def place(self) -> Place:
        """Where objects of variable length go."""

    def are_stored(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of the chunks with these numbers an interrupted write has stored."""

    def write_encoded(self, encoded: EncodedChunks) -> ChunkRecords:
        """Write filtered chunks."""

    def write_block(self, block: Any, origin: tuple[int, ...]) -> ChunkRecords:
        """Encode and write a block of whole chunks."""


@dataclass(frozen=True, slots=True)
class CopyCounts:
    """What became of the chunks of a block, or of several blocks together.

    Parameters
    ----------
    n_copied, n_encoded
        Chunks that were copied, and those that could not be copied: they were decoded and encoded.
    n_skipped
        Regions that could not be read: the fill value stands in for them.
    problem
        Why the first of them could not.
    n_resumed
        Chunks that an interrupted write had stored.
    """

    n_copied: int = 0
    n_encoded: int = 0
    n_skipped: int = 0
    problem: str = ""
    n_resumed: int = 0

    def __add__(self, other: CopyCounts) -> CopyCounts:
        return CopyCounts(
            self.n_copied + other.n_copied,
            self.n_encoded + other.n_encoded,
            self.n_skipped + other.n_skipped,
            self.problem or other.problem,
            self.n_resumed + other.n_resumed,
        )


@dataclass(frozen=True, slots=True)
class Regions:
    """Reads regions of an array.

    Parameters
    ----------
    read
        Returns the values of a region.
    substitute
        Returns values for a region that cannot be read; None where that is an error.
    at
        Returns what reads the regions for a place; None where elements have no objects of variable length.
    kept_nbytes
        Bytes of the chunks, of which `read` needed a part only, that it keeps in memory for other regions.
    """

    read: Callable[[Region], Any]
    substitute: Callable[[Region], Any] | None = None
    at: Callable[[Place], Regions] | None = None
    kept_nbytes: int = 0

    @property
    def are_read_where_stored(self) -> bool:
        """Whether a region must be read by the task that stores it, not by another one, maybe in another process."""
        return self.substitute is not None or self.at is not None

    def write(
        self, writer: BlockWriter, region: Region, chunks: Sequence[Region] | None = None
    ) -> tuple[ChunkRecords, CopyCounts]:
        """Read, encode and write a region of whole chunks, or only some chunks of it, given as regions."""
        found = self if self.at is None else self.at(writer.place)
        counts = CopyCounts()
        try:
            block = found.read(region)
        except SourceError as error:
            if found.substitute is None:
                raise
            block, counts = found.substitute(region), CopyCounts(n_skipped=1, problem=str(error))
        if chunks is None:
            return writer.write_block(block, tuple(part.start for part in region)), counts
        inside = [tuple(map(_shifted, one, region)) for one in chunks]
        parts = [
            writer.write_block(block[a], tuple(p.start for p in b))
            for a, b in zip(inside, chunks, strict=True)
        ]
        return np.concatenate(parts), counts


@dataclass(frozen=True, slots=True)
class ChunkCopy:
    """Copies the stored chunks of one array; called by the tasks of a write, maybe in other processes.

    Parameters
    ----------
    reader
        Returns the stored bytes.
    accept
        Returns the bytes to store for those that were read, or None where they cannot be copied. None where every
        chunk is stored as it is.
    decoded
        Reads regions of the array, for chunks that are not accepted.
    grid
        The grid of the dataset.
    listed
        ``(n, rank)`` coords of the existing chunks, of which a block is a range (see `listed_blocks`);
        None where a block is a part of the array.
    """

    reader: ChunkReader
    accept: Accept | None
    decoded: Regions
    grid: ChunkGrid
    listed: NDArray[np.intp] | None = None

    def __call__(
        self, writer: BlockWriter, origin: tuple[int, ...], shape: tuple[int, ...]
    ) -> tuple[ChunkRecords, CopyCounts]:
        """Copy the chunks of a block; those that an interrupted write has stored are kept."""
        grid = self.grid
        if self.listed is not None:
            coords = listed_coords(self.listed, grid, origin, shape)
            numbers = grid.locate(coords.T)[0].view(np.uint64)
        else:
            numbers = grid.numbers(grid.covering(origin, shape))
            coords = np.stack(grid.coords_of(numbers), axis=1)
        is_new = ~writer.are_stored(numbers)
        if not is_new.all():
            numbers, coords = numbers[is_new], coords[is_new]
        parts, counts = [np.zeros(0, RECORD)], CopyCounts()
        for batch in self.reader.read(coords):
            records, more = self._write(writer, numbers[batch.part], coords[batch.part], batch)
            parts.append(records)
            counts += more
        return np.concatenate(parts), counts

    def _write(
        self, writer: BlockWriter, numbers: NDArray[np.uint64], coords: NDArray[np.intp], batch: StoredBatch
    ) -> tuple[ChunkRecords, CopyCounts]:
        """Write the chunks of a batch, with these numbers and coords."""
        stored, masks = batch.stored, batch.filter_masks
        if self.accept is None:
            buffers = cast("Sequence[Buffer]", stored)
            encoded = EncodedChunks(numbers, buffers, masks, batch.memory)
            return writer.write_encoded(encoded), CopyCounts(len(numbers))
        accepted = [None if data is None else self.accept(data) for data in stored]
        kept = [i for i, data in enumerate(accepted) if data is not None]
        refused = [i for i, data in enumerate(stored) if data is not None and accepted[i] is None]
        regions = [self.grid.region(one) for one in coords[refused]]
        records, counts = _write_each(writer, self.decoded, regions)
        if kept:
            buffers = [data for data in accepted if data is not None]
            encoded = EncodedChunks(numbers[kept], buffers, None if masks is None else masks[kept])
            records = np.concatenate([writer.write_encoded(encoded), records])
        return records, counts + CopyCounts(len(kept), len(refused))


@dataclass(frozen=True, slots=True)
class BlockEncoding:
    """Reads and encodes the blocks of one array; called by the tasks of a write, maybe in other processes.

    Parameters
    ----------
    regions
        Reads the array.
    grid
        The grid of the dataset.
    listed
        ``(n, rank)`` coords of the chunks to encode, of which a block is a range (see `listed_blocks`), while the
        others are left out; None where a block is a part of the array.
    """

    regions: Regions
    grid: ChunkGrid
    listed: NDArray[np.intp] | None = None

    def __call__(
        self, writer: BlockWriter, origin: tuple[int, ...], shape: tuple[int, ...]
    ) -> tuple[ChunkRecords, CopyCounts]:
        """Read, encode and write the chunks of a block; those that an interrupted write has stored are kept."""
        grid = self.grid
        if self.listed is None:
            numbers = grid.numbers(grid.covering(origin, shape))
            is_new = ~writer.are_stored(numbers)
            if is_new.all():
                return self.regions.write(writer, tuple(map(_slice, origin, shape)))
            coords = np.stack(grid.coords_of(numbers[is_new]), axis=1)
            if len(coords) and not self.regions.kept_nbytes:
                # at once: the source may have larger chunks, which would be decoded for each of these
                chunks = [grid.region(one) for one in coords]
                return self.regions.write(writer, tuple(map(_hull, *chunks)), chunks)
        else:
            coords = listed_coords(self.listed, grid, origin, shape)
            coords = coords[~writer.are_stored(grid.locate(coords.T)[0].view(np.uint64))]
        # one by one: these chunks need not be adjacent
        return _write_each(writer, self.regions, [grid.region(one) for one in coords])


def _shifted(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


def _hull(*parts: slice) -> slice:
    return slice(min(one.start for one in parts), max(one.stop for one in parts))


def _slice(start: int, extent: int) -> slice:
    return slice(start, start + extent)


def _write_each(
    writer: BlockWriter, regions: Regions, chunks: Sequence[Region]
) -> tuple[ChunkRecords, CopyCounts]:
    """Read, encode and write some chunks, given as regions."""
    parts, counts = [np.zeros(0, RECORD)], CopyCounts()
    for one in chunks:
        records, more = regions.write(writer, one)
        parts.append(records)
        counts += more
    return np.concatenate(parts), counts


def listed_coords(
    listed: NDArray[np.intp], grid: ChunkGrid, origin: tuple[int, ...], shape: tuple[int, ...]
) -> NDArray[np.intp]:
    """Coords of the chunks of a block of a `listed_blocks`."""
    n_elements = math.prod(grid.chunks)
    return listed[origin[0] // n_elements : (origin[0] + shape[0]) // n_elements]


@dataclass(frozen=True, slots=True)
class HollowBlocks:
    """Blocks of an array without data: they only tell their places.

    Parameters
    ----------
    shape, block
        Shape of the array, and of a block; those at its ends may be smaller.
    dtype
        Its dtype.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Size in bytes that the array would have."""
        return math.prod(self.shape) * self.dtype.itemsize

    def places(self) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Yield origin and shape of each block."""
        counts = tuple(-(-n // max(1, c)) for n, c in zip(self.shape, self.block, strict=True))
        for block_id in np.ndindex(*counts):
            origin = tuple(i * c for i, c in zip(block_id, self.block, strict=True))
            yield origin, tuple(min(c, n - o) for o, c, n in zip(origin, self.block, self.shape, strict=True))


def check_n_blocks(path: str, shape: tuple[int, ...], block: tuple[int, ...]) -> None:
    """Refuse an array of more than `MAX_N_BLOCKS`: its shape is damaged, or sparse data is to be decoded as a whole.

    Raises
    ------
    SourceError
        The message names the dataset.
    """
    if _n_blocks(shape, block) > MAX_N_BLOCKS:
        raise too_many_blocks(path, shape, block)


def too_many_blocks(path: str, shape: tuple[int, ...], block: tuple[int, ...]) -> SourceError:
    """Return the error for an array of more blocks than there is memory for."""
    return SourceError(
        f"{path}: shape {shape} makes {_n_blocks(shape, block):,} blocks, more than can be listed ({MAX_N_BLOCKS:,}, "
        "or fewer with little memory); if it is right, write the parts that hold data with streamh5.File",
        path=path,
    )


def _n_blocks(shape: tuple[int, ...], block: tuple[int, ...]) -> int:
    return math.prod(-(-n // max(1, c)) for n, c in zip(shape, block, strict=True))


def listed_blocks(
    n_chunks: int, chunks: tuple[int, ...], dtype: np.dtype[Any], itemsize: int | None = None
) -> HollowBlocks:
    """Return blocks that are ranges of `n_chunks` listed chunks; `itemsize` as for `block_shape`, if not of `dtype`.

    They have one dimension, over the elements of one chunk after the other: so a dataset with few chunks in a huge
    grid needs few tasks.
    """
    n_elements = math.prod(chunks)
    block = block_shape((n_chunks * n_elements,), (n_elements,), itemsize or dtype.itemsize)
    return HollowBlocks((n_chunks * n_elements,), block, dtype)


def block_shape(shape: tuple[int, ...], unit: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Shape of a block of whole units, of about `BLOCK_NBYTES` or one unit.

    Parameters
    ----------
    shape
        Shape of the array.
    unit
        Shape of what is read in one call.
    itemsize
        Bytes of an element.
    """
    block = list(unit)
    for axis in reversed(range(len(block))):
        room = max(1, BLOCK_NBYTES // max(1, math.prod(block) * itemsize))
        block[axis] *= min(room, max(1, -(-shape[axis] // unit[axis])))
    return tuple(block)
