"""Workers of a cluster beside threads, ``da.to_hdf5`` and ``to_zarr``.

    python -m tests.benchmarks.cluster [--mib 1024] [--rounds 5] [--dir /tmp]

Work "a": float32, blocks and chunks of 4 MiB, gzip with shuffle. Ways are interleaved, every other round goes
backwards, and ratios are taken within a round. A cluster is a fresh ``LocalCluster`` of processes with one thread each,
warmed up with a small write; client, scheduler and workers share the cores. Nobody makes the file durable
(``sync="none"``): neither ``to_hdf5`` nor ``to_zarr`` does. What streamh5 wrote is compared with the array once.

Then the processor time of the client process, which has the scheduler in it, for thousands of blocks of 16 KiB; and
the peak memory of each worker above what it has before the first block, with blocks that are copies, as a reader or a
computation gives them.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import shutil
import statistics
import tempfile
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.contenders import h5_options, write_to_hdf5
from tests.benchmarks.machine import wait_until_quiet, warm_page_cache
from tests.benchmarks.work import MIB, WORKS, make_array_for_workers, prepare_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import dask.array as da
    from distributed import Client

    Write = Callable[[da.Array, tuple[int, ...], Path], object]

__all__ = ["main"]

WORK = WORKS["a"]
SMALL = replace(WORK, block=(1, 64, 64), chunks=(1, 64, 64), n_pool=4096)
"""Blocks of 16 KiB: what is left is the cost of tasks."""
N_SMALL = 4000
N_WARM_UP = 16


def write_streamh5(x: da.Array, chunks: tuple[int, ...], path: Path, **options: Any) -> object:
    import streamh5

    return streamh5.to_fixed_h5(
        str(path), "/x", x, chunks=chunks, progress=False, sync="none", **h5_options("gzip"), **options
    )


def write_zarr(x: da.Array, chunks: tuple[int, ...], path: Path, *, codec: str) -> object:
    import dask.array as da
    import zarr
    from zarr import codecs

    options: dict[str, Any] = {"compressors": codecs.GzipCodec(level=4)} if codec == "gzip" else {}
    target = zarr.create_array(
        str(path), shape=x.shape, dtype=x.dtype, chunks=chunks, zarr_format=3, **options
    )
    return da.to_zarr(x, target)


def write_to_hdf5_in_threads(x: da.Array, chunks: tuple[int, ...], path: Path) -> None:
    import dask

    with dask.config.set(scheduler="threads", num_workers=2):
        write_to_hdf5("gzip-4", x, chunks, path)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to write.

    Parameters
    ----------
    name
        In the tables.
    n_workers
        Workers of its cluster; 0 without one.
    write
        Writes an array in chunks to a path.
    suffix
        Of the path.
    """

    name: str
    n_workers: int
    write: Write
    suffix: str = ".h5"


WAYS = (
    Way("streamh5, 2 workers", 2, write_streamh5),
    Way("streamh5, 1 worker", 1, write_streamh5),
    Way("streamh5, 2 threads", 0, partial(write_streamh5, scheduler="threads", num_workers=2)),
    Way("to_zarr gzip, 2 workers", 2, partial(write_zarr, codec="gzip"), ".zarr"),
    Way("to_zarr default, 2 workers", 2, partial(write_zarr, codec="default"), ".zarr"),
    Way("to_hdf5 gzip, 2 threads", 0, write_to_hdf5_in_threads),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that processes have used."""

    seconds: float
    n_faults: int

    @classmethod
    def of_this_process(cls) -> Usage:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(used.ru_utime + used.ru_stime, used.ru_minflt)

    @classmethod
    def of_workers(cls, client: Client | None) -> Usage:
        """Return the sum of all workers."""
        parts = [] if client is None else list(client.run(cls.of_this_process).values())
        return cls(sum(one.seconds for one in parts), sum(one.n_faults for one in parts))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.seconds - other.seconds, self.n_faults - other.n_faults)


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of one write, and what it used."""

    seconds: float
    client: Usage
    workers: Usage


@contextmanager
def cluster(n_workers: int, folder: Path) -> Iterator[Client | None]:
    """Give the client of a fresh cluster of processes with one thread each; None for no workers."""
    if not n_workers:
        yield None
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=None, local_directory=str(folder)
        ) as local,
        Client(local) as client,
    ):
        yield client


