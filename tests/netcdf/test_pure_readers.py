"""``libver="v108"``: netCDF-4 files for readers without the HDF5 library, h5netcdf with pyfive, and jsfive."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

import streamh5
from tests.deadlock import DEADLOCK_SECONDS
from tests.surface.test_old_readers import JSFIVE, jsfive

xr = pytest.importorskip("xarray")
h5netcdf = pytest.importorskip("h5netcdf", minversion="1.8")

COMPRESSIONS = [
    {},
    {"compression": "gzip"},
    {"compression": "gzip", "shuffle": False, "fletcher32": True},
]


def climate() -> Any:
    rng = np.random.default_rng(0)
    lazy = da.from_array(rng.normal(size=(50, 20, 30)).astype("f4"), chunks=(10, 20, 30))
    return xr.Dataset(
        {
            "t": (("time", "y", "x"), lazy, {"units": "K", "levels": [1, 2, 3]}),
            "count": (("y", "x"), rng.integers(0, 99, (20, 30))),
            "offset": ((), 3.5),
        },
        {"time": ("time", np.arange(50.0), {"units": "days since 2020-01-01"}), "x": np.arange(30.0)},
        {"title": "pure", "version": 3},
    )


@pytest.fixture
def pyfive() -> Any:
    """pyfive, which h5netcdf finds by itself."""
    return pytest.importorskip("pyfive")


@pytest.mark.usefixtures("pyfive")
@pytest.mark.parametrize("options", COMPRESSIONS)
def test_file_is_read_by_h5netcdf_with_pyfive(options: dict[str, Any], tmp_path: Path) -> None:
    dataset = climate()
    encoding = {"t": options} if options else None
    dataset.streamh5.to_netcdf(tmp_path / "a.nc", libver="v108", unlimited_dims=["time"], encoding=encoding)
    with h5netcdf.File(tmp_path / "a.nc", "r", backend="pyfive") as file:
        assert file.dimensions["time"].isunlimited()
        assert not file.dimensions["x"].isunlimited()
        assert file["t"].dimensions == ("time", "y", "x")
        assert file["t"].attrs["units"] in ("K", b"K")
        assert file["t"].attrs["levels"].tolist() == [1, 2, 3]
        assert file.attrs["version"] == 3
        for name in ("t", "count", "offset", "time", "x"):
            assert np.array_equal(file[name][...], dataset[name].values), name


@pytest.mark.usefixtures("pyfive")
def test_file_is_read_by_xarray_with_pyfive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = climate()
    dataset.streamh5.to_netcdf(tmp_path / "a.nc", libver="v108", compression="gzip", unlimited_dims=["time"])
    monkeypatch.setenv("H5NETCDF_READ_BACKEND", "pyfive")
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf", decode_times=False) as read:
        xr.testing.assert_equal(read.load(), dataset.compute())
    # what it does not read, or docs/xarray.md need no longer say so
    dataset.streamh5.to_netcdf(tmp_path / "b.nc")
    with pytest.raises(RuntimeError, match="layout class 4"):
        xr.open_dataset(tmp_path / "b.nc", engine="h5netcdf", decode_times=False)


@pytest.mark.usefixtures("pyfive")
def test_space_that_was_filled_is_read_by_pyfive(tmp_path: Path) -> None:
    dataset = climate()
    dataset.streamh5.create_space(tmp_path / "a.nc", libver="v108", compression="gzip")
    for begin in range(0, 50, 10):
        part = dataset.isel(time=slice(begin, begin + 10))[["t"]].drop_vars("x")
        part.streamh5.to_netcdf(tmp_path / "a.nc", region={"time": slice(begin, begin + 10)})
    with h5netcdf.File(tmp_path / "a.nc", "r", backend="pyfive") as file:
        assert np.array_equal(file["t"][...], dataset["t"].values)


@pytest.mark.usefixtures("pyfive")
def test_pyfive_reads_text_in_chunks(tmp_path: Path) -> None:
    dataset = xr.Dataset({"name": ("x", ["Oslo", "Århus", ""])})
    dataset.streamh5.to_netcdf(tmp_path / "a.nc", libver="v108", encoding={"name": {"chunksizes": (3,)}})
    with h5netcdf.File(tmp_path / "a.nc", "r", backend="pyfive") as file:
        texts = [one.decode() if isinstance(one, bytes) else one for one in file["name"][...].tolist()]
    assert texts == ["Oslo", "Århus", ""]


def test_file_is_read_by_jsfive(tmp_path: Path) -> None:
    package = jsfive()
    dataset = climate()
    dataset.streamh5.to_netcdf(tmp_path / "a.nc", libver="v108", compression="gzip", unlimited_dims=["time"])
    done = subprocess.run(
        ["node", "-e", JSFIVE, package, str(tmp_path / "a.nc"), "t", "time"],
        capture_output=True,
        check=False,
        text=True,
        timeout=DEADLOCK_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["t"]["shape"] == [50, 20, 30]
    assert found["t"]["attributes"]["units"] == "K"
    assert np.array_equal(np.array(found["t"]["values"], "f4"), dataset["t"].values.ravel())
    assert found["time"]["values"] == list(range(50))


def test_engine_streamh5_is_ours_and_not_one_of_xarray(tmp_path: Path) -> None:
    dataset = climate()
    streamh5.to_netcdf(dataset, tmp_path / "a.nc", engine="streamh5")
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf", decode_times=False) as read:
        xr.testing.assert_equal(read.load(), dataset.compute())
    # docs/xarray.md says that plugins cannot write; if this fails, they can
    with pytest.raises(ValueError, match="unrecognized engine"):
        dataset.to_netcdf(tmp_path / "b.nc", engine="streamh5")
