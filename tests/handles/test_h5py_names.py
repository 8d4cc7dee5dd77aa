"""Names of h5py on the handles: the same calls say the same in a file of h5py and in one of streamh5."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

import streamh5
from streamh5.errors import BlockError, DatatypeError, LimitError, PathError, ShapeError, SpecError

FACTS = (
    *("name", "shape", "maxshape", "dtype", "ndim", "size", "nbytes", "chunks", "compression"),
    *("compression_opts", "filter_ids", "shuffle", "fletcher32", "scaleoffset", "external"),
)


def fill(file: Any) -> None:
    """Create datasets of all kinds, groups and links."""
    file.create_dataset("a/gzip", (10, 3), "f4", chunks=(4, 3), compression="gzip", compression_opts=7)
    file.create_dataset("a/szip", (64, 64), "i4", chunks=(8, 64), compression="szip", shuffle=True)
    file.create_dataset("a/lzf", (10, 3), "i2", chunks=(4, 3), compression="lzf", fletcher32=True)
    file.create_dataset("a/zstd", (10, 3), "i2", chunks=(4, 3), **hdf5plugin.Zstd(clevel=3))
    file.create_dataset("a/b/bits", (10, 3), "i2", chunks=(4, 3), scaleoffset=5)
    file.create_dataset("a/b/digits", (10, 3), "f4", chunks=(4, 3), scaleoffset=2)
    file.create_dataset("a/b/plain", data=np.arange(6), maxshape=(None,), chunks=(4,), fillvalue=7)
    file.create_dataset("scalar", data=3)
    file["again"] = file["a/b"]
    file["a/b/loop"] = file["a"]
    file["soft"] = h5py.SoftLink("/a/gzip")
    file["broken"] = h5py.SoftLink("/nothing")
    file["out"] = h5py.ExternalLink("other.h5", "/x")


@pytest.fixture(name="files")
def both_files(tmp_path: Path) -> Any:
    with streamh5.File(tmp_path / "a.h5") as ours, h5py.File(tmp_path / "b.h5", "w") as theirs:
        fill(ours)
        fill(theirs)
        yield ours, theirs


DATASETS = ("a/gzip", "a/szip", "a/lzf", "a/zstd", "a/b/bits", "a/b/digits", "a/b/plain", "scalar")


@pytest.mark.parametrize("path", DATASETS)
def test_facts_of_a_dataset_are_those_of_h5py(path: str, files: Any) -> None:
    ours, theirs = (file[path] for file in files)
    for name in FACTS:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours.filter_names) == len(theirs.filter_names)
    assert ours.parent.name == theirs.parent.name
    assert ours.file == files[0]
    if ours.ndim:
        assert ours.len() == theirs.len()


@pytest.mark.parametrize("start", ["/", "a", "a/b", "again"])
def test_visits_have_the_order_of_h5py(start: str, files: Any) -> None:
    found = []
    for file in files:
        group = file[start]
        calls: list[Any] = []
        assert group.visit(calls.append) is None
        assert group.visit_links(calls.append) is None
        assert (
            group.visititems(lambda name, item, seen=calls: seen.append((name, type(item).__name__))) is None
        )
        assert (
            group.visititems_links(lambda name, link, seen=calls: seen.append((name, type(link).__name__)))
            is None
        )
        found.append(calls)
    assert found[0] == found[1]
    assert len(found[0]) > 5


def test_visit_ends_with_what_the_function_returns(files: Any) -> None:
    for file in files:
        seen: list[str] = []

        def look(name: str, seen: list[str] = seen) -> str | None:
            seen.append(name)
            return name if name.endswith("digits") else None

        assert file.visit(look) == "a/b/digits"
        assert seen[-1] == "a/b/digits"


def test_get_returns_objects_classes_and_links_as_h5py_does(files: Any) -> None:
    for file in files:
        assert file.get("a/gzip") == file["a/gzip"]
        assert (file.get("nothing"), file.get("nothing", 3)) == (None, 3)
        names = {name: file.get(name, getclass=True).__name__ for name in ("a", "scalar")}
        assert names == {"a": "Group", "scalar": "Dataset"}
        links = {
            name: file.get(name, getlink=True) for name in ("a", "a/b/loop", "soft", "broken", "out", "none")
        }
        kinds = [type(link).__name__ for link in links.values()]
        assert kinds == ["HardLink", "HardLink", "SoftLink", "SoftLink", "ExternalLink", "NoneType"]
        assert links["soft"].path == "/a/gzip"
        assert (links["out"].filename, links["out"].path) == ("other.h5", "/x")
        assert file.get("out", getlink=True, getclass=True).__name__ == "ExternalLink"
        assert all(name in file for name in ("/", "a/b", "soft", "broken", "out"))
        assert "nothing" not in file


def test_iter_chunks_yields_the_regions_of_h5py(files: Any) -> None:
    for path, selections in {
        "a/gzip": (None, np.s_[2:9, 1:3], np.s_[4:5, 0:1], np.s_[:, 1:], (3, slice(0, 2)), [slice(1, 6), 2]),
        "a/b/plain": (None, np.s_[1:5], slice(2, None), 5),
    }.items():
        ours, theirs = (file[path] for file in files)
        for selection in selections:
            assert list(ours.iter_chunks(selection)) == list(theirs.iter_chunks(selection)), selection


def test_iter_chunks_of_wrong_regions_is_refused(files: Any) -> None:
    ours, _ = files
    for path, selection in (
        ("scalar", None),
        ("a/gzip", np.s_[0:11, 0:3]),
        ("a/gzip", np.s_[0:3]),
        ("a/gzip", np.s_[3:3, 0:3]),
    ):
        with pytest.raises(BlockError):
            list(ours[path].iter_chunks(selection))


def test_references_of_handles_refer_to_them(tmp_path: Path) -> None:
    paths = tmp_path / "a.h5", tmp_path / "b.h5"
    with streamh5.File(paths[0]) as ours, h5py.File(paths[1], "w") as theirs:
        files: tuple[Any, Any] = ours, theirs
        for file in files:
            data = file.create_dataset("g/x", data=np.arange(40).reshape(5, 8), chunks=(2, 8))
            file.attrs["object"] = data.ref
            file["g"].attrs["group"] = file["g"].ref
            file.attrs["root"] = file.ref
            for name, region in {
                "box": np.s_[0:3, 5],
                "open": np.s_[1:],
                "steps": np.s_[::2, 1::3],
                "last": np.s_[-1, ..., -2:],
                "all": np.s_[...],
            }.items():
                file.attrs[name] = data.regionref[region]
            assert file[data.ref] == data
            file["refs"] = np.array([data.ref, file["g"].ref], h5py.ref_dtype)
    with h5py.File(paths[0]) as ours, h5py.File(paths[1]) as theirs:
        for name in ("object", "root"):
            assert ours[ours.attrs[name]].name == theirs[theirs.attrs[name]].name
        assert ours[ours["g"].attrs["group"]].name == "/g"
        assert [ours[one].name for one in ours["refs"][()]] == ["/g/x", "/g"]
        for name in ("box", "open", "steps", "last", "all"):
            reference, other = ours.attrs[name], theirs.attrs[name]
            np.testing.assert_array_equal(ours["g/x"][reference], theirs["g/x"][other])
            assert ours["g/x"].regionref.selection(reference) == theirs["g/x"].regionref.selection(other)


def test_region_references_that_cannot_be_stored_are_refused(files: Any) -> None:
    ours, _ = files
    big = ours.create_dataset("big", (2000, 2000), "u1", chunks=(1000, 1000))
    for region in (np.s_[3:3], np.s_[20], np.s_[0, 0, 0], np.s_[::-1], "x"):
        with pytest.raises(SpecError, match="/a/gzip"):
            _ = ours["a/gzip"].regionref[region]
    with pytest.raises(LimitError, match="1,000,000 blocks"):
        _ = big.regionref[::2, ::2]


def test_require_dataset_returns_what_is_there_or_creates(files: Any) -> None:
    for file in files:
        assert file.require_dataset("a/gzip", (10, 3), "f4") == file["a/gzip"]
        assert file.require_dataset("a/gzip", (10, 3), "f4", exact=True) == file["a/gzip"]
        assert file.require_dataset("a/gzip", (10, 3), "i2") == file["a/gzip"]
        made = file.require_dataset("new/x", (4,), "i4", chunks=(2,), maxshape=(8,))
        assert (made.shape, made.dtype, made.maxshape) == ((4,), np.dtype("i4"), (8,))
        assert file.require_dataset("new/x", (6,), "i4", maxshape=(8,)) == made
        assert file.require_group("new") == file["new"]
        for error, arguments in (
            ((ShapeError, TypeError), ("a/gzip", (10, 4), "f4")),
            ((DatatypeError, TypeError), ("a/gzip", (10, 3), "f8")),
            ((PathError, TypeError), ("a/b", (10, 3), "f4")),
        ):
            with pytest.raises(error):
                file.require_dataset(*arguments)
        with pytest.raises(TypeError):
            file.require_dataset("a/gzip", (10, 3), "i2", exact=True)
        with pytest.raises((ShapeError, TypeError)):
            file.require_dataset("new/x", (6,), "i4", maxshape=(9,))


def test_create_dataset_like_takes_everything_but_the_data(tmp_path: Path, files: Any) -> None:
    ours, theirs = files
    with streamh5.File(tmp_path / "copy.h5") as copy:
        for path in DATASETS:
            made = copy.create_dataset_like(path, ours[path])
            for name in FACTS:
                assert getattr(made, name) == getattr(ours[path], name), (path, name)
            if path != "a/zstd":  # h5py's own method does not know its compression either
                copy.create_dataset_like(f"theirs/{path}", theirs[path])
    with h5py.File(tmp_path / "copy.h5") as found:
        for path in DATASETS:
            for name in (*FACTS[1:], "fillvalue"):
                assert getattr(found[path], name) == getattr(theirs[path], name), (path, name)
                if path != "a/zstd":
                    assert getattr(found[f"theirs/{path}"], name) == getattr(theirs[path], name), (path, name)
        assert found["a/b/plain"][()].tolist() == [7] * 6


def test_pop_and_other_methods_of_mappings_are_there(files: Any) -> None:
    for file in files:
        assert file.setdefault("a", 3) == file["a"]
        file.update({"u": 1, "v": np.arange(3)})
        assert file["v"].shape == (3,)
        assert list(reversed(file["a/b"])) == list(file["a/b"])[::-1]


def test_write_direct_writes_a_part_of_an_array(tmp_path: Path) -> None:
    source = np.arange(40).reshape(5, 8)
    paths = tmp_path / "a.h5", tmp_path / "b.h5"
    with streamh5.File(paths[0]) as ours, h5py.File(paths[1], "w") as theirs:
        files: tuple[Any, Any] = ours, theirs
        for file in files:
            file.create_dataset("x", (5, 8), "i8", chunks=(2, 8)).write_direct(source)
            file.create_dataset("y", (4, 3), "i8").write_direct(source, np.s_[1:3, 0:3], np.s_[0:2, 0:3])
    for path in paths:
        with h5py.File(path) as found:
            np.testing.assert_array_equal(found["x"], source)
            assert found["y"][()].tolist() == [[8, 9, 10], [16, 17, 18], [0, 0, 0], [0, 0, 0]]


def test_soft_links_lead_to_the_objects_of_h5py(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as ours, h5py.File(tmp_path / "b.h5", "w") as theirs:
        files: tuple[Any, Any] = ours, theirs
        for file in files:
            fill(file)
            file["a/b/up"] = h5py.SoftLink("/a")
            file["a/b/here"] = h5py.SoftLink("plain")
            file["twice"] = h5py.SoftLink("/a/b/up/b/here")
            file["a/loop"] = h5py.SoftLink("loop/x")
            assert file["soft"] == file["a/gzip"]
            assert file["a/b/up/gzip"] == file["a/b/up"]["lzf"].parent["gzip"] == file["a/gzip"]
            assert file["twice"] == file["again/here"] == file["a/b/plain"]
            assert file.get("soft", getclass=True).__name__ == "Dataset"
            assert file.get("broken", 3) == 3
            for name in ("broken", "soft/x", "out"):
                with pytest.raises(KeyError):
                    _ = file[name]
        with pytest.raises(KeyError):
            _ = ours["a/loop"]


def test_track_times_stores_the_present_time_and_changes_keep_it(tmp_path: Path) -> None:
    before = int(time.time())
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        file.create_group("g", track_times=True)
        file.create_dataset("x", data=np.arange(3000), chunks=(100,), track_times=True)
        file.create_dataset("small", data=1, track_times=True)
        file.create_dataset("without", data=1)
    after = int(time.time())
    with streamh5.File(tmp_path / "a.h5", "a") as file:
        for name in ("g", "x", "small", "without"):
            file[name].attrs["n"] = 1
    with h5py.File(tmp_path / "a.h5", "r+") as found:
        for name in ("g", "x", "small"):
            assert before <= h5py.h5o.get_info(found[name].id).mtime <= after
        assert h5py.h5o.get_info(found["without"].id).mtime == 0
        assert found["x"][-1] == 2999
        assert found["small"][()] == 1
        found["x"].attrs["later"] = 1
    assert streamh5.verify(tmp_path / "a.h5").ok


@pytest.mark.parametrize("writer", ["h5py", "streamh5"])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("track_order", [False, True])
def test_names_come_in_the_order_of_h5py(track_order: bool, libver: Any, writer: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    names = ["z", "ä", "b10", "b9", "Z", "a", "_"]

    def fill_in(file: Any) -> None:
        group = file.create_group("g", track_order=track_order)
        for name in names:
            group[name] = 1
            group[name].attrs[name] = 2
            group.attrs[name] = 3

    def order(file: Any) -> list[list[str]]:
        group = file["g"]
        return [
            list(one)
            for one in (
                group,
                reversed(group),
                group.keys(),
                dict(group.items()),
                group.attrs,
                group["a"].attrs,
            )
        ]

    if writer == "streamh5":
        with streamh5.File(path, "w", libver=libver) as file:
            fill_in(file)
            mine = order(file)
    else:
        with h5py.File(path, "w", libver=libver) as file:
            fill_in(file)
        with streamh5.File(path, "a") as file:
            mine = order(file)
    with h5py.File(path) as file:
        assert mine == order(file)


@pytest.mark.parametrize("chunks", [None, (2,)])
def test_field_alone_is_refused_by_name(chunks: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("x", (3,), [("a", "i4"), ("b", "f4")], chunks=chunks)
        for region in ("a", (slice(2), "a")):
            with pytest.raises(BlockError, match="names a field; give whole elements"):
                dataset[region] = 5
