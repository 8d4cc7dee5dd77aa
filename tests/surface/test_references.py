"""Object and region references: attribute values, datasets, members of compounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import Reference, RegionReference
from streamh5.errors import BlockError, DatatypeError, PathError, SpecError
from tests.readers.hdf5_tools import repacks

USE = np.dtype([("where", h5py.ref_dtype), ("axis", "i4")])


def test_references_as_attribute_values_lead_to_their_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        file.attrs["one"] = Reference("g/x")
        file.attrs["list"] = [Reference("/g/x"), Reference("/g")]
        file.attrs["lists"] = [[Reference("/g")], [], [Reference("/"), Reference("/g/x")]]
        file.attrs["array"] = np.array([[Reference("/g"), None]], h5py.ref_dtype)
        file.attrs["uses"] = np.array([(Reference("/g/x"), 1), (None, 2)], USE)
        file["g/x"] = np.arange(5)
    with h5py.File(path) as found:
        names = found.attrs
        assert found[names["one"]] == found["g/x"]
        assert [found[one] for one in names["list"]] == [found["g/x"], found["g"]]
        lists: Any = names["lists"]
        assert [[found[one].name for one in part] for part in lists] == [["/g"], [], ["/", "/g/x"]]
        assert names["array"].shape == (1, 2)
        assert found[names["array"][0, 0]] == found["g"]
        assert not names["array"][0, 1]
        assert found[names["uses"]["where"][0]] == found["g/x"]
        assert names["uses"]["axis"].tolist() == [1, 2]


@pytest.mark.parametrize("n", [1, 3, 2000], ids=["scalar-like", "compact", "contiguous"])
def test_dataset_of_references_leads_to_its_objects(n: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    targets = [f"/g/{i % 7}" for i in range(n)]
    with streamh5.File(path) as file:
        file["refs"] = np.array([Reference(one) for one in targets], object)
        uses = file.create_dataset("uses", (n,), USE)
        uses[0] = np.array((Reference("/g"), 7), USE)
        for i in range(7):
            file[f"g/{i}"] = np.full(3, i)
        later = file.create_dataset("data", (8, 100), chunks=(2, 100), compression="gzip")
        later[...] = 1
    with h5py.File(path) as found:
        assert h5py.check_ref_dtype(found["refs"].dtype) is h5py.Reference
        assert [found[one].name for one in found["refs"][()]] == targets
        assert found["uses"].dtype == USE
        assert found[found["uses"][0]["where"]] == found["g"]
        assert found["uses"][0]["axis"] == 7
        assert all(not one["where"] and one["axis"] == 0 for one in found["uses"][1:])
        assert found["refs"].chunks is None


def test_references_outside_compounds_are_repacked(tmp_path: Path) -> None:  # h5repack cannot do those inside
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        file.attrs["lists"] = [[Reference("/x")], [Reference("/"), Reference("/x")]]
        file.attrs["box"] = RegionReference("/x", np.s_[1:3])
        file["x"] = np.arange(5)
        file["refs"] = np.array([Reference("/x"), Reference("/")], object)
    repacks(path)


def test_region_references_select_what_h5py_selects(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = np.arange(60).reshape(6, 10)
    boxes = [np.s_[0:2, 3:5], np.s_[4:6, 0:1]]
    with streamh5.File(path) as file:
        file.attrs["box"] = RegionReference("/x", np.s_[1:3, 4:9])
        file.attrs["boxes"] = [RegionReference("/x", boxes), RegionReference("x", (2, slice(0, 10)))]
        shared = RegionReference("/x", np.s_[0:1, 0:1])
        file["regions"] = np.array([shared, shared, RegionReference("/x", boxes)], object)
        file["x"] = data
    with h5py.File(path) as found:
        one = found.attrs["box"]
        assert found[one] == found["x"]
        np.testing.assert_array_equal(found["x"][one].reshape(2, 5), data[1:3, 4:9])
        first, second = found.attrs["boxes"]
        expected = [*data[0:2, 3:5].ravel(), *data[4:6, 0]]
        assert sorted(found["x"][first].ravel()) == sorted(expected)
        assert h5py.h5r.get_region(first, found.id).get_select_npoints() == 6
        np.testing.assert_array_equal(found["x"][second].ravel(), data[2])
        assert h5py.check_ref_dtype(found["regions"].dtype) is h5py.RegionReference
        assert [found["x"][region].size for region in found["regions"][()]] == [1, 1, 6]
    with h5py.File(path, "r+") as changed:
        del changed.attrs["box"]
        changed["regions"][0] = changed["x"].regionref[3:5, 3:5]
    with h5py.File(path) as found:
        assert [found["x"][region].size for region in found["regions"][()]] == [4, 1, 6]


@pytest.mark.parametrize(
    "region",
    [(), [], np.s_[0:0], np.s_[3:2], np.s_[:], np.s_[0:4:2], -1, "x", [np.s_[0:1], np.s_[0:1, 0:1]], 2**32],
    ids=repr,
)
def test_region_that_selects_nothing_or_is_open_is_refused(region: Any) -> None:
    with pytest.raises(SpecError, match="/x"):
        RegionReference("/x", region)


@pytest.mark.parametrize("region", [np.s_[0:7], np.s_[0:1, 0:1]], ids=repr)
def test_region_outside_its_dataset_is_refused(region: Any, tmp_path: Path) -> None:
    file = streamh5.File(tmp_path / "a.h5")
    file["x"] = np.arange(6)
    file.attrs["box"] = RegionReference("/x", region)
    with pytest.raises(PathError, match=r"/x.*\(6,\)"):
        file.close()


def test_reference_to_what_was_not_created_is_refused_at_close(tmp_path: Path) -> None:
    file = streamh5.File(tmp_path / "a.h5")
    file.attrs["one"] = Reference("/none")
    with pytest.raises(PathError, match="/none"):
        file.close()


def test_references_refuse_chunks_filters_and_other_values(tmp_path: Path) -> None:
    keywords: list[dict[str, Any]] = [
        {"chunks": (2,)},
        {"compression": "gzip"},
        {"maxshape": (None,)},
        {"fillvalue": 0},
        {"alloc_time": "early"},
    ]
    with streamh5.File(tmp_path / "a.h5") as file:
        for one in keywords:
            with pytest.raises(SpecError, match="/refs"):
                file.create_dataset("refs", (4,), h5py.ref_dtype, **one)
        with pytest.raises(SpecError):
            file.create_dataset("refs", (None,), h5py.ref_dtype)
        refs = file.create_dataset("refs", (4,), h5py.ref_dtype)
        for value in (5, RegionReference("/refs", 0)):
            with pytest.raises((DatatypeError, BlockError)):
                refs[0] = value
        with pytest.raises(DatatypeError, match=r"'where'"):
            file.create_dataset("uses", data=np.array([("text", 1)], USE))


def test_references_of_an_interrupted_write_are_salvaged(tmp_path: Path) -> None:
    file = streamh5.File(tmp_path / "a.h5", resume=True)
    file.attrs["one"] = Reference("/x")
    file.attrs["regions"] = [RegionReference("/x", [np.s_[0:2], np.s_[3:4]])]
    file.attrs["uses"] = np.array([(Reference("/x"), 1)], USE)
    sequences = np.array([np.arange(3), np.arange(2)], object).astype(h5py.vlen_dtype("i4"))
    file.attrs["sequences"] = sequences
    file.attrs["pairs"] = np.array(
        [(1, "ü", [1, 2])], [("n", "i2"), ("s", h5py.string_dtype()), ("a", "f4", 2)]
    )
    dataset = file.create_dataset("x", (6,), "i4", chunks=(2,), compression="gzip")
    dataset[:] = np.arange(6)
    file.session.wait()
    file.suspend()
    streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as found:
        assert found[found.attrs["one"]] == found["x"]
        assert found["x"][found.attrs["regions"][0]].tolist() == [0, 1, 3]
        assert found[found.attrs["uses"][0]["where"]] == found["x"]
        assert [part.tolist() for part in found.attrs["sequences"]] == [[0, 1, 2], [0, 1]]
        assert found.attrs["pairs"]["a"].tolist() == [[1.0, 2.0]]
        assert found.attrs["pairs"]["s"].tolist() == ["ü".encode()]
