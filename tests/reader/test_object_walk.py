"""The walk over the objects of a file: each object once, under the first path, up to the longest path."""

from __future__ import annotations

from pathlib import Path

import h5py

import streamh5
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_map import FileMap
from streamh5.reader.object_content import GroupMessages
from streamh5.reader.object_walk import MAX_PATH_LENGTH, ObjectWalk
from streamh5.reader.superblock import read_superblock


def test_objects_come_once_in_the_order_of_h5py(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for name in ("a/b/x", "a/y", "c/z"):
            file[name] = 1
        file["a/loop"] = file["/"]
        file["c/again"] = file["a/b"]
        file["c/soft"] = h5py.SoftLink("/nothing")
    with FileBytes(path) as raw:
        walk = ObjectWalk(raw, FileMap(raw.nbytes))
        found = []
        for place in walk.over(read_superblock(raw).root_address):
            found.append(place.path)
            messages = walk.messages(place, walk.header(place))
            if isinstance(messages, GroupMessages):
                assert walk.follow(place, sorted(messages.links, key=lambda link: link.name))
    with h5py.File(path) as file:
        expected = ["/"]
        file.visit(lambda name: expected.append(f"/{name}"))
    assert found == expected


def test_groups_with_a_path_over_the_limit_are_not_entered(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    name = "n" * MAX_PATH_LENGTH
    with h5py.File(path, "w") as file:
        file[f"{name}/x"] = 1
        file[f"short/{name}"] = 1
    with FileBytes(path) as raw:
        walk = ObjectWalk(raw, FileMap(raw.nbytes))
        refused = []
        for place in walk.over(read_superblock(raw).root_address):
            messages = walk.messages(place, walk.header(place))
            if isinstance(messages, GroupMessages) and not walk.follow(place, messages.links):
                refused.append(place.path)
        assert refused == [f"/{name}"]
        assert f"/short/{name}" in [place.path for place in walk.places.values()]
    report = streamh5.verify(path)
    assert (report.n_damaged_structures, report.n_unchecked) == (0, 1)
