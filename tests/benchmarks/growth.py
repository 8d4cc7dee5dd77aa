"""Files that grow, beside netCDF4-python, h5py, and a new file.

    python -m tests.benchmarks.growth [--rounds 5] [--dir /tmp] [--tables record,rows,array]

* "record": a file is opened, one record of 1 MiB (float32, one chunk, gzip with shuffle) is appended, and the file is
  closed; to files of 1,000,000 and of 1,000 chunks, and to one of 1,000 chunks that netCDF4-python has written and
  appends to, where it comes from xarray, too.
* "rows": ``for i in range(10000): d[i] = row`` with rows of 64 KiB, gzip and default chunks, beside h5py with its
  default chunk cache, and with one that holds a row of chunks.
* "array": 1 GiB appended along time from dask, by xarray and by `to_fixed_h5`, beside writing the same to a new file.

Ways are interleaved, every other round goes backwards, and ratios are taken within a round. Seconds are without the
time in ``fsync``, which has a column of its own, because only streamh5 makes its file durable. *written* counts the
bytes that the process hands to system calls (``wchar`` of ``/proc/self/io``).
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.machine import wait_until_quiet, warm_page_cache
from tests.benchmarks.timing import SyncClock
from tests.benchmarks.work import MIB, WORKS, Work, load_pool, make_array, prepare_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["main"]

RECORD = Work("record", "1 MiB records", (1, 512, 512), (1, 512, 512), "f4", 0, "field", 16, ())
ARRAY = WORKS["a"]
N_CHUNKS = 1_000_000
N_FEW = 1_000
N_ROWS, ROW_ELEMENTS = 10_000, 1 << 14
N_SLOW_ROWS = 314
"""h5py's default chunks are (157, 256), and its chunk cache does not hold a row of them: it reads and writes 64 chunks
for each row. Two rows of chunks show that; all rows would take half an hour."""
ROOM_NBYTES = 64 << 20
BATCH_CHUNKS = 65536
"""Chunks that are entered in the table at once."""

H5PY_GZIP: dict[str, Any] = {"compression": "gzip", "shuffle": True}


@dataclass(frozen=True, slots=True)
class Run:
    """One timing: without the time in ``fsync``, that time, and the bytes given to system calls."""

    seconds: float
    sync_seconds: float
    written_nbytes: int


def written_nbytes() -> int:
    """Return how many bytes this process has given to system calls that write."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def timed(call: Callable[[], object], clock: SyncClock) -> Run:
    gc.collect()
    os.sync()
    wait_until_quiet(10)
    clock.seconds, written, start = 0.0, written_nbytes(), time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    return Run(seconds - clock.seconds, clock.seconds, written_nbytes() - written)


