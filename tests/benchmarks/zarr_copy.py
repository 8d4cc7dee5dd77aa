"""zarr to HDF5: copied chunks, beside ``cp -r`` of the store and beside reading with zarr and writing with h5py.

``python -m tests.benchmarks.zarr_copy [--mib 512] [--rounds 5] [--dir /tmp]`` prints a table. All make what
they write durable; a directory is made so with ``sync -f``. Runs are interleaved, and every other round goes
backwards; ratios are taken within a round. What streamh5 wrote is compared with the store once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.machine import warm_page_cache

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

MIB4 = (1, 1024, 1024)
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "blosc": (MIB4, None),
    "blosc in shards": ((1, 256, 256), (16, 1024, 1024)),
    "zlib": (MIB4, None),
    "zlib, 64 KiB chunks": ((1, 128, 128), None),
    "zlib, 16 KiB chunks": ((1, 64, 64), None),
    "gzip": (MIB4, None),
    "zstd": (MIB4, None),
    "none": (MIB4, None),
}
"""Chunks and shards of each case; the first word of its name is the codec."""


def _codecs(name: str) -> Any:
    import zarr.codecs.numcodecs as extra
    from zarr import codecs

    return {
        "blosc": codecs.BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
        "zlib": (extra.Shuffle(elementsize=4), extra.Zlib(level=1)),
        "gzip": (extra.Shuffle(elementsize=4), codecs.GzipCodec(level=1)),
        "zstd": (extra.Shuffle(elementsize=4), codecs.ZstdCodec(level=1)),
        "none": None,
    }[name]


def make_store(path: Path, case: str, n_frames: int) -> int:
    """Write the store and return its size."""
    import zarr

    from tests.benchmarks.work import WORKS, load_pool, prepare_pool

    prepare_pool(WORKS["a"], path.parent, path.parent)
    pool = load_pool(WORKS["a"], path.parent).reshape(-1, 1024, 1024)
    chunks, shards = CASES[case]
    array = zarr.create_array(
        path, shape=(n_frames, 1024, 1024), chunks=chunks, shards=shards, dtype="f4",
        compressors=_codecs(case.split(",")[0].split()[0]),
    )  # fmt: skip
    for start in range(0, n_frames, 16):
        array[start : start + 16] = pool[: min(16, n_frames - start)]
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def copy_store(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", source, target], check=True)
    subprocess.run(["sync", "-f", target], check=True)


def convert(source: Path, target: Path, *, copy: bool) -> None:
    import streamh5

    streamh5.from_zarr(source, target, copy=copy, progress=False)


def read_and_write(source: Path, target: Path) -> None:
    """Read with zarr and write with h5py, shard by shard, with the filters of the store where h5py has them."""
    import h5py
    import hdf5plugin
    import zarr

    array: Any = zarr.open_array(source, mode="r")
    name = source.stem.split(",")[0].split()[0]
    options: dict[str, Any] = {
        "blosc": dict(hdf5plugin.Blosc(cname="lz4", clevel=5)),
        "zstd": {**hdf5plugin.Zstd(clevel=1), "shuffle": True},
        "none": {},
    }.get(name, {"compression": "gzip", "compression_opts": 1, "shuffle": True})
    with h5py.File(target, "w") as file:
        dataset = file.create_dataset("data", array.shape, array.dtype, chunks=array.chunks, **options)
        for start in range(0, array.shape[0], (array.shards or array.chunks)[0]):
            rows = slice(start, start + (array.shards or array.chunks)[0])
            dataset[rows] = array[rows]
    with target.open("rb") as written:
        os.fsync(written.fileno())


CONTENDERS: dict[str, Callable[[Path, Path], None]] = {
    "cp -r": copy_store,
    "streamh5, copied": partial(convert, copy=True),
    "streamh5, decoded": partial(convert, copy=False),
    "zarr, h5py": read_and_write,
}


def check(source: Path, target: Path) -> None:
    """Compare frames of the file with the store.

    Raises
    ------
    AssertionError
        They differ.
    """
    import h5py
    import hdf5plugin  # noqa: F401 - registers the filters
    import zarr

    array: Any = zarr.open_array(source, mode="r")
    with h5py.File(target) as file:
        for frame in (0, array.shape[0] // 2, array.shape[0] - 1):
            np.testing.assert_array_equal(file["data"][frame], array[frame])


def forget(folder: Path) -> None:
    """Drop the pages of files from the page cache; they are durable."""
    for one in folder.rglob("*"):
        if one.is_file():
            with one.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def run_case(case: str, folder: Path, n_frames: int, n_rounds: int, *, is_cold: bool) -> None:
    """Time every contender and print its row."""
    source = folder / f"{case}.zarr"
    nbytes = make_store(source, case, n_frames)
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for number in range(n_rounds + 1):  # the first round warms up
        for name in list(CONTENDERS)[:: 1 if number % 2 else -1]:
            target = folder / "target"
            os.sync()
            warm_page_cache(folder, nbytes)
            if is_cold:
                forget(source)
            start = time.perf_counter()
            CONTENDERS[name](source, target)
            seconds[name].append(time.perf_counter() - start)
            if number == 0 and name.startswith("streamh5"):
                check(source, target)
            _remove(target)
    shutil.rmtree(source)
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["cp -r"][1:], times[1:], strict=True))
        median = statistics.median(times[1:])
        print(f"| {case} | {name} | {median:.2f} | {nbytes / 1e6 / median:,.0f} | {ratio:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.zarr_copy", description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="raw size of the array")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default=",".join(name for name in CASES if "," not in name))
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--cold", action="store_true", help="read the store from the disk each time")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # codecs of numcodecs in zarr 3
    print("| store | way | seconds | stored MB/s | of cp -r |\n|---|---|---|---|---|")
    cases = CASES if arguments.cases == "all" else arguments.cases.split(",")
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        for case in cases:
            run_case(case, Path(folder), arguments.mib // 4, arguments.rounds, is_cold=arguments.cold)


if __name__ == "__main__":
    main()
