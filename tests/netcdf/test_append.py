"""`mode="a"`: groups that are added to a netCDF-4 file, as netCDF-C, h5netcdf and xarray read them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import SpecError
from tests.netcdf.test_netcdf_tools import run
from tests.netcdf.test_to_netcdf import reread

xr = pytest.importorskip("xarray")
netcdf4 = pytest.importorskip("netCDF4")
pytest.importorskip("h5netcdf")

ENGINES = ["netcdf4", "h5netcdf"]


def root() -> Any:
    values = np.arange(12.0).reshape(3, 4)
    return xr.Dataset({"a": (("t", "y"), values, {"units": "K"})}, {"t": [1, 2, 3]}, {"title": "root"})


def model(n: int = 5) -> Any:
    values = da.arange(n * 4, chunks=8).reshape(n, 4).astype("f8")
    return xr.Dataset(
        {"a": (("t", "y"), values), "s": ("y", list("abcd"))}, {"t": np.arange(float(n))}, {"model": "m"}
    )


def write_netcdf4(dataset: Any, path: Path) -> None:
    dataset.to_netcdf(path, engine="netcdf4", unlimited_dims=["t"])


def write_v110(dataset: Any, path: Path) -> None:
    streamh5.to_netcdf(dataset, path, unlimited_dims=["t"])


def write_v108(dataset: Any, path: Path) -> None:
    streamh5.to_netcdf(dataset, path, unlimited_dims=["t"], libver="v108")


@pytest.fixture(params=[write_v110, write_v108, write_netcdf4])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A netCDF-4 file with two groups that were added to it, and a variable in its root."""
    path = tmp_path / "a.nc"
    request.param(root(), path)
    model().streamh5.to_netcdf(
        path, mode="a", group="m/r1", encoding={"a": {"zlib": True}}, unlimited_dims=["t"]
    )
    model(3).streamh5.to_netcdf(path, mode="a", group="m/r2")
    xr.Dataset({"b": ("z", [7, 8])}).streamh5.to_netcdf(path, mode="a")
    return path


@pytest.mark.parametrize("engine", ENGINES)
def test_added_groups_and_what_was_there_are_read_back(engine: str, path: Path) -> None:
    xr.testing.assert_identical(reread(path, engine, group="m/r1"), model().compute())
    xr.testing.assert_identical(reread(path, engine, group="m/r2"), model(3).compute())
    xr.testing.assert_identical(reread(path, engine), root().assign(b=("z", [7, 8])))
    assert reread(path, engine).encoding["unlimited_dims"] == {"t"}


def test_added_dimensions_have_ids_of_their_own(path: Path) -> None:
    with h5py.File(path) as file:
        names = ["t", "y", "m/r1/t", "m/r1/y", "m/r2/t", "m/r2/y", "z"]
        assert sorted(int(file[name].attrs["_Netcdf4Dimid"]) for name in names) == list(range(7))
        assert [scale.name for scale in file["m/r2/a"].dims[1].values()] == ["/m/r2/y"]
    assert streamh5.verify(path).n_damaged_structures == 0


def test_netcdf_c_changes_a_file_that_was_added_to(path: Path, tmp_path: Path) -> None:
    with netcdf4.Dataset(path, "a") as file:
        file["a"][3:5] = 7
        file["m/r1/a"][5] = 9
        file["m"].createDimension("w", 2)
        file["m"].createVariable("c", "f4", ("w",))[:] = 3
        file["m/r2"].renameDimension("y", "x")
    assert reread(path, "netcdf4").sizes["t"] == 5
    assert np.all(reread(path, "netcdf4", group="m/r1")["a"][5] == 9)
    assert reread(path, "netcdf4", group="m/r2")["a"].dims == ("t", "x")
    run("nccopy", path, tmp_path / "b.nc")
    assert (
        run("ncdump", "-h", path).splitlines()[1:] == run("ncdump", "-h", tmp_path / "b.nc").splitlines()[1:]
    )


