"""Sequences of changes: streamh5 makes them on one file, h5py on another; then every reader finds the same in both.

The files begin as copies of one file, which streamh5 or another library has written. Each session changes both files
through a drawn sequence; after each, h5py changes both again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import netCDF4
import numpy as np
import pytest
import tables
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import streamh5
from tests.foreign_files import fill
from tests.readers.hdf5_tools import repacks
from tests.readers.programs import run_program
from tests.readers.strict_tools import assert_passes_strict_tools
from tests.readers.whole_content import difference, whole_content

Draw = Callable[[st.SearchStrategy[Any]], Any]

NAMES = st.sampled_from(["a", "b", "g/a", "g/b", "g/h/c", "new"])
SMALL = st.integers(0, 9)
FILTERS: list[dict[str, Any]] = [
    {},
    {"compression": "gzip", "shuffle": True},
    {"fletcher32": True},
    {"compression": "lzf"},
]
COMPOUND = np.dtype([("n", "<i4"), ("x", ">f8"), ("text", "S5")])
TEXT = h5py.string_dtype()
DTYPES = [np.dtype("<i4"), np.dtype(">f8"), np.dtype("u1"), np.dtype("S7"), COMPOUND, TEXT]
KEPT = "kept"
"""A group that is never deleted: objects in it are the targets of references."""


def empty(path: Path) -> None:
    streamh5.File(path, "w").close()


def written_by_streamh5(path: Path) -> None:
    with streamh5.File(path, "w", track_order=True) as file:
        data = np.arange(60.0).reshape(12, 5)
        file.create_dataset("g/a", data=data, chunks=(4, 3), maxshape=(None, None), compression="gzip")
        file.create_dataset("a", data=data, chunks=(4, 5), maxshape=(None, 5))
        file.create_dataset("b", data=data, chunks=False)
        file["text"] = ["one", "", "drei"]
        file["g"].attrs["to"] = file["text"].ref


def by_h5py(libver: Any, **keywords: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w", libver=libver, **keywords) as file:
            fill(file)
            del file["empty"]  # h5diff ends with status 2 for a null dataspace
            group = file.require_group("g")
            group["a"] = np.arange(20)
            group.attrs["to"] = file["chunked"].ref

    return write


def by_netcdf_c(path: Path) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createDimension("x", 5)
        file.createVariable("time", "f8", ("time",))[:] = [0, 1, 2]
        file.createVariable("data", "f4", ("time", "x"), zlib=True)[:] = np.arange(15).reshape(3, 5)
        file.createGroup("g").createVariable("names", str, ("x",))[2] = "two"
        file.title = "netCDF-C"


def by_h5netcdf(path: Path) -> None:
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": None, "x": 5}
        file.create_variable("time", ("time",), "f8")
        file.create_variable("data", ("time", "x"), "i4", chunks=(2, 5))
        file.resize_dimension("time", 4)
        file["data"][...] = np.arange(20).reshape(4, 5)


def by_pytables(path: Path) -> None:
    with tables.open_file(path, "w") as file:
        file.create_table("/", "table", {"a": tables.Int32Col(), "b": tables.StringCol(9)})
        file.root.table.append([(i, f"{i}") for i in range(30)])
        file.create_vlarray("/", "lists", tables.Int32Atom()).append([1, 2, 3])
        file.create_earray("/g", "a", tables.Float64Atom(), (0, 3), createparents=True).append(
            np.ones((9, 3))
        )


SEEDS: dict[str, Callable[[Path], None]] = {
    "empty": empty,
    "streamh5": written_by_streamh5,
    "h5py earliest": by_h5py("earliest"),
    "h5py v108": by_h5py("v108"),
    "h5py v110": by_h5py(("v110", "v110")),
    "h5py latest": by_h5py("latest"),
    "h5py track_order": by_h5py(("v110", "v110"), track_order=True),
    "h5py user block": by_h5py("earliest", userblock_size=1024),
    "netCDF-C": by_netcdf_c,
    "h5netcdf": by_h5netcdf,
    "PyTables": by_pytables,
}


def values(draw: Draw, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return values that any mistake of place changes."""
    n, start = int(np.prod(shape)), draw(st.integers(1, 100))
    numbers = (np.arange(n) * 7 + start) % 120
    if dtype == TEXT or h5py.check_string_dtype(dtype) is not None:
        texts = np.array([f"t{i}"[: i % 4] for i in numbers.tolist()], object)
        return (texts if dtype.kind == "O" else texts.astype(dtype)).reshape(shape)
    if dtype.names is not None:
        found = np.zeros(n, dtype)
        for name in dtype.names:
            found[name] = numbers.astype(found[name].dtype)
        return found.reshape(shape)
    return numbers.astype(dtype).reshape(shape)


