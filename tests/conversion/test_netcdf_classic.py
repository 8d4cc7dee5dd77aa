"""netCDF classic files: netCDF-C's own tools see in the copy what they see in the source."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamh5 import convert
from streamh5.errors import SourceError, StreamH5Error

netcdf4 = pytest.importorskip("netCDF4")

FORMATS = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")


def ncdump(path: Path, *options: str) -> str:
    """What ncdump prints of a file, without its name."""
    if shutil.which("ncdump") is None:
        pytest.skip("ncdump is missing (Debian: netcdf-bin)")
    done = subprocess.run(["ncdump", *options, "-n", "x", path], capture_output=True, timeout=60, check=True)
    return done.stdout.decode()


def write(path: Path, format: Any = "NETCDF3_CLASSIC") -> Path:
    """Write a file whose dimensions, variables and attributes are in no order but their own."""
    with netcdf4.Dataset(path, "w", format=format) as file:
        for name, length in (("unused", 4), ("y", 2), ("t", None), ("letter", 3), ("last", 7)):
            file.createDimension(name, length)
        for name, dtype, dims in (
            ("v", "f4", ("t", "y")),
            ("y", "f8", ("y",)),
            ("odd", "i1", ("t", "letter")),
            ("last", "i2", ("y", "last")),
            ("square", "i4", ("y", "y")),
            ("words", "S1", ("t", "letter")),
            ("t", "i4", ("t",)),
            ("scalar", "f8", ()),
            ("big", "f4", ("t", "y", "last")),
        ):
            variable = file.createVariable(name, dtype, dims, fill_value=-1 if name == "v" else None)
            variable.setncattr("units", "\u00b0C" if name == "t" else "K\0")
            variable.setncattr("vector", np.array([1.5, np.nan]))
            shape = tuple(5 if dim == "t" else len(file.dimensions[dim]) for dim in dims)
            values = np.arange(np.prod(shape)).reshape(shape) % 100
            variable[...] = values.astype("u1").view("S1") if dtype == "S1" else values
        file.setncatts({"title": "", "empty": np.zeros(0, "i2"), "b": np.int8(3)})
    return path


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("chunks", [None, "auto", (2, 2)])
def test_copy_is_that_of_nccopy(format: str, chunks: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "a.nc", format)
    done = convert(source, tmp_path / "b.nc", chunks=chunks, progress=False)
    assert (done.format, done.notes) == ("netCDF-4", ())
    subprocess.run(["nccopy", "-k", "nc4", source, tmp_path / "n.nc"], check=True, timeout=60)
    assert ncdump(tmp_path / "b.nc") == ncdump(tmp_path / "n.nc")
    subprocess.run(["nccopy", "-k", "cdf5", tmp_path / "b.nc", tmp_path / "c.nc"], check=True, timeout=60)
    if format != "NETCDF3_64BIT_DATA":
        subprocess.run(
            ["nccopy", "-k", "classic", tmp_path / "b.nc", tmp_path / "c.nc"], check=True, timeout=60
        )
    assert ncdump(tmp_path / "c.nc") == ncdump(source)


def test_unused_dimensions_stay_in_their_order(tmp_path: Path) -> None:
    with netcdf4.Dataset(tmp_path / "a.nc", "w", format="NETCDF3_CLASSIC") as file:
        for name, length in (("z", 4), ("time", None), ("a", 1)):
            file.createDimension(name, length)
    convert(tmp_path / "a.nc", tmp_path / "b.nc", progress=False)
    with netcdf4.Dataset(tmp_path / "b.nc") as file:
        found = [(name, len(one), one.isunlimited()) for name, one in file.dimensions.items()]
    assert found == [("z", 4, False), ("time", 0, True), ("a", 1, False)]


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "f4"])
def test_records_of_a_single_variable_are_not_padded(dtype: str, tmp_path: Path) -> None:
    values = np.arange(15).astype(dtype).reshape(5, 3)
    with netcdf4.Dataset(tmp_path / "a.nc", "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("t", None)
        file.createDimension("x", 3)
        file.createVariable("v", dtype, ("t", "x"))[...] = values
    convert(tmp_path / "a.nc", tmp_path / "b.nc", progress=False)
    with h5py.File(tmp_path / "b.nc") as file:
        assert file["v"][...].tolist() == values.tolist()
        assert file["v"].maxshape == (None, 3)


def test_file_of_a_stream_has_as_many_records_as_fit(tmp_path: Path) -> None:
    source = write(tmp_path / "a.nc")
    data = bytearray(source.read_bytes())
    data[4:8] = b"\xff" * 4
    (tmp_path / "s.nc").write_bytes(data)
    convert(source, tmp_path / "b.nc", progress=False)
    convert(tmp_path / "s.nc", tmp_path / "c.nc", progress=False)
    assert ncdump(tmp_path / "c.nc") == ncdump(tmp_path / "b.nc")


@pytest.mark.parametrize("value", [np.float64(np.nan), np.int32(7), np.array([1, 2], "i2"), "n"])
def test_fill_value_of_another_type_stays_an_attribute(value: Any, tmp_path: Path) -> None:
    with netcdf4.Dataset(tmp_path / "x.nc", "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("x", 3)
        variable = file.createVariable("z", "i2", ("x",))
        variable.setncattr("_FillValuX", value)
        variable[:] = [1, 2, 3]
    data = (tmp_path / "x.nc").read_bytes()
    (tmp_path / "x.nc").write_bytes(data.replace(b"_FillValuX", b"_FillValue"))
    done = convert(tmp_path / "x.nc", tmp_path / "y.nc", progress=False)
    (note,) = done.notes
    assert "/z" in note
    assert "_FillValue" in note
    assert ncdump(tmp_path / "y.nc", "-h") == ncdump(tmp_path / "x.nc", "-h")
    with h5py.File(tmp_path / "y.nc") as file:
        assert file["z"][...].tolist() == [1, 2, 3]
        assert file["z"].fillvalue == -32767


def test_name_with_a_nul_in_it_ends_there(tmp_path: Path) -> None:
    with netcdf4.Dataset(tmp_path / "a.nc", "w", format="NETCDF3_CLASSIC") as file:
        file.setncattr("plughXX", "x")
    data = (tmp_path / "a.nc").read_bytes().replace(b"plughXX", b"plugh\0\0")
    (tmp_path / "a.nc").write_bytes(data)
    convert(tmp_path / "a.nc", tmp_path / "b.nc", progress=False)
    assert ncdump(tmp_path / "b.nc") == ncdump(tmp_path / "a.nc")


def test_large_variable_is_streamed_in_its_order(tmp_path: Path) -> None:
    values = np.arange(3_000_000, dtype="i4").reshape(3, 1000, 1000)
    with netcdf4.Dataset(tmp_path / "a.nc", "w", format="NETCDF3_64BIT_OFFSET") as file:
        for name, length in (("t", None), ("y", 1000), ("x", 1000)):
            file.createDimension(name, length)
        file.createVariable("v", "i4", ("t", "y", "x"))[...] = values
        file.createVariable("w", "i1", ("t",))[...] = [1, 2, 3]
    convert(tmp_path / "a.nc", tmp_path / "b.nc", progress=False)
    with h5py.File(tmp_path / "b.nc") as file:
        assert np.array_equal(file["v"][...], values)
        assert file["v"].compression == "gzip"
        assert file["w"][...].tolist() == [1, 2, 3]


def test_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    source = write(tmp_path / "a.nc")
    data = source.read_bytes()
    for n_bytes in range(4, len(data), 7):
        (tmp_path / "cut.nc").write_bytes(data[:n_bytes])
        with pytest.raises(SourceError, match=r"cut\.nc") as caught:
            convert(tmp_path / "cut.nc", tmp_path / "b.nc", progress=False)
        assert len(str(caught.value)) <= 300 + 2 * len(str(tmp_path))
        assert not (tmp_path / "b.nc").exists()


def test_header_with_a_byte_changed_is_read_or_refused_by_name(tmp_path: Path) -> None:
    data = write(tmp_path / "a.nc").read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(300):
        mutant = bytearray(data)
        mutant[rng.integers(4, 700)] = rng.integers(256)
        (tmp_path / "m.nc").write_bytes(mutant)
        with suppress(StreamH5Error):  # and nothing else
            convert(tmp_path / "m.nc", tmp_path / "b.nc", progress=False, overwrite=True)
