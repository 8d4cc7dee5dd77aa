"""``Dataset.dims``: the same calls in h5py and in streamh5 make equal files, and netCDF-C reads the dimensions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest

import streamh5
from streamh5.errors import AttributeValueError, PathError, SpecError, StateError
from tests.readers.hdf5_tools import differs

Write = Callable[[Any], object]


def of_both(write: Write, folder: Path) -> tuple[Path, Path]:
    """Make the same calls with h5py and streamh5; return the two files."""
    ours, theirs = folder / "ours.h5", folder / "theirs.h5"
    with streamh5.File(ours, "w") as file:
        write(file)
    with h5py.File(theirs, "w") as other:
        write(other)
    return ours, theirs


def facts(file: h5py.File) -> dict[str, Any]:
    """What h5py tells of the dimensions of all datasets."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            uses = item.attrs.get("REFERENCE_LIST", ())
            found[name] = {
                "is_scale": item.is_scale,
                "name": item.attrs.get("NAME"),
                "labels": [one.label for one in item.dims],
                "scales": [[(key, scale.name) for key, scale in one.items()] for one in item.dims],
                "uses": sorted((file[reference].name, int(axis)) for reference, axis in uses),
                "types": {key: item.attrs.get_id(key).get_type() for key in item.attrs},
            }

    file.visititems(visit)
    return found


def make(file: Any) -> Any:
    """Create a dataset and three others of the lengths of its dimensions; return the dataset."""
    data = file.create_dataset("g/data", data=np.arange(12.0).reshape(3, 4))
    file.create_dataset("t", data=np.arange(3))
    file.create_dataset("g/x", data=np.arange(4), chunks=(2,), maxshape=(None,))
    file.create_dataset("g/y", data=np.arange(4))
    return data


def attach(file: Any) -> None:
    data = make(file)
    file["t"].make_scale("time")
    data.dims[0].attach_scale(file["t"])
    data.dims[1].attach_scale(file["g/x"])
    data.dims[1].attach_scale(file["g/y"])
    data.dims[1].label = "größe"


def share(file: Any) -> None:
    data = make(file)
    for name in "ab":
        other = file.create_dataset(name, data=np.zeros((3, 3)))
        other.dims[0].attach_scale(file["t"])
        other.dims[1].attach_scale(file["t"])
    data.dims[0].attach_scale(file["t"])


def rename(file: Any) -> None:
    make(file)
    file["t"].make_scale()
    file["t"].make_scale(b"again")
    file["g/x"].make_scale("größe")


def label(file: Any) -> None:
    data = make(file)
    data.dims[1].label = b"x"
    data.dims[1].label = "other"
    data.dims[0].label = "a" * 300


def detach(file: Any) -> None:
    attach(file)
    file["g/data"].dims[1].detach_scale(file["g/x"])


def detach_all(file: Any) -> None:
    share(file)
    for name in "ab":
        file[name].dims[0].detach_scale(file["t"])
    file["a"].dims[1].detach_scale(file["t"])


@pytest.mark.parametrize("write", [attach, share, rename, label, detach, detach_all])
def test_dims_of_the_same_calls_are_those_of_h5py(write: Write, tmp_path: Path) -> None:
    ours, theirs = of_both(write, tmp_path)
    with h5py.File(ours) as a, h5py.File(theirs) as b:
        assert facts(a) == facts(b)
        assert any(one["is_scale"] or any(one["labels"]) for one in facts(a).values())
    assert differs(ours, theirs) is None


def change(file: Any) -> None:
    """Change the dimensions of a file that `attach` has made."""
    data, t = file["g/data"], file["t"]
    data.dims[1].detach_scale(file["g/x"])
    data.dims[0].label = "t"
    file.move("g/y", "moved/y")
    other = file.create_dataset("other", data=np.zeros((3, 4)))
    other.dims[0].attach_scale(t)
    other.dims[1].attach_scale(file["moved/y"])
    file["g/x"].make_scale("again")


@pytest.mark.parametrize("maker", ["streamh5", "h5py", "h5py v110"])
def test_dims_of_an_existing_file_change_as_those_of_h5py(maker: str, tmp_path: Path) -> None:
    paths = tmp_path / "ours.h5", tmp_path / "theirs.h5"
    for path in paths:
        options = {"libver": ("v110", "v110")} if maker == "h5py v110" else {}
        file: Any = streamh5.File(path, "w") if maker == "streamh5" else h5py.File(path, "w", **options)
        with file:
            attach(file)
    for again in (False, True):
        with streamh5.File(paths[0], "r+") as ours, h5py.File(paths[1], "r+") as theirs:
            files: tuple[Any, Any] = ours, theirs
            for one in files:
                if not again:
                    change(one)
                data = one["other" if again else "g/data"]
                data.dims[1].label = "changed again" if again else "größer"
                scale = one["moved/y"]
                assert [one.label for one in data.dims][1] == ("changed again" if again else "größer")
                assert data.dims[1][0] == scale
                assert scale.is_scale
        with h5py.File(paths[0]) as a, h5py.File(paths[1]) as b:
            assert facts(a) == facts(b)
        assert differs(*paths) is None


