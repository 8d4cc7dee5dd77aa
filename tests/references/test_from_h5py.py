"""References to what streamh5's own reader does not support: h5py reads it, with the same result."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import ForeignStructureError
from streamh5.references import from_file, from_h5py
from streamh5.references.file_references import FileReferences
from streamh5.references.from_file import read_file
from streamh5.references.from_h5py import read_with_h5py
from streamh5.references.stored_file import StoredFile
from tests.foreign_files import BUILDERS, call
from tests.references.opened import chunks, open_with_zarr

VALUES = np.arange(60).reshape(6, 10)


def by_h5py(path: Path) -> FileReferences:
    return FileReferences(read_with_h5py(str(path), ["/"], set()))


def refs(references: FileReferences) -> dict[str, Any]:
    made = references.to_kerchunk(skip=True)
    assert made is not None
    found: dict[str, Any] = made["refs"]
    return found


def check_values(path: Path, references: FileReferences) -> int:
    """Compare every array that zarr reads with what h5py reads; return how many."""
    made = {"version": 1, "refs": refs(references)}
    with h5py.File(path) as file:
        names = [array["path"] for array in references.to_dict()["arrays"]]
        for name in names:
            expected = file[name].asstr() if h5py.check_string_dtype(file[name].dtype) else file[name]
            if file[name].dtype.kind == "O":
                np.testing.assert_array_equal(open_with_zarr(made, name), expected[()])
            else:
                assert open_with_zarr(made, name).tobytes() == file[name][()].tobytes(), name
    return len(names)


@pytest.fixture
def h5py_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep streamh5's own reader from finding data, as in a file with a metadata cache image."""

    def refuse(_file: object) -> Any:
        raise ForeignStructureError("an image")

    monkeypatch.setattr(from_h5py, "open_walk", refuse)


@pytest.mark.parametrize("kind", BUILDERS)
def test_both_readers_give_the_same_references(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    BUILDERS[kind](path)
    own, theirs = FileReferences(read_file(str(path))), by_h5py(path)
    assert refs(own) == refs(theirs)
    assert own.refused == theirs.refused


# every chunk of these is written, and filtered if any is: h5py does not tell which chunks at the edge are not
@pytest.mark.parametrize(
    "kind", [kind for kind in BUILDERS if kind.startswith(("libver", "userblock", "paged"))]
)
@pytest.mark.usefixtures("h5py_alone")
def test_references_by_h5py_alone_are_read_by_zarr(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    BUILDERS[kind](path)
    own, theirs = FileReferences(read_file(str(path))), by_h5py(path)
    assert check_values(path, theirs) >= 5
    told = {name for name, why in theirs.refused.items() if "HDF5 may not tell" in why}
    assert theirs.refused.keys() - told == own.refused.keys()


@pytest.mark.parametrize("safe", [False, True])
def test_references_to_a_file_with_short_addresses_are_read_by_zarr(safe: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    BUILDERS["small_addresses"](path)
    references = streamh5.read_references(path, safe=safe)
    assert check_values(path, references) == 5
    assert references.refused.keys() == {"/empty"}


@pytest.mark.parametrize("safe", [False, True])
def test_members_of_a_group_with_compressed_links_are_found(
    safe: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["own"] = VALUES
        properties = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        call("H5Pset_deflate", properties.id, ctypes.c_uint(4))
        group = h5py.Group(h5py.h5g.create(file.id, b"packed", gcpl=properties))
        for i in range(20):
            group.create_dataset(f"x{i}", data=VALUES + i, chunks=(4, 10), compression="gzip")
        group["x0"].attrs["i"] = 7
        file["again"] = group["x1"]
    with monkeypatch.context() as context:
        context.setattr(from_file, "read_with_h5py", lambda name, *_: StoredFile(name))
        assert len(FileReferences(read_file(str(path))).manifest()) == 2  # "packed" is not supported
    references = streamh5.read_references(path, safe=safe)
    assert not references.refused
    assert check_values(path, references) == 21
    assert len(chunks(refs(references))) == 1 + 20 * 2


def test_names_that_are_not_utf8_are_the_same_by_both_readers(tmp_path: Path) -> None:
    path, latin = tmp_path / "a.h5", "Temp\xb0C".encode("latin-1")
    with h5py.File(path, "w") as file:
        group = file.create_group(latin)
        group[latin] = VALUES
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5a.create(group[latin].id, latin, h5py.h5t.NATIVE_INT32, space).write(np.array(3, "i4"))
    own = FileReferences(read_file(str(path)))
    found = read_with_h5py(str(path), ["/" + latin.decode("utf-8", "surrogateescape")], set())
    assert [array.path for array in found.arrays] == ["/Temp\ufffdC/Temp\ufffdC"]
    assert refs(own) == refs(by_h5py(path))
