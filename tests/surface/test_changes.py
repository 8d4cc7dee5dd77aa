"""Mode "a": objects of an existing file that change; other libraries wrote the file, and read what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest

import streamh5

ROWS = np.arange(600, dtype="<i4").reshape(60, 10)

CHUNKED: dict[str, dict[str, Any]] = {
    "plain": {},
    "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "scaleoffset": {"scaleoffset": 0},
}
OBJECTS = [*CHUNKED, "both", "fixed", "whole", "text", "typed", "type", "g", "g/inner", "refs", "/"]
LIBVERS = ["earliest", "v108", "latest"]


def h5py_file(path: Path, libver: Any, **keywords: Any) -> None:
    """A file of h5py with references of every kind, links, a named datatype and many attributes."""
    with h5py.File(path, "w", libver=libver, **keywords) as file:
        for name, filters in CHUNKED.items():
            file.create_dataset(name, data=ROWS, chunks=(7, 4), maxshape=(None, 10), **filters)
        file.create_dataset("both", data=ROWS, chunks=(7, 4), maxshape=(None, None), compression="gzip")
        file.create_dataset("fixed", data=ROWS, chunks=(7, 4))
        file.create_dataset("whole", data=ROWS)
        file["text"] = ["a", "bä", ""]
        file["type"] = np.dtype("f8")
        file.create_dataset("typed", data=np.arange(4.0), dtype=file["type"])
        group = file.create_group("g/inner")
        group.attrs["text"] = "inside"
        group["self"] = group
        file["soft"] = h5py.SoftLink("/g/inner")
        file["hard"] = file["plain"]
        file["refs"] = np.array([file["gzip"].ref, file["g"].ref, None], h5py.ref_dtype)
        file["regions"] = np.array([file["gzip"].regionref[2:4, 1:3]], h5py.regionref_dtype)
        file["g"].attrs["to"] = file["gzip"].ref
        file["g"].attrs["region"] = file["gzip"].regionref[0:2, :]
        file["g"].attrs.create("typed", 1.5, dtype=file["type"])
        file["plain"].make_scale("rows")
        file["gzip"].dims[0].attach_scale(file["plain"])
        for i in range(20):
            file["gzip"].attrs[f"a{i}"] = np.arange(i + 1)


def dataset(file: streamh5.File, name: str) -> streamh5.Dataset:
    found = file[name]
    assert isinstance(found, streamh5.Dataset)
    return found


def assert_unchanged(file: h5py.File, *, but: tuple[str, ...] = ()) -> None:
    """What `h5py_file` wrote is there, except for datasets that have changed."""
    for name in [*CHUNKED, "both", "fixed", "whole"]:
        if name not in but:
            np.testing.assert_array_equal(file[name][()], ROWS, err_msg=name)
    assert file["text"].asstr()[()].tolist() == ["a", "bä", ""]
    assert file["typed"].dtype == file["type"].dtype
    assert file["typed"][()].tolist() == [0, 1, 2, 3]
    assert file["g/inner/self"] == file["soft"] == file["g/inner"]
    assert file["g/inner"].attrs["text"] == "inside"
    assert file["hard"] == file["plain"]
    assert file[file["refs"][0]] == file["gzip"]
    assert file[file["refs"][1]] == file["g"]
    assert not file["refs"][2]
    assert file[file["regions"][0]] == file["gzip"]
    assert file[file["g"].attrs["to"]] == file["gzip"]
    assert file["gzip"].regionref.shape(file["regions"][0]) == file["gzip"].shape
    assert file["gzip"].regionref.selection(file["regions"][0]) == (2, 2)
    assert file[file["g"].attrs["region"]] == file["gzip"]
    assert file["g"].attrs["typed"] == 1.5
    assert file["gzip"].dims[0][0] == file["plain"]
    assert file["plain"].attrs["REFERENCE_LIST"][0][1] == 0
    assert file[file["plain"].attrs["REFERENCE_LIST"][0][0]] == file["gzip"]
    for i in range(20):
        np.testing.assert_array_equal(file["gzip"].attrs[f"a{i}"], np.arange(i + 1))


def assert_changed_and_whole(path: Path, *, but: tuple[str, ...] = (), **expected: Any) -> None:
    """Readers find the expected data and everything else; h5py changes the file, and so does streamh5 again."""
    with h5py.File(path, "r+") as file:
        assert_unchanged(file, but=but)
        for name, values in expected.items():
            np.testing.assert_array_equal(file[name][()], values, err_msg=name)
        file["later"] = 5
        file["gzip"].attrs["later"] = 6
    assert streamh5.verify(path).ok
    with streamh5.File(path, "a") as again:
        again["later"].attrs["n"] = 7
        del again["gzip"].attrs["later"]
    with h5py.File(path) as file:
        assert_unchanged(file, but=but)
        assert file["later"].attrs["n"] == 7
        assert "later" not in file["gzip"].attrs


@pytest.mark.parametrize("userblock", [0, 1024])
@pytest.mark.parametrize("libver", LIBVERS)
def test_attributes_of_every_object_change(libver: str, userblock: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    h5py_file(path, libver, userblock_size=userblock)
    with streamh5.File(path, "a") as file:
        for name in OBJECTS:
            file[name].attrs["new"] = f"of {name}"
        file["gzip"].attrs["a3"] = np.arange(4)
        assert file["gzip"].attrs["a5"].tolist() == [0, 1, 2, 3, 4, 5]
    with h5py.File(path) as found:
        for name in OBJECTS:
            assert found[name].attrs["new"] == f"of {name}"
    assert_changed_and_whole(path)


@pytest.mark.parametrize("libver", LIBVERS)
def test_links_move_and_objects_are_deleted(libver: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    h5py_file(path, libver)
    with streamh5.File(path, "a") as file:
        file.move("g", "elsewhere/g")
        file.move("gzip", "renamed")
        del file["whole"]
        del file["hard"]
        file["link"] = file["typed"]
        assert "whole" not in file
        assert file["renamed"].name == "/renamed"
    with h5py.File(path) as found:
        assert found[found["refs"][0]] == found["renamed"]
        assert found[found["refs"][1]] == found["elsewhere/g"]
        assert found[found["elsewhere/g"].attrs["to"]] == found["renamed"]
        assert found["elsewhere/g/inner/self"] == found["elsewhere/g/inner"]
        assert found["link"] == found["typed"]
        assert sorted(found) == sorted(
            {
                *CHUNKED,
                "both",
                "fixed",
                "text",
                "type",
                "typed",
                "elsewhere",
                "soft",
                "refs",
                "regions",
                "link",
            }
            - {"gzip"}
            | {"renamed"}
        )
        np.testing.assert_array_equal(found["renamed"][()], ROWS)
    assert streamh5.verify(path).ok


@pytest.mark.parametrize("libver", LIBVERS)
def test_references_to_a_deleted_object_become_null(libver: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    h5py_file(path, libver)
    with streamh5.File(path, "a") as file:
        del file["gzip"]
    with h5py.File(path) as found:
        assert not found["refs"][0]
        assert found[found["refs"][1]] == found["g"]
        assert not found["g"].attrs["to"]
        assert not found["regions"][0]
        assert not found["plain"].attrs["REFERENCE_LIST"][0][0]


@pytest.mark.parametrize("libver", LIBVERS)
@pytest.mark.parametrize("name", [*CHUNKED, "both", "fixed"])
def test_whole_chunks_of_a_stored_dataset_are_replaced(name: str, libver: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    h5py_file(path, libver)
    expected = ROWS.copy()
    expected[14:28, 4:8] = -5
    with streamh5.File(path, "a") as file:
        dataset(file, name)[14:28, 4:8] = -5
    assert_changed_and_whole(path, but=(name, "hard") if name == "plain" else (name,), **{name: expected})


@pytest.mark.parametrize("libver", LIBVERS)
def test_value_of_a_stored_dataset_without_chunks_changes(libver: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    h5py_file(path, libver)
    expected = ROWS.copy()
    expected[3, 2:5] = [7, 8, 9]
    with streamh5.File(path, "a") as file:
        dataset(file, "whole")[3, 2:5] = [7, 8, 9]
        dataset(file, "typed")[1] = 4.5
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["whole"][()], expected)
        assert found["typed"][()].tolist() == [0, 4.5, 2, 3]
        assert found["typed"].id.get_type().committed()


def test_file_of_netcdf_c_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createDimension("x", 5)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "days since 2000-01-01"
        data = file.createVariable("data", "f4", ("time", "x"), zlib=True)
        time[:] = [0, 1, 2]
        data[:] = np.arange(15).reshape(3, 5)
    with streamh5.File(path, "a") as file:
        file["data"].attrs["units"] = "K"
        file.attrs["title"] = "changed"
    with netCDF4.Dataset(path, "a") as file:
        assert file["data"].units == "K"
        assert file["data"].dimensions == ("time", "x")
        assert file.dimensions["time"].isunlimited()
        file["data"][3] = 9
        file["time"][3] = 3
        np.testing.assert_array_equal(file["data"][:3], np.arange(15).reshape(3, 5))
    with netCDF4.Dataset(path) as file:
        assert file["data"].shape == (4, 5)


@pytest.mark.parametrize("libver", LIBVERS)
@pytest.mark.parametrize("name", [*CHUNKED, "both"])
def test_rows_appended_to_a_stored_dataset_follow_the_others(name: str, libver: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    h5py_file(path, libver)
    with streamh5.File(path, "a") as file:
        found = dataset(file, name)
        found.resize(63, axis=0)  # the rows of a chunk that is not complete
        found.append(ROWS[:21] - 1)
        assert found.shape == (84, 10)
    expected = np.concatenate([ROWS, np.zeros((3, 10), "<i4"), ROWS[:21] - 1])
    but = (name, "hard") if name == "plain" else (name,)
    assert_changed_and_whole(path, but=but, **{name: expected})


@pytest.mark.parametrize("libver", LIBVERS)
@pytest.mark.parametrize("maxshape", [(None, 10), (None, None), (200, 10)])
def test_fixed_dataset_grows_past_its_maximum(
    maxshape: tuple[int | None, ...], libver: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    h5py_file(path, libver)
    with streamh5.File(path, "a") as file:
        with pytest.raises(streamh5.errors.ShapeError, match="maxshape"):
            dataset(file, "fixed").resize((70, 10))
        with pytest.raises(streamh5.errors.BlockError, match="maxshape"):
            dataset(file, "fixed").append(ROWS)
        dataset(file, "fixed").resize((70, 10), maxshape=maxshape)
        dataset(file, "whole").resize(70, 0, maxshape=maxshape)
    expected = np.concatenate([ROWS, np.zeros((10, 10), "<i4")])
    with h5py.File(path) as found:
        assert found["fixed"].maxshape == found["whole"].maxshape == maxshape
    assert_changed_and_whole(path, but=("fixed", "whole"), fixed=expected, whole=expected)


@pytest.mark.parametrize("libver", LIBVERS)
def test_dataset_grows_along_its_second_axis(libver: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    h5py_file(path, libver)
    with streamh5.File(path, "a") as file:
        dataset(file, "both").resize(17, axis=1)
        dataset(file, "both")[:, 12:17] = 5
    expected = np.zeros((60, 17), "<i4")
    expected[:, :10], expected[:, 12:] = ROWS, 5
    assert_changed_and_whole(path, but=("both",), both=expected)


def test_new_dataset_is_resized_as_in_h5py(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (0, 10), "i4", maxshape=(None, 10), chunks=(7, 4))
        for i in range(0, 56, 7):
            x.resize(i + 7, axis=0)
            x[i : i + 7] = ROWS[i : i + 7]
        y = file.create_dataset("y", (7, 10), "i4", maxshape=(None, None), chunks=(7, 4), compression="gzip")
        y[...] = ROWS[:7]
        y.resize((14, 20))
        y[7:14, 8:20] = 3
        with pytest.raises(streamh5.errors.ShapeError, match="has 1 dimension, the dataset has 2"):
            y.resize((14,))
        with pytest.raises(streamh5.errors.ShapeError, match="axis"):
            y.resize(3, axis=2)
    with h5py.File(tmp_path / "a.h5") as found:
        np.testing.assert_array_equal(found["x"][()], ROWS[:56])
        expected = np.zeros((14, 20), "i4")
        expected[:7, :10], expected[7:, 8:] = ROWS[:7], 3
        np.testing.assert_array_equal(found["y"][()], expected)
        assert found["y"].maxshape == (None, None)


def test_order_of_links_of_an_empty_group_stays_tracked(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        plist = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        plist.set_link_creation_order(h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED)
        h5py.h5g.create(file.id, b"g", gcpl=plist)
    with streamh5.File(path, "a") as changed:
        changed["g"].attrs["new"] = 1
    with h5py.File(path, "r+") as file:
        for name in ["b", "c", "a"]:
            file["g"].create_group(name)
        assert list(file["g"]) == ["b", "c", "a"]


def test_groups_added_to_a_file_of_netcdf_c_track_the_order_of_links(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createGroup("g")
    with streamh5.File(path, "a") as changed:
        changed.create_group("g/new/inner")
    with netCDF4.Dataset(path, "a") as file:  # netCDF-C changes no file with groups that do not
        file["g/new"].createDimension("x", 3)
        assert list(file["g"].groups) == ["new"]


def test_summary_counts_what_nothing_refers_to(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    noise = np.random.default_rng(0).integers(0, 256, (40, 1000), "u1")
    with streamh5.File(path, "w") as file:
        file.create_dataset("x", data=noise, chunks=(10, 1000))
        file.create_dataset("y", data=noise, chunks=(10, 1000))
    assert file.summary is not None
    assert file.summary.unused_nbytes == 0
    before = path.stat().st_size
    with streamh5.File(path, "a") as file:
        dataset(file, "x")[10:20] = 0
        del file["y"]
    assert file.summary is not None
    unused = file.summary.unused_nbytes
    assert 50_000 < unused < 52_000
    streamh5.convert(path, tmp_path / "b.h5")
    kept = (tmp_path / "b.h5").stat().st_size
    assert path.stat().st_size - unused - 2_000 < kept < before - 40_000


def test_what_a_smaller_shape_cuts_off_is_filled_in_chunks_that_are_still_in_flight(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 1 << 16), "u1")
    with streamh5.File(tmp_path / "a.h5", "w", threads=1) as file:
        x = file.create_dataset(
            "x", noise.shape, "u1", maxshape=(None, 1 << 16), chunks=(8, 1 << 16), compression="gzip",
            compression_opts=9,
        )  # fmt: skip
        x[...] = noise
        x.resize(59, axis=0)
        x.resize(64, axis=0)
    noise[59:] = 0
    with h5py.File(tmp_path / "a.h5") as found:
        np.testing.assert_array_equal(found["x"][()], noise)


@pytest.mark.parametrize("n_attributes", [7, 40])
@pytest.mark.parametrize("libver", LIBVERS)
def test_creation_order_of_attributes_and_links_stays(libver: Any, n_attributes: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    names = [f"{(i * 17) % 41} {'long' * (i % 5)}" for i in range(n_attributes)]
    with h5py.File(path, "w", libver=libver) as made:
        group = made.create_group("g", track_order=True)
        for name in names:  # in header continuations, or in dense storage, where they have another order
            group.attrs[name] = name
            group[name] = 1
    with streamh5.File(path, "a") as file:
        file["g"].attrs["last"] = 1
        file["g/last"] = 2
    with h5py.File(path) as read:
        assert list(read["g"].attrs) == [*names, "last"]
        assert list(read["g"]) == [*names, "last"]
