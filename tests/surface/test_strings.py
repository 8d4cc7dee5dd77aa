"""Strings of variable length: empty ones, fill values, lists of mixed kinds. The right value is another writer's."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

import streamh5
from streamh5 import errors

TEXT = h5py.string_dtype()
WORDS = np.array(["a", "", "c"], object)


def _nulls(path: Path, name: str) -> list[bool]:
    """Whether each element is a null pointer to C."""
    found = subprocess.run(
        ["h5dump", "-d", name, "-y", str(path)], capture_output=True, text=True, check=True
    )
    data = found.stdout.split("DATA {", 1)[1].split("}", 1)[0]
    return [item.strip() == "NULL" for item in data.replace("\n", " ").split(",")]


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize("chunks", [None, (2,)])
@pytest.mark.parametrize("convert", [False, True])
def test_empty_strings_are_no_null_pointers(
    chunks: tuple[int, ...] | None, convert: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    pair = np.dtype([("n", "i4"), ("s", TEXT)])
    with streamh5.File(path) as file:
        file.create_dataset("s", data=WORDS, chunks=chunks)
        file.create_dataset("pair", data=np.array([(1, ""), (2, "b")], pair), chunks=chunks)
        file.attrs["empty"] = ""
        file.attrs["list"] = ["", "b"]
    if convert:
        streamh5.convert(path, tmp_path / "b.h5")
        path = tmp_path / "b.h5"
    with h5py.File(tmp_path / "theirs.h5", "w") as other:
        other.create_dataset("s", data=WORDS, dtype=TEXT)
        other.create_dataset("pair", data=np.array([(1, ""), (2, "b")], pair))
        other.attrs["empty"] = ""
        other.attrs["list"] = ["", "b"]
    assert _nulls(path, "s") == [False, False, False] == _nulls(tmp_path / "theirs.h5", "s")
    dumps = [
        subprocess.run(["h5dump", "-a", name, str(one)], capture_output=True, text=True, check=True).stdout
        for name in ("empty", "list")
        for one in (path, tmp_path / "theirs.h5")
    ]
    assert dumps[0].splitlines()[1:] == dumps[1].splitlines()[1:]
    assert dumps[2].splitlines()[1:] == dumps[3].splitlines()[1:]
    subprocess.run(["h5diff", "-c", str(path), str(tmp_path / "theirs.h5")], check=True)
    with h5py.File(path, "r+") as changed:  # each empty string has an object of its own, which is freed
        changed["s"][1] = "new"
        changed["pair"][0] = (1, "new")
        assert changed["s"][...].tolist() == [b"a", b"new", b"c"]


@pytest.mark.usefixtures("hdf5_tools")
def test_empty_sequences_are_null_as_those_of_h5py(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, h5py.File(tmp_path / "b.h5", "w") as other:
        for one in (file, other):
            dataset = one.create_dataset("v", (3,), h5py.vlen_dtype("i4"), chunks=(3,))
            values = np.empty(3, object)
            values[:] = [np.array(x, "i4") for x in ([1, 2], [], [3])]
            dataset[...] = values
    subprocess.run(["h5diff", "-c", str(tmp_path / "a.h5"), str(tmp_path / "b.h5")], check=True)
    with h5py.File(tmp_path / "a.h5") as found:
        offset = found["v"].id.get_chunk_info(0).byte_offset
    assert (tmp_path / "a.h5").read_bytes()[offset + 16 : offset + 32] == bytes(16)


CREATED: dict[str, dict[str, Any]] = {
    "chunked": {"shape": (6,), "chunks": (4,)},
    "filtered": {"shape": (6,), "chunks": (4,), "compression": "gzip"},
    "growing": {"shape": (6,), "chunks": (4,), "maxshape": (None,)},
    "two dimensions": {"shape": (3, 5), "chunks": (2, 2), "maxshape": (None, None)},
    "early": {"shape": (6,), "chunks": (4,), "alloc_time": "early"},
    "whole": {"shape": (6,)},
    "contiguous": {"shape": (3000,), "chunks": False},
    "scalar": {"shape": ()},
}


@pytest.mark.parametrize("fillvalue", ["FILL", "", "fül" * 50, b"FILL"])
@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("way", ["file", "convert", "salvage", "resume"])
def test_fill_value_is_read_by_h5py_where_nothing_was_written(
    fillvalue: Any, is_written: bool, way: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    file = streamh5.File(path, resume=way == "resume")
    _define(file, fillvalue, is_written=is_written)
    if way in ("salvage", "resume"):
        file.create_dataset("z", data=np.arange(8), chunks=(4,))  # something to save
        file.checkpoint()
        copy = tmp_path / "copy.h5"
        for end in (".partial", ".partial.journal"):
            copy.with_name(copy.name + end).write_bytes(path.with_name(path.name + end).read_bytes())
        file.abort()
        path = copy
        if way == "salvage":
            streamh5.salvage(path.with_name("copy.h5.partial"), output=path)
        else:
            with streamh5.File(path, resume=True) as again:
                _define(again, fillvalue, is_written=is_written)
                again.create_dataset("z", data=np.arange(8), chunks=(4,))
    else:
        file.close()
    if way == "convert":
        streamh5.convert(path, tmp_path / "b.h5")
        path = tmp_path / "b.h5"
    text = fillvalue.encode() if isinstance(fillvalue, str) else fillvalue
    # Missing strings are read with an object in the heap: libhdf5 needs to write (H5D__fill_refill_vl).
    with h5py.File(path, "r+") as found:
        for name in CREATED:
            expected = np.full(CREATED[name]["shape"], text, object)
            if is_written and expected.ndim:
                expected[:2] = b"x"
            assert found[name].fillvalue == text, name
            assert found[name][...].tolist() == expected.tolist(), name
            if found[name].maxshape != found[name].shape:
                larger = tuple(n + 3 for n in found[name].shape)
                found[name].resize(larger)
                grown = np.full(larger, text, object)
                grown[tuple(map(slice, expected.shape))] = expected
                assert found[name][...].tolist() == grown.tolist(), name
                found[name][2:] = b"y"  # frees what was there, each object once
                grown[2:] = b"y"
                assert found[name][...].tolist() == grown.tolist(), name


def _define(file: streamh5.File, fillvalue: Any, *, is_written: bool) -> None:
    for name, keywords in CREATED.items():
        dataset = file.create_dataset(name, dtype=TEXT, fillvalue=fillvalue, **keywords)
        assert dataset.fillvalue == (fillvalue.encode() if isinstance(fillvalue, str) else fillvalue)
        if is_written and dataset.shape:
            region = np.full((4, *dataset.shape[1:]), fillvalue, object)[: dataset.shape[0]]
            region[:2] = "x"
            dataset[: len(region)] = region


@pytest.mark.parametrize("n_appended", [1, 3, 4, 6])
def test_rows_appended_by_another_program_follow_the_fill_value(n_appended: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (None,), TEXT, chunks=(4,), maxshape=(None,), fillvalue="FILL")
        dataset.append(np.full(n_appended, "x", object))
    with h5py.File(path, "r+") as found:
        found["x"].resize((9,))
        expected = [b"x"] * n_appended + [b"FILL"] * (9 - n_appended)
        assert found["x"][...].tolist() == expected
        found["x"][n_appended] = "new"
        assert found["x"][n_appended + 1 :].tolist() == expected[n_appended + 1 :]


@pytest.mark.parametrize("fill", [None, "FILL", ""])
@pytest.mark.parametrize("chunks", [None, (2,)])
@pytest.mark.parametrize("convert", [False, True])
def test_records_that_another_variable_adds_read_as_in_a_file_of_netcdf_c(
    fill: str | None, chunks: tuple[int, ...] | None, convert: bool, tmp_path: Path
) -> None:
    encoding: dict[str, Any] = {} if chunks is None else {"chunksizes": chunks}
    if fill is not None:
        encoding["_FillValue"] = fill
    ds = xr.Dataset({"s": ("t", WORDS), "x": ("t", np.arange(3.0))})
    ds.to_netcdf(tmp_path / "theirs.nc", engine="netcdf4", unlimited_dims=["t"], encoding={"s": encoding})
    path = tmp_path / "ours.nc"
    if convert:
        streamh5.convert(tmp_path / "theirs.nc", path)
    else:
        ds.streamh5.to_netcdf(path, unlimited_dims=["t"], encoding={"s": encoding})
    found: list[tuple[Any, ...]] = []
    for one in (path, tmp_path / "theirs.nc"):
        with netCDF4.Dataset(one, "a") as file:
            file["x"][3:7] = 7.0
        with netCDF4.Dataset(one) as file:
            found.append((file["s"][:].tolist(), getattr(file["s"], "_FillValue", None)))
        with h5py.File(one, "r+") as file:
            found[-1] += (file["s"].fillvalue,)
    assert found[0] == found[1]


@pytest.mark.parametrize("n_written", [0, 1, 3, 6])
@pytest.mark.parametrize("fill", [None, "FILL"])
def test_partly_written_strings_of_netcdf_c_are_converted(
    n_written: int, fill: str | None, tmp_path: Path
) -> None:
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        file.createDimension("x", 6)
        variable = file.createVariable("s", str, ("x",), chunksizes=(2,), fill_value=fill)
        for i in range(n_written):
            variable[i] = "a"
        expected = variable[:].tolist()
    streamh5.convert(tmp_path / "a.nc", tmp_path / "b.nc")
    with netCDF4.Dataset(tmp_path / "b.nc") as file:
        assert file["s"][:].tolist() == expected


MIXED: list[Any] = [
    ["a", 1],
    [1, "a"],
    ("a", 1.5),
    ["a", None],
    ["a", True],
    [["a", "b"], ["c", 1]],
    ["a", b"b"],
    ["a", np.float64(1)],
    np.array(["a", 1], object),
    np.array([["a"], [b"b"]], object),
]


@pytest.mark.parametrize("value", MIXED, ids=repr)
def test_mixed_kinds_are_refused_as_h5py_refuses_them(value: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as other:
        with pytest.raises(TypeError):
            other["x"] = value
        with pytest.raises(TypeError):
            other.attrs["x"] = value
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(errors.DatatypeError, match="/x: values of the kinds"):
            file["x"] = value
        with pytest.raises(errors.AttributeValueError, match="'x' of /: values of the kinds"):
            file.attrs["x"] = value
        dataset = file.create_dataset("text", np.shape(value), TEXT)
        if not isinstance(value, np.ndarray) and None not in value:  # an object that was never set
            with pytest.raises(errors.StreamH5Error, match="/text"):
                dataset[...] = value
    with h5py.File(tmp_path / "a.h5") as found:
        assert list(found) == ["text"]
        assert not found.attrs


@pytest.mark.parametrize(
    ("fillvalue", "dtype"),
    [
        (1, TEXT),
        (["a"], TEXT),
        ("a\0b", TEXT),
        ("\ud800", TEXT),
        ([1, 2], h5py.vlen_dtype("i4")),
        ((1, "a"), np.dtype([("n", "i4"), ("s", TEXT)])),
    ],
    ids=repr,
)
def test_fill_value_that_readers_would_not_take_is_refused(
    fillvalue: Any, dtype: np.dtype[Any], tmp_path: Path
) -> None:
    with (
        streamh5.File(tmp_path / "a.h5") as file,
        pytest.raises(errors.FillValueError, match="/x: fill value"),
    ):
        file.create_dataset("x", (4,), dtype, chunks=(2,), fillvalue=fillvalue)


@pytest.mark.parametrize("chunks", [None, (1,)])
@pytest.mark.parametrize("data", [["a\0b"], ["é"]])
def test_text_that_cannot_be_stored_is_refused_with_the_path(
    data: list[str], chunks: tuple[int, ...] | None
) -> None:
    with (
        streamh5.File(io.BytesIO()) as file,
        pytest.raises(errors.DatatypeError, match=r"^/g/x: text .* (NUL|ASCII)") as caught,
    ):
        file.create_dataset("g/x", data=data, dtype=h5py.string_dtype("ascii"), chunks=chunks)
    assert caught.value.facts["path"] == "/g/x"
