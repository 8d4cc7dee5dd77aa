"""Write-back starts while a file is written, covers what was written, and loses no error."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import SinkError
from streamh5.handles.session import Session
from streamh5.sinks import write_back
from streamh5.sinks.write_back import sync_file_range
from streamh5.write.part_file import PartFile
from tests.faults.systems import Calls, failing, installed
from tests.sinks.ranges import Ranges

HINT_NBYTES = 50_000
CHUNK = np.arange(10_000, dtype="u1")
N_CHUNKS = 23


@pytest.fixture(autouse=True)
def _small_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_back, "HINT_NBYTES", HINT_NBYTES)


class Hinted(Ranges):
    """Each write and each hint."""

    def __init__(self) -> None:
        super().__init__("sync_file_range", "hint")

    @property
    def hints(self) -> list[tuple[int, int]]:
        return [(start, stop) for kind, start, stop in self.events if kind == "hint"]


def fill(path: Path, **keywords: Any) -> None:
    """Write chunks, the last ones first: a hint has to cover more than the last write."""
    with streamh5.File(path, "w", threads=1, **keywords) as file:
        data = file.create_dataset("x", (N_CHUNKS * len(CHUNK),), "u1", chunks=(len(CHUNK),))
        for n in reversed(range(N_CHUNKS)):
            data[n * len(CHUNK) : (n + 1) * len(CHUNK)] = CHUNK


def check(path: Path) -> None:
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][...], np.tile(CHUNK, N_CHUNKS))


@pytest.mark.parametrize("sync", ["close", "batch"])
def test_hints_cover_everything_that_was_written_but_the_last_few_bytes(tmp_path: Path, sync: str) -> None:
    written = Hinted()
    with installed(written.system):
        fill(tmp_path / "out.h5", sync=sync)
    check(tmp_path / "out.h5")
    assert len(written.hints) == N_CHUNKS * len(CHUNK) // HINT_NBYTES
    waiting: list[tuple[int, int]] = []
    for kind, start, stop in written.events:
        if kind == "hint":
            waiting = [one for one in waiting if not (start <= one[0] and one[1] <= stop)]
        elif stop - start == len(CHUNK):
            waiting.append((start, stop))
    assert sum(stop - start for start, stop in waiting) < HINT_NBYTES


def test_an_addition_has_hints_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "out.h5", "w") as old:
        old["old"] = np.zeros(5)
    written = Hinted()
    with installed(written.system), streamh5.File(tmp_path / "out.h5", "a") as file:
        file.create_dataset("x", data=np.tile(CHUNK, N_CHUNKS), chunks=(len(CHUNK),))
    check(tmp_path / "out.h5")
    assert written.hints


def test_a_write_that_is_not_synced_and_a_small_one_have_none(tmp_path: Path) -> None:
    written = Hinted()
    with installed(written.system):
        fill(tmp_path / "out.h5", sync="none")
        with streamh5.File(tmp_path / "small.h5", "w") as file:
            file["x"] = CHUNK
    assert written.events
    assert not written.hints


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_an_error_of_a_hint_is_that_of_a_failed_fsync(tmp_path: Path, code: int) -> None:
    path = tmp_path / "out.h5"
    with (
        installed(failing(1, code, names=("sync_file_range",))),
        pytest.raises(SinkError, match="fsync of the data failed"),
    ):
        fill(path, resume=True)
    assert not path.exists()
    journal = path.with_name("out.h5.partial.journal")
    assert not journal.exists() or not journal.stat().st_size, "it claims data that may be lost"
    fill(path)
    check(path)


def test_a_file_is_not_published_after_an_error_of_a_hint_that_the_caller_ignored(tmp_path: Path) -> None:
    path, told = tmp_path / "out.h5", []
    with installed(failing(0, errno.EIO, names=("sync_file_range",))):
        file = streamh5.File(path, "w")
        data = file.create_dataset("x", (10 * len(CHUNK),), "u1", chunks=(len(CHUNK),))
        for n in range(10):
            try:
                data[n * len(CHUNK) : (n + 1) * len(CHUNK)] = CHUNK
            except streamh5.StreamH5Error as error:
                told.append(error)
        with pytest.raises(streamh5.StreamH5Error):
            file.close()
    assert told
    assert not path.exists()


@pytest.mark.parametrize("code", [errno.EINTR, errno.EAGAIN, errno.ENOMEM])
def test_a_hint_that_is_postponed_changes_nothing(tmp_path: Path, code: int) -> None:
    system = failing(0, code, names=("sync_file_range",), is_lasting=True)
    with installed(system):
        fill(tmp_path / "out.h5")
    check(tmp_path / "out.h5")
    assert system.names.count("sync_file_range") == N_CHUNKS * len(CHUNK) // HINT_NBYTES


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.ESPIPE])
def test_a_thread_syncs_where_the_call_is_missing(tmp_path: Path, code: int) -> None:
    main, threads = threading.get_ident(), []

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
        if name == "sync_file_range":
            raise OSError(code, os.strerror(code))
        if name == "fsync":
            threads.append(threading.get_ident())
        return None

    system = Calls(before)
    with installed(system):
        fill(tmp_path / "out.h5")
    check(tmp_path / "out.h5")
    assert system.names.count("sync_file_range") == 1, "it is asked again"
    assert any(one != main for one in threads)
    assert main in threads, "the fsync before the file is published"


def test_an_error_that_the_thread_was_told_fails_the_write(tmp_path: Path) -> None:
    main = threading.get_ident()

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
        if name == "sync_file_range":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        if name == "fsync" and threading.get_ident() != main:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return None

    path = tmp_path / "out.h5"
    with installed(Calls(before)), pytest.raises(SinkError, match="fsync of the data failed"):
        fill(path)
    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="a system call of Linux")
def test_the_system_call_is_made_with_whole_numbers_of_64_bits(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(5 << 32)
        os.pwrite(file.fileno(), b"x", (5 << 32) - 1)
        sync_file_range(file.fileno(), 4 << 32, 1 << 32)
        with pytest.raises(OSError, match="Invalid argument"):
            sync_file_range(file.fileno(), -1, 1)
        with pytest.raises(OSError, match="Invalid argument"):  # their sum is negative in 64 bits only
            sync_file_range(file.fileno(), 2**63 - 1, 2)
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="Illegal seek"):
        sync_file_range(writing, 0, 1)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("sync", ["close", "none"])
def test_other_processes_that_write_have_hints(tmp_path: Path, sync: Any) -> None:
    written = Hinted()
    with streamh5.File(tmp_path / "out.h5", "w", sync=sync) as file:
        data = file.create_dataset("x", (N_CHUNKS * len(CHUNK),), "u1", chunks=(len(CHUNK),))
        part = PartFile(shared_file(file, data), written.system)
        for _ in range(N_CHUNKS):
            part.place.write(part.place.reserve(len(CHUNK)), [CHUNK])
        part.commit(0)
    assert len(written.hints) == (N_CHUNKS * len(CHUNK) // HINT_NBYTES if sync == "close" else 0)


def test_an_error_of_a_hint_ends_the_part_of_another_process(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "out.h5", "w") as file:
        data = file.create_dataset("x", (N_CHUNKS * len(CHUNK),), "u1", chunks=(len(CHUNK),))
        part = PartFile(shared_file(file, data), failing(0, errno.EIO, names=("sync_file_range",)))
        address = part.place.reserve(HINT_NBYTES)
        with pytest.raises(SinkError, match="fdatasync failed"):
            part.place.write(address, [bytes(HINT_NBYTES)])
        with pytest.raises(streamh5.StreamH5Error):
            part.commit(0)
        part.abort()


def shared_file(file: streamh5.File, data: streamh5.Dataset) -> Any:
    """Return what another process is given of a file."""
    data.part_writer()
    session: Session = data.session
    return session.sharing.begin(n_writers=2)


def counted(error: OSError | None = None) -> tuple[Calls, list[str]]:
    """A system without `sync_file_range` whose fsync fails in the thread; and the threads that called it."""
    called: list[str] = []

    def note(number: int, name: str, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
        if name == "sync_file_range":
            raise OSError(errno.ENOSYS, "missing")
        if name == "fsync":
            called.append(threading.current_thread().name)
            if error is not None and "write-back" in called[-1]:
                raise error
        return None

    return Calls(note), called


def test_error_that_a_thread_is_told_during_the_fsync_fails_the_fsync() -> None:
    system, called = counted(OSError(errno.EIO, "lost"))
    hints = write_back.WriteBack(system)

    def fsync(fd: int) -> None:
        """Succeed, while another writer gives a hint: the system tells an error only once."""
        hints.wrote(fd, 0, HINT_NBYTES)

    with pytest.raises(OSError, match="lost"):
        hints.sync(fsync, 0)
    assert called == ["streamh5 write-back"]


def test_thread_that_cannot_be_started_leaves_the_work_to_the_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, called = counted()
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if "write-back" in self.name:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with installed(system):
        fill(tmp_path / "out.h5")
    check(tmp_path / "out.h5")
    assert called
    assert not any("write-back" in name for name in called)


def test_writer_waits_for_a_thread_that_falls_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_back, "MAX_DROPPED_HINTS", 3)
    release = threading.Event()
    waited: list[int] = []

    class System:
        @staticmethod
        def sync_file_range(fd: int, offset: int, nbytes: int) -> None:
            raise OSError(errno.ENOSYS, "missing")

        @staticmethod
        def fsync(fd: int) -> None:
            release.wait()

    hints = write_back.WriteBack(System)
    join = threading.Thread.join

    def joined(self: threading.Thread, timeout: float | None = None) -> None:
        if self.name == "streamh5 write-back":
            waited.append(n)
            release.set()
        join(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", joined)
    for n in range(1, 5):  # noqa: B007 - the number of the hint that waits
        hints.wrote(0, 0, HINT_NBYTES)
    assert waited == [4]
    hints.settle()
