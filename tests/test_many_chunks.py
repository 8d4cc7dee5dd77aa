"""Indexes of many chunks, tiny ones, read by every reader; the largest in the campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from tests.readers.hdf5_tools import index_type
from tests.readers.judgements import assert_chunk_map
from tests.written import GZIP, assert_every_reader, columns, values, write

FILTERS = pytest.mark.parametrize(
    "keywords", [{}, GZIP, {"fletcher32": True}], ids=["raw", "gzip", "fletcher32"]
)
SIZES = [
    1,
    2,
    1024,
    1025,
    100_000,
    pytest.param(2_000_000, marks=pytest.mark.campaign),
]


@FILTERS
@pytest.mark.parametrize("n_chunks", SIZES)
def test_file_of_many_chunks_is_read_by_every_reader(
    n_chunks: int, keywords: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = values("<u2", (n_chunks * 2,), seed=3)
    tracked = write(path, data, chunks=(2,), **keywords)
    assert_every_reader(path, "/x", data)
    if n_chunks > 1:
        assert index_type(path, "/x") == "Fixed Array"
    if n_chunks <= 100_000:
        assert_chunk_map(path, "/x", tracked)


@pytest.mark.parametrize("n_rows", [100, pytest.param(2000, marks=pytest.mark.campaign)])
def test_dask_array_of_many_chunks_in_two_dimensions_is_read_by_every_reader(
    n_rows: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = values("u1", (n_rows, 2000), seed=4)
    x = da.from_array(data, chunks=(n_rows // 4 + 1, 700))
    summary = streamh5.to_fixed_h5(path, "/x", x, chunks=(2, 1))
    assert isinstance(summary, streamh5.WriteSummary)
    assert summary.n_chunks == n_rows // 2 * 2000
    assert_every_reader(path, "/x", data)


def test_many_chunks_of_which_few_are_written_read_as_fill_value(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    expected = np.full((500, 400), 9, "i2")
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (500, 400), "i2", chunks=(1, 2), fillvalue=9)
        for row in (0, 250, 499):
            dataset[row] = expected[row] = np.arange(400)
    assert_every_reader(path, "/x", expected)
    assert_chunk_map(path, "/x", columns(file, "/x"))


def test_unknown_length_of_many_chunks_is_a_fixed_array(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = values("f4", (30_000, 3))
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (None, 3), "f4", chunks=(1, 3))
        for start in range(0, 30_000, 997):
            dataset.append(data[start : start + 997])
    assert_every_reader(path, "/x", data)
    assert index_type(path, "/x") == "Fixed Array"
    with h5py.File(path, "r+") as changed:
        changed["x"][29_999] = 5
    with h5py.File(path) as found:
        assert found["x"][29_999].tolist() == [5, 5, 5]