def test_scale_that_was_deleted_is_in_no_list_that_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as theirs:
        attach(theirs)
        share(theirs["/"].create_group("second"))
    with streamh5.File(path, "a") as file:
        objects: Any = file
        del objects["g/x"], objects["second/a"]
        assert objects["g/data"].dims[1].values() == [objects["g/y"]]
        objects["g/data"].dims[1].attach_scale(objects["second/t"])
    with h5py.File(path) as found:
        assert [one.name for one in found["g/data"].dims[1].values()] == ["/g/y", "/second/t"]
        uses = found["second/t"].attrs["REFERENCE_LIST"]
        assert sorted((found[reference].name, axis) for reference, axis in uses) == [
            ("/g/data", 1),
            ("/second/b", 0),
            ("/second/b", 1),
            ("/second/g/data", 0),
        ]


def test_handles_of_dims_say_what_those_of_h5py_say(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as ours, h5py.File(tmp_path / "b.h5", "w") as theirs:
        files: tuple[Any, Any] = ours, theirs
        for file in files:
            attach(file)
        for file in files:
            dims = file["g/data"].dims
            assert [len(dims), *map(len, dims)] == [2, 1, 2]
            assert [one.label for one in dims] == ["", "größe"]
            assert (dims[1].keys(), list(dims[1])) == (["", ""], ["", ""])
            assert [scale.name for scale in dims[1].values()] == ["/g/x", "/g/y"]
            assert [(name, scale.name) for name, scale in dims[0].items()] == [("time", "/t")]
            assert dims[0]["time"] == dims[0][0] == dims[0][-1] == file["t"]
            assert "time" in dims[0]
            assert (dims[0] == file["g/data"].dims[0], dims[0] == dims[1]) == (True, False)
            assert [file[name].is_scale for name in ("t", "g/x", "g/data")] == [True, True, False]
            for wrong in (2, 7):
                with pytest.raises(IndexError):
                    dims[wrong]
            with pytest.raises(KeyError):
                dims[0]["depth"]
            with pytest.raises(IndexError):
                dims[0][1]


def test_scale_attached_twice_is_listed_once(tmp_path: Path) -> None:
    # the library adds a second entry to REFERENCE_LIST
    with streamh5.File(tmp_path / "a.h5") as file:
        data = make(file)
        for _ in range(2):
            data.dims[0].attach_scale(file["t"])
    with h5py.File(tmp_path / "a.h5") as found:
        assert len(found["t"].attrs["REFERENCE_LIST"]) == len(found["g/data"].dims[0]) == 1


def test_dims_of_wrong_objects_are_refused_with_the_reason(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "other.h5") as other, streamh5.File(tmp_path / "a.h5") as file:
        attach(file)
        objects: Any = file
        data, scale = objects["g/data"], objects["t"]
        foreign = other.create_dataset("t", data=[1])
        with pytest.raises(SpecError, match="/g/data has scales"):
            data.make_scale("x")
        with pytest.raises(SpecError, match="/t is a dimension scale"):
            scale.dims[0].attach_scale(objects["g/y"])
        with pytest.raises(SpecError, match="/g/data has scales"):
            file.create_dataset("z", data=[1]).dims[0].attach_scale(data)
        with pytest.raises(SpecError, match="itself"):
            data.dims[0].attach_scale(data)
        with pytest.raises(SpecError, match="/g/x is not a scale of dimension 0"):
            data.dims[0].detach_scale(objects["g/x"])
        with pytest.raises(SpecError, match=r"streamh5\.Dataset, not <streamh5.Group"):
            data.dims[0].attach_scale(objects["g"])
        with pytest.raises(PathError, match="another file"):
            data.dims[0].attach_scale(foreign)
        with pytest.raises(AttributeValueError, match="label"):
            data.dims[0].label = "a\0b"
        with pytest.raises(AttributeValueError, match="name of the scale"):
            foreign.make_scale(3)  # type: ignore[arg-type]
        foreign.attrs["DIMENSION_LIST"] = [1]
        with pytest.raises(AttributeValueError, match="DIMENSION_LIST has another type"):
            len(foreign.dims[0])
    with pytest.raises(StateError, match="closed"):
        data.dims[0].attach_scale(scale)
    with h5py.File(tmp_path / "a.h5") as found:
        assert [len(one) for one in found["g/data"].dims] == [1, 2]


def test_netcdf_reads_dimensions_that_were_attached(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with streamh5.File(path, track_order=True) as file:
        time = file.create_dataset("time", data=np.arange(3.0), maxshape=(None,), chunks=(2,))
        x = file.create_dataset("x", data=np.arange(4.0))
        data = file.create_dataset(
            "data", data=np.arange(12.0).reshape(3, 4), maxshape=(None, 4), chunks=(2, 4)
        )
        for axis, scale in enumerate((time, x)):
            scale.make_scale(scale.name.strip("/"))
            data.dims[axis].attach_scale(scale)
    with netCDF4.Dataset(path) as found:
        assert {name: (len(one), one.isunlimited()) for name, one in found.dimensions.items()} == {
            "time": (3, True),
            "x": (4, False),
        }
        assert found["data"].dimensions == ("time", "x")
        np.testing.assert_array_equal(found["data"][:], np.arange(12.0).reshape(3, 4))
    with netCDF4.Dataset(path, "a") as found:
        found["data"][5] = 9.0
    with h5py.File(path) as found:
        assert found["data"].shape == (6, 4)
        assert found["data"].dims[0][0].name == "/time"


def test_dims_of_a_dataset_whose_file_has_no_name_find_it(tmp_path: Path) -> None:
    data = streamh5.File(tmp_path / "a.h5").create_dataset("g/x", data=[1, 2])
    assert data.parent.name == "/g"
    assert data.file["g/x"] == data
    data.file.close()
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["g/x"][()].tolist() == [1, 2]
