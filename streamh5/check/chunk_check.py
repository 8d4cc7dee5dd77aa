"""Every stored chunk of a file, read in the order of addresses and decoded by threads."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

    from numpy.typing import NDArray

    from streamh5.filters.chunk_decoder import ChunkDecoder
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_bytes import FileBytes


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


def check_chunks(
    file: FileBytes,
    chunks: ChunkMap,
    decoder: ChunkDecoder,
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
    chunks
        The chunks to check, which do not overlap.
    decoder
        Their decoder, which knows all their filters.
    pool, n_in_flight
        Threads, and how many batches they are given in advance.
    progress
        Called with the stored bytes of each batch that is checked.

    Yields
    ------
    tuple of int, str
        Row of a damaged chunk, and what is wrong with it.
    """
    pending: deque[Future[tuple[int, list[tuple[int, str]]]]] = deque()
    batches = _batches(chunks)
    while True:
        for rows in islice(batches, n_in_flight - len(pending)):
            pending.append(pool.submit(_check_batch, file, chunks, rows, decoder))
        if not pending:
            return
        nbytes, damaged = pending.popleft().result()
        progress(nbytes)
        yield from damaged


def _batches(chunks: ChunkMap) -> Iterator[NDArray[np.int64]]:
    """Cut chunks, sorted by address, where a read would get too long or pass over too much."""
    rows = np.argsort(chunks.addresses, kind="stable")
    starts = chunks.addresses[rows]
    stops = starts + chunks.stored_nbytes[rows]
    is_cut = (starts[1:] - stops[:-1]).view(np.int64) > _MAX_GAP_NBYTES
    is_cut |= starts[1:] // _BATCH_NBYTES != starts[:-1] // _BATCH_NBYTES
    edges = np.concatenate([[0], np.flatnonzero(is_cut) + 1, [len(rows)]]).tolist()
    for start, stop in pairwise(edges):
        if start < stop:
            yield rows[start:stop]


def _check_batch(
    file: FileBytes, chunks: ChunkMap, rows: NDArray[np.int64], decoder: ChunkDecoder
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
    # Of chunks this large, only one at a time is decoded; see _MAX_PARALLEL_NBYTES.
    lock = _alone if decoder.chunk_nbytes > _MAX_PARALLEL_NBYTES else nullcontext()
    for row, address, nbytes in zip(rows.tolist(), addresses.tolist(), sizes.tolist(), strict=True):
        try:
            if raw is not None:
                stored = raw[address - start : address - start + nbytes]
            else:
                stored = memoryview(file.read(address, nbytes, "chunk"))
            with lock:
                decoder.check(stored)
        except FormatError as error:
            damaged.append((row, str(error)))
        except MemoryError:
            raise UnreadableError(
                f"chunk {chunks.coords_at(row)} at address {address:,}: its {nbytes:,} bytes decode to "
                f"{decoder.chunk_nbytes:,}, for which there is not enough memory; verify where there is more, "
                "or without data"
            ) from None
    return int(sizes.sum()), damaged
