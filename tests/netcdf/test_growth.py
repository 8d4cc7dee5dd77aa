"""`append_dim`, `region` and `create_space`: files that grow, read by xarray's engines, netCDF-C and h5py."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import streamh5
from streamh5.errors import (
    BlockError,
    CoordinateError,
    DatatypeError,
    DestinationMissingError,
    KeywordError,
    ShapeError,
    SpecError,
    StreamH5Error,
)
from tests.netcdf.test_netcdf_tools import run
from tests.netcdf.test_to_netcdf import reread

xr = pytest.importorskip("xarray")
netcdf4 = pytest.importorskip("netCDF4")
pytest.importorskip("h5netcdf")

ENGINES = ["netcdf4", "h5netcdf"]


def day(i: int, n: int = 4, *, chunked: bool = False) -> Any:
    """Return `n` six-hourly fields from day `i` on."""
    times = (
        np.datetime64("2020-01-01", "ns")
        + np.timedelta64(24 * i, "h")
        + np.arange(n) * np.timedelta64(6, "h")
    )
    values = np.arange(n * 15, dtype="f4").reshape(n, 3, 5) + 100 * i
    dataset = xr.Dataset(
        {
            "a": (("time", "y", "x"), values, {"units": "K"}),
            "count": ("time", np.arange(n, dtype="i2") + i),
            "name": ("time", np.array([f"day {i}, {j} é" for j in range(n)], object)),
            "mask": (("y", "x"), np.ones((3, 5))),
        },
        {"time": times, "y": [1.0, 2, 3]},
        {"title": "days"},
    )
    dataset.time.encoding.update(units="hours since 2020-01-01", dtype="i4")
    return dataset.chunk(time=3) if chunked else dataset


def days(*numbers: int) -> Any:
    return xr.concat([day(i) for i in numbers], "time", data_vars="minimal")


def write_new(dataset: Any, path: Path, **options: Any) -> None:
    dataset.streamh5.to_netcdf(path, mode="w", **options)


def write_v108(dataset: Any, path: Path, **options: Any) -> None:
    dataset.streamh5.to_netcdf(path, mode="w", libver="v108", **options)


def write_netcdf4(dataset: Any, path: Path, **options: Any) -> None:
    dataset.to_netcdf(path, engine="netcdf4", **options)


def write_h5netcdf(dataset: Any, path: Path, **options: Any) -> None:
    dataset.to_netcdf(path, engine="h5netcdf", **options)


WRITERS = [write_new, write_v108, write_netcdf4, write_h5netcdf]


def check(path: Path, expected: Any, **options: Any) -> None:
    """Compare what each engine reads with the expected dataset; the file must be sound."""
    for engine in ENGINES:
        found = reread(path, engine, **options)
        xr.testing.assert_identical(found, expected.compute())
        types = {name: one.dtype for name, one in expected.variables.items() if one.dtype.kind in "iufb"}
        assert {name: found[name].dtype for name in types} == types  # "identical" compares values only
    assert streamh5.verify(path).n_damaged_structures == 0


def refused(dataset: Any, path: Path, error: type[Exception], match: str, **options: Any) -> None:
    """Check that a call is refused and leaves the file as it was, with nothing beside it."""
    before = path.read_bytes()
    with pytest.raises(error, match=match):
        dataset.streamh5.to_netcdf(path, **options)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    h5py.File(path, "r+").close()  # no lock is left


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("unlimited", [["time"], []])
@pytest.mark.parametrize("write", WRITERS)
def test_append_day_by_day_reads_as_one_dataset(
    write: Any, unlimited: list[str], chunked: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.nc"
    write(day(0), path, unlimited_dims=unlimited)
    for i in (1, 2, 3):
        day(i, chunked=chunked).streamh5.to_netcdf(path, append_dim="time")
        check(path, days(*range(i + 1)))
    assert reread(path, "netcdf4").encoding["unlimited_dims"] == {"time"}
    encoding = reread(path, "netcdf4").time.encoding
    assert (encoding["units"], encoding["dtype"]) == ("hours since 2020-01-01", np.dtype("i4"))


@pytest.mark.parametrize("write", WRITERS)
def test_netcdf_c_appends_to_an_appended_file_and_we_to_that(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write(day(0), path, unlimited_dims=["time"])
    day(1).streamh5.to_netcdf(path, append_dim="time")
    new = day(2)
    with netcdf4.Dataset(path, "r+") as file:
        file["time"][8:12] = (new.time.values - np.datetime64("2020-01-01")) / np.timedelta64(1, "h")
        file["a"][8:12] = new.a.values
        file["count"][8:12] = new["count"].values
        file["name"][8:12] = new.name.values
    check(path, days(0, 1, 2))
    day(3).streamh5.to_netcdf(path, append_dim="time")
    check(path, days(0, 1, 2, 3))


def test_append_gives_the_same_objects_as_netcdf_c(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.nc", tmp_path / "theirs.nc"
    for path in (ours, theirs):
        write_netcdf4(day(0), path, unlimited_dims=["time"])
    day(1).streamh5.to_netcdf(ours, append_dim="time")
    new = day(1)
    with netcdf4.Dataset(theirs, "r+") as file:
        file["time"][4:8] = (new.time.values - np.datetime64("2020-01-01")) / np.timedelta64(1, "h")
        for name in ("a", "count", "name"):
            file[name][4:8] = new[name].values
    done = subprocess.run(
        ["h5diff", "-v", ours, theirs], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_append_without_a_file_makes_one_with_an_unlimited_dimension(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    for i in range(3):
        day(i).streamh5.to_netcdf(path, append_dim="time")
    check(path, days(0, 1, 2))
    assert reread(path, "netcdf4").encoding["unlimited_dims"] == {"time"}


def test_append_to_a_group_leaves_other_groups_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path, group="m/one", unlimited_dims=["time"])
    day(5).streamh5.to_netcdf(path, mode="a", group="m/two", unlimited_dims=["time"])
    day(1).streamh5.to_netcdf(path, group="m/one", append_dim="time")
    check(path, days(0, 1), group="m/one")
    check(path, days(5), group="m/two")


def test_variable_that_is_not_appended_gets_fill_values(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path, unlimited_dims=["time"])
    day(1).drop_vars("a").streamh5.to_netcdf(path, append_dim="time")
    for engine in ENGINES:
        found = reread(path, engine)
        assert found.sizes["time"] == 8
        assert np.isnan(found.a.values[4:]).all()
        np.testing.assert_array_equal(found.a.values[:4], day(0).a.values)
    with h5py.File(path) as file:
        assert file["a"].shape == (8, 3, 5)


def test_variable_of_a_group_below_grows_with_the_dimension(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with netcdf4.Dataset(path, "w") as file:
        file.createDimension("t", None)
        file.createVariable("v", "i4", ("t",))[:] = [1, 2]
        file.createGroup("g").createVariable("w", "i4", ("t",), fill_value=-1)[:] = [3, 4]
    xr.Dataset({"v": ("t", [5])}).streamh5.to_netcdf(path, append_dim="t")
    with h5py.File(path) as file:
        assert file["t"].shape == (3,)
        assert file["g/w"][:].tolist() == [3, 4, -1]
    xr.Dataset({"w": ("t", [6])}).streamh5.to_netcdf(path, append_dim="t", group="g")
    with netcdf4.Dataset(path) as file:
        assert len(file.dimensions["t"]) == 4
        assert file["g/w"][:].tolist() == [3, 4, None, 6]


def test_new_variable_along_an_appended_dimension_begins_with_fill_values(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path, unlimited_dims=["time"])
    day(1).assign(new=("time", np.arange(4.0))).streamh5.to_netcdf(path, append_dim="time")
    for engine in ENGINES:
        found = reread(path, engine).new.values
        assert np.isnan(found[:4]).all()
        assert found[4:].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("write", WRITERS)
def test_new_variable_uses_the_dimensions_of_the_file(write: Any, chunked: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write(day(0), path, unlimited_dims=["time"])
    new = xr.Dataset({"b": (("x", "time"), np.arange(20.0).reshape(5, 4)), "c": ("z", [1, 2])})
    (new.chunk() if chunked else new).streamh5.to_netcdf(path, mode="a")
    check(path, day(0).merge(new))
    with h5py.File(path) as file:
        assert [file["b"].dims[axis][0].name for axis in (0, 1)] == ["/x", "/time"]
        uses = {(file[ref].name, int(axis)) for ref, axis in file["time"].attrs["REFERENCE_LIST"]}
        assert uses == {("/a", 0), ("/count", 0), ("/name", 0), ("/b", 1)}
    day(1).merge(new.drop_vars("c") + 100).streamh5.to_netcdf(path, append_dim="time")
    assert reread(path, "netcdf4").b.shape == (5, 8)


@pytest.mark.parametrize("write", WRITERS)
def test_dimension_without_a_coordinate_gets_one(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write(day(0), path, unlimited_dims=["time"])
    x = xr.Dataset({"b": (("y", "x"), np.zeros((3, 5)))}, {"x": ("x", [5, 4, 3, 2, 1], {"units": "m"})})
    x.streamh5.to_netcdf(path, mode="a")
    check(path, day(0).merge(x))
    with h5py.File(path) as file:
        assert file["a"].dims[2][0] == file["x"]
        uses = {(file[ref].name, int(axis)) for ref, axis in file["x"].attrs["REFERENCE_LIST"]}
        assert uses == {("/a", 2), ("/mask", 1), ("/b", 1)}
        numbers = [int(file[name].attrs["_Netcdf4Dimid"]) for name in ("time", "x", "y")]
        assert sorted(numbers) == [0, 1, 2]
    with netcdf4.Dataset(path, "r+") as file:
        file["x"][0] = 50
        file.renameDimension("y", "z")
    assert reread(path, "netcdf4").a.x.values[0] == 50


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    "region", [{"time": slice(1, 3), "x": slice(2, 4)}, "auto", {"time": "auto", "x": slice(2, 4)}]
)
def test_region_is_written_and_nothing_else(region: Any, chunked: bool, write: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    expected = day(0).assign_coords(x=np.arange(5) * 10)
    write(expected, path, unlimited_dims=["time"])
    part = expected[["a"]].drop_vars("y").isel(time=slice(1, 3), x=slice(2, 4)) + 1000
    (part.chunk(time=1) if chunked else part).streamh5.to_netcdf(path, region=region)
    expected.a[1:3, :, 2:4] += 1000
    check(path, expected)


def test_space_is_filled_region_by_region(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    whole = days(0, 1, 2, 3)
    template = whole[["a", "count", "mask"]].chunk(time=4).merge(whole[["name"]])
    template.streamh5.create_space(
        path, encoding={"a": {"zlib": True, "chunksizes": (6, 3, 5)}}, unlimited_dims=["time"]
    )
    with h5py.File(path) as file:
        assert file["a"].id.get_num_chunks() == 0
        assert (file["a"].shape, file["a"].chunks, file["a"].compression) == ((16, 3, 5), (6, 3, 5), "gzip")
    for engine in ENGINES:
        found = reread(path, engine)
        xr.testing.assert_identical(found.coords.to_dataset(), whole.coords.to_dataset().compute())
        assert np.isnan(found.a.values).all()
        assert (found.attrs, found.a.attrs) == (whole.attrs, whole.a.attrs)
    for i in (2, 0, 3, 1):
        day(i, chunked=i % 2 == 0).drop_vars("mask").streamh5.to_netcdf(path, region="auto")
    whole[["mask"]].drop_vars("y").streamh5.to_netcdf(path, mode="r+")
    check(path, whole)


def test_space_does_not_compute_its_data(tmp_path: Path) -> None:
    def fail(block: Any) -> Any:
        raise AssertionError("computed")

    lazy = da.zeros((10, 4), chunks=5, dtype="f8").map_blocks(fail, dtype="f8", meta=np.empty((0, 0)))
    xr.Dataset({"v": (("t", "x"), lazy)}, {"t": range(10)}).streamh5.create_space(tmp_path / "a.nc")
    found = reread(tmp_path / "a.nc", "netcdf4")
    assert found.v.shape == (10, 4)
    assert found.t.values.tolist() == list(range(10))


@pytest.mark.parametrize(
    "dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?", ">f4", "S3", "U4"]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_space_has_the_types_and_attributes_of_the_written_data(
    chunked: bool, dtype: str, tmp_path: Path
) -> None:
    data = xr.Dataset(
        {"v": (("t", "x"), np.ones((6, 4), dtype)), "scalar": np.array(1, dtype)}, {"t": range(6)}
    )
    data.v.attrs["units"] = "K"
    data = data.chunk(t=2) if chunked else data
    write_new(data, tmp_path / "written.nc")
    data.streamh5.create_space(tmp_path / "space.nc")
    with h5py.File(tmp_path / "written.nc") as written, h5py.File(tmp_path / "space.nc") as space:
        assert set(written) == set(space)
        for name in written:
            assert (space[name].shape, space[name].dtype) == (written[name].shape, written[name].dtype)
            assert set(space[name].attrs) == set(written[name].attrs)
    data.streamh5.to_netcdf(tmp_path / "space.nc", mode="r+")
    for engine in ENGINES:
        found, expected = (reread(tmp_path / name, engine) for name in ("space.nc", "written.nc"))
        xr.testing.assert_identical(found, expected)
        assert found.v.dtype == expected.v.dtype


def packed() -> Any:
    encoding = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 10.0, "_FillValue": -32768}
    dataset = xr.Dataset(
        {
            "p": ("t", [1.0, 2.0, np.nan]),
            "whole": ("t", np.array([1, 2, 3], "i4")),
            "single": ("t", np.array([1, 2, 3], "f4")),
            "filled": ("t", np.array([1.0, 2.0, np.nan])),
        },
        {"t": np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "M8[ns]")},
    )
    dataset.p.encoding = encoding
    dataset.filled.encoding = {"_FillValue": -1.0}
    dataset.t.encoding = {"units": "days since 2020-01-01", "dtype": "i4", "calendar": "standard"}
    return dataset


def test_appended_values_have_the_encoding_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_netcdf4(packed(), path, unlimited_dims=["t"])
    new = xr.Dataset(
        {
            "p": ("t", [3.0, np.nan]),
            "whole": ("t", [4.0, 5.0]),
            "single": ("t", [4.5, 5.5]),
            "filled": ("t", [3.0, 4]),
        },
        {"t": np.array(["2020-01-04", "2020-01-05"], "M8[s]")},
    )
    new.t.encoding = {"units": "hours since 1970-01-01", "dtype": "f8"}
    new.chunk(t=1).streamh5.to_netcdf(path, append_dim="t")
    for engine in ENGINES:
        found = reread(path, engine)
        np.testing.assert_allclose(found.p.values, [1, 2, np.nan, 3, np.nan], atol=1e-9)
        assert found.whole.values.tolist() == [1, 2, 3, 4, 5]
        assert found.whole.dtype == np.dtype("i4")
        assert found.t.values.astype("M8[D]").astype(str).tolist() == [f"2020-01-0{i}" for i in range(1, 6)]
    with h5py.File(path) as file:
        assert file["p"][:].tolist() == [-900, -800, -32768, -700, -32768]


LOST = [
    ({"p": [400.0]}, "p: 1 of 1 values.*int16, scale_factor 0.01.*400.0.*read as"),
    ({"whole": [1.5]}, "whole: 1 of 1.*1.5.*read as 2"),
    ({"whole": [np.nan]}, "whole: 1 of 1.*nan"),
    ({"whole": [3e9]}, "whole: 1 of 1.*3000000000"),
    ({"single": [1e300]}, "single: 1 of 1.*1e.300.*inf"),
    ({"filled": [-1.0]}, "filled: 1 of 1.*-1.0.*nan"),
]


@pytest.mark.filterwarnings("ignore:.*encountered in cast")  # of numpy, in xarray's encoder
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("values", "match"), LOST)
def test_value_that_would_read_back_as_another_is_refused(
    values: Any, match: str, chunked: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.nc"
    write_new(packed(), path, unlimited_dims=["t"])
    times = np.array(["2020-01-04"], "M8[ns]")
    new = xr.Dataset({name: ("t", one) for name, one in values.items()}, {"t": times})
    refused(new.chunk() if chunked else new, path, BlockError, match, append_dim="t")


def test_time_between_the_steps_of_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(packed(), path, unlimited_dims=["t"])
    new = xr.Dataset({"whole": ("t", [4])}, {"t": np.array(["2020-01-04T06:00"], "M8[ns]")})
    refused(
        new, path, BlockError, "t: 1 of 1 values.*int32, units 'days since.*2020-01-04T06", append_dim="t"
    )
    other = xr.Dataset({"whole": ("t", [4])}, {"t": ("t", [5], {"units": "hours since 2020-01-01"})})
    refused(other, path, SpecError, "hours since.*days since", append_dim="t")
    times = np.array(["2020-01-04"], "M8[ns]")
    numbers = xr.Dataset({"single": ("t", times)}, {"t": times})
    refused(numbers, path, DatatypeError, "/single has no units of time", append_dim="t")


def test_coordinates_along_other_dimensions_must_be_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path, unlimited_dims=["time"])
    moved = day(1).assign_coords(y=[1.0, 2.0, 4.0])
    refused(moved, path, CoordinateError, "'y' differs.*4.0 instead of 3.0 at index 2", append_dim="time")
    refused(
        day(0).isel(time=slice(1, 3))[["count"]],
        path,
        CoordinateError,
        "'time' differs",
        region={"time": slice(2)},
    )
    moved.streamh5.to_netcdf(path, mode="a-", append_dim="time")
    check(path, days(0, 1))
    moved.drop_vars("y").isel(time=[0]).assign(mask=day(0).mask * 7).streamh5.to_netcdf(
        path, append_dim="time"
    )
    assert (reread(path, "netcdf4").mask.values == 7).all()


ERRORS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"append_dim": "time", "mode": "w"}, SpecError, "cannot set append_dim unless"),
    ({"append_dim": "time", "mode": "r+"}, SpecError, "cannot set append_dim unless"),
    ({"region": "auto", "mode": "w"}, SpecError, "cannot set region unless"),
    ({"region": "auto", "mode": "a-"}, SpecError, "must be 'r.' or 'a'"),
    ({"region": slice(2)}, KeywordError, "must be a dict"),
    ({"region": {"time": [0, 1]}}, KeywordError, "must be slice objects"),
    ({"region": {"time": slice(0, 4, 2)}}, SpecError, "step on all slices"),
    ({"region": {"z": slice(4)}}, SpecError, "all keys in ``region``.*'z'"),
    ({"region": {"time": slice(0, 4)}}, SpecError, "at least one dimension in common.*drop_vars.*mask"),
    ({"append_dim": "z"}, SpecError, "append_dim='z' does not match any existing dataset dimensions.*'time'"),
    ({"append_dim": "time", "encoding": {"a": {"zlib": True}}}, SpecError, "encoding was provided"),
    ({"mode": "q"}, SpecError, "mode must be"),
    ({"mode": "a", "group": "other", "region": "auto"}, StreamH5Error, "other"),
]


@pytest.mark.parametrize(("options", "error", "match"), ERRORS)
def test_request_that_does_not_fit_is_refused(
    options: dict[str, Any], error: type[Exception], match: str, tmp_path: Path
) -> None:
    write_new(day(0), tmp_path / "a.nc", unlimited_dims=["time"])
    refused(day(0), tmp_path / "a.nc", error, match, **options)


@pytest.mark.parametrize("calendar", ["standard", "noleap"])
@pytest.mark.parametrize("write", WRITERS)
def test_hours_in_a_file_that_counts_whole_days_are_refused_with_the_unit(
    write: Any, calendar: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.nc"
    first, next_day = (
        one.convert_calendar(calendar, use_cftime=calendar == "noleap") for one in (day(0, 1), day(1))
    )
    first.time.encoding.update(units="days since 2020-01-01", dtype="i4", calendar=calendar)
    write(first, path, unlimited_dims=["time"])
    message = r"of 4 values.* 2020-01-02.06:00:00.* is between two whole days\. .*finer units"
    refused(next_day, path, BlockError, message, append_dim="time")


def test_time_past_the_integers_of_the_file_is_refused_with_what_would_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    first = day(0, 1)
    first.time.encoding.update(units="days since 2020-01-01", dtype="i2")
    write_new(first, path, unlimited_dims=["time"])
    later = day(1, 1)
    later["time"] = later.time + np.timedelta64(40_000, "D")
    refused(later, path, BlockError, "which would read as", append_dim="time")


@pytest.mark.parametrize("chunked", [False, True])
def test_numbers_in_other_units_are_written_with_a_warning_that_names_both(
    chunked: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path, unlimited_dims=["time"])
    other = day(1, chunked=chunked)
    other["a"] = (other.a - 273).assign_attrs(units="degC")
    with pytest.warns(UserWarning, match="/a: the data have units 'degC' and the file 'K'") as caught:
        other.streamh5.to_netcdf(path, append_dim="time")
    assert [one.filename for one in caught] == [__file__]
    assert reread(path, "netcdf4").a.attrs == {"units": "K"}


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"])
def test_netcdf_classic_file_is_refused_by_its_name(form: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    xr.Dataset({"a": ("time", [1.0, 2])}).to_netcdf(path, engine="netcdf4", format=form)
    before = path.read_bytes()
    for call in (
        lambda: day(1).streamh5.to_netcdf(path, append_dim="time"),
        lambda: streamh5.File(path, "a"),
        lambda: streamh5.inspect(path),
    ):
        with pytest.raises(
            StreamH5Error, match=r"netCDF classic one \(netCDF-3\); streamh5 convert.*"
        ) as caught:
            call()
        assert "h5py" not in str(caught.value)
    assert path.read_bytes() == before


def test_dataset_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path, unlimited_dims=["time"])
    refused(day(0, 3), path, ShapeError, "different dimension sizes.*4.*!=.*3", mode="a")
    narrow = day(1).isel(x=slice(3))
    sizes = r"different dimension sizes: {'x': 5} in .*a\.nc != {'x': 3} in the data\. Only 'time' grows"
    refused(narrow, path, ShapeError, sizes, append_dim="time")
    refused(day(1).rename(x="z"), path, SpecError, "different dimension names", append_dim="time")
    refused(
        day(1)[["a", "time"]].assign(name=("time", [1, 2, 3, 4])),
        path,
        DatatypeError,
        "/name",
        append_dim="time",
    )
    refused(day(0).assign(b=1), path, SpecError, "non-pre-existing variables 'b'", mode="r+")
    refused(day(3)[["a"]], path, CoordinateError, "not all values of coordinate 'time'", region="auto")
    refused(day(0)[["a"]].isel(time=[0, 2]), path, SpecError, "non-contiguous", region="auto")
    tree = xr.DataTree(day(1))
    refused(tree, path, SpecError, "nodes of a DataTree one by one", append_dim="time")


def test_region_or_r_plus_without_a_file_is_refused(tmp_path: Path) -> None:
    for options in ({"mode": "r+"}, {"region": "auto"}):
        with pytest.raises(DestinationMissingError, match=r"does not exist.*create_space"):
            day(0).streamh5.to_netcdf(tmp_path / "a.nc", **options)


def test_values_and_attributes_are_replaced_as_by_to_zarr(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path)
    new = (day(0)[["a"]] * 2).assign_attrs(title="new", more=1)
    new.streamh5.to_netcdf(path, mode="r+")
    check(path, day(0).assign(a=(day(0).a.dims, day(0).a.values * 2, {"units": "K"})))
    new.streamh5.to_netcdf(path, mode="a")
    assert reread(path, "netcdf4").attrs == {"title": "new", "more": 1}
    assert reread(path, "netcdf4").a.attrs == {"units": "K"}


def test_file_of_the_classic_model_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    plain = day(0).drop_vars("name")
    plain.to_netcdf(path, engine="netcdf4", format="NETCDF4_CLASSIC", unlimited_dims=["time"])
    day(1).drop_vars("name").streamh5.to_netcdf(path, append_dim="time")
    check(path, days(0, 1).drop_vars("name"))
    with netcdf4.Dataset(path, "r+") as file:
        file.renameDimension("x", "z")  # netCDF-C changes what we have written
        file.renameDimension("z", "x")
        assert file.data_model == "NETCDF4_CLASSIC"
        file["count"][8] = 5
    refused(xr.Dataset({"new": ("time", [1.0] * 9)}), path, SpecError, "/new.*classic model", mode="a")
    refused(plain, path, SpecError, "group /g.*classic model", mode="a", group="g")


def test_text_stored_as_characters_is_padded_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    dataset = xr.Dataset({"s": ("t", np.array([b"abc", b"defgh"]))})
    write_netcdf4(dataset, path, unlimited_dims=["t"])
    xr.Dataset({"s": ("t", np.array([b"ij"]))}).streamh5.to_netcdf(path, append_dim="t")
    for engine in ENGINES:
        assert reread(path, engine).s.values.tolist() == [b"abc", b"defgh", b"ij"]
    long = xr.Dataset({"s": ("t", np.array([b"too long"]))})
    refused(long, path, BlockError, "/s.*8 bytes.*holds 5", append_dim="t")


def test_calendar_of_the_file_counts(tmp_path: Path) -> None:
    cftime = pytest.importorskip("cftime")
    path = tmp_path / "a.nc"

    def of(*numbers: int) -> Any:
        times = [cftime.Datetime360Day(2000, 2, number) for number in numbers]
        return xr.Dataset({"v": ("t", np.array(numbers, "f8"))}, {"t": times})

    write_netcdf4(of(28, 29), path, unlimited_dims=["t"])
    of(30).streamh5.to_netcdf(path, append_dim="t")
    assert reread(path, "netcdf4").t.values.tolist() == of(28, 29, 30).t.values.tolist()
    other = of(30).assign_coords(t=np.array(["2000-03-01"], "M8[ns]"))
    refused(other, path, StreamH5Error, "/t", append_dim="t")


def test_failed_append_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path, unlimited_dims=["time"])
    broken = day(1, chunked=True)
    broken["a"] = broken.a.copy(data=broken.a.data.map_blocks(lambda block: block / "no", meta=np.empty(0)))
    with pytest.raises(TypeError):
        broken.streamh5.to_netcdf(path, append_dim="time")
    check(path, day(0))
    day(1).streamh5.to_netcdf(path, append_dim="time")
    check(path, days(0, 1))


def test_delayed_append_happens_when_it_is_computed(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path, unlimited_dims=["time"])
    delayed = day(1, chunked=True).streamh5.to_netcdf(path, append_dim="time", compute=False)
    check(path, day(0))
    delayed.compute()
    check(path, days(0, 1))


def test_variable_that_is_shorter_than_its_dimension_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with netcdf4.Dataset(path, "w") as file:
        file.createDimension("t", None)
        file.createVariable("long", "i4", ("t",))[:] = [1, 2, 3, 4]
        file.createVariable("short", "i4", ("t",), fill_value=-1)[:] = [7]
    with h5py.File(path) as file:
        assert file["short"].shape == (1,)
    xr.Dataset({"short": ("t", [9])}).streamh5.to_netcdf(path, region={"t": slice(2, 3)})
    with h5py.File(path) as file:
        assert file["short"][:].tolist() == [7, -1, 9, -1]
    xr.Dataset({"long": ("t", [5])}).streamh5.to_netcdf(path, append_dim="t")
    with netcdf4.Dataset(path, "r+") as file:
        assert file["short"][:].tolist() == [7, None, 9, None, None]
        file["short"][5] = 6
        assert len(file.dimensions["t"]) == 6


def test_text_of_a_dask_array_is_appended_block_by_block(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path, unlimited_dims=["time"])
    loaded = []

    def load(block: Any) -> Any:
        loaded.append(block.shape)
        return block

    text = da.from_array(np.array(["a", None, "bc", "é"], object), chunks=2)
    lazy = text.map_blocks(load, dtype=object, meta=np.empty(0, object))
    new = day(1).assign(name=("time", lazy))
    new.streamh5.to_netcdf(path, append_dim="time")
    assert loaded == [(2,), (2,)]
    assert reread(path, "netcdf4").name.values[4:].tolist() == ["a", "", "bc", "é"]


def test_bounds_of_times_are_appended_in_the_units_of_the_times(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"

    def of(i: int) -> Any:
        dataset = day(i)[["count"]]
        ends = np.stack([dataset.time.values, dataset.time.values + np.timedelta64(6, "h")], 1)
        dataset["time_bnds"] = (("time", "two"), ends)
        dataset.time.attrs["bounds"] = "time_bnds"
        return dataset

    write_netcdf4(of(0), path, unlimited_dims=["time"])
    of(1).streamh5.to_netcdf(path, append_dim="time")
    with h5py.File(path) as file:
        assert "units" not in file["time_bnds"].attrs
    check(path, xr.concat([of(0), of(1)], "time"))


def test_dimension_that_a_variable_has_twice_grows_on_both_axes(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with netcdf4.Dataset(path, "w") as file:
        file.createDimension("t", None)
        file.createVariable("v", "i4", ("t",))[:] = [1, 2]
        file.createVariable("cov", "i4", ("t", "t"), fill_value=-1)[:] = [[1, 2], [3, 4]]
    xr.Dataset({"v": ("t", [3])}).streamh5.to_netcdf(path, append_dim="t")
    with h5py.File(path) as file:
        assert file["cov"][:].tolist() == [[1, 2, -1], [3, 4, -1], [-1, -1, -1]]


def test_tree_replaces_and_adds_variables_of_its_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    xr.DataTree.from_dict({"/one": day(0), "/two": day(1)}).streamh5.to_netcdf(path)
    changed = day(0)[["a"]] * 2
    tree = xr.DataTree.from_dict({"/one": changed, "/two": day(1)[["time"]].assign(new=("time", [1.0] * 4))})
    tree.streamh5.to_netcdf(path, mode="a")
    check(path, day(0).assign(a=changed.a.assign_attrs(units="K")), group="one")
    check(path, day(1).assign(new=("time", [1.0] * 4)), group="two")


def test_variable_of_a_type_of_its_own_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with netcdf4.Dataset(path, "w") as file:
        file.createDimension("t", None)
        kind = np.dtype([("a", "u1"), ("b", "f4")])
        file.createVariable("e", file.createCompoundType(kind, "kind"), ("t",))[:] = np.zeros(2, kind)
        file.createVariable("v", "i4", ("t",))[:] = [1, 2]
    refused(xr.Dataset({"e": ("t", [1])}), path, DatatypeError, "/e has dtype", append_dim="t")
    xr.Dataset({"v": ("t", [3])}).streamh5.to_netcdf(path, append_dim="t")
    with netcdf4.Dataset(path) as file:
        assert file["v"][:].tolist() == [1, 2, 3]
        assert len(file["e"]) == 3


def test_netcdf_tools_read_an_appended_file(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.nc", tmp_path / "b.nc"
    write_netcdf4(day(0), path, unlimited_dims=["time"])
    for i in (1, 2):
        day(i, chunked=True).assign(new=("time", [1.0 * i] * 4)).streamh5.to_netcdf(path, append_dim="time")
    run("nccopy", path, copy)
    assert run("ncdump", path).splitlines()[1:] == run("ncdump", copy).splitlines()[1:]
    assert "time = UNLIMITED ; // (12 currently)" in run("ncdump", "-h", path)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
def test_sequence_of_appends_and_regions_equals_the_same_in_memory(
    data: st.DataObject, tmp_path: Path
) -> None:
    path = tmp_path / "a.nc"
    path.unlink(missing_ok=True)
    shapes = st.tuples(st.integers(1, 5), st.integers(1, 4))
    n_rows, n_columns = data.draw(shapes)
    values = np.arange(n_rows * n_columns, dtype="i4").reshape(n_rows, n_columns)
    expected = xr.Dataset({"v": (("t", "x"), values)}, {"t": np.arange(n_rows)})
    chunks = data.draw(st.tuples(st.integers(1, 4), st.integers(1, n_columns)))
    encoding = data.draw(st.sampled_from([{}, {"zlib": True}]))
    write = data.draw(st.sampled_from([write_new, write_v108, write_netcdf4]))
    write(expected, path, unlimited_dims=["t"], encoding={"v": {"chunksizes": chunks, **encoding}})
    for step in range(data.draw(st.integers(1, 5))):
        n, is_dask = data.draw(st.integers(1, 5)), data.draw(st.booleans())
        length = expected.sizes["t"]
        if data.draw(st.booleans()):
            new = np.arange(n * n_columns, dtype="i4").reshape(n, n_columns) + 1000 * step
            part = xr.Dataset({"v": (("t", "x"), new)}, {"t": length + np.arange(n)})
            expected = xr.concat([expected, part], "t")
            options: dict[str, Any] = {"append_dim": "t"}
        else:
            first = data.draw(st.integers(0, length - 1))
            last = data.draw(st.integers(first + 1, length))
            left = data.draw(st.integers(0, n_columns - 1))
            right = data.draw(st.integers(left + 1, n_columns))
            region = {"t": slice(first, last), "x": slice(left, right)}
            part = expected.isel(region) * 0 - step - 1
            values = expected.v.values.copy()
            values[first:last, left:right] = -step - 1
            expected = expected.assign(v=(("t", "x"), values))
            options = {"region": region}
        block = data.draw(st.integers(1, 3))
        (part.chunk(t=block, x=block) if is_dask else part).streamh5.to_netcdf(path, **options)
    check(path, expected)


@pytest.mark.parametrize("chunked", [False, True])
def test_new_variable_of_a_region_is_made_whole(chunked: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path, unlimited_dims=["time"])
    part = xr.Dataset({"new": (("time", "x"), np.ones((2, 5)))})
    (part.chunk(time=1) if chunked else part).streamh5.to_netcdf(path, mode="a", region={"time": slice(1, 3)})
    for engine in ENGINES:
        found = reread(path, engine).new.values
        assert found.shape == (4, 5)
        assert (found[1:3] == 1).all()
        assert np.isnan(found[[0, 3]]).all()


def test_space_is_added_to_a_file_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_new(day(0), path, unlimited_dims=["time"])
    empty = xr.Dataset({"b": (("time", "x"), da.zeros((4, 5), dtype="f4"))})
    empty.streamh5.create_space(path, mode="a")
    array = xr.DataArray(np.ones((4, 5), "f4"), dims=("time", "x"), name="b")
    refused(array, path, CoordinateError, "append_dim='time'.*assign_coords", append_dim="time")
    array = array.assign_coords(time=day(1).time)
    array.streamh5.to_netcdf(path, append_dim="time")
    for engine in ENGINES:
        found = reread(path, engine).b.values
        assert np.isnan(found[:4]).all()
        assert (found[4:] == 1).all()
    with h5py.File(path) as file:
        assert file["time"].shape == file["a"].shape[:1] == (8,)
