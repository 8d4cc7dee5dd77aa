"""What a block costs besides its bytes: arrays of many blocks of 16 bytes, against `dask.array.store`.

    python -m tests.benchmarks.blocks [--blocks 100000 1000000] [--how streamh5 store] [--dir /tmp]

Each row is a process of its own. Memory is the peak above that of a process that has written ten blocks before.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dask.array as da
import h5py

import streamh5

__all__ = ["main"]


def _array(n_blocks: int) -> da.Array:
    return da.ones((n_blocks, 4), chunks=(1, 4), dtype="f4") + 1


def _write(how: str, array: da.Array, path: Path) -> None:
    if how == "streamh5":
        streamh5.to_fixed_h5(path, {"/x": array})
        return
    with h5py.File(path, "w") as file:
        da.store(array, file.create_dataset("x", array.shape, "f4", chunks=(1, 4)))


def _peak_nbytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def _row(how: str, n_blocks: int, folder: Path) -> None:
    _write(how, _array(10), folder / "first.h5")
    before, seconds, processor = _peak_nbytes(), time.perf_counter(), time.process_time()
    _write(how, _array(n_blocks), folder / "x.h5")
    seconds, processor = time.perf_counter() - seconds, time.process_time() - processor
    nbytes = _peak_nbytes() - before
    print(
        f"{how:10} {n_blocks:10,} blocks {processor / n_blocks * 1e6:6.0f} us of processor a block, "
        f"{seconds:7.1f} s, {nbytes / 1e6:6.0f} MB, {nbytes / n_blocks / 1e3:5.2f} KB a block"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.blocks", description=__doc__)
    parser.add_argument("--blocks", type=int, nargs="+", default=[100_000])
    parser.add_argument("--how", nargs="+", choices=["streamh5", "store"], default=["streamh5", "store"])
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--row", action="store_true", help="measure in this process")
    arguments = parser.parse_args()
    for n_blocks in arguments.blocks:
        for how in arguments.how:
            if arguments.row:
                with tempfile.TemporaryDirectory(dir=arguments.dir) as name:
                    _row(how, n_blocks, Path(name))
                continue
            command = [sys.executable, "-m", "tests.benchmarks.blocks", "--row", "--how", how]
            subprocess.run([*command, "--blocks", str(n_blocks), "--dir", str(arguments.dir)], check=True)


if __name__ == "__main__":
    main()
