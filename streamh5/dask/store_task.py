"""What runs on the workers of a cluster: a block is stored by a `PartWriter`, and records of many blocks are joined."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from streamh5.dask.stored_chunks import BlockEncoding, ChunkCopy, CopyCounts
from streamh5.errors import BlockError
from streamh5.sinks.machine import host_name
from streamh5.write.part_file import end_part, open_part, sync_part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from streamh5.dask.stored_chunks import CopyBlock
    from streamh5.filters import Buffer
    from streamh5.handles.part_writer import PartWriter
    from streamh5.model.chunk_grid import ChunkGrid
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.write.part_file import PartReport, SharedFile
    from streamh5.write.part_records import PartRecords

    BlockId = tuple[int, ...]


class BlockGrid:
    """Origins and shapes of the blocks of an array; its pickle is small where blocks have one size.

    Parameters
    ----------
    chunks
        Extents of the blocks in each dimension, as dask has them.
    origin
        Index of the first element of the array in its dataset; by default, that of the dataset.

    Attributes
    ----------
    starts
        First indexes of the blocks in each dimension, and the end of the last one.
    """

    __slots__ = ("starts",)

    def __init__(self, chunks: Iterable[Iterable[int]], origin: Iterable[int] | None = None) -> None:
        first = repeat(0) if origin is None else origin
        self.starts = [
            list(accumulate(extents, initial=start)) for extents, start in zip(chunks, first, strict=False)
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        extents = ([b - a for a, b in pairwise(one)] for one in self.starts)
        runs = [[(n, len(list(same))) for n, same in groupby(one)] for one in extents]
        return _block_grid, (runs, [one[0] for one in self.starts])

    def block(self, block_id: BlockId) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return origin and shape of a block, in the dataset."""
        starts = self.starts
        origin = tuple(starts[axis][i] for axis, i in enumerate(block_id))
        return origin, tuple(starts[axis][i + 1] - origin[axis] for axis, i in enumerate(block_id))

    def size(self, block_ids: Iterable[BlockId]) -> int:
        """Return how many elements some blocks have."""
        return sum(math.prod(self.block(one)[1]) for one in block_ids)

    def incomplete(self, chunks: tuple[int, ...], stored: Iterable[NDArray[np.intp]]) -> NDArray[np.intp]:
        """Return the numbers of the blocks, in row-major order, that have a chunk which is not stored.

        Parameters
        ----------
        chunks
            Shape of a chunk. Blocks share none.
        stored
            Coords of the stored chunks, an array for each dimension.
        """
        n_chunks: NDArray[np.int64] = np.ones((), np.int64)
        owners: Any = 0
        is_own: Any = True
        for starts, chunk, coords in zip(self.starts, chunks, stored, strict=True):
            bounds = np.array(starts, np.int64)
            along = -(-bounds[1:] // chunk) - bounds[:-1] // chunk
            along[bounds[1:] == bounds[:-1]] = 0
            n_chunks = np.multiply.outer(n_chunks, along)
            position = coords - bounds[0] // chunk
            owner = np.searchsorted(np.cumsum(along), position, "right")
            is_own &= (position >= 0) & (owner < len(along))
            owners = owners * len(along) + owner
        n_stored = np.bincount(owners[is_own], minlength=n_chunks.size)
        return np.flatnonzero(n_stored != n_chunks.ravel())

    def n_elements(self, numbers: NDArray[np.intp]) -> int:
        """Return how many elements some blocks have, given their numbers in row-major order."""
        index = np.unravel_index(numbers, tuple(len(starts) - 1 for starts in self.starts))
        extents = np.ones(len(numbers), np.int64)
        for starts, i in zip(self.starts, index, strict=True):
            extents *= np.array(starts, np.int64)[i + 1] - np.array(starts, np.int64)[i]
        return int(extents.sum())

    def checked(self, block: Any, path: str, block_id: BlockId) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return origin and shape of a block that was computed.

        Raises
        ------
        BlockError
            It has another shape.
        """
        origin, expected = self.block(block_id)
        if np.shape(block) != expected:
            raise BlockError(
                f"{path}: the block at {origin} has the shape {np.shape(block)}, the dask array says {expected}; "
                "correct the chunks of the array (map_blocks needs chunks= when the function changes shapes)",
                block_shape=np.shape(block),
                expected=expected,
            )
        return origin, expected


def missing_blocks(
    blocks: BlockGrid, grid: ChunkGrid, stored: tuple[NDArray[np.intp], ...], copy: CopyBlock | None
) -> NDArray[np.intp]:
    """Return the numbers of the blocks that have a chunk which no interrupted write has stored.

    Parameters
    ----------
    blocks
        The blocks: parts of the dataset, or of a `listed_blocks`.
    grid
        The grid of the dataset.
    stored
        Coords of its chunks that are stored, one array for each dimension.
    copy
        What stores a block: see `Target`.
    """
    listed = copy.listed if isinstance(copy, (ChunkCopy, BlockEncoding)) else None
    if listed is None:
        return blocks.incomplete(grid.chunks, stored)
    if not len(listed):
        return np.zeros(0, np.intp)
    is_new = ~np.isin(grid.locate(listed.T)[0], grid.locate(stored)[0])
    firsts = np.array(blocks.starts[0][:-1]) // math.prod(grid.chunks)
    return np.flatnonzero(np.logical_or.reduceat(is_new, firsts))


def region_of(origin: tuple[int, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the region of a block as an index."""
    return tuple(slice(o, o + n) for o, n in zip(origin, shape, strict=True))


def _block_grid(runs: list[list[tuple[int, int]]], origin: list[int]) -> BlockGrid:
    return BlockGrid(([n for extent, count in one for n in repeat(extent, count)] for one in runs), origin)


class Stored(NamedTuple):
    """Blocks of one dataset that one process has stored, and their records; a value for data without chunks.

    `counts` says what became of chunks that were copied from a source. `content` are the bytes of the chunks where
    these are to be sent to an object store: see `streamh5.dask.upload_tasks`. With `is_front`, they are only
    the first chunks of the block; the others are elsewhere.
    """

    path: str
    blocks: list[BlockId]
    part: PartRecords | None
    counts: CopyCounts
    value: Any = None
    content: Buffer = b""
    number: int | None = None
    is_front: bool = False


@dataclass(frozen=True, slots=True)
class StoreTask:
    """Stores blocks of one array on a worker; returns where their chunks lie.

    Parameters
    ----------
    path
        The dataset.
    part
        What writes to it; None for data without chunks, whose value is returned.
    blocks
        Blocks of the array.
    """

    path: str
    part: PartWriter | None
    blocks: BlockGrid

    def __call__(
        self,
        block: Any,
        copy: CopyBlock | None = None,
        stored: ChunkRecords | None = None,
        block_id: BlockId | None = None,
    ) -> list[Stored]:
        """Store one block; see `Target.copy` and `PartWriter.begin`."""
        where = block_id or ()
        origin, shape = self.blocks.checked(block, self.path, where)
        if self.part is None:
            return [Stored(self.path, [where], None, CopyCounts(), np.asanyarray(block))]
        one, counts = self.part.begin(stored), CopyCounts()
        if copy is None:
            one.write_block(block, origin)
        else:
            _, counts = copy(one, origin, shape)
        return [Stored(self.path, [where], one.result(), counts, content=one.content)]


def collect(groups: list[list[Stored]]) -> list[Stored]:
    """Join what many tasks have stored, by dataset and process: few and small messages reach the client."""
    joined: dict[Any, list[Stored]] = {}
    for one in (one for group in groups for one in group):
        key = None if one.part is None else one.part.writer
        joined.setdefault((one.path, key), []).append(one)
    return [_joined(same) for same in joined.values()]


def _joined(same: list[Stored]) -> Stored:
    parts = [one.part for one in same if one.part is not None]
    if len(same) == 1 or not parts:
        return same[0]
    whole = parts[0]._replace(
        records=np.concatenate([one.records for one in parts]),
        checksums=np.concatenate([one.checksums for one in parts]),
        skipped=np.concatenate([one.skipped for one in parts]),
        nbytes=sum(one.nbytes for one in parts),
        stop=max(one.stop for one in parts),
    )
    counts = sum((one.counts for one in same), CopyCounts())
    return Stored(same[0].path, [block for one in same for block in one.blocks], whole, counts)


# The functions below are run by the event loop of a worker; what waits for the disk runs in another thread, so that the
# worker answers meanwhile.


def answer() -> str:
    """Return the name of the machine: the worker is alive."""
    return host_name()


async def look(shared: SharedFile) -> str:
    """Open the part of this worker; return the name of the process."""
    return (await asyncio.to_thread(open_part, shared)).writer


async def sync(token: str) -> PartReport | None:
    """Make durable what this worker has written."""
    return await asyncio.to_thread(sync_part, token)


async def end(token: str, is_complete: bool) -> PartReport | None:
    """End the part of this worker: see `end_part`."""
    return await asyncio.to_thread(end_part, token, is_complete=is_complete)
