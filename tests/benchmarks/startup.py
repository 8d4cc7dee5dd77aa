"""How long a process takes that does next to nothing: what people wait for at each command, and at an import.

    python -m tests.benchmarks.startup [--repeats 10]

Each row is a process of its own, with compiled modules at hand; the shortest of all repeats counts. The figures
that are to be held on an idle machine: each command under 0.25 s, and ``import streamh5`` behind ``import
dask.array`` at most 0.15 s more.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

REPOSITORY = Path(__file__).parents[2]


def small_file(path: Path) -> None:
    """Write a file with one chunked, filtered dataset."""
    with h5py.File(path, "w", libver="latest") as file:
        values = np.arange(1000.0).reshape(50, 20)
        file.create_dataset("x", data=values, chunks=(10, 10), compression="gzip", shuffle=True)
        file["x"].attrs["unit"] = "K"


def works(small: Path) -> dict[str, list[str]]:
    """Arguments of the interpreter, by what a row is called."""
    return {
        "import numpy": ["-c", "import numpy"],
        "import numcodecs": ["-c", "import numcodecs"],
        "import dask.array": ["-c", "import dask.array"],
        "import streamh5": ["-c", "import streamh5"],
        "import dask.array, streamh5": ["-c", "import dask.array, streamh5"],
        "streamh5 --help": ["-m", "streamh5", "--help"],
        "streamh5 inspect": ["-m", "streamh5", "inspect", str(small)],
        "streamh5 verify --no-data": ["-m", "streamh5", "verify", "--no-data", str(small)],
        "streamh5 references": ["-m", "streamh5", "references", str(small)],
    }


def run(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return seconds by the clock, and of processor time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - began
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=10)
    repeats: int = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "small.h5")
        small_file(small)
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        print("| process | seconds | processor |\n| --- | --- | --- |")
        for name, arguments in works(small).items():
            run(arguments, environment)  # compiles
            seconds, processor = zip(*(run(arguments, environment) for _ in range(repeats)), strict=True)
            print(f"| {name} | {min(seconds):.3f} | {min(processor):.3f} |", flush=True)


if __name__ == "__main__":
    main()
