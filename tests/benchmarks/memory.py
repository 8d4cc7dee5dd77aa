"""Peak resident memory of one write in a process of its own, above what the imports take."""

from __future__ import annotations

import json
import resource
import sys
from importlib import import_module
from pathlib import Path

from tests.benchmarks.contenders import contender_of
from tests.benchmarks.work import WORKS, load_pool, make_array

__all__ = ["MEMORY_CONTENDERS"]

MEMORY_CONTENDERS = ("streamh5 gzip", "streamh5 none", "to_hdf5 none", "zarr default")
"""Those that are measured unless others are named."""


def peak_nbytes() -> int:
    """Highest resident size so far of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    import dask

    order = json.loads(sys.argv[1])
    work = WORKS[order["work"]]
    contender = contender_of(order["contender"])
    dask.config.set(scheduler="threads", num_workers=order["threads"])
    for module in ("dask.array", *contender.requires):
        import_module(module)
    pool = load_pool(work, Path(order["pools"]))
    # Each block is a copy, as a reader or a computation gives it: a view would weigh nothing.
    x = make_array(work, pool, order["n_blocks"], copy=True)
    baseline = peak_nbytes()
    contender.write(x, work.chunks, Path(order["directory"]) / f"out{contender.suffix}")
    print(json.dumps({"baseline_nbytes": baseline, "peak_nbytes": peak_nbytes() - baseline}))


if __name__ == "__main__":
    main()
