"""Links and attributes of groups: drawn trees against h5py's view, dense storage, cycles, two names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import streamh5
from streamh5 import errors
from streamh5.format.link import UserDefinedLink
from tests.readers.hdf5_tools import differs, h5debug, h5ls, header_address, repacks
from tests.written import assert_every_reader

DENSE = 257
"""Links from which on a group is dense."""


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize("track_order", [False, True])
@pytest.mark.parametrize("n_links", [255, 256, 257, 5000])
def test_group_of_many_links_is_listed_changed_and_repacked(
    n_links: int, track_order: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    names = [f"link {(i * 7919) % n_links}" for i in range(n_links)]
    with streamh5.File(path, track_order=track_order) as file:
        file["x"] = np.arange(4)
        group = file.create_group("g")
        for i, name in enumerate(names):
            if i % 3:
                group[name] = file["x"]
            else:
                group[name] = streamh5.SoftLink("/x")
    with h5py.File(path) as found:
        assert list(found["g"]) == (names if track_order else sorted(names))
        assert found["g"][names[-1]] == found["x"]
        kept = found["g"].id.get_create_plist().get_link_creation_order()
        assert bool(kept) == track_order
        assert h5py.h5o.get_info(found["x"].id).rc == 1 + sum(i % 3 > 0 for i in range(n_links))
    said = h5debug(path, header_address(path, "/g"))
    assert ("H5O_LINK" not in said.upper()) or n_links < DENSE
    assert n_links < 1000 or len(said) < 20_000  # the links are not in the header
    repacks(path)
    with h5py.File(path, "r+") as changed:
        for name in names[::2]:
            del changed["g"][name]
        changed["g"]["new"] = changed["x"]
    with h5py.File(path) as found:
        left = [*names[1::2], "new"]
        assert list(found["g"]) == (left if track_order else sorted(left))
        assert found["g/new"][()].tolist() == [0, 1, 2, 3]


def test_one_dataset_under_many_names_is_one_object(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        file["g/x"] = np.arange(3)
        file["h/y"] = file["g/x"]
        file["z"] = file["h/y"]
        file["h/y"].attrs["a"] = 1
        assert isinstance(file["z"], streamh5.Dataset)
        assert file["z"].name == "/g/x"
        file["groups/again"] = file["g"]
        again = file["groups/again"]
        assert isinstance(again, streamh5.Group)
        again.create_dataset("inner", data=5)
        assert "g/inner" in file
    with h5py.File(path) as found:
        assert found["z"] == found["h/y"] == found["g/x"]
        assert found["z"].attrs["a"] == 1
        assert found["groups/again"] == found["g"]
        assert found["g/inner"][()] == 5
    with h5py.File(path, "r+") as changed:
        del changed["g/x"]
        del changed["h/y"]
        changed["z"][0] = 9
        del changed["g"]
    with h5py.File(path) as found:
        assert found["z"][()].tolist() == [9, 1, 2]
        assert found["groups/again/inner"][()] == 5


CYCLES = [
    ("a/b", "a/b/c", "a"),
    ("a/b", "a/b/c", "a/b"),
    ("a/b", "a/again", "a"),
    ("a", "a/root", "/"),
]


@pytest.mark.parametrize(("group", "name", "target"), CYCLES)
def test_hard_link_to_a_group_above_is_what_h5py_writes(
    group: str, name: str, target: str, tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, h5py.File(tmp_path / "b.h5", "w") as other:
        for one in (file, other):
            one.create_group(group)
            one[name] = one[target]
            one[f"{name}/x"] = np.arange(3)
    with h5py.File(tmp_path / "a.h5") as found, h5py.File(tmp_path / "b.h5") as other:
        assert found[name] == found[target]
        assert found[f"{name}/x"] == found[f"{target}/x"]
        assert found[f"{name}/x"][()].tolist() == [0, 1, 2]
        for one in ("/", group, f"{name}/x"):
            assert h5py.h5o.get_info(found[one].id).rc == h5py.h5o.get_info(other[one].id).rc, one
    assert differs(tmp_path / "a.h5", tmp_path / "b.h5") is None
    repacks(tmp_path / "a.h5")


def test_cycle_over_several_groups_is_walked_by_h5py(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, h5py.File(tmp_path / "b.h5", "w") as other:
        for one in (file, other):
            for name in "abcd":
                one.create_group(f"{name}/inner")
            one["a/inner/b"] = one["b"]
            one["b/inner/c"] = one["c"]
            for name in ("c/inner/a", "c/a", "c/inner/deeper/a", "b/inner/a"):
                one[name] = one["a"]
            one["c/inner/x"] = one["b/inner"]
            one["d/root"] = one["/"]
            one["root"] = one["/"]
    visited: list[list[str]] = [[], []]
    with h5py.File(tmp_path / "a.h5") as found, h5py.File(tmp_path / "b.h5") as other:
        for one, names in zip((found, other), visited, strict=True):
            one.visit(names.append)
        assert visited[0] == visited[1]
        for name in visited[0]:
            assert h5py.h5o.get_info(found[name].id).rc == h5py.h5o.get_info(other[name].id).rc, name


def test_cycles_of_hard_links_survive_salvage_and_resume(tmp_path: Path) -> None:
    def write(file: streamh5.File) -> None:
        file.create_group("g/h")
        file["g/h/up"] = file["g"]
        file["soft"] = streamh5.SoftLink("/g")
        file["g/h/up/x"] = np.arange(3)  # through the link that was made before
        file.create_dataset("g/h/up/h/up/y", data=np.arange(3), chunks=(1,))
        file.session.wait()

    for name in ("a.h5", "b.h5"):
        for _ in range(2):
            file = streamh5.File(tmp_path / name, resume=True)
            write(file)
            file.suspend()
    streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "s.h5")
    with streamh5.File(tmp_path / "b.h5", resume=True) as file:
        write(file)
    for name in ("s.h5", "b.h5"):
        with h5py.File(tmp_path / name) as found:
            assert found["g/h/up"] == found["g"]
            assert list(found["g"]) == ["h", "x", "y"]
            assert found["g/y"][()].tolist() == [0, 1, 2]
            assert found.get("soft", getlink=True).path == "/g"


def test_groups_nested_by_the_thousands_are_written_added_to_and_salvaged(tmp_path: Path) -> None:
    n = 2000
    path = "/g" * n

    def write(file: streamh5.File) -> None:
        file.create_group(path)
        file[f"{path}/up"] = file["g"]
        file.create_dataset(f"{path}/x", data=np.arange(3), chunks=(1,))
        file.session.wait()

    with streamh5.File(tmp_path / "a.h5") as file:
        write(file)
    file = streamh5.File(tmp_path / "b.h5", resume=True)
    write(file)
    file.suspend()
    streamh5.salvage(tmp_path / "b.h5.partial", output=tmp_path / "s.h5")
    with streamh5.File(tmp_path / "a.h5", "a") as file:
        file[f"{path}/y"] = 5
    for name in ("a.h5", "s.h5"):
        with h5py.File(tmp_path / name) as found:
            group = found
            for _ in range(n):
                group = group["g"]
            assert group["up"] == found["g"]
            assert group["x"][()].tolist() == [0, 1, 2]
            assert name == "s.h5" or group["y"][()] == 5


def test_user_defined_link_is_listed_and_kept_by_salvage_and_addition(tmp_path: Path) -> None:
    link = UserDefinedLink(187, b"abc\0\xff")
    file = streamh5.File(tmp_path / "a.h5", resume=True)
    file.session.link("/g/u", link)
    file.create_dataset("x", data=np.arange(3), chunks=(1,))
    file.session.wait()
    file.suspend()
    streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "s.h5")
    with streamh5.File(tmp_path / "s.h5", "a") as file:
        file["g/new"] = 1
    with h5py.File(tmp_path / "s.h5") as found:
        assert list(found["g"]) == ["new", "u"]
        assert found["g"].id.links.get_info(b"u").type == 187
    assert link.value in (tmp_path / "s.h5").read_bytes()
    assert "UD Link" in h5ls(tmp_path / "s.h5", "g")
    with streamh5.File(tmp_path / "b.h5") as file, pytest.raises(errors.PathError, match="65 to 255"):
        file.session.link("/u", UserDefinedLink(64, b""))


def test_object_of_another_file_is_refused(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, streamh5.File(tmp_path / "b.h5") as other:
        other["x"] = np.arange(3)
        other.create_group("g")
        for name in ("x", "g"):
            with pytest.raises(errors.PathError, match="another file"):
                file["y"] = other[name]
        with pytest.raises(errors.PathError, match="another file"):
            file["y"] = other
        assert list(file) == []


@pytest.mark.parametrize("first", ["dataset", "group", "soft", "external", "hard"])
@pytest.mark.parametrize("second", ["dataset", "group", "soft", "external", "hard"])
def test_second_link_of_a_name_is_refused(first: str, second: str, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file["x"] = np.arange(3)
        kinds: dict[str, Any] = {
            "dataset": lambda: file.create_dataset("g/name", data=1),
            "group": lambda: file.create_group("g/name"),
            "soft": lambda: file.__setitem__("g/name", h5py.SoftLink("/x")),
            "external": lambda: file.__setitem__("g/name", h5py.ExternalLink("b.h5", "/x")),
            "hard": lambda: file.__setitem__("g/name", file["x"]),
        }
        kinds[first]()
        with pytest.raises(errors.PathError, match="/g/name"):
            kinds[second]()
        group = file["g"]
        assert isinstance(group, streamh5.Group)
        assert list(group) == ["name"]


def test_external_link_leads_to_the_other_file(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "b.h5") as file:
        file["x"] = np.arange(3)
    with streamh5.File(tmp_path / "a.h5") as file:
        file["there"] = streamh5.ExternalLink("b.h5", "/x")
        file["g/there"] = h5py.ExternalLink("b.h5", "x")
    assert_every_reader(tmp_path / "b.h5", "/x", np.arange(3))
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["there"][()].tolist() == found["g/there"][()].tolist() == [0, 1, 2]


names = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=5).filter(
    lambda name: name not in (".", "..")
)
values = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    st.lists(st.integers(-9, 9), min_size=1, max_size=5),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), min_size=1, max_size=4
    ),
    st.just(h5py.Empty("f4")),
    st.sampled_from(
        [np.float32(1.5), np.complex64(2j), np.zeros((2, 0)), np.arange(6, dtype=">u2").reshape(2, 3)]
    ),
)
attributes = st.dictionaries(names, values, max_size=12)
trees = st.recursive(
    st.tuples(st.just("dataset"), attributes),
    lambda inner: st.tuples(st.dictionaries(names, inner, max_size=4), attributes),
    max_leaves=12,
)


def make(parent: Any, tree: Any) -> None:
    """Make a drawn tree with h5py or with streamh5."""
    children, attrs = tree
    for name, value in attrs.items():
        parent.attrs[name] = value
    for name, child in children.items():
        if child[0] == "dataset":
            dataset = parent.create_dataset(name, data=np.arange(len(name)))
            for key, value in child[1].items():
                dataset.attrs[key] = value
        else:
            make(parent.create_group(name), child)


def view(path: Path) -> dict[str, Any]:
    """All that h5py shows, in its order."""
    found: dict[str, Any] = {}

    def note(node: Any) -> None:
        attrs = []
        for key in node.attrs:
            one = node.attrs.get_id(key)
            attrs.append((key, one.dtype.str, one.shape, repr(node.attrs[key])))
        content = list(node) if isinstance(node, h5py.Group) else node[()].tolist()
        found[node.name] = (content, attrs)
        if isinstance(node, h5py.Group):
            for name in node:
                note(node[name])

    with h5py.File(path) as file:
        note(file)
    return found


@given(
    tree=trees.filter(lambda tree: tree[0] != "dataset"),
    track_order=st.booleans(),
    libver=st.sampled_from(["v108", "v110"]),
)
@settings(max_examples=80)
def test_any_tree_is_what_h5py_would_have_written(
    tree: Any, track_order: bool, libver: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    config = h5py.get_config()
    config.track_order, before = track_order, config.track_order
    try:
        with h5py.File(folder / "theirs.h5", "w", track_order=track_order) as other:
            make(other, tree)
    finally:
        config.track_order = before
    with streamh5.File(folder / "ours.h5", track_order=track_order, libver=libver) as file:
        make(file, tree)
    assert view(folder / "ours.h5") == view(folder / "theirs.h5")
    assert differs(folder / "ours.h5", folder / "theirs.h5") is None
