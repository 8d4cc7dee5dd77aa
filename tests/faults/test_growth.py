"""Crash, fail and cut the power at every system call of changes and of `flush`: the file is one of its generations."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.sinks import journal_file
from tests.faults import growth
from tests.faults.growth import Start
from tests.faults.nursery import forked
from tests.faults.systems import Calls, Crash, crashing, failing, installed, short
from tests.faults.tally import tried
from tests.faults.test_power_cut import Disk

HOW = ("before", "torn", "after")
SYNC = ("close", "batch", "none")
STARTS: tuple[Start, ...] = ("addition", "new")


@pytest.fixture(autouse=True)
def _every_entry_is_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "BATCH_SECONDS", 0.0)
    monkeypatch.setattr(journal_file, "MIN_SHORTENED_NBYTES", 1)  # every flush makes the journal shorter


def prepared(folder: Path, start: Start) -> Path:
    folder.mkdir()
    path = folder / "out.h5"
    if start == "addition":
        growth.make_base(path)
    return path


def n_calls(folder: Path, start: Start, **keywords: Any) -> int:
    """System calls of changes that nothing disturbs."""
    path, calls = prepared(folder, start), Calls()
    with installed(calls):
        growth.grow(path, start, **keywords)
    assert growth.check(path, start) == 2
    return calls.n


def crash_everywhere(tmp_path: Path, start: Start, how: str, step: int, **keywords: Any) -> int:
    points = range(0, n_calls(tmp_path / "undisturbed", start, **keywords), step)
    for at in points:
        path = prepared(tmp_path / f"{at}", start)
        calls = crashing(at, how)
        with installed(calls):
            try:
                growth.grow(path, start, **keywords)
            except (Crash, OSError):
                assert at < calls.n
        calls.bury()
        growth.check_grows(path, start)
    return len(points)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("how", HOW)
def test_crash_at_a_call_of_a_change_leaves_a_generation(tmp_path: Path, start: Start, how: str) -> None:
    tried("change: crash between two system calls", crash_everywhere(tmp_path, start, how, 4))


@pytest.mark.campaign
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("sync", SYNC)
def test_crash_at_every_call_of_a_change_leaves_a_generation(
    tmp_path: Path, start: Start, how: str, sync: str
) -> None:
    tried("change: crash between two system calls", crash_everywhere(tmp_path, start, how, 1, sync=sync))


def fail_everywhere(
    tmp_path: Path, start: Start, code: int, step: int, *, is_lasting: bool, **keywords: Any
) -> int:
    points = range(0, n_calls(tmp_path / "undisturbed", start, **keywords), step)
    for at in points:
        path = prepared(tmp_path / f"{at}", start)
        calls, error = failing(at, code, is_lasting=is_lasting), None
        with installed(calls):
            try:
                growth.grow(path, start, **keywords)
            except streamh5.StreamH5Error as failure:
                error = failure
        calls.bury()
        found = growth.check(path, start)
        assert error is not None or found == 2
        growth.check_grows(path, start)
    return len(points)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_error_of_a_call_of_a_change_is_ours_and_leaves_a_generation(
    tmp_path: Path, start: Start, code: int
) -> None:
    n = fail_everywhere(tmp_path, start, code, 4, is_lasting=code == errno.ENOSPC)
    tried(f"change: {errno.errorcode[code]} of any call", n)


@pytest.mark.campaign
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("is_lasting", [False, True])
@pytest.mark.parametrize("sync", SYNC)
def test_error_of_any_call_of_a_change_is_ours_and_leaves_a_generation(
    tmp_path: Path, start: Start, code: int, is_lasting: bool, sync: str
) -> None:
    n = fail_everywhere(tmp_path, start, code, 1, is_lasting=is_lasting, sync=sync)
    tried(f"change: {errno.errorcode[code]} of any call", n)


@pytest.mark.parametrize("start", STARTS)
def test_short_writes_of_a_change_are_completed(tmp_path: Path, start: Start) -> None:
    path = prepared(tmp_path / "a", start)
    with installed(short(7)):
        growth.grow(path, start)
    assert growth.check(path, start) == 2
    tried("change: every write cut short")


@pytest.fixture
def machine_boot(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    boot = ["before"]
    monkeypatch.setattr("streamh5.recovery.resume.boot_id", lambda: boot[0])
    monkeypatch.setattr("streamh5.recovery.entry_kinds.boot_id", lambda: boot[0])
    return boot


def cut_everywhere(
    tmp_path: Path, boot: list[str], start: Start, *, sync: str, names_at_once: bool, seeds: range, step: int
) -> int:
    path = prepared(tmp_path / "machine", start)
    disk = Disk(path.parent, names_at_once=names_at_once)
    images: list[tuple[Path, int | None]] = []
    seen: list[int | None] = [0 if start == "addition" else None]

    def after(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        disk.after(number, name, arguments)
        if number % step == 0:
            for seed in (None, *seeds):
                images.append((disk.image(tmp_path / f"{number}-{seed}", seed), seen[0]))

    def flush(file: streamh5.File) -> None:
        whole_flush(file)
        seen[0] = 1  # from now on, a power cut must not take this generation away

    whole_flush = streamh5.File.flush
    boot[0] = "before"
    with pytest.MonkeyPatch.context() as patch, installed(Calls(after=after)):
        patch.setattr(streamh5.File, "flush", flush)
        growth.grow(path, start, sync=sync)
    images.append((disk.image(tmp_path / "closed", None), 2))
    boot[0] = "after"
    for image, at_least in images:
        one = image / "out.h5"
        found = growth.check(one, start)
        assert at_least is None or (found is not None and found >= at_least), (image, found, at_least)
        try:
            growth.grow(one, start)
        except streamh5.errors.JournalError:  # pages of a journal that was never synced: refused
            assert sync != "batch"
            Path(f"{one}.partial.journal").unlink()
            Path(f"{one}.partial").unlink(missing_ok=True)
            growth.grow(one, start)
        assert growth.check(one, start) == 2
    return len(images)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("sync", ["close", "batch"])
def test_power_cut_during_a_change_leaves_a_generation_and_loses_none(
    tmp_path: Path, machine_boot: list[str], start: Start, sync: str
) -> None:
    n = cut_everywhere(tmp_path, machine_boot, start, sync=sync, names_at_once=False, seeds=range(1), step=5)
    tried("change: power cut", n)


@pytest.mark.campaign
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("sync", ["close", "batch"])
@pytest.mark.parametrize("names_at_once", [False, True])
def test_power_cut_at_any_call_of_a_change_leaves_a_generation_and_loses_none(
    tmp_path: Path, machine_boot: list[str], start: Start, sync: str, names_at_once: bool
) -> None:
    n = cut_everywhere(
        tmp_path, machine_boot, start, sync=sync, names_at_once=names_at_once, seeds=range(4), step=1
    )
    tried("change: power cut", n)


# -- a process that appends in a loop is killed

CHUNK = 7


def append_for_ever(path: Path, pipe: int, *, closes: bool) -> None:
    """Append rows; after each `flush` or `close`, write the number of rows to the pipe."""
    chance = random.Random(os.getpid())
    while True:
        with streamh5.File(path, "a", resume=True, threads=1) as file:
            rows = growth.dataset(file, "rows")
            for _ in range(chance.randrange(1, 9)):
                n = rows.n_appended
                rows.append(np.arange(n, n + chance.randrange(1, 20)))
                if not closes and chance.random() < 0.5:
                    file.flush()
                    os.write(pipe, rows.n_appended.to_bytes(8, "little"))
            n = rows.n_appended
        os.write(pipe, n.to_bytes(8, "little"))


def kill_loops(folder: Path, n_kills: int, *, closes: bool) -> None:
    path = folder / "out.h5"
    with streamh5.File(path, "w") as file:
        file.create_dataset("rows", (0,), "i8", chunks=(CHUNK,), maxshape=(None,), compression="gzip")
    chance = random.Random(int(closes))
    n_promised = 0
    for _ in range(n_kills):
        read, write = os.pipe()
        child = forked(lambda write=write: append_for_ever(path, write, closes=closes))  # type: ignore[misc]
        os.close(write)
        time.sleep(chance.uniform(0.01, 0.15))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the writer failed"
        with os.fdopen(read, "rb") as told:
            done = told.read()
        if len(done) >= 8:
            n_promised = int.from_bytes(done[len(done) // 8 * 8 - 8 : len(done) // 8 * 8], "little")
        with h5py.File(path) as file:
            found = file["rows"][...]
        np.testing.assert_array_equal(found, np.arange(len(found)))
        assert len(found) >= n_promised, "rows are missing that flush or close had returned for"
        n_promised = len(found)
    assert n_promised > 0


@pytest.mark.parametrize("closes", [False, True])
def test_process_killed_while_it_appends_in_a_loop_leaves_a_generation(tmp_path: Path, closes: bool) -> None:
    kill_loops(tmp_path, 5, closes=closes)
    tried("change: kill -9 at a random moment", 5)


@pytest.mark.campaign
@pytest.mark.parametrize("closes", [False, True])
def test_process_killed_200_times_while_it_appends_in_a_loop_leaves_a_generation(
    tmp_path: Path, closes: bool
) -> None:
    kill_loops(tmp_path, 100, closes=closes)
    tried("change: kill -9 at a random moment", 100)
