"""Appending to a dataset of unknown length, and writing regions of it: one or the other."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.errors import BlockError
from streamh5.write.chunk_writer import EncodedChunks
from tests.deadlock import DEADLOCK_SECONDS


def test_append_after_regions_is_refused_and_keeps_them(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", shape=(None, 3), chunks=(4, 3), dtype="i4")
        dataset[0:8] = np.ones((8, 3), "i4")
        with pytest.raises(BlockError, match="either append or regions"):
            dataset.append(np.zeros(3, "i4"))
    with h5py.File(tmp_path / "x.h5") as found:
        np.testing.assert_array_equal(found["x"][...], np.ones((8, 3), "i4"))


def test_region_behind_appended_rows_is_refused_and_one_in_them_counts(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", shape=(None, 3), chunks=(4, 3), dtype="i4")
        dataset.append(np.zeros((6, 3), "i4"))
        for region in (np.s_[4:8], 6):
            with pytest.raises(BlockError, match="either append or regions"):
                dataset[region] = 1
        dataset[0:4] = np.full((4, 3), 7, "i4")
    with h5py.File(tmp_path / "x.h5") as found:
        np.testing.assert_array_equal(found["x"][...], [[7] * 3] * 4 + [[0] * 3] * 2)


@pytest.mark.parametrize("dtype", ["i4", h5py.string_dtype()], ids=["i4", "text"])
def test_small_data_that_is_stored_whole_can_be_appended_to(dtype: Any, tmp_path: Path) -> None:
    rows = [["a", "b"], ["c", "d"], ["e", "f"]] if dtype != "i4" else [[1, 2], [3, 4], [5, 6]]
    with streamh5.File(tmp_path / "a.h5") as file:
        x = file.create_dataset("x", (4, 2), dtype)
        assert x.chunks is None
        x.append(rows[0])
        x.append(rows[1:])
        assert x.n_appended == 3
        with pytest.raises(errors.BlockError, match="pass the end"):
            x.append(rows[:2])
        with pytest.raises(errors.BlockError, match="stored without chunks"):
            x.write_direct_chunk((0, 0), bytes(32))
        with pytest.raises(errors.BlockError, match="stored without chunks"):
            x.write_block(rows, (0, 0))
        with pytest.raises(errors.BlockError, match="stored without chunks"):
            x.write_encoded(EncodedChunks(np.zeros(0, np.uint64), []))
    with h5py.File(tmp_path / "a.h5") as found:
        values = found["x"][...] if dtype == "i4" else found["x"].asstr()[...]
        assert values[:3].tolist() == rows
        assert values[3].tolist() == ([0, 0] if dtype == "i4" else ["", ""])


def test_field_of_records_that_are_stored_whole_is_no_region(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        x = file.create_dataset("x", (4,), [("a", "i4"), ("b", "i4")])
        with pytest.raises(errors.BlockError, match="'a' names a field"):
            x["a"] = 9


def test_chunk_that_is_interrupted_half_written_is_kept_and_does_not_count_as_stored(tmp_path: Path) -> None:
    path, data = tmp_path / "x.h5", np.arange(40, dtype="i4").reshape(10, 4)
    with streamh5.File(path, "w", resume=True) as file:
        x = file.create_dataset("x", (10, 4), "i4", chunks=(4, 4), compression="gzip")
        for i in range(6):
            x[i] = data[i]
        file.suspend()
    (tmp_path / "copy").mkdir()
    for one in tmp_path.glob("x.h5.partial*"):
        shutil.copy(one, tmp_path / "copy")
    salvaged = streamh5.salvage(tmp_path / "copy" / "x.h5.partial").path
    with h5py.File(salvaged) as found:
        np.testing.assert_array_equal(found["x"][:6], data[:6])
    with streamh5.File(path, "w", resume=True) as file:
        x = file.create_dataset("x", (10, 4), "i4", chunks=(4, 4), compression="gzip")
        assert [x.is_stored((i, 0), (1, 4)) for i in range(10)] == [True] * 4 + [False] * 6
        for i in range(6, 10):  # a program that knows better: the elements are there
            x[i] = data[i]
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][...], data)


@pytest.mark.parametrize("n_before", [5, 8])
def test_rows_of_an_open_length_that_are_written_again_after_a_resume_set_the_length(
    n_before: int, tmp_path: Path
) -> None:
    path, data = tmp_path / "x.h5", np.arange(40, dtype="i4").reshape(10, 4)
    for is_last in (False, True):
        with streamh5.File(path, "w", resume=True) as file:
            x = file.create_dataset("x", (None, 4), "i4", chunks=(4, 3), compression="gzip")
            for i in range(n_before if not is_last else 9):
                if not x.is_stored((i, 0), (1, 4)):
                    x[i] = data[i]
            if not is_last:
                file.suspend()
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][...], data[:9])


def test_chunk_that_was_completed_in_two_parts_counts_as_stored(tmp_path: Path) -> None:
    path, data = tmp_path / "x.h5", np.arange(3200, dtype="i4").reshape(4, 800)
    with streamh5.File(path, "w", resume=True, max_memory=4000) as file:
        x = file.create_dataset("x", (4, 800), "i4", chunks=(4, 100))
        for i in range(4):
            x[i] = data[i]
        file.suspend()
    with streamh5.File(path, "w", resume=True) as file:
        x = file.create_dataset("x", (4, 800), "i4", chunks=(4, 100))
        assert x.is_stored((0, 0), (4, 800))
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][...], data)


def test_append_and_regions_of_a_known_shape_mix_in_the_order_of_the_calls(tmp_path: Path) -> None:
    path, expected = tmp_path / "x.h5", np.zeros((20, 3), "i4")
    with streamh5.File(path, "w") as file:
        x = file.create_dataset("x", (20, 3), "i4", chunks=(8, 2), compression="gzip")
        x[4:12] = 9
        x.append(np.full((6, 3), 1))
        x[2:7, 1] = 2
        x.append(np.full((5, 3), 3))
        x[15] = 4
    expected[4:12] = 9
    expected[:6] = 1
    expected[2:7, 1] = 2
    expected[6:11] = 3
    expected[15] = 4
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][...], expected)


def test_checkpoint_shows_the_rows_so_far_and_writing_goes_on(tmp_path: Path) -> None:
    path, data = tmp_path / "x.h5", np.arange(60, dtype="i4").reshape(20, 3)
    with streamh5.File(path, "w") as file:
        x = file.create_dataset("x", (None, 3), "i4", chunks=(8, 2), compression="gzip")
        y = file.create_dataset("y", (20, 3), "i4", chunks=(8, 2), compression="gzip")
        for i, row in enumerate(data):
            x.append(row)
            y[i] = row
            if i % 5 == 4:
                snapshot = file.checkpoint()
                with h5py.File(snapshot) as found:
                    np.testing.assert_array_equal(found["x"][...], data[: i + 1])
                    np.testing.assert_array_equal(found["y"][: i + 1], data[: i + 1])
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][...], data)
        np.testing.assert_array_equal(found["y"][...], data)


def test_flush_publishes_the_rows_so_far_and_writes_each_later_chunk_once(tmp_path: Path) -> None:
    path, data = tmp_path / "x.h5", np.arange(60, dtype="i4").reshape(20, 3)
    with streamh5.File(path, "w") as file:
        x = file.create_dataset("x", (None, 3), "i4", chunks=(8, 2), compression="gzip")
        y = file.create_dataset("y", (20, 3), "i4", chunks=(8, 2), compression="gzip")
        for i, row in enumerate(data):
            x.append(row)
            y[i] = row
            if i in (4, 12):
                file.flush()
                with h5py.File(path) as found:
                    np.testing.assert_array_equal(found["x"][...], data[: i + 1])
                    np.testing.assert_array_equal(found["y"][: i + 1], data[: i + 1])
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][...], data)
        np.testing.assert_array_equal(found["y"][...], data)
    assert file.summary is not None
    assert [one.n_rewritten for one in file.summary.datasets] == [4, 4]


def test_resumed_addition_knows_which_regions_it_has_stored(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros((12, 3), "i4"), chunks=(4, 3), compression="gzip")
    with streamh5.File(path, "a", resume=True) as changed:
        x: Any = changed["x"]
        for i in range(6):
            x[i] = i + 1
        changed.suspend()
    with streamh5.File(path, "a", resume=True) as changed:
        x = changed["x"]
        assert [x.is_stored((i, 0), (1, 3)) for i in range(12)] == [True] * 4 + [False] * 8
        for i in range(4, 12):
            x[i] = i + 1
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][:, 0], np.arange(1, 13))


@pytest.mark.parametrize("first", ["data", "..."])
@pytest.mark.parametrize("chunks", [None, (4,)])
def test_append_after_the_whole_was_set_never_overwrites_it(first: str, chunks: Any, tmp_path: Path) -> None:
    path, rows, added = tmp_path / "a.h5", np.arange(1, 11), list[int]()
    maxshape = None if chunks is None else (None,)
    with streamh5.File(path, "w") as file:
        if first == "data":
            x = file.create_dataset("x", data=rows, chunks=chunks, maxshape=maxshape)
        else:
            x = file.create_dataset("x", (10,), "i8", chunks=chunks, maxshape=maxshape)
            x[...] = rows
        if chunks is None:
            with pytest.raises(BlockError, match="1 row appended at row 10 pass the end"):
                x.append([99])
        else:
            x.append([99])
            x[...] = [*rows, 98]  # the later call counts, and the end stays
            x.append([100, 101])
            added = [98, 100, 101]
        assert x.n_appended == 10 + len(added)
    with h5py.File(path) as read:
        assert read["x"][...].tolist() == [*rows, *added]


def test_rows_after_the_whole_are_found_by_a_resume(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.h5", np.arange(1, 11)
    for is_last in (False, True):
        with streamh5.File(path, "w", resume=True) as file:
            x = file.create_dataset("x", data=rows, chunks=(4,), maxshape=(None,))
            for i in range(x.n_appended, 30 if is_last else 23):
                x.append([i + 1])
            if not is_last:
                file.suspend()
    with h5py.File(path) as read:
        assert read["x"][...].tolist() == [*range(1, 31)]


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("how", ["flush", "checkpoint"])
def test_rows_that_another_thread_is_appending_are_not_shown_before_they_are_stored(
    how: str, compression: Any, tmp_path: Path
) -> None:
    shown, is_over, n_shown = tmp_path / ("a.h5" if how == "flush" else "b.h5"), threading.Event(), 0
    with streamh5.File(tmp_path / "a.h5", "w", threads=2) as file:
        x = file.create_dataset("x", (0, 4), "i8", maxshape=(None, 4), chunks=(3, 4), compression=compression)

        def append() -> None:
            while not is_over.is_set():
                x.append(np.arange(4 * x.n_appended, 4 * x.n_appended + 20).reshape(5, 4))

        thread = threading.Thread(target=append, daemon=True)
        thread.start()
        for _ in range(20):
            file.flush() if how == "flush" else file.checkpoint(shown)
            with h5py.File(shown) as found:
                rows = found["x"][...]
            np.testing.assert_array_equal(rows.ravel(), np.arange(rows.size))
            n_shown = max(n_shown, len(rows))
        is_over.set()
        thread.join(DEADLOCK_SECONDS)
        assert not thread.is_alive()
    assert n_shown > 0


def test_checkpoint_of_a_file_that_was_flushed_is_refused_and_costs_nothing(tmp_path: Path) -> None:
    rows = np.ones((4, 4), "i4")
    with streamh5.File(tmp_path / "run.h5", "w") as file:
        x = file.create_dataset("x", (None, 4), "i4", chunks=(2, 4))
        x.append(rows)
        file.flush()
        x.append(2 * rows)
        with pytest.raises(errors.StateError, match=r"flushed.*call flush again"):
            file.checkpoint()
        x.append(3 * rows)
    with h5py.File(tmp_path / "run.h5") as found:
        assert found["x"][:, 0].tolist() == [1] * 4 + [2] * 4 + [3] * 4
    assert [one.name for one in tmp_path.iterdir()] == ["run.h5"]
