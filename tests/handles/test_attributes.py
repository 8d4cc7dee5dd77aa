"""Attributes and groups, as the readers that show them see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import streamh5
from streamh5.errors import AttributeValueError, LimitError, PathError
from tests.readers import attribute_readers
from tests.readers.hdf5_tools import differs, h5debug, header_address, repacks
from tests.written import DTYPES, GZIP, assert_every_reader, values

VALUES: dict[str, Any] = {
    "int": 7,
    "negative": -(2**40),
    "float": 1.5,
    "nan": np.nan,
    "bool": True,
    "complex": 1 + 2j,
    "text": "Grüße, 世界",
    "no text": "",
    "long text": "x" * 5000,
    "list": [1, 2, 3],
    "floats": np.linspace(0, 1, 7),
    "matrix": np.arange(6, dtype=">i2").reshape(2, 3),
    "bools": np.array([True, False, True]),
    "complexes": np.array([1j, 2], "c8"),
    "texts": ["a", "", "ccc ü"],
    "text array": np.array([["a", "b"], ["c", "d"]]),
    "objects": np.array(["one", "two"], object),
    "uint64": np.uint64(2**64 - 1),
    "empty": np.zeros(0, "f4"),
    "bytes": b"raw bytes",
}


def texts(array: NDArray[Any]) -> list[str]:
    """Strings of an array, whatever kind they are."""
    return [v.decode() if isinstance(v, bytes) else str(v) for v in array.astype(object).ravel()]


def same(found: Any, expected: Any) -> bool:
    """Compare by value, strings as str."""
    if isinstance(found, bytes):
        found = np.bytes_(found)
    found, expected = np.asarray(found), np.asarray(expected)
    if found.dtype.kind in "OUS" or expected.dtype.kind in "OUS":
        return found.shape == expected.shape and texts(found) == texts(expected)
    return bool(np.array_equal(found, expected, equal_nan=expected.dtype.kind in "fc"))


@pytest.mark.parametrize("place", ["file", "group", "dataset", "scalar", "null"])
@pytest.mark.parametrize("track_order", [False, True])
def test_attributes_of_each_object_are_what_h5py_would_have_written(
    track_order: bool, place: str, tmp_path: Path
) -> None:
    path, theirs = tmp_path / "a.h5", tmp_path / "theirs.h5"
    name = {"file": "/", "group": "/g/h"}.get(place, f"/g/{place}")
    with streamh5.File(path, track_order=track_order) as file:
        target: Any = {
            "file": lambda: file,
            "group": lambda: file.create_group("g/h"),
            "dataset": lambda: file.create_dataset("g/dataset", data=np.ones(9), chunks=(2,)),
            "scalar": lambda: file.create_dataset("g/scalar", data=np.int8(3)),
            "null": lambda: file.create_dataset("g/null", dtype="f4"),
        }[place]()
        for key, value in VALUES.items():
            target.attrs[key] = value
        assert list(target.attrs) == (list(VALUES) if track_order else sorted(VALUES))
        assert len(target.attrs) == len(VALUES)
    with h5py.File(theirs, "w") as other:
        group = other.create_group("g")
        for key, value in VALUES.items():
            group.attrs[key] = value if key != "text array" else value.astype(object)
    with h5py.File(path) as ours, h5py.File(theirs) as other:
        found, expected = ours[name].attrs, other["g"].attrs
        assert len(found) == len(VALUES)
        if track_order:
            assert list(found) == list(VALUES)
        for key in VALUES:
            assert same(found[key], expected[key]), key
            if key != "bytes":  # h5py makes it variable-length, for which there is no need
                assert found.get_id(key).dtype == expected.get_id(key).dtype, key
            assert found.get_id(key).shape == expected.get_id(key).shape, key
    for reader in attribute_readers():
        shown = reader.attributes(path, name)
        for key, value in shown.items():
            if reader.name == "PyTables" and np.asarray(VALUES[key]).dtype.byteorder == ">":
                continue  # it takes big-endian bytes as they are
            assert same(value, VALUES[key]), (reader.name, key)
    repacks(path)


def test_attribute_is_replaced_deleted_and_set_after_data(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        dataset = file.create_dataset("g/x", (100,), "i4", chunks=(10,), **GZIP)
        dataset.attrs["kept"] = 1
        dataset.attrs["replaced"] = "by another type"
        dataset.attrs["deleted"] = 3
        dataset[:] = np.arange(100)
        file.session.wait()
        dataset.attrs["replaced"] = [1.5, 2.5]
        del dataset.attrs["deleted"]
        dataset.attrs["late"] = "after the data"
        file["g"].attrs["late"] = ["x", "y"]
        file.attrs["late"] = 5
        assert dict(dataset.attrs) == {"kept": 1, "replaced": [1.5, 2.5], "late": "after the data"}
        with pytest.raises(KeyError):
            del dataset.attrs["deleted"]
        with pytest.raises(KeyError):
            _ = dataset.attrs["deleted"]
    with h5py.File(path) as found:
        assert set(found["g/x"].attrs) == {"kept", "replaced", "late"}
        assert found["g/x"].attrs["replaced"].tolist() == [1.5, 2.5]
        assert found["g"].attrs["late"].tolist() == ["x", "y"]
        assert found.attrs["late"] == 5
    assert_every_reader(path, "/g/x", np.arange(100, dtype="i4"))


@pytest.mark.parametrize("slack", [0, 512])
@pytest.mark.parametrize("n", [1, 5, 50, 1000])
def test_attributes_that_outgrow_the_reserved_header_move_it_to_the_end(
    n: int, slack: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, header_slack=slack) as file:
        dataset = file.create_dataset("x", (100,), "i4", chunks=(10,), **GZIP)
        dataset[:] = np.arange(100)
        file.session.wait()
        end_of_front = file.session._engine._engine.front.end
        for i in range(n):
            dataset.attrs[f"attribute {i:04}"] = i
            file.attrs[f"text {i:04}"] = f"value {i}"
    moved = header_address(path, "/x") >= end_of_front
    assert moved == (slack == 0 or n >= 50)
    with h5py.File(path) as found:
        assert dict(found["x"].attrs) == {f"attribute {i:04}": i for i in range(n)}
        assert dict(found.attrs) == {f"text {i:04}": f"value {i}" for i in range(n)}
    assert_every_reader(path, "/x", np.arange(100, dtype="i4"))
    repacks(path)
    assert "Object Header" in h5debug(path, header_address(path, "/x"))
    with h5py.File(path, "r+") as changed:
        changed["x"].attrs["more"] = "text"
        del changed["x"].attrs["attribute 0000"]
        changed["x"][5] = 55
    with h5py.File(path) as found:
        assert len(found["x"].attrs) == n
        assert found["x"][5] == 55


@pytest.mark.parametrize("dtype", DTYPES)
def test_attribute_of_each_dtype_is_read(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    expected = values(dtype, (2, 3))
    with streamh5.File(path) as file:
        file.attrs["a"] = expected
        file.attrs["scalar"] = expected[1, 1]
    with h5py.File(path) as found:
        assert found.attrs["a"].dtype == np.dtype(dtype)
        assert found.attrs["a"].tobytes() == expected.tobytes()
        assert same(found.attrs["scalar"], expected[1, 1])


@pytest.mark.parametrize("nbytes", [65_000, 65_400, 65_535, 65_536, 200_000, 2**24 - 100])
def test_attribute_around_and_above_64_kib_is_read_back(nbytes: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    expected = np.arange(nbytes, dtype="u1")
    with streamh5.File(path) as file:
        file.attrs["small"] = 1
        file.attrs["large"] = expected
    with h5py.File(path) as found:
        assert found.attrs["small"] == 1
        assert len(found.attrs) == 2
        np.testing.assert_array_equal(found.attrs["large"], expected)
    with h5py.File(path, "r+") as changed:
        changed.attrs["added"] = "text"
        del changed.attrs["large"]
    with h5py.File(path) as found:
        assert dict(found.attrs) == {"small": 1, "added": "text"}


def test_attribute_too_large_for_memory_is_refused_when_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamh5.model.attribute_spec.MAX_DENSE_ATTRIBUTE_NBYTES", 2**24)  # of 4 GiB
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(LimitError, match=r"'large' of / .* dataset"):
            file.attrs["large"] = np.zeros(2**24, "u1")
        assert "large" not in file.attrs


@pytest.mark.parametrize("name", ["", "a\0b", 5, b"a\0", None, "\ud800"])
def test_attribute_name_that_hdf5_cannot_hold_is_refused(name: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, pytest.raises(AttributeValueError, match="/"):
        file.attrs[name] = 1


@pytest.mark.parametrize(
    "value",
    [object(), {"a": 1}, [1, "a", None], [[1], [1, 2]], np.array([1, None]), "\ud800", 2**70, None, {1}],
    ids=repr,
)
def test_attribute_value_that_cannot_be_written_is_refused_when_set(value: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(AttributeValueError, match="'bad' of /"):
            file.attrs["bad"] = value
        assert "bad" not in file.attrs


@pytest.mark.parametrize("name", ["/a", "a/b", "ä ö", ".", "a" * 60_000])
def test_attribute_names_of_any_text_are_kept(name: str, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.attrs[name] = 1
    with h5py.File(tmp_path / "a.h5") as found:
        assert list(found.attrs) == [name]


def test_nested_groups_hold_what_was_put_in_them(tmp_path: Path) -> None:
    path, theirs = tmp_path / "a.h5", tmp_path / "theirs.h5"
    files: list[Any] = [streamh5.File(path), h5py.File(theirs, "w")]
    for file in files:
        with file:
            file["/"].create_dataset("top", data=np.arange(3), chunks=(2,))
            group = file.create_group("/run 1/ü")
            group.create_dataset("x", data=np.arange(4.0), chunks=(2,))
            group.create_dataset("/run 1/deep/er/x", data=np.arange(5), chunks=(2,))
            group.create_group("empty")
            file["run 1"].attrs["where"] = "in between"
            assert "run 1/deep" in file
            assert "run 1/other" not in file
            assert sorted(file["run 1"]) == ["deep", "ü"]
            assert len(file["run 1"]) == 2
    assert differs(path, theirs) is None
    with h5py.File(path) as ours, h5py.File(theirs) as other:
        names: list[list[str]] = [[], []]
        ours.visit(names[0].append)
        other.visit(names[1].append)
        assert names[0] == names[1]
    for name, expected in {"/top": np.arange(3), "/run 1/ü/x": np.arange(4.0)}.items():
        assert_every_reader(path, name, expected)


@pytest.mark.parametrize("track_order", [False, True])
def test_track_order_keeps_the_order_of_creation(track_order: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    names = [f"{(i * 7) % 20:02}" for i in range(20)]
    with streamh5.File(path, track_order=track_order) as file:
        for name in names:
            file.create_dataset(f"g/{name}", data=np.arange(2), chunks=(1,)).attrs.update(
                dict.fromkeys(names, 1)
            )
            file.attrs[name] = 1
    with h5py.File(path) as found:
        expected = names if track_order else sorted(names)
        assert list(found["g"]) == expected
        assert list(found.attrs) == expected
        assert list(found["g/00"].attrs) == expected
        plist = found["g"].id.get_create_plist()
        tracked = h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED
        assert plist.get_link_creation_order() == (tracked if track_order else 0)
    with h5py.File(path, "r+") as changed:
        changed["g"].create_group("zz")
        del changed["g/00"]
        changed.attrs["zz"] = 1
    with h5py.File(path) as found:
        assert [n for n in expected if n != "00"] + ["zz"] == list(found["g"])


@pytest.mark.parametrize("n_links", [255, 256, 257, 1000])
def test_group_of_many_links_is_read(n_links: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        for i in range(n_links):
            file.create_dataset(f"g/{i}", data=np.int32(i))
    with h5py.File(path) as found:
        assert len(found["g"]) == n_links
        assert [int(found[f"g/{i}"][()]) for i in range(n_links)] == list(range(n_links))
    repacks(path)


@pytest.mark.parametrize(
    ("first", "second"),
    [("x", "x"), ("x", "/x"), ("x/y", "x"), ("x", "x/y"), ("x", "//x/"), ("a/b/c", "a/b")],
)
def test_dataset_path_that_is_taken_is_refused(first: str, second: str, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset(first, data=np.arange(3), chunks=(2,))
        with pytest.raises(PathError):
            file.create_dataset(second, (3,), "i4", chunks=(2,))
        with pytest.raises(PathError):
            file.create_group(second)
    with h5py.File(tmp_path / "a.h5") as found:
        assert isinstance(found[first], h5py.Dataset)


def test_failed_creation_leaves_no_parent_group(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", data=np.arange(3), chunks=(2,))
        with pytest.raises(PathError):
            file.create_dataset("x/new/y", (3,), "i4")
        with pytest.raises(ValueError, match="chunks"):
            file.create_dataset("other/y", (3,), "i4", chunks=(0,))
    with h5py.File(tmp_path / "a.h5") as found:
        assert list(found) == ["x"]


@pytest.mark.parametrize(
    "value", [np.ma.array([1, 2], mask=[False, True]), np.ma.masked], ids=["array", "masked"]
)
def test_masked_value_is_not_unmasked_unnoticed(value: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(AttributeValueError, match="1 of its values are masked"):
            file.attrs["a"] = value
        file.attrs["b"] = np.ma.array([1, 2], mask=False)
    with h5py.File(tmp_path / "a.h5") as found:
        assert list(found.attrs) == ["b"]
        assert found.attrs["b"].tolist() == [1, 2]
