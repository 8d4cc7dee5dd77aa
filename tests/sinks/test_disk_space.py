"""Space on the disk is requested before it is written, freed at the end, and never necessary."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.sinks import disk_space, write_back
from streamh5.sinks.disk_space import fallocate
from tests.faults.systems import Calls, failing, installed
from tests.sinks.ranges import Ranges

FIRST_NBYTES = 40_000
CHUNK = np.arange(10_000, dtype="u1")
N_CHUNKS = 200


@pytest.fixture(autouse=True)
def _small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_space, "FIRST_NBYTES", FIRST_NBYTES)
    monkeypatch.setattr(disk_space, "SPACE_NBYTES", 8 * FIRST_NBYTES)


def noted() -> Ranges:
    """Each write and each request for space."""
    return Ranges("fallocate", "request")


def append_all(path: Path, mode: Any = "w", *, fails_at: int = N_CHUNKS, **keywords: Any) -> None:
    """Append the chunks that are missing, or some of them and then fail."""
    with streamh5.File(path, mode, **keywords) as file:
        data = file.create_dataset("x", (None,), "u1", chunks=(len(CHUNK),))
        for n in range(data.n_appended // len(CHUNK), N_CHUNKS):
            if n == fails_at:
                raise ZeroDivisionError
            data.append(CHUNK)


def append_and_die(path: Path, mode: str) -> None:
    """Let another process append 60 of the chunks, and end without a clean-up."""
    code = f"""
import os, sys
from pathlib import Path
from tests.sinks import test_disk_space as test
test.disk_space.FIRST_NBYTES, test.disk_space.SPACE_NBYTES = {FIRST_NBYTES}, {100 * FIRST_NBYTES}
file = test.streamh5.File(Path(sys.argv[1]), sys.argv[2])
data = file.create_dataset("x", (None,), "u1", chunks=({len(CHUNK)},))
for _ in range(60):
    data.append(test.CHUNK)
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code, path, mode], check=True)


def check(path: Path) -> None:
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][...], np.tile(CHUNK, N_CHUNKS))


def check_size(path: Path) -> None:
    """It has no space that it does not need, but for what a file system needs to describe it."""
    status = path.stat()
    assert status.st_blocks * 512 < status.st_size + FIRST_NBYTES


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder whose file system can give space to files."""
    with (tmp_path / "tried").open("wb") as file:
        try:
            fallocate(file.fileno(), 0, 1 << 20)
        except OSError as error:
            pytest.skip(f"this file system gives no space: {error}")
        assert os.fstat(file.fileno()).st_blocks * 512 >= 1 << 20
        assert os.fstat(file.fileno()).st_size == 0
    return tmp_path


@pytest.mark.parametrize("sync", ["close", "none"])
def test_chunks_are_written_where_space_was_requested(disk: Path, sync: str) -> None:
    written = noted()
    with installed(written.system):
        append_all(disk / "out.h5", sync=sync)
    check(disk / "out.h5")
    check_size(disk / "out.h5")
    requests = [one for one in written.events if one[0] == "request"]
    assert 1 < len(requests) < 12
    reached = requests[0][1]
    for kind, start, stop in written.events:
        if kind == "request":
            assert start == reached, "one after the other"
            reached = stop
        elif stop - start == len(CHUNK):
            assert stop <= reached, "written before its space was requested"


def test_a_small_file_requests_nothing(tmp_path: Path) -> None:
    written = noted()
    with installed(written.system), streamh5.File(tmp_path / "out.h5", "w") as file:
        file["x"] = CHUNK
    assert "fallocate" not in written.system.names


def test_an_interrupted_write_keeps_no_space_that_it_did_not_use(disk: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        append_all(disk / "out.h5", resume=True, fails_at=N_CHUNKS // 2)
    check_size(disk / "out.h5.partial")
    append_all(disk / "out.h5", resume=True)
    check(disk / "out.h5")
    check_size(disk / "out.h5")


@pytest.mark.parametrize(("mode", "working_name"), [("w", "out.h5.partial"), ("a", "out.h5")])
def test_space_that_a_killed_process_left_is_freed_by_a_resume_that_is_interrupted(
    disk: Path, mode: str, working_name: str
) -> None:
    if mode == "a":
        with h5py.File(disk / "out.h5", "w") as old:
            old["old"] = np.zeros(5)
    append_and_die(disk / "out.h5", mode)
    with pytest.raises(AssertionError):
        check_size(disk / working_name)
    with pytest.raises(ZeroDivisionError):
        append_all(disk / "out.h5", mode, resume=True, fails_at=60)
    check_size(disk / working_name)
    append_all(disk / "out.h5", mode, resume=True)
    check(disk / "out.h5")
    check_size(disk / "out.h5")


@pytest.mark.parametrize("is_aborted", [False, True])
def test_an_addition_leaves_a_file_without_space_that_it_does_not_need(disk: Path, is_aborted: bool) -> None:
    with h5py.File(disk / "out.h5", "w") as old:
        old["old"] = np.zeros(5)
    before = (disk / "out.h5").read_bytes()
    if is_aborted:
        with pytest.raises(ZeroDivisionError):
            append_all(disk / "out.h5", "a", keep="never", fails_at=N_CHUNKS - 1)
        assert (disk / "out.h5").read_bytes() == before
    else:
        append_all(disk / "out.h5", "a")
        check(disk / "out.h5")
    check_size(disk / "out.h5")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_system_without_the_call_is_asked_once(tmp_path: Path, code: int) -> None:
    system = failing(0, code, names=("fallocate",), is_lasting=True)
    with installed(system):
        append_all(tmp_path / "out.h5")
    check(tmp_path / "out.h5")
    assert system.names.count("fallocate") == 1


def test_calls_of_these_names_that_a_later_python_has_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_back, "HINT_NBYTES", FIRST_NBYTES)
    for name in ("fallocate", "sync_file_range"):
        monkeypatch.setattr(
            os, name, lambda *arguments: pytest.fail(f"called with {arguments}"), raising=False
        )
    append_all(tmp_path / "out.h5")
    check(tmp_path / "out.h5")


def test_a_request_that_a_signal_interrupts_is_not_the_last(tmp_path: Path) -> None:
    system = failing(0, errno.EINTR, names=("fallocate",), is_lasting=True)
    with installed(system):
        append_all(tmp_path / "out.h5")
    check(tmp_path / "out.h5")
    assert system.names.count("fallocate") > 1


def test_nothing_is_requested_of_a_disk_that_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fstatvfs", lambda fd: SimpleNamespace(f_bavail=100, f_frsize=4096))
    system = Calls()
    with installed(system):
        append_all(tmp_path / "out.h5")
    check(tmp_path / "out.h5")
    assert "fallocate" not in system.names
