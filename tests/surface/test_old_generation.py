"""A reader that has a file open while mode "a" changes it keeps reading the old content."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest

import streamh5

ROWS = np.arange(6000.0).reshape(600, 10)
TIMEOUT = 60


def write(path: Path) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createDimension("x", 10)
        for name, is_filtered in (("plain", False), ("gzip", True)):
            variable = file.createVariable(name, "f8", ("time", "x"), zlib=is_filtered, chunksizes=(7, 4))
            variable[:] = ROWS
            variable.units = "K"


def by_h5py(path: Path, wait: Callable[[], None]) -> None:
    with h5py.File(path) as file:
        held = file["gzip"]  # its header is read, its chunks are not
        wait()
        for one in (held, file["gzip"], file["plain"]):
            assert one.shape == ROWS.shape
            np.testing.assert_array_equal(one[()], ROWS)
            assert one.attrs["units"] == b"K"
        assert sorted(file) == ["gzip", "plain", "time", "x"]


def by_netcdf_c(path: Path, wait: Callable[[], None]) -> None:
    with netCDF4.Dataset(path) as file:
        wait()
        for name in ("gzip", "plain"):
            np.testing.assert_array_equal(file[name][:], ROWS)
            assert file[name].units == "K"


def read(reader: Callable[[Path, Callable[[], None]], None], path: Path, pipe: Connection) -> None:
    def wait() -> None:
        pipe.send("open")
        assert pipe.recv() == "changed"

    try:
        reader(path, wait)
    except BaseException as error:
        pipe.send(repr(error))
        raise
    pipe.send("the old content")


@pytest.mark.parametrize("reader", [by_h5py, by_netcdf_c])
def test_reader_of_the_old_generation_keeps_reading_it(reader: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write(path)
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=read, args=(reader, path, theirs))
    process.start()
    try:
        assert pipe.poll(TIMEOUT)
        assert pipe.recv() == "open"
        for i in range(3):
            with streamh5.File(path, "a") as file:
                for name in ("plain", "gzip"):
                    dataset: Any = file[name]
                    dataset[10 * i : 10 * i + 9, 1:8] = -1
                    dataset.append(ROWS[:11])
                    dataset.attrs["units"] = f"{i}"
                file[f"new{i}"] = ROWS
                file.flush()
                file["plain"].attrs["after"] = 1
        with streamh5.File(path, "a") as file:
            changed: Any = file["gzip"]
            changed.resize(5, axis=0)
            del file["plain"]
        pipe.send("changed")
        assert pipe.poll(TIMEOUT)
        assert pipe.recv() == "the old content"
    finally:
        process.kill()
        process.join()
    with h5py.File(path) as found:
        assert found["gzip"].shape == (5, 10)
        assert "plain" not in found