def run(way: Way, x: da.Array, warm_up: da.Array, folder: Path, *, is_checked: bool) -> Run:
    """Time one way in a cluster of its own."""
    chunks = tuple(map(int, x.chunksize))
    with cluster(way.n_workers, folder) as client:
        path = folder / f"out{way.suffix}"
        way.write(warm_up, chunks, path)
        remove(path)
        gc.collect()
        os.sync()
        warm_page_cache(folder, int(x.nbytes) // 2)
        wait_until_quiet(10)
        own, workers, start = Usage.of_this_process(), Usage.of_workers(client), time.perf_counter()
        way.write(x, chunks, path)
        seconds = time.perf_counter() - start
        own, workers = Usage.of_this_process() - own, Usage.of_workers(client) - workers
        if is_checked and way.suffix == ".h5":
            check(x, path)
        remove(path)
        return Run(seconds, own, workers)


def check(x: da.Array, path: Path) -> None:
    """Compare some blocks of the file with the array.

    Raises
    ------
    AssertionError
        They differ.
    """
    import h5py

    with h5py.File(path) as file:
        for i in (0, x.shape[0] // 2, x.shape[0] - 1):
            np.testing.assert_array_equal(file["x"][i], x[i].compute(scheduler="synchronous"))


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def measure(
    ways: tuple[Way, ...], x: da.Array, warm_up: da.Array, folder: Path, n_rounds: int
) -> dict[str, list[Run]]:
    """Run all ways in turns."""
    runs: dict[str, list[Run]] = {way.name: [] for way in ways}
    for number in range(n_rounds):
        for way in ways[:: -1 if number % 2 else 1]:
            runs[way.name].append(run(way, x, warm_up, folder, is_checked=number == 0))
    return runs


def speed_table(folder: Path, n_blocks: int, n_rounds: int) -> None:
    """Print throughput and processor time, and the ratios."""
    x = make_array_for_workers(WORK, folder, n_blocks)
    warm_up = make_array_for_workers(WORK, folder, N_WARM_UP)
    runs = measure(WAYS, x, warm_up, folder, n_rounds)
    base = runs["streamh5, 2 workers"]
    print(
        "| way | MB/s | 2 workers against it | processor s, client | workers | page faults a block, workers |"
    )
    print("|---|---|---|---|---|---|")
    for name, all_of_it in runs.items():
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(all_of_it, base, strict=True))
        speed = x.nbytes / 1e6 / statistics.median(one.seconds for one in all_of_it)
        own = statistics.median(one.client.seconds for one in all_of_it)
        theirs = statistics.median(one.workers.seconds for one in all_of_it)
        faults = statistics.median(one.workers.n_faults for one in all_of_it) / n_blocks
        print(
            f"| {name} | {speed:,.0f} | {ratio:.2f} | {own:.2f} | {theirs:.2f} | {faults:,.0f} |", flush=True
        )


def client_table(folder: Path, n_rounds: int) -> None:
    """Print the processor time of client and scheduler for each block."""
    prepare_pool(SMALL, folder, folder)
    x = make_array_for_workers(SMALL, folder, N_SMALL)
    warm_up = make_array_for_workers(SMALL, folder, N_WARM_UP)
    ways = tuple(way for way in WAYS if way.n_workers == 2)
    runs = measure(ways, x, warm_up, folder, n_rounds)
    print(f"\n{N_SMALL:,} blocks of 16 KiB\n\n| way | us a block, client | workers |\n|---|---|---|")
    for name, all_of_it in runs.items():
        own = statistics.median(one.client.seconds for one in all_of_it) / N_SMALL * 1e6
        theirs = statistics.median(one.workers.seconds for one in all_of_it) / N_SMALL * 1e6
        print(f"| {name} | {own:,.0f} | {theirs:,.0f} |", flush=True)


def peak_nbytes() -> int:
    """Return the peak of the resident memory since `reset_peak`; ``ru_maxrss`` has that of the parent in it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def reset_peak() -> int:
    """Let the peak begin anew, at the present memory, which is returned."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return peak_nbytes()


def memory_table(folder: Path, n_blocks: int) -> None:
    """Print the peak memory of each worker above what it has before its first block."""
    print("\n| way | peak memory of each worker, MiB |\n|---|---|")
    x = make_array_for_workers(WORK, folder, n_blocks, copy=True)
    first = make_array_for_workers(WORK, folder, 2)
    for way in WAYS:
        if not way.n_workers:
            continue
        with cluster(way.n_workers, folder) as client:
            assert client is not None
            # imports, and the pool of blocks, but nothing of this way
            client.run(partial(first.compute, scheduler="synchronous"))
            client.run(__import__, "streamh5.write.part_file" if "streamh5" in way.name else "zarr")
            before = client.run(reset_peak)
            path = folder / f"out{way.suffix}"
            way.write(x, WORK.chunks, path)
            after = client.run(peak_nbytes)
            remove(path)
        peaks = ", ".join(f"{(after[one] - before[one]) / MIB:.0f}" for one in after)
        print(f"| {way.name} | {peaks} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cluster", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="raw size of the array")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--tables", default="speed,client,memory")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # ports of dashboards that are in use
    n_blocks = arguments.mib * MIB // WORK.block_nbytes
    with tempfile.TemporaryDirectory(dir=arguments.dir) as name:
        folder = Path(name)
        prepare_pool(WORK, folder, folder)
        if "speed" in arguments.tables:
            speed_table(folder, n_blocks, arguments.rounds)
        if "client" in arguments.tables:
            client_table(folder, arguments.rounds)
        if "memory" in arguments.tables:
            memory_table(folder, n_blocks)


if __name__ == "__main__":
    main()
