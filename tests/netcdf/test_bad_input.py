"""What `to_netcdf` refuses: the error names the variable, before anything is computed or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest

import streamh5
from streamh5.errors import (
    AttributeValueError,
    ChunkShapeError,
    DatatypeError,
    FillValueError,
    FilterError,
    PathError,
    SchedulerError,
    ShapeError,
    SourceError,
    SpecError,
    UnknownChunksError,
)
from tests.netcdf.test_to_netcdf import reread

xr = pytest.importorskip("xarray")
pytest.importorskip("netCDF4")


def explode(block: Any) -> Any:
    raise AssertionError("a block was computed")


def lazy(shape: tuple[int, ...] = (4, 6), dtype: str = "f8") -> Any:
    return da.zeros(shape, chunks=(2, 3), dtype=dtype).map_blocks(explode, meta=np.empty((0, 0), dtype))


def refuse(tmp_path: Path, dataset: Any, error: type[Exception], match: str, **options: Any) -> None:
    with pytest.raises(error, match=match):
        streamh5.to_netcdf(dataset, tmp_path / "a.nc", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("encoding", "error", "match"),
    [
        ({"zlip": True}, SpecError, "/temp: unexpected encoding parameters 'zlip'; did you mean 'zlib'"),
        ({"zlib": True, "compression": "szip"}, FilterError, "/temp.*mismatch"),
        ({"zlib": True, "szip": True}, FilterError, "/temp.*mismatch"),
        ({"compression": "gzip", "complevel": 3, "compression_opts": 4}, FilterError, "/temp.*mismatch"),
        ({"compression": "gzip", "compression_opts": 11}, FilterError, "/temp"),
        ({"compression": "no such"}, FilterError, "/temp.*no such"),
        ({"compression_opts": 4}, FilterError, "/temp"),
        ({"chunksizes": (5, 6)}, ChunkShapeError, r"/temp.*\(5, 6\)"),
        ({"chunksizes": (2,)}, ChunkShapeError, "/temp"),
        ({"chunksizes": (0, 3)}, ChunkShapeError, "/temp"),
        ({"contiguous": True}, SpecError, "/temp.*contiguous"),
        ({"contiguous": True, "zlib": True}, SpecError, "/temp.*contiguous"),
        ({"endian": "middle"}, SpecError, "/temp.*endian"),
        ({"significant_digits": 30}, SpecError, "/temp.*significant_digits"),
        ({"dtype": "c16"}, DatatypeError, "/temp.*complex128"),
        ({"dtype": "f2"}, DatatypeError, "/temp.*float16.*float32"),
        ({"dtype": "longdouble"}, DatatypeError, "/temp.*float128.*float64"),
        ({"dtype": "no such"}, SpecError, "/temp.*no such"),
        ({"scale_factor": "x"}, SpecError, "/temp.*'str'"),
        ({"_FillValue": "x"}, SpecError, "/temp.*'x'"),
        ({"dtype": "i2", "_FillValue": 10**9}, SpecError, "/temp.*int16"),
        ("zlib", SpecError, "'temp'.*castable"),
    ],
)
def test_encoding_that_cannot_be_honoured_is_refused(
    encoding: Any, error: type[Exception], match: str, tmp_path: Path
) -> None:
    dataset = xr.Dataset({"other": ("k", [1]), "temp": (("y", "x"), lazy())})
    refuse(tmp_path, dataset, error, match, encoding={"temp": encoding})


def test_encoding_of_an_unknown_group_is_refused(tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict({"/c": xr.Dataset({"a": ("x", [1])})})
    refuse(tmp_path, tree, SpecError, "encoding group /d; .*/c", encoding={"/d": {}})
    refuse(tmp_path, tree, SpecError, "unlimited_dims group /d; .*/c", unlimited_dims={"/d": ["x"]})
    refuse(tmp_path, tree, SpecError, "dictionary by path", encoding=["a"])


def test_encoding_of_an_unknown_variable_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path, xr.Dataset({"a": ("x", [1])}), SpecError, "'b'.*'a'", encoding={"b": {"zlib": True}})


def test_quantize_mode_alone_is_accepted(tmp_path: Path) -> None:
    dataset = xr.Dataset({"a": ("x", [1.0])})
    streamh5.to_netcdf(dataset, tmp_path / "a.nc", encoding={"a": {"quantize_mode": "BitGroom"}})


@pytest.mark.parametrize(
    "name", ["a/b", "", " a", "a ", "+a", "a\n", "a\x7f", "é" * 128, "\ud800", 3, ("a", "b")], ids=ascii
)
def test_name_that_netcdf_forbids_is_refused(name: Any, tmp_path: Path) -> None:
    values = (("y", "x"), lazy())
    refuse(tmp_path, xr.Dataset({name: values}), PathError, "variable of /.*forbids")
    refuse(tmp_path, xr.Dataset({"temp": ((name, "x"), lazy())}), PathError, "'temp'.*forbids")
    refuse(
        tmp_path,
        xr.Dataset({"temp": values}, attrs={name: 1}),
        AttributeValueError,
        "attribute of /.*forbids",
    )


@pytest.mark.parametrize("name", ["é" * 127 + "a", "a b", "_a", "0", "a+", "日本"])
def test_name_at_the_limit_is_written(name: str, tmp_path: Path) -> None:
    expected = xr.Dataset({name: (name + "d" if len(name) < 99 else "d", [1.0])}, attrs={name: 1})
    streamh5.to_netcdf(expected, tmp_path / "a.nc")
    xr.testing.assert_identical(reread(tmp_path / "a.nc", "netcdf4"), expected)


@pytest.mark.parametrize("name", ["a/b//", "x/+y"])
def test_group_that_netcdf_forbids_is_refused(name: str, tmp_path: Path) -> None:
    dataset = xr.Dataset({"a": ("x", [1])})
    if "+" in name:
        refuse(tmp_path, dataset, PathError, "group", group=name)
    else:
        streamh5.to_netcdf(dataset, tmp_path / "a.nc", group=name)


@pytest.mark.parametrize(
    "value",
    [
        np.bool_(True),
        True,
        None,
        {"a": 1},
        object(),
        1j,
        np.zeros((2, 2)),
        np.float16(1),
        2**70,
        ["a", 1j, None],
    ],
    ids=lambda value: type(value).__name__,
)
def test_attribute_that_netcdf_forbids_is_refused(value: Any, tmp_path: Path) -> None:
    dataset = xr.Dataset({"temp": (("y", "x"), lazy(), {"note": value})})
    refuse(tmp_path, dataset, AttributeValueError, "/temp.*'note'")


@pytest.mark.parametrize("name", ["_Netcdf4Dimid", "DIMENSION_LIST", "CLASS", "_NCProperties"])
def test_attribute_that_netcdf_reserves_is_refused(name: str, tmp_path: Path) -> None:
    dataset = xr.Dataset({"temp": (("y", "x"), lazy(), {name: "text"})})
    refuse(tmp_path, dataset, AttributeValueError, f"/temp.*'{name}'")


def test_dimension_of_two_lengths_is_refused(tmp_path: Path) -> None:
    # xarray keeps the dimensions of a dataset alike; those of characters are made by its encoder
    dataset = xr.Dataset({"temp": (("string2", "x"), lazy()), "word": ("w", np.array([b"ab"]))})
    refuse(tmp_path, dataset, ShapeError, "/word.*'string2'.*2.*4")


def test_dimension_with_the_name_of_a_group_is_refused(tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict({"/": xr.Dataset({"a": ("x", [1, 2])}), "/x": xr.Dataset({"b": 1})})
    refuse(tmp_path, tree, PathError, "/x is a group")


@pytest.mark.parametrize(
    "values",
    [[{"a": 1}, {"b": 2}], ["text", 1], [object(), object()], [b"bytes", "text", 2.5]],
    ids=["dict", "mixed", "object", "bytes"],
)
def test_objects_that_are_no_strings_are_refused(values: list[Any], tmp_path: Path) -> None:
    dataset = xr.Dataset({"fine": ("k", [1]), "things": ("x", np.array(values, dtype=object))})
    refuse(tmp_path, dataset, ValueError, "'things'")


@pytest.mark.parametrize(
    ("variable", "encoding"),
    [
        (("x", ["a", "b"]), {"scale_factor": 2.0}),
        (("x", np.array(["2000-01-01", "2000-01-02"], "M8[ns]")), {"units": "days since then"}),
        (("x", pd.Categorical(["a", "b"])), {}),
        (("x", pd.array([1, None], dtype="Int64")), {}),
    ],
    ids=["text", "units", "categories", "nullable"],
)
def test_what_xarray_cannot_encode_is_refused_with_its_name(
    variable: Any, encoding: dict[str, Any], tmp_path: Path
) -> None:
    dataset = xr.Dataset({"fine": ("k", [1]), "things": variable})
    refuse(tmp_path, dataset, SpecError, "variable /things", encoding={"things": encoding})


def test_multi_index_is_refused_with_its_name(tmp_path: Path) -> None:
    index = pd.MultiIndex.from_product([[1, 2], ["a", "b"]], names=["p", "q"])
    dataset = xr.Dataset({"a": ("z", np.zeros(4))}, xr.Coordinates.from_pandas_multiindex(index, "z"))
    refuse(tmp_path, dataset, NotImplementedError, "'z' is a MultiIndex.*reset_index")


@pytest.mark.parametrize("fill", [1.5, 70_000, np.nan])
def test_fill_value_that_the_dtype_cannot_hold_is_refused(fill: Any, tmp_path: Path) -> None:
    dataset = xr.Dataset({"temp": (("y", "x"), lazy(dtype="i2"), {"_FillValue": fill})})
    refuse(tmp_path, dataset, FillValueError, "/temp")


def test_chunks_of_unknown_size_are_refused(tmp_path: Path) -> None:
    x = da.arange(10, chunks=5)
    dataset = xr.Dataset({"temp": ("x", x[x > 3])})
    refuse(tmp_path, dataset, UnknownChunksError, "/temp.*compute_chunk_sizes")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mode": "r"}, "mode"),
        ({"format": "NETCDF3_64BIT"}, "format"),
        ({"engine": "scipy"}, "engine"),
        ({"engine": "h5netcdf"}, "leave engine out"),
        ({"invalid_netcdf": True}, "invalid_netcdf"),
        ({"unlimited_dims": ["nope"]}, "nope.*'x'"),
        ({"compute": False, "resume": True}, "resume"),
        ({"path": None, "compute": False}, "memory"),
        ({"compression_opts": 3}, "compression"),
        ({"libver": "v1"}, "libver"),
    ],
)
def test_option_that_cannot_be_honoured_is_refused(
    options: dict[str, Any], match: str, tmp_path: Path
) -> None:
    dataset = xr.Dataset({"a": (("y", "x"), lazy())})
    with pytest.raises(SpecError, match=match):
        streamh5.to_netcdf(dataset, **{"path": tmp_path / "a.nc", **options})
    assert list(tmp_path.iterdir()) == []


def test_unlimited_dimension_of_the_encoding_that_is_gone_warns(tmp_path: Path) -> None:
    dataset = xr.Dataset({"a": ("x", [1])})
    dataset.encoding["unlimited_dims"] = {"t"}
    with pytest.warns(UserWarning, match="'t'"):
        streamh5.to_netcdf(dataset, tmp_path / "a.nc")


@pytest.mark.parametrize("data", [np.zeros(3), {"a": 1}, None])
def test_source_that_is_no_xarray_object_is_refused(data: Any, tmp_path: Path) -> None:
    refuse(tmp_path, data, SourceError, "Dataset, DataArray or DataTree")


def test_scheduler_of_processes_is_refused(tmp_path: Path) -> None:
    dataset = xr.Dataset({"a": (("y", "x"), lazy())})
    refuse(tmp_path, dataset, SchedulerError, "threads", scheduler="processes")


@pytest.mark.parametrize("kind", ["Dataset", "DataArray", "DataTree"])
def test_every_keyword_of_xarray_is_taken_or_named(kind: str, tmp_path: Path) -> None:
    import inspect

    dataset = xr.Dataset({"temp": (("x",), np.ones(3))})
    data = {"Dataset": dataset, "DataArray": dataset.temp, "DataTree": xr.DataTree(dataset)}[kind]
    parameters = inspect.signature(data.to_netcdf).parameters.values()
    defaults = {
        one.name: one.default
        for one in parameters
        if one.default is not one.empty and one.kind != one.VAR_KEYWORD
    }
    where = "filepath" if kind == "DataTree" else "path"
    data.streamh5.to_netcdf(**(defaults | {where: tmp_path / "a.nc"}))
    with xr.open_dataset(tmp_path / "a.nc") as found:
        assert found.temp.shape == (3,)
    for name in {"invalid_netcdf", "auto_complex"} & defaults.keys():
        with pytest.raises(SpecError, match=f"{name}=True"):
            data.streamh5.to_netcdf(tmp_path / "b.nc", **{name: True})
    for engine in ("netcdf4", "h5netcdf", "scipy"):
        with pytest.raises(SpecError, match=f"engine='{engine}'"):
            data.streamh5.to_netcdf(tmp_path / "b.nc", engine=engine)
