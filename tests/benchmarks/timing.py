"""One timing in a process of its own: ``python -m tests.benchmarks.timing '<json>'`` prints one line of JSON.

The clock runs from the contender's call to its return. Before: imports, a small warm-up write with
the same contender (codec tables, plugin search, thread pools, allocator), ``sync``, and a plain file
that is written and removed (`warm_page_cache`). After: what the contender
left in the page cache is made durable under a second clock, so that both rules can be reported:

* `seconds`: handed to the operating system. Time that a contender spends in its own ``fsync`` is
  taken out and reported as `own_sync_seconds` (only streamh5 makes its file durable by itself);
* `seconds` + `own_sync_seconds` + `sync_seconds`: durable on the disk, for every contender.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.contenders import Contender, contender_of
from tests.benchmarks.machine import BUSY_RESOLUTION_SECONDS, busy_seconds, warm_page_cache
from tests.benchmarks.work import WORKS, load_pool, make_array

if TYPE_CHECKING:
    from collections.abc import Callable

    import dask.array as da

WARM_UP_NBYTES = 2**25
"""So much that the allocator has settled on what it keeps."""


class SyncClock:
    """Stands in for ``os.fsync`` and ``os.fdatasync`` and keeps the time that they take."""

    def __init__(self) -> None:
        self.seconds = 0.0
        for name in ("fsync", "fdatasync"):
            if hasattr(os, name):
                setattr(os, name, self._timed(getattr(os, name)))

    def _timed(self, sync: Callable[[Any], None]) -> Callable[[Any], None]:
        def timed(fd: Any) -> None:
            start = time.perf_counter()
            try:
                sync(fd)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def stored_nbytes(path: Path) -> int:
    """Bytes in the file, or in all files of the store."""
    if path.is_dir():
        return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
    return path.stat().st_size if path.exists() else 0


def make_durable(path: Path) -> None:
    """Fsync the file; for a store of many files one ``sync``, which is cheaper than theirs together."""
    if path.is_dir():
        os.sync()
    elif path.exists():
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def measure(
    call: Callable[[], None], path: Path, clock: SyncClock, *, expected_nbytes: int
) -> dict[str, float]:
    """Time one call that writes `path`, then the time until its output is durable.

    Returns
    -------
    dict
        `seconds`, `own_sync_seconds`, `sync_seconds` as above; `processor_seconds` of this process;
        `foreign_share`, the part of the machine that others used meanwhile; `stored_nbytes`.
    """
    gc.collect()
    os.sync()
    warm_page_cache(path.parent, expected_nbytes)
    clock.seconds = 0.0
    busy, own, start = busy_seconds(), time.process_time(), time.perf_counter()
    call()
    total, own = time.perf_counter() - start, time.process_time() - own
    busy_after, own_sync = busy_seconds(), clock.seconds
    start = time.perf_counter()
    make_durable(path)
    sync = time.perf_counter() - start
    foreign = 0.0
    if busy is not None and busy_after is not None:
        foreign = max(0.0, busy_after - busy - own - BUSY_RESOLUTION_SECONDS)
    return {
        "seconds": total - own_sync,
        "own_sync_seconds": own_sync,
        "sync_seconds": sync,
        "processor_seconds": own,
        "foreign_share": foreign / total / (os.cpu_count() or 1),
        "stored_nbytes": stored_nbytes(path),
    }


def check_written(contender: Contender, path: Path, x: da.Array) -> None:
    """Read the output with its usual reader and compare it with `x`.

    Raises
    ------
    ValueError
        It holds something else.
    """
    if not contender.suffix:
        return
    if contender.suffix == ".zarr":
        import zarr

        stored = zarr.open_array(str(path), mode="r")[...]
    elif contender.suffix == ".b2nd":
        import blosc2

        stored = blosc2.open(str(path), mode="r")[...]
    else:
        import h5py

        if contender.family in ("zstd", "blosc"):
            import hdf5plugin  # noqa: F401
        with h5py.File(path) as file:
            stored = file["x"][...]
    if not np.array_equal(stored, np.asarray(x)):
        raise ValueError(f"{contender.name} wrote something else than it was given")


def main() -> None:
    import dask

    order = json.loads(sys.argv[1])
    work = WORKS[order["work"]]
    contender = contender_of(order["contender"], order["setting"])
    directory = Path(order["directory"])
    dask.config.set(scheduler="threads", num_workers=order["threads"])
    clock = SyncClock()
    pool = load_pool(work, Path(order["pools"]))

    warm_up = make_array(work, pool, max(2, WARM_UP_NBYTES // work.block_nbytes))
    path = directory / f"warm-up{contender.suffix}"
    contender.write(warm_up, work.chunks, path)
    if order["check"]:
        check_written(contender, path, warm_up)

    x = make_array(work, pool, order["n_blocks"])
    path = directory / f"out{contender.suffix}"
    nbytes = order["n_blocks"] * work.block_nbytes
    result = measure(lambda: contender.write(x, work.chunks, path), path, clock, expected_nbytes=nbytes)
    print(json.dumps({**result, "nbytes": nbytes}))


if __name__ == "__main__":
    main()
