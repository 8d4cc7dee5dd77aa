"""Objects that are moved or deleted while the file is written, and others that get their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import streamh5

if TYPE_CHECKING:
    from pathlib import Path

LONG = np.arange(100_000.0)


def long_dataset(file: streamh5.File) -> streamh5.Dataset:
    return file.create_dataset("x", data=LONG, chunks=(10_000,))


@pytest.mark.parametrize("way", ["move", "alias"])
def test_new_dataset_under_a_former_name_leaves_the_first_one_whole(way: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, "w") as file:
        first = long_dataset(file)  # its header and its index have reserved places, which belong to its path
        if way == "move":
            file.move("x", "y")
        else:
            file["y"] = first
            del file["x"]
        file.create_dataset("x", data=np.arange(5), chunks=(5,))
    with h5py.File(path) as file:
        assert np.array_equal(file["y"], LONG)
        assert np.array_equal(file["x"], np.arange(5))
    assert streamh5.verify(path).n_chunks == 11


def test_reference_to_an_object_in_a_deleted_group_becomes_null(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("g/x", data=[1, 2])
        file.attrs["to"] = streamh5.Reference("/g/x")
        del file["g"]
    with h5py.File(tmp_path / "a.h5") as file:
        assert not file.attrs["to"]


@pytest.mark.parametrize("is_stored", [False, True], ids=["new", "stored"])
@pytest.mark.parametrize("way", ["move", "delete"])
def test_users_of_a_named_datatype_keep_it_when_another_gets_its_name(
    way: str, is_stored: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    values = np.arange(4, dtype="f4")
    with streamh5.File(path, "w") as file:
        file["t"] = np.dtype("f4")
        if is_stored:
            file.flush()
        file.create_dataset("d", data=values, dtype=file["t"])
        file.attrs.create("a", 1.5, dtype=file["t"])
        if way == "move":
            file.move("t", "u")
        else:
            del file["t"]
        file["t"] = np.dtype("i8")
    with h5py.File(path) as file:
        assert np.array_equal(file["d"], values)
        assert file["d"].dtype == np.dtype("f4")
        assert file.attrs["a"] == 1.5
        assert file["t"].dtype == np.dtype("i8")
        assert file["d"].id.get_type().committed() == (way == "move")
    assert streamh5.verify(path).ok


def test_stored_reference_to_a_deleted_object_does_not_lead_to_the_next_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = [1], [2]
        refs = file.create_dataset("refs", (3,), h5py.ref_dtype)
        refs[0], refs[1] = file["a"].ref, file["b"].ref
    with streamh5.File(path, "a") as new:
        del new["a"]
        new["a"] = [5]
        dataset = new["refs"]
        assert isinstance(dataset, streamh5.Dataset)
        dataset[2] = streamh5.Reference("/b")
    with h5py.File(path) as file:
        assert not file["refs"][0]
        assert [file[one].name for one in file["refs"][1:]] == ["/b", "/b"]


def test_header_of_data_with_heap_objects_changes_after_a_flush(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, "w") as file:
        data = {
            "text": file.create_dataset("text", data="hello"),
            "texts": file.create_dataset(
                "texts", data=np.array(["a", "bc"], object), dtype=h5py.string_dtype()
            ),
            "region": file.create_dataset(
                "region", data=streamh5.RegionReference("/texts", np.s_[0:1]), dtype=h5py.regionref_dtype
            ),
        }
        file.flush()
        for dataset in data.values():
            dataset.attrs["later"] = 1
    with h5py.File(path) as file:
        assert file["text"][()] == b"hello"
        assert file["texts"].asstr()[...].tolist() == ["a", "bc"]
        assert file[file["region"][()]].name == "/texts"
        assert all(file[name].attrs["later"] == 1 for name in data)


def test_moved_references_in_a_header_change_again_after_a_flush(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["t"] = np.arange(3)
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        kind = h5py.h5t.py_create(h5py.regionref_dtype, logical=True)
        made = h5py.h5d.create(file.id, b"r", kind, h5py.h5s.create_simple((1,)), properties)
        h5py.Dataset(made)[0] = file["t"].regionref[0:2]
    with streamh5.File(path, "a") as new:
        new.move("t", "u")
        new.flush()
        new["r"].attrs["a"] = 3
        new.flush()
        new["u"].attrs["b"] = 4
    with h5py.File(path) as file:
        region = file["r"][0]
        assert file[region].name == "/u"
        assert file["u"][region].tolist() == [0, 1]
