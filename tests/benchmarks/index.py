"""An index of 10,000,000 chunks at close, against ``numpy.save`` of the same columns.

``python -m tests.benchmarks.index '<json>'`` makes one of the two timings. No chunk is written: the
chunk table is filled with the records of chunks that lie one after the other, the file has a hole
where they would be, and the clock runs while the file is closed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.run import run_rounds
from tests.benchmarks.timing import SyncClock, measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tests.benchmarks.run import Settings

__all__ = ["run_index"]

N_CHUNKS = 10_000_000
CHUNK_ELEMENTS = 4096
BATCH_CHUNKS = 65536
"""Chunks that are entered in the table at once, as the store tasks of a write do."""


def _sizes(n_chunks: int) -> NDArray[np.uint64]:
    """Stored sizes of 16 KiB chunks at a ratio of about 2.3."""
    return np.random.default_rng(0).integers(6_000, 8_000, n_chunks, dtype=np.uint64)


def save_columns(n_chunks: int, path: Path) -> Callable[[], None]:
    """Save addresses and sizes, the columns of the table, with numpy."""
    sizes = _sizes(n_chunks)
    addresses = np.cumsum(sizes) - sizes
    stored = sizes.astype(np.uint32)

    def save() -> None:
        with path.open("wb") as file:
            np.save(file, addresses)
            np.save(file, stored)

    return save


def close_file(n_chunks: int, path: Path) -> Callable[[], None]:
    """Close a file whose chunks are all stored: index, headers, superblock, rename."""
    import streamh5
    from streamh5.model.chunk_records import chunk_records

    file = streamh5.File(path, "w")
    dataset = file.create_dataset(
        "x", (n_chunks * CHUNK_ELEMENTS,), "f4", chunks=(CHUNK_ELEMENTS,), compression="gzip", shuffle=True
    )
    sizes = _sizes(n_chunks)
    for first in range(0, n_chunks, BATCH_CHUNKS):
        batch = sizes[first : first + BATCH_CHUNKS]
        numbers = np.arange(first, first + len(batch), dtype=np.uint64)
        address = file.session.place.reserve(int(batch.sum()))
        dataset.record(chunk_records(numbers, address, batch, None))

    def close() -> None:
        file.close()

    return close


def check_closed(n_chunks: int, path: Path) -> None:
    """Have h5py look some chunks up.

    Raises
    ------
    ValueError
        They are not where they were said to be.
    """
    import h5py

    sizes = _sizes(n_chunks)
    ends = np.cumsum(sizes)
    with h5py.File(path) as file:
        dataset = file["x"]
        origin = dataset.id.get_chunk_info_by_coord((0,)).byte_offset
        for number in (0, 1, 1024, n_chunks // 2, n_chunks - 1):
            info = dataset.id.get_chunk_info_by_coord((number * CHUNK_ELEMENTS,))
            if (info.byte_offset - origin, info.size) != (ends[number] - sizes[number], sizes[number]):
                raise ValueError(f"chunk {number} is not where it was stored")


PREPARE = {"streamh5 close": close_file, "numpy.save": save_columns}


def run_index(settings: Settings) -> dict[str, Any]:
    """Time both sides in turn."""
    n_chunks = max(1, round(N_CHUNKS * settings.scale))
    orders = {name: {"name": name, "n_chunks": n_chunks} for name in PREPARE}
    timings, failed = run_rounds("index", orders, settings)
    return {
        "title": f"index of {n_chunks:,} chunks at close",
        "nbytes": n_chunks * 12,
        "chunk_nbytes": CHUNK_ELEMENTS * 4,
        "scale": settings.scale,
        "timings": timings,
        "missing": failed,
        "gzip": {},
    }


def main() -> None:
    order = json.loads(sys.argv[1])
    clock = SyncClock()
    path = Path(order["directory"]) / "out.h5"
    n_chunks = order["n_chunks"]
    PREPARE[order["name"]](1000, path.with_name("warm-up.h5"))()
    call = PREPARE[order["name"]](n_chunks, path)
    result = measure(call, path, clock, expected_nbytes=n_chunks * 16)
    if order["check"] and order["name"].startswith("streamh5"):
        check_closed(n_chunks, path)
    print(json.dumps({**result, "nbytes": n_chunks * 12}))


if __name__ == "__main__":
    main()
