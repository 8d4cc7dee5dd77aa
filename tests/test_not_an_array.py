"""Python objects and array-likes that are no data: one of our errors says what to give instead."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import AttributeValueError, DatatypeError, StreamH5Error

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
