"""Other programs that have the file open, each with its own HDF5 library in a process of its own, and HDF5's locks.

HDF5 locks a file that it opens with ``flock``: exclusive for writing, shared for reading (H5F_open, H5FD_sec2_lock).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import netCDF4
import numpy as np
import pytest
import tables
import xarray as xr

import streamh5
from streamh5 import errors
from tests.deadlock import DEADLOCK_SECONDS

# PyTables reads no attributes of references
pytestmark = pytest.mark.filterwarnings("ignore:Unsupported type for attribute 'DIMENSION_LIST'")

OLD = np.arange(20.0)
NEW = np.concatenate([np.full(5, -1.0), OLD[5:], [7.0]])
"""The values after the change: a chunk that is there, and a record at the end."""


OPENERS = {
    "h5py": ("import h5py", "h5py.File(path, mode)", "file.create_group('added')"),
    "netCDF4": ("import netCDF4", "netCDF4.Dataset(path, mode)", "file.createGroup('added')"),
    "tables": ("import tables", "tables.open_file(path, mode)", "file.create_group('/', 'added')"),
}
"""How each program is imported, opens a file, and adds to it."""

PROGRAM = """
import sys
{importing}
path, mode = sys.argv[1:]
try:
    file = {opening}
except Exception as error:
    print(f"refused: {{type(error).__name__}}: {{error}}", file=sys.stderr)
    print("refused", flush=True)
    sys.exit()
print("open", flush=True)
for line in sys.stdin:
    if line == "add\\n":
        {adding}
        print("added", flush=True)
    else:
        print(*getattr(file, "root", file)["x"][:].tolist(), flush=True)
