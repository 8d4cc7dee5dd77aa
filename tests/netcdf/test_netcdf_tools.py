"""What other programs make of the file: netCDF-C and its tools, NCO, CDO, and the view of h5py."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from tests.deadlock import DEADLOCK_SECONDS

xr = pytest.importorskip("xarray")
netcdf4 = pytest.importorskip("netCDF4")
pytest.importorskip("h5netcdf")

PACKAGES = {"ncdump": "netcdf-bin", "nccopy": "netcdf-bin", "ncks": "nco", "cdo": "cdo"}


def run(program: str, *arguments: Any) -> str:
    """Run a program; skip the test, and say what is missing, where it is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is missing (Debian: {PACKAGES[program]})")
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLOCK_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def weather() -> Any:
    values = np.arange(2 * 6 * 8, dtype="f4").reshape(2, 6, 8)
    return xr.Dataset(
        {
            "t": (("time", "lat", "lon"), da.from_array(values, chunks=(1, 6, 4)), {"units": "K"}),
            "flag": (("lat", "lon", "bit"), np.ones((6, 8, 3), "i2")),
            "name": ("lat", [f"row {i}" for i in range(6)]),
        },
        coords={
            "time": ("time", [0.0, 1.0], {"units": "days since 2000-01-01", "calendar": "standard"}),
            "lat": ("lat", np.linspace(-50.0, 50.0, 6), {"units": "degrees_north"}),
            "lon": ("lon", np.arange(0.0, 360.0, 45.0), {"units": "degrees_east"}),
            "code": ("code", np.array([b"ab", b"cd", b"ef"])),
        },
        attrs={"title": "weather"},
    )


