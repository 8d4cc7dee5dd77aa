"""What a person can get wrong is an error of ours, before a block is computed or a file is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import streamh5
from streamh5 import errors
from tests.written import traces


class Counted:
    """A lazily computed array that counts how many of its blocks were computed."""

    def __init__(self, dtype: Any = "f4", shape: Any = (12, 8), chunks: Any = (4, 4)) -> None:
        self.n_computed = 0
        self.array = da.zeros(shape, dtype=dtype, chunks=chunks).map_blocks(
            self._count, dtype=dtype, meta=np.empty((0,) * len(shape), dtype)
        )

    def _count(self, block: NDArray[Any]) -> NDArray[Any]:
        self.n_computed += 1
        return block


KEYWORDS: list[tuple[dict[str, Any], type[errors.StreamH5Error], str]] = [
    ({"chunks": (4,)}, errors.ChunkShapeError, r"\(4,\).*1 dim"),
    ({"chunks": (4, 4, 4)}, errors.ChunkShapeError, "3 dim"),
    ({"chunks": (0, 4)}, errors.ChunkShapeError, "positive"),
    ({"chunks": (-4, 4)}, errors.ChunkShapeError, "positive"),
    ({"chunks": (13, 4)}, errors.ChunkShapeError, "larger"),
    ({"chunks": (4.0, 4)}, errors.ChunkShapeError, "int"),
    ({"chunks": "small"}, errors.ChunkShapeError, "small"),
    ({"chunks": False}, errors.ChunkShapeError, "chunks"),
    ({"compression": "zip"}, errors.FilterError, "zip"),
    ({"compression": "gzip", "compression_opts": 10}, errors.FilterError, "10"),
    ({"compression": "gzip", "compression_opts": -1}, errors.FilterError, "-1"),
    ({"compression": "gzip", "compression_opts": "high"}, errors.FilterError, "high"),
    ({"compression": "gzip", "compression_opts": 1.5}, errors.FilterError, "1.5"),
    ({"compression": 10}, errors.FilterError, "10"),
    ({"compression": 99_999}, errors.FilterError, "99"),
    ({"compression": None, "compression_opts": 4}, errors.FilterError, "compression_opts"),
    ({"compression": object()}, errors.FilterError, "object"),
    ({"fillvalue": [1, 2]}, errors.FillValueError, "scalar"),
    ({"fillvalue": "a"}, errors.FillValueError, "'a'"),
    ({"fillvalue": 1j}, errors.FillValueError, "1j"),
    ({"fillvalue": 1e300}, errors.FillValueError, "float32"),
    ({"attrs": {"": 1}}, errors.AttributeValueError, "name"),
    ({"attrs": {"a": object()}}, errors.AttributeValueError, "'a'"),
    ({"attrs": [1, 2]}, errors.SpecError, "dictionary"),
    ({"attrs": 5}, errors.SpecError, "dictionary"),
    ({"scheduler": "processes"}, errors.SchedulerError, "process"),
    ({"scheduler": "nonsense"}, errors.SchedulerError, "nonsense"),
    ({"scheduler": 5}, errors.SchedulerError, "5"),
    ({"sync": "always"}, errors.SpecError, "always"),
    ({"unknown": 1}, errors.SpecError, "unknown"),
]


@pytest.mark.parametrize(("keywords", "error", "words"), KEYWORDS, ids=lambda v: str(v)[:60])
@pytest.mark.parametrize("compute", [True, False])
def test_wrong_keyword_is_refused_before_any_work(
    compute: bool, keywords: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    source = Counted()
    if not compute and "scheduler" in keywords:
        pytest.skip("the scheduler is chosen later")
    with pytest.raises(error, match=words):
        streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", source.array, compute=compute, **keywords)
    assert source.n_computed == 0
    assert traces(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    ["", "/", "//", ".", "/.", "..", "/a/../x", "./x", "a/./b", "a\0b", "\ud800", 5, None, b"x\0", ("a",)],
    ids=repr,
)
def test_dataset_name_that_hdf5_cannot_hold_is_refused_before_any_work(name: Any, tmp_path: Path) -> None:
    source = Counted()
    for call in (
        lambda: streamh5.to_fixed_h5(tmp_path / "a.h5", name, source.array),
        lambda: streamh5.to_fixed_h5(tmp_path / "a.h5", {name: source.array}),
        lambda: source.array.to_fixed_h5(tmp_path / "a.h5", name),
    ):
        with pytest.raises(errors.PathError):
            call()
    assert source.n_computed == 0
    assert traces(tmp_path) == []
    with streamh5.File(tmp_path / "b.h5") as file:
        with pytest.raises(errors.PathError):
            file.create_dataset(name, (3,), "i4")
        with pytest.raises(errors.PathError):
            file.create_group(name)


@pytest.mark.parametrize("names", [("x", "/x"), ("x/y", "x"), ("x", "x/y"), ("a/b/c", "a/b"), ("x", "//x/")])
def test_dataset_names_that_collide_are_refused_before_any_work(
    names: tuple[str, str], tmp_path: Path
) -> None:
    source = Counted()
    with pytest.raises(errors.PathError):
        streamh5.to_fixed_h5(tmp_path / "a.h5", dict.fromkeys(names, source.array))
    assert source.n_computed == 0
    assert traces(tmp_path) == []


def _arguments() -> Iterator[Any]:
    array = da.zeros((4, 4), chunks=(2, 2))
    yield ()
    yield ("/x",)
    yield (array,)
    yield (array, "/x")
    yield ("/x", array, "/y", array)
    yield ("/x", None)
    yield ({},)
    yield ({"/x": array, "/y": {"z": array}},)
    yield ({"/x": array}, array)
    yield ([("/x", array)],)


@pytest.mark.parametrize("arguments", list(_arguments()), ids=lambda a: str(a)[:50])
def test_arguments_that_are_no_arrays_are_refused(arguments: tuple[Any, ...], tmp_path: Path) -> None:
    with pytest.raises((errors.SourceError, errors.PathError)):
        streamh5.to_fixed_h5(tmp_path / "a.h5", *arguments)
    assert traces(tmp_path) == []


def test_nan_chunks_are_refused_with_what_to_call(tmp_path: Path) -> None:
    source = Counted(shape=(12,), chunks=(4,))
    array = source.array[source.array > 1]
    with pytest.raises(errors.UnknownChunksError, match=r"compute_chunk_sizes\(\)"):
        array.to_fixed_h5(tmp_path / "a.h5", "/x")
    assert source.n_computed == 0
    assert traces(tmp_path) == []


@pytest.mark.parametrize("dtype", ["O", "V0"])
def test_dtype_that_cannot_be_written_is_named(dtype: str, tmp_path: Path) -> None:
    array = da.from_array(np.zeros(4, dtype), chunks=2)
    named = str(np.dtype(dtype)).replace("|", r"\|")
    with pytest.raises(errors.DatatypeError, match=f"/x.*{named}"):
        array.to_fixed_h5(tmp_path / "a.h5", "/x")
    assert traces(tmp_path) == []
    with streamh5.File(tmp_path / "b.h5") as file, pytest.raises(errors.DatatypeError, match="/x"):
        file.create_dataset("x", (4,), dtype)


@pytest.mark.parametrize(
    ("dtype", "fillvalue", "fits"),
    [
        ("i4", np.nan, False),
        ("i4", 1.5, False),
        ("i4", 1.0, True),
        ("i4", 2**31 - 1, True),
        ("i4", 2**31, False),
        ("i4", -(2**31) - 1, False),
        ("u1", 255, True),
        ("u1", 256, False),
        ("u1", -1, False),
        ("u8", 2**64 - 1, True),
        ("u8", 2**64, False),
        ("i8", 2**63, False),
        ("i8", float(2**63), False),
        ("i8", np.inf, False),
        ("?", 2, False),
        ("?", True, True),
        ("?", 1, True),
        ("f4", 0.1, True),
        ("f4", np.nan, True),
        ("f4", -np.inf, True),
        ("f4", 1e39, False),
        ("f2", 65504, True),
        ("f2", 1e5, False),
        ("c8", 1j, True),
        ("c8", 1e39j, False),
        ("f8", 1j, False),
        ("i4", "5", False),
        ("i4", None, True),
        ("i4", np.array(5), True),
        ("i4", np.array([5]), False),
    ],
)
def test_fill_value_is_taken_only_when_the_dtype_holds_it(
    dtype: str, fillvalue: Any, fits: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        if not fits:
            with pytest.raises(errors.FillValueError, match="/x"):
                file.create_dataset("x", (4,), dtype, fillvalue=fillvalue)
            return
        file.create_dataset("x", (4,), dtype, fillvalue=fillvalue)
    with h5py.File(path) as found:
        expected = np.full(4, 0 if fillvalue is None else fillvalue, dtype)
        np.testing.assert_array_equal(found["x"][()], expected)
        np.testing.assert_array_equal(found["x"].fillvalue, expected[0])


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ((-1,), errors.ShapeError),
        ((3, None), errors.ShapeError),
        ((1.5,), errors.ShapeError),
        ("ab", errors.ShapeError),
        (((1, 2),), errors.ShapeError),
        ((1,) * 33, errors.LimitError),
        ((2**64,), errors.LimitError),
        (1.5, errors.ShapeError),
    ],
)
def test_shape_that_cannot_be_is_refused(shape: Any, error: type[Exception], tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(error, match="/x"):
            file.create_dataset("x", shape, "i4")
        assert "x" not in file


@pytest.mark.parametrize(("extent", "fits"), [(2**30 - 1, True), (2**30, False), (2**30 + 1, False)])
def test_chunk_of_4_gib_is_refused_and_below_is_not(extent: int, fits: bool, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        create: Callable[[], Any] = lambda: file.create_dataset(  # noqa: E731
            "x", (2**31,), "f4", chunks=(extent,)
        )
        if fits:
            create()
            return
        with pytest.raises(errors.LimitError, match=f"{extent * 4:,}"):
            create()


def test_shape_that_differs_from_the_data_is_refused(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(errors.ShapeError, match=r"/x.*\(4,\)"):
            file.create_dataset("x", (3,), data=np.zeros(4))
        file.create_dataset("y", (4,), data=np.zeros(4))


@pytest.mark.parametrize("path", [None, 5, "a\0b", b"a\0b", ["a.h5"], object()], ids=repr)
def test_destination_that_is_no_path_is_refused_before_any_work(path: Any) -> None:
    source = Counted()
    with pytest.raises(errors.SpecError, match="path"):
        streamh5.to_fixed_h5(path, "/x", source.array)
    with pytest.raises(errors.SpecError, match="path"):
        streamh5.File(path)
    assert source.n_computed == 0


@pytest.mark.parametrize("mode", ["r", "wb", "", None, ["w"]])
def test_mode_that_is_none_of_ours_is_refused(mode: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.SpecError, match="mode"):
        streamh5.File(tmp_path / "a.h5", mode)
    assert traces(tmp_path) == []


@pytest.mark.parametrize("keywords", [{"threads": 0}, {"threads": -1}, {"max_memory": 0}, {"max_memory": -5}])
def test_file_without_threads_or_memory_is_refused(keywords: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(errors.SpecError):
        streamh5.File(tmp_path / "a.h5", **keywords)  # type: ignore[arg-type]
    assert traces(tmp_path) == []


def test_destination_that_exists_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"old")
    source = Counted()
    for compute in (True, False):
        with pytest.raises(errors.DestinationExistsError, match=r"a\.h5 exists.*overwrite=True") as caught:
            source.array.to_fixed_h5(tmp_path / "a.h5", "/x", compute=compute)
        assert isinstance(caught.value, FileExistsError)
    with pytest.raises(errors.DestinationExistsError):
        streamh5.File(tmp_path / "a.h5", "x")
    assert source.n_computed == 0
    assert traces(tmp_path) == ["a.h5"]
    assert (tmp_path / "a.h5").read_bytes() == b"old"


def test_directory_that_is_missing_is_refused_before_any_work(tmp_path: Path) -> None:
    source = Counted()
    with pytest.raises(errors.DestinationMissingError, match="does not exist") as caught:
        source.array.to_fixed_h5(tmp_path / "none" / "a.h5", "/x")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(errors.DestinationMissingError):
        streamh5.File(tmp_path / "none" / "a.h5", "w")
    (tmp_path / "file").touch()
    with pytest.raises(errors.SinkError):
        streamh5.File(tmp_path / "file" / "a.h5", "w")
    assert source.n_computed == 0
    assert traces(tmp_path) == ["file"]


def test_destination_that_is_a_directory_is_refused_before_any_work(tmp_path: Path) -> None:
    source = Counted()
    (tmp_path / "d.h5").mkdir()
    for overwrite in (False, True):
        with pytest.raises(errors.SinkError, match="directory"):
            source.array.to_fixed_h5(tmp_path / "d.h5", "/x", overwrite=overwrite)
    assert source.n_computed == 0
    assert traces(tmp_path) == ["d.h5"]


def test_directory_without_permission_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = Counted()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: real(path, mode) and Path(path) != tmp_path)
    with pytest.raises(errors.SinkError, match="permission"):
        source.array.to_fixed_h5(tmp_path / "a.h5", "/x")
    assert source.n_computed == 0
    assert traces(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here")
def test_directory_that_takes_no_files_is_refused_before_any_work() -> None:
    source = Counted()
    with pytest.raises(errors.SinkError, match="cannot write /proc"):  # not even for root
        source.array.to_fixed_h5("/proc/self/a.h5", "/x")
    assert source.n_computed == 0


def test_attrs_of_arrays_that_are_not_there_are_refused(tmp_path: Path) -> None:
    source = Counted()
    with pytest.raises(errors.SpecError, match="'/z'"):
        streamh5.to_fixed_h5(tmp_path / "a.h5", {"/x": source.array}, attrs={"/z": {"a": 1}})
    assert source.n_computed == 0
    assert traces(tmp_path) == []


def test_dask_array_as_data_is_refused_with_what_to_call(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, pytest.raises(errors.SpecError, match="to_fixed_h5"):
        file.create_dataset("x", data=da.zeros(4))


def test_every_error_is_also_a_builtin_and_in_the_tree() -> None:
    leaves = [getattr(errors, name) for name in errors.__all__ if name != "StreamH5Error"]
    for leaf in leaves:
        assert issubclass(leaf, errors.StreamH5Error)
        assert any(base.__module__ == "builtins" for base in leaf.__mro__[1:-3]), leaf
        assert f" {leaf.__name__} " in f"{errors.__doc__} "
