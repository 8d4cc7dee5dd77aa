"""Mode "a": objects added to a file, which stays what it was until the superblock is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.sinks.append_file import AppendFileSink
from tests.readers import readers_for
from tests.readers.hdf5_tools import index_type, repacks
from tests.readers.protocol import assert_reads
from tests.readers.strict_tools import assert_passes_strict_tools
from tests.written import GZIP, traces, values

OLD = values("<i4", (40, 30))


def first_file(path: Path, **keywords: Any) -> Path:
    """A file with everything that an addition must leave alone."""
    with streamh5.File(path, **keywords) as file:
        file.attrs["text"] = "root"
        file.attrs["list"] = ["a", "bä"]
        group = file.create_group("g/h")
        group.attrs["where"] = "in the group"
        group.attrs["to"] = streamh5.Reference("/x")
        group.attrs["records"] = np.array([(1, "one")], [("n", "i2"), ("s", h5py.string_dtype())])
        file.create_dataset("x", data=OLD, chunks=(7, 8), **GZIP).attrs["units"] = "K"
        file.create_dataset("g/h/text", data=["a", "b"])
        file["g/soft"] = streamh5.SoftLink("/x")
        file["g/hard"] = file["x"]
        file["g/external"] = streamh5.ExternalLink("other.h5", "/y")
        for i in range(300):
            file.create_dataset(f"many/{i:03}", data=np.int16(i))
    return path


def assert_old(path: Path, **more: Any) -> None:
    """Everything of `first_file` is there, read by h5py."""
    with h5py.File(path) as found:
        assert found.attrs["text"] == "root"
        assert found.attrs["list"].tolist() == ["a", "bä"]
        group = found["g/h"]
        assert group.attrs["where"] == "in the group"
        assert found[group.attrs["to"]] == found["x"]
        assert group.attrs["records"]["s"].tolist() == [b"one"]
        np.testing.assert_array_equal(found["x"][()], OLD)
        assert found["x"].attrs["units"] == "K"
        assert found["g/h/text"].asstr()[()].tolist() == ["a", "b"]
        assert found["g/soft"] == found["g/hard"] == found["x"]
        assert found["g"].get("external", getlink=True).path == "/y"
        assert [int(found[f"many/{i:03}"][()]) for i in range(0, 300, 37)] == list(range(0, 300, 37))
        for name, expected in more.items():
            np.testing.assert_array_equal(found[name.replace("__", "/")][()], expected)


def add_all(path: Path, **keywords: Any) -> dict[str, Any]:
    """Add at every kind of place; return the datasets that must be there now."""
    new = values("<f8", (50, 9))
    with streamh5.File(path, "a", **keywords) as file:
        file.create_dataset("new", data=new, chunks=(8, 9), **GZIP)
        file.create_dataset("g/h/inner", data=new[:5])
        file.create_dataset("g/deeper/still/x", data=new[:6], chunks=(2, 2))
        file.create_dataset("many/new", data=np.arange(3))
        file["g/again"] = file["new"]
        file["g/to old"] = h5py.SoftLink("/g/h/text")
        file["g/h"].attrs["added"] = ["c", "d"]
        file["g/h"].attrs["where"] = "changed"
        file.attrs["added"] = 5
        file.attrs["to"] = [streamh5.Reference("/new"), streamh5.Reference("/x")]
        file.create_dataset("rows", (None, 3), "i2", chunks=(4, 3), maxshape=(None, 3)).append(
            np.ones((9, 3), "i2")
        )
    return {"new": new, "g__h__inner": new[:5], "g__deeper__still__x": new[:6], "many__new": np.arange(3)}


@pytest.mark.parametrize("libver", ["v108", "v110"])
@pytest.mark.parametrize("track_order", [False, True])
def test_addition_keeps_every_object_and_is_read_by_all(
    track_order: bool, libver: str, tmp_path: Path
) -> None:
    path = first_file(tmp_path / "a.h5", libver=libver, track_order=track_order)
    added = add_all(path)
    with h5py.File(path, "r+") as changed:
        assert changed["g/h"].attrs["where"] == "changed"
        changed["g/h"].attrs["where"] = "in the group"
        assert changed["g/h"].attrs["added"].tolist() == ["c", "d"]
        assert changed[changed.attrs["to"][0]] == changed["new"] == changed["g/again"]
        assert changed["g/to old"] == changed["g/h/text"]
        assert changed["rows"].shape == (9, 3)
        changed["rows"].resize(20, 0)
        changed["many"]["later"] = 5
        del changed["many/007"]
    assert_old(path, **added)
    for reader in readers_for("<f8"):
        assert_reads(reader, path, "/new", added["new"])
        assert_reads(reader, path, "/g/deeper/still/x", added["g__deeper__still__x"])
    if track_order:
        with h5py.File(path) as found:
            assert list(found) == ["g", "x", "many", "new", "rows"]
            assert list(found["g"]) == ["h", "soft", "hard", "external", "deeper", "again", "to old"]
            assert list(found.attrs) == ["text", "list", "added", "to"]
    shutil.copy(path, tmp_path / "other.h5")
    with h5py.File(path, "r+") as changed:
        del changed["g/external"]
    repacks(path)
    if libver == "v108":
        with h5py.File(path) as found:
            kind = found["new"].id.get_create_plist().get_layout()
        assert kind == h5py.h5d.CHUNKED


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize(("libver", "index"), [("v108", "v1 B-tree"), ("v110", "Fixed Array")])
def test_addition_has_the_index_that_the_readers_of_the_file_know(
    libver: str, index: str, tmp_path: Path
) -> None:
    path = first_file(tmp_path / "a.h5", libver=libver)
    with streamh5.File(path, "a") as file:
        file.create_dataset("new", data=OLD, chunks=(7, 8))
    array = da.from_array(OLD, chunks=(7, 8))
    streamh5.to_fixed_h5(path, "/lazy", array, mode="a")
    assert_old(path, new=OLD, lazy=OLD)
    if libver == "v110":
        assert index_type(path, "/new") == index_type(path, "/lazy") == index
    else:
        assert path.read_bytes()[8] == 2
        for other in ("v110", "v200"):
            if other == "v200":
                with pytest.raises(errors.SpecError, match="v108"):
                    streamh5.File(path, "a", libver=other)
    with pytest.raises(errors.SpecError, match="libver"):
        streamh5.File(path, "a", libver="v200" if libver == "v108" else "v108")
    assert traces(tmp_path) == ["a.h5"]


def test_many_additions_in_a_row_are_all_there(tmp_path: Path) -> None:
    path = first_file(tmp_path / "a.h5")
    expected = {}
    for i in range(12):
        with streamh5.File(path, "a") as file:
            file.create_dataset(f"runs/{i}/x", data=np.full((20, 3), i), chunks=(6, 3), **GZIP)
            file.attrs[f"run {i}"] = i
            file.attrs["last"] = i
        expected[f"runs__{i}__x"] = np.full((20, 3), i)
    assert_old(path, **expected)
    with h5py.File(path) as found:
        assert found.attrs["last"] == 11
        assert [found.attrs[f"run {i}"] for i in range(12)] == list(range(12))
    repack_without_external(path)


def repack_without_external(path: Path) -> None:
    with h5py.File(path, "r+") as changed:
        del changed["g/external"]
    repacks(path)


class Stages(AppendFileSink):
    """Keeps a copy of the file after every change of its bytes."""

    def __init__(self, path: Any, folder: Path, **keywords: Any) -> None:
        self.folder = folder
        self.n = 0
        super().__init__(path, **keywords)

    def keep(self) -> None:
        shutil.copyfile(self.path, self.folder / f"{self.n:04}.h5")
        self.n += 1

    def write(self, address: int, buffers: Any) -> None:
        super().write(address, buffers)
        self.keep()

    def _sync_data(self) -> None:
        self.keep()
        super()._sync_data()


def test_file_is_the_old_one_in_every_stage_until_the_superblock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = first_file(tmp_path / "a.h5")
    folder = tmp_path / "stages"
    folder.mkdir()
    monkeypatch.setattr(
        "streamh5.handles.destination.AppendFileSink",
        lambda path, **keywords: Stages(path, folder, **keywords),
    )
    monkeypatch.setattr("streamh5.engine.gathered_pieces.MAX_GATHERED_NBYTES", 0)  # each piece is a stage
    added = add_all(path)
    monkeypatch.undo()
    assert_old_but_where(path, **added)
    stages = sorted(folder.iterdir())
    assert len(stages) > 20
    for stage in stages[:-1:5] + stages[-3:-1]:
        assert_old(stage)
        with h5py.File(stage) as found:
            assert "new" not in found
        again = add_all_plain(stage)  # what a crash left is overwritten
        assert_old(stage, **again)
    assert_old_but_where(stages[-1], **added)


def add_all_plain(path: Path) -> dict[str, Any]:
    streamh5.to_fixed_h5(path, "/after", da.ones((9, 9), chunks=4), mode="a")
    return {"after": np.ones((9, 9))}


def assert_old_but_where(path: Path, **added: Any) -> None:
    copy = Path(shutil.copyfile(path, path.with_suffix(".checked")))
    with h5py.File(copy, "r+") as changed:
        changed["g/h"].attrs["where"] = "in the group"
    assert_old(copy, **added)
    copy.unlink()


def test_readers_that_have_the_file_open_go_on(tmp_path: Path) -> None:
    path = first_file(tmp_path / "a.h5")
    with h5py.File(path) as before:
        with streamh5.File(path, "a") as file:
            file.create_dataset("new", data=OLD, chunks=(7, 8))
            np.testing.assert_array_equal(before["x"][:5], OLD[:5])
            assert_old(path)
        np.testing.assert_array_equal(before["x"][()], OLD)
        assert "new" not in before
    assert_old(path, new=OLD)


@pytest.mark.parametrize("end", ["exception", "abort", "close fails"])
def test_addition_that_fails_leaves_the_bytes_as_they_were(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = first_file(tmp_path / "a.h5")
    before = path.read_bytes()
    file = streamh5.File(path, "a", keep="never")
    file.create_dataset("new", data=OLD, chunks=(7, 8))
    if end == "abort":
        file.abort()
    elif end == "exception":
        with pytest.raises(ZeroDivisionError), file:
            _ = 1 / 0
    else:
        file.attrs["to"] = streamh5.Reference("/none")
        with pytest.raises(errors.PathError):
            file.close()
    assert path.read_bytes() == before
    assert traces(tmp_path) == ["a.h5"]


@pytest.mark.parametrize(
    "name", ["x", "g", "g/h", "g/soft", "g/hard", "g/external", "many/007", "x/inside", "g/soft/y"]
)
def test_name_that_the_file_has_is_refused(name: str, tmp_path: Path) -> None:
    path = first_file(tmp_path / "a.h5")
    before = path.read_bytes()
    with pytest.raises(errors.PathError), streamh5.File(path, "a") as file:
        file.create_dataset(name, data=OLD)
    with pytest.raises(errors.PathError):
        streamh5.to_fixed_h5(path, name, da.from_array(OLD), mode="a")
    assert path.read_bytes() == before


def test_objects_of_the_file_have_handles(tmp_path: Path) -> None:
    path = first_file(tmp_path / "a.h5")
    with streamh5.File(path, "a") as file:
        assert list(file) == ["g", "many", "x"]
        assert "x" in file
        found = file["x"]
        assert isinstance(found, streamh5.Dataset)
        assert (found.shape, found.dtype, found.chunks) == (OLD.shape, OLD.dtype, (7, 8))
        assert found.compression == "gzip"
        assert found.attrs["units"] == "K"
        assert file["g/hard"] == found
        assert file["g/h"].attrs["to"] == streamh5.Reference("/x")
        assert found.name == "/x"
        assert set(file.attrs) == {"text", "list"}
        assert file.attrs["text"] == "root"
        del file.attrs["list"]
    with h5py.File(path) as found:
        assert dict(found.attrs) == {"text": "root"}


def h5py_plain(file: h5py.File) -> None:
    file["x"] = OLD


def h5py_rich(file: h5py.File) -> None:
    file.create_dataset("x", data=OLD, chunks=(7, 8), maxshape=(None, 30), compression="gzip")
    group = file.create_group("g", track_order=True)
    group.attrs["a"] = "text"
    for i in range(40):
        group.create_dataset(f"{(i * 7) % 40}", data=i)
    for i in range(20):
        file.attrs[f"{i}"] = i
    group["soft"] = h5py.SoftLink("/x")
    file["type"] = np.dtype("f8")


def h5py_deleted(file: h5py.File) -> None:
    h5py_rich(file)
    del file["g/3"]
    del file.attrs["5"]
    del file["type"]


H5PY_FILES: dict[str, tuple[dict[str, Any], Callable[[h5py.File], None]]] = {
    "default": ({}, h5py_plain),
    "v108": ({"libver": ("v108", "v108")}, h5py_rich),
    "v110": ({"libver": ("v110", "v110")}, h5py_plain),
    "rich": ({"libver": ("v110", "v110")}, h5py_rich),
    "deleted": ({"libver": ("v110", "v110")}, h5py_deleted),
    "v112": ({"libver": ("v112", "v112")}, h5py_rich),
    "v114": ({"libver": ("v114", "v114")}, h5py_rich),
    "v200": ({"libver": ("v200", "v200")}, h5py_rich),
    "order": ({"libver": ("v110", "v110"), "track_order": True}, h5py_rich),
    "user block": ({"libver": ("v110", "v110"), "userblock_size": 512}, h5py_plain),
    "pages": ({"libver": ("v110", "v110"), "fs_strategy": "page", "fs_persist": True}, h5py_rich),
    "free space": ({"libver": ("v110", "v110"), "fs_strategy": "fsm", "fs_persist": True}, h5py_deleted),
}


def content(path: Path) -> dict[str, Any]:
    """Every object and attribute, by name."""
    found: dict[str, Any] = {}

    def note(name: str, node: Any) -> None:
        found[name] = node[()].tolist() if isinstance(node, h5py.Dataset) else type(node).__name__
        for key, value in node.attrs.items():
            found[f"{name}@{key}"] = str(value)

    with h5py.File(path) as file:
        note("/", file)
        file.visititems(note)
        for group in ("/", "/g"):
            if group in file:
                found[f"links of {group}"] = list(file[group])
    return found


@pytest.mark.parametrize("kind", H5PY_FILES)
def test_file_of_h5py_is_added_to_rightly_or_refused_untouched(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    keywords, fill = H5PY_FILES[kind]
    with h5py.File(path, "w", **keywords) as file:
        fill(file)
    before, old = path.read_bytes(), content(path)
    if kind in ("pages", "free space"):
        with pytest.raises(errors.SpecError, match="h5py"):
            streamh5.File(path, "a")
        assert path.read_bytes() == before
        return
    with streamh5.File(path, "a", track_order=bool(keywords.get("track_order"))) as file:
        file.create_dataset("new", data=OLD, chunks=(7, 8), **GZIP)
        if "g" in file:
            file.create_dataset("g/new", data=OLD[:3])
    now = content(path)
    np.testing.assert_array_equal(now.pop("new"), OLD)
    if "g/new" in now:
        np.testing.assert_array_equal(now.pop("g/new"), OLD[:3])
        now["links of /g"].remove("new")
    now["links of /"].remove("new")
    assert now == old
    with h5py.File(path, "r+") as changed:
        changed["later"] = OLD
        changed["new"][0, 0] = 77
        del changed["x"]
    with h5py.File(path) as found:
        assert found["new"][0, 0] == 77
        np.testing.assert_array_equal(found["later"][()], OLD)
    repacks(path)


@pytest.mark.parametrize("libver", ["v108", "v110"])
def test_file_that_h5py_has_open_for_writing_is_refused(libver: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=(libver, libver)) as file:
        file["x"] = OLD
        file.flush()
        before = path.read_bytes()
        with pytest.raises((errors.SpecError, errors.SinkError)):
            streamh5.File(path, "a")
        assert path.read_bytes() == before
    assert traces(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("libver", ["v108", "v110"])
def test_h5py_cannot_open_for_writing_what_is_added_to(libver: str, tmp_path: Path) -> None:
    path = first_file(tmp_path / "a.h5", libver=libver)
    with streamh5.File(path, "a") as file:
        file.create_dataset("new", data=OLD, chunks=(7, 8))
        with pytest.raises(BlockingIOError, match="lock"):
            h5py.File(path, "r+")
    assert_old(path, new=OLD)


@pytest.mark.parametrize("damage", ["cut", "flipped", "not hdf5", "empty"])
def test_damaged_file_is_refused_untouched(damage: str, tmp_path: Path) -> None:
    path = first_file(tmp_path / "a.h5")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[-100:]
    elif damage == "flipped":
        content[60] ^= 1
    elif damage == "not hdf5":
        content = bytearray(b"text" * 100)
    else:
        content = bytearray()
    path.write_bytes(content)
    with pytest.raises(errors.SpecError, match=r"a\.h5"):
        streamh5.File(path, "a")
    assert path.read_bytes() == content
    assert traces(tmp_path) == ["a.h5"]


def test_bytes_behind_the_end_of_an_early_dataset_are_the_fill_value(tmp_path: Path) -> None:
    path = first_file(tmp_path / "a.h5")
    with path.open("ab") as stream:  # what a crash has left
        stream.write(b"\xff" * 100_000)
    with streamh5.File(path, "a") as file:
        file.create_dataset("new", (100, 10), "u1", chunks=(9, 10), alloc_time="early")[:9] = 3
    with h5py.File(path) as found:
        assert (found["new"][:9] == 3).all()
        assert (found["new"][9:] == 0).all()
    assert_old(path)


def test_group_of_two_names_gets_the_new_object_under_both(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        file.create_group("g/inner")
        file["g/inner/x"] = OLD
        file["h/again"] = file["g/inner"]
        file["untouched"] = file["g/inner"]
    for number in range(3):
        with streamh5.File(path, "a") as file:
            file.create_dataset(f"h/again/new {number}", data=OLD)
    with h5py.File(path, "r+") as found:
        assert found["g/inner"] == found["h/again"] == found["untouched"]
        assert list(found["g/inner"]) == ["new 0", "new 1", "new 2", "x"]
        assert h5py.h5o.get_info(found["g/inner"].id).rc == 3
        del found["g"]
        del found["untouched"]
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["h/again/x"][()], OLD)
    repacks(path)


def test_addition_to_a_file_with_cycles_of_hard_links_is_seen_through_each_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.create_group("a/b/d")
        file["a/b/c"] = file["a"]
        file["a/b/d/root"] = file["/"]
        file["beside/of"] = file["a/b/d"]
        file.create_group("beside/alone")["x"] = OLD
    for number, name in enumerate(["a/b", "beside/of/root/a", "beside"]):
        with streamh5.File(path, "a") as file:
            file[f"{name}/new {number}"] = OLD
    with h5py.File(path) as found:
        assert found["a/b/d/root"] == found["/"] == found["beside/of/root/a/b/d/root"]
        assert found["a/b/c"] == found["a"]
        for name in (
            "a/b/new 0",
            "beside/of/root/a/b/new 0",
            "a/b/c/new 1",
            "beside/new 2",
            "beside/alone/x",
        ):
            np.testing.assert_array_equal(found[name][()], OLD)
        for name, rc in {"/": 1, "a": 2, "a/b/d": 2, "beside": 1}.items():
            assert h5py.h5o.get_info(found[name].id).rc == rc + (name == "/"), name
    repacks(path)


def test_addition_keeps_the_creation_order_of_attributes_in_dense_storage(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    names = [f"{(7 * i) % 40}" for i in range(40)]
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        group = file.create_group("g", track_order=True)
        for name in names:
            group.attrs[name] = 1
    with streamh5.File(path, "a") as file:
        file["g/x"] = OLD
    with h5py.File(path) as found:
        assert list(found["g"].attrs) == names


def test_second_name_for_a_group_of_the_file_is_counted_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        file["g/h/x"] = OLD
        file["z/g"] = file["g"]
    with streamh5.File(path, "a") as file:
        file["z/again"] = file["g/h"]
    with h5py.File(path, "r+") as found:
        assert h5py.h5o.get_info(found["g/h"].id).rc == 2
        del found["z/again"]  # a library that takes it for the last name frees the group
    with h5py.File(path, "r+") as found:
        found["g/h/y"] = OLD
        np.testing.assert_array_equal(found["z/g/h/x"][()], OLD)
    repacks(path)


@pytest.mark.usefixtures("strict_tools")
@pytest.mark.parametrize("kind", ["v108", "v110", "rich", "deleted", "order"])
def test_addition_to_a_file_of_h5py_passes_the_strict_tools(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    keywords, fill = H5PY_FILES[kind]
    with h5py.File(path, "w", **keywords) as file:
        fill(file)
    assert_passes_strict_tools(path)
    with streamh5.File(path, "a", track_order=bool(keywords.get("track_order"))) as file:
        file.create_dataset("new/x", data=OLD, chunks=(7, 8), **GZIP).attrs["units"] = "K"
        file.attrs["new"] = "text"
    assert_passes_strict_tools(path)


def test_addition_to_groups_deep_in_groups_is_read(tmp_path: Path) -> None:
    path, depth = tmp_path / "deep.h5", 1000
    inner = "/".join("g" * depth)
    with streamh5.File(path) as file:
        file.create_dataset(f"{inner}/x", data=OLD)
    with streamh5.File(path, "a") as file:
        file["y"] = OLD
        file[f"{inner}/z"] = OLD
    assert streamh5.verify(path).ok
    with h5py.File(path) as found:
        for name in ("y", f"{inner}/x", f"{inner}/z"):
            np.testing.assert_array_equal(found[name][...], OLD)


def test_addition_to_groups_beyond_the_longest_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.h5"
    with streamh5.File(path) as file:
        file.create_group("/".join("g" * 3000))
    before = path.read_bytes()
    with pytest.raises(errors.SpecError, match="a path of more than"):
        streamh5.File(path, "a")
    assert path.read_bytes() == before


def test_addition_to_groups_with_two_names_each_takes_no_time_for_each_way(tmp_path: Path) -> None:
    path = tmp_path / "ways.h5"
    with streamh5.File(path) as file:
        group = file.create_group("g")
        for _ in range(50):  # 2**50 ways from the root to the last one
            inner = group.create_group("a")
            group["b"] = inner
            group = inner
    with streamh5.File(path, "a") as file:
        file["y"] = OLD
        file["/".join("g" + "a" * 50) + "/z"] = OLD
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["/".join("g" + "b" * 50) + "/z"][...], OLD)


@pytest.mark.parametrize("strategy", ["none", "aggregate"])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_small_file_with_a_superblock_extension_is_added_to(
    strategy: str, libver: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", fs_strategy=strategy, libver=libver):
        pass
    with streamh5.File(path, "a") as file:
        file["new"] = OLD
    with h5py.File(path, "r+") as file:
        np.testing.assert_array_equal(file["new"], OLD)
        assert file.id.get_create_plist().get_file_space_strategy()[:2] == (
            {"none": h5py.h5f.FSPACE_STRATEGY_NONE, "aggregate": h5py.h5f.FSPACE_STRATEGY_AGGR}[strategy],
            False,
        )
        file["again"] = file["new"][...]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["again"], OLD)
