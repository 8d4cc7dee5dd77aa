"""Values, sizes and objects that cannot be data: one of our errors, which says what to give instead."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.arguments import memory_size
from streamh5.errors import AttributeValueError, DatatypeError, LimitError, StreamH5Error
from streamh5.model import attribute_spec, block_value

INSTEAD: dict[str, tuple[Callable[[], Any], str]] = {
    "dict": (lambda: {"a": 1}, "create_group"),
    "Path": (lambda: Path("a"), r"str\(path\)"),
    "datetime": (lambda: datetime.datetime(2020, 1, 1), "numpy.datetime64"),
    "date": (lambda: datetime.date(2020, 1, 1), "numpy.datetime64"),
    "timedelta": (lambda: datetime.timedelta(1), "numpy.timedelta64"),
    "generator": (lambda: (i for i in range(3)), "append"),
    "map": (lambda: map(int, "123"), "append"),
    "set": (lambda: {1, 2}, r"list\(value\)"),
    "dict_values": ({1: 2}.values, r"list\(value\)"),
    "None": (lambda: None, "leave it out"),
}

PLACES: dict[str, Callable[[streamh5.File, Any], object]] = {
    "item": lambda file, value: file.__setitem__("new", value),
    "data": lambda file, value: file.create_dataset("new", data=value),
    "data of a dtype": lambda file, value: file.create_dataset("new", data=value, dtype="f8"),
    "attribute": lambda file, value: file.attrs.__setitem__("new", value),
    "attribute of a dtype": lambda file, value: file.attrs.create("new", value, dtype="f8"),
    "attribute of a shape": lambda file, value: file.attrs.create("new", value, shape=(2, 2)),
    "rows": lambda file, value: file["x"].append(value),  # type: ignore[union-attr]
    "region": lambda file, value: file["x"].__setitem__(slice(0, 4), value),  # type: ignore[index]
    "whole": lambda file, value: file["y"].__setitem__(..., value),  # type: ignore[index]
}


def _file(path: Path) -> streamh5.File:
    file = streamh5.File(path)
    file.create_dataset("x", (4,), "f8", chunks=(4,))
    file["y"] = np.arange(3.0)
    return file


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", INSTEAD)
def test_object_that_is_no_array_is_refused_with_what_to_give(kind: str, place: str, tmp_path: Path) -> None:
    if kind == "None" and place.startswith("data"):
        pytest.skip("None is no data there")
    make, instead = INSTEAD[kind]
    with _file(tmp_path / "a.h5") as file:
        with pytest.raises(StreamH5Error, match=f"(?s)(/|attribute).*{instead}") as caught:
            PLACES[place](file, make())
        assert len(str(caught.value)) <= 300
    with h5py.File(tmp_path / "a.h5") as found:
        assert sorted(found) == ["x", "y"]
        assert not found.attrs
        assert found["y"][()].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["dict", "Path", "date", "None"])
def test_list_of_objects_is_refused_with_what_to_give(kind: str, tmp_path: Path) -> None:
    make, instead = INSTEAD[kind]
    with _file(tmp_path / "a.h5") as file:
        with pytest.raises(DatatypeError, match=f"/new: .*{instead}"):
            file["new"] = [make(), make()]
        with pytest.raises(AttributeValueError, match=f"'new'.*{instead}"):
            file.attrs["new"] = [make(), make()]


def test_integers_that_are_objects_are_data_as_the_message_says(tmp_path: Path) -> None:
    value = np.array([1, 2], object)
    with _file(tmp_path / "a.h5") as file:
        with pytest.raises(DatatypeError, match=r"/new: .* give an array of a dtype of integers"):
            file["new"] = value
        file["new"] = value.astype("i8")
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["new"][()].tolist() == [1, 2]


@pytest.mark.parametrize("place", PLACES)
def test_dataset_of_a_closed_file_is_refused_with_the_cause(place: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "closed.h5", "w") as closed:
        gone = closed.create_dataset("gone", data=np.arange(4.0))
    with _file(tmp_path / "a.h5") as file:
        with pytest.raises(StreamH5Error, match=r"(/new|'new'|/x|/y).*(identifier|closed|Unable)") as caught:
            PLACES[place](file, gone)
        cause = caught.value.__cause__
        assert cause is not None
        assert not isinstance(cause, StreamH5Error)
    with h5py.File(tmp_path / "a.h5") as found:
        assert sorted(found) == ["x", "y"]
        assert not found.attrs


def test_datatype_of_a_closed_file_is_refused_with_the_cause(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "closed.h5", "w") as closed:
        closed["t"] = np.dtype("f4")
        gone = closed["t"]
    with _file(tmp_path / "a.h5") as file:
        with pytest.raises(DatatypeError, match=r"/new: .* is not a dtype"):
            file.create_dataset("new", (3,), gone)
        with pytest.raises(AttributeValueError, match="'new'"):
            file.attrs.create("new", 1, dtype=gone)


def test_dataset_of_an_open_file_is_data(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "source.h5", "w") as source, streamh5.File(tmp_path / "a.h5") as file:
        file["x"] = source.create_dataset("x", data=np.arange(4.0))
        file.attrs["x"] = source["x"]
        file["empty"] = source.create_dataset("empty", data=h5py.Empty("f4"))
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"][()].tolist() == found.attrs["x"].tolist() == [0, 1, 2, 3]
        assert found["empty"].shape is None


HUGE = 2**45


def test_data_that_memory_cannot_hold_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _file(tmp_path / "a.h5") as file:
        with pytest.raises(
            LimitError, match=rf"/new: chunks=False keeps {8 * HUGE:,} bytes .* leave chunks out"
        ):
            file.create_dataset("new", (HUGE,), "f8", chunks=False)
        assert "new" not in file
    with h5py.File(tmp_path / "a.h5") as found:
        assert sorted(found) == ["x", "y"]
    monkeypatch.setattr(memory_size, "memory_nbytes", lambda: 2**62)
    file = streamh5.File(tmp_path / "b.h5")
    new = file.create_dataset("new", (HUGE,), "f8", chunks=False)
    for write in (lambda: new.__setitem__(slice(0, 4), 1), lambda: new.append(1.0)):
        with pytest.raises(
            LimitError, match=rf"/new: its {8 * HUGE:,} bytes .* create it with chunks"
        ) as caught:
            write()
        assert isinstance(caught.value.__cause__, MemoryError)
    file.abort()


def test_summary_names_text_and_references_as_inspect_does(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "source.h5", "w") as source:
        source["text"] = ["a", "bc"]
        source["numbers"] = np.arange(3, dtype=">i2")
        source.create_dataset("reference", data=[source["text"].ref], dtype=h5py.ref_dtype)
        region = source["text"].regionref[0:1]
        source.create_dataset("region", data=[region], dtype=h5py.regionref_dtype)
    summary = streamh5.convert(tmp_path / "source.h5", tmp_path / "a.h5").summary
    expected = {one.path: one.dtype for one in streamh5.inspect(tmp_path / "a.h5").datasets}
    assert expected == {
        "/text": "UTF-8 string",
        "/numbers": "big-endian int16",
        "/reference": "object reference",
        "/region": "region reference",
    }
    assert {one["path"]: one["dtype"] for one in summary.to_dict()["datasets"]} == expected
    for shown in (repr(summary), summary._repr_html_()):
        assert all(name in shown for name in expected.values())
        assert "|V" not in shown


REFUSED: dict[str, tuple[Callable[[streamh5.File], object], str]] = {
    "header_slack": (lambda file: streamh5.File("b.h5", header_slack=-5), "header_slack must be at least 0"),
    "num_workers": (
        lambda file: streamh5.to_fixed_h5("b.h5", "/x", np.ones(4), num_workers="2"),
        "num_workers must be an integer",
    ),
    "alloc_time": (
        lambda file: file.create_dataset("new", (3,), alloc_time=np.arange(3)),  # type: ignore[arg-type]
        "/new: alloc_time must be",
    ),
    "soft link": (lambda file: file.__setitem__("new", streamh5.SoftLink(5)), "SoftLink"),  # type: ignore[arg-type]
    "complex": (lambda file: streamh5.native_complex_dtype("zz"), "'zz' is not a dtype"),
    "filter_mask": (
        lambda file: file["x"].write_direct_chunk((0,), bytes(32), "1"),  # type: ignore[union-attr,arg-type]
        "/x: the chunk at .* filter mask",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_keyword_of_another_type_is_refused(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, match = REFUSED[what]
    with _file(tmp_path / "a.h5") as file, pytest.raises(StreamH5Error, match=match):
        call(file)
    with h5py.File(tmp_path / "a.h5") as found:
        assert sorted(found) == ["x", "y"]
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]


class _Rows:
    """An array that is an iterator, too, as numpy's `flatiter`."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.arange(4.0)

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> float:
        raise StopIteration


