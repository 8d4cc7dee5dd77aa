"""The changes on which faults are tried: a file grows in two generations, which readers see whole or not at all.

Generation 0 is the file before (or no file), 1 what `flush` publishes, 2 what `close` publishes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

import streamh5

ROWS = np.arange(26 * 3, dtype="i4").reshape(26, 3) + 1
PLANE = np.arange(12 * 10, dtype="f8").reshape(12, 10) + 1
N_ROWS = (5, 13, 26)
EXTENTS = ((6, 4), (8, 10), (12, 10))

Start = Literal["addition", "new"]


def make_base(path: Path) -> None:
    """Write generation 0 of an addition."""
    with streamh5.File(path, "w", sync="none") as file:
        begin(file)
        file.attrs["generation"] = 0


def begin(file: streamh5.File) -> None:
    """Create the objects of generation 0."""
    rows = file.create_dataset("rows", (None, 3), "i4", chunks=(4, 3), maxshape=(None, 3), compression="gzip")
    if rows.n_appended < N_ROWS[0]:
        rows.append(ROWS[rows.n_appended : N_ROWS[0]])
    shape = EXTENTS[0]
    plane = file.create_dataset("plane", shape, "f8", chunks=(2, 5), maxshape=(None, None), fillvalue=-1)
    plane[...] = PLANE[: shape[0], : shape[1]]
    file["value"] = 1.5
    file["other"] = np.arange(4)


def first_step(file: streamh5.File) -> None:
    """Change everything that generation 1 has changed."""
    rows, plane = dataset(file, "rows"), dataset(file, "plane")
    append(rows, N_ROWS[1])
    plane.resize(EXTENTS[1])
    fill(plane, EXTENTS[1])
    file.create_dataset("new", (9,), "i8", chunks=(4,))[...] = np.arange(9)
    rows.attrs["unit"] = "K"
    file.attrs["generation"] = 1


def second_step(file: streamh5.File) -> None:
    """Change everything that generation 2 has changed."""
    rows, plane = dataset(file, "rows"), dataset(file, "plane")
    append(rows, N_ROWS[2])
    plane.resize(EXTENTS[2])
    fill(plane, EXTENTS[2])
    file.move("value", "g/value")
    del file["other"]
    file["other"] = "another"
    del rows.attrs["unit"]
    file.attrs["generation"] = 2


def dataset(file: streamh5.File, path: str) -> streamh5.Dataset:
    """Return the handle of a dataset."""
    found = file[path]
    assert isinstance(found, streamh5.Dataset)
    return found


def append(rows: streamh5.Dataset, stop: int) -> None:
    """Append row by row what is missing."""
    for i in range(rows.n_appended, stop):
        rows.append(ROWS[i : i + 1])


def fill(plane: streamh5.Dataset, shape: tuple[int, int]) -> None:
    """Write what is missing of the plane, row of chunks by row of chunks."""
    for i in range(0, shape[0], 2):
        if not plane.is_stored((i, 0), (2, shape[1])):
            plane[i : i + 2] = PLANE[i : i + 2, : shape[1]]


def grow(path: Path, start: Start, **keywords: Any) -> None:
    """Bring the file to generation 2, from whatever generation it has; resume what was interrupted."""
    found = generation(path)
    if found == 2:
        with streamh5.File(path, "a", resume=True, **keywords) as file:  # drops what a crash has left
            assert not file.session.leftover.n_chunks
        return
    is_new = start == "new" and found is None
    with streamh5.File(path, "w" if is_new else "a", resume=True, threads=1, **keywords) as file:
        if is_new:
            begin(file)
        if found != 1:
            first_step(file)
            file.flush()
        second_step(file)


def generation(path: Path) -> int | None:
    """Which generation of the file there is; None if there is none."""
    if not path.exists():
        return None
    with h5py.File(path) as file:
        return int(file.attrs["generation"])


def check(path: Path, start: Start) -> int | None:
    """The file is one of its generations, and every value is right; return which."""
    found = generation(path)
    if found is None:
        assert start == "new", "the file is gone"
        return None
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["rows"][...], ROWS[: N_ROWS[found]])
        rows, columns = EXTENTS[found]
        np.testing.assert_array_equal(file["plane"][...], PLANE[:rows, :columns])
        assert file["g/value" if found == 2 else "value"][()] == 1.5
        assert ("value" in file) == (found < 2)
        assert ("new" in file) == (found > 0)
        if found > 0:
            np.testing.assert_array_equal(file["new"][...], np.arange(9))
        if found == 2:
            assert file["other"][()] == b"another"
        else:
            np.testing.assert_array_equal(file["other"][...], np.arange(4))
        assert dict(file["rows"].attrs) == ({"unit": "K"} if found == 1 else {})
    return found


def check_grows(path: Path, start: Start) -> None:
    """After any fault: a whole generation, from which the changes can be completed."""
    check(path, start)
    grow(path, start)
    assert check(path, start) == 2
    left = {one.name for one in path.parent.iterdir()} - {path.name}
    assert not left, left
