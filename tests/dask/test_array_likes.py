"""Arrays that are not dask's: written in bounded blocks, with their own chunks, and read by h5py."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.dask.array_like import as_dask
from streamh5.errors import BlockError, DatatypeError, SourceError
from tests.deadlock import DEADLOCK_SECONDS

VALUES = np.arange(600.0).reshape(20, 30)


class Quantity:
    """What pint's quantities look like: an array with units, and the methods of dask collections."""

    def __init__(self, magnitude: np.ndarray[Any, Any]) -> None:
        self.magnitude = magnitude
        self.shape = magnitude.shape
        self.dtype = magnitude.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return self.magnitude

    def __getitem__(self, region: Any) -> Quantity:
        return Quantity(self.magnitude[region])

    def __dask_graph__(self) -> None:
        return None


OPENED: list[Any] = []
"""Lazy arrays of xarray, which its own tests want to be closed."""


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def array_like(kind: str, folder: Path) -> Any:
    if kind == "h5py":
        with h5py.File(folder / "in.h5", "w") as file:
            file.create_dataset("x", data=VALUES, chunks=(5, 7))
        return h5py.File(folder / "in.h5")["x"]
    if kind == "zarr":
        zarr = pytest.importorskip("zarr")
        return zarr.create_array(folder / "in.zarr", data=VALUES, chunks=(5, 7))
    if kind in ("xarray", "xarray of dask", "lazy xarray"):
        xr = pytest.importorskip("xarray")
        if kind == "lazy xarray":
            xr.Dataset({"x": (("a", "b"), VALUES)}).to_netcdf(folder / "in.nc", engine="h5netcdf")
            OPENED.append(xr.open_dataarray(folder / "in.nc", engine="h5netcdf"))
            return OPENED[-1]
        return xr.DataArray(da.from_array(VALUES, chunks=(5, 7)) if kind == "xarray of dask" else VALUES)
    return {
        "numpy": VALUES,
        "Fortran": np.asfortranarray(VALUES),
        "list": VALUES.tolist(),
        "quantity": Quantity(VALUES),
        "masked": np.ma.masked_array(VALUES, mask=False),
    }[kind]


KINDS = (
    "numpy",
    "Fortran",
    "list",
    "quantity",
    "masked",
    "h5py",
    "zarr",
    "xarray",
    "xarray of dask",
    "lazy xarray",
)


@pytest.mark.parametrize("kind", KINDS)
def test_array_like_is_written_by_to_fixed_h5(kind: str, tmp_path: Path) -> None:
    value = array_like(kind, tmp_path)
    streamh5.to_fixed_h5(tmp_path / "a.h5", {"/x": value, "/g/y": value})
    streamh5.to_fixed_h5(tmp_path / "b.h5", "/x", value, chunks=(4, 30))
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        for dataset in (a["x"], a["g/y"], b["x"]):
            assert np.array_equal(dataset[...], VALUES)
            assert dataset.dtype == "f8"
        assert b["x"].chunks == (4, 30)
        if kind in ("h5py", "zarr", "xarray of dask"):
            assert a["x"].chunks == (5, 7)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "xarray of dask"])
def test_array_like_is_data_of_a_file(kind: str, tmp_path: Path) -> None:
    value = array_like(kind, tmp_path)
    with streamh5.File(tmp_path / "a.h5") as file:
        file["x"] = value
        file.create_dataset("y", data=value, chunks=(4, 30), compression="gzip")
        rows = file.create_dataset("rows", (None, 30), "f8", chunks=(4, 30))
        rows.append(value)
        region = file.create_dataset("region", (20, 30), "f8", chunks=(4, 30))
        region[...] = value
    with h5py.File(tmp_path / "a.h5") as file:
        for name in ("x", "y", "rows", "region"):
            assert np.array_equal(file[name][...], VALUES)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (2.5, 2.5),
        ("text", b"text"),
        (np.float32(2), 2),
        (np.array(7), 7),
        ([], []),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        (["a", "bc"], [b"a", b"bc"]),
        (np.array(["a", "bc"]), [b"a", b"bc"]),
        (np.array(["a", "bc"], object), [b"a", b"bc"]),
        (np.array(["2000-01-01"], "M8[s]"), np.array(["2000-01-01"], "M8[s]")),
        (np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])),
    ],
)
def test_value_of_each_kind_is_written_by_to_fixed_h5(value: Any, expected: Any, tmp_path: Path) -> None:
    streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", value)
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["x"][()], expected)


