"""Names that lead elsewhere: before the write, while it goes on, and between two of its system calls.

Whatever stands at a name, no file of somebody else is changed, and nothing but what was written is published.
"""

from __future__ import annotations

import os
import socket
import stat
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
from tests.faults import work
from tests.faults.systems import Calls, installed

PRECIOUS = b"precious" * 1000
WORKING = ("partial", "partial.journal")


def begun(path: Path, mode: str = "w", **keywords: Any) -> streamh5.File:
    file = streamh5.File(path, mode, **keywords)
    rows = file.create_dataset("rows", (4, 4), "i4", chunks=(1, 4))
    rows[...] = np.ones((4, 4), "i4")
    return file


def check_new(path: Path) -> None:
    assert stat.S_ISREG(path.lstat().st_mode)
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["rows"][...], np.ones((4, 4)))


def others(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


@pytest.mark.parametrize("ending", WORKING)
@pytest.mark.parametrize("make", [os.symlink, os.link], ids=["symlink", "link"])
@pytest.mark.parametrize("mode", ["w", "x"])
def test_link_at_a_working_name_keeps_the_file_that_it_leads_to(
    ending: str, make: Callable[[Path, Path], None], mode: str, tmp_path: Path
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "out.h5"
    victim.write_bytes(PRECIOUS)
    make(victim, Path(f"{path}.{ending}"))
    try:
        begun(path, mode).close()
        check_new(path)
        assert others(tmp_path) == ["out.h5", "victim"]
    except errors.JournalError:  # a foreign journal is dropped when that is asked for
        assert (mode, ending, make) == ("x", "partial.journal", os.link)
    assert victim.read_bytes() == PRECIOUS
    assert not victim.is_symlink()


@pytest.mark.parametrize("ending", WORKING)
def test_link_to_nowhere_at_a_working_name_makes_nothing_there(ending: str, tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    Path(f"{path}.{ending}").symlink_to(tmp_path / "elsewhere")
    begun(path).close()
    check_new(path)
    assert others(tmp_path) == ["out.h5"]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices are made by root only")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        folder = os.open(path.parent, os.O_RDONLY)
        try:  # the address of a socket is 107 bytes at most
            one.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


KINDS: dict[str, Callable[[Path], None]] = {
    "FIFO": make_fifo,
    "device": make_device,
    "socket": make_socket,
    "directory": os.mkdir,
    "symbolic link": make_loop,
}


def salvage_to(path: Path) -> None:
    begun(path.with_name("x.h5"), "w", resume=True).suspend()
    streamh5.salvage(path.with_name("x.h5.partial"), output=path)


def checkpoint_to(path: Path) -> None:
    with begun(path.with_name("x.h5"), "w", keep="never") as file:
        file.checkpoint(path)


def convert_to(path: Path) -> None:
    np.save(path.with_name("x.npy"), np.arange(4))
    streamh5.convert(path.with_name("x.npy"), path, overwrite=True)


WAYS: dict[str, Callable[[Path], Any]] = {
    "w": lambda path: begun(path, "w"),
    "x": lambda path: begun(path, "x"),
    "a": lambda path: begun(path, "a"),
    "to_fixed_h5": lambda path: streamh5.to_fixed_h5(path, "/x", da.ones(4), overwrite=True),
    "to_netcdf": lambda path: streamh5.to_netcdf(xr.Dataset({"x": 1}), path),
    "to_netcdf a": lambda path: streamh5.to_netcdf(xr.Dataset({"x": 1}), path, "a"),
    "references": lambda path: begun(path.with_name("x.h5"), "w", references=path),
    "checkpoint": checkpoint_to,
    "salvage": salvage_to,
    "convert": convert_to,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", WAYS)
def test_destination_that_is_not_a_regular_file_stays_what_it_is(how: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    KINDS[kind](path)
    before = path.lstat()
    with pytest.raises(errors.StreamH5Error, match=r"out\.json"):
        WAYS[how](path)
    after = path.lstat()
    assert (after.st_mode, after.st_ino, after.st_nlink) == (before.st_mode, before.st_ino, before.st_nlink)


@pytest.mark.parametrize("kind", ["FIFO", "device", "socket", "directory"])
@pytest.mark.parametrize(("mode", "ending"), [("w", WORKING[0]), ("w", WORKING[1]), ("a", WORKING[1])])
def test_working_name_that_is_not_a_regular_file_is_refused(
    mode: str, ending: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "out.h5"
    work.write_old(path)
    taken = Path(f"{path}.{ending}")
    KINDS[kind](taken)
    before = taken.lstat()
    with pytest.raises(errors.SinkError, match=f"out.h5.{ending}"):
        begun(path, mode)
    assert (taken.lstat().st_mode, taken.lstat().st_ino) == (before.st_mode, before.st_ino)
    work.check_old(path)
    assert others(tmp_path) == ["out.h5", taken.name]


def test_file_of_a_working_name_without_a_journal_is_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    taken = Path(f"{path}.partial")
    taken.write_bytes(PRECIOUS)
    for mode in ("w", "x", "w"):
        with pytest.raises(errors.SinkError, match=r"out\.h5\.partial is in the way"):
            begun(path, mode)
    assert taken.read_bytes() == PRECIOUS
    assert others(tmp_path) == [taken.name]


@pytest.mark.parametrize("mode", ["w", "x"])
@pytest.mark.parametrize("how", ["replaced", "removed", "linked"])
def test_partial_file_that_is_another_by_now_is_not_published(how: str, mode: str, tmp_path: Path) -> None:
    path, partial = tmp_path / "out.h5", tmp_path / "out.h5.partial"
    if mode == "w":
        work.write_old(path)
    file = begun(path, mode)
    other = tmp_path / "other"
    other.write_bytes(PRECIOUS)
    partial.unlink()
    if how == "replaced":
        other.replace(partial)
    elif how == "linked":
        partial.symlink_to(other)
    with pytest.raises(errors.SinkError, match=r"another program.*out\.h5\.partial"):
        file.close()
    if mode == "w":
        work.check_old(path)
    else:
        assert not path.exists()
    if how != "removed":
        assert partial.read_bytes() == PRECIOUS
    # what was written may have another name now, unless its working name is gone
    assert Path(f"{partial}.journal").exists() == (how != "removed")


def swapping(call: str, name: Path, other: Path) -> Calls:
    """Put `other` at `name` right before the first system call `call` whose first argument it is."""
    done = False

    def before(number: int, called: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if called == call and not done and (call == "fsync" or arguments[0] == name):
            done = True
            os.replace(other, name)

    return Calls(before)


@pytest.mark.parametrize(("mode", "call"), [("w", "replace"), ("x", "link")])
def test_partial_file_swapped_in_the_moment_of_publication_is_our_error(
    mode: str, call: str, tmp_path: Path
) -> None:
    path, partial = tmp_path / "out.h5", tmp_path / "out.h5.partial"
    other = tmp_path / "other"
    other.write_bytes(PRECIOUS)
    with installed(swapping(call, partial, other)):
        file = begun(path, mode)
        with pytest.raises(errors.SinkError, match="another program"):
            file.close()
    if mode == "x":  # and the name is not given to the other file
        assert not path.exists()
        assert partial.read_bytes() == PRECIOUS


@pytest.mark.parametrize("is_default", [True, False])
def test_link_at_the_name_of_a_snapshot_keeps_the_file_that_it_leads_to(
    is_default: bool, tmp_path: Path
) -> None:
    path, victim = tmp_path / "out.h5", tmp_path / "victim"
    victim.write_bytes(PRECIOUS)
    link = Path(f"{path}.snapshot") if is_default else tmp_path / "seen.h5"
    link.symlink_to(victim)
    with begun(path) as file, pytest.raises(errors.SinkError, match=link.name):
        file.checkpoint(None if is_default else link)
    check_new(path)
    assert link.is_symlink()
    assert victim.read_bytes() == PRECIOUS


def test_snapshot_of_a_file_swapped_in_that_moment_is_our_error(tmp_path: Path) -> None:
    path, partial = tmp_path / "out.h5", tmp_path / "out.h5.partial"
    other = tmp_path / "other"
    other.write_bytes(PRECIOUS)
    with installed(swapping("link", partial, other)):
        file = begun(path)
        with pytest.raises(errors.SinkError, match="another program"):
            file.checkpoint()
        file.suspend()
    assert partial.read_bytes() == PRECIOUS
    assert not Path(f"{path}.snapshot").exists()


def test_destination_that_became_a_device_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    file = begun(path)
    os.mkfifo(path)
    with pytest.raises(errors.SinkError, match="FIFO"):
        file.close()
    assert stat.S_ISFIFO(path.lstat().st_mode)


@pytest.mark.parametrize("end", ["abort", "close"])
def test_end_of_an_old_writer_leaves_the_files_of_a_newer_one(end: str, tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    old = begun(path)
    for ending in WORKING:  # somebody cleans up
        Path(f"{path}.{ending}").unlink()
    new = begun(path)
    if end == "abort":
        old.abort()
    else:
        with pytest.raises(errors.SinkError, match="another program"):
            old.close()
    assert others(tmp_path) == ["out.h5.partial", "out.h5.partial.journal"]
    with pytest.raises(errors.DestinationBusyError):
        begun(path)
    new.close()
    check_new(path)
    assert others(tmp_path) == ["out.h5"]


def test_foreign_file_in_place_of_an_interrupted_partial_file_is_not_written_to(tmp_path: Path) -> None:
    path, partial, victim = (tmp_path / name for name in ("out.h5", "out.h5.partial", "victim"))
    begun(path, resume=True).suspend()
    victim.write_bytes(PRECIOUS * 10)
    partial.unlink()
    os.link(victim, partial)
    with pytest.raises(errors.SinkError, match="other names"):
        streamh5.File(path, resume=True)
    with pytest.raises(errors.SinkError, match="other names"):
        streamh5.salvage(partial)
    assert victim.read_bytes() == PRECIOUS * 10
    with pytest.warns(streamh5.InterruptedWriteWarning, match="drops 4 chunks"):
        begun(path, "w").close()
    check_new(path)
    assert victim.read_bytes() == PRECIOUS * 10


def test_interrupted_write_with_a_snapshot_is_resumed_under_both_names(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    file = begun(path, resume=True)
    snapshot = file.checkpoint()
    file.suspend()
    assert snapshot.stat().st_ino == Path(f"{path}.partial").stat().st_ino
    with streamh5.File(path, resume=True) as file:
        rows = file.create_dataset("rows", (4, 4), "i4", chunks=(1, 4))
        assert rows.is_stored((0, 0), (4, 4))
        check_new(snapshot)
    check_new(path)


def test_backup_of_hard_links_is_not_changed_by_the_resumed_write(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    begun(path, resume=True).suspend()
    backup = tmp_path / "backup"
    os.link(f"{path}.partial.journal", backup)
    content = backup.read_bytes()
    with streamh5.File(path, resume=True) as file:
        rows = file.create_dataset("rows", (4, 4), "i4", chunks=(1, 4))
        assert rows.is_stored((0, 0), (4, 4))
        with pytest.raises(errors.DestinationBusyError):
            streamh5.File(path)
    check_new(path)
    assert backup.read_bytes() == content
    assert others(tmp_path) == ["backup", "out.h5"]
