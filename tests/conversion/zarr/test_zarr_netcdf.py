"""zarr stores written by xarray become netCDF-4: xarray sees the same dataset in both."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

import streamh5
from streamh5.errors import DatatypeError, PathError, ShapeError, SpecError
from tests.real_data import SAMPLE

xr = pytest.importorskip("xarray")
pytest.importorskip("netCDF4")

pytestmark = pytest.mark.filterwarnings(
    "ignore:Numcodecs codecs", "ignore:The data type", "ignore:Consolidated metadata", "ignore:.*dtype.*V3"
)

DATA = Path(__file__).parents[2] / "data"
CODEC = {2: "compressor", 3: "compressors"}


def dataset() -> Any:
    """The sample of the climatology, and a variable of each kind that xarray knows."""
    with xr.open_dataset(DATA / SAMPLE[0], engine="scipy", decode_times=False) as source:
        data = source.load().drop_vars("TIME")
    data["time"] = ("TIME", np.arange("2000-01", "2001-01", dtype="M8[M]").astype("M8[ns]"))
    data["name"] = ("TIME", np.array(list("abcdefghijkl"), object))
    data["flag"] = ("TIME", np.arange(12) % 2 == 0)
    data["scalar"] = ((), 3.5)
    data["packed"] = data.SST.copy()
    data["packed"].encoding = {"dtype": "i2", "scale_factor": 0.01, "_FillValue": -9999}
    data.attrs["list"] = [1, 2]
    return data.set_coords("time")


def both(folder: Path, **keywords: Any) -> tuple[Any, streamh5.Conversion]:
    done = streamh5.from_zarr(folder / "x.zarr", folder / "x.nc", progress=False, **keywords)
    with xr.open_dataset(folder / "x.zarr", engine="zarr", consolidated=False) as source:
        return source.load(), done


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("copy", [None, False], ids=["copied", "encoded"])
def test_dataset_of_xarray_is_identical_in_both(
    zarr_format: Any, engine: Any, copy: bool | None, tmp_path: Path
) -> None:
    codec = zarr.codecs.GzipCodec() if zarr_format == 3 else None
    encoding: dict[str, Any] = {"SST": {"chunks": (5, 10, 50)}, "UWND": {"chunks": (20, 10, 50)}}
    source = dataset()
    if zarr_format == 3:
        for name in source.variables:
            encoding.setdefault(name, {})["compressors"] = (codec,)
    source.to_zarr(tmp_path / "x.zarr", zarr_format=zarr_format, encoding=encoding, consolidated=False)
    expected, done = both(tmp_path, copy=copy)
    assert done.format == "netCDF-4"
    with xr.open_dataset(tmp_path / "x.nc", engine=engine) as found:
        xr.testing.assert_identical(found.load(), expected)
    copied = {one.path for one in done.arrays if one.is_copied}
    small = {"/COADSX", "/COADSY", "/time", "/flag", "/packed"}  # with blosc in zarr 2
    assert copied == (set() if copy is False else {"/SST"} | (small if zarr_format == 3 else set()))
    with h5py.File(tmp_path / "x.nc") as file:
        assert file["SST"].chunks == (5, 10, 50)
        assert [scale[0].name for scale in file["SST"].dims] == ["/TIME", "/COADSY", "/COADSX"]


def test_gzip_of_zarr_is_read_by_netcdf_c(tmp_path: Path) -> None:
    source = dataset()[["SST"]]
    encoding = {name: {"compressors": (zarr.codecs.GzipCodec(),)} for name in source.variables}
    source.to_zarr(tmp_path / "x.zarr", zarr_format=3, encoding=encoding, consolidated=False)
    _, done = both(tmp_path, copy=True)
    assert done.format == "netCDF-4"
    try:
        copy = subprocess.run(
            ["nccopy", tmp_path / "x.nc", tmp_path / "y.nc"], check=False, capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("reader missing: nccopy is not installed")
    assert (copy.returncode, copy.stderr) == (0, "")
    with xr.open_dataset(tmp_path / "y.nc") as found, xr.open_dataset(tmp_path / "x.nc") as expected:
        xr.testing.assert_identical(found.load(), expected.load())


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_tree_of_xarray_is_identical_in_both(zarr_format: Any, tmp_path: Path) -> None:
    data = dataset()
    tree = xr.DataTree.from_dict(
        {"/": data[["SST"]], "/a/b": data[["UWND"]], "/empty": xr.Dataset(attrs={"k": 1})}
    )
    tree.to_zarr(tmp_path / "x.zarr", zarr_format=zarr_format)
    done = streamh5.from_zarr(tmp_path / "x.zarr", tmp_path / "x.nc", progress=False)
    assert done.format == "netCDF-4"
    with (
        xr.open_datatree(tmp_path / "x.zarr", engine="zarr") as expected,
        xr.open_datatree(tmp_path / "x.nc", engine="h5netcdf") as found,
    ):
        xr.testing.assert_identical(found.load(), expected.load())


def named(folder: Path, **arrays: Any) -> Path:
    root = zarr.create_group(folder / "x.zarr")
    for name, (shape, dtype, dims) in arrays.items():
        root.create_array(name, shape=shape, dtype=dtype, dimension_names=dims)
    return folder / "x.zarr"


@pytest.mark.parametrize(
    ("arrays", "error", "reason"),
    [
        (
            {"x": ((4,), "f4", ("a",)), "y": ((5,), "f4", ("a",))},
            ShapeError,
            "/y: dimension 'a' has the length 5",
        ),
        ({"x": ((4, 5), "f4", ("a", "a"))}, ShapeError, "/x: dimension 'a' has the length 5 here and 4"),
        ({"x ": ((4,), "f4", ("a",))}, PathError, "netCDF forbids the name 'x '"),
    ],
)
def test_group_that_netcdf_cannot_hold_is_plain_hdf5_with_the_reason(
    arrays: dict[str, Any], error: type[Exception], reason: str, tmp_path: Path
) -> None:
    source = named(tmp_path, **arrays)
    done = streamh5.from_zarr(source, tmp_path / "x.h5", progress=False)
    assert done.format == "HDF5"
    with pytest.raises(error, match=reason) as caught:
        streamh5.from_zarr(source, tmp_path / "y.nc", netcdf=True, progress=False)
    assert done.notes == (f"plain HDF5, not netCDF-4: {caught.value}",)
    assert not (tmp_path / "y.nc").exists()


def test_netcdf_false_writes_labels_and_no_scales(tmp_path: Path) -> None:
    source = named(tmp_path, x=((4,), "f4", ("x",)))
    done = streamh5.from_zarr(source, tmp_path / "x.h5", netcdf=False, progress=False)
    assert (done.format, done.notes) == ("HDF5", ())
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["x"].dims[0].label == "x"
        assert not file["x"].is_scale


def test_single_array_with_netcdf_becomes_a_variable(tmp_path: Path) -> None:
    source = zarr.open_array(named(tmp_path, x=((4,), "f4", ("a",))), path="x")
    source[...] = 3
    streamh5.from_zarr(source, tmp_path / "x.nc", "/group/x", netcdf=True, progress=False)
    with xr.open_dataset(tmp_path / "x.nc", group="group", engine="h5netcdf") as found:
        assert found.x.dims == ("a",)
        assert (found.x == 3).all()


@pytest.mark.filterwarnings("ignore:Duplicate dimension names")
def test_square_variable_and_fixed_bytes_stay_netcdf(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "x.zarr")
    words = np.array([b"abc", b"d", b""], "S3")
    for name, data, dims in (
        ("n", np.arange(3.0), ("n",)),
        ("cov", np.eye(3), ("n", "n")),
        ("words", words, ("n",)),
        ("table", np.tile(words, (4, 1)), ("m", "n")),
        ("half", np.array([0.5, 1, np.nan], "f2"), ("n",)),
    ):
        root.create_array(name, data=data, chunks=(2,) * data.ndim, dimension_names=dims)
    root["n"].attrs.update({"matrix": [[1, 2], [3, 4]], "units": "m"})
    done = streamh5.from_zarr(tmp_path / "x.zarr", tmp_path / "x.nc", netcdf=True, progress=False)
    assert (done.format, done.notes) == ("netCDF-4", ())
    for engine in ("netcdf4", "h5netcdf"):
        with xr.open_dataset(tmp_path / "x.nc", engine=engine) as found:
            assert found.cov.dims == ("n", "n")
            assert np.array_equal(found.cov.variable.values, np.eye(3))
            assert found.words.dtype == words.dtype
            assert np.array_equal(found.words, words)
            assert np.array_equal(found.table, np.tile(words, (4, 1)))
            assert found.half.values.tobytes() == np.array([0.5, 1, np.nan], "f4").tobytes()
            assert found.n.attrs == {"matrix": "[[1, 2], [3, 4]]", "units": "m"}


@pytest.mark.parametrize(
    ("arrays", "error", "reason"),
    [
        ({"y": ((3, 5), "f4", None)}, SpecError, "/y: not all of its dimensions"),
        ({"y": ((3, 5), "f4", ("n", None))}, SpecError, "/y: not all of its dimensions"),
        ({"y": ((3,), "c8", ("n",))}, DatatypeError, "/y: netCDF-4 has no type for dtype complex64"),
        ({"y": ((3,), "M8[s]", ("n",))}, DatatypeError, "/y: netCDF-4 has no type for dtype datetime64"),
    ],
)
@pytest.mark.filterwarnings("ignore:WARNING. variable 'y' has unsupported datatype")
def test_array_that_netcdf_has_no_form_for_leaves_the_others_their_dimensions(
    arrays: dict[str, Any], error: type[Exception], reason: str, tmp_path: Path
) -> None:
    netcdf4 = pytest.importorskip("netCDF4")
    source = named(tmp_path, x=((3,), "f4", ("n",)), n=((3,), "f8", ("n",)), **arrays)
    done = streamh5.from_zarr(source, tmp_path / "x.nc", progress=False)
    assert done.format == "netCDF-4"
    (note,) = done.notes
    assert note.startswith("/y: ")
    with netcdf4.Dataset(tmp_path / "x.nc") as file:
        assert file["x"].dimensions == ("n",)
        assert len(file.dimensions["n"]) == 3
    with h5py.File(tmp_path / "x.nc") as file:
        assert [scale[0].shape for scale in file["y"].dims] == [(n,) for n in file["y"].shape]
    with pytest.raises(error, match=reason):
        streamh5.from_zarr(source, tmp_path / "y.nc", netcdf=True, progress=False)


@pytest.mark.parametrize("fill", [1e9, -1.5])
def test_fill_value_that_the_dtype_cannot_hold_stays_an_attribute(fill: Any, tmp_path: Path) -> None:
    netcdf4 = pytest.importorskip("netCDF4")
    root = zarr.create_group(tmp_path / "x.zarr")
    one = root.create_array("i", data=np.arange(3, dtype="i2"), dimension_names=("n",))
    one.attrs["_FillValue"] = fill
    done = streamh5.from_zarr(tmp_path / "x.zarr", tmp_path / "x.nc", progress=False)
    assert [note.partition(" is ")[0] for note in done.notes] == [f"/i: its _FillValue {fill!r}"]
    with netcdf4.Dataset(tmp_path / "x.nc") as file:
        file.set_auto_mask(False)
        assert file["i"].getncattr("_FillValue") == fill
        assert file["i"][:].tolist() == [0, 1, 2]
