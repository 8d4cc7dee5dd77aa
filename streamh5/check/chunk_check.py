"""Every stored chunk of a file, read in the order of addresses and decoded by threads."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError, UnreadableError
from streamh5.filters.chunk_decoder import ChunkDecoder, chunk_decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

    from numpy.typing import NDArray

    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_content import StoredDataset


_BATCH_NBYTES = 8 << 20
"""Bytes of one read, unless a single chunk is larger."""

_MAX_PARALLEL_NBYTES = 128 << 20
"""Raw bytes of the largest chunk that is decoded in parallel; of larger ones, only one is in memory at a time."""

_alone = threading.Lock()

_MAX_GAP_NBYTES = 64 << 10
"""Unrelated bytes between two chunks that one read may include."""


@dataclass(frozen=True, slots=True)
class DamagedChunk:
    """A damaged chunk.

    Attributes
    ----------
    path
        Path of its dataset.
    coords, origin
        Its place in the grid of chunks, and its first element.
    address, stored_nbytes
        Where it is stored: a position in the file.
    problem
        What is wrong with it.
    """

    path: str
    coords: tuple[int, ...]
    origin: tuple[int, ...]
    address: int
    stored_nbytes: int
    problem: str


def n_threads(jobs: int | None) -> int:
    """Threads to use: `jobs`, or one for each processor that this process may use."""
    if jobs is not None:
        return jobs
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def check_chunks(
    file: FileBytes,
    dataset: StoredDataset,
    rows: NDArray[np.int64],
    *,
    pool: ThreadPoolExecutor,
    n_in_flight: int,
    progress: Callable[[int], object],
) -> Iterator[tuple[int, str]]:
    """Read and decode chunks of one dataset.

    At most `n_in_flight` reads, of 8 MiB or one chunk each, are in memory.

    Parameters
    ----------
    file
        The file.
    dataset
        With chunk map and frame; none of its filters is unknown.
    rows
        ``(n,) int64``: the chunks to check, which do not overlap.
    pool, n_in_flight
        Threads, and how many batches they are given in advance.
    progress
        Called with stored bytes that are done.

    Yields
    ------
    tuple of int, str
        Row of a damaged chunk, and what is wrong with it.
    """
    chunks, frame = dataset.chunk_map, dataset.frame
    if chunks is None or frame is None:
        return
    filters = dataset.messages.filters
    masks = np.unique(chunks.filter_masks[rows]).tolist()
    decoders = {mask: chunk_decoder(filters, mask, frame.chunk_nbytes) for mask in masks}
    pending: deque[Future[tuple[int, list[tuple[int, str]]]]] = deque()
    for batch in _batches(chunks, rows):
        pending.append(pool.submit(partial(_check_batch, file, chunks, batch, decoders)))
        if len(pending) >= n_in_flight:
            nbytes, damaged = pending.popleft().result()
            progress(nbytes)
            yield from damaged
    for future in pending:
        nbytes, damaged = future.result()
        progress(nbytes)
        yield from damaged


def _batches(chunks: ChunkMap, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut chunks, sorted by address, where a read would get too long or pass over too much."""
    rows = rows[np.argsort(chunks.addresses[rows], kind="stable")]
    starts = chunks.addresses[rows]
    stops = starts + chunks.stored_nbytes[rows]
    is_cut = (starts[1:] - stops[:-1]).view(np.int64) > _MAX_GAP_NBYTES
    is_cut |= starts[1:] // _BATCH_NBYTES != starts[:-1] // _BATCH_NBYTES
    edges = np.concatenate([[0], np.flatnonzero(is_cut) + 1, [len(rows)]]).tolist()
    for start, stop in pairwise(edges):
        if start < stop:
            yield rows[start:stop]


def _check_batch(
    file: FileBytes, chunks: ChunkMap, rows: NDArray[np.int64], decoders: dict[int, ChunkDecoder]
) -> tuple[int, list[tuple[int, str]]]:
    """Return the stored bytes of the chunks, and the damaged ones."""
    addresses = chunks.addresses[rows]
    sizes = chunks.stored_nbytes[rows]
    start, stop = int(addresses[0]), int(addresses[-1] + sizes[-1])
    try:
        raw: memoryview | None = memoryview(file.read(start, stop - start, "chunks"))
    except FormatError:  # then each chunk is read alone, so that only the bad ones are reported
        raw = None
    damaged: list[tuple[int, str]] = []
    masks = chunks.filter_masks[rows].tolist()
    for row, address, nbytes, mask in zip(
        rows.tolist(), addresses.tolist(), sizes.tolist(), masks, strict=True
    ):
        try:
            if raw is not None:
                stored = raw[address - start : address - start + nbytes]
            else:
                stored = memoryview(file.read(address, nbytes, "chunk"))
            decoder = decoders[mask]
            with _alone if decoder.chunk_nbytes > _MAX_PARALLEL_NBYTES else nullcontext():
                decoder.check(stored)
        except FormatError as error:
            damaged.append((row, str(error)))
        except MemoryError:
            raise UnreadableError(
                f"chunk {chunks.coords_at(row)} at address {address:,}: its {nbytes:,} bytes decode to "
                f"{decoders[mask].chunk_nbytes:,}, for which there is not enough memory; verify where there is more, "
                "or without data"
            ) from None
    return int(sizes.sum()), damaged
