"""Datasets with a billion possible chunks and few stored: memory, index and file go by what is stored."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.engine import index_choice
from streamh5.model import chunk_table
from tests.readers.hdf5_tools import h5ls, repacks

SHAPE = (100_000, 100_000)
CHUNKS = (3, 3)  # 33,334 x 33,334 = 1,111,155,556 chunks
MAXSHAPES: dict[str, Any] = {
    "fixed": None,
    "bounded": (200_000, 100_000),
    "rows": (None, 100_000),
    "both": (None, None),
}
CORNERS = [(0, 0), (3, 99_999), (50_001, 60_000), (99_999, 0), (99_999, 99_999)]


def create(file: streamh5.File, **keywords: Any) -> streamh5.Dataset:
    return file.create_dataset("x", SHAPE, "i2", chunks=CHUNKS, fillvalue=-1, **keywords)


def fill(dataset: streamh5.Dataset, corners: list[tuple[int, int]] = CORNERS) -> None:
    for number, (row, column) in enumerate(corners):
        rows, columns = min(3, SHAPE[0] - row), min(3, SHAPE[1] - column)
        dataset[row : row + rows, column : column + columns] = np.full((rows, columns), number, "i2")


def check(path: Path, n: int = len(CORNERS)) -> None:
    with h5py.File(path) as found:
        dataset = found["x"]
        assert dataset.id.get_num_chunks() == n
        for number, corner in enumerate(CORNERS[:n]):
            assert dataset[corner] == number
        assert (dataset[1_000:1_010, 5_000:5_010] == -1).all()
        assert dataset[3:6, 99_990:].tolist() == [[-1] * 9 + [1 if n > 1 else -1]] * 3


@pytest.mark.parametrize("libver", ["v108", "v110"])
@pytest.mark.parametrize("filters", [{}, {"compression": "gzip"}], ids=["raw", "gzip"])
@pytest.mark.parametrize("growth", MAXSHAPES)
def test_billion_chunks_cost_what_is_stored(
    growth: str, filters: dict[str, Any], libver: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    tracemalloc.start()
    try:
        with streamh5.File(path, libver=libver, threads=1) as file:
            fill(create(file, maxshape=MAXSHAPES[growth], **filters))
        assert file.summary is not None
        assert (file.summary.datasets[0].n_missing, file.summary.datasets[0].n_chunks) == (
            33_334**2 - len(CORNERS),
            33_334**2,
        )
        assert len(file.summary.to_dict()["datasets"]) == 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20
    assert path.stat().st_size < 64 << 10
    check(path)
    assert "Dataset {100000" in h5ls(path)
    with h5py.File(path, "r+") as changed:
        changed["x"][7, 7] = 7
        if growth == "both":
            changed["x"].resize((200_000, 100_000))
            changed["x"][150_000, 5] = 8
    with h5py.File(path) as found:
        assert found["x"].id.get_num_chunks() == len(CORNERS) + 1 + (growth == "both")
        assert found["x"][7, 7] == 7
        assert found["x"][CORNERS[2]] == 2


def test_far_row_of_an_open_stream_costs_what_is_stored(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        data = file.create_dataset("x", (None,), "i4", chunks=(1,), fillvalue=-1)
        data[:5] = np.arange(5)
        data[1_000_000_000:1_000_000_005] = np.arange(5)
    assert (tmp_path / "a.h5").stat().st_size < 64 << 10
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"].shape == (1_000_000_005,)
        assert found["x"][1_000_000_003] == 3
        assert found["x"][4] == 4
        assert found["x"][777_777_777] == -1


@pytest.mark.parametrize("growth", ["fixed", "rows"])
def test_sparse_grid_is_resumed_and_salvaged(growth: str, tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        file = streamh5.File(tmp_path / name, resume=True)
        fill(create(file, maxshape=MAXSHAPES[growth]), CORNERS[:3])
        file.session.wait()
        if name == "a.h5":
            check(file.checkpoint(), 3)
        file.suspend()
    summary = streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "s.h5")
    assert (summary.datasets[0].n_chunks, summary.datasets[0].n_missing) == (33_334**2, 33_334**2 - 3)
    with streamh5.File(tmp_path / "b.h5", resume=True) as file:
        dataset = create(file, maxshape=MAXSHAPES[growth])
        assert dataset.is_stored((0, 0), (3, 3))
        assert not dataset.is_stored((9, 9), (3, 3))
        fill(dataset)
    check(tmp_path / "b.h5")
    check(tmp_path / "s.h5", 3)
    with h5py.File(tmp_path / "s.h5") as found:
        assert found["x"].attrs["streamh5_missing_chunks"] == 33_334**2 - 3
        assert found["x"].attrs["streamh5_missing_rows"].tolist() == [[0, 100_000]]


@pytest.mark.parametrize("maxshape", [None, (None,)])
def test_wide_grid_that_is_filled_after_all_gets_the_array_of_all_chunks(
    maxshape: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_choice, "MIN_SPARSE_NUMBERS", 100)
    monkeypatch.setattr(chunk_table, "MAX_DENSE_ROWS", 100)
    n = 3000
    values = (np.arange(n) % 101).astype("i1")
    with streamh5.File(tmp_path / "a.h5") as file:
        data = file.create_dataset("x", (n,), "i1", chunks=(1,), maxshape=maxshape)
        for start in range(n - 100, -1, -100):
            data[start : start + 100] = values[start : start + 100]
        sparse = file.create_dataset("sparse", (n,), "i1", chunks=(1,), maxshape=maxshape, fillvalue=3)
        sparse[n - 1 :] = [5]
        sparse[:9] = np.arange(9)
    assert file.summary is not None
    indexes = {one.path: one.index for one in file.summary.datasets}
    assert indexes["/x"] != indexes["/sparse"]
    with h5py.File(tmp_path / "a.h5") as found:
        assert np.array_equal(found["x"][()], values)
        assert found["sparse"].id.get_num_chunks() == 10
        assert (found["sparse"][n - 1], found["sparse"][n - 2]) == (5, 3)
    repacks(tmp_path / "a.h5")
