"""Leases of several processes: no address is given out twice, and none after the end of the write."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import SinkError, StateError
from streamh5.sinks.leases import (
    MAX_LEASE_NBYTES,
    MIN_RESERVATIONS,
    SHARE,
    Lease,
    LeaseFolder,
    LeaseTaker,
    read_lease,
)
from tests.deadlock import DEADLOCK_SECONDS

TOKEN = "00ff"
BASE = 2048
N_PROCESSES, N_THREADS, N_LEASES = 4, 2, 500


def taker(folder: Path, *, writer: str = "w", n_writers: int = 1) -> LeaseTaker:
    return LeaseTaker(str(folder), TOKEN, writer=writer, n_writers=n_writers, name="a.h5")


@pytest.fixture
def folder(tmp_path: Path) -> LeaseFolder:
    one = LeaseFolder(tmp_path / "a.h5.partial.leases")
    one.open(TOKEN, BASE)
    return one


def take_many(folder: Path, number: int) -> list[tuple[int, Lease]]:
    """Take leases of random sizes; return them with what was asked for. In another process."""
    random.seed(number)
    mine = taker(folder, writer=f"w{number}", n_writers=N_PROCESSES * N_THREADS)
    sizes = [random.choice((1, 100, 5000, 1 << 20)) for _ in range(N_LEASES)]
    return [(nbytes, Lease(*mine.take(nbytes), f"w{number}")) for nbytes in sizes]


def take_in_threads(folder: Path, number: int) -> list[tuple[int, Lease]]:
    with ThreadPoolExecutor(N_THREADS) as threads:
        numbers = range(N_THREADS * number, N_THREADS * (number + 1))
        return [one for taken in threads.map(take_many, [folder] * N_THREADS, numbers) for one in taken]


def take_until_the_end(folder: Path, number: int) -> tuple[list[Lease], str]:
    """Take leases until the write ends; return them, and the error. In another process."""
    mine, taken = taker(folder, writer=f"w{number}"), []
    (folder.parent / f"ready{number}").touch()
    while True:
        try:
            taken.append(Lease(*mine.take(100), f"w{number}"))
        except StateError as error:
            return taken, str(error)


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(N_PROCESSES, mp_context=multiprocessing.get_context("spawn"))


def test_leases_of_many_processes_and_threads_never_overlap(folder: LeaseFolder) -> None:
    with processes() as pool:
        futures = [pool.submit(take_in_threads, folder.path, number) for number in range(N_PROCESSES)]
        taken = [one for future in futures for one in future.result(DEADLOCK_SECONDS)]
    assert len(taken) == N_PROCESSES * N_THREADS * N_LEASES
    assert all(lease.stop - lease.start >= nbytes for nbytes, lease in taken)
    leases = sorted(lease for _, lease in taken)
    assert leases[0].start == BASE
    assert all(a.stop == b.start for a, b in pairwise(leases))
    assert sorted(folder.close()) == leases


def test_closed_folder_gives_no_lease_that_its_owner_does_not_know(folder: LeaseFolder) -> None:
    with processes() as pool:
        futures = [pool.submit(take_until_the_end, folder.path, number) for number in range(N_PROCESSES)]
        for number in range(N_PROCESSES):
            wait_for_name(folder.path.parent / f"ready{number}")
        n_before = len(os.listdir(folder.path))
        wait_for_name(folder.path / f"{TOKEN}.{n_before + 200}")  # leases are numbered
        known = folder.close()
        results = [future.result(DEADLOCK_SECONDS) for future in futures]
    assert sorted(one for taken, _ in results for one in taken) == sorted(known)
    assert len(known) >= 200
    assert all("has ended" in message for _, message in results)
    assert sorted(os.listdir(folder.path.parent)) == [f"ready{number}" for number in range(N_PROCESSES)]


def wait_for_name(path: Path) -> None:
    pause = threading.Event()
    for _ in range(DEADLOCK_SECONDS * 1000):
        if os.path.lexists(path):
            return
        pause.wait(0.001)
    raise TimeoutError(path)


def test_lease_added_while_the_folder_is_removed_is_known(
    folder: LeaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has looked its folder up before the renaming may add a link until the folder is removed."""
    late, rmdir = iter(["5 9 late"]), os.rmdir

    def remove(path: Any, *args: Any, **kwargs: Any) -> None:
        for text in late:
            os.symlink(text, f"{path}/{TOKEN}.0")
        rmdir(path, *args, **kwargs)

    monkeypatch.setattr(os, "rmdir", remove)
    assert folder.close() == [Lease(5, 9, "late")]
    assert list(folder.path.parent.iterdir()) == []


