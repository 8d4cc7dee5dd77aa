"""``File``: modes, what creating tells, what a person sees of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import DestinationExistsError, DestinationMissingError, KeywordError, SpecError
from tests.written import GZIP, assert_every_reader, traces, values


@pytest.mark.parametrize("as_path", [str, Path])
def test_file_at_a_path_of_any_kind_is_written(as_path: Any, tmp_path: Path) -> None:
    with streamh5.File(as_path(tmp_path / "a.h5")) as file:
        file.create_dataset("x", data=np.arange(3), chunks=(2,))
        assert file.filename == str(tmp_path / "a.h5")
    assert traces(tmp_path) == ["a.h5"]
    assert_every_reader(tmp_path / "a.h5", "/x", np.arange(3))


def test_relative_path_is_meant_from_where_the_file_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    file = streamh5.File("a.h5")
    file.create_dataset("x", data=np.arange(3), chunks=(2,))
    monkeypatch.chdir(tmp_path / "other")
    file.close()
    assert traces(tmp_path) == ["a.h5", "other"]
    assert traces(tmp_path / "other") == []


def test_mode_w_replaces_and_x_refuses(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for value in (1, 2):
        with streamh5.File(path, "w") as file:
            file.create_dataset("x", data=np.full(4, value), chunks=(2,))
    with h5py.File(path) as found:
        assert found["x"][()].tolist() == [2] * 4
    with pytest.raises(DestinationExistsError):
        streamh5.File(path, "x")
    with pytest.raises(DestinationExistsError):
        streamh5.File(path)


def test_empty_file_is_an_hdf5_file(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5"):
        pass
    with h5py.File(tmp_path / "a.h5", "r+") as found:
        assert list(found) == []
        found["x"] = 5
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"][()] == 5


def test_create_dataset_of_data_takes_its_shape_and_dtype(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    given: dict[str, Any] = {
        "array": values(">f4", (5, 6)),
        "list": [[1, 2], [3, 4]],
        "int": 5,
        "float": 2.5,
        "bool": True,
        "complex": 1 + 2j,
    }
    with streamh5.File(path) as file:
        for name, data in given.items():
            file.create_dataset(name, data=data)
        file.create_dataset("as f8", data=[1, 2], dtype="f8")
    for name, data in given.items():
        assert_every_reader(path, f"/{name}", np.asarray(data))
    assert_every_reader(path, "/as f8", np.array([1.0, 2.0]))


def test_handles_tell_what_was_asked_for(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("g/x", (10, 7), ">i2", chunks=(4, 3), **GZIP)
        assert (dataset.name, dataset.shape, dataset.dtype) == ("/g/x", (10, 7), np.dtype(">i2"))
        assert (dataset.chunks, dataset.ndim) == ((4, 3), 2)
        assert file["g/x"] is dataset
        assert file["g"].name == "/g"
        assert "g/x" in file
        assert "y" not in file
        with pytest.raises(KeyError, match="/y"):
            _ = file["y"]
        assert "/g/x" in repr(dataset)
        assert "a.h5" in repr(file)
        assert file.summary is None


def test_summary_tells_sizes_that_readers_confirm(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        file.create_dataset("x", data=np.zeros((100, 100)), chunks=(30, 30), **GZIP)
        file.create_dataset("y", data=np.arange(10), chunks=(10,))
    summary = file.summary
    assert summary is not None
    assert summary is file.close()
    assert summary.path == str(path)
    assert summary.nbytes == 80_080
    assert summary.file_nbytes == path.stat().st_size
    with h5py.File(path) as found:
        sizes = [found[name].id.get_storage_size() for name in ("x", "y")]
    assert [dataset.stored_nbytes for dataset in summary.datasets] == sizes
    assert summary.stored_nbytes == sum(sizes)
    assert summary.ratio == 80_080 / sum(sizes)
    assert [dataset.index for dataset in summary.datasets] == ["Fixed Array", "Single Chunk"]
    assert summary.n_chunks == 17
    assert summary.seconds > 0
    assert summary.nbytes_per_second == summary.nbytes / summary.seconds
    for text in (repr(summary), summary._repr_html_()):
        for word in (str(path), "/x", "/y", "Fixed Array", "(30, 30)"):
            assert word in text


def test_path_with_markup_is_escaped_in_the_notebook(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "<b>.h5") as file:
        file.create_dataset("<i>x", data=np.arange(4), chunks=(2,))
    assert file.summary is not None
    html = file.summary._repr_html_()
    assert "<b>.h5" not in html
    assert "<i>x" not in html


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("max_memory", [1, 10_000, None])
def test_threads_and_memory_change_nothing_in_what_is_read(
    threads: int, max_memory: int | None, tmp_path: Path
) -> None:
    data = values("f8", (60, 50))
    with streamh5.File(tmp_path / "a.h5", threads=threads, max_memory=max_memory) as file:
        dataset = file.create_dataset("x", data.shape, "f8", chunks=(7, 11), **GZIP)
        for row in data:
            dataset.append(row)
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"][()].tobytes() == data.tobytes()


def test_modes_of_h5py_are_those_of_the_same_meaning(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(DestinationMissingError, match="mode 'a' creates it"):
        streamh5.File(path, "r+")
    with pytest.raises(SpecError, match="mode 'a' adds to files that have a path"):
        streamh5.File(io.BytesIO(), "r+")
    assert traces(tmp_path) == []
    with streamh5.File(path, "w-") as file:
        file["x"] = 1
        assert file.mode == "r+"
    with pytest.raises(DestinationExistsError):
        streamh5.File(path, "w-")
    with streamh5.File(path, "r+") as file:
        file["y"] = 2
    with h5py.File(path) as found:
        assert [found[name][()] for name in found] == [1, 2]


@pytest.mark.parametrize(
    ("libver", "expected"),
    [
        ("earliest", "v108"),
        ("latest", "v200"),
        ("v112", "v110"),
        ("v114", "v110"),
        (("v108", "latest"), "v108"),
        (("v110", "v114"), "v110"),
        (("earliest", "v110"), "v108"),
    ],
)
def test_libver_of_h5py_is_the_oldest_library_that_reads_the_file(
    libver: Any, expected: str, tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "a.h5", libver=libver) as file:
        assert file.libver == expected
        file.create_dataset("x", data=values("i4", (40, 30)), chunks=(7, 8), compression="gzip")
    assert_every_reader(tmp_path / "a.h5", "/x", values("i4", (40, 30)))


@pytest.mark.parametrize(
    "libver", ["v106", None, 110, ("v110",), ("v200", "v110"), ("v110", 3), ["v110", "v110"]]
)
def test_libver_that_is_none_of_h5py_is_refused(libver: Any, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="libver"):
        streamh5.File(tmp_path / "a.h5", libver=libver)


@pytest.mark.parametrize(
    ("keywords", "advice"),
    [
        ({"driver": "core"}, "BytesIO"),
        ({"swmr": True}, "flush"),
        ({"rdcc_nbytes": 1 << 20}, "max_memory"),
        ({"userblock_size": 512}, "h5jam"),
        ({"fs_strategy": "page", "fs_persist": True}, "never reuses space"),
    ],
)
def test_keyword_of_h5py_that_is_not_here_is_refused_with_the_reason(
    keywords: Any, advice: str, tmp_path: Path
) -> None:
    with pytest.raises(KeywordError, match=advice):
        streamh5.File(tmp_path / "a.h5", **keywords)
    file: Any = streamh5.File(tmp_path / "a.h5")
    with file, pytest.raises(KeywordError, match="h5py for data in files"):
        file.create_dataset("x", (3,), external="other.bin")