def test_dimensions_without_ids_are_told_from_those_that_are_added(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_netcdf4(root(), path)
    with h5py.File(path, "r+") as file:  # as writers did before netCDF 4.1
        for name in file:
            for hidden in ("_Netcdf4Dimid", "_Netcdf4Coordinates"):
                if hidden in file[name].attrs:
                    del file[name].attrs[hidden]
    model().streamh5.to_netcdf(path, mode="a", group="m")
    xr.testing.assert_identical(reread(path, "netcdf4"), root())
    xr.testing.assert_identical(reread(path, "netcdf4", group="m"), model().compute())


def test_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    model().streamh5.to_netcdf(tmp_path / "a.nc", mode="a")
    xr.testing.assert_identical(reread(tmp_path / "a.nc", "netcdf4"), model().compute())


def test_tree_is_added_beside_a_group(tmp_path: Path) -> None:
    root().streamh5.to_netcdf(tmp_path / "a.nc", group="first")
    tree = xr.DataTree.from_dict({"/second": model(), "/second/third": model(2).drop_vars("t").rename(t="u")})
    tree.streamh5.to_netcdf(tmp_path / "a.nc", mode="a")
    expected = xr.DataTree.from_dict(
        {"/first": root(), **{node.path: node.to_dataset() for node in tree.leaves}}
    )
    expected["/second"] = xr.DataTree(tree["second"].to_dataset(), children={"third": tree["second/third"]})
    with xr.open_datatree(tmp_path / "a.nc", engine="netcdf4") as actual:
        xr.testing.assert_identical(actual.load(), expected.compute())


@pytest.mark.parametrize(
    ("dataset", "options", "error", "match"),
    [
        (xr.Dataset({"c": ("t", [1, 2])}), {}, SpecError, "existing dimension 't'.*is 3.*data 2"),
        (xr.Dataset({"a": ("q", [1])}), {}, SpecError, "different dimension names.*'q'.*/a"),
        (xr.Dataset({"m": ("q", [1])}), {}, SpecError, "variable /m: an object of that name exists in"),
        (xr.Dataset({"c": ("q", [1])}), {"group": "t/u"}, SpecError, "group /t: an object.*exists in"),
        (xr.Dataset({"c": ("q", [1])}), {"path": None}, SpecError, "mode='a' needs a path"),
        (xr.Dataset({"c": ("q", [1])}), {"path": io.BytesIO(b"old")}, SpecError, "files that have a path"),
    ],
)
def test_addition_that_would_change_what_is_there_is_refused(
    dataset: Any, options: dict[str, Any], error: type[Exception], match: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.nc"
    root().streamh5.to_netcdf(path)
    model().streamh5.to_netcdf(path, mode="a", group="m")
    before = path.read_bytes()
    with pytest.raises(error, match=match):
        dataset.streamh5.to_netcdf(**{"path": path, "mode": "a", **options})
    assert path.read_bytes() == before


def test_file_that_is_no_netcdf4_is_refused(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "plain.h5", "w") as file:
        file.create_dataset("x", data=np.arange(3))
    (tmp_path / "text.nc").write_text("no HDF5")
    for name, match in (
        ("plain.h5", "has no _NCProperties"),
        ("text.nc", "text.nc"),
    ):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(SpecError, match=match):
            model().streamh5.to_netcdf(tmp_path / name, mode="a", group="g")
        assert (tmp_path / name).read_bytes() == before


def test_failed_addition_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    root().streamh5.to_netcdf(tmp_path / "a.nc")
    broken = da.ones(8, chunks=4).map_blocks(lambda block: block / "no", meta=np.empty(0))
    with pytest.raises(TypeError):
        xr.Dataset({"a": ("x", broken)}).streamh5.to_netcdf(tmp_path / "a.nc", mode="a", group="g")
    xr.testing.assert_identical(reread(tmp_path / "a.nc", "netcdf4"), root())
    with h5py.File(tmp_path / "a.nc") as file:
        assert "g" not in file


@pytest.mark.parametrize("n", [2, 5])
def test_dimension_that_would_hide_one_in_use_is_refused(tmp_path: Path, n: int) -> None:
    path = tmp_path / "a.nc"
    tree = {"/": xr.Dataset({"k": ("t", [7.0, 8, 9])}), "/m/r": xr.Dataset({"a": ("t", [1.0, 2, 3])})}
    xr.DataTree.from_dict(tree).streamh5.to_netcdf(path)
    before = path.read_bytes()
    hiding = xr.Dataset({"c": ("t", np.arange(n))})
    for group in ("m", "m/r"):
        with pytest.raises(SpecError, match="dimension 't' of group /"):
            hiding.streamh5.to_netcdf(path, mode="a", group=group)
    assert path.read_bytes() == before
    hiding.streamh5.to_netcdf(path, mode="a", group="m/s")
    for engine in ENGINES:
        with xr.open_dataset(path, group="m/r", engine=engine) as found:
            assert found["a"].values.tolist() == [1, 2, 3]


def test_file_of_the_classic_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with netcdf4.Dataset(path, "w", format="NETCDF4_CLASSIC") as file:
        file.createDimension("x", 3)
        file.createVariable("v", "f4", ("x",))[:] = 1
    before = path.read_bytes()
    with pytest.raises(SpecError, match="classic model"):
        model().streamh5.to_netcdf(path, mode="a", group="g")
    assert path.read_bytes() == before


def test_attributes_of_a_group_that_is_added_to_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    root().assign_attrs(kept="yes").streamh5.to_netcdf(path)
    xr.Dataset({"b": ("z", [1.0])}, attrs={"title": "new"}).streamh5.to_netcdf(path, mode="a")
    for engine in ENGINES:
        assert reread(path, engine).attrs == {"title": "new", "kept": "yes"}