file.close()
"""
"""Answers each line; closes the file at the end of its input."""


class Program:
    """Another program, which opens a file."""

    def __init__(self, name: str, path: Path, mode: str, locking: str | None = None) -> None:
        environment = {key: one for key, one in os.environ.items() if key != "HDF5_USE_FILE_LOCKING"}
        if locking is not None:
            environment["HDF5_USE_FILE_LOCKING"] = locking
        importing, opening, adding = OPENERS[name]
        program = PROGRAM.format(importing=importing, opening=opening, adding=adding)
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, path, mode],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.answer = self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, what: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._read()

    def values(self) -> np.ndarray[Any, Any]:
        """What it reads through the file that it has open."""
        return np.array(self.ask("read").split(), float)

    def close(self) -> str:
        """Let it close the file and end; return why it was refused."""
        _, said = self._process.communicate(timeout=DEADLOCK_SECONDS)
        assert self._process.returncode == 0, said
        return said


@contextmanager
def opened(name: str, path: Path, mode: str, locking: str | None = None) -> Iterator[Program]:
    """Another program that has the file open."""
    program = Program(name, path, mode, locking)
    try:
        assert program.answer == "open", program.close()
        yield program
    finally:
        program.close()


def by_streamh5(path: Path) -> None:
    xr.Dataset({"x": ("t", OLD)}).streamh5.to_netcdf(
        path, unlimited_dims=["t"], encoding={"x": {"chunksizes": (5,)}}
    )


def by_h5py(path: Path, libver: str) -> None:
    # netCDF-C writes to no file whose root group does not track the order of its links
    with h5py.File(path, "w", libver=(libver, "latest"), track_order=True) as file:
        file.create_dataset("x", data=OLD, chunks=(5,), maxshape=(None,))


def by_netcdf4(path: Path) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("t", None)
        file.createVariable("x", "f8", ("t",), chunksizes=(5,))[:] = OLD


def by_tables(path: Path) -> None:
    with tables.open_file(path, "w") as file:
        file.create_earray("/", "x", obj=OLD, chunkshape=(5,))


FILES = {
    "streamh5": by_streamh5,
    "h5py earliest": lambda path: by_h5py(path, "earliest"),
    "h5py latest": lambda path: by_h5py(path, "latest"),
    "netCDF4": by_netcdf4,
    "tables": by_tables,
}
"""Files with the dataset x, and who writes them."""

WRITERS = [(file, name, None) for file in FILES for name in OPENERS if (file, name) != ("tables", "netCDF4")]
"""Files, and the programs that open them for writing: netCDF-C does not write to those of PyTables."""

BEST_EFFORT = [("streamh5", name, "BEST_EFFORT") for name in OPENERS]
"""A setting of HDF5_USE_FILE_LOCKING that differs only on file systems without locks."""


def change(file: streamh5.File) -> None:
    x = file["x"]
    assert isinstance(x, streamh5.Dataset)
    x[:5] = -1.0
    x.append(np.array([7.0]))


def record() -> xr.Dataset:
    return xr.Dataset({"x": ("t", [7.0])})


CHANGES = {
    "File": lambda path: streamh5.File(path, "r+"),
    "to_fixed_h5": lambda path: streamh5.to_fixed_h5(path, "/x", da.ones(5, chunks=5), append_dim=0),
    "to_netcdf": lambda path: record().streamh5.to_netcdf(path, append_dim="t"),
}


def read_h5py(path: Path) -> Any:
    with h5py.File(path) as file:
        return file["x"][:]


def read_netcdf4(path: Path) -> Any:
    with netCDF4.Dataset(path) as file:
        return file["x"][:]


def read_tables(path: Path) -> Any:
    with tables.open_file(path) as file:
        return file.root.x[:]


def assert_values(path: Path, expected: np.ndarray[Any, Any]) -> None:
    """Every program reads these values; nothing else is in the folder."""
    for read in (read_h5py, read_netcdf4, read_tables):
        np.testing.assert_array_equal(read(path), expected)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("made_by", "name", "locking"), [*WRITERS, *BEST_EFFORT])
def test_change_of_a_file_that_another_program_has_open_for_writing_is_refused(
    made_by: str, name: str, locking: str | None, tmp_path: Path
) -> None:
    FILES[made_by](path := tmp_path / "a.nc")
    with opened(name, path, "r+", locking):
        before = path.read_bytes()
        with pytest.raises(
            errors.DestinationBusyError, match=r"another program has opened .*a\.nc for writing"
        ):
            streamh5.File(path, "a")
        assert path.read_bytes() == before
        assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert_values(path, OLD)
    with streamh5.File(path, "a") as file:
        change(file)
    assert_values(path, NEW)


@pytest.mark.parametrize("way", CHANGES)
@pytest.mark.parametrize("name", OPENERS)
def test_every_way_to_change_a_file_that_is_open_for_writing_is_refused(
    name: str, way: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.nc"
    by_streamh5(path)
    with opened(name, path, "r+"):
        before = path.read_bytes()
        with pytest.raises(errors.DestinationBusyError, match="for writing"):
            CHANGES[way](path)
        assert path.read_bytes() == before
    assert_values(path, OLD)


@pytest.mark.parametrize("made_by", FILES)
@pytest.mark.parametrize("name", OPENERS)
def test_change_of_a_file_that_another_program_has_open_for_reading_leaves_it_the_old_values(
    made_by: str, name: str, tmp_path: Path
) -> None:
    FILES[made_by](path := tmp_path / "a.nc")
    with opened(name, path, "r") as reader:
        with streamh5.File(path, "a") as file:
            change(file)
            np.testing.assert_array_equal(reader.values(), OLD)
            file.flush()
            np.testing.assert_array_equal(reader.values(), OLD)
            with opened(name, path, "r") as later:
                np.testing.assert_array_equal(later.values(), NEW)
        np.testing.assert_array_equal(reader.values(), OLD)
    assert_values(path, NEW)


@pytest.mark.parametrize(("made_by", "name", "locking"), [*WRITERS, *BEST_EFFORT])
def test_other_program_cannot_open_for_writing_what_is_being_changed(
    made_by: str, name: str, locking: str | None, tmp_path: Path
) -> None:
    FILES[made_by](path := tmp_path / "a.nc")
    with streamh5.File(path, "a") as file:
        change(file)
        before = path.read_bytes()
        refused = Program(name, path, "r+", locking)
        assert (refused.answer, path.read_bytes()) == ("refused", before)
        assert "lock" in refused.close() or name == "netCDF4"  # "NetCDF: HDF error" is all that it says
        with opened(name, path, "r", locking) as reader:
            np.testing.assert_array_equal(reader.values(), OLD)
    assert_values(path, NEW)
    with opened(name, path, "r+", locking):  # no lock is left
        pass


@pytest.mark.parametrize("name", OPENERS)
def test_other_program_cannot_open_a_new_file_for_writing_from_its_first_flush_on(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.nc"
    by_streamh5(path)
    with streamh5.File(path, "w") as file:
        x = file.create_dataset("x", data=OLD, chunks=(5,), maxshape=(None,))
        with opened(name, path, "r+"):  # the file that is replaced
            file.flush()
        refused = Program(name, path, "r+")
        assert refused.answer == "refused", refused.close()
        refused.close()
        x[:5] = -1.0
        x.resize(len(NEW), axis=0)
        x[-1] = 7.0
        with opened(name, path, "r") as reader:
            np.testing.assert_array_equal(reader.values(), OLD)
    assert_values(path, NEW)


@pytest.mark.parametrize("name", OPENERS)
def test_mark_of_a_writer_without_locks_is_seen(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    by_h5py(path, "latest")  # superblocks before version 3 have no marks
    with opened(name, path, "r+", "FALSE"):
        before = path.read_bytes()
        with pytest.raises(errors.SpecError, match="marked as open for writing"):
            streamh5.File(path, "a")
        assert path.read_bytes() == before
    assert_values(path, OLD)


def test_swmr_writer_of_h5py_which_holds_no_lock_is_seen_by_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    by_h5py(path, "latest")
    with h5py.File(path, "r+", libver="latest") as file:
        file.swmr_mode = True
        file.flush()
        before = path.read_bytes()
        with pytest.raises(errors.SpecError, match="marked as open for writing"):
            streamh5.File(path, "a")
        assert path.read_bytes() == before
    assert_values(path, OLD)


@pytest.mark.parametrize("is_flushed", [False, True])
@pytest.mark.parametrize("made_by", FILES)
@pytest.mark.parametrize("name", OPENERS)
def test_change_of_a_file_that_another_program_creates_anew_meanwhile_is_no_success(
    made_by: str, name: str, is_flushed: bool, tmp_path: Path
) -> None:
    FILES[made_by](path := tmp_path / "a.nc")
    file = streamh5.File(path, "a")
    change(file)
    if is_flushed:
        file.flush()
        change(file)
    refused = Program(name, path, "w")
    # HDF5 truncates before it finds the lock
    assert (refused.answer, path.stat().st_size) == ("refused", 0), refused.close()
    refused.close()
    with pytest.raises(errors.SinkError, match="written to it or truncated it"):
        file.close()


@pytest.mark.parametrize(("made_by", "name", "_locking"), WRITERS)
def test_change_of_a_file_to_which_a_program_without_locks_writes_is_no_success(
    made_by: str, name: str, _locking: None, tmp_path: Path
) -> None:
    FILES[made_by](path := tmp_path / "a.nc")
    file = streamh5.File(path, "a")
    change(file)
    with opened(name, path, "r+", "FALSE") as other:
        assert other.ask("add") == "added"
    with pytest.raises(errors.SinkError, match="written to it or truncated it"):
        file.close()
