"""Stop, crash and fail at every system call of a write, a close, a checkpoint and a salvage."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import h5py
import pytest

import streamh5
from streamh5.sinks import disk_space, journal_file, write_back
from tests.faults import work
from tests.faults.systems import WRITES, Calls, Crash, copy_folder, crashing, failing, installed, short
from tests.faults.tally import tried

HOW = ("before", "torn", "after")
SYNC = ("close", "batch", "none")


@pytest.fixture(autouse=True)
def _every_entry_is_a_batch_and_every_few_chunks_are_written_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "BATCH_SECONDS", 0.0)
    monkeypatch.setattr(write_back, "HINT_NBYTES", 600)
    monkeypatch.setattr(disk_space, "FIRST_NBYTES", 600)
    monkeypatch.setattr(disk_space, "SPACE_NBYTES", 1200)


def n_calls(folder: Path, **how: Any) -> int:
    """Calls of a write that nothing disturbs."""
    folder.mkdir()
    calls = Calls()
    with installed(calls):
        work.write(folder / "out.h5", **how)
    work.check_complete(folder / "out.h5")
    return calls.n


def crash_everywhere(tmp_path: Path, how: str, step: int, *, had_old: bool, **keywords: Any) -> int:
    n = n_calls(tmp_path / "undisturbed", overwrite=had_old, **keywords)
    points = range(0, n, step)
    for at in points:
        folder = tmp_path / f"{at}"
        folder.mkdir()
        path = folder / "out.h5"
        if had_old:
            work.write_old(path)
        calls = crashing(at, how)
        with installed(calls):
            try:
                work.write(path, overwrite=had_old, **keywords)
            except Crash:
                pass
            except OSError:
                assert at < calls.n
        calls.bury()
        work.check_resumable(path, had_old=had_old)
    return len(points)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("had_old", [False, True])
def test_crash_at_a_call_leaves_old_or_complete_file_and_is_resumed(
    tmp_path: Path, how: str, had_old: bool
) -> None:
    n = crash_everywhere(tmp_path, how, 1, had_old=had_old, checkpoint=True)
    tried("crash between two system calls", n)


@pytest.mark.campaign
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("had_old", [False, True])
@pytest.mark.parametrize("sync", SYNC)
@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("resume", [False, True])
def test_crash_at_every_call_leaves_old_or_complete_file_and_is_resumed(
    tmp_path: Path, how: str, had_old: bool, sync: str, checkpoint: bool, resume: bool
) -> None:
    n = crash_everywhere(tmp_path, how, 1, had_old=had_old, sync=sync, checkpoint=checkpoint, resume=resume)
    tried("crash between two system calls", n)


def crash_twice(tmp_path: Path, points: range, how: str) -> int:
    """Crash, and crash again while the write is taken up."""
    n = 0
    for first in points:
        start = tmp_path / f"{first}"
        start.mkdir()
        calls = crashing(first, how)
        with installed(calls), pytest.raises((Crash, OSError)):
            work.write(start / "out.h5", checkpoint=True)
        calls.bury()
        second = 0
        while True:
            folder = copy_folder(start, tmp_path / f"{first}-{second}")
            calls = crashing(second, how)
            is_over = False
            with installed(calls):
                try:
                    work.write(folder / "out.h5", checkpoint=True)
                    is_over = True
                except (Crash, OSError):
                    pass
            calls.bury()
            work.check_resumable(folder / "out.h5", had_old=False)
            n += 1
            if is_over:
                break
            second += points.step
    return n


def test_crash_of_a_resumed_write_is_resumed_again(tmp_path: Path) -> None:
    n = n_calls(tmp_path / "undisturbed", checkpoint=True)
    tried("crash of a resumed write", crash_twice(tmp_path, range(n // 3, n, n // 5), "after"))


@pytest.mark.campaign
@pytest.mark.parametrize("how", HOW)
def test_crash_of_a_resumed_write_anywhere_is_resumed_again(tmp_path: Path, how: str) -> None:
    n = n_calls(tmp_path / "undisturbed", checkpoint=True)
    tried("crash of a resumed write", crash_twice(tmp_path, range(0, n, 4), how))


def fail_everywhere(
    tmp_path: Path,
    code: int,
    *,
    names: tuple[str, ...],
    is_lasting: bool,
    sync: str,
    had_old: bool,
    resume: bool,
) -> int:
    """Fail at every call: the error is ours or the write goes well; old or complete, and resumable."""
    at = 0
    while True:
        folder = tmp_path / f"{at}"
        folder.mkdir()
        path = folder / "out.h5"
        if had_old:
            work.write_old(path)
        calls = failing(at, code, names=names, is_lasting=is_lasting)
        error = None
        with installed(calls):
            try:
                work.write(path, overwrite=had_old, sync=sync, resume=resume, checkpoint=True)
            except streamh5.StreamH5Error as failure:
                error = failure
        if error is None:
            assert work.check_destination(path, had_old=had_old)
        elif had_old and path.exists():
            work.check_destination(path, had_old=had_old)
        calls.bury()
        work.check_resumable(path, had_old=had_old)
        if calls.names and sum(not names or name in names for name in calls.names) <= at:
            return at
        at += 1


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_error_of_a_write_is_ours_and_nothing_is_half(tmp_path: Path, code: int) -> None:
    n = fail_everywhere(
        tmp_path, code, names=WRITES, is_lasting=code == errno.ENOSPC, sync="close", had_old=True, resume=True
    )
    tried(f"{errno.errorcode[code]} of a write", n)


@pytest.mark.parametrize("sync", ["close", "batch"])
@pytest.mark.parametrize("name", ["fsync", "sync_file_range"])
def test_failed_fsync_takes_claims_back(tmp_path: Path, sync: str, name: str) -> None:
    n = fail_everywhere(
        tmp_path, errno.EIO, names=(name,), is_lasting=False, sync=sync, had_old=True, resume=True
    )
    assert n
    tried("fsync fails", n)


@pytest.mark.campaign
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("is_lasting", [False, True])
@pytest.mark.parametrize("sync", SYNC)
@pytest.mark.parametrize("had_old", [False, True])
@pytest.mark.parametrize("resume", [False, True])
def test_error_of_any_call_is_ours_and_nothing_is_half(
    tmp_path: Path, code: int, is_lasting: bool, sync: str, had_old: bool, resume: bool
) -> None:
    n = fail_everywhere(
        tmp_path, code, names=(), is_lasting=is_lasting, sync=sync, had_old=had_old, resume=resume
    )
    tried(f"{errno.errorcode[code]} of any call", n)


@pytest.mark.parametrize("most", [1, 7, 100])
def test_short_writes_are_completed(tmp_path: Path, most: int) -> None:
    calls = short(most)
    with installed(calls):
        work.write(tmp_path / "out.h5", checkpoint=True)
    work.check_complete(tmp_path / "out.h5")
    tried("every write cut short")


def interrupted(folder: Path, at: int) -> Path:
    """Leave an interrupted write that has some chunks."""
    folder.mkdir()
    calls = crashing(at, "after")
    with installed(calls), pytest.raises((Crash, OSError)):
        work.write(folder / "out.h5", checkpoint=True)
    calls.bury()
    return folder / "out.h5"


def salvage_everywhere(tmp_path: Path, first: int, how: str) -> int:
    """Crash at every call of a salvage: a valid output, or everything as before; then both go on."""
    start = interrupted(tmp_path / f"{first}", first)
    at = 0
    while True:
        folder = copy_folder(start.parent, tmp_path / f"{first}-{at}")
        path, output = folder / "out.h5", folder / "some.h5"
        calls = crashing(at, how)
        is_over = False
        with installed(calls):
            try:
                streamh5.salvage(f"{path}.partial", output=output)
                is_over = True
            except (Crash, OSError):
                pass
        calls.bury()
        was_published = output.exists()
        if was_published:
            work.check_partly(output)
        content = output.read_bytes() if was_published else b""
        if not is_over:
            work.check_resumable(path, had_old=False)
            assert output.exists() == was_published
            assert not was_published or output.read_bytes() == content, "the resumed write changed the output"
        assert not path.with_name("out.h5.partial").exists()
        if is_over:
            return at
        at += 1


def calls_of_a_write(folder: Path) -> list[str]:
    """Names of the calls of a write with checkpoints."""
    folder.mkdir()
    calls = Calls()
    with installed(calls):
        work.write(folder / "out.h5", checkpoint=True)
    return calls.names


@pytest.mark.parametrize("how", HOW)
def test_crash_of_salvage_leaves_a_valid_output_or_a_write_to_resume(tmp_path: Path, how: str) -> None:
    tried("crash of a salvage between two system calls", salvage_everywhere(tmp_path, 44, how))


@pytest.mark.parametrize("how", HOW)
def test_crash_of_salvage_after_one_of_a_checkpoint_leaves_no_name(tmp_path: Path, how: str) -> None:
    link = calls_of_a_write(tmp_path / "undisturbed").index("link")  # the temporary name of the snapshot
    tried("crash of a salvage between two system calls", salvage_everywhere(tmp_path, link, how))


@pytest.mark.campaign
@pytest.mark.parametrize("how", HOW)
def test_crash_of_salvage_after_any_crash_leaves_a_valid_output_or_a_write_to_resume(
    tmp_path: Path, how: str
) -> None:
    names = calls_of_a_write(tmp_path / "undisturbed")
    # not from the last superblock on: then a salvage still overwrites what a snapshot refers to
    for first in range(names.index("fsync"), names.index("ftruncate") - 1):
        n = salvage_everywhere(tmp_path, first, how)
        tried("crash of a salvage between two system calls", n)


def test_salvaged_file_holds_what_was_there_and_says_what_is_missing(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "start", 44)
    summary = streamh5.salvage(f"{path}.partial")
    output = Path(summary.path)
    assert output == path.with_name("out.salvaged.h5")
    assert work.check_partly(output) > 0
    with h5py.File(output) as file:
        grid = file["g/grid"]
        missing = grid.attrs["streamh5_missing_chunks"]
        assert 0 < missing < 6
        assert missing == sum(
            (grid[8 * i : 8 * i + 8, 10 * j : 10 * j + 10] == -1).all() for i in range(3) for j in range(2)
        )
        for origin in grid.attrs["streamh5_missing_origins"]:
            assert (grid[origin[0], origin[1]]) == -1
        assert file["rows"].attrs["streamh5_appended_rows"] == len(file["rows"])
        assert file["value"][()] == 0  # it was not given yet
        assert "interrupted write of out.h5" in file.attrs["streamh5_salvaged"]
        assert grid.attrs["unit"] == "K"
        assert file.attrs["title"] == "faults"
    assert streamh5.verify(output).ok
