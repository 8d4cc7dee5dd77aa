"""Mode "a": the file is replaced meanwhile, has two names, or the disk fails. The addition is there, or refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr

import streamh5
from streamh5 import errors
from streamh5.netcdf.existing import read_existing_netcdf
from tests.faults.systems import Calls, failing, installed
from tests.faults.tally import tried

FIRST = np.arange(100)


def first(path: Path) -> Path:
    with streamh5.File(path, "w") as file:
        file["x"] = FIRST
    return path


def add(path: Path) -> None:
    with streamh5.File(path, "a", threads=1) as file:
        file["y"] = np.arange(3)
        file.create_dataset("z", (40,), "i8", chunks=(10,), compression="gzip")[...] = np.arange(40)


def check(path: Path, *names: str) -> None:
    with h5py.File(path) as read:
        assert sorted(read) == sorted(("x", *names))
        np.testing.assert_array_equal(read["x"][...], FIRST)
        if "z" in names:
            np.testing.assert_array_equal(read["y"][...], np.arange(3))
            np.testing.assert_array_equal(read["z"][...], np.arange(40))


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_file_replaced_while_it_is_added_to_is_our_error(how: str, tmp_path: Path) -> None:
    path, other = first(tmp_path / "out.h5"), first(tmp_path / "other.h5")
    kept = tmp_path / "kept.h5"
    os.link(path, kept)
    old = kept.read_bytes()
    file = streamh5.File(path, "a")
    file["y"] = np.arange(3)
    if how == "replaced":
        other.replace(path)
    else:
        path.unlink()
    with pytest.raises(errors.SinkError, match=r"another program.*nothing was added"):
        file.close()
    assert kept.read_bytes() == old
    if how == "replaced":
        check(path)
    assert not list(tmp_path.glob("*.journal"))


def swapped_at(at: int, path: Path, other: Path) -> Calls:
    """Put `other` at `path` right before system call number `at`."""

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if number == at:
            os.replace(other, path)

    return Calls(before)


def test_file_swapped_at_any_system_call_is_our_error_or_what_is_added_to(tmp_path: Path) -> None:
    path, undisturbed = first(tmp_path / "undisturbed.h5"), Calls()
    with installed(undisturbed):
        add(path)
    last_sync = max(n for n, name in enumerate(undisturbed.names) if name == "fsync")
    n_refused = 0
    for at in range(undisturbed.n):
        folder = tmp_path / str(at)
        folder.mkdir()
        path, other = first(folder / "out.h5"), first(folder / "other.h5")
        failure = None
        with installed(swapped_at(at, path, other)):
            try:
                add(path)
            except errors.SinkError as error:
                failure = error
        with h5py.File(path) as read:
            is_added = "z" in read
        check(path, *(("y", "z") if is_added else ()))
        if failure is not None:
            assert "another program" in str(failure)
            assert not is_added
            n_refused += 1
        else:  # the other file was opened; or the addition was complete, and the file replaced afterwards
            assert is_added or at > last_sync, undisturbed.names[: at + 1]
    assert n_refused > undisturbed.n // 3
    tried("destination made, replaced or removed meanwhile", undisturbed.n)


def add_netcdf(path: Path, *, is_planned_first: bool = False) -> None:
    data = xr.Dataset({"y": ("time", da.arange(4))})
    written: Any = streamh5.to_netcdf(data, path, "a", group="g", compute=not is_planned_first)
    if is_planned_first:
        written.compute()


@pytest.mark.parametrize("is_planned_first", [False, True])
def test_netcdf_file_replaced_between_its_reading_and_the_addition_is_our_error(
    is_planned_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "out.nc", tmp_path / "other.nc"
    for one in (path, other):
        streamh5.to_netcdf(xr.Dataset({"x": ("time", np.arange(5.0))}), one)

    def read(name: Path, present: Any) -> Any:
        existing = read_existing_netcdf(name, present)
        other.replace(path)
        return existing

    monkeypatch.setattr("streamh5.netcdf.xarray_dataset.read_existing_netcdf", read)
    with pytest.raises(errors.SinkError, match=r"another program has (changed|replaced)"):
        add_netcdf(path, is_planned_first=is_planned_first)
    with xr.open_dataset(path) as found:
        assert list(found) == ["x"]
    monkeypatch.undo()
    add_netcdf(path, is_planned_first=is_planned_first)
    with xr.open_dataset(path, group="g", engine="netcdf4") as found:
        np.testing.assert_array_equal(found["y"], np.arange(4))


def test_two_names_of_one_file_exclude_each_other(tmp_path: Path) -> None:
    path, second = first(tmp_path / "out.h5"), tmp_path / "second.h5"
    os.link(path, second)
    with streamh5.File(path, "a") as file:
        file["y"] = np.arange(3)
        for mode in ("a", "w"):
            with pytest.raises(errors.DestinationBusyError, match="another writer"):
                streamh5.File(second, mode)
        with h5py.File(second) as read:  # readers may
            assert list(read) == ["x"]
    for one in (path, second):
        check(one, "y")
    with streamh5.File(second, "w") as file:
        file["x"] = FIRST
        with pytest.raises(errors.DestinationBusyError, match="another writer"):
            streamh5.File(path, "a")
    with streamh5.File(path, "a") as file:  # each has its own file by now
        file["z"] = 1
    check(second)


def test_snapshot_and_partial_file_of_a_write_cannot_be_added_to(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    with streamh5.File(path, "w") as file:
        rows = file.create_dataset("x", (100,), "i8", chunks=(10,))
        rows[...] = FIRST
        snapshot = file.checkpoint()
        for name in (snapshot, f"{path}.partial"):
            with pytest.raises(errors.DestinationBusyError, match="another writer"):
                streamh5.File(name, "a")
        check(snapshot)
    check(path)
    assert [one.name for one in tmp_path.iterdir()] == ["out.h5"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_error_of_any_call_of_an_addition_is_ours_and_the_file_is_whole(code: int, tmp_path: Path) -> None:
    at = 0
    while True:
        path = first(tmp_path / f"{at}.h5")
        calls = failing(at, code)
        with installed(calls):
            try:
                add(path)
                failure = None
            except errors.SinkError as error:
                failure = error
        with h5py.File(path) as read:
            is_added = "z" in read
        check(path, *(("y", "z") if is_added else ()))
        assert failure is None or failure.errno == code
        assert is_added or failure is not None, at
        if calls.n <= at:
            break
        at += 1
    assert at > 8
    tried(f"{errno.errorcode[code]} of any call", at)
