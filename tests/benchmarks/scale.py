"""The protocol of a write on a cluster with a thousand workers and 1.6 million blocks, without the data.

    python -m tests.benchmarks.scale [--workers 1000] [--blocks 1600000] [--chunks 1] [--dir /tmp]

Real are: the folder of the leases, each lease a symbolic link; the address cursor of each worker; records, their
pickles and the collect tasks; journal entries; the chunk table; the index and the headers. Not real are: blocks
(only their stored sizes are drawn), the workers (all of them live in this process, and one takes its turn at a time),
dask, and the file, which counts what it is given. Costs are of one core; docs/scale.md quotes them.
"""

from __future__ import annotations

import argparse
import heapq
import os
import pickle
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import streamh5
from streamh5.dask.store_task import Stored, collect
from streamh5.dask.stored_chunks import CopyCounts
from streamh5.dask.stored_collection import MAX_COLLECTED
from streamh5.engine.address_cursor import AddressCursor
from streamh5.model.chunk_records import RECORD, chunk_records
from streamh5.sinks.leases import Lease, LeaseFolder, read_lease
from streamh5.write.part_file import PartReport
from streamh5.write.part_records import NO_NUMBERS, PartRecords

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from streamh5.filters import Buffer
    from streamh5.write.part_file import SharedFile

__all__ = ["Outcome", "main", "simulate"]

BLOCK = (4096, 4096)
"""64 MiB of float32."""
SHARE_STORED, SPREAD = 0.42, 0.05
"""Stored size of a chunk with gzip, as a part of its raw size: mean and standard deviation."""


class CountingSink:
    """A file that only counts; its leases are real."""

    name, base_address = "scale.h5", 0

    def __init__(self, folder: Path) -> None:
        self.data_path = folder / "scale.h5.partial"
        self.leases = LeaseFolder(folder / "scale.h5.partial.leases")
        self.written_nbytes = self.log_nbytes = self.file_nbytes = 0

    @property
    def journal_facts(self) -> dict[str, Any]:
        return {"sync": "none", "name": self.name, "inode": 0}

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        self.log_nbytes += len(entries)

    def has_name(self, path: str | os.PathLike[str]) -> bool:
        return False

    def suspend(self) -> None:
        self.abort()

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        self.written_nbytes += sum(map(len, buffers))

    def commit(self, nbytes: int) -> None:
        self.file_nbytes = nbytes

    def abort(self) -> None:
        self.leases.close()


class Worker:
    """What a worker does with addresses and records."""

    def __init__(self, shared: SharedFile, number: int) -> None:
        self.name = f"node{number:04d}:4711:8c1f02d4"
        self.shared = shared
        self.cursor = AddressCursor(stop=0, more=shared.taker(self.name, shared.name).take)
        self.nbytes = 0

    def store(self, number: int, stored_nbytes: NDArray[np.uint64]) -> Stored:
        """Store the chunks of a block, with one reservation."""
        nbytes, n = int(stored_nbytes.sum()), len(stored_nbytes)
        self.nbytes += nbytes
        numbers = np.arange(number * n, number * n + n, dtype=np.uint64)
        records = chunk_records(numbers, self.cursor.reserve(nbytes), stored_nbytes, None)
        part = PartRecords(
            token=self.shared.token,
            writer=self.name,
            path="/x",
            records=records,
            checksums=np.zeros(n, np.uint32),
            skipped=NO_NUMBERS,
            nbytes=nbytes,
            stop=number + 1,
            is_safe=False,
        )
        return Stored("/x", [(number, 0, 0)], part, CopyCounts())

    @property
    def report(self) -> PartReport:
        return PartReport(self.name, self.cursor.rest, self.nbytes)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation found.

    Attributes
    ----------
    records
        Of all chunks, in the order in which they were entered.
    leases
        In the order of their numbers.
    summary
        Of the write.
    log_nbytes, meta_nbytes, message_nbytes
        Size of the journal; of index and headers; of all records on their way to the client.
    seconds
        By the part of the work.
    held_nbytes
        Memory of the process, above that before the first block, when the client holds all records.
    """

    records: NDArray[Any]
    leases: list[Lease]
    summary: streamh5.WriteSummary
    log_nbytes: int
    meta_nbytes: int
    message_nbytes: int
    seconds: dict[str, float]
    held_nbytes: int


class Clock:
    """Adds up the seconds between calls, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] += now - self._last
        self._last = now


def _turns(workers: list[Worker], n_blocks: int, rng: np.random.Generator) -> Iterator[tuple[int, Worker]]:
    """Give each block to the worker that is free first; a block takes 0.8 to 1.2 units of time."""
    free = [(float(at), i) for i, at in enumerate(rng.uniform(0, 0.1, len(workers)))]
    heapq.heapify(free)
    for number, duration in enumerate(rng.uniform(0.8, 1.2, n_blocks).tolist()):
        at, i = free[0]
        yield number, workers[i]
        heapq.heapreplace(free, (at + duration, i))


