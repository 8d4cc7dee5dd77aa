"""Interrupted additions are salvaged: the file, or a copy, is the old generation and a beginning of what was done."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.cli.main import main
from streamh5.errors import InterruptedWriteError, JournalError, UnreadableError
from streamh5.format.superblock import decode_superblock
from streamh5.recovery.journaled_engine import JournaledEngine
from streamh5.recovery.read_journal import split_entries
from streamh5.sinks import journal_file
from tests.faults import growth
from tests.faults.growth import EXTENTS, N_ROWS, PLANE, ROWS, Start
from tests.faults.nursery import forked
from tests.faults.systems import Calls, Crash, copy_folder, crashing, installed
from tests.faults.tally import tried
from tests.faults.test_growth import HOW, STARTS, SYNC, n_calls, prepared
from tests.faults.test_power_cut import Disk


class Stop(Exception):
    """Ends a write."""


@pytest.fixture
def every_entry_is_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "BATCH_SECONDS", 0.0)


# -- crashes of an addition, then salvage


def salvaged(path: Path) -> Path | None:
    """Salvage what a crash has left, if anything; return the file that has it."""
    try:
        output = Path(streamh5.salvage(path).path)
    except UnreadableError:  # no journal
        return path if path.exists() else None
    except JournalError as error:
        if "nothing to salvage" in str(error):
            return path if path.exists() else None
        raise
    assert not list(path.parent.glob("*.partial*"))
    return output


def check_salvaged(path: Path, at_least: int) -> None:
    """Every value of generation `at_least` is there, and no value that was never written."""
    assert streamh5.verify(path).ok
    with h5py.File(path) as file:
        found = int(file.attrs.get("generation", 0))
        assert found >= at_least
        if "rows" in file:
            n = len(file["rows"])
            assert N_ROWS[at_least] <= n <= N_ROWS[2] or at_least == 0
            np.testing.assert_array_equal(file["rows"][...], ROWS[:n])
        else:
            assert at_least == 0
        if "plane" in file:
            plane = file["plane"][...]
            expected = PLANE[: plane.shape[0], : plane.shape[1]]
            assert plane.shape in EXTENTS[at_least:]
            assert ((plane == expected) | (plane == -1)).all()
            if at_least:
                rows, columns = EXTENTS[at_least]
                np.testing.assert_array_equal(plane[:rows, :columns], expected[:rows, :columns])
        if "new" in file:
            new = file["new"][...]
            assert ((new == np.arange(9)) | (new == 0)).all()
        value = file.get("value", file.get("g/value"))
        assert value is None or value[()] == 1.5 or "streamh5_missing_value" in value.attrs
        other = file.get("other")
        if (
            isinstance(other, h5py.Dataset)
            and other.shape == ()
            and "streamh5_missing_value" not in other.attrs
        ):
            assert other[()] == b"another"


def is_whole(path: Path, found: int) -> None:
    """The file is a generation as it was published."""
    assert growth.check(path, "addition") == found


def crash_and_salvage(tmp_path: Path, start: Start, how: str, step: int, **keywords: Any) -> int:
    points = range(0, n_calls(tmp_path / "undisturbed", start, **keywords), step)
    n_kept = 0
    for at in points:
        path = prepared(tmp_path / f"{at}", start)
        calls = crashing(at, how)
        with installed(calls), suppress(Crash, OSError):
            growth.grow(path, start, **keywords)
        calls.bury()
        before = growth.generation(path)
        output = salvaged(path)
        if output is None:
            assert start == "new"
            continue
        check_salvaged(output, before or 0)
        if before is not None and start == "addition":
            assert len_of(output) >= N_ROWS[before]
            n_kept += len_of(output) > N_ROWS[before]
    assert n_kept or start == "new", "a salvage that keeps nothing proves nothing"
    return len(points)


def len_of(path: Path) -> int:
    with h5py.File(path) as file:
        return len(file["rows"])


@pytest.mark.usefixtures("every_entry_is_a_batch")
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("how", HOW)
def test_addition_that_crashed_at_a_call_is_salvaged(tmp_path: Path, start: Start, how: str) -> None:
    tried(
        "addition: crash between two system calls, then salvage", crash_and_salvage(tmp_path, start, how, 5)
    )


@pytest.mark.campaign
@pytest.mark.usefixtures("every_entry_is_a_batch")
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("sync", SYNC)
def test_addition_that_crashed_at_any_call_is_salvaged(
    tmp_path: Path, start: Start, how: str, sync: str
) -> None:
    n = crash_and_salvage(tmp_path, start, how, 1, sync=sync)
    tried("addition: crash between two system calls, then salvage", n)


# -- crashes of a salvage


def interrupted(folder: Path) -> Path:
    """Leave an addition that was killed after its first flush, when it had changed much of the second step."""
    n = n_calls(folder.with_name("undisturbed"), "addition")
    path = prepared(folder, "addition")
    calls = crashing(n - 16, "after")
    with installed(calls), pytest.raises((Crash, OSError)):
        growth.grow(path, "addition")
    calls.bury()
    assert growth.generation(path) == 1
    return path


def crash_of_salvage(tmp_path: Path, how: str, step: int, *, is_copied: bool) -> int:
    """Crash at every call of a salvage: the old generation and its journal, or the new one; then both go on."""
    start = interrupted(tmp_path / "start")
    old = start.read_bytes()
    old = old[: decode_superblock(old).end_of_file]
    at = 0
    while True:
        folder = copy_folder(start.parent, tmp_path / f"{at}")
        path, output = folder / "out.h5", folder / "copy.h5"
        calls, is_over = crashing(at, how), False
        with installed(calls), suppress(Crash, OSError):
            streamh5.salvage(path, output=output if is_copied else None)
            is_over = True
        calls.bury()
        assert path.read_bytes()[96 : len(old)] == old[96:], "bytes of the old generation were overwritten"
        is_public = output.exists() if is_copied else growth.generation(path) == 2
        if is_public:
            check_salvaged(output if is_copied else path, 1)
        if is_copied or not is_public:
            again = copy_folder(folder, tmp_path / f"{at}-again") / "out.h5"
            is_whole(again, 1)
            check_salvaged(Path(streamh5.salvage(again).path), 1)
            is_whole(path, 1)
            growth.grow(path, "addition")  # resumed
            is_whole(path, 2)
        assert is_public or not is_over
        if is_over:
            return at // step + 1
        at += step


@pytest.mark.parametrize("is_copied", [False, True], ids=["in place", "copy"])
@pytest.mark.parametrize("how", HOW)
def test_crash_of_a_salvage_leaves_the_addition_or_the_next_generation(
    tmp_path: Path, how: str, is_copied: bool
) -> None:
    n = crash_of_salvage(tmp_path, how, 1, is_copied=is_copied)
    tried("addition: crash of its salvage between two system calls", n)


# -- power cuts


@pytest.fixture
def machine_boot(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    boot = ["before"]
    monkeypatch.setattr("streamh5.recovery.resume.boot_id", lambda: boot[0])
    monkeypatch.setattr("streamh5.recovery.entry_kinds.boot_id", lambda: boot[0])
    return boot


def cut_and_salvage(tmp_path: Path, boot: list[str], *, sync: str, seeds: range, step: int) -> int:
    path = prepared(tmp_path / "machine", "addition")
    disk = Disk(path.parent, names_at_once=False)
    images: list[tuple[Path, int]] = []
    seen = [0]

    def after(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        disk.after(number, name, arguments)
        if number % step == 0:
            images.extend(
                (disk.image(tmp_path / f"{number}-{seed}", seed), seen[0]) for seed in (None, *seeds)
            )

    def flush(file: streamh5.File) -> None:
        whole_flush(file)
        seen[0] = 1

    whole_flush = streamh5.File.flush
    with pytest.MonkeyPatch.context() as patch, installed(Calls(after=after)):
        patch.setattr(streamh5.File, "flush", flush)
        growth.grow(path, "addition", sync=sync)
    boot[0] = "after"
    for image, at_least in images:
        one = image / "out.h5"
        before = growth.generation(one)
        assert before is not None
        assert before >= at_least
        try:
            check_salvaged(salvaged(one) or one, before)
        except JournalError:  # pages of a journal that was never synced: refused
            assert sync != "batch"
            is_whole(one, before)
    return len(images)


@pytest.mark.usefixtures("every_entry_is_a_batch")
@pytest.mark.parametrize("sync", ["close", "batch"])
def test_addition_whose_power_was_cut_is_salvaged(tmp_path: Path, machine_boot: list[str], sync: str) -> None:
    n = cut_and_salvage(tmp_path, machine_boot, sync=sync, seeds=range(1), step=5)
    tried("addition: power cut, then salvage", n)


@pytest.mark.campaign
@pytest.mark.usefixtures("every_entry_is_a_batch")
@pytest.mark.parametrize("sync", ["close", "batch"])
def test_addition_whose_power_was_cut_at_any_call_is_salvaged(
    tmp_path: Path, machine_boot: list[str], sync: str
) -> None:
    n = cut_and_salvage(tmp_path, machine_boot, sync=sync, seeds=range(4), step=1)
    tried("addition: power cut, then salvage", n)


# -- what is kept


VALUES = np.arange(200 * 6, dtype="i4").reshape(200, 6) + 1


def written_by(writer: str, path: Path) -> Path:
    """Write a file of 10 rows, with other objects that refer to them."""
    if writer == "streamh5":
        with streamh5.File(path, "w") as file:
            file.create_dataset("x", (0, 6), "i4", maxshape=(None, 6), chunks=(4, 3)).append(VALUES[:10])
            file["z"] = np.arange(10.0)
            file["text"] = "old"
            file["to"] = file["x"].ref
        return path
    libver: Any = ("earliest", "v108") if writer == "h5py 1.8" else "latest"
    block = 512 if writer == "user block" else 0
    with h5py.File(path, "w", libver=libver, userblock_size=block, track_order=True) as file:
        x = file.create_dataset("x", data=VALUES[:10], maxshape=(None, 6), chunks=(4, 3))
        file["z"] = np.arange(10.0)
        file["text"] = "old"
        file["to"] = x.ref
    if block:
        with path.open("r+b") as raw:
            raw.write(b"mine" * 128)
    return path


WRITERS = ("streamh5", "h5py", "h5py 1.8", "user block")


def dataset(file: streamh5.File, path: str) -> streamh5.Dataset:
    return growth.dataset(file, path)


def change_everything(file: streamh5.File) -> None:
    """Make every kind of change, and stop."""
    x = dataset(file, "x")
    x.append(VALUES[10:50])
    x.attrs["unit"] = "K"
    x[3:5] = -VALUES[3:5]
    dataset(file, "z")[2:4] = [20, 30]
    file.move("text", "g/text")
    dataset(file, "g/text")[()] = "new"
    new = file.create_dataset("new", (8, 2), "f8", maxshape=(None, None), chunks=(2, 2), fillvalue=-1)
    new[:4] = 1
    new.resize((8, 6))
    new[:4, 4:] = 2
    file.move("new", "g/new")
    file["again"] = file["g/new"]
    file.create_dataset("gone", data=np.arange(3))
    del file["gone"]
    file.create_group("h").attrs["a"] = [1, 2]
    file.attrs["to"] = x.ref
    raise Stop


def check_everything(path: Path) -> None:
    assert streamh5.verify(path).ok
    with h5py.File(path) as file:
        assert sorted(file) == ["again", "g", "h", "to", "x", "z"]
        expected = VALUES[:50].copy()
        expected[3:5] *= -1
        np.testing.assert_array_equal(file["x"][...], expected)
        assert dict(file["x"].attrs) == {"unit": "K"}
        assert file["z"][...].tolist() == [0, 1, 20, 30, 4, 5, 6, 7, 8, 9]
        assert file["g/text"][()] == b"new"
        new = np.full((8, 6), -1.0)
        new[:4, :2], new[:4, 4:] = 1, 2
        np.testing.assert_array_equal(file["g/new"][...], new)
        assert file["g/new"].attrs["streamh5_missing_chunks"] == 8
        assert file["again"] == file["g/new"]
        assert file["h"].attrs["a"].tolist() == [1, 2]
        assert file[file["to"][()]] == file[file.attrs["to"]] == file["x"]
        assert "interrupted addition to" in file.attrs["streamh5_salvaged"]


@pytest.mark.parametrize("is_killed", [False, True], ids=["exception", "killed"])
@pytest.mark.parametrize("writer", WRITERS)
def test_every_kind_of_change_is_salvaged_in_place_and_in_a_copy(
    writer: str, is_killed: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "first"
    folder.mkdir()
    path = written_by(writer, folder / "a.h5")
    old = path.read_bytes()
    with suppress(Stop), streamh5.File(path, "a", threads=1) as file:
        if is_killed:
            x = dataset(file, "x")
            x.append(VALUES[10:50])
            file.session.wait()
            shutil.copytree(folder, tmp_path / "killed")
            raise Stop
        change_everything(file)
    if is_killed:
        killed = tmp_path / "killed" / "a.h5"
        summary = streamh5.salvage(killed)
        assert [(one.path, one.n_rows) for one in summary.datasets] == [("/x", 48)]
        with h5py.File(killed) as file:
            np.testing.assert_array_equal(file["x"][...], VALUES[:48])
        return
    left = path.read_bytes()
    summary = streamh5.salvage(path, output=folder / "copy.h5")
    assert path.read_bytes() == left
    assert summary.is_addition
    check_everything(folder / "copy.h5")
    streamh5.salvage(path)
    check_everything(path)
    if writer == "user block":
        for one in (path, folder / "copy.h5"):
            assert one.read_bytes()[:512] == old[:512]
    assert sorted(one.name for one in folder.iterdir()) == ["a.h5", "copy.h5"]
    with streamh5.File(path, "a") as file:  # it goes on
        dataset(file, "x").append(VALUES[50:60])
    with h5py.File(path, "r+") as file:
        np.testing.assert_array_equal(file["x"][50:], VALUES[50:60])
        file["more"] = 1


def test_copy_of_a_salvaged_addition_leaves_it_to_be_resumed(tmp_path: Path) -> None:
    path = written_by("streamh5", tmp_path / "a.h5")
    with suppress(Stop), streamh5.File(path, "a") as file:
        dataset(file, "x").append(VALUES[10:50])
        raise Stop
    streamh5.salvage(path, output=tmp_path / "b.h5")
    with streamh5.File(path, "a", resume=True) as file:
        x = dataset(file, "x")
        assert x.n_appended == 48
        x.append(VALUES[48:60])
    for one, n in ((path, 60), (tmp_path / "b.h5", 50)):
        with h5py.File(one) as file:
            np.testing.assert_array_equal(file["x"][...], VALUES[:n])


def without_claims(path: Path, which: range) -> None:
    """Drop entries C and I of the journal, as if their chunks had been in flight."""
    journal = Path(f"{path}.partial.journal")
    log, kept, start, n = journal.read_bytes(), b"", 0, 0
    for letter, _, end in split_entries(log):
        if letter not in "CI" or n not in which:
            kept += log[start:end]
        n += letter in "CI"
        start = end
    journal.write_bytes(kept)


def test_rows_after_the_first_gap_are_not_kept_by_datasets_that_were_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, "w") as file:
        file.create_dataset("x", (0, 6), "i4", maxshape=(None, 6), chunks=(4, 6)).append(VALUES[:10])
        file.create_dataset("y", data=VALUES[:40], chunks=(4, 6))
    with suppress(Stop), streamh5.File(path, "a", threads=1) as file:
        for i in range(10, 50):
            dataset(file, "x").append(VALUES[i])
        new = file.create_dataset("new", (None, 6), "i4", chunks=(4, 6))
        new.append(VALUES[:50])
        dataset(file, "y")[4:20] = 0
        raise Stop
    without_claims(path, range(3, 4))
    summary = streamh5.salvage(path)
    rows = {one.path: one.n_rows for one in summary.datasets}
    with h5py.File(path) as file:
        for name, n in (("x", 20), ("new", 50)):
            np.testing.assert_array_equal(file[name][...], VALUES[:n])
            assert rows[f"/{name}"] == n
        expected = VALUES[:40].copy()
        expected[4:20] = 0
        np.testing.assert_array_equal(file["y"][...], expected)
    assert rows["/y"] is None
    assert "/x (20, 6): " in str(summary)
    assert "20 rows without a gap" in str(summary)


@pytest.mark.parametrize("is_written", [False, True])
def test_cut_that_cannot_be_kept_leaves_no_fill_value_at_its_edge(
    is_written: bool, machine_boot: list[str], tmp_path: Path
) -> None:
    path, lost = tmp_path / "a.h5", np.arange(500, 510)
    old = np.arange(100, 120)
    with streamh5.File(path, "w") as file:
        file.create_dataset("x", data=old, maxshape=(None,), chunks=(10,))
    with suppress(Stop), streamh5.File(path, "a", threads=1, sync="none") as file:
        x = dataset(file, "x")
        x[:10] = lost
        if is_written:
            x[10:] = np.arange(600, 610)
        x.resize(15, 0)
        raise Stop
    image = path.read_bytes()  # power is cut, and one block of the file has not reached the disk
    path.write_bytes(image.replace(lost.tobytes(), bytes(lost.nbytes)))
    machine_boot[0] = "after"
    streamh5.salvage(path)
    with h5py.File(path) as file:
        expected = [*old[:10], *(range(600, 610) if is_written else old[10:])]
        assert file["x"][...].tolist() == expected


@pytest.mark.parametrize("is_shrunk", [False, True])
def test_dataset_without_chunks_that_was_to_get_chunks_keeps_its_data(
    is_shrunk: bool, tmp_path: Path
) -> None:
    (tmp_path / "first").mkdir()
    path, old = tmp_path / "first" / "a.h5", np.arange(400_000.0)
    with h5py.File(path, "w") as file:
        file["z"] = old
    with suppress(Stop), streamh5.File(path, "a", threads=1) as file:
        z = dataset(file, "z")
        z.resize((450_000,), maxshape=(None,))
        z[440_000:] = 7
        if is_shrunk:
            z.resize(100, 0)
            z.resize(300_000, 0)
        raise Stop
    lost = Path(shutil.copytree(path.parent, tmp_path / "lost")) / "a.h5"
    streamh5.salvage(path)
    expected = np.concatenate([old, np.zeros(50_000)])
    expected[440_000:] = 7
    if is_shrunk:
        expected = expected[:300_000]
        expected[100:] = 0
    with h5py.File(path) as file:
        assert file["z"].chunks is not None
        np.testing.assert_array_equal(file["z"][...], expected)
    without_claims(lost, range(99))
    summary = streamh5.salvage(lost)
    assert "its old value" in str(summary)
    with h5py.File(lost) as file:
        assert file["z"].chunks is None
        np.testing.assert_array_equal(file["z"][...], old)


@pytest.mark.parametrize(("n_rows", "n_whole"), [(36, 30), (200, 200)])
@pytest.mark.parametrize("is_new", [False, True], ids=["addition", "new"])
def test_rows_appended_after_a_flush_that_failed_are_resumed_and_salvaged(
    is_new: bool, n_rows: int, n_whole: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"

    def created(file: streamh5.File) -> streamh5.Dataset:
        return file.create_dataset("x", (0,), "i8", maxshape=(None,), chunks=(10,))

    def full_disk(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write() -> None:
        file = streamh5.File(path, "w" if is_new else "a", threads=1)
        x = created(file) if is_new else dataset(file, "x")
        x.append(np.arange(x.n_appended, 33))
        with monkeypatch.context() as patch, suppress(OSError):
            patch.setattr(JournaledEngine, "_write_metadata", full_disk)  # not the chunks
            file.flush()
        x.append(np.arange(33, n_rows))
        os.kill(os.getpid(), signal.SIGKILL)

    if not is_new:
        with streamh5.File(path, "w") as file:
            created(file).append(np.arange(7))
    _, status = os.waitpid(forked(write), 0)
    assert os.WIFSIGNALED(status), "the writer failed"
    with suppress(Stop), streamh5.File(path, "w" if is_new else "a", resume=True, keep="always") as file:
        x = created(file) if is_new else dataset(file, "x")
        assert x.n_appended == n_whole
        raise Stop
    with h5py.File(streamh5.salvage(path).path) as file:
        assert len(file["x"]) == max(33, n_whole)
        np.testing.assert_array_equal(file["x"], np.arange(len(file["x"])))


@pytest.mark.parametrize("n_sessions", [2, 3])
def test_changes_that_a_resumed_addition_repeats_are_salvaged_once(n_sessions: int, tmp_path: Path) -> None:
    path = written_by("h5py", tmp_path / "a.h5")
    for i in range(n_sessions):
        with suppress(Stop), streamh5.File(path, "a", resume=True) as file:
            x = dataset(file, "x")
            x.attrs["session"] = i
            x.append(VALUES[x.n_appended : 30])
            if i == 1:
                raise Stop
            file.move("x", "y")
            file.create_dataset("x", (10,), "i4", chunks=(5,))[:5] = 7
            y = dataset(file, "y")
            y.resize(20, 0)
            y.resize(40, 0)
            y[36:] = VALUES[36:40]
            del file["text"]
            raise Stop
    streamh5.salvage(path)
    with h5py.File(path) as file:
        assert sorted(file) == ["to", "x", "y", "z"]
        expected = VALUES[:40].copy()
        expected[20:36] = 0
        np.testing.assert_array_equal(file["y"][...], expected)
        assert file["y"].attrs["session"] == n_sessions - 1
        assert file["x"][:5].tolist() == [7] * 5
        assert file[file["to"][()]] == file["y"]


# -- refused


def test_addition_to_a_file_that_was_changed_since_is_refused_before_any_write(tmp_path: Path) -> None:
    path = written_by("h5py", tmp_path / "a.h5")
    with suppress(Stop), streamh5.File(path, "a") as file:
        dataset(file, "x").append(VALUES[10:50])
        raise Stop
    with h5py.File(path, "r+") as file:
        file["theirs"] = 1
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    for output in (None, tmp_path / "copy.h5"):
        with pytest.raises(InterruptedWriteError, match=r"a\.h5: another program has changed it"):
            streamh5.salvage(path, output=output)
        assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


def test_addition_to_a_copy_of_the_file_is_salvaged_if_its_chunks_are_there(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    path = written_by("h5py", tmp_path / "first" / "a.h5")
    old = path.read_bytes()
    with suppress(Stop), streamh5.File(path, "a") as file:
        dataset(file, "x").append(VALUES[10:50])
        raise Stop
    copy = Path(shutil.copytree(path.parent, tmp_path / "copy")) / "a.h5"
    streamh5.salvage(copy)
    with h5py.File(copy) as file:
        np.testing.assert_array_equal(file["x"][...], VALUES[:50])
    path.unlink()
    path.write_bytes(old)  # the same generation, without what was added
    streamh5.salvage(path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][...], VALUES[:10])


def test_file_without_an_interrupted_addition_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = written_by("h5py", tmp_path / "a.h5")
    old = path.read_bytes()
    with pytest.raises(UnreadableError, match="nor a file with an interrupted addition"):
        streamh5.salvage(path)
    with streamh5.File(path, "a") as file:
        with pytest.raises(streamh5.errors.DestinationBusyError):
            streamh5.salvage(path)
        file.abort()
    assert path.read_bytes() == old
    taken = tmp_path / "taken.h5"
    taken.write_bytes(b"mine")
    with suppress(Stop), streamh5.File(path, "a") as file:
        dataset(file, "x").append(VALUES[10:50])
        raise Stop
    with pytest.raises(streamh5.errors.DestinationExistsError):
        streamh5.salvage(path, output=taken)
    assert taken.read_bytes() == b"mine"
    assert streamh5.salvage(path).datasets[0].n_rows == 50


def test_command_salvages_an_addition_and_a_new_file_by_the_name_of_the_destination(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written_by("streamh5", tmp_path / "a.h5")
    with suppress(Stop), streamh5.File(path, "a") as file:
        dataset(file, "x").append(VALUES[10:50])
        raise Stop
    assert main(["salvage", str(path)]) == 0
    assert "/x (50, 6): " in capsys.readouterr().out
    with suppress(Stop), streamh5.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("x", (None, 6), "i4", chunks=(4, 6)).append(VALUES[:8])
        raise Stop
    assert main(["salvage", str(tmp_path / "b.h5"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == str(tmp_path / "b.salvaged.h5")
    assert not facts["is_addition"]
