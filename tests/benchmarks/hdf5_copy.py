"""HDF5 to HDF5: ``streamh5 convert`` beside ``cp`` and ``h5repack``, with chunks copied and with other chunks.

``python -m tests.benchmarks.hdf5_copy [--chunks 28000] [--rounds 5] [--dir /tmp]`` prints a table. The commands run in
processes of their own, and the call in one that has done it before, without imports. streamh5 and ``cp`` make durable
what they write, ``h5repack`` does not. Runs are interleaved, and every other round goes backwards; ratios are taken
within a round. h5diff compares the first results with the source. `pieces` in this module is the measurement behind
`PIECE_READ_NBYTES`: ways to copy a file whose chunks need a CRC-32 each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from isal.isal_zlib import crc32

from tests.benchmarks.machine import warm_page_cache

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

CHUNK = (1, 40, 128)
"""20 KiB of float32; 16 KiB stored."""

OTHER_CHUNK = (100, 40, 128)


def make_source(path: Path, n_chunks: int) -> None:
    """Write noisy steps with shuffle and gzip, a chunk a row."""
    walk = np.random.default_rng(0).normal(size=(64, *CHUNK[1:])).cumsum(axis=2).astype("f4")
    with h5py.File(path, "w") as file:
        x = file.create_dataset(
            "x", (n_chunks, *CHUNK[1:]), "f4", chunks=CHUNK, compression="gzip", compression_opts=1, shuffle=True
        )  # fmt: skip
        x[: len(walk)] = walk
        stored = [x.id.read_direct_chunk((i, 0, 0))[1] for i in range(len(walk))]
        for i in range(len(walk), n_chunks):
            x.id.write_direct_chunk((i, 0, 0), stored[i % len(walk)])


def copy_file(source: Path, target: Path) -> None:
    subprocess.run(["cp", source, target], check=True)
    subprocess.run(["sync", target], check=True)


def repack(source: Path, target: Path, *options: str) -> None:
    subprocess.run(["h5repack", *options, source, target], check=True)


def command(source: Path, target: Path, *options: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "streamh5", "convert", *options, source, target], check=True, stdout=subprocess.DEVNULL
    )  # fmt: skip


def call(source: Path, target: Path) -> None:
    import streamh5

    streamh5.convert(source, target, progress=False)


def ways() -> dict[str, dict[str, Callable[[Path, Path], None]]]:
    """Contenders of each work; ratios are to the first."""
    shape = ",".join(map(str, OTHER_CHUNK))
    return {
        "copied": {
            "cp, fsync": copy_file,
            "h5repack": repack,
            "streamh5 convert": command,
            "streamh5.convert": call,
        },
        "other chunks": {
            "h5repack": lambda a, b: repack(a, b, "-l", f"x:CHUNK={shape.replace(',', 'x')}"),
            "streamh5 convert": lambda a, b: command(a, b, "--chunks", shape),
        },
    }


def run_work(work: str, source: Path, n_rounds: int) -> None:
    """Time every contender and print its row."""
    contenders = ways()[work]
    nbytes = source.stat().st_size
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(n_rounds + 1):  # the first round warms up
        for name in list(contenders)[:: 1 if number % 2 else -1]:
            target = source.with_name("target.h5")
            os.sync()
            warm_page_cache(source.parent, nbytes)
            start = time.perf_counter()
            contenders[name](source, target)
            seconds[name].append(time.perf_counter() - start)
            if number == 0 and "streamh5" in name:
                subprocess.run(["h5diff", source, target], check=True)
            target.unlink()
    first = next(iter(seconds.values()))
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(first[1:], times[1:], strict=True))
        median = statistics.median(times[1:])
        print(f"| {work} | {name} | {median:.2f} | {nbytes / 1e6 / median:,.0f} | {ratio:.2f} |", flush=True)


def copy_pieces(source: int, target: int, nbytes: int, piece: int, *, has_checksums: bool) -> None:
    """Read into memory that is used again, compute a CRC-32 every 16 KiB, write."""
    memory = memoryview(bytearray(piece))
    for start in range(0, nbytes, piece):
        n = os.preadv(source, [memory[: min(piece, nbytes - start)]], start)
        if has_checksums:
            for at in range(0, n, 1 << 14):
                crc32(memory[at : min(n, at + (1 << 14))])
        os.pwrite(target, memory[:n], start)


def copy_in_kernel(source: int, target: int, nbytes: int) -> None:
    """Copy with `os.copy_file_range`."""
    at = 0
    while at < nbytes:
        at += os.copy_file_range(source, target, min(64 << 20, nbytes - at), at, at)


def copy_in_kernel_and_read(source: int, target: int, nbytes: int) -> None:
    """Copy with `os.copy_file_range`, and read for the CRC-32 of each 16 KiB."""
    copy_in_kernel(source, target, nbytes)
    memory = memoryview(bytearray(1 << 20))
    for start in range(0, nbytes, 1 << 20):
        n = os.preadv(source, [memory[: min(1 << 20, nbytes - start)]], start)
        for at in range(0, n, 1 << 14):
            crc32(memory[at : min(n, at + (1 << 14))])


def pieces(source: Path, n_rounds: int) -> None:
    """Print the shortest processor time of each way to copy a file."""
    contenders: dict[str, Callable[[int, int, int], None]] = {
        "copy_file_range": copy_in_kernel,
        "copy_file_range, and read for the CRC-32": copy_in_kernel_and_read,
    }
    for mib in (1, 4, 8, 32):
        for has_checksums, what in ((False, ""), (True, ", CRC-32")):
            name = f"read and write, {mib} MiB{what}"
            contenders[name] = partial(copy_pieces, piece=mib << 20, has_checksums=has_checksums)
    shortest = dict.fromkeys(contenders, float("inf"))
    with source.open("rb") as opened:
        for _ in range(n_rounds):
            for name, way in contenders.items():
                with tempfile.TemporaryFile(dir=source.parent) as target:
                    start = time.process_time()
                    way(opened.fileno(), target.fileno(), source.stat().st_size)
                    shortest[name] = min(shortest[name], time.process_time() - start)
    for name, seconds in shortest.items():
        print(f"| {name} | {seconds:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.hdf5_copy", description=__doc__)
    parser.add_argument("--chunks", type=int, default=28_000, help="number of chunks of 20 KiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--works", default="copied,other chunks")
    parser.add_argument("--pieces", action="store_true", help="also compare ways to copy a file")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        source = Path(folder) / "in.h5"
        make_source(source, arguments.chunks)
        print("| chunks | way | seconds | stored MB/s | of the first |\n|---|---|---|---|---|")
        for work in arguments.works.split(","):
            run_work(work, source, arguments.rounds)
        if arguments.pieces:
            print("\n| way | processor seconds |\n|---|---|")
            pieces(source, arguments.rounds)


if __name__ == "__main__":
    main()
