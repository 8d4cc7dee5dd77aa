"""A write to an object that is interrupted: the object is the old or the complete new one, and nothing is lost."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.recovery.read_journal import decode_journal, split_entries
from streamh5.stores import memory
from streamh5.stores.memory import MemoryStore
from tests.deadlock import DEADLOCK_SECONDS
from tests.faults import object_states
from tests.faults.object_states import URL, State
from tests.faults.tally import ROOT, tried
from tests.stores.servers import S3Server

WRITES: dict[str, tuple[Callable[..., int], Callable[[], None], int]] = {
    "dask": (object_states.write_grid, object_states.check_grid, 64),
    "stream": (object_states.write_rows, object_states.check_rows, 3000),
}


pytestmark = pytest.mark.usefixtures("memory_objects")


class KilledError(BaseException):
    """The end of a write that the test stops."""


def interrupt(write: Callable[..., int], journal: Path, n_parts: int = 5, **keywords: Any) -> None:
    """Write until so many parts have been sent, then end it by an exception."""
    send, n = MemoryStore.send_part, 0

    def stop(self: MemoryStore, *arguments: Any) -> Any:
        nonlocal n
        n += 1
        if n > n_parts:
            raise KilledError
        return send(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryStore, "send_part", stop)
        with pytest.raises(KilledError):
            write(journal, **keywords)


@pytest.mark.parametrize("kind", WRITES)
def test_write_killed_between_two_requests_is_resumed(kind: str, journal: Path, memory_objects: Any) -> None:
    write, check, n_all = WRITES[kind]
    states: list[State] = []
    memory_objects.pipe_file(URL, b"old")
    with object_states.recorded(journal, states):
        assert write(journal) == n_all
    assert not journal.exists()
    assert len(states) > 15
    n_saved = 0
    for state in states:
        state.restore(journal)
        assert len(state.objects) == 1
        n_done = write(journal)
        check()
        n_saved += n_all - n_done
        assert not journal.exists()
        assert not memory._UPLOADS
        tried("kill of a write to an object between two requests")
    # what the store had confirmed was not computed again
    assert n_saved > len(states) * n_all * 0.3


@pytest.mark.parametrize("kind", WRITES)
def test_exception_loses_nothing_that_was_stored(kind: str, journal: Path) -> None:
    write, check, n_all = WRITES[kind]
    interrupt(write, journal, 3)
    assert memory._UPLOADS
    n = write(journal)
    check()
    assert n <= n_all * 0.75, "what was in memory is in the journal"
    assert not journal.exists()
    tried("error in a write to an object")


def test_note_says_how_to_continue(journal: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught, streamh5.File(URL, "w", journal=journal) as f:  # noqa: PT012
        f.create_dataset("a", (100, 100), "f8", chunks=(1, 100))[:50] = np.ones((50, 100))
        _ = 1 / 0
    (note,) = caught.value.__notes__
    for expected in ("resume=True", str(journal), "streamh5 salvage", "streamh5 abort-upload"):
        assert expected in note
    streamh5.File(URL, "w", resume=True, journal=journal).abort()
    assert not journal.exists()


def test_write_that_is_not_resumed_is_dropped_or_named(journal: Path) -> None:
    interrupt(object_states.write_grid, journal)
    ((_, first),) = memory._UPLOADS
    with pytest.raises(errors.InterruptedWriteError, match=r"chunks.*salvage") as caught:
        streamh5.File(URL, "x", journal=journal)
    assert str(journal) in str(caught.value)
    assert memory._UPLOADS
    with pytest.raises(streamh5.InterruptedWriteWarning):  # the filter of these tests
        streamh5.File(URL, "w", journal=journal)
    assert memory._UPLOADS
    told = rf"drops \d+ chunks .* the upload of {URL} \(journal {journal}\)"
    with pytest.warns(streamh5.InterruptedWriteWarning, match=told):
        f = streamh5.File(URL, "w", journal=journal)
    with f:
        assert not memory._UPLOADS
        f["x"] = 1
    assert first not in {upload for _, upload in memory._UPLOADS}
    assert not journal.exists()


def test_default_journal_is_found_by_every_write_of_that_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    interrupt(lambda path: object_states.write_grid(None, resume=True), tmp_path)  # type: ignore[arg-type]
    default = tmp_path / "out.h5.upload.journal"
    assert default.exists()
    with pytest.raises(errors.InterruptedWriteError):
        streamh5.File(URL, "x")
    other = "memory://other/out.h5"
    with streamh5.File(other, "x") as f:  # another object of that name
        f["x"] = 1
    with pytest.raises(errors.SpecError, match="journal="):
        streamh5.File(other, "w", resume=True)
    assert default.exists()
    with pytest.warns(streamh5.InterruptedWriteWarning, match="drops .* chunks"):
        f = streamh5.File(URL, "w")
    with f:
        f["x"] = 1
    assert not default.exists()


def test_part_that_the_store_has_otherwise_is_written_again(journal: Path) -> None:
    interrupt(object_states.write_grid, journal)
    state = State.now(journal)
    n_without = object_states.write_grid(journal)
    for what in ("other", "smaller", "missing"):
        state.restore(journal)
        ((_, parts),) = memory._UPLOADS.items()
        number = sorted(parts)[1]
        if what == "missing":
            del parts[number]
        else:
            parts[number] = bytes(len(parts[number]) - (what == "smaller"))
        n = object_states.write_grid(journal)
        object_states.check_grid()
        assert n_without < n <= n_without + 9
        tried("part of an object replaced or lost behind the journal's back")


def test_part_that_is_replaced_during_the_write_fails_it(journal: Path) -> None:
    complete = MemoryStore.complete

    def replaced(self: MemoryStore, upload: str, parts: Any, **keywords: Any) -> None:
        self.send_part(upload, 3, memoryview(bytes(1 << 20)))
        complete(self, upload, parts, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryStore, "complete", replaced)
        with pytest.raises(errors.SinkError, match="part 3"):
            object_states.write_grid(journal)
    assert 0 < object_states.write_grid(journal) < 30
    object_states.check_grid()


@pytest.mark.parametrize("is_listed", [True, False])
def test_upload_that_is_gone_is_told(journal: Path, is_listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(object_states.write_grid, journal)
    memory._UPLOADS.clear()
    if is_listed:  # as Azure does
        monkeypatch.setattr(MemoryStore, "list_parts", lambda *_: [])
    with pytest.warns(streamh5.InterruptedWriteWarning, match="gone.*computed again"):
        assert object_states.write_grid(journal) == 64
    object_states.check_grid()


def test_answer_of_the_completion_is_lost_with_the_process(journal: Path) -> None:
    states: list[State] = []
    with object_states.recorded(journal, states):
        object_states.write_grid(journal)
    last = states[-1]
    last.restore(journal)
    assert journal.exists()
    with pytest.raises(errors.DestinationExistsError):
        streamh5.File(URL, "x", resume=True, journal=journal)
    assert not journal.exists(), "that write was complete"
    object_states.check_grid()


def test_write_of_another_source_is_refused(journal: Path) -> None:
    interrupt(object_states.write_grid, journal)
    log = journal.read_bytes()
    with pytest.raises(errors.ResumeError, match="source"):
        streamh5.to_fixed_h5(
            URL,
            "/x",
            da.zeros((64, 16_384), chunks=(1, 16_384), dtype="i8"),
            mode="w",
            compression=None,
            resume=True,
            resume_key="another",
            journal=journal,
        )
    assert decode_journal(journal.read_bytes()) is not None
    assert journal.read_bytes().startswith(log[:100])
    assert object_states.write_grid(journal) < 30
    object_states.check_grid()


def test_damaged_journal_never_makes_a_wrong_object(journal: Path) -> None:
    interrupt(object_states.write_grid, journal)
    state = State.now(journal)
    assert state.journal is not None
    ends = [end for _, _, end in split_entries(state.journal)]
    for end in ends[2::7]:
        state._replace(journal=state.journal[: end - 3]).restore(journal)
        object_states.write_grid(journal)
        object_states.check_grid()
        memory._UPLOADS.clear()  # one of which the journal does not know
        tried("journal of an object cut at an entry")


def test_second_writer_and_other_files_are_refused(journal: Path, tmp_path: Path) -> None:
    f = streamh5.File(URL, "w", journal=journal)
    with pytest.raises(errors.DestinationBusyError, match="open in this process"):
        streamh5.File(URL, "w", journal=journal)
    f.abort()
    table = tmp_path / "table.csv"
    table.write_text("1,2,3")
    with pytest.raises(errors.SinkError, match="not a journal"):
        streamh5.File(URL, "w", journal=table)
    assert table.read_text() == "1,2,3"
    with pytest.raises(errors.SpecError, match="local file"):
        streamh5.File(URL, "w", journal="s3://bucket/journal")
    with pytest.raises(errors.SpecError, match="journal="):
        streamh5.File(tmp_path / "a.h5", "w", journal=journal)
    with pytest.raises(errors.SinkError, match="cannot be opened"):
        streamh5.File(URL, "w", journal=tmp_path / "no" / "folder")


def test_storage_options_are_not_in_the_journal(journal: Path) -> None:
    secret = "do not tell"
    interrupt(object_states.write_grid, journal, storage_options={"secret": secret})
    assert secret.encode() not in journal.read_bytes()
    object_states.write_grid(journal)


def test_dropped_file_is_kept(journal: Path) -> None:
    f = streamh5.File(URL, "w", journal=journal)
    d = f.create_dataset("a", (None, 1000), "f8", chunks=(10, 1000), compression=None)
    d.append(np.ones((500, 1000)))
    with pytest.warns(streamh5.InterruptedWriteWarning, match="resume=True"):  # noqa: PT031
        del f, d
        gc.collect()
    with streamh5.File(URL, "w", journal=journal, resume=True) as f:
        d = f.create_dataset("a", (None, 1000), "f8", chunks=(10, 1000), compression=None)
        assert d.n_appended == 500
    with object_states.content() as read:
        assert read["a"].shape == (500, 1000)


def test_file_that_is_not_worth_it_leaves_nothing(journal: Path) -> None:
    with pytest.raises(ZeroDivisionError), streamh5.File(URL, "w", journal=journal, keep="costly") as f:  # noqa: PT012
        d = f.create_dataset("a", (None, 1000), "f8", chunks=(10, 1000), compression=None)
        d.append(np.ones((500, 1000)))
        _ = 1 / 0
    assert not journal.exists()


def test_resumed_write_fills_the_holes_first(journal: Path, memory_objects: Any) -> None:
    object_states.write_grid(journal)
    nbytes = memory_objects.size(URL)
    for _ in range(4):
        interrupt(object_states.write_grid, journal, 2)
    object_states.write_grid(journal)
    object_states.check_grid()
    assert memory_objects.size(URL) <= nbytes + (1 << 18)


def run_kills(tmp_path: Path, s3_server: S3Server, n: int, seed: int, kind: str) -> None:
    options = json.dumps(s3_server.options())
    arguments = [str(tmp_path / "nursery"), str(n), str(seed), kind, s3_server.url(), options]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.faults.object_nursery", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS * (1 + n // 10),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tried("kill -9 of a write to an object store at a random moment", int(done.stdout.split()[-1]))


@pytest.mark.parametrize("kind", ["dask", "stream"])
def test_killed_writer_leaves_the_old_object_and_is_resumed(
    tmp_path: Path, s3_server: S3Server, kind: str
) -> None:
    run_kills(tmp_path, s3_server, 3, 1, kind)


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["dask", "stream"])
def test_writer_killed_many_times_leaves_the_old_object_and_is_resumed(
    tmp_path: Path, s3_server: S3Server, kind: str
) -> None:
    run_kills(tmp_path, s3_server, 50, 2, kind)
