"""An interrupted write to an object is completed with what is there."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.cli import main as cli
from streamh5.stores import memory
from streamh5.stores.memory import MemoryStore
from tests.faults import object_states
from tests.faults.object_states import GRID, ROWS, URL, State
from tests.faults.tally import tried

pytestmark = pytest.mark.usefixtures("memory_objects")


def check_part_of_grid(summary: Any) -> int:
    """Every chunk is right or the fill value, as the attributes say; return the number of those that are there."""
    with object_states.content() as f:
        x, values = f["x"], f["x"][...]
        is_right = (values == GRID).all(axis=1)
        is_missing = (values == 0).all(axis=1)
        assert (is_right | is_missing).all()
        assert x.attrs["streamh5_missing_chunks"] == is_missing.sum()
        assert "chunks are there" in f.attrs["streamh5_salvaged"]
        assert f.attrs["streamh5_salvaged"].startswith("interrupted write of out.h5")
    assert summary.path == URL
    return int(is_right.sum())


def check_part_of_rows() -> int:
    """The stream ends before the first gap or has zeros in it; texts are right or missing."""
    with object_states.content() as f:
        rows = f["rows"][...]
        assert ((rows == ROWS[: len(rows)]) | (rows == 0)).all()
        n_rows = int(f["rows"].attrs["streamh5_appended_rows"])
        np.testing.assert_array_equal(rows[:n_rows], ROWS[:n_rows])
        for i, text in enumerate(f["text"].asstr()[...]):
            assert text in ("", f"row {50 * i}" * 100)
    return n_rows


@pytest.mark.parametrize("kind", ["dask", "stream"])
def test_write_killed_between_two_requests_is_salvaged(kind: str, journal: Path) -> None:
    states: list[State] = []
    with object_states.recorded(journal, states):
        (object_states.write_grid if kind == "dask" else object_states.write_rows)(journal)
    n_kept = []
    for state in states:
        state.restore(journal)
        if fsspec.filesystem("memory").exists(URL):
            with pytest.raises(errors.SinkError, match="finished object"):
                streamh5.salvage(journal)
            memory._UPLOADS.clear()  # this store is not atomic inside `complete`
            continue
        summary = streamh5.salvage(journal)
        n_kept.append(check_part_of_grid(summary) if kind == "dask" else check_part_of_rows())
        assert not memory._UPLOADS
        assert not journal.exists()
        tried("salvage of a write to an object that was killed between two requests")
    assert n_kept == sorted(n_kept)
    assert n_kept[-1] > (50 if kind == "dask" else 2000)


def interrupted(journal: Path) -> None:
    with pytest.raises(ZeroDivisionError), streamh5.File(URL, "w", journal=journal) as f:  # noqa: PT012
        d = f.create_dataset("a", (None, 1000), "f8", chunks=(10, 1000), compression=None)
        d.append(np.ones((777, 1000)))
        f.attrs["title"] = "kept"
        _ = 1 / 0


def test_what_was_in_memory_is_salvaged(journal: Path) -> None:
    interrupted(journal)
    assert "rows without a gap" in str(streamh5.salvage(journal))
    with object_states.content() as f:
        assert f["a"].shape == (777, 1000)
        assert (f["a"][:777] == 1).all()
        assert f.attrs["title"] == "kept"


def test_object_that_is_there_is_replaced_only_on_request(journal: Path, memory_objects: Any) -> None:
    memory_objects.pipe_file(URL, b"old")
    interrupted(journal)
    with pytest.raises(errors.DestinationExistsError, match="overwrite=True"):
        streamh5.salvage(journal)
    with pytest.raises(errors.SpecError, match="leave output out"):
        streamh5.salvage(journal, output="other.h5")
    assert memory_objects.cat_file(URL) == b"old"
    streamh5.salvage(journal, overwrite=True)
    with object_states.content() as f:
        assert "a" in f


def test_command_takes_the_options_of_a_store(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(journal)
    assert cli.main(["salvage", str(journal), "--storage-option", "asynchronous=false", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["path"] == summary["interrupted"] == URL
    assert not journal.exists()


def test_salvage_that_fails_can_be_repeated_or_resumed(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_states_before: list[State] = []
    interrupted(journal)
    object_states_before.append(State.now(journal))

    def fail(*_: Any, **__: Any) -> None:
        raise errors.StoreError("not now", reason="denied")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "complete", fail)
        for _ in range(2):
            with pytest.raises(errors.SinkError, match="not now"):
                streamh5.salvage(journal)
    object_states_before.append(State.now(journal))
    streamh5.salvage(journal)
    with object_states.content() as f:
        assert (f["a"][:777] == 1).all()
    for state in object_states_before:
        state.restore(journal)
        with streamh5.File(URL, "w", journal=journal, resume=True) as g:
            d = g.create_dataset("a", (None, 1000), "f8", chunks=(10, 1000), compression=None)
            assert d.n_appended == 770
            d.append(np.ones((30, 1000)))
        with object_states.content() as f:
            assert f["a"].shape == (800, 1000)
            assert (f["a"][...] == 1).all()
            assert "streamh5_salvaged" not in f.attrs


def test_upload_that_is_gone_cannot_be_salvaged(journal: Path, tmp_path: Path) -> None:
    interrupted(journal)
    memory._UPLOADS.clear()
    with pytest.raises(errors.JournalError, match="gone"):
        streamh5.salvage(journal)
    assert journal.exists()
    with h5py.File(tmp_path / "a.h5", "w"):
        pass
    with pytest.raises(errors.SpecError, match="journal of an object"):
        streamh5.salvage(tmp_path / "a.h5", storage_options={"key": "x"})


ROW = 16_384


def stream_of_rows(mode: str, journal: Path) -> tuple[streamh5.File, Any]:
    file = streamh5.File(URL, mode, resume=True, journal=journal, threads=1)
    return file, file.create_dataset("x", (64, ROW), "i8", chunks=(1, ROW), compression=None)


def first_of_each_row() -> Any:
    with h5py.File(io.BytesIO(fsspec.filesystem("memory").cat_file(URL))) as file:
        return file["x"][:, 0]


def test_old_content_of_a_chunk_does_not_come_back(journal: Path) -> None:
    file, d = stream_of_rows("w", journal)
    for i in range(40):
        d[i] = np.full(ROW, i + 1)
    d[10] = np.full(ROW, 1000)  # in a part that is never full
    file.session.sink._sender.wait()  # type: ignore[attr-defined]
    killed = State.now(journal)
    file.abort()
    killed.restore(journal)
    streamh5.salvage(journal, overwrite=True)
    rows = first_of_each_row()
    assert rows[9] == 10
    assert rows[10] in (0, 1000)
    killed.restore(journal)
    file, d = stream_of_rows("w", journal)
    assert d.is_stored((9, 0), (1, ROW))
    assert not d.is_stored((10, 0), (1, ROW))
    file.abort()


def test_last_part_outlives_a_completion_that_is_refused(journal: Path, memory_objects: Any) -> None:
    file, d = stream_of_rows("x", journal)
    for i in range(64):
        d[i] = np.full(ROW, i + 1)
    memory_objects.pipe_file(URL, b"another")
    with pytest.raises(errors.DestinationExistsError):
        file.close()
    memory_objects.rm_file(URL)
    streamh5.salvage(journal)
    assert first_of_each_row().tolist() == list(range(1, 65))
