"""Files with pages that are interrupted: what is resumed or salvaged has the same pages, and obeys their rule."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import JournalError, ResumeError, UnreadableError
from tests.faults.systems import Crash, crashing, installed
from tests.faults.tally import tried
from tests.readers.page_buffer import assert_paged, page_nbytes

PAGES = (1024, True, 1 << 16)
N_ROWS = 600


def write(path: Path, page: Any, **keywords: Any) -> None:
    """Write, or take up, a file: a grid, rows with a snapshot and a flush in between, groups, attributes."""
    with streamh5.File(path, "w", page=page, threads=1, **keywords) as file:
        grid = file.create_dataset("grid", (40, 30), "i4", chunks=(1, 3))
        rows = file.create_dataset("rows", (None,), "i8", chunks=(2,), compression="gzip")
        grid.attrs["units"] = "K"
        for i in range(40):
            grid[i] = np.arange(30) + i
        for stop in range(100, N_ROWS + 1, 100):
            if rows.n_appended < stop:
                rows.append(np.arange(rows.n_appended, stop))
            if stop == 200:
                file.checkpoint()
        rows.attrs["text"] = "a" * 2000
        for i in range(20):
            file.require_group(f"groups/{i}")


def check(path: Path, size: int | None) -> None:
    assert_paged(path, size)
    report = streamh5.verify(path)
    assert report.ok, report
    assert not report.n_unbuffered, report


def n_calls(path: Path, page: Any) -> int:
    calls = crashing(1 << 40, "after")
    with installed(calls):
        write(path, page)
    return calls.n


@pytest.mark.parametrize("page", PAGES)
def test_crashed_write_is_resumed_and_salvaged_with_its_pages(page: Any, tmp_path: Path) -> None:
    n = n_calls(tmp_path / "undisturbed.h5", page)
    size = page_nbytes(tmp_path / "undisturbed.h5")
    n_salvaged = 0
    points = range(0, n, max(1, n // 12))
    for at in points:
        folder = tmp_path / str(at)
        folder.mkdir()
        calls = crashing(at, "after")
        with installed(calls), suppress(Crash, OSError):
            write(folder / "out.h5", page)
        calls.bury()
        shutil.copytree(folder, tmp_path / f"{at}-salvaged")
        with suppress(JournalError, UnreadableError):
            check(Path(streamh5.salvage(tmp_path / f"{at}-salvaged" / "out.h5").path), size)
            n_salvaged += 1
        write(folder / "out.h5", page, resume=True)
        check(folder / "out.h5", size)
        with h5py.File(folder / "out.h5") as file:
            assert file["rows"][()].tolist() == list(range(N_ROWS))
            assert file["grid"][39].tolist() == list(range(39, 69))
    assert n_salvaged > 3
    tried("crash of a write with pages", len(points))


def test_write_is_not_resumed_with_other_pages(tmp_path: Path) -> None:
    file = streamh5.File(tmp_path / "a.h5", page=4096)
    file.create_dataset("x", data=np.arange(10), chunks=(5,))
    file.session.suspend()
    for page in (None, True, 8192):
        with pytest.raises(ResumeError, match="page"):
            streamh5.File(tmp_path / "a.h5", page=page, resume=True)
    with streamh5.File(tmp_path / "a.h5", page=4096, resume=True) as file:
        file.create_dataset("x", data=np.arange(10), chunks=(5,))
    check(tmp_path / "a.h5", 4096)


@pytest.mark.parametrize("page", PAGES)
def test_crash_after_a_flush_is_resumed_or_salvaged_with_its_pages(page: Any, tmp_path: Path) -> None:
    def begin(path: Path) -> None:
        file = streamh5.File(path, page=page, threads=1)
        rows = file.create_dataset("rows", (0,), "i8", maxshape=(None,), chunks=(2,))
        for i in range(4):
            rows.append(np.arange(100))
            file.flush()
            check(path, None)
            file.create_dataset(f"x{i}", data=np.arange(9), chunks=(3,)).attrs["a"] = "b" * 600
        file.session.suspend()

    begin(tmp_path / "a.h5")
    size = page_nbytes(tmp_path / "a.h5")
    begin(tmp_path / "b.h5")
    check(Path(streamh5.salvage(tmp_path / "a.h5").path), size)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x3"][()].tolist() == list(range(9))
    with streamh5.File(tmp_path / "b.h5", "a", resume=True) as file:
        file.create_dataset("x3", data=np.arange(9), chunks=(3,)).attrs["a"] = "b" * 600
        kept: Any = file["rows"]
        kept.append(np.arange(100))
    check(tmp_path / "b.h5", size)
