"""References in Parquet files: fsspec finds every chunk, and those that are missing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.reference import LazyReferenceMapper

import streamh5
from streamh5.errors import DestinationExistsError
from tests.references.opened import chunks, open_with_xarray, open_with_zarr
from tests.references.test_kerchunk import INDEXES, smooth


def mapped(folder: Path, keys: list[str]) -> dict[str, Any]:
    """References of some keys, as fsspec's own reader finds them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mapper = LazyReferenceMapper(str(folder))
        return {key: mapper[key] for key in keys}


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize("record_size", [1, 4, 100_000])
def test_every_chunk_is_found_by_fsspec(name: str, record_size: int, tmp_path: Path) -> None:
    keywords = {**INDEXES[name]}
    data = smooth(keywords.pop("shape"))
    with streamh5.File(tmp_path / "x.h5", "x") as file:
        file.create_dataset("g/x", data=data, **keywords)
    assert file.summary is not None
    folder = tmp_path / "x.parquet"
    file.summary.references().to_kerchunk(folder, record_size=record_size)
    made = file.summary.to_kerchunk()
    assert made is not None
    expected = chunks(made["refs"])
    assert mapped(folder, list(expected)) == expected
    np.testing.assert_array_equal(open_with_zarr(folder, "g/x"), data)


@pytest.mark.parametrize("n_missing", [1, 3])
def test_missing_chunks_read_as_the_fill_value(n_missing: int, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "x.h5", "x") as file:
        dataset = file.create_dataset("x", (4, 10), "<i4", chunks=(1, 10), fillvalue=-3)
        for i in reversed(range(n_missing, 4)):
            dataset[i : i + 1, :] = np.full((1, 10), i, "<i4")
    assert file.summary is not None
    file.summary.to_kerchunk(tmp_path / "x.parquet")
    expected = np.repeat([[i if i >= n_missing else -3] for i in range(4)], 10, axis=1)
    np.testing.assert_array_equal(open_with_zarr(tmp_path / "x.parquet", "x"), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "x/0.0" not in LazyReferenceMapper(str(tmp_path / "x.parquet"))


def test_texts_and_small_data_stand_in_the_parquet_files(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "x.h5", "x") as file:
        file.create_dataset("t", data=np.array(["é", "", "abc"], object), chunks=(2,))
        file.create_dataset("small", data=smooth((5,)), chunks=(5,))
    assert file.summary is not None
    file.summary.to_kerchunk(tmp_path / "x.parquet", inline=20)
    assert open_with_zarr(tmp_path / "x.parquet", "t").tolist() == ["é", "", "abc"]
    np.testing.assert_array_equal(open_with_zarr(tmp_path / "x.parquet", "small"), smooth((5,)))
    assert mapped(tmp_path / "x.parquet", ["small/0"])["small/0"] == smooth((5,)).tobytes()


@pytest.mark.parametrize("consolidated", [False, True])
def test_xarray_opens_the_parquet_files(consolidated: bool, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "x.h5", "x") as file:
        file.create_dataset("x", data=smooth((9, 8)), chunks=(4, 4), compression="gzip")
    assert file.summary is not None
    file.summary.to_kerchunk(tmp_path / "x.parquet")
    found = open_with_xarray(str(tmp_path / "x.parquet"), consolidated=consolidated)
    np.testing.assert_array_equal(found["x"], smooth((9, 8)))


def test_only_references_are_replaced(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "x.h5", "x") as file:
        file.create_dataset("x", data=smooth((9, 8)), chunks=(4, 4))
    assert file.summary is not None
    folder = tmp_path / "x.parquet"
    folder.mkdir()
    (folder / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(DestinationExistsError, match=r"x\.parquet exists; it is not references"):
        file.summary.to_kerchunk(folder, overwrite=True)
    assert (folder / "thesis.txt").read_text() == "irreplaceable"
    (folder / "thesis.txt").rename(tmp_path / "thesis.txt")
    folder.rmdir()
    file.summary.to_kerchunk(folder)
    with pytest.raises(DestinationExistsError, match="pass overwrite=True"):
        file.summary.to_kerchunk(folder)
    file.summary.to_kerchunk(folder, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thesis.txt", "x.h5", "x.parquet"]
