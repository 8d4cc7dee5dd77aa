"""Checks of stored chunks, which are read in the order of their addresses and decoded in threads.

::

    chunks by address ──▶ batches of up to 8 MiB ──▶ pool: read, decode ──▶ damaged rows, in the order of batches
                          at most `n_in_flight` of them are submitted and not yet collected
"""

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
"""Size of one read in bytes, unless a single chunk is larger."""

_MAX_PARALLEL_NBYTES = 128 << 20
"""Raw size in bytes of the largest chunk that is decoded in parallel. Of larger chunks, one at a time is in memory."""

_alone = threading.Lock()  # held while a chunk of more than _MAX_PARALLEL_NBYTES is decoded

_MAX_GAP_NBYTES = 64 << 10
"""Most unrelated bytes between two chunks that one read may include."""


@dataclass(frozen=True, slots=True)
class DamagedChunk:
    """A damaged chunk.

    Attributes
    ----------
    path
        Path of the dataset.
    coords, origin
        Coordinates in the grid of chunks, and coordinates of the first element.
    address, stored_nbytes
        Position in the file, and size in bytes there.
    problem
        Description of the damage.
    """

    path: str
    coords: tuple[int, ...]
    origin: tuple[int, ...]
    address: int
    stored_nbytes: int
    problem: str


def check_stored_chunks(
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
        The chunks to check; they do not overlap.
    decoder
        Decoder of all these chunks, without unknown filters.
    pool, n_in_flight
        Threads, and the largest number of batches that wait for them or are being checked.
    progress
        Function that is called with the stored bytes of each batch after its check.

    Yields
    ------
    tuple of int, str
        Row of a damaged chunk in `chunks`, and description of the damage.

    Raises
    ------
    UnreadableError
        There is not enough memory to decode a chunk.
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
    """Yield the rows of chunks that are read together, sorted by address.

    A batch ends before a gap of more than 64 KiB, and where the file is cut into pieces of 8 MiB.
    """
    rows = np.argsort(chunks.addresses, kind="stable")
    starts = chunks.addresses[rows]
    stops = starts + chunks.stored_nbytes[rows]
    # The view as signed numbers: a chunk that overlaps the previous one has a negative gap.
    is_cut = (starts[1:] - stops[:-1]).view(np.int64) > _MAX_GAP_NBYTES
    is_cut |= starts[1:] // _BATCH_NBYTES != starts[:-1] // _BATCH_NBYTES
    edges = np.concatenate([[0], np.flatnonzero(is_cut) + 1, [len(rows)]]).tolist()
    for start, stop in pairwise(edges):
        if start < stop:
            yield rows[start:stop]


def _check_batch(
    file: FileBytes, chunks: ChunkMap, rows: NDArray[np.int64], decoder: ChunkDecoder
) -> tuple[int, list[tuple[int, str]]]:
    """Return the total stored size of a batch in bytes, and its damaged chunks."""
    addresses = chunks.addresses[rows]
    sizes = chunks.stored_nbytes[rows]
    start, stop = int(addresses[0]), int(addresses[-1] + sizes[-1])
    try:
        raw: memoryview | None = memoryview(file.read(start, stop - start, "chunks"))
    except FormatError:  # each chunk is then read separately, so that only unreadable ones are reported
        raw = None
    damaged: list[tuple[int, str]] = []
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
                f"{decoder.chunk_nbytes:,}, for which there is not enough memory; verify the file on a machine with "
                "more, or without data (--no-data)"
            ) from None
    return int(sizes.sum()), damaged
