"""The write on which faults are tried, and what must be true of its files afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

import streamh5

GRID = np.arange(24 * 20, dtype="i4").reshape(24, 20) + 1
ROWS = np.arange(50, dtype="f8").reshape(10, 5) + 1
SMALL = np.arange(6, dtype="u2") + 1
OLD = np.arange(7)


def write_old(path: Path) -> None:
    """Put the file there that is to be replaced, or not."""
    with h5py.File(path, "w") as file:
        file["old"] = OLD


def write(
    path: Path, *, overwrite: bool = True, resume: bool = True, sync: Any = "close", checkpoint: bool = False
) -> None:
    """Write, or take up, the whole file: a grid by regions, a stream by rows, a scalar, attributes."""
    mode = "w" if overwrite else "x"
    with streamh5.File(path, mode, resume=resume, sync=sync, threads=1) as file:
        file.attrs["title"] = "faults"
        grid = file.create_dataset("g/grid", GRID.shape, GRID.dtype, chunks=(8, 10), fillvalue=-1)
        rows = file.create_dataset("rows", (None, 5), ROWS.dtype, chunks=(4, 5), compression="gzip")
        small = file.create_dataset("small", SMALL.shape, SMALL.dtype, chunks=(2,), alloc_time="early")
        value = file.create_dataset("value", (), "f8")
        grid.attrs["unit"] = "K"
        for n, (i, j) in enumerate(np.ndindex(3, 2)):
            region = (slice(8 * i, 8 * i + 8), slice(10 * j, 10 * j + 10))
            if not grid.is_stored((8 * i, 10 * j), (8, 10)):
                grid[region] = GRID[region]
            if n < 3 and not small.is_stored((2 * n,), (2,)):
                small[2 * n : 2 * n + 2] = SMALL[2 * n : 2 * n + 2]
            if n < 5 and rows.n_appended < 2 * n + 2:
                rows.append(ROWS[rows.n_appended : 2 * n + 2])
            if checkpoint and n in (1, 4):
                file.checkpoint()
        value[()] = 2.5


def check_complete(path: Path) -> None:
    """All values are there, as another program reads them."""
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["g/grid"][...], GRID)
        np.testing.assert_array_equal(file["rows"][...], ROWS)
        np.testing.assert_array_equal(file["small"][...], SMALL)
        assert file["value"][()] == 2.5
        assert file.attrs["title"] == "faults"
        assert file["g/grid"].attrs["unit"] == "K"


def check_partly(path: Path) -> int:
    """A file of what was there at some time: every value is right or the fill value.

    Returns
    -------
    int
        Rows of the stream.
    """
    with h5py.File(path) as file:
        if "g/grid" in file:
            grid = file["g/grid"][...]
            assert np.all((grid == GRID) | (grid == -1))
        if "small" in file:
            small = file["small"][...]
            assert np.all((small == SMALL) | (small == 0))
        if "rows" not in file:
            return 0
        rows = file["rows"][...]
        padded = np.pad(ROWS, ((0, -len(ROWS) % 4), (0, 0)))  # a salvage keeps the last chunk as a whole
        assert len(rows) <= len(padded)
        assert np.all((rows == padded[: len(rows)]) | (rows == 0))
        return len(rows)


def check_old(path: Path) -> None:
    """The file that was there before is as it was."""
    with h5py.File(path) as file:
        assert list(file) == ["old"]
        np.testing.assert_array_equal(file["old"][...], OLD)


def check_destination(path: Path, *, had_old: bool) -> bool:
    """Never a half file: the old one (or none), or the complete new one. Tell whether it is the new."""
    if not path.exists():
        assert not had_old, "the old file is gone"
        return False
    with h5py.File(path) as file:
        is_old = "old" in file
    if is_old:
        check_old(path)
    else:
        check_complete(path)
    return not is_old


def check_snapshot(path: Path) -> None:
    """A snapshot, where there is one, can be read."""
    snapshot = path.with_name(path.name + ".snapshot")
    if snapshot.exists():
        check_partly(snapshot)


def check_resumable(path: Path, *, had_old: bool) -> None:
    """After any fault: nothing half at the destination, and the write can be finished."""
    is_new = check_destination(path, had_old=had_old)
    check_snapshot(path)
    # what stands there was complete: writing it once more must not harm it before the new one is
    write(path, overwrite=had_old or is_new)
    check_complete(path)
    left = {one.name for one in path.parent.iterdir()} - {path.name, path.name + ".snapshot", "some.h5"}
    assert not left, left