@pytest.mark.parametrize("suffix", ["", ".old"])
def test_folder_of_a_dead_writer_is_closed_by_the_next(suffix: str, folder: LeaseFolder) -> None:
    woken = taker(folder.path)
    first = woken.take(10)
    if suffix:
        folder.path.rename(f"{folder.path}{suffix}")
    after = LeaseFolder(folder.path)
    assert after.close() == [Lease(*first, "w")]
    after.open("another", 5000)
    with pytest.raises(StateError, match="has ended"):
        woken.take(10)
    with pytest.raises(StateError, match="has ended"):
        woken.check_open()
    assert sorted(os.listdir(folder.path)) == ["another"]


def test_process_that_wakes_up_in_the_folder_of_the_next_write_disturbs_none_of_its_leases(
    folder: LeaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, symlink = taker(folder.path, writer="late"), os.symlink
    for _ in range(3):
        late.take(10)

    def suspended(text: str, path: str) -> None:
        """The process is suspended between its look and its call until the next write is in progress."""
        monkeypatch.undo()
        folder.close()
        folder.open("another", 5000)
        symlink(text, path)

    monkeypatch.setattr(os, "symlink", suspended)
    stray = Lease(*late.take(10), "late")
    mine = LeaseTaker(str(folder.path), "another", writer="w", n_writers=1, name="a.h5")
    taken = [Lease(*mine.take(100), "w") for _ in range(6)]
    assert [lease.start for lease in taken] == list(range(5000, 5600, 100))
    with pytest.raises(StateError, match="has ended"):
        late.check_open()
    assert sorted(folder.close()) == [stray, *taken]


def test_size_of_a_lease_grows_with_the_write_up_to_its_limit(folder: LeaseFolder) -> None:
    two = taker(folder.path, n_writers=2)
    assert two.take(1000) == (BASE, BASE + 1000)
    start, stop = two.take(1 << 30)
    assert stop - start == 1 << 30
    given_out = stop - BASE
    start, stop = two.take(1)
    assert stop - start == given_out // (2 * SHARE)
    two.take(200 << 30)
    start, stop = two.take(1)
    assert stop - start == MAX_LEASE_NBYTES
    start, stop = two.take(MAX_LEASE_NBYTES + 1)
    assert stop - start == MAX_LEASE_NBYTES + 1
    start, stop = two.take(MAX_LEASE_NBYTES // MIN_RESERVATIONS + 1)
    assert stop - start == MAX_LEASE_NBYTES // MIN_RESERVATIONS + 1


def test_lease_shrinks_when_more_processes_write_than_were_known(folder: LeaseFolder) -> None:
    many = [taker(folder.path, writer=f"w{i}") for i in range(10)]
    many[0].take(1 << 30)
    for one in many[1:]:
        one.take(1)
    start, stop = many[0].take(1)
    assert stop - start == (start - BASE) // (10 * SHARE)


def test_request_that_a_network_file_system_repeated_is_a_lease(
    folder: LeaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    symlink = os.symlink

    def repeated(text: str, path: str) -> None:
        symlink(text, path)
        raise FileExistsError(errno.EEXIST, "the answer to the first request was lost", path)

    mine = taker(folder.path)
    monkeypatch.setattr(os, "symlink", repeated)
    assert [mine.take(10), mine.take(20)] == [(BASE, BASE + 10), (BASE + 10, BASE + 30)]
    monkeypatch.undo()
    assert sorted(folder.close()) == [Lease(BASE, BASE + 10, "w"), Lease(BASE + 10, BASE + 30, "w")]


def test_late_taker_finds_the_end_of_many_leases(folder: LeaseFolder) -> None:
    late, early = taker(folder.path, writer="late"), taker(folder.path, writer="early")
    for _ in range(1000):
        stop = early.take(10)[1]
    taken = late.take(10)
    assert taken[0] == stop
    assert read_lease(folder.path / f"{TOKEN}.1000") == Lease(*taken, "late")


@pytest.mark.parametrize("text", ["hello", "hello world", "1 x w", ""])
def test_link_that_is_not_a_lease_is_an_error_that_names_it(text: str, folder: LeaseFolder) -> None:
    (folder.path / f"{TOKEN}.0").symlink_to(text or ".")
    with pytest.raises(
        SinkError, match=r"leases/00ff\.0 leads to .*, which is not a lease; remove the folder"
    ):
        taker(folder.path).take(10)
    with pytest.raises(SinkError, match="which is not a lease"):
        folder.close()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_file_system_without_symbolic_links_is_an_error_that_says_so(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: Any, **kwargs: Any) -> None:
        raise OSError(code, os.strerror(code))

    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (4,), "i4", chunks=(2,))
        monkeypatch.setattr(os, "symlink", refused)
        with pytest.raises(SinkError, match=rf"with symbolic links cannot be made: {os.strerror(code)}"):
            x.part_writer()
        x[:] = np.arange(4)  # the file itself is as good as before
    assert os.listdir(tmp_path) == ["a.h5"]
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"][...].tolist() == [0, 1, 2, 3]