def _resident_nbytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def simulate(folder: Path, *, n_workers: int, n_blocks: int, n_chunks: int = 1) -> Outcome:
    """Write `n_blocks` of `n_chunks` chunks with `n_workers`."""
    rng = np.random.default_rng(0)
    sink, clock = CountingSink(folder), Clock()
    chunk_nbytes = BLOCK[0] * BLOCK[1] * 4 // n_chunks
    held: list[Stored] = []
    message_nbytes = 0
    sizes: NDArray[np.uint64] = np.zeros(0, np.uint64)
    with streamh5.File(sink) as file:
        x = file.create_dataset(
            "x", (n_blocks, *BLOCK), "f4", chunks=(1, BLOCK[0] // n_chunks, BLOCK[1]), compression="gzip"
        )
        sharing = file.session.sharing
        shared = sharing.begin(n_writers=n_workers)
        workers = [Worker(shared, i) for i in range(n_workers)]
        resident = _resident_nbytes()
        clock.lap("begin")
        group: list[list[Stored]] = []
        for number, worker in _turns(workers, n_blocks, rng):
            if not group:
                shares = rng.normal(SHARE_STORED, SPREAD, (MAX_COLLECTED, n_chunks)).clip(0.01, 1)
                sizes = (shares * chunk_nbytes).astype(np.uint64)
            group.append([worker.store(number, sizes[len(group)])])
            if len(group) == MAX_COLLECTED or number == n_blocks - 1:
                clock.lap("workers: leases, records")
                message = pickle.dumps(collect(group))
                message_nbytes += len(message)
                clock.lap("workers: collect")
                for stored in pickle.loads(message):
                    x.out.claim_part(stored.part)
                    held.append(stored)
                group = []
                clock.lap("client: unpickle, journal")
        held_nbytes = _resident_nbytes() - resident
        records = np.concatenate(
            [np.zeros(0, RECORD), *(one.part.records for one in held if one.part is not None)]
        )
        folder = sink.leases.path
        leases = sorted(read_lease(folder / name) for name in os.listdir(folder) if "." in name)
        clock.lap("(checks of this benchmark)")
        for stored in held:
            if stored.part is not None:
                x.out.record_part(stored.part)
        held.clear()
        clock.lap("close: chunk table")
        sharing.end([worker.report for worker in workers])
        clock.lap("close: remove leases")
    clock.lap("close: index, headers")
    assert file.summary is not None
    return Outcome(
        records,
        leases,
        file.summary,
        sink.log_nbytes,
        sink.written_nbytes,
        message_nbytes,
        dict(clock.seconds),
        held_nbytes,
    )


def check(outcome: Outcome, n_chunks: int) -> None:
    """Check that no address was given out twice and that nothing is missing.

    Raises
    ------
    AssertionError
        It is not so.
    """
    leases = outcome.leases
    assert all(a.stop == b.start for a, b in pairwise(leases))
    records = outcome.records[np.argsort(outcome.records["address"])]
    ends = records["address"] + records["stored_nbytes"]
    assert (records["address"][1:] >= ends[:-1]).all()
    starts = np.array([one.start for one in leases], np.uint64)
    stops = np.array([one.stop for one in leases], np.uint64)
    of = np.searchsorted(starts, records["address"], side="right") - 1
    assert (ends <= stops[of]).all()
    assert (np.sort(records["number"]) == np.arange(n_chunks)).all()
    assert outcome.summary.n_chunks == n_chunks


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--blocks", type=int, default=1_600_000)
    parser.add_argument("--chunks", type=int, default=1, help="chunks of a block")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as name:
        outcome = simulate(
            Path(name), n_workers=arguments.workers, n_blocks=arguments.blocks, n_chunks=arguments.chunks
        )
    check(outcome, arguments.blocks * arguments.chunks)
    shared = outcome.summary.shared
    assert shared is not None
    stored = int(outcome.records["stored_nbytes"].sum(dtype=np.uint64))
    print(f"{arguments.blocks:,} blocks, {arguments.workers:,} workers, {stored / 1e12:.1f} TB stored")
    print(f"leases {shared.n_leases:,}, unused {shared.unused_nbytes / stored:.2%} of the file")
    print(f"messages of records {outcome.message_nbytes / arguments.blocks:,.0f} bytes a block")
    print(
        f"journal {outcome.log_nbytes / 1e6:,.0f} MB, index and headers {outcome.meta_nbytes / 1e6:,.0f} MB"
    )
    print(f"memory of the client that holds all records {outcome.held_nbytes / 1e6:,.0f} MB")
    for what, seconds in outcome.seconds.items():
        print(f"{what:30} {seconds:8.1f} s {seconds / arguments.blocks * 1e6:8.1f} us a block")


if __name__ == "__main__":
    main()
