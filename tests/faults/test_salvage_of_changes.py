"""Interrupted writes whose datasets grow, move or are deleted: resumed and salvaged."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.sinks.local_file import LocalFileSink

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class Stop(Exception):
    """Ends a write."""


@pytest.mark.parametrize("is_salvaged", [False, True], ids=["resumed", "salvaged"])
@pytest.mark.parametrize("way", ["append", "resize"])
def test_dataset_that_began_empty_is_resumed_and_salvaged(
    way: str, is_salvaged: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"

    def write(file: streamh5.File) -> int:
        dataset = file.create_dataset("d", (0, 10), "i4", maxshape=(None, 10), chunks=(4, 10))
        n = dataset.n_appended
        for i in range(n, 30):
            if way == "append":
                dataset.append(np.full((1, 10), i + 1))
            else:
                dataset.resize(i + 1, 0)
                dataset[i] = i + 1
        return n

    with suppress(Stop), streamh5.File(path, "w") as file:
        write(file)
        raise Stop
    if is_salvaged:
        streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as found:
            assert found["d"][:28, 0].tolist() == list(range(1, 29))
        return
    with streamh5.File(path, "w", resume=True) as file:
        n = write(file)
    assert n == (28 if way == "append" else 0)
    with h5py.File(path) as found:
        assert found["d"][:, 0].tolist() == list(range(1, 31))


def test_moved_and_deleted_datasets_of_a_new_file_are_salvaged(tmp_path: Path) -> None:
    with suppress(Stop), streamh5.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("g/x", data=np.arange(100), chunks=(10,))
        file["g/value"] = 1.5
        file.move("g", "h")
        file.create_dataset("g/x", data=np.ones(50), chunks=(10,))
        file.attrs["to"] = streamh5.Reference("/h/x")
        file["k"] = file["h"]
        del file["h"]
        file.create_dataset("z", data=np.ones(50), chunks=(10,))
        del file["z"]
        raise Stop
    streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as found:
        assert sorted(found) == ["g", "k"]
        assert found["k/x"][:].tolist() == list(range(100))
        assert found["k/value"][()] == 1.5
        assert found["g/x"][:].tolist() == [1] * 50
        assert found[found.attrs["to"]].name == "/k/x"


def numbered(n_rows: int, n_columns: int) -> NDArray[Any]:
    return np.arange(n_rows * n_columns).reshape(n_rows, n_columns) + 1


@pytest.mark.parametrize("maxshape", [(None, 80), (None, None), (100, 100)])
def test_resized_dataset_of_a_new_file_is_salvaged_with_its_shape(
    maxshape: tuple[int | None, ...], tmp_path: Path
) -> None:
    values = numbered(60, 80)
    with suppress(Stop), streamh5.File(tmp_path / "a.h5", "w") as file:
        d = file.create_dataset("d", (40, 40), "i4", maxshape=maxshape, chunks=(10, 10))
        d[:20, :40] = values[:20, :40]
        d.resize((40, 80))
        d[:20, 40:] = values[:20, 40:]
        d.resize(60, 0)
        d[50:] = values[50:]
        raise Stop
    values[20:50] = 0
    streamh5.salvage(tmp_path / "a.h5", output=tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as found:
        assert found["d"].maxshape == maxshape
        np.testing.assert_array_equal(found["d"][...], values)
        assert found["d"].attrs["streamh5_missing_chunks"] == 24
    assert streamh5.verify(tmp_path / "b.h5").ok


def test_shrunk_dataset_of_a_new_file_is_salvaged_without_what_was_cut_off(tmp_path: Path) -> None:
    with suppress(Stop), streamh5.File(tmp_path / "a.h5", "w") as file:
        d = file.create_dataset("d", data=numbered(20, 4), maxshape=(None, 4), chunks=(4, 4))
        d.resize(6, 0)
        d.resize(18, 0)
        d[16:] = 7
        raise Stop
    streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "b.h5")
    expected = numbered(18, 4)
    expected[6:16], expected[16:] = 0, 7
    with h5py.File(tmp_path / "b.h5") as found:
        np.testing.assert_array_equal(found["d"][...], expected)


@pytest.mark.parametrize("way", ["append", "rows", "columns"])
def test_incomplete_chunks_of_a_dataset_that_began_empty_are_salvaged(way: str, tmp_path: Path) -> None:
    values = numbered(7, 8)
    with suppress(Stop), streamh5.File(tmp_path / "a.h5", "w") as file:
        d = file.create_dataset("d", (0, 8), "i4", maxshape=(None, 8), chunks=(4, 4))
        if way == "append":
            d.append(values)
        else:
            d.resize(7, 0)
            region = (slice(5), slice(None)) if way == "rows" else (slice(None), slice(6))
            d[region] = values[region]
        raise Stop
    streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "b.h5")
    if way == "rows":
        values[5:] = 0
    elif way == "columns":
        values[:, 6:] = 0
    with h5py.File(tmp_path / "b.h5") as found:
        np.testing.assert_array_equal(found["d"][...], values)


def test_moved_dataset_with_fixed_places_is_salvaged_and_resumed(tmp_path: Path) -> None:
    def write(file: streamh5.File) -> streamh5.Dataset:
        early = file.create_dataset("x", (8,), "i4", chunks=(2,), alloc_time="early", fillvalue=-1)
        if not early.is_stored((0,), (4,)):
            early[:4] = [1, 2, 3, 4]
        file.move("x", "g/y")
        return early

    with suppress(Stop), streamh5.File(tmp_path / "a.h5", "w") as file:
        write(file)
        raise Stop
    (tmp_path / "copy").mkdir()
    for one in tmp_path.glob("a.h5.*"):
        shutil.copy(one, tmp_path / "copy")
    streamh5.salvage(tmp_path / "copy/a.h5.partial", output=tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as found:
        assert found["g/y"][...].tolist() == [1, 2, 3, 4, -1, -1, -1, -1]
    with streamh5.File(tmp_path / "a.h5", "w", resume=True) as file:
        early = write(file)
        assert early.is_stored((0,), (4,))
        early[4:] = [5, 6, 7, 8]
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["g/y"][...].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def interrupted_salvage(path: Path) -> None:
    """Stop a salvage just before the file gets its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFileSink, "commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            streamh5.salvage(path, output=path.with_name("first.h5"))


