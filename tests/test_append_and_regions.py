"""Appending to a dataset of unknown length, and writing regions of it: one or the other."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import streamh5
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
