"""write_empty_chunks=False: chunks that equal the fill value are not there, and read as if they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import streamh5
from tests.readers.judgements import assert_chunk_map, assert_survives_change
from tests.written import GZIP, assert_every_reader, columns

FILLS: list[tuple[str, Any]] = [
    ("<i4", None),
    ("<i4", -7),
    (">u2", 65535),
    ("<f4", None),
    ("<f8", np.nan),
    ("<f4", -0.0),
    ("<f4", np.inf),
    ("?", True),
    ("<c8", 1 + 2j),
    ("S3", b"ab"),
]


def n_stored(path: Path) -> int:
    with h5py.File(path) as found:
        return int(found["x"].id.get_num_chunks())


@pytest.mark.parametrize("way", ["file", "append", "dask"])
@pytest.mark.parametrize(("dtype", "fill"), FILLS, ids=str)
@pytest.mark.parametrize("filters", [{}, GZIP], ids=["raw", "gzip"])
def test_chunks_of_the_fill_value_are_left_out_and_counted(
    filters: dict[str, Any], dtype: str, fill: Any, way: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = np.full((23, 10), np.zeros((), dtype)[()] if fill is None else fill, dtype)
    other = np.array(b"xyz" if dtype[0] == "S" else fill is not True, dtype)
    data[4, 3] = data[22, 9] = other
    keywords = {"chunks": (4, 3), "fillvalue": fill, "write_empty_chunks": False, **filters}
    summary: Any
    if way == "dask":
        lazy = da.from_array(data, chunks=(8, 6))
        if not filters:
            keywords |= {"compression": None}
        summary = streamh5.to_fixed_h5(path, "/x", lazy, **keywords)
    else:
        with streamh5.File(path) as file:
            shape = (None, 10) if way == "append" else data.shape
            dataset = file.create_dataset("x", shape, dtype, **keywords)
            if way == "append":
                for row in data:
                    dataset.append(row)
            else:
                dataset[...] = data
        summary = file.summary
    assert isinstance(summary, streamh5.WriteSummary)
    one = summary.datasets[0]
    assert (one.n_chunks, one.n_missing, one.n_empty) == (24, 22, 22)
    assert n_stored(path) == 2
    assert_every_reader(path, "/x", data)
    if way == "file":
        assert_chunk_map(path, "/x", columns(file, "/x"))
    if dtype[0] != "S":
        assert_survives_change(path, "/x", tmp_path)


@pytest.mark.parametrize(
    ("fill", "value", "is_stored"),
    [
        (0.0, 0.0, False),
        (0.0, -0.0, True),
        (-0.0, 0.0, True),
        (-0.0, -0.0, False),
        (None, -0.0, True),
        (np.nan, np.nan, False),
        (np.nan, -np.nan, True),
        (1.0, np.nan, True),
    ],
)
def test_zero_and_nan_are_left_out_only_when_every_bit_is_the_fill_values(
    fill: float | None, value: float, is_stored: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = np.full(10, value)
    with streamh5.File(path) as file:
        file.create_dataset("x", data=data, chunks=(10,), fillvalue=fill, write_empty_chunks=False)
    assert n_stored(path) == is_stored
    assert_every_reader(path, "/x", data)


def test_chunk_that_becomes_empty_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (12,), "i4", chunks=(2,), write_empty_chunks=False, **GZIP)
        dataset[:] = np.arange(12)
        dataset[2:6] = 0
        dataset[4:6] = 5
        dataset[8:10] = 0
    assert_every_reader(path, "/x", np.array([0, 1, 0, 0, 5, 5, 6, 7, 0, 0, 10, 11], "i4"))
    assert n_stored(path) == 6
    assert file.summary is not None
    assert (file.summary.datasets[0].n_empty, file.summary.datasets[0].n_rewritten) == (0, 4)


def test_empty_chunks_are_written_by_default(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", data=np.zeros(10), chunks=(2,))
    assert n_stored(tmp_path / "a.h5") == 5
    streamh5.to_fixed_h5(tmp_path / "b.h5", "/x", da.zeros(10, chunks=2))
    assert n_stored(tmp_path / "b.h5") == 5


def test_empty_text_and_records_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    texts = np.array(["", "", "a", ""], h5py.string_dtype())
    records = np.zeros(4, np.dtype([("a", "i4"), ("b", "f8")], align=True))
    records["b"][3] = 1
    with streamh5.File(path) as file:
        file.create_dataset("x", data=texts, chunks=(1,), write_empty_chunks=False)
        file.create_dataset("y", data=records, chunks=(1,), write_empty_chunks=False)
    assert n_stored(path) == 1
    with h5py.File(path) as found:
        assert found["x"].asstr()[()].tolist() == ["", "", "a", ""]
        assert found["y"].id.get_num_chunks() == 1
        np.testing.assert_array_equal(found["y"][()], records)


@given(draw=st.data())
@settings(max_examples=40)
def test_any_writes_read_as_the_last_of_each_chunk(
    draw: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.h5"
    fill = draw.draw(st.sampled_from([None, 3, -1]))
    maxshape = draw.draw(st.sampled_from([None, (None,), (90,)]))
    expected = np.full(30, fill or 0, "<i2")
    with streamh5.File(path, threads=2) as file:
        dataset = file.create_dataset(
            "x",
            (30,),
            "<i2",
            chunks=(3,),
            fillvalue=fill,
            maxshape=maxshape,
            write_empty_chunks=False,
            **GZIP,
        )
        for _ in range(draw.draw(st.integers(0, 8))):
            start = 3 * draw.draw(st.integers(0, 9))
            stop = 3 * draw.draw(st.integers(start // 3 + 1, 10))
            value = draw.draw(st.sampled_from([0, 3, -1, 7]))
            dataset[start:stop] = expected[start:stop] = value
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][()], expected)
        assert file.summary is not None
        one = file.summary.datasets[0]
        assert found["x"].id.get_num_chunks() == one.n_chunks - one.n_missing
        assert one.n_empty <= one.n_missing
