"""A camera writes, `flush` publishes every second, and h5py readers open the file meanwhile.

``python -m tests.benchmarks.live [--seconds 20] [--every 1.0]`` prints what `docs/instruments.md` quotes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

import streamh5
from tests.deadlock import DEADLOCK_SECONDS

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

FRAME = (512, 1024)
N_READERS = 2


def read(path: str, is_over: Event, results: multiprocessing.Queue[tuple[int, int, float, float]]) -> None:
    """Open the file again and again; check the last frame; report openings, failures and times to open."""
    n, n_failed, seconds, longest, last = 0, 0, 0.0, 0.0, 0
    while not is_over.is_set():
        began = time.perf_counter()
        try:
            with h5py.File(path) as file:
                frames = file["frames"]
                n_frames = len(frames)
                is_right = n_frames == 0 or int(frames[n_frames - 1, 0, 0]) == n_frames - 1
                is_right &= "dark" in file or n_frames < 100
        except OSError:
            n_failed += 1
            continue
        took = time.perf_counter() - began
        n, seconds, longest = n + 1, seconds + took, max(longest, took)
        if not is_right or n_frames < last:
            raise AssertionError(f"a reader saw {n_frames} frames after {last}, or a wrong one")
        last = n_frames
        time.sleep(0.01)
    results.put((n, n_failed, seconds / max(n, 1), longest))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--every", type=float, default=1.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "run.h5")
        context = multiprocessing.get_context("spawn")
        is_over, results = context.Event(), context.Queue()
        flushes: list[float] = []
        frame = np.random.default_rng(1).poisson(3, FRAME).astype("u2")
        with streamh5.File(path, "x") as file:
            frames = file.create_dataset(
                "frames", (0, *FRAME), "u2", chunks=(1, *FRAME), maxshape=(None, *FRAME), compression="lzf"
            )
            file.flush()
            readers = [context.Process(target=read, args=(path, is_over, results)) for _ in range(N_READERS)]
            for one in readers:
                one.start()
            began = last = time.perf_counter()
            n = 0
            while time.perf_counter() - began < given.seconds:
                frame[0, 0] = n
                frames.append(frame)
                n += 1
                if n == 100:
                    file.create_dataset("dark", data=frame, chunks=(64, 1024))
                    file.flush()
                if time.perf_counter() - last >= given.every:
                    last = time.perf_counter()
                    file.flush()
                    flushes.append(time.perf_counter() - last)
            seconds = time.perf_counter() - began
            is_over.set()
            found = [results.get(timeout=DEADLOCK_SECONDS) for _ in readers]
            for one in readers:
                one.join(DEADLOCK_SECONDS)
            summary = file.close()
    n_opened, n_failed = sum(one[0] for one in found), sum(one[1] for one in found)
    print(
        f"{n:,} frames of {np.prod(FRAME) * 2 / 2**20:.0f} MiB in {seconds:.1f} s: {n / seconds:,.0f} frames/s"
    )
    print(
        f"{len(flushes)} flushes, {np.mean(flushes) * 1e3:.0f} ms each, the longest {max(flushes) * 1e3:.0f} ms"
    )
    print(
        f"{N_READERS} readers opened the file {n_opened:,} times, {n_failed} failed; "
        f"{np.mean([one[2] for one in found]) * 1e3:.1f} ms each, "
        f"the longest {max(one[3] for one in found) * 1e3:.0f} ms"
    )
    print(f"file of {summary.file_nbytes / 2**20:,.0f} MiB, chunks {summary.stored_nbytes / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()
