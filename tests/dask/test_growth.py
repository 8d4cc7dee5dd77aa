"""Dask arrays into datasets that are there: appended along any axis, and into regions; h5py reads them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import DestinationMissingError, SpecError

DAY = np.arange(60, dtype="f4").reshape(5, 12)


def blocks(values: Any, chunks: Any = (2, 5)) -> Any:
    return da.from_array(values, chunks=chunks)


def read(path: Path, name: str = "x") -> Any:
    with h5py.File(path) as file:
        return file[name][()]


def append(path: Path, values: Any, **keywords: Any) -> streamh5.WriteSummary:
    summary: streamh5.WriteSummary = blocks(values).to_fixed_h5(path, "/x", **{"append_dim": 0, **keywords})
    return summary


def test_append_without_a_file_creates_a_dataset_that_can_grow(tmp_path: Path) -> None:
    append(tmp_path / "a.h5", DAY, append_dim=-1)
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["x"][()], DAY)
        assert file["x"].maxshape == (5, None)
        assert file["x"].compression == "gzip"


def test_append_to_a_file_without_the_dataset_creates_it(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    append(path, DAY)
    blocks(DAY).to_fixed_h5(path, "/y", mode="a", append_dim=0, compression="lzf")
    with h5py.File(path) as file:
        assert np.array_equal(file["x"][()], DAY)
        assert np.array_equal(file["y"][()], DAY)
        assert file["y"].maxshape == (None, 12)
        assert file["y"].compression == "lzf"


def test_region_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DestinationMissingError, match=r"a\.h5 does not exist.*/x.*leave region out"):
        blocks(DAY).to_fixed_h5(tmp_path / "a.h5", "/x", region=(slice(0, 5), ...))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keywords", [{"overwrite": True}, {"mode": "w"}, {"mode": "x"}])
def test_mode_that_replaces_the_file_is_refused(keywords: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"(overwrite=True|mode='.') replaces the file"):
        append(tmp_path / "a.h5", DAY, **keywords)


def test_append_dim_and_region_for_one_array_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"/x: append_dim and region contradict"):
        append(tmp_path / "a.h5", DAY, region=slice(0, 5))


@pytest.mark.parametrize("name", ["append_dim", "region"])
def test_unknown_name_in_a_dictionary_is_refused(name: str, tmp_path: Path) -> None:
    keywords: dict[str, Any] = {name: {"/y": 0}}
    with pytest.raises(SpecError, match=rf"{name} names '/y'.*it has /x"):
        streamh5.to_fixed_h5(tmp_path / "a.h5", {"/x": DAY}, **keywords)


def test_file_object_cannot_grow() -> None:
    with pytest.raises(SpecError, match=r"append_dim and region change files that have a path"):
        blocks(DAY).to_fixed_h5(io.BytesIO(), "/x", append_dim=0)
