"""Peak memory of the threads of a write, and what `max_memory` counts for them: filters, sizes of blocks and chunks.

``python -m tests.benchmarks.peak``; incompressible blocks, which are the worst case. With ``--smooth``, blocks that
shrink.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

__all__: list[str] = []

MIB = 1 << 20
N_COLUMNS = 1024
N_BLOCKS_PER_THREAD = 3

CHAINS: list[dict[str, Any]] = [
    {"compression": None, "shuffle": False},
    {"compression": None, "shuffle": False, "fletcher32": True},
    {"compression": "gzip", "shuffle": False},
    {"compression": "gzip", "shuffle": True},
    {"compression": "gzip", "shuffle": True, "fletcher32": True},
    *({"compression": name, "shuffle": True} for name in ("lzf", "zstd", "lz4", "bzip2")),
    *({"compression": name} for name in ("blosc", "blosc2", "bitshuffle", "szip", "zfp")),
]
SIZES = [(64, 1, 1), (32, 1, 1), (8, 1, 1), (32, 8, 1), (32, 2, 2), (1, 1, 1)]
"""MiB of a block, and into how many chunks its rows and columns are divided."""


def measure(order: dict[str, Any]) -> None:
    """Print the peak above what the process has once it has written a small file."""
    import dask
    import dask.array as da
    import numpy as np

    import streamh5
    from streamh5.dask import blocks

    n_rows = order["mib"] * MIB // 4 // N_COLUMNS
    n_threads = order["threads"]

    def block(block_info: Any = None) -> Any:
        made = np.empty((n_rows, N_COLUMNS), "f4")
        flat = made.reshape(-1)
        for start in range(0, len(flat), 1 << 16):  # piece by piece: what makes a block must not be the peak
            part = flat[start : start + (1 << 16)]
            noise = np.random.default_rng(start).integers(0, 1 << 31, len(part), "i4").view("f4")
            part[...] = np.arange(len(part)) if order["smooth"] else noise
        return made

    def write(name: str, x: Any, chunks: tuple[int, int]) -> None:
        path = Path(order["directory"]) / name
        streamh5.to_fixed_h5(path, "/x", x, chunks=chunks, sync="none", progress=False, **order["chain"])
        path.unlink()

    def counted(kwargs: Any, targets: Any, max_memory: Any) -> Any:
        order["counted"] = max(map(blocks.worker_nbytes, targets))
        return kwargs

    vars(import_module("streamh5.dask.to_fixed_h5"))["limit_workers"] = counted
    dask.config.set(scheduler="threads", num_workers=n_threads)
    write("small.h5", da.zeros((64, 64), chunks=(8, 64), dtype="f4"), (8, 8))
    sizes = ((n_rows,) * (N_BLOCKS_PER_THREAD * n_threads), (N_COLUMNS,))
    x = da.map_blocks(block, chunks=sizes, dtype="f4", meta=np.empty((0, 0), "f4"))
    baseline = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    write("x.h5", x, (n_rows // order["rows"], N_COLUMNS // order["columns"]))
    print(json.dumps({"peak": _status("VmHWM") - baseline, "counted": order["counted"] * n_threads}))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smooth", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        measure(json.loads(given.child))
        return
    print(
        "| filters | block, MiB | chunks of it | peak, MiB a thread | in blocks | counted |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as directory:
        for chain in CHAINS:
            for mib, rows, columns in SIZES:
                order = {"chain": chain, "mib": mib, "rows": rows, "columns": columns, "directory": directory}
                order |= {"threads": given.threads, "smooth": given.smooth}
                command = [sys.executable, "-m", "tests.benchmarks.peak", "--child", json.dumps(order)]
                found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                peak, counted = (found[name] / given.threads / MIB for name in ("peak", "counted"))
                names = ", ".join(
                    str(value) if name == "compression" else name for name, value in chain.items() if value
                )
                row = [
                    names or "none",
                    mib,
                    f"{rows} x {columns}",
                    f"{peak:.1f}",
                    f"{peak / mib:.2f}",
                    f"{counted:.1f}",
                ]
                print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
