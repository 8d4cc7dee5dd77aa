"""The destination is replaced, removed or made meanwhile; file systems that can do less."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.cli.main import main
from streamh5.errors import DestinationExistsError, JournalError, SinkError, SpecError, UnreadableError
from tests.deadlock import DEADLOCK_SECONDS
from tests.faults import work
from tests.faults.systems import Calls, Crash, failing, installed
from tests.faults.tally import tried


def begun(path: Path, mode: str) -> streamh5.File:
    file = streamh5.File(path, mode)
    file["x"] = np.arange(5)
    return file


def check_new(path: Path) -> None:
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["x"][...], np.arange(5))


def test_file_made_meanwhile_is_not_replaced_and_the_work_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    file = streamh5.File(path, "x")
    rows = file.create_dataset("rows", (4, 4), "i4", chunks=(1, 4))
    rows[...] = np.ones((4, 4), "i4")
    work.write_old(path)
    with pytest.raises(DestinationExistsError) as caught:
        file.close()
    assert any("is kept" in note for note in caught.value.__notes__)
    work.check_old(path)
    path.unlink()
    with streamh5.File(path, "x", resume=True) as file:
        rows = file.create_dataset("rows", (4, 4), "i4", chunks=(1, 4))
        assert rows.is_stored((0, 0), (4, 4))
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["rows"][...], np.ones((4, 4)))
    assert len(list(tmp_path.iterdir())) == 1
    tried("destination made, replaced or removed meanwhile")


@pytest.mark.parametrize("meanwhile", ["removed", "replaced", "made"])
def test_file_that_is_to_be_replaced_may_change_meanwhile(tmp_path: Path, meanwhile: str) -> None:
    path = tmp_path / "out.h5"
    if meanwhile != "made":
        work.write_old(path)
    file = begun(path, "w")
    if meanwhile == "removed":
        path.unlink()
    elif meanwhile == "replaced":
        other = tmp_path / "other"
        other.write_bytes(b"other")
        other.replace(path)
    else:
        path.write_bytes(b"other")
    file.close()
    check_new(path)
    tried("destination made, replaced or removed meanwhile")


def test_destination_that_became_a_folder_is_our_error(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    file = begun(path, "w")
    path.mkdir()
    with pytest.raises(SinkError):
        file.close()
    assert list(path.iterdir()) == []
    tried("destination made, replaced or removed meanwhile")


def test_partial_file_removed_meanwhile_is_our_error_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    work.write_old(path)
    file = begun(path, "w")
    Path(f"{path}.partial").unlink()
    with pytest.raises(SinkError):
        file.close()
    work.check_old(path)
    tried("destination made, replaced or removed meanwhile")


def test_journal_without_its_partial_file_is_no_source_of_zeros(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    file = streamh5.File(path, resume=True)
    rows = file.create_dataset("rows", (4, 4), "i4", chunks=(1, 4))
    rows[...] = np.ones((4, 4), "i4")
    file.suspend()
    Path(f"{path}.partial").unlink()
    with streamh5.File(path, resume=True) as file:
        rows = file.create_dataset("rows", (4, 4), "i4", chunks=(1, 4))
        assert not rows.is_stored((0, 0), (1, 4))
        rows[...] = np.ones((4, 4), "i4")
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["rows"][...], np.ones((4, 4)))


@pytest.mark.parametrize("had_old", [False, True])
@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_file_system_without_hard_links_is_written_all_the_same(
    tmp_path: Path, had_old: bool, code: int
) -> None:
    path = tmp_path / "out.h5"
    if had_old:
        work.write_old(path)
    with installed(failing(0, code, names=("link",), is_lasting=True)):
        work.write(path, overwrite=had_old)
        work.check_complete(path)
        with streamh5.File(tmp_path / "other.h5") as file:
            file["x"] = np.arange(5)
            with pytest.raises(SinkError, match="hard links"):
                file.checkpoint()
    check_new(tmp_path / "other.h5")
    tried("file system without hard links")


def test_file_made_meanwhile_is_not_replaced_without_hard_links(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    with installed(failing(0, errno.EPERM, names=("link",), is_lasting=True)):
        file = begun(path, "x")
        work.write_old(path)
        with pytest.raises(DestinationExistsError):
            file.close()
    work.check_old(path)
    tried("file system without hard links")


def test_folder_that_cannot_be_synced_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path.stat().st_ino

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "fsync" and os.fstat(arguments[0]).st_ino == folder:
            raise OSError(errno.EINVAL, "invalid")

    with installed(Calls(before)):
        work.write(tmp_path / "out.h5", sync="batch")
    work.check_complete(tmp_path / "out.h5")
    tried("file system without fsync of folders")


@pytest.mark.parametrize("mode", ["w", "x"])
def test_two_names_of_a_published_file_are_one_write(tmp_path: Path, mode: str) -> None:
    """Killed between link and unlink: what was published must not be touched by the next write."""
    path = tmp_path / "out.h5"

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "unlink":
            raise Crash

    calls = Calls(before)
    with installed(calls), pytest.raises(Crash):
        work.write(path, overwrite=False)
    calls.bury()
    assert path.stat().st_ino == Path(f"{path}.partial").stat().st_ino
    published = path.read_bytes()
    if mode == "x":
        with pytest.raises(DestinationExistsError):
            work.write(path, overwrite=False)
    with pytest.raises(SinkError, match="finished file"):
        streamh5.salvage(f"{path}.partial")
    file = begun(path, "w")
    assert path.read_bytes() == published
    file.close()
    check_new(path)


@pytest.mark.parametrize("name", ["out.h5", "out.h5.partial", "out.h5.partial.journal"])
def test_checkpoint_under_a_name_of_the_write_is_refused(tmp_path: Path, name: str) -> None:
    with streamh5.File(tmp_path / "out.h5") as file:
        file["x"] = np.arange(5)
        with pytest.raises(SpecError, match="snapshot"):
            file.checkpoint(tmp_path / name)
    check_new(tmp_path / "out.h5")


def test_snapshot_name_that_someone_took_over_is_not_removed(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "out.h5") as file:
        file["x"] = np.arange(5)
        snapshot = file.checkpoint()
        snapshot.unlink()
        snapshot.write_bytes(b"mine")
    assert snapshot.read_bytes() == b"mine"


def test_salvage_refuses_what_is_no_interrupted_write(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError):
        streamh5.salvage(tmp_path / "nothing.h5.partial")
    work.write(tmp_path / "out.h5")
    with pytest.raises(UnreadableError):
        streamh5.salvage(tmp_path / "out.h5")
    Path(tmp_path / "empty.h5.partial").touch()
    Path(tmp_path / "empty.h5.partial.journal").touch()
    with pytest.raises(JournalError, match="nothing to salvage"):
        streamh5.salvage(tmp_path / "empty.h5.partial")


def test_salvage_does_not_replace_a_file(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    file = streamh5.File(path, resume=True)
    rows = file.create_dataset("rows", (4, 4), "i4", chunks=(1, 4))
    rows[0:2] = np.ones((2, 4), "i4")
    file.suspend()
    taken = tmp_path / "taken.h5"
    taken.write_bytes(b"mine")
    with pytest.raises(DestinationExistsError):
        streamh5.salvage(f"{path}.partial", output=taken)
    assert taken.read_bytes() == b"mine"
    with streamh5.File(path, resume=True) as file:
        assert file.create_dataset("rows", (4, 4), "i4", chunks=(1, 4)).is_stored((0, 0), (2, 4))


def test_threads_that_write_while_it_is_aborted_get_our_error(tmp_path: Path) -> None:
    file = streamh5.File(tmp_path / "out.h5", threads=2)
    x = file.create_dataset("x", (None, 100), "i4", chunks=(1, 100))
    errors: list[BaseException] = []

    def append() -> None:
        try:
            while True:
                x.append(np.ones(100, "i4"))
        except streamh5.StreamH5Error as error:
            errors.append(error)

    threads = [threading.Thread(target=append) for _ in range(3)]
    for thread in threads:
        thread.start()
    file.abort()
    for thread in threads:
        thread.join(DEADLOCK_SECONDS)
    assert len(errors) == 3
    assert not list(tmp_path.iterdir())


def test_salvage_command_says_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.h5"
    file = streamh5.File(path, resume=True)
    rows = file.create_dataset("rows", (4, 4), "i4", chunks=(1, 4))
    rows[1:3] = np.ones((2, 4), "i4")
    file.suspend()
    output = tmp_path / "some.h5"
    assert main(["salvage", f"{path}.partial", "--output", str(output), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == str(output)
    (one,) = facts["datasets"]
    assert (one["path"], one["n_chunks"], one["n_missing"]) == ("/rows", 4, 2)
    with h5py.File(output) as read:
        np.testing.assert_array_equal(read["rows"][:, 0], [0, 1, 1, 0])
        np.testing.assert_array_equal(read["rows"].attrs["streamh5_missing_rows"], [[0, 1], [3, 4]])
        np.testing.assert_array_equal(read["rows"].attrs["streamh5_missing_origins"], [[0, 0], [3, 0]])
    assert main(["salvage", f"{path}.partial"]) == 2
    assert "is not the partial file" in capsys.readouterr().err


def test_salvage_rebuilds_groups_links_attributes_and_types(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    file = streamh5.File(path, resume=True, track_order=True)
    file.create_group("b/c", track_order=True).attrs["text"] = ["one", "two"]
    file.attrs["empty"] = h5py.Empty("f4")
    file.attrs["gone"] = 1
    del file.attrs["gone"]
    names = file.create_dataset("b/a", (3,), h5py.string_dtype(), chunks=(1,))
    names[0:2] = np.array(["x", "y"], object)
    pairs = file.create_dataset("pairs", (None,), [("n", "i4"), ("v", "f8", (2,))], chunks=(2,))
    pairs.append(np.array([(1, (2, 3)), (4, (5, 6))], pairs.dtype))
    file["soft"] = streamh5.SoftLink("/b/a")
    file["hard"] = pairs
    file.session.wait()
    file.suspend()
    output = streamh5.salvage(f"{path}.partial").path
    with h5py.File(output) as read:
        assert list(read) == ["b", "pairs", "soft", "hard"]
        assert list(read["b/c"].attrs["text"]) == ["one", "two"]
        assert isinstance(read.attrs["empty"], h5py.Empty)
        assert "gone" not in read.attrs
        assert list(read["b/a"].asstr()[...]) == ["x", "y", ""]
        assert read["soft"] == read["b/a"]
        assert read["hard"] == read["pairs"]
        np.testing.assert_array_equal(read["pairs"]["v"], [[2, 3], [5, 6]])
