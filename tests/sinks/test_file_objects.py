"""Binary file objects as destinations, read by h5py and xarray from the object itself."""

# ruff: noqa: SIM115 - the objects are opened for the tests that get them

from __future__ import annotations

import errno
import gzip
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr

import streamh5
from streamh5 import errors
from tests.written import GZIP, no_thread_left, traces

DATA = np.arange(4000, dtype="f8").reshape(40, 100)


def stream(target: Any, mode: str = "x") -> None:
    with streamh5.File(target, mode, threads=3) as file:
        rows = file.create_dataset("x", (None, 100), "f8", chunks=(3, 100), **GZIP)
        for row in DATA:
            rows.append(row)
        file.attrs["title"] = "in memory"


def dask(target: Any) -> None:
    streamh5.to_fixed_h5(target, "/x", da.from_array(DATA, chunks=(7, 50)), attrs={"unit": "m"})


def netcdf(target: Any) -> None:
    xr.Dataset({"x": (("time", "y"), da.from_array(DATA, chunks=(7, 50)))}).streamh5.to_netcdf(target)


def converted(target: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/a.npy", DATA)
        streamh5.convert(f"{folder}/a.npy", target, "/x")


def converted_hdf5(target: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(f"{folder}/a.h5", "w") as file:
            file.create_dataset("x", data=DATA, chunks=(8, 100), compression="gzip")
        streamh5.convert(f"{folder}/a.h5", target)


WAYS: dict[str, Callable[[Any], None]] = {
    "File": stream,
    "to_fixed_h5": dask,
    "to_netcdf": netcdf,
    "convert": converted,
    "convert hdf5": converted_hdf5,
}


class OnlyWrites:
    """Write, seek and tell, over a file whose writes are short."""

    def __init__(self) -> None:
        self.file = io.BytesIO()

    def write(self, data: Any) -> int:
        return self.file.write(bytes(data)[:1000])

    def seek(self, position: int, whence: int = 0) -> int:
        return self.file.seek(position, whence)

    def tell(self) -> int:
        return self.file.tell()


OBJECTS: dict[str, Callable[[], Any]] = {
    "BytesIO": io.BytesIO,
    "TemporaryFile": tempfile.TemporaryFile,
    "SpooledTemporaryFile": lambda: tempfile.SpooledTemporaryFile(max_size=1000),
    "NamedTemporaryFile": tempfile.NamedTemporaryFile,
    "unbuffered": lambda: tempfile.TemporaryFile(buffering=0),
    "only writes": OnlyWrites,
}


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("how", WAYS)
def test_file_object_holds_what_h5py_reads(how: str, kind: str) -> None:
    target = OBJECTS[kind]()
    with no_thread_left():
        WAYS[how](target)
    file = getattr(target, "file", target) if kind == "only writes" else target
    assert file.tell() == file.seek(0, io.SEEK_END)  # it stands at the end
    with h5py.File(file) as read:
        np.testing.assert_array_equal(read["x"][...], DATA)
    if how == "to_netcdf":
        file.seek(0)
        with xr.open_dataset(file, engine="h5netcdf") as found:
            np.testing.assert_array_equal(found["x"], DATA)
    if kind != "only writes":
        target.close()


def test_file_object_has_the_bytes_of_a_file(tmp_path: Path) -> None:
    target = io.BytesIO()
    for one in (target, tmp_path / "a.h5"):
        with streamh5.File(one, threads=1) as file:
            file.create_dataset("x", data=DATA, chunks=(8, 100))
            file.create_dataset("late", (1000, 1000), "f8", chunks=(10, 10))
    assert target.getvalue() == (tmp_path / "a.h5").read_bytes()


def test_file_object_that_holds_something_is_replaced_when_that_is_asked_for() -> None:
    target = io.BytesIO(b"x" * 1_000_000)
    for mode in ("x", "a"):
        with pytest.raises((errors.DestinationExistsError, errors.SpecError)):
            stream(target, mode)
    with pytest.raises(errors.DestinationExistsError, match=r"1,000,000 bytes.*overwrite=True"):
        dask(target)
    assert target.getvalue() == b"x" * 1_000_000
    stream(target, "w")
    assert len(target.getvalue()) < 500_000
    with h5py.File(target) as read:
        np.testing.assert_array_equal(read["x"][...], DATA)
    stream(io.BytesIO(), "a")


@pytest.mark.parametrize("how", ["exception", "abort", "dask"])
def test_file_object_is_empty_after_a_failure(how: str) -> None:
    target = io.BytesIO(b"old")
    if how == "abort":
        file = streamh5.File(target, "w")
        file.create_dataset("x", (4, 4), "i4", chunks=(1, 4))[...] = np.ones((4, 4), "i4")
        file.abort()
    elif how == "dask":
        bad = da.zeros((4, 4), chunks=(1, 4)).map_blocks(
            lambda block: 1 / 0 if block.size else block, meta=DATA
        )
        with pytest.raises(ZeroDivisionError):
            streamh5.to_fixed_h5(target, "/x", bad, overwrite=True)
    else:
        with pytest.raises(errors.BlockError), streamh5.File(target, "w") as file:
            file.create_dataset("x", data=DATA)[0:1] = object()
    assert target.getvalue() == b""
    dask(target)
    with h5py.File(target) as read:
        np.testing.assert_array_equal(read["x"][...], DATA)


def closed() -> io.BytesIO:
    target = io.BytesIO()
    target.close()
    return target


def closed_gzip(folder: Path) -> gzip.GzipFile:
    target = gzip.open(folder / "c", "wb")
    target.close()
    return target


def pipe(mode: str, *, is_blocking: bool = True, buffering: int = -1) -> Any:
    reader, writer = os.pipe()
    os.close(reader)
    os.set_blocking(writer, is_blocking)
    return os.fdopen(writer, mode, buffering)


BAD: dict[str, Callable[[Path], Any]] = {
    "text": lambda _: io.StringIO(),
    "text file": lambda folder: (folder / "a").open("w"),
    "read only": lambda folder: (folder / "b").open("rb"),
    "append mode": lambda folder: (folder / "a").open("ab"),
    "append mode +": lambda folder: (folder / "a").open("a+b"),
    "closed": lambda _: closed(),
    "closed gzip": closed_gzip,
    "gzip for reading": lambda folder: gzip.open(folder / "b"),
    "text pipe": lambda _: pipe("w"),
    "pipe that does not wait": lambda _: pipe("wb", is_blocking=False),
    "unbuffered pipe that does not wait": lambda _: pipe("wb", is_blocking=False, buffering=0),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", BAD)
def test_file_object_that_cannot_hold_a_file_is_refused_before_any_work(kind: str, tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    n_computed = [0]

    def source(block: Any) -> Any:
        n_computed[0] += 1
        return block

    x = da.ones(4, chunks=1).map_blocks(source, dtype="f8", meta=np.empty(0))
    target = BAD[kind](tmp_path)
    calls: list[Callable[[], Any]] = [
        lambda: streamh5.File(target, "w"),
        lambda: streamh5.to_fixed_h5(target, "/x", x),
        lambda: streamh5.to_fixed_h5(target, "/x", x, compute=False),
        lambda: streamh5.to_netcdf(xr.Dataset({"x": ("d", x)}), target),
    ]
    for call in calls:
        with pytest.raises(errors.SpecError, match=r"cannot be a destination|append mode") as caught:
            call()
        assert len(str(caught.value)) < 350
    assert n_computed == [0]
    if hasattr(target, "close"):
        target.close()


class Full(io.BytesIO):
    """A file object on a disk that is full after some writes."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def write(self, data: Any) -> int:
        self.n -= 1
        if self.n < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_error_of_a_file_object_is_ours_whichever_write_it_is() -> None:
    n = 0
    while True:
        target = Full(n)
        try:
            stream(target, "w")
            break
        except errors.StreamH5Error as error:
            assert "Full" in str(error)  # noqa: PT017 - every other error is one too many
            assert target.getvalue() == b""
        n += 1
    assert n > 10
    with h5py.File(target) as read:
        np.testing.assert_array_equal(read["x"][...], DATA)


def test_file_object_has_no_second_name_and_no_resume(tmp_path: Path) -> None:
    with streamh5.File(io.BytesIO()) as file, pytest.raises(errors.SinkError, match="checkpoint"):
        file.checkpoint(tmp_path / "snapshot.h5")
    with pytest.raises(errors.SpecError, match="resumed"):
        streamh5.File(io.BytesIO(), resume=True)
    with pytest.raises(errors.SpecError, match="references"):
        streamh5.File(io.BytesIO(), references=tmp_path / "a.json")
    assert traces(tmp_path) == []


def test_convert_refuses_an_open_file_that_is_its_source(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = DATA
    with (tmp_path / "a.h5").open("r+b") as target, pytest.raises(errors.SpecError, match="source itself"):
        streamh5.convert(tmp_path / "a.h5", target, overwrite=True)
    with h5py.File(tmp_path / "a.h5") as read:
        np.testing.assert_array_equal(read["x"][...], DATA)


def test_delayed_write_to_a_file_object_is_made_when_it_is_computed() -> None:
    target = io.BytesIO()
    write: Any = streamh5.to_fixed_h5(target, "/x", da.from_array(DATA, chunks=(7, 50)), compute=False)
    assert target.getvalue() == b""
    assert write.compute().path == "<BytesIO>"
    with h5py.File(target) as read:
        np.testing.assert_array_equal(read["x"][...], DATA)