def test_strings_of_h5py_come_over(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["x"] = ["a", "", "\u00e9" * 300]
        streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", file["x"])
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x"].asstr()[...].tolist() == ["a", "", "\u00e9" * 300]


def test_array_like_is_read_in_blocks_of_bounded_size(tmp_path: Path) -> None:
    regions = []

    class Huge(Quantity):
        def __getitem__(self, region: Any) -> Any:
            shape = tuple(one.stop - one.start for one in region)
            regions.append(shape)
            return np.ones(shape, "u1")

    huge = Huge(np.broadcast_to(np.uint8(1), (300, 1000, 1000)))
    streamh5.to_fixed_h5(
        tmp_path / "a.h5", "/x", huge, compression=None, write_empty_chunks=False, fillvalue=1
    )
    assert len(regions) >= 300 // 16
    assert max(np.prod(shape) for shape in regions) <= 16 << 20
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x"].shape == (300, 1000, 1000)


def test_dask_array_as_data_of_a_file_says_what_writes_it(tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    lazy = da.ones((4, 4), chunks=2)
    for value in (lazy, xr.DataArray(lazy)):
        with (
            streamh5.File(tmp_path / "a.h5", "w") as file,
            pytest.raises(streamh5.errors.SpecError, match="to_fixed_h5"),
        ):
            file["x"] = value


@pytest.mark.parametrize("value", [None, {"a": 1}, object(), h5py.Empty("f4"), (x for x in "ab")])
def test_value_that_is_no_array_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="/x"):
        streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", value)


def test_dataset_of_xarray_is_refused(tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    with pytest.raises(SourceError, match=r"/x: .*not Dataset"):
        streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", xr.Dataset({"a": 1}))
    with pytest.raises(DatatypeError, match="/x"):
        streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", np.array([1, "a"], object))


def test_interrupted_write_of_an_array_in_memory_is_resumed(tmp_path: Path) -> None:
    class Failing(Quantity):
        n_left = 2

        def __getitem__(self, region: Any) -> Any:
            self.n_left -= 1
            if self.n_left < 0:
                raise RuntimeError("enough")
            return self.magnitude[region]

        def __dask_tokenize__(self) -> str:
            return "the same"

    values = np.arange(3 << 21, dtype="f8").reshape(3, 1 << 21)
    keywords: dict[str, Any] = {"resume": True, "scheduler": "synchronous", "compression": None}
    with pytest.raises(RuntimeError, match="enough"):
        streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", Failing(values), **keywords)
    streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", Failing(values), **keywords)
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["x"][...], values)


def test_dataset_of_a_file_that_is_closed_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        closed = file.create_dataset("x", data=VALUES)
    with pytest.raises(SourceError, match=r"/x: Dataset cannot be read as an array: ") as caught:
        streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", closed)
    assert caught.value.__cause__ is not None
    assert not (tmp_path / "a.h5").exists()


def test_data_that_no_array_can_be_made_of_is_refused_by_a_file(tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    with streamh5.File(tmp_path / "a.h5") as file:
        for data in (xr.Dataset({"a": 1}), [[1], [2, 3]]):
            with pytest.raises(BlockError, match=r"/x: .* is not a regular array, or cannot be read"):
                file["x"] = data
        file["x"] = 1
    with h5py.File(tmp_path / "a.h5") as read:
        assert read["x"][()] == 1


@pytest.mark.parametrize("kind", ["h5py", "zarr", "lazy xarray"])
def test_blocks_of_an_array_like_are_read_in_another_process(kind: str, tmp_path: Path) -> None:
    blocks, _, _ = as_dask("/x", array_like(kind, tmp_path), None)
    (tmp_path / "blocks").write_bytes(cloudpickle.dumps(blocks))
    code = (
        "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).compute(scheduler='sync').tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "blocks"],
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", f"{VALUES.tolist()}\n")


def test_only_what_other_processes_see_is_read_by_them(tmp_path: Path) -> None:
    remote = {kind for kind in KINDS if not as_dask("/x", array_like(kind, tmp_path), None)[2]}
    assert remote == {"h5py", "zarr", "lazy xarray", "xarray of dask"}
    with h5py.File(tmp_path / "written.h5", "w") as file:
        assert as_dask("/x", file.create_dataset("x", data=VALUES), None)[2]
    with h5py.File(tmp_path / "in memory.h5", "w", driver="core", backing_store=False) as file:
        assert as_dask("/x", file.create_dataset("x", data=VALUES), None)[2]
    zarr = pytest.importorskip("zarr")
    assert as_dask("/x", zarr.array(VALUES), None)[2]
