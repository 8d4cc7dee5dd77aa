"""Files that grow: `flush`, and additions that are interrupted, resumed, dropped, or disturbed by another program."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.recovery.read_journal import split_entries
from streamh5.sinks.memory import MemorySink

OLD = np.arange(40, dtype="i4")
NEW = np.arange(100, dtype="f8").reshape(20, 5)


def first(path: Path) -> Path:
    with streamh5.File(path, "w") as file:
        file.create_dataset("old", data=OLD, chunks=(8,), compression="gzip")
        file.attrs["title"] = "first"
    return path


def assert_old(path: Path, *names: str) -> None:
    with h5py.File(path) as file:
        assert sorted(file) == sorted(("old", *names))
        np.testing.assert_array_equal(file["old"][...], OLD)
        assert file.attrs["title"] == "first"


def letters(path: Path) -> str:
    return "".join(letter for letter, _, _ in split_entries(Path(f"{path}.partial.journal").read_bytes()))


def interrupt(path: Path, n_rows: int = 12, *, flushed: int = 0) -> None:
    """Add a dataset, publish its first rows, append more, and stop."""
    with pytest.raises(KeyError) as caught, streamh5.File(path, "a", threads=1) as file:  # noqa: PT012
        rows = file.create_dataset("rows", (None, 5), "f8", chunks=(2, 5), maxshape=(None, 5))
        if flushed:
            rows.append(NEW[:flushed])
            file.flush()
        rows.append(NEW[flushed:n_rows])
        raise KeyError
    assert "kept after its end" in caught.value.__notes__[0]


# -- flush


def seen(path: Path) -> tuple[int, int, int, list[str]]:
    """What a reader that opens the file now sees: number of rows, value, attribute, names."""
    with h5py.File(path) as file:
        return len(file["rows"]), int(file["value"][()]), int(file.attrs["n"]), sorted(file)


@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_flush_shows_readers_each_state_and_leaves_one_file(mode: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    if mode != "x":
        first(path)
    more = ["old"] if mode == "a" else []
    with streamh5.File(path, mode, threads=2) as file:
        rows = file.create_dataset("rows", (None, 5), "f8", chunks=(3, 5), compression="gzip")
        value = file.create_dataset("value", (), "i8")
        for i in range(7):
            rows.append(NEW[i : i + 1])
            value[()] = i
            file.attrs["n"] = i
            if i == 4:
                file.create_dataset("later", data=NEW, chunks=(4, 5))
            file.flush()
            names = sorted([*more, "rows", "value", *(["later"] if i >= 4 else [])])
            assert seen(path) == (i + 1, i, i, names)
            with h5py.File(path) as read:
                np.testing.assert_array_equal(read["rows"][...], NEW[: i + 1])
            assert sorted(one.name for one in tmp_path.iterdir()) == ["a.h5", "a.h5.partial.journal"]
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["rows"][...], NEW[:7])
        np.testing.assert_array_equal(read["later"][...], NEW)
    if mode == "a":
        assert_old(path, "rows", "value", "later")
    assert streamh5.verify(path).ok
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]


def test_reader_that_has_a_flushed_state_open_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, "x", threads=1) as file:
        rows = file.create_dataset("rows", (None, 5), "f8", chunks=(3, 5), compression="gzip")
        rows.append(NEW[:7])
        file.flush()
        with h5py.File(path) as before:
            rows.append(NEW[7:])
            file.attrs["later"] = 1
            file.flush()
            np.testing.assert_array_equal(before["rows"][...], NEW[:7])
            assert not before.attrs
            with h5py.File(shutil.copy(path, tmp_path / "copy.h5")) as after:
                np.testing.assert_array_equal(after["rows"][...], NEW)


@pytest.mark.parametrize("end", ["abort", "exception", "suspend"])
def test_file_is_the_last_flushed_state_whatever_ends_the_write(end: str, tmp_path: Path) -> None:
    path = first(tmp_path / "a.h5")
    file = streamh5.File(path, "w", threads=1)
    rows = file.create_dataset("rows", (None, 5), "f8", chunks=(2, 5))
    rows.append(NEW[:7])
    file.flush()
    size = path.stat().st_size
    rows.append(NEW[7:])
    file.attrs["lost"] = 1
    if end == "exception":
        with pytest.raises(KeyError), file:
            raise KeyError
    elif end == "abort":
        file.abort()
        assert path.stat().st_size == size
    else:
        file.suspend()
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["rows"][...], NEW[:7])
        assert not read.attrs
    assert (tmp_path / "a.h5.partial.journal").exists() == (end != "abort")
    assert streamh5.verify(path).ok


def test_flush_of_a_file_in_memory_or_a_file_object_leaves_that_state() -> None:
    for sink, image in ((io.BytesIO(), io.BytesIO.getvalue), (MemorySink(), lambda one: bytes(one.image))):
        file = streamh5.File(sink, "w")
        file["x"] = NEW
        file.flush()
        file["y"] = NEW
        for _ in range(2):  # before and after the abort
            with h5py.File(io.BytesIO(image(sink))) as read:  # type: ignore[arg-type]
                assert list(read) == ["x"]
                np.testing.assert_array_equal(read["x"][...], NEW)
            file.abort()


def test_flush_that_fails_can_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, "x", threads=1) as file:
        file["x"] = NEW
        file.attrs["to"] = streamh5.Reference("/y")
        with pytest.raises(errors.PathError, match="/y"):
            file.flush()
        assert not path.exists()
        path.touch()
        file["y"] = 1
        with pytest.raises(errors.DestinationExistsError):
            file.flush()
        path.unlink()
        file.flush()
        with h5py.File(path) as read:
            assert sorted(read) == ["x", "y"]
        file["z"] = 1
    with h5py.File(path) as read:
        assert sorted(read) == ["x", "y", "z"]


def test_flush_is_refused_where_readers_would_see_chunks_change(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", (4,), "i8", chunks=(2,), alloc_time="early")[:2] = [1, 2]
        with pytest.raises(errors.StateError, match="alloc_time='early'"):
            file.flush()


# -- interrupted additions


def test_interrupted_addition_is_refused_resumed_and_complete(tmp_path: Path) -> None:
    path = first(tmp_path / "a.h5")
    before = path.read_bytes()
    interrupt(path)
    assert_old(path)
    assert path.read_bytes()[: len(before)] == before
    with pytest.raises(errors.InterruptedWriteError, match=r"resume=True.*abort\(\)"):
        streamh5.File(path, "a")
    with streamh5.File(path, "a", resume=True) as file:
        rows = file.create_dataset("rows", (None, 5), "f8", chunks=(2, 5), maxshape=(None, 5))
        assert rows.n_appended == 12
        rows.append(NEW[12:])
    assert_old(path, "rows")
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["rows"][...], NEW)
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]
    assert streamh5.verify(path).ok


def test_interrupted_addition_is_dropped_without_a_trace(tmp_path: Path) -> None:
    path = first(tmp_path / "a.h5")
    before = path.read_bytes()
    interrupt(path)
    streamh5.File(path, "a", resume=True).abort()
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("keep", ["never", "costly"])
def test_interrupted_addition_is_not_kept_if_it_need_not_be(keep: Any, tmp_path: Path) -> None:
    path = first(tmp_path / "a.h5")
    before = path.read_bytes()
    with pytest.raises(KeyError), streamh5.File(path, "a", keep=keep) as file:  # noqa: PT012
        file.create_dataset("x", data=NEW, chunks=(2, 5))
        raise KeyError
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]


def test_rows_after_a_flush_are_resumed_and_those_before_it_are_in_the_file(tmp_path: Path) -> None:
    path = first(tmp_path / "a.h5")
    interrupt(path, 16, flushed=6)
    assert {"B", "O"} <= set(letters(path))
    assert_old(path, "rows")
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["rows"][...], NEW[:6])
    for mode in ("w", "x"):
        with pytest.raises(
            (errors.InterruptedWriteError, errors.DestinationExistsError), match=r"mode 'a'|exists"
        ):
            streamh5.File(path, mode, resume=True)
    with pytest.warns(streamh5.InterruptedWriteWarning, match="drops 5 chunks"):
        file = streamh5.File(path, "w")  # replaces it
    with file:
        file["new"] = 1
    with h5py.File(path) as read:
        assert list(read) == ["new"]


def changed_by_h5py(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["by h5py"] = np.arange(100)


def replaced(path: Path) -> None:
    path.unlink()
    with h5py.File(path, "w", libver="latest") as file:
        file["old"] = OLD
        file.attrs["title"] = "first"
        file["by h5py"] = np.arange(100)


@pytest.mark.parametrize("change", [changed_by_h5py, replaced])
@pytest.mark.parametrize("resume", [False, True])
def test_addition_to_a_file_that_another_program_has_changed_is_refused(
    change: Callable[[Path], None], resume: bool, tmp_path: Path
) -> None:
    path = first(tmp_path / "a.h5")
    interrupt(path)
    change(path)
    content = path.read_bytes()
    with pytest.raises(
        errors.InterruptedWriteError, match=r"another program has changed.*remove a.h5.partial.journal"
    ):
        streamh5.File(path, "a", resume=resume)
    assert path.read_bytes() == content
    Path(f"{path}.partial.journal").unlink()
    with streamh5.File(path, "a") as file:
        file["z"] = 1
    assert_old(path, "by h5py", "z")


def test_addition_beside_an_interrupted_write_of_a_new_file_is_refused(tmp_path: Path) -> None:
    path = first(tmp_path / "a.h5")
    with pytest.raises(KeyError), streamh5.File(path, "w") as file:  # noqa: PT012
        file.create_dataset("x", data=NEW, chunks=(2, 5))
        raise KeyError
    for resume in (False, True):
        with pytest.raises(errors.InterruptedWriteError, match="new file"):
            streamh5.File(path, "a", resume=resume)
    with streamh5.File(path, "w", resume=True) as file:
        x = file.create_dataset("x", NEW.shape, "f8", chunks=(2, 5))
        assert x.is_stored((0, 0), NEW.shape)


def test_file_that_is_open_for_writing_is_refused_and_cannot_be_opened_for_writing(tmp_path: Path) -> None:
    path = first(tmp_path / "a.h5")
    with h5py.File(path, "r+"), pytest.raises(errors.DestinationBusyError, match=r"opened .* for writing"):
        streamh5.File(path, "a")
    for mode in ("a", "w"):
        with streamh5.File(path, mode) as file:
            file[mode] = 1
            file.flush()
            with pytest.raises(BlockingIOError):
                h5py.File(path, "r+")
            for other in ("a", "w"):
                with pytest.raises(errors.DestinationBusyError):
                    streamh5.File(path, other)


@pytest.mark.parametrize("is_salvaged", [True, False])
@pytest.mark.parametrize(("flushed", "n_rows"), [(0, 8), (3, 8), (6, 16), (6, 7), (16, 16)])
def test_rows_after_a_flush_are_kept_where_the_length_is_known_at_close(
    flushed: int, n_rows: int, is_salvaged: bool, tmp_path: Path
) -> None:
    shapes = []
    ways: dict[str, dict[str, Any]] = {
        "open": {"shape": (None, 5)},
        "growing": {"shape": (0, 5), "maxshape": (None, 5)},
    }
    for name, keywords in ways.items():
        path = tmp_path / f"{name}.h5"
        with streamh5.File(path, "w", threads=1) as file:
            x = file.create_dataset("x", dtype="f8", chunks=(2, 5), compression="gzip", **keywords)
            x.append(NEW[:flushed])
            file.flush()
            x.append(NEW[flushed:n_rows])
            file.suspend()
        with h5py.File(path) as read:
            assert read["x"].shape == (flushed, 5)
        if is_salvaged and n_rows > flushed:
            streamh5.salvage(path)
        else:
            with streamh5.File(path, "a", resume=True) as file:
                resumed = file["x"]
                assert isinstance(resumed, streamh5.Dataset)
                n_appended = resumed.n_appended
                resumed.resize(resumed.shape, maxshape=(None, 5))
                resumed.append(NEW[n_appended:n_rows])
        with h5py.File(path) as read:
            shapes.append(read["x"].shape)
            np.testing.assert_array_equal(read["x"][...], NEW[:n_rows])
        assert streamh5.verify(path).ok
    assert shapes == [(n_rows, 5)] * 2
