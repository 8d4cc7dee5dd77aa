"""Appending to a dataset of unknown length, and writing regions of it: one or the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.errors import BlockError


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
        with pytest.raises(BlockError, match="either append or regions"):
            dataset[4:8] = np.ones((4, 3), "i4")
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
    with h5py.File(tmp_path / "a.h5") as found:
        values = found["x"][...] if dtype == "i4" else found["x"].asstr()[...]
        assert values[:3].tolist() == rows
        assert values[3].tolist() == ([0, 0] if dtype == "i4" else ["", ""])


def test_field_of_records_that_are_stored_whole_is_no_region(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        x = file.create_dataset("x", (4,), [("a", "i4"), ("b", "i4")])
        with pytest.raises(errors.BlockError, match="region 'a'"):
            x["a"] = 9
