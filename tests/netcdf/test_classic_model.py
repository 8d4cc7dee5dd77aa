"""``format="NETCDF4_CLASSIC"``: what netCDF-C writes in this format, and its rules before any work."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import AttributeValueError, BlockError, DatatypeError, SpecError, StreamH5Error

xr = pytest.importorskip("xarray")
nc4 = pytest.importorskip("netCDF4")

CLASSIC = "NETCDF4_CLASSIC"


def explode(_block: Any) -> Any:
    raise AssertionError("a block was computed")


def weather() -> Any:
    return xr.Dataset(
        {
            "t2m": (("time", "x"), np.linspace(270, 300, 12, dtype="f4").reshape(4, 3), {"units": "K"}),
            "count": (("time", "x"), np.arange(12).reshape(4, 3), {"valid_max": np.int64(12)}),
            "flag": ("x", np.array([0, 1, 2], "u1")),
            "is_land": ("x", [True, False, True]),
        },
        {
            "time": np.arange("2020-01-01", "2020-01-05", dtype="datetime64[D]").astype("datetime64[ns]"),
            "name": ("x", ["Oslo", "Århus", "x"]),
        },
        {"title": "wétter", "version": 3, "levels": [1, 2, 3]},
    )


@pytest.mark.parametrize("is_lazy", [False, True])
def test_classic_file_is_that_of_netcdf_c(is_lazy: bool, tmp_path: Path) -> None:
    if shutil.which("ncdump") is None:
        pytest.skip("ncdump is not installed (apt-get install netcdf-bin)")
    weather().to_netcdf(tmp_path / "ref.nc", engine="netcdf4", format=CLASSIC, unlimited_dims=["time"])
    dataset = weather()
    if is_lazy:
        dataset = dataset.assign(count=dataset["count"].chunk({"time": 2}))
    streamh5.to_netcdf(dataset, tmp_path / "a.nc", format=CLASSIC, unlimited_dims=["time"])
    names = {}
    for name in ("a.nc", "ref.nc"):
        dump = subprocess.run(
            ["ncdump", "-n", "a", tmp_path / name], capture_output=True, check=True, text=True
        )
        names[name] = sorted(dump.stdout.splitlines())  # variables come in another order
        kind = subprocess.run(["ncdump", "-k", tmp_path / name], capture_output=True, check=True, text=True)
        assert kind.stdout.strip() == "netCDF-4 classic model"
    assert names["a.nc"] == names["ref.nc"]
    with h5py.File(tmp_path / "a.nc") as file, h5py.File(tmp_path / "ref.nc") as reference:
        mark, expected = (one.attrs.get_id("_nc3_strict") for one in (file, reference))
        assert (mark.dtype, mark.shape) == (expected.dtype, expected.shape) == (np.dtype("i4"), ())
        assert file.attrs["_nc3_strict"] == reference.attrs["_nc3_strict"] == 1


def test_classic_file_is_read_and_appended_to(tmp_path: Path) -> None:
    days = weather().drop_vars(["flag", "is_land", "name"])
    for i in range(2):
        part = days.isel(time=slice(2 * i, 2 * i + 2))
        part.streamh5.to_netcdf(tmp_path / "a.nc", append_dim="time", format="netcdf4_classic")
    with nc4.Dataset(tmp_path / "a.nc", "a") as file:
        assert file.data_model == CLASSIC
        assert file.dimensions["time"].isunlimited()
        file["count"][3] = [1, 2, 3]  # netCDF-C writes to it
    with xr.open_dataset(tmp_path / "a.nc", engine="netcdf4") as read:
        days["count"][3] = [1, 2, 3]
        xr.testing.assert_equal(read.load(), days)
    with pytest.raises(SpecError, match="has format 'NETCDF4_CLASSIC', not 'NETCDF4'"):
        days.streamh5.to_netcdf(tmp_path / "a.nc", append_dim="time", format="NETCDF4")


@pytest.mark.parametrize("value", ["é", ["é"], np.array(["é".encode()]), np.array(["é"], object)])
def test_classic_text_of_an_attribute_is_characters(value: Any, tmp_path: Path) -> None:
    streamh5.to_netcdf(xr.Dataset(attrs={"a": value}), tmp_path / "a.nc", format=CLASSIC)
    with h5py.File(tmp_path / "a.nc") as file:
        assert (
            file.attrs["a"] == "é".encode()
        )  # not a string of variable length, which nccopy -k classic refuses
    with nc4.Dataset(tmp_path / "a.nc") as read:
        assert read.getncattr("a") == "é"


def test_classic_space_is_filled(tmp_path: Path) -> None:
    dataset = weather()[["t2m", "count"]]
    streamh5.create_space(dataset, tmp_path / "a.nc", format=CLASSIC, compression="gzip")
    streamh5.to_netcdf(dataset.isel(time=[1, 2]), tmp_path / "a.nc", region="auto")
    with nc4.Dataset(tmp_path / "a.nc") as file:
        assert file.data_model == CLASSIC
        assert file["count"].dtype == np.dtype("i4")
        assert file["count"][:].tolist() == [[None] * 3, [3, 4, 5], [6, 7, 8], [None] * 3]


@pytest.mark.parametrize(
    ("dataset", "options", "error", "match"),
    [
        (xr.Dataset({"v": ("x", [1])}), {"group": "g"}, SpecError, "group /g: .*no groups"),
        (
            xr.DataTree.from_dict({"/": xr.Dataset(), "/g": xr.Dataset({"v": ("x", [1])})}),
            {},
            SpecError,
            "group /g: .*no groups",
        ),
        (
            xr.Dataset({"v": (("x", "y"), [[1]])}),
            {"unlimited_dims": ["x", "y"]},
            SpecError,
            "'x', 'y'.*NETCDF4_CLASSIC allows one",
        ),
        (
            xr.Dataset({"v": ("x", [2**40])}),
            {},
            BlockError,
            "/v: 1 of 1 values do not fit int32.*1099511627776",
        ),
        (xr.Dataset({"v": ("x", np.array([200], "u1"))}), {}, BlockError, "/v: .*int8.*200"),
        (
            xr.Dataset({"v": ("x", ["a"])}),
            {"encoding": {"v": {"dtype": str}}},
            SpecError,
            "'v': dtype=str asks for strings",
        ),
        (xr.Dataset({"v": ("x", [1], {"a": 2**40})}), {}, AttributeValueError, "/v: attribute 'a'.*int32"),
        (xr.Dataset(attrs={"a": ["b", "c"]}), {}, AttributeValueError, "/: attribute 'a' is a list of 2"),
        (
            xr.Dataset(attrs={"a": np.array([b"b", b"c"])}),
            {},
            AttributeValueError,
            "/: attribute 'a' is a list of 2",
        ),
        (xr.Dataset(attrs={"a": None}), {}, AttributeValueError, "/: attribute 'a' is None; netCDF-4 stores"),
        (
            xr.Dataset(attrs={"a": [[1], [1, 2]]}),
            {},
            AttributeValueError,
            r"/: attribute 'a' is \[\[1\], \[1, 2\]\]",
        ),
        (
            xr.Dataset(
                {
                    "v": (
                        "x",
                        np.array([0], "u1"),
                        {},
                        {"dtype": np.dtype("u1", metadata={"enum": {"a": 0}, "enum_name": "e"})},
                    )
                }
            ),
            {},
            DatatypeError,
            "/v: the classic model has no enumerations",
        ),
    ],
)
def test_what_the_classic_model_lacks_is_refused_before_any_work(
    dataset: Any, options: dict[str, Any], error: type[StreamH5Error], match: str, tmp_path: Path
) -> None:
    if isinstance(dataset, xr.Dataset):
        lazy = da.zeros((4, 6), chunks=2).map_blocks(explode, meta=np.empty((0, 0)))
        dataset = dataset.assign(lazy=(("k", "l"), lazy))
    with pytest.raises(error, match=match):
        streamh5.to_netcdf(dataset, tmp_path / "a.nc", format=CLASSIC, **options)
    assert list(tmp_path.iterdir()) == []


def test_lazy_integers_that_do_not_fit_are_refused_when_computed(tmp_path: Path) -> None:
    dataset = xr.Dataset({"v": ("x", da.arange(2**31 - 2, 2**31 + 2, chunks=2))})
    with pytest.raises(BlockError, match="/v: 2 of 2 values do not fit int32"):
        streamh5.to_netcdf(dataset, tmp_path / "a.nc", format=CLASSIC)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "match"),
    [
        ("NETCDF3_64BIT", "not HDF5; use xarray's own"),
        ("netcdf3_classic", "not HDF5"),
        ("NETCDF5", "no such"),
        (4, "no such"),
    ],
)
def test_other_formats_are_refused_with_the_reason(format: Any, match: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=match):
        streamh5.to_netcdf(weather(), tmp_path / "a.nc", format=format)
    assert list(tmp_path.iterdir()) == []
