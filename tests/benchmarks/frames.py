"""A camera's frames of 16 bits without compression, one chunk each: h5py and streamh5, handed over and durable.

``python -m tests.benchmarks.frames [--rounds 5]`` prints what `docs/instruments.md` quotes. Each timing is a process of
its own, and the contenders take turns. *Handed over*: ``sync="none"``, and h5py closes the file; *durable*:
the default of streamh5, and h5py's file gets an ``fsync`` after it was closed. ``--hints`` compares the number of bytes
between two hints of `streamh5.sinks.write_back` instead, ``--space`` the number of bytes that
`streamh5.sinks.disk_space` requests at once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import h5py
import numpy as np

import streamh5
from streamh5.sinks import disk_space, write_back
from tests.benchmarks.machine import warm_page_cache

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES = {"2 MiB": ((1024, 1024), 512), "64 KiB": ((128, 256), 8192), "16 KiB": ((64, 128), 8192)}
"""Shape of a frame and number of frames."""

N_AT_ONCE = 32
"""Frames that the camera repeats: more than the cache of a processor holds, if they are of 2 MiB."""

HINTS_MIB = (0, 4, 16, 64)
SPACE_MIB = (0, 16, 64, 256)


def h5py_set(path: Path, camera: NDArray[np.uint16], n: int, *, is_durable: bool) -> None:
    """``d[i] = frame`` with h5py."""
    with h5py.File(path, "w") as file:
        frames = file.create_dataset("frames", (n, *camera.shape[1:]), "u2", chunks=(1, *camera.shape[1:]))
        for i in range(n):
            frames[i] = camera[i % N_AT_ONCE]
    if is_durable:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def ours_append(path: Path, camera: NDArray[np.uint16], n: int, *, is_durable: bool) -> None:
    """``d.append(frame)``."""
    with streamh5.File(path, "w", sync="close" if is_durable else "none") as file:
        frames = file.create_dataset("frames", (None, *camera.shape[1:]), "u2", chunks=(1, *camera.shape[1:]))
        for i in range(n):
            frames.append(camera[i % N_AT_ONCE])


def ours_set(path: Path, camera: NDArray[np.uint16], n: int, *, is_durable: bool) -> None:
    """``d[i] = frame``."""
    with streamh5.File(path, "w", sync="close" if is_durable else "none") as file:
        frames = file.create_dataset("frames", (n, *camera.shape[1:]), "u2", chunks=(1, *camera.shape[1:]))
        for i in range(n):
            frames[i] = camera[i % N_AT_ONCE]


def ours_append_many(path: Path, camera: NDArray[np.uint16], n: int, *, is_durable: bool) -> None:
    """``d.append(frames)``, many at a time."""
    with streamh5.File(path, "w", sync="close" if is_durable else "none") as file:
        frames = file.create_dataset("frames", (None, *camera.shape[1:]), "u2", chunks=(1, *camera.shape[1:]))
        for _ in range(0, n, N_AT_ONCE):
            frames.append(camera)


CONTENDERS = {
    "h5py": h5py_set,
    "streamh5, append": ours_append,
    "streamh5, d[i] = frame": ours_set,
    f"streamh5, append of {N_AT_ONCE}": ours_append_many,
}


def timed(
    size: str, contender: str, is_durable: bool, hint_mib: int, space_mib: int, folder: str
) -> tuple[float, float]:
    """Return seconds and processor seconds of one write."""
    shape, n = SIZES[size]
    camera = np.random.default_rng(1).integers(0, 2**12, (N_AT_ONCE, *shape), "u2")
    nbytes = camera.nbytes // N_AT_ONCE * n
    if hint_mib != write_back.HINT_NBYTES >> 20:
        write_back.HINT_NBYTES = hint_mib << 20 or sys.maxsize
    disk_space.SPACE_NBYTES = space_mib << 20
    if not space_mib:
        disk_space.FIRST_NBYTES = sys.maxsize
    path = Path(folder) / "run.h5"
    write = CONTENDERS[contender]
    write(path, camera, 2 * N_AT_ONCE, is_durable=False)
    path.unlink()
    warm_page_cache(Path(folder), nbytes)
    os.sync()
    began, began_cpu = time.perf_counter(), time.process_time()
    write(path, camera, n, is_durable=is_durable)
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    path.unlink()
    return seconds, cpu


def in_a_process(*arguments: object) -> tuple[float, float]:
    """Return what `timed` returns in a process of its own."""
    call = [sys.executable, "-m", "tests.benchmarks.frames", "--one", json.dumps(arguments)]
    seconds, cpu = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    return seconds, cpu


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--hints", action="store_true")
    parser.add_argument("--space", action="store_true")
    parser.add_argument("--one", type=json.loads)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(timed(*given.one)))
        return
    usual = write_back.HINT_NBYTES >> 20, disk_space.SPACE_NBYTES >> 20
    is_of_constants = given.hints or given.space
    for size in given.sizes:
        if given.hints:
            rows = [("streamh5, append", True, mib, usual[1]) for mib in HINTS_MIB]
        elif given.space:
            rows = [("streamh5, append", True, usual[0], mib) for mib in SPACE_MIB]
        else:
            rows = [(one, is_durable, *usual) for is_durable in (False, True) for one in CONTENDERS]
        found: dict[tuple[str, bool, int, int], list[tuple[float, float]]] = {row: [] for row in rows}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(given.rounds):
                for row in rows:
                    found[row].append(in_a_process(size, *row, folder))
        n = SIZES[size][1]
        for (contender, is_durable, hint, space), times in found.items():
            rival = found[rows[0] if is_of_constants else ("h5py", is_durable, *usual)]
            ratio = median(a[0] / b[0] for a, b in zip(rival, times, strict=True))
            seconds, cpu = (median(one[i] for one in times) for i in (0, 1))
            name = f"a hint each {hint} MiB, space of {space} MiB" if is_of_constants else contender
            print(
                f"| {size} | {name} | {'durable' if is_durable else 'handed over'} | {n / seconds:,.0f} "
                f"| {ratio:.2f} | {cpu / n * 1e6:,.0f} |"
            )


if __name__ == "__main__":
    main()
