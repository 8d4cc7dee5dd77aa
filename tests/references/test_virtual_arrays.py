"""References as VirtualiZarr's objects: what its own parser of HDF5 makes, and the data behind it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from virtualizarr.manifests import ManifestArray, ManifestGroup, ManifestStore
from virtualizarr.parsers import HDFParser

import streamh5
from streamh5.errors import ReferencesError
from streamh5.model import object_path
from streamh5.references import virtual_arrays
from tests.references.opened import open_with_zarr
from tests.references.test_kerchunk import FILTERS, INDEXES, smooth
from tests.written import values

pytestmark = pytest.mark.filterwarnings("ignore")  # zarr on its own future, and that of its codecs


def registry(path: Path) -> ObjectStoreRegistry[Any]:
    return ObjectStoreRegistry({"file://": LocalStore()})


def member(group: ManifestGroup, *names: str) -> ManifestArray:
    found: Any = group
    for name in names:
        found = found[name]
    assert isinstance(found, ManifestArray)
    return found


@pytest.mark.parametrize(
    "name", ["single", "implicit", "fixed", "fixed, room to grow", "b-tree", "contiguous"]
)
def test_arrays_are_those_of_the_parser_of_virtualizarr(name: str, tmp_path: Path) -> None:
    keywords = {**INDEXES[name]}
    data = smooth(keywords.pop("shape"))
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        file.attrs["title"] = "a file"
        file.create_dataset("g/x", data=data, **keywords).attrs["units"] = "K"
    assert file.summary is not None
    found = file.summary.to_virtualizarr()
    ours = member(found, "g", "x")
    parsed = HDFParser()(path.as_uri(), registry(path))
    theirs = member(parsed._group, "g", "x")
    assert ours.manifest.dict() == theirs.manifest.dict()
    assert ours.metadata == theirs.metadata
    assert found.metadata == parsed._group.metadata
    store = ManifestStore(registry=registry(path), group=found)
    np.testing.assert_array_equal(open_with_zarr(store, "g/x", zarr_format=3), data)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("dtype", ["<f4", ">i8"])
def test_filters_are_undone_by_zarr(name: str, dtype: str, tmp_path: Path) -> None:
    data = np.repeat(values(dtype, (20, 1)), 50, axis=1)
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        file.create_dataset("x", data=data, chunks=(8, 30), **FILTERS[name])
    assert file.summary is not None
    store = ManifestStore(registry=registry(path), group=file.summary.to_virtualizarr())
    np.testing.assert_array_equal(open_with_zarr(store, "x", zarr_format=3), data)


@pytest.mark.parametrize("name", ["compact", "scalar"])
def test_compact_data_is_found_in_the_object_header(name: str, tmp_path: Path) -> None:
    data = smooth(INDEXES[name]["shape"]) + 7
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        file.create_dataset("x", data=data)
    assert file.summary is not None
    store = ManifestStore(registry=registry(path), group=file.summary.to_virtualizarr())
    np.testing.assert_array_equal(open_with_zarr(store, "x", zarr_format=3), data)


def test_missing_chunks_read_as_the_fill_value(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        dataset = file.create_dataset("x", (4, 10), "<i4", chunks=(2, 10), fillvalue=-3)
        dataset[2:, :] = np.ones((2, 10), "<i4")
    assert file.summary is not None
    store = ManifestStore(registry=registry(path), group=file.summary.to_virtualizarr())
    expected = np.repeat([-3, -3, 1, 1], 10).reshape(4, 10)
    np.testing.assert_array_equal(open_with_zarr(store, "x", zarr_format=3), expected)


def test_virtual_dataset_has_dimensions_attributes_and_mask(tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    data = xr.Dataset(
        {"t": (("y", "x"), smooth((4, 600), "<f4"), {"units": "K", "_FillValue": np.float32(3)})},
        {"y": np.arange(4.0)},
    )
    path = tmp_path / "x.nc"
    summary = data.streamh5.to_netcdf(path)
    virtual = summary.to_virtualizarr().to_virtual_dataset()
    assert virtual["t"].dims == ("y", "x")
    assert virtual["t"].attrs["units"] == "K"
    assert set(virtual.coords) == {"y"}
    store = ManifestStore(registry=registry(path), group=summary.to_virtualizarr())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = xr.open_zarr(store, consolidated=False, zarr_format=3).load()
    xr.testing.assert_identical(opened, xr.open_dataset(path, engine="h5netcdf").load())


def test_strings_are_refused_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        file.create_dataset("t", data=np.array(["a", "b"], object))
        file.create_dataset("x", data=smooth((4,)), chunks=(2,))
    assert file.summary is not None
    with pytest.raises(ReferencesError, match="/t: strings of variable length"):
        file.summary.to_virtualizarr()
    assert set(file.summary.to_virtualizarr(skip=True)) == {"x"}


def test_each_path_of_many_groups_is_looked_at_a_constant_number_of_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_groups = 50
    with streamh5.File(tmp_path / "a.h5") as file:
        for i in range(n_groups):
            file.create_dataset(f"g{i}/inner/x", data=np.arange(8.0), chunks=(4,))
    references = streamh5.read_references(tmp_path / "a.h5")
    split: list[str] = []

    def split_path(path: str) -> tuple[str, ...]:
        split.append(path)
        return object_path.split_path(path)

    monkeypatch.setattr(virtual_arrays, "split_path", split_path)
    tree = references.to_virtualizarr()
    assert len(split) <= 2 * 3 * n_groups + 1
    with h5py.File(tmp_path / "a.h5") as found:
        assert sorted(tree.groups) == sorted(found)
        for name, group in found.items():
            assert list(tree.groups[name].groups) == list(group)
            assert tree.groups[name].groups["inner"].arrays["x"].shape == group["inner/x"].shape
