"""Many small objects: what each costs, and that it costs the same however many there are.

    python -m tests.benchmarks.many_objects [--rounds 5] [--most 8000] [--dir /tmp]

* 1,500 datasets of four integers with an attribute, beside h5py: medians of the ratios of interleaved rounds.
* Microseconds for each object, for numbers that double: groups or such datasets of a file by h5py are read, converted
  or added to, variables are written with `to_netcdf`, and an interrupted write is resumed.

Everything is processor time of a process of its own, after the same with ten objects; of all rounds, the shortest
counts in the table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

import streamh5
from streamh5.cli.main import main as command

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[2]
N_COMPARED = 1_500
N_WARM = 10


def fill(file: Any, n: int) -> None:
    """Create `n` datasets with an attribute."""
    for i in range(n):
        file.create_dataset(f"v{i}", data=np.arange(4)).attrs["a"] = i


def of_h5py(folder: Path, n: int, *, of_groups: bool = False) -> Path:
    """Return a file by h5py of `n` datasets, or of `n` groups."""
    path = folder / f"{'groups' if of_groups else 'datasets'}{n}.h5"
    with h5py.File(path, "w") as file:
        if not of_groups:
            fill(file, n)
        for i in range(n if of_groups else 0):
            file.create_group(f"g{i:06d}")
    return path


def write(folder: Path, n: int, file_class: Any) -> Callable[[], object]:
    """Return what writes `n` datasets."""

    def call() -> None:
        with file_class(folder / f"written{n}.h5", "w") as file:
            fill(file, n)

    return call


def resumed(folder: Path, n: int) -> Callable[[], object]:
    """Interrupt a write of `n` datasets; return what resumes it."""

    def call(*, is_interrupted: bool = False) -> None:
        with streamh5.File(folder / f"resumed{n}.h5", "w", resume=True) as file:
            fill(file, n)
            if is_interrupted:
                file.suspend()

    call(is_interrupted=True)
    return call


def added(path: Path) -> Callable[[], object]:
    """Return what adds one dataset to a file."""

    def call() -> None:
        with streamh5.File(path, "a") as file:
            file["new"] = np.arange(3)

    return call


def netcdf(folder: Path, n: int) -> Callable[[], object]:
    """Return what writes `n` variables of one dimension."""
    import xarray as xr

    dataset = xr.Dataset({f"v{i}": ("x", np.arange(4.0)) for i in range(n)})
    return lambda: streamh5.to_netcdf(dataset, folder / f"{n}.nc")


def told(*arguments: object) -> Callable[[], object]:
    """Return what runs a command, without its output."""

    def call() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            command([str(one) for one in arguments])

    return call


WORKS: dict[str, Callable[[Path, int], Callable[[], object]]] = {
    "datasets, h5py": lambda folder, n: write(folder, n, h5py.File),
    "datasets": lambda folder, n: write(folder, n, streamh5.File),
    "variables, to_netcdf": netcdf,
    "datasets, resumed": resumed,
    "datasets, one added": lambda folder, n: added(of_h5py(folder, n)),
    "groups, one dataset added": lambda folder, n: added(of_h5py(folder, n, of_groups=True)),
    "datasets, convert": lambda folder, n: told("convert", of_h5py(folder, n), folder / f"converted{n}.h5"),
    "groups, convert": lambda folder, n: told(
        "convert", of_h5py(folder, n, of_groups=True), folder / f"converted{n}.h5"
    ),
    "datasets, references": lambda folder, n: told(
        "references", of_h5py(folder, n), "--output", folder / f"{n}.json"
    ),
    "groups, references": lambda folder, n: told(
        "references", of_h5py(folder, n, of_groups=True), "--output", folder / f"{n}.json"
    ),
    "datasets, inspect": lambda folder, n: told("inspect", of_h5py(folder, n)),
    "datasets, verify": lambda folder, n: told("verify", of_h5py(folder, n)),
}


def seconds_here(name: str, n: int, directory: Path) -> float:
    """Return the processor time of a work in this process."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        WORKS[name](Path(folder), N_WARM)()
        call = WORKS[name](Path(folder), n)
        began = time.process_time()
        call()
        return time.process_time() - began


def seconds(name: str, n: int, directory: Path) -> float:
    """Return the processor time of a work in a process of its own."""
    arguments = [
        "-m",
        "tests.benchmarks.many_objects",
        "--child",
        name,
        "--most",
        str(n),
        "--dir",
        str(directory),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print the ratio to h5py, and a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=8_000, help="objects of the largest file")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--child", choices=WORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(seconds_here(options.child, options.most, options.dir))
        return
    pairs = [
        tuple(seconds(name, N_COMPARED, options.dir) for name in ("datasets, h5py", "datasets"))
        for _ in range(options.rounds)
    ]
    ratio = statistics.median(theirs / ours for theirs, ours in pairs)
    theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{N_COMPARED:,} datasets: h5py {theirs:.2f} s, streamh5 {ours:.2f} s: {ratio:.2f} x\n")
    counts = [options.most >> shift for shift in (3, 2, 1, 0)]
    print(f"| microseconds each | {' | '.join(f'{n:,}' for n in counts)} |\n| --- |{' --- |' * len(counts)}")
    for name in WORKS:
        rounds = [[seconds(name, n, options.dir) / n for n in counts] for _ in range(options.rounds)]
        least = [min(column) * 1e6 for column in zip(*rounds, strict=True)]
        print(f"| {name} | {' | '.join(f'{one:.0f}' for one in least)} |", flush=True)


if __name__ == "__main__":
    main()
