"""`FilePlan`: what is planned is what h5py finds, in its order; what is left out leaves out what depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import PathError
from streamh5.format.link import SoftLink
from streamh5.handles.dataset_plan import plan_dataset
from streamh5.handles.file_plan import FilePlan, PlannedDataset, PlannedLink
from streamh5.model.attribute_spec import attribute_spec
from streamh5.model.tree import DatatypeNode, GroupNode


def planned(path: str, values: np.ndarray[tuple[int], np.dtype[np.int32]]) -> PlannedDataset:
    def begin(dataset: streamh5.Dataset) -> None:
        dataset[()] = values

    spec, chain = plan_dataset(path, shape=values.shape, dtype=values.dtype)
    return PlannedDataset(spec, chain, begin=begin)


def full_plan() -> FilePlan:
    return FilePlan(
        {
            "/": GroupNode("/"),
            "/z": GroupNode("/z", track_order=True),
            "/z/type": DatatypeNode("/z/type", np.dtype("<f8")),
            "/z/b": planned("/z/b", np.arange(4, dtype="i4")),
            "/z/a": PlannedLink("/z/b"),
            "/soft": SoftLink("/z/b"),
        },
        {"/": [attribute_spec("title", "x", path="/")], "/z/b": [attribute_spec("n", 3, path="/z/b")]},
    )


def test_everything_planned_is_created_and_read_by_h5py(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        full_plan().create(file)
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file["z"]) == ["type", "b", "a"]
        assert file["z/a"] == file["z/b"]
        assert file["z/b"][...].tolist() == [0, 1, 2, 3]
        assert isinstance(file["z/type"], h5py.Datatype)
        assert file.get("soft", getlink=True).path == "/z/b"
        assert (file.attrs["title"], file["z/b"].attrs["n"]) == ("x", 3)


def test_group_that_is_there_stays_and_is_added_to(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        file.create_group("z").attrs["old"] = 1
        full_plan().create(file)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["z"].attrs["old"] == 1
        assert set(file["z"]) == {"type", "b", "a"}


def test_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("z/b", data=[1])
        with pytest.raises(PathError, match="/z/b"):
            full_plan().create(file)


def test_what_the_guard_suppresses_is_left_out_with_its_links_attributes_and_value(tmp_path: Path) -> None:
    left_out = []

    @contextmanager
    def guard(path: str) -> Iterator[None]:
        try:
            yield
        except PathError:
            left_out.append(path)

    plan = full_plan()
    plan.guard = guard
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        file["z/b"] = SoftLink("/nowhere")
        plan.create(file)
    assert left_out == ["/z/b"]
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file["z"]) == ["b", "type"]  # the hard link /z/a had nothing to lead to
        assert file["z"].get("b", getlink=True).path == "/nowhere"
        assert file.attrs["title"] == "x"
