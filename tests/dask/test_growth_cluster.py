"""Arrays into datasets that are there, stored by the workers of a cluster: they merge stored chunks themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
from distributed import Client, LocalCluster

import streamh5
from tests.deadlock import DEADLOCK_SECONDS

VALUES = np.arange(240_000).reshape(400, 600)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
        Client(cluster, set_as_default=False, timeout=DEADLOCK_SECONDS) as client,
    ):
        yield client


def blocks(values: Any, chunks: Any) -> Any:
    return da.from_array(values, chunks=chunks) + 0


def read(path: Path, name: str = "x") -> Any:
    with h5py.File(path) as file:
        return file[name][()]


@pytest.mark.parametrize("axis", [0, 1])
def test_workers_append_to_chunks_that_are_half_full(axis: int, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    blocks(VALUES[:50, :70], (20, 30)).to_fixed_h5(path, "/x")
    rest = VALUES[50:, :70] if axis == 0 else VALUES[:50, 70:]
    summary = blocks(rest, (17, 41)).to_fixed_h5(path, "/x", append_dim=axis, scheduler=client)
    assert summary.shared is not None
    assert summary.shared.n_writers == 2
    assert np.array_equal(read(path), VALUES[:, :70] if axis == 0 else VALUES[:50])
    assert streamh5.verify(path).ok


def test_workers_write_a_region_that_begins_and_ends_inside_chunks(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    blocks(VALUES, (30, 70)).to_fixed_h5(path, "/x")
    arrays = {"/x": blocks(-VALUES[5:377, 100:], (50, 50)), "/new": blocks(VALUES, (100, 600))}
    streamh5.to_fixed_h5(path, arrays, region={"/x": (slice(5, 377), slice(100, None))}, scheduler=client)
    expected = VALUES.copy()
    expected[5:377, 100:] *= -1
    assert np.array_equal(read(path), expected)
    assert np.array_equal(read(path, "new"), VALUES)
    assert streamh5.verify(path).ok


def test_workers_keep_elements_of_chunks_that_were_never_written(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, "x") as file:
        file.create_dataset("x", (40, 60), "i8", chunks=(20, 20), fillvalue=-1)
    blocks(VALUES[:20, :30], (7, 7)).to_fixed_h5(path, "/x", region=np.s_[5:25, 15:45], scheduler=client)
    expected = np.full((40, 60), -1)
    expected[5:25, 15:45] = VALUES[:20, :30]
    assert np.array_equal(read(path), expected)


def test_small_data_without_chunks_is_written_by_the_calling_process(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, "x") as file:
        file.create_dataset("x", data=np.zeros((4, 6), "i8"))
    blocks(VALUES[:2, :4], (1, 2)).to_fixed_h5(path, "/x", region=np.s_[1:3, 1:5], scheduler=client)
    expected = np.zeros((4, 6))
    expected[1:3, 1:5] = VALUES[:2, :4]
    assert np.array_equal(read(path), expected)


def test_workers_add_to_a_file_with_a_user_block(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", userblock_size=1024) as file:
        file.create_dataset("x", data=VALUES[:50], chunks=(20, 100), maxshape=(None, 600), compression="gzip")
    with open(path, "r+b") as raw:
        raw.write(b"mine")
    blocks(VALUES[50:], (40, 600)).to_fixed_h5(path, "/x", append_dim=0, scheduler=client)
    assert np.array_equal(read(path), VALUES)
    with h5py.File(path) as file:
        assert file.userblock_size == 1024
    assert path.read_bytes()[:4] == b"mine"


def test_workers_quantize_and_check_what_they_store(client: Client, tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    nc4 = pytest.importorskip("netCDF4")
    path = tmp_path / "a.nc"
    values = np.random.default_rng(0).normal(size=(90, 501))
    types = np.dtype("u1", metadata={"enum": {"low": 0, "high": 1}, "enum_name": "level"})

    def rows(start: int, stop: int) -> Any:
        part = blocks(values[start:stop], (16, 200))
        return xr.Dataset({"v": (("t", "x"), part), "high": (("t", "x"), part > 0)})

    encoding = {"v": {"significant_digits": 3}, "high": {"dtype": types}}
    summary = rows(0, 48).streamh5.to_netcdf(path, encoding=encoding, unlimited_dims=["t"], scheduler=client)
    assert summary.shared is not None
    rows(48, 90).streamh5.to_netcdf(path, append_dim="t", scheduler=client)
    with nc4.Dataset("ref.nc", "w", diskless=True) as reference, nc4.Dataset(path) as file:
        reference.createDimension("t", 90)
        reference.createDimension("x", 501)
        expected = reference.createVariable("v", "f8", ("t", "x"), significant_digits=3)
        expected[:48], expected[48:] = values[:48], values[48:]
        assert np.array_equal(file["v"][:], expected[:])
        assert np.array_equal(file["high"][:], values > 0)
        assert file["high"].datatype.name == "level"
