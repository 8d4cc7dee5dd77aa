"""netCDF-4 files by reference: xarray shows what it shows of the file itself."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

import streamh5
from tests.references.opened import open_with_xarray


def dataset() -> xr.Dataset:
    """A dataset with everything that names, times, masks and text can do."""
    random = np.random.default_rng(0)
    field = random.normal(280, 10, (6, 8, 9)).astype("f4").round(1)
    masked = np.where(field > 275, field, np.nan)
    names = np.array([f"é{i}" for i in range(8)], object)
    data = xr.Dataset(
        {
            "t2m": (
                ("time", "lat", "lon"),
                field,
                {"units": "K", "long_name": "température", "flags": [1, 2]},
            ),
            "masked": (("time", "lat", "lon"), masked),
            "n": (("time",), np.arange(6, dtype="i2")),
            "scalar": ((), np.float64(3.5)),
            "name": (("lat",), names),
            "bytes": (("time",), np.array([b"abc", b"de", b"f", b"", b"xyz", b"q"])),
            "zeros": (("lon",), np.zeros(9, "i4")),
        },
        {
            "time": np.arange("2001-01", "2001-07", dtype="M8[M]").astype("M8[ns]"),
            "lat": np.linspace(-90, 90, 8),
            "area": (("lat", "lon"), random.normal(size=(8, 9))),
        },
        {"title": "x", "list": [1.0, 2.0], "empty": ""},
    )
    data["masked"].encoding = {"_FillValue": -99.0, "zlib": True, "chunksizes": (2, 8, 9)}
    data["t2m"].encoding = {"zlib": True, "shuffle": True, "chunksizes": (4, 4, 9)}
    return data


def write_streamh5(data: xr.Dataset, path: Path) -> Any:
    return data.streamh5.to_netcdf(
        path, unlimited_dims=["time"], references=path.with_suffix(".written.json")
    )


def write_netcdf4(data: xr.Dataset, path: Path) -> Any:
    return data.to_netcdf(path, engine="netcdf4", unlimited_dims=["time"])


def write_h5netcdf(data: xr.Dataset, path: Path) -> Any:
    return data.to_netcdf(path, engine="h5netcdf")


@pytest.mark.parametrize("write", [write_streamh5, write_netcdf4, write_h5netcdf])
@pytest.mark.parametrize("form", ["dictionary", "json", "parquet"])
def test_references_are_shown_as_the_file_is(write: Any, form: str, tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    summary = write(dataset(), path)
    references = streamh5.read_references(path)
    if summary is not None:
        assert summary.to_kerchunk() == references.to_kerchunk()
        assert json.loads((tmp_path / "x.written.json").read_text()) == summary.to_kerchunk()
    target: Any = references.to_kerchunk()
    if form != "dictionary":
        target = str(tmp_path / f"x.{form}")
        references.to_kerchunk(target)
    with xr.open_dataset(path, engine="h5netcdf") as expected:
        xr.testing.assert_identical(open_with_xarray(target), expected.load())


def test_groups_are_shown_as_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    parts = {"/": dataset(), "/a": dataset()[["n"]], "/a/b": xr.Dataset({"v": (("z",), np.arange(3.0))})}
    xr.DataTree.from_dict(parts).streamh5.to_netcdf(path)
    made = streamh5.read_references(path).to_kerchunk()
    for group in ("a", "a/b"):
        with xr.open_dataset(path, engine="h5netcdf", group=group) as expected:
            found = open_with_xarray(made, consolidated=True, group=group)
            xr.testing.assert_identical(found, expected.load())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"fo": made, "remote_protocol": "file"}
        tree = xr.open_datatree("reference://", engine="zarr", storage_options=options).load()
    with xr.open_datatree(path, engine="h5netcdf") as expected_tree:
        xr.testing.assert_identical(tree, expected_tree.load())


def test_names_that_netcdf_hides_are_shown_as_netcdf_does(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, length in (("y", 3), ("x", 4), ("bare", 2), ("s", 5)):
            file.createDimension(name, length)
        # a variable of several dimensions, its own first; one whose name is that of a dimension which is not its first
        file.createVariable("y", "i4", ("y", "x"))[:] = np.arange(12).reshape(3, 4)
        file.createVariable("s", "i4", ("x", "s"))[:] = np.arange(20).reshape(4, 5)
        file.createVariable("v", "i4", ("bare", "y"))[:] = np.arange(6).reshape(2, 3)
    found = open_with_xarray(streamh5.read_references(path).to_kerchunk())
    assert {str(name): one.dims for name, one in found.variables.items()} == {
        "y": ("y", "x"),
        "s": ("x", "s"),
        "v": ("bare", "y"),
    }
    with netCDF4.Dataset(path) as file:
        for variable in found.variables:
            np.testing.assert_array_equal(found[variable], file[str(variable)][...])


def test_axes_without_scales_get_names_that_agree_in_each_group(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for name, shape in (("a", (3, 4)), ("b", (4, 4)), ("g/c", (5, 3))):
            file.create_dataset(name, data=np.ones(shape))
        file["d"] = np.ones((3, 2))
        file["two"] = np.arange(2.0)
        file["two"].make_scale("any name")
        file["d"].dims[1].attach_scale(file["two"])
    made = streamh5.read_references(path).to_kerchunk()
    found = open_with_xarray(made)
    assert {str(name): one.dims for name, one in found.variables.items()} == {
        "a": ("phony_dim_0", "phony_dim_1"),
        "b": ("phony_dim_1", "phony_dim_2"),
        "d": ("phony_dim_0", "two"),
        "two": ("two",),
    }
    assert open_with_xarray(made, consolidated=True, group="g")["c"].dims == ("phony_dim_3", "phony_dim_4")