@pytest.mark.parametrize("make", [lambda: np.arange(4.0).reshape(2, 2).flat, _Rows])
def test_iterator_that_is_an_array_is_data_as_in_h5py(make: Callable[[], Any], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as theirs, _file(tmp_path / "a.h5") as file:
        for one in (theirs, file):
            one["new"] = make()
            one.attrs["new"] = make()
        file["x"][0:4] = make()  # type: ignore[index]
    with h5py.File(tmp_path / "a.h5") as found, h5py.File(tmp_path / "b.h5") as theirs:
        np.testing.assert_array_equal(found["new"][()], theirs["new"][()])
        np.testing.assert_array_equal(found.attrs["new"], theirs.attrs["new"])
        np.testing.assert_array_equal(found["x"][()], theirs["new"][()])


@pytest.mark.parametrize(
    ("module", "write"),
    [
        (attribute_spec, lambda file: file.attrs.__setitem__("new", np.arange(3))),
        (block_value, lambda file: file["x"].__setitem__(slice(0, 4), np.ma.array([1, 2, 3, 4]))),
        (block_value, lambda file: file["x"].__setitem__(slice(0, 4), [1, 2, 3, 4])),
    ],
)
def test_mistake_of_the_package_is_not_taken_for_one_of_the_value(
    module: Any, write: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: Any) -> Any:
        raise AttributeError("a mistake")

    with _file(tmp_path / "a.h5") as file:
        with monkeypatch.context() as patched:
            for name in ("encode_parts", "cast_elements", "_holds"):
                patched.setattr(module, name, mistaken, raising=False)
            with pytest.raises(AttributeError, match=r"^a mistake$"):
                write(file)
        file.attrs["other"] = 1
    with h5py.File(tmp_path / "a.h5") as found:
        assert list(found.attrs) == ["other"]
        assert found["x"][()].tolist() == [0, 0, 0, 0]