def measure(
    ways: Mapping[str, Callable[[], object]], clock: SyncClock, n_rounds: int
) -> dict[str, list[Run]]:
    """Run all ways in turns."""
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for number in range(n_rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            runs[name].append(timed(ways[name], clock))
    return runs


def print_runs(title: str, runs: Mapping[str, list[Run]], base: str) -> None:
    """Print a table; the ratios say how many times as long as `base` each way took, the median over the rounds."""
    print(
        f"\n{title}\n\n| way | s | fsync s | written, MB | {base} takes x of its time |\n|---|---:|---:|---:|---:|"
    )
    for name, own in runs.items():
        ratios = [b.seconds / a.seconds for a, b in zip(own, runs[base], strict=True)]
        print(
            f"| {name} | {statistics.median(one.seconds for one in own):.3f} "
            f"| {statistics.median(one.sync_seconds for one in own):.3f} "
            f"| {statistics.median(one.written_nbytes for one in own) / 1e6:.1f} "
            f"| {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f}) |",
            flush=True,
        )


# -- one record


def make_file(path: Path, n_chunks: int, records: NDArray[Any], *, is_fixed: bool) -> None:
    """Write a file of records; beyond a few real ones, chunks of a size like theirs that lie in a hole of the file."""
    import streamh5
    from streamh5.model.chunk_records import chunk_records

    shape, chunks = (n_chunks, *records.shape[1:]), (1, *records.shape[1:])
    maxshape = None if is_fixed else (None, *shape[1:])
    with streamh5.File(path, "w") as file:
        x = file.create_dataset(
            "x", shape, "f4", chunks=chunks, maxshape=maxshape, compression="gzip", shuffle=True
        )
        x[: len(records)] = records
        sizes = np.random.default_rng(0).integers(400_000, 500_000, n_chunks, dtype=np.uint64)
        for first in range(len(records), n_chunks, BATCH_CHUNKS):
            batch = sizes[first : min(first + BATCH_CHUNKS, n_chunks)]
            numbers = np.arange(first, first + len(batch), dtype=np.uint64)
            address = file.session.place.reserve(int(batch.sum()))
            x.record(chunk_records(numbers, address, batch, None))


def make_netcdf(path: Path, n_chunks: int, records: NDArray[Any]) -> None:
    import netCDF4

    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        for name, n in zip(("lat", "lon"), records.shape[1:], strict=True):
            file.createDimension(name, n)
        x = file.createVariable(
            "x", "f4", ("time", "lat", "lon"), zlib=True, complevel=4, chunksizes=(1, *records.shape[1:])
        )
        for i in range(n_chunks):
            x[i] = records[i % len(records)]


def append_record(path: Path, record: NDArray[Any]) -> None:
    import streamh5

    with streamh5.File(path, "a") as file:
        x: Any = file["x"]
        x.append(record)


def add_to_fixed(path: Path, record: NDArray[Any]) -> None:
    """Append to a dataset that has its maxshape already."""
    import streamh5

    with streamh5.File(path, "a") as file:
        x: Any = file["x"]
        shape = (len(x) + 1, *x.shape[1:])
        x.resize(shape, maxshape=shape)
        x[len(x) - 1] = record


def append_record_netcdf4(path: Path, record: NDArray[Any]) -> None:
    import netCDF4

    with netCDF4.Dataset(path, "a") as file:
        x = file["x"]
        x[len(x)] = record


def append_record_xarray(path: Path, record: NDArray[Any]) -> None:
    import xarray as xr

    import streamh5

    data = xr.Dataset({"x": (("time", "lat", "lon"), record[np.newaxis])})
    streamh5.to_netcdf(data, path, append_dim="time", progress=False)


def record_table(folder: Path, n_rounds: int, clock: SyncClock) -> None:
    """Print the time and the bytes of one record more."""
    prepare_pool(RECORD, folder, folder)
    records = load_pool(RECORD, folder)[:, 0]
    fixed, unlimited, few, netcdf = (
        folder / f"{name}.h5" for name in ("fixed", "unlimited", "few", "netcdf4")
    )
    make_file(fixed, N_CHUNKS, records, is_fixed=True)
    make_file(unlimited, N_CHUNKS, records, is_fixed=False)
    make_file(few, N_FEW, records, is_fixed=False)
    make_netcdf(netcdf, N_FEW, records)
    ways = {
        "netCDF4-python, 1,000 chunks": lambda: append_record_netcdf4(netcdf, records[3]),
        "streamh5, that file": lambda: append_record(netcdf, records[3]),
        "streamh5 from xarray, that file": lambda: append_record_xarray(netcdf, records[3]),
        "streamh5, 1,000 chunks": lambda: append_record(few, records[3]),
        "streamh5, 1,000,000 chunks": lambda: append_record(unlimited, records[3]),
        "streamh5, 1,000,000 chunks, fixed shape": lambda: add_to_fixed(fixed, records[3]),
    }
    for call in ways.values():
        call()  # imports, page cache
    print_runs("One record of 1 MiB", measure(ways, clock, n_rounds), "netCDF4-python, 1,000 chunks")
    check_records((fixed, unlimited, few, netcdf), records, n_appended=n_rounds + 1)
    for path in (fixed, unlimited, few, netcdf):
        path.unlink()


def check_records(paths: tuple[Path, ...], records: NDArray[Any], *, n_appended: int) -> None:
    """Compare the first records and the appended ones.

    Raises
    ------
    AssertionError
        They differ.
    """
    import h5py

    for path in paths:
        with h5py.File(path) as file:
            x = file["x"]
            np.testing.assert_array_equal(x[:4], records[:4])
            n_each = 3 if path.name == "netcdf4.h5" else 1
            for i in range(1, n_each * n_appended + 1):
                np.testing.assert_array_equal(x[-i], records[3])


# -- rows


def write_rows(module: Any, path: Path, rows: NDArray[Any], n_rows: int, **options: Any) -> None:
    with module.File(path, "w", **options) as file:
        d = file.create_dataset("x", (N_ROWS, ROW_ELEMENTS), "f4", **H5PY_GZIP)
        for i in range(n_rows):
            d[i] = rows[i % len(rows)]


def rows_table(folder: Path, n_rounds: int, clock: SyncClock) -> None:
    """Print the time of a loop over rows, each of which is a part of many chunks."""
    import h5py

    import streamh5

    prepare_pool(ARRAY, folder, folder)
    rows = load_pool(ARRAY, folder).reshape(-1, ROW_ELEMENTS)
    contenders: dict[str, tuple[Any, int, dict[str, Any]]] = {
        "h5py": (h5py, N_SLOW_ROWS, {}),
        "h5py, with room for a row of chunks": (h5py, N_ROWS, {"rdcc_nbytes": ROOM_NBYTES}),
        "streamh5": (streamh5, N_ROWS, {}),
    }
    paths = {name: folder / f"{i}.h5" for i, name in enumerate(contenders)}
    ways = {
        name: partial(write_rows, module, paths[name], rows, n_rows, **options)
        for name, (module, n_rows, options) in contenders.items()
    }
    runs = measure(ways, clock, n_rounds)
    scaled = {
        name: [replace(one, seconds=one.seconds * N_ROWS / contenders[name][1]) for one in own]
        for name, own in runs.items()
    }
    for base in ("h5py", "h5py, with room for a row of chunks"):
        title = f"{N_ROWS:,} rows of 64 KiB; h5py without room: {N_SLOW_ROWS} of them, seconds for all"
        print_runs(title, scaled, base)
    for name, path in paths.items():
        with h5py.File(path) as file:
            last = contenders[name][1] - 1
            for i in (0, 1, last // 2, last):
                np.testing.assert_array_equal(file["x"][i], rows[i % len(rows)])
            print(f"{name}: chunks {file['x'].chunks}, {path.stat().st_size / 1e6:,.0f} MB")
        path.unlink()


# -- an array


def array_table(folder: Path, n_blocks: int, n_rounds: int, clock: SyncClock) -> None:
    """Print the time of an array that is appended along time, beside the same in a new file."""
    import xarray as xr

    import streamh5

    prepare_pool(ARRAY, folder, folder)
    x: Any = make_array(ARRAY, load_pool(ARRAY, folder), n_blocks)
    first = x[: n_blocks // 4]
    gzip: dict[str, Any] = {"compression": "gzip", "shuffle": True, "progress": False}

    def dataset(start: int, values: Any) -> Any:
        time = np.arange(start, start + len(values), dtype="f8")
        return xr.Dataset({"x": (("time", "lat", "lon"), values)}, {"time": time})

    encoding = {"x": {"zlib": True, "shuffle": True, "chunksizes": ARRAY.chunks}}
    new, old = folder / "new.h5", folder / "old.h5"

    def add_dask(values: Any, path: Path) -> None:
        streamh5.to_fixed_h5(path, "/x", values, append_dim=0, **gzip)

    def write_xarray(values: Any, path: Path) -> None:
        dataset(0, values).streamh5.to_netcdf(path, mode="w", encoding=encoding, unlimited_dims=["time"])

    def add_xarray(values: Any, path: Path) -> None:
        dataset(len(first), values).streamh5.to_netcdf(path, mode="a", append_dim="time")

    ways: dict[str, tuple[Callable[[Any, Path], None], Callable[[Any, Path], None] | None]] = {
        "xarray, new file": (write_xarray, None),
        "xarray, append_dim": (add_xarray, write_xarray),
        "dask, new file": (add_dask, None),
        "dask, append_dim": (add_dask, add_dask),
    }
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for number in range(n_rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            write, begin = ways[name]
            path = new if begin is None else old
            if begin is not None:
                begin(first, path)
            warm_page_cache(folder, int(x.nbytes) // 2)
            runs[name].append(timed(partial(write, x, path), clock))
            if not number:
                check_array(path, x)
            path.unlink()
    for base, names in (("xarray, new file", list(ways)[:2]), ("dask, new file", list(ways)[2:])):
        print_runs(f"{x.nbytes / MIB:,.0f} MiB along time", {name: runs[name] for name in names}, base)


def check_array(path: Path, x: Any) -> None:
    """Compare some blocks at the end of the file with the array.

    Raises
    ------
    AssertionError
        They differ.
    """
    import h5py

    with h5py.File(path) as file:
        stored = file["x"]
        for i in (1, len(x) // 2, len(x)):
            np.testing.assert_array_equal(stored[-i], x[-i].compute(scheduler="synchronous"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.growth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=1024, help="raw size of the array")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--tables", default="record,rows,array")
    arguments = parser.parse_args()
    clock = SyncClock()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as name:
        folder = Path(name)
        if "record" in arguments.tables:
            record_table(folder, arguments.rounds, clock)
        if "rows" in arguments.tables:
            rows_table(folder, arguments.rounds, clock)
        if "array" in arguments.tables:
            array_table(folder, arguments.mib * MIB // ARRAY.block_nbytes, arguments.rounds, clock)


if __name__ == "__main__":
    main()
