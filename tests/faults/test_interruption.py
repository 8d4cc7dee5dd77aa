"""A write that does not come to its end: what stays, where it is said, and what becomes of it."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import BlockError, DestinationBusyError, InterruptedWriteError
from streamh5.write import interruption
from tests.deadlock import DEADLOCK_SECONDS

ROOT = Path(__file__).parents[2]


def fill(file: streamh5.File) -> None:
    """Rows that end within a chunk, and a value without chunks."""
    rows = file.create_dataset("rows", (None, 5), "i4", chunks=(4, 5), compression="gzip")
    for i in range(10):
        rows.append(np.full(5, i + 1))
    file["value"] = 2.5
    file.attrs["title"] = "text"


def check_salvaged(path: Path) -> None:
    """All that was handed over before the interruption is there."""
    streamh5.salvage(f"{path}.partial", output=path.with_name("some.h5"))
    with h5py.File(path.with_name("some.h5")) as file:
        np.testing.assert_array_equal(file["rows"][:, 0], np.arange(10) + 1)
        assert file["value"][()] == 2.5
        assert file.attrs["title"] == "text"


def interrupted(path: Path, body: Callable[[streamh5.File], object] = fill, **keywords: Any) -> Exception:
    """Let the block of a file raise; return its error."""

    def write() -> None:
        with streamh5.File(path, **keywords) as file:
            body(file)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError) as caught:
        write()
    return caught.value


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_block_that_raises_keeps_every_row_and_says_where(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "out.h5"

    def write() -> None:
        with streamh5.File(path) as file:
            fill(file)
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    (note,) = caught.value.__notes__
    assert f"{path}.partial" in note
    assert "resume=True" in note
    assert f"streamh5 salvage {path}.partial" in note
    with pytest.raises(InterruptedWriteError, match="resume=True"):
        streamh5.File(path)
    check_salvaged(path)


def test_block_that_raises_is_resumed_at_its_last_whole_chunk(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    interrupted(path)
    with streamh5.File(path, resume=True) as file:
        rows = file.create_dataset("rows", (None, 5), "i4", chunks=(4, 5), compression="gzip")
        assert rows.n_appended == 8
        rows.append(np.full((3, 5), 7))
    with h5py.File(path) as read:
        assert read["rows"][:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 7, 7, 7]


def collect_until(is_so: Callable[[], bool]) -> None:
    """Collect what nobody holds; a thread that stores a block of it does so for a while."""
    until = time.monotonic() + DEADLOCK_SECONDS
    while not is_so() and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)


def test_file_that_is_dropped_keeps_every_row_and_warns(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"

    def drop() -> None:
        fill(streamh5.File(path))

    drop()
    with pytest.warns(
        ResourceWarning, match="was not closed: what was written is kept in .*partial"
    ) as caught:
        collect_until(lambda: len(caught) > 0)
    assert caught[0].category is streamh5.InterruptedWriteWarning
    assert caught[0].filename == __file__
    check_salvaged(path)


FORGOTTEN = """
import sys, pathlib, streamh5
from tests.faults.test_interruption import fill
file = streamh5.File(sys.argv[1])
fill(file)
"""


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "1 / 0", "with file: sys.exit(3)"])
def test_process_that_ends_without_close_keeps_every_row_and_says_where(end: str, tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    done = subprocess.run(
        [sys.executable, "-c", FORGOTTEN + end, str(path)],
        cwd=ROOT, capture_output=True, text=True, timeout=DEADLOCK_SECONDS, check=False,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if "InterruptedWriteWarning" in line]
    assert len(lines) == 1, done.stderr
    assert f"{path}.partial" in lines[0]
    assert "resume=True" in lines[0]
    check_salvaged(path)


def test_filter_of_the_person_comes_first(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORGOTTEN, str(tmp_path / "out.h5")],
        cwd=ROOT, capture_output=True, text=True, timeout=DEADLOCK_SECONDS, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert names(tmp_path) == ["out.h5.partial", "out.h5.partial.journal"]


@pytest.mark.parametrize("keep", ["never", "costly"])
def test_nothing_is_kept_of_what_is_not_to_be(keep: Any, tmp_path: Path) -> None:
    error = interrupted(tmp_path / "out.h5", keep=keep)
    assert names(tmp_path) == []
    assert not hasattr(error, "__notes__")


def test_nothing_is_said_to_be_kept_where_another_program_has_taken_the_working_name(tmp_path: Path) -> None:
    def replace(file: streamh5.File) -> None:
        fill(file)
        other = tmp_path / "other"
        other.write_bytes(b"of another program")
        other.replace(tmp_path / "out.h5.partial")
        raise ZeroDivisionError

    error = interrupted(tmp_path / "out.h5", replace)
    assert "is now a file of another program" in error.__notes__[-1]
    assert (tmp_path / "out.h5.partial").read_bytes() == b"of another program"


def test_nothing_is_kept_where_nothing_was_stored(tmp_path: Path) -> None:
    def describe(file: streamh5.File) -> None:
        file.create_dataset("x", (None, 5), "i4")
        file.create_group("g").attrs["a"] = 1

    interrupted(tmp_path / "out.h5", describe)
    assert names(tmp_path) == []


@pytest.mark.parametrize("resume", [False, True])
def test_abort_drops_what_was_written(resume: bool, tmp_path: Path) -> None:
    file = streamh5.File(tmp_path / "out.h5", resume=resume)
    fill(file)
    file.abort()
    assert names(tmp_path) == []


def test_mode_w_drops_what_an_interrupted_write_has_left(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    interrupted(path)
    told = rf"drops 3 chunks \(79 B\) that .* has left in {path}\.partial; resume=True .*streamh5 salvage"
    with pytest.warns(streamh5.InterruptedWriteWarning, match=told) as warned:
        file = streamh5.File(path, "w")
    assert warned[0].filename == __file__
    with file:
        file["x"] = 1
    assert names(tmp_path) == ["out.h5"]
    with h5py.File(path) as read:
        assert list(read) == ["x"]


@pytest.mark.parametrize("write", ["File", "to_fixed_h5", "convert"])
def test_warning_that_a_filter_raises_keeps_what_an_interrupted_write_has_left(
    write: str, tmp_path: Path
) -> None:
    path = tmp_path / "out.h5"
    interrupted(path)
    np.save(tmp_path / "x.npy", np.arange(4))
    begin: dict[str, Callable[[], object]] = {
        "File": lambda: streamh5.File(path, "w"),
        "to_fixed_h5": lambda: streamh5.to_fixed_h5(path, "/x", np.arange(4), overwrite=True),
        "convert": lambda: streamh5.convert(tmp_path / "x.npy", path, overwrite=True),
    }
    with pytest.raises(streamh5.InterruptedWriteWarning, match="drops 3 chunks"):  # the filter of these tests
        begin[write]()
    check_salvaged(path)


@pytest.mark.parametrize("is_raised", [True, False])
def test_mode_w_warns_of_an_addition_that_it_drops_with_the_file(is_raised: bool, tmp_path: Path) -> None:
    path = tmp_path / "out.h5"

    def body(file: streamh5.File) -> None:
        rows = file.create_dataset("rows", (0, 5), "i4", chunks=(4, 5), maxshape=(None, 5))
        rows.append(np.ones((4, 5), "i4"))
        file.flush()
        rows.append(np.ones((4, 5), "i4"))

    interrupted(path, body)
    told = rf"drops 1 chunk \(80 B\) that .* has left in {path};"
    if is_raised:
        with pytest.raises(streamh5.InterruptedWriteWarning, match=told):
            streamh5.File(path, "w")
        assert names(tmp_path) == ["out.h5", "out.h5.partial.journal"]
        assert streamh5.salvage(path).datasets[0].n_kept == 1
        return
    with pytest.warns(streamh5.InterruptedWriteWarning, match=told):
        streamh5.File(path, "w").close()
    assert names(tmp_path) == ["out.h5"]


def stored_first(block: np.ndarray[Any, Any], block_id: tuple[int, ...] = (0,)) -> np.ndarray[Any, Any]:
    if block_id == (3,):
        raise RuntimeError("source")
    return block


def to_fixed_h5(path: Path) -> None:
    x = da.ones(40, chunks=10).map_blocks(stored_first, dtype="f8", meta=np.empty(0))
    streamh5.to_fixed_h5(path, "/x", x, scheduler="synchronous", progress=False)


@pytest.mark.parametrize("limit", ["COSTLY_SECONDS", "COSTLY_NBYTES", None])
def test_computed_write_is_kept_when_it_is_worth_it(
    limit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit is not None:
        monkeypatch.setattr(interruption, limit, 0)
    with pytest.raises(RuntimeError, match="source") as caught:
        to_fixed_h5(tmp_path / "out.h5")
    kept = [] if limit is None else ["out.h5.partial", "out.h5.partial.journal"]
    assert names(tmp_path) == kept
    assert any("resume=True" in note for note in caught.value.__notes__) == bool(kept)


def test_file_that_is_open_in_this_process_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    file = streamh5.File(path)
    for mode in ("x", "w"):
        with pytest.raises(
            DestinationBusyError, match=r"is open in this process since \d\d:\d\d:\d\d; .*abort"
        ):
            streamh5.File(path, mode)
    file.abort()
    streamh5.File(path).abort()


def test_dropped_file_does_not_block_the_next(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    gc.disable()
    try:
        streamh5.File(path, keep="never").create_dataset("x", (None,), "f8")
        with (
            pytest.warns(streamh5.InterruptedWriteWarning, match="nothing of it is kept"),
            streamh5.File(path),
        ):
            pass
    finally:
        gc.enable()


FAILURES: dict[str, Callable[[streamh5.File], object]] = {
    "create_dataset": lambda file: file.create_dataset("new", data=["a", "b\0c"], dtype=h5py.string_dtype()),
    "chunks": lambda file: file.create_dataset(
        "new", data=["a", "b\0c"], dtype=h5py.string_dtype(), chunks=(1,), compression="gzip"
    ),
}


@pytest.mark.parametrize("how", FAILURES)
def test_dataset_whose_data_did_not_come_is_not_in_the_file(how: str, tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    with streamh5.File(path, track_order=True) as file:
        file["before"] = 1
        with pytest.raises((streamh5.StreamH5Error, TypeError)):
            FAILURES[how](file)
        assert "new" not in file
        file["new"] = [1, 2, 3]
        file["after"] = 1
    with h5py.File(path) as read:
        assert list(read) == ["before", "new", "after"]
        assert read["new"][...].tolist() == [1, 2, 3]


def test_dataset_that_was_taken_back_is_not_salvaged_nor_missed_at_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.h5"

    def failing(self: streamh5.Dataset, region: Any, value: Any) -> None:
        self.write_block(np.asarray(value)[:2], (0,))
        raise BlockError("in between")

    def take_back(file: streamh5.File) -> None:
        fill(file)
        with monkeypatch.context() as patch:
            patch.setattr(streamh5.Dataset, "__setitem__", failing)
            with pytest.raises(BlockError):
                file.create_dataset("new", data=np.arange(8), chunks=(2,))

    def go_on(file: streamh5.File) -> None:
        file.create_dataset("rows", (None, 5), "i4", chunks=(4, 5), compression="gzip")
        file.create_dataset("other", data=np.arange(8), chunks=(2,))

    interrupted(path, take_back)
    interrupted(path, go_on, resume=True)
    streamh5.salvage(f"{path}.partial", output=path)
    with h5py.File(path) as read:
        assert sorted(read) == ["other", "rows", "value"]
        assert read["other"][...].tolist() == list(range(8))


@pytest.mark.parametrize("dtype", ["f8", "i2", [("a", "i4"), ("b", "f4")]])
def test_salvage_gives_the_fill_value_where_an_early_dataset_was_not_written(
    dtype: Any, tmp_path: Path
) -> None:
    fillvalue = np.full((), 7, dtype)
    file = streamh5.File(tmp_path / "a.h5")
    early = file.create_dataset("x", (5, 4), dtype, chunks=(2, 2), fillvalue=fillvalue, alloc_time="early")
    early[2:4] = np.zeros((2, 4), dtype)
    file.suspend()
    summary = streamh5.salvage(tmp_path / "a.h5.partial")
    expected = np.full((5, 4), fillvalue)
    expected[2:4] = np.zeros((), dtype)
    with h5py.File(summary.path) as found:
        np.testing.assert_array_equal(found["x"][...], expected)
        assert found["x"].id.get_create_plist().get_alloc_time() == h5py.h5d.ALLOC_TIME_EARLY
    assert streamh5.verify(summary.path).ok