@pytest.mark.parametrize("n_columns", [3, 4])
@pytest.mark.parametrize("n_rows", [8, 9])
def test_stream_that_began_empty_is_resumed_after_a_salvage_and_again(
    n_rows: int, n_columns: int, tmp_path: Path
) -> None:
    path, values = tmp_path / "a.h5", numbered(21, n_columns)

    def write(stop: int, *, is_interrupted: bool = True) -> int:
        with suppress(Stop), streamh5.File(path, "w", resume=True) as file:
            d = file.create_dataset(
                "d", (0, n_columns), "i4", maxshape=(None, n_columns), chunks=(4, 3), compression="gzip"
            )
            n = d.n_appended
            if stop > n:
                d.append(values[n:stop])
            if is_interrupted:
                raise Stop
        return n

    write(n_rows)
    interrupted_salvage(path)
    assert write(n_rows + 1) == 8
    interrupted_salvage(path)
    assert write(n_rows + 1) == 8
    assert write(9) == 8  # nothing but what was there before
    assert write(21, is_interrupted=False) == 8
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["d"][...], values)


@pytest.mark.parametrize("n_sessions", [2, 3])
def test_moves_and_deletions_that_a_resumed_program_repeats_are_salvaged_once(
    n_sessions: int, tmp_path: Path
) -> None:
    for i in range(n_sessions):
        with suppress(Stop), streamh5.File(tmp_path / "a.h5", "w", resume=True) as file:
            x = file.create_dataset("x", (30,), "i4", chunks=(10,))
            x[:10] = np.arange(10)
            x.attrs["session"] = i
            if i == 1:
                raise Stop
            file.move("x", "y")
            other = file.create_dataset("x", (20,), "i4", chunks=(10,))
            other[:10] = 7
            file.create_group("g")
            del file["g"]
            file["link"] = file["y"]
            if i == 2:
                file["y"].attrs["last"] = True
            raise Stop
    streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as found:
        assert sorted(found) == ["link", "x", "y"]
        assert found["y"][:10].tolist() == list(range(10))
        assert found["x"][:10].tolist() == [7] * 10
        assert found["link"] == found["y"]
        assert found["y"].attrs["session"] == n_sessions - 1
        assert ("last" in found["y"].attrs) == (n_sessions == 3)


@pytest.mark.parametrize("between", ["nothing", "resize", "flush"])
def test_rows_appended_after_data_that_was_given_are_salvaged(between: str, tmp_path: Path) -> None:
    values = numbered(23, 4)
    with suppress(Stop), streamh5.File(tmp_path / "a.h5", "w") as file:
        d = file.create_dataset("d", data=values[:5], maxshape=(None, 4), chunks=(4, 4))
        if between == "resize":
            d.resize(6, 0)
            d[5] = values[5]
        elif between == "flush":
            file.flush()
        d.append(values[6 if between == "resize" else 5 :])
        raise Stop
    output = streamh5.salvage(tmp_path / "a.h5").path
    with h5py.File(output) as found:
        np.testing.assert_array_equal(found["d"][...], values)


@pytest.mark.parametrize("is_salvaged", [False, True], ids=["resumed", "salvaged"])
def test_rows_of_a_region_at_the_end_are_not_taken_for_appended_ones(
    is_salvaged: bool, tmp_path: Path
) -> None:
    values = numbered(60, 4)
    (tmp_path / "first").mkdir()
    path = tmp_path / "first" / "a.h5"
    with streamh5.File(path, "w") as file:
        file.create_dataset("d", data=values[:9], maxshape=(None, 4), chunks=(50, 4))
    with suppress(Stop), streamh5.File(path, "a", threads=1) as file:
        d = file["d"]
        assert isinstance(d, streamh5.Dataset)
        d[...] = values[:9]
        file.session.partial_chunks.keep_written()  # as if memory had run short
        d.append(values[9:20])
        file.session.partial_chunks.keep_written()
        file.session.wait()
        shutil.copytree(path.parent, tmp_path / "killed")
        raise Stop
    path = tmp_path / "killed" / "a.h5"
    if is_salvaged:
        streamh5.salvage(path)
    else:
        with streamh5.File(path, "a", resume=True) as file:
            d = file["d"]
            assert isinstance(d, streamh5.Dataset)
            assert d.n_appended == 9
            d.append(values[9:20])
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["d"][...], values[: 9 if is_salvaged else 20])


def test_object_that_was_moved_through_another_name_of_its_group_keeps_its_attributes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["g/h/c"] = np.arange(4)
        file["b"] = file["g/h"]
    with suppress(Stop), streamh5.File(path, "a") as file:
        file.move("g/h/c", "g/a")
        file["g/a"].attrs["x"] = 1
        file["value"] = 1.5
        raise Stop
    streamh5.salvage(path)
    with h5py.File(path) as found:
        assert list(found["b"]) == []
        assert found["g/a"].attrs["x"] == 1
