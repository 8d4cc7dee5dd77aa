"""The journal of a file that is flushed again and again: it stays short, and what follows the last flush is resumed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.arguments.keywords import Sync
from streamh5.sinks import journal_file
from tests.deadlock import DEADLOCK_SECONDS
from tests.faults import growth
from tests.faults.nursery import forked

LONG = 5000


@pytest.fixture(autouse=True)
def _short_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "MIN_SHORTENED_NBYTES", LONG)


def journal(path: Path) -> Path:
    return Path(f"{path}.partial.journal")


def create(path: Path, mode: str) -> None:
    if mode == "a":
        with streamh5.File(path, "w") as file:
            file.create_dataset("x", (0,), "i8", maxshape=(None,), chunks=(10,))


def opened(path: Path, mode: str) -> streamh5.File:
    """Open the file, with the dataset x."""
    create(path, mode)
    file = streamh5.File(path, mode, threads=1, keep="always")
    if mode == "w":
        file.create_dataset("x", (0,), "i8", maxshape=(None,), chunks=(10,))
    return file


@pytest.mark.parametrize("sync", ["close", "batch"])
@pytest.mark.parametrize("mode", ["w", "a"])
def test_journal_of_a_file_that_is_flushed_stays_short(mode: str, sync: Sync, tmp_path: Path) -> None:
    path, longest = tmp_path / "a.h5", 0
    create(path, mode)
    with streamh5.File(path, mode, sync=sync, threads=1) as file:
        if mode == "w":
            file.create_dataset("x", (0,), "i8", maxshape=(None,), chunks=(10,))
        x = growth.dataset(file, "x")
        for i in range(100):
            for j in range(10):
                x.append(np.arange(100 * i + 10 * j, 100 * i + 10 * j + 10))
            file.flush()
            longest = max(longest, journal(path).stat().st_size)
    assert longest < 2 * LONG  # each flush claims ten chunks: more than 40,000 bytes in all
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"], np.arange(10_000))


@pytest.mark.parametrize("mode", ["w", "a"])
def test_process_killed_after_its_journal_became_shorter_is_resumed(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"

    def write() -> None:
        file = opened(path, mode)
        x = growth.dataset(file, "x")
        for i in range(60):
            x.append(np.arange(100 * i, 100 * i + 100))
            file.flush()
        file.create_dataset("late", (40,), "i8", chunks=(10,))[:20] = np.arange(20)
        x.append(np.arange(6000, 6200))
        os.kill(os.getpid(), signal.SIGKILL)

    _, status = os.waitpid(forked(write), 0)
    assert os.WIFSIGNALED(status), "the writer failed"
    assert journal(path).stat().st_size < 2 * LONG
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"], np.arange(6000))
    with streamh5.File(path, "a", resume=True) as file:
        x = growth.dataset(file, "x")
        assert x.n_appended == 6200
        late = file.create_dataset("late", (40,), "i8", chunks=(10,))
        assert late.is_stored((0,), (20,))
        assert not late.is_stored((20,), (20,))
        late[20:] = np.arange(20, 40)
        x.append(np.arange(6200, 6300))
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"], np.arange(6300))
        np.testing.assert_array_equal(found["late"], np.arange(40))
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("sync", ["close", "batch"])
def test_write_of_threads_whose_journal_becomes_shorter_meanwhile_is_resumed(
    sync: Sync, tmp_path: Path
) -> None:
    path, n_rows, n_threads = tmp_path / "a.h5", 400, 3

    def write() -> None:
        file = streamh5.File(path, "w", sync=sync, threads=1)
        one = [file.create_dataset(f"x{i}", (n_rows, 8), "i8", chunks=(1, 8)) for i in range(n_threads)]

        def fill(i: int) -> None:
            for row in range(n_rows):
                one[i][row] = row

        threads = [threading.Thread(target=fill, args=(i,)) for i in range(n_threads)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            file.flush()
        for thread in threads:
            thread.join(DEADLOCK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    _, status = os.waitpid(forked(write), 0)
    assert os.WIFSIGNALED(status), "the writer failed"
    with h5py.File(path) as found:
        missing = {
            f"x{i}": np.flatnonzero(found[f"x{i}"][:, 0] != np.arange(n_rows)) for i in range(n_threads)
        }
    with streamh5.File(path, "a", resume=True) as file:
        for name, rows in missing.items():
            x = growth.dataset(file, name)
            for row in rows.tolist():
                if not x.is_stored((row, 0), (1, 8)):  # in flight during a flush, or of the last batch
                    x[row] = row
    with h5py.File(path) as found:
        for name in missing:
            np.testing.assert_array_equal(found[name][:, 0], np.arange(n_rows))