def boxes(draw: Draw, dataset: h5py.Dataset) -> tuple[slice, ...]:
    """Return a region: often the edges of chunks, often not."""
    box = []
    for axis, extent in enumerate(dataset.shape):
        step = dataset.chunks[axis] if dataset.chunks and draw(st.booleans()) else 1
        start = draw(st.integers(0, (extent - 1) // step)) * step
        stop = min(extent, start + draw(st.integers(1, 3)) * max(step, draw(st.sampled_from([1, 3]))))
        box.append(slice(start, stop))
    return tuple(box)


class Pair:
    """Two files that are open: streamh5 changes one, h5py the other."""

    def __init__(self, path: Path, twin: Path, draw: Draw) -> None:
        self.ours: Any = streamh5.File(path, "a", sync="none")
        self.theirs: Any = h5py.File(twin, "r+")
        self.draw = draw
        self.said: list[str] = []

    def say(self, *words: object) -> None:
        """Note a step, for the report of a failure."""
        self.said.append(" ".join(map(str, words)))

    def names(self, kind: type[Any] = object) -> list[str]:
        """Return the paths of the objects of a kind along hard links."""
        found: list[str] = []
        self.theirs.visititems(lambda name, one: found.append(name) if isinstance(one, kind) else None)
        return found

    def dataset(self, *, is_resizable: bool = False) -> tuple[str, Any] | None:
        """Draw a dataset that both libraries can write."""
        found = [
            name
            for name in self.names(h5py.Dataset)
            if _is_writable(self.theirs[name]) and (not is_resizable or _is_resizable(self.theirs[name]))
        ]
        if not found:
            return None
        name = self.draw(st.sampled_from(sorted(found)))
        return name, self.theirs[name]

    def create_group(self) -> None:
        name = self.draw(NAMES)
        if _is_free(self.theirs, name):
            self.say("create_group", name)
            self.ours.create_group(name)
            self.theirs.create_group(name)

    def create_dataset(self) -> None:
        name, draw = self.draw(NAMES), self.draw
        if not _is_free(self.theirs, name):
            return
        dtype = draw(st.sampled_from(DTYPES))
        shape = tuple(draw(st.lists(SMALL, max_size=2)))
        keywords: dict[str, Any] = {"chunks": False}
        if shape and draw(st.integers(0, 3)):
            chunks = tuple(draw(st.integers(1, 4)) for _ in shape)
            maxshape = tuple(draw(st.sampled_from([n, None, n + 5, n])) for n in shape)
            keywords = {"chunks": chunks, "maxshape": maxshape, **draw(st.sampled_from(FILTERS))}
            if any(n == 0 and c for n, c in zip(maxshape, chunks, strict=True)):
                keywords["maxshape"] = tuple(n or None for n in maxshape)
            keywords["chunks"] = tuple(
                min(c, n) if n is not None else c for c, n in zip(chunks, keywords["maxshape"], strict=True)
            )
        if dtype.kind in "iuf" and draw(st.booleans()):
            keywords["fillvalue"] = 9
        if dtype == TEXT:
            keywords.pop("fletcher32", None)  # the library refuses it for elements in the global heap
        theirs = {**keywords, "chunks": keywords["chunks"] or None}
        self.say("create_dataset", name, shape, dtype, keywords)
        if draw(st.booleans()):
            data = values(draw, dtype, shape)
            self.ours.create_dataset(name, data=data, dtype=dtype, **keywords)
            self.theirs.create_dataset(name, data=data, dtype=dtype, **theirs)
        else:
            self.ours.create_dataset(name, shape, dtype, **keywords)
            self.theirs.create_dataset(name, shape, dtype, **theirs)

    def write(self) -> None:
        found = self.dataset()
        if found is None or 0 in found[1].shape:
            return
        name, dataset = found
        if dataset.shape == ():
            block = values(self.draw, dataset.dtype, ())
            self.say("set", name)
            self.ours[name][()], dataset[()] = block, block
            return
        # h5py fills data that was never written with what it finds in freed space, if the fill value is the default
        is_new = dataset.chunks is None and not dataset.id.get_storage_size()
        box = tuple(slice(0, n) for n in dataset.shape) if is_new else boxes(self.draw, dataset)
        block = values(self.draw, dataset.dtype, tuple(one.stop - one.start for one in box))
        self.say("write", name, dataset.shape, dataset.chunks, box)
        self.ours[name][box], dataset[box] = block, block

    def append(self) -> None:
        found = self.dataset(is_resizable=True)
        if found is None:
            return
        name, dataset = found
        start, most = self.ours[name].n_appended, dataset.maxshape[0]
        n = self.draw(st.integers(0, 7))
        n = n if most is None else min(n, most - start)
        block = values(self.draw, dataset.dtype, (n, *dataset.shape[1:]))
        self.say("append", name, n, "after", start, "to", dataset.shape, dataset.maxshape, dataset.chunks)
        self.ours[name].append(block)
        if start + n > dataset.shape[0]:
            dataset.resize(start + n, axis=0)
        dataset[start : start + n] = block

    def resize(self) -> None:
        found = self.dataset(is_resizable=True)
        if found is None:
            return
        name, dataset = found
        shape = tuple(
            self.draw(st.integers(0, min(n + 6, n + 6 if most is None else most)))
            for n, most in zip(dataset.shape, dataset.maxshape, strict=True)
        )
        self.say("resize", name, dataset.shape, "to", shape, dataset.maxshape, dataset.chunks)
        self.ours[name].resize(shape)
        dataset.resize(shape)

    def set_attribute(self) -> None:
        name = self.draw(st.sampled_from(["/", *self.names()]))
        attribute = self.draw(st.sampled_from(["x", "y", "long", "units"]))
        value = self.draw(
            st.sampled_from(
                [
                    1,
                    2.5,
                    "text",
                    "ü",
                    ["one", "two"],
                    np.arange(5, dtype=">i2"),
                    np.float32(3),
                    np.bytes_("b"),
                    True,
                ]
            )
        )
        if attribute == "long":
            value = np.arange(9000.0) if self.draw(st.booleans()) else "long " * 300
        if self.theirs.id.get_create_plist() and not _takes_large(self.theirs[name], value):
            return
        self.say("attribute", name, attribute, repr(value)[:30])
        self.ours[name].attrs[attribute] = value
        self.theirs[name].attrs[attribute] = value

    def set_reference(self) -> None:
        name = self.draw(st.sampled_from(["/", *self.names()]))
        self.theirs.require_group(KEPT)
        self.ours.require_group(KEPT)
        self.say("reference", name)
        self.ours[name].attrs["to"] = self.ours[KEPT].ref
        self.theirs[name].attrs["to"] = self.theirs[KEPT].ref

    def delete_attribute(self) -> None:
        name = self.draw(st.sampled_from(["/", *self.names()]))
        found = sorted(one for one in self.theirs[name].attrs if one in ("x", "y", "long", "units", "text"))
        if found:
            attribute = self.draw(st.sampled_from(found))
            self.say("delete attribute", name, attribute)
            del self.ours[name].attrs[attribute]
            del self.theirs[name].attrs[attribute]

    def delete(self) -> None:
        name = self._link()
        if name is not None:
            self.say("delete", name)
            del self.ours[name]
            del self.theirs[name]

    def move(self) -> None:
        name, destination = self._link(), self.draw(NAMES)
        if name is None or not _is_free(self.theirs, destination) or f"{destination}/".startswith(f"{name}/"):
            return
        self.say("move", name, destination)
        self.ours.move(name, destination)
        self.theirs.move(name, destination)

    def link(self) -> None:
        destination = self.draw(NAMES)
        if not _is_free(self.theirs, destination):
            return
        kind = self.draw(st.sampled_from(["hard", "soft", "external"]))
        if kind == "hard":
            name = self.draw(st.sampled_from(["/", *self.names()]))
            if f"/{destination}/".startswith(f"/{name.strip('/')}/".replace("//", "/")):
                return
            self.say("hard link", destination, name)
            self.ours[destination] = self.ours[name]
            self.theirs[destination] = self.theirs[name]
            return
        link = h5py.SoftLink("/g/somewhere") if kind == "soft" else h5py.ExternalLink("no.h5", "/x")
        self.say(kind, "link", destination)
        self.ours[destination] = link
        self.theirs[destination] = link

    def flush(self) -> None:
        if hasattr(self.ours, "flush"):
            self.say("flush")
            self.ours.flush()

    def _link(self) -> str | None:
        """Draw a link to which no reference leads."""
        found = [
            name
            for name in ("a", "b", "g/a", "g/b", "g/h/c", "new", "soft", "g/h")
            if name in _links(self.theirs)
        ]
        return self.draw(st.sampled_from(found)) if found else None

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


STEPS = [
    Pair.create_group,
    Pair.create_dataset,
    Pair.create_dataset,
    Pair.write,
    Pair.write,
    Pair.write,
    Pair.append,
    Pair.append,
    Pair.resize,
    Pair.resize,
    Pair.set_attribute,
    Pair.set_attribute,
    Pair.set_reference,
    Pair.delete_attribute,
    Pair.delete,
    Pair.move,
    Pair.link,
    Pair.flush,
]


def _links(file: Any) -> set[str]:
    found = set(file)
    for name in ("g", "g/h"):
        if isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Group):
            found |= {f"{name}/{inner}" for inner in file[name]}
    return found


def _is_free(file: Any, name: str) -> bool:
    """Return whether an object can be made at a path: no link on the way leads elsewhere."""
    parts = name.split("/")
    for i in range(1, len(parts)):
        inner = "/".join(parts[:i])
        if inner not in _links(file):
            return True
        if not isinstance(file.get(inner, getlink=True), h5py.HardLink) or not isinstance(
            file[inner], h5py.Group
        ):
            return False
    return name not in _links(file)


def _is_writable(dataset: Any) -> bool:
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    return dataset.shape is not None and (
        dataset.dtype.kind in "iufS" or dataset.dtype == COMPOUND or is_text
    )


def _is_resizable(dataset: Any) -> bool:
    return bool(dataset.chunks) and dataset.maxshape != dataset.shape


def _takes_large(one: Any, value: Any) -> bool:
    """Return whether h5py can store an attribute there: large ones need what HDF5 1.8 and newer write."""
    return np.asarray(value).nbytes < 60_000 or one.file.libver[0] in ("v110", "v112", "v114", "latest")


def assert_same(path: Path, twin: Path) -> None:
    """Every reader finds the same in both files."""
    found = difference(whole_content(path), whole_content(twin))
    assert found is None, found
    report = streamh5.verify(path, progress=False)
    assert report.ok or not report.damaged, report


def change_by_h5py(path: Path, what: str) -> None:
    """Change a file with h5py, as `what` says."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, one: names.append(name) if isinstance(one, h5py.Dataset) else None)
        for name in names:
            one = file[name]
            if what == "attributes":
                one.attrs["by h5py"] = np.arange(4)
            elif what == "rows" and _is_resizable(one) and one.maxshape[0] is None and _is_writable(one):
                one.resize(one.shape[0] + 3, axis=0)
                if one.dtype.kind != "O":
                    one[-1:] = np.ones((1, *one.shape[1:]), one.dtype)
            elif what == "shrink" and _is_resizable(one):
                one.resize(max(0, one.shape[0] - 2), axis=0)
        if what == "groups":
            file.require_group("by h5py/group")


def play(
    draw: Draw,
    folder: Path,
    *,
    n_sessions: int,
    n_steps: int,
    judge: Callable[[Path, Path], None],
    end: Callable[[Pair], None] = Pair.close,
) -> None:
    """Play sessions of a sequence on two files, and compare them after the end of each."""
    path, twin = folder / "ours.h5", folder / "theirs.h5"
    seed = draw(st.sampled_from(sorted(SEEDS)))
    SEEDS[seed](path)
    shutil.copyfile(path, twin)
    said = [f"seed {seed}"]
    try:
        for _ in range(n_sessions):
            pair = Pair(path, twin, draw)
            pair.said = said
            try:
                for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=n_steps)):
                    step(pair)
                said.append("end")
                end(pair)
            except BaseException:
                pair.ours.abort()
                pair.theirs.close()
                raise
            judge(path, twin)
            what = draw(st.sampled_from(["nothing", "attributes", "rows", "shrink", "groups"]))
            said.append(f"h5py changes {what}")
            for one in (path, twin):
                change_by_h5py(one, what)
            assert_same(path, twin)
    except BaseException as error:
        error.add_note("\n".join(said))
        raise


def _told_by_h5diff(path: Path, twin: Path) -> set[str]:
    """Return what h5diff says of two files, but for datasets without elements, which it does not compare."""
    done = run_program("h5diff", "-c", path, twin, expected=(0, 1, 2))
    lines = (done.stdout + done.stderr).splitlines()
    said = {line for line in lines if line and not line.endswith("is an empty dataset")}
    return said | ({"status 1"} if done.returncode == 1 else set())


def _is_too_new(path: Path) -> bool:
    """Return whether the tools do not know what the newest library has written to a file."""
    return run_program("h5dump", path, "-o", os.devnull, expected=(0, 1)).returncode == 1


def judge_with_h5diff(path: Path, twin: Path) -> None:
    """Compare two files with h5py and h5diff."""
    assert_same(path, twin)
    assert _told_by_h5diff(path, twin) == set()


def judge_with_every_tool(path: Path, twin: Path) -> None:
    """Compare two files, and let every tool of HDF5 read and copy ours."""
    judge_with_h5diff(path, twin)
    if not _is_too_new(path):
        repacks(path, "-L")
        assert_passes_strict_tools(path)


@pytest.mark.usefixtures("hdf5_tools")
@settings(max_examples=40, derandomize=True, phases=[Phase.generate])
@given(data=st.data())
def test_sequence_of_changes_gives_what_h5py_gives(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("pair")
    play(data.draw, folder, n_sessions=3, n_steps=8, judge=judge_with_h5diff)
    shutil.rmtree(folder)


@pytest.mark.campaign
@pytest.mark.usefixtures("strict_tools")
@settings(max_examples=300, phases=[Phase.generate], report_multiple_bugs=False)
@given(data=st.data())
def test_sequences_of_changes_pass_every_tool(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("pair")
    play(data.draw, folder, n_sessions=4, n_steps=20, judge=judge_with_every_tool)
    shutil.rmtree(folder)