@pytest.fixture(params=["v108", "v110"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A netCDF-4 file with an unlimited dimension, a dimension without variable, text and characters."""
    streamh5.to_netcdf(
        weather(),
        tmp_path / "a.nc",
        unlimited_dims=["time"],
        encoding={"t": {"zlib": True}},
        libver=request.param,
    )
    return tmp_path / "a.nc"


def reread(path: Path) -> Any:
    with xr.open_dataset(path, decode_times=False) as dataset:
        return dataset.load()


def test_ncdump_header_is_that_of_netcdf_c(path: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs" / "a.nc"
    theirs.parent.mkdir()
    weather().to_netcdf(theirs, unlimited_dims=["time"], encoding={"t": {"zlib": True}}, engine="netcdf4")
    assert run("ncdump", path) == run("ncdump", theirs)
    assert run("ncdump", "-k", path).strip() == "netCDF-4"
    assert '_NCProperties = "version=2,streamh5=' in run("ncdump", "-hs", path)


@pytest.mark.parametrize("kind", ["netCDF-4", "netCDF-4 classic model", "64-bit data"])
def test_nccopy_copy_has_the_same_values(kind: str, path: Path, tmp_path: Path) -> None:
    expected = reread(path)
    if kind != "netCDF-4":  # no strings there
        expected = expected.drop_vars("name")
        streamh5.to_netcdf(expected, path, unlimited_dims=["time"])
    run("nccopy", "-k", kind, path, tmp_path / "b.nc")
    xr.testing.assert_identical(reread(tmp_path / "b.nc"), expected)


def test_ncks_hyperslab_has_the_same_values(path: Path, tmp_path: Path) -> None:
    run("ncks", "-O", "-d", "lat,1,3", path, tmp_path / "b.nc")
    actual = reread(tmp_path / "b.nc")
    actual.attrs.pop("history"), actual.attrs.pop("NCO", None)
    xr.testing.assert_identical(actual, reread(path).isel(lat=slice(1, 4)))


def test_ncks_appends_a_variable(path: Path, tmp_path: Path) -> None:
    other = xr.Dataset({"new": (("lat", "lon"), np.ones((6, 8)))})
    other.to_netcdf(tmp_path / "other.nc", engine="netcdf4")
    run("ncks", "-A", tmp_path / "other.nc", path)
    actual = reread(path)
    assert actual["new"].dims == ("lat", "lon")
    assert np.array_equal(actual["t"], weather()["t"])


def test_cdo_finds_grid_and_times(path: Path) -> None:
    grid = run("cdo", "-s", "griddes", path)
    assert re.search(r"gridtype\s*=\s*lonlat", grid)
    assert re.search(r"xsize\s*=\s*8", grid)
    assert re.search(r"ysize\s*=\s*6", grid)
    assert run("cdo", "-s", "showdate", path).split() == ["2000-01-01", "2000-01-02"]
    means = run("cdo", "-s", "outputf,%g", "-fldmean", "-selname,t", "-remapnn,lon=45_lat=10", path).split()
    assert [float(mean) for mean in means] == [25, 73]


def test_netcdf_c_appends_and_rereads(path: Path) -> None:
    with netcdf4.Dataset(path, "a") as file:
        file["t"][2:5] = 7
        file["time"][2:5] = [2, 3, 4]
        file.createDimension("q", 3)
        file.createVariable("new", "f8", ("q", "time"))[:] = 1
        file.setncattr("more", "text")
        file["t"].renameAttribute("units", "unit")
        file.renameVariable("flag", "flags")
    actual = reread(path)
    assert actual.sizes["time"] == 5
    assert np.array_equal(actual["t"][:2], weather()["t"])
    assert np.all(actual["t"][2:] == 7)
    assert np.all(actual["new"] == 1)
    assert (actual.attrs["more"], actual["t"].attrs["unit"]) == ("text", "K")
    assert actual["name"].values.tolist() == [f"row {i}" for i in range(6)]
    run("ncdump", path)


def test_netcdf_c_extends_a_dimension_without_variable(tmp_path: Path) -> None:
    streamh5.to_netcdf(
        xr.Dataset({"a": ("n", [1, 2]), "b": ("n", [1.0, 2])}), tmp_path / "a.nc", unlimited_dims="n"
    )
    with netcdf4.Dataset(tmp_path / "a.nc", "a") as file:
        file["a"][5] = 6
    with netcdf4.Dataset(tmp_path / "a.nc") as file:
        assert len(file.dimensions["n"]) == 6
        assert file["a"][:].filled(0).tolist() == [1, 2, 0, 0, 0, 6]
        assert np.ma.getmaskarray(file["b"][:]).tolist() == [False] * 2 + [True] * 4


def test_h5py_finds_scales_and_labels(path: Path) -> None:
    with h5py.File(path) as file:
        t = file["t"]
        assert [[scale.name for scale in dimension.values()] for dimension in t.dims] == [
            ["/time"],
            ["/lat"],
            ["/lon"],
        ]
        assert [dimension.keys() for dimension in t.dims] == [["time"], ["lat"], ["lon"]]
        assert all(file[name].is_scale for name in ("time", "lat", "lon", "bit", "code"))
        assert not t.is_scale
        for scale in ("time", "lat", "lon", "bit"):
            for reference, axis in file[scale].attrs["REFERENCE_LIST"]:
                user = file[reference]
                assert h5py.h5ds.is_attached(user.id, file[scale].id, int(axis))


def test_h5py_makes_and_detaches_scales(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["height"] = np.arange(3.0)
        file["height"].make_scale("height")
        file["flag"].dims[2].attach_scale(file["height"])
        file["t"].dims[2].detach_scale(file["lon"])
        assert len(file["t"].dims[2]) == 0
        assert [file[user].name for user, _ in file["lon"].attrs["REFERENCE_LIST"]] == ["/flag"]


def test_scales_are_those_of_netcdf_c(path: Path, tmp_path: Path) -> None:
    """Every attribute that netCDF-C hides is the same, but for the scales that it numbers otherwise."""
    weather().to_netcdf(tmp_path / "theirs.nc", unlimited_dims=["time"], engine="netcdf4")
    with h5py.File(path) as ours, h5py.File(tmp_path / "theirs.nc") as theirs:
        assert set(ours) == set(theirs)
        for name in theirs:
            for hidden in ("CLASS", "NAME", "_Netcdf4Coordinates", "_Netcdf4Dimid"):
                if hidden == "_Netcdf4Dimid" and b"CLASS" not in theirs[name].attrs:
                    continue  # netCDF-C gives it to variables, too, where the order is another
                assert (hidden in ours[name].attrs) == (hidden in theirs[name].attrs), (name, hidden)
                if hidden in theirs[name].attrs:
                    assert np.array_equal(ours[name].attrs[hidden], theirs[name].attrs[hidden]), (
                        name,
                        hidden,
                    )
            assert ours[name].maxshape == theirs[name].maxshape
            assert ours[name].dtype == theirs[name].dtype


def test_creation_order_is_tracked_everywhere(path: Path) -> None:
    with h5py.File(path) as file:
        tracked = h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED
        assert file["/"].id.get_create_plist().get_link_creation_order() == tracked
        for name in file:
            assert file[name].id.get_create_plist().get_attr_creation_order() == tracked


@pytest.mark.filterwarnings("ignore:Duplicate dimension names")
@pytest.mark.parametrize("n", [3, 1500], ids=["whole", "in blocks"])
def test_variable_with_a_dimension_twice_is_that_of_netcdf_c(n: int, tmp_path: Path) -> None:
    values = np.arange(n * n, dtype="f8").reshape(n, n)
    dataset = xr.Dataset(
        {
            "cov": (("n", "n"), values),
            "deep": (("n", "m", "n"), np.ones((n, 2, n), "i1")),
            "m": (("m", "m"), np.eye(2)),
        },
        coords={"n": np.arange(n)},
    )
    (tmp_path / "theirs").mkdir()
    dataset.to_netcdf(tmp_path / "theirs" / "a.nc", engine="netcdf4")
    dataset.streamh5.to_netcdf(tmp_path / "a.nc")
    assert run("ncdump", tmp_path / "a.nc") == run("ncdump", tmp_path / "theirs" / "a.nc")
    for engine in ("netcdf4", "h5netcdf"):
        with (
            xr.open_dataset(tmp_path / "a.nc", engine=engine) as found,
            xr.open_dataset(tmp_path / "theirs" / "a.nc", engine=engine) as expected,
        ):
            xr.testing.assert_identical(found.load(), expected.load())
    with h5py.File(tmp_path / "a.nc") as ours, h5py.File(tmp_path / "theirs" / "a.nc") as theirs:
        for name in ("cov", "deep", "m"):
            coordinates = "_Netcdf4Coordinates"
            assert ours[name].attrs[coordinates].tolist() == theirs[name].attrs[coordinates].tolist()
        uses = [
            [(file[ref].name, axis) for ref, axis in file["n"].attrs["REFERENCE_LIST"]]
            for file in (ours, theirs)
        ]
        assert sorted(uses[0]) == sorted(uses[1])
