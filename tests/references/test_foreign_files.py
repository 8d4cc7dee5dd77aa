"""References to files of other writers: bit fields, names that are not UTF-8, cycles, damage."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tables

import streamh5
from streamh5.errors import StreamH5Error, UnreadableError
from streamh5.references.attributes import json_attributes
from streamh5.references.from_h5py import read_with_h5py
from tests.foreign_files import BUILDERS
from tests.references.opened import open_with_xarray, open_with_zarr

LATIN = "Temp\xb0C".encode("latin-1")


def references(path: Path, *, skip: bool = False) -> dict[str, Any]:
    made = streamh5.read_references(path).to_kerchunk(skip=skip)
    assert made is not None
    json.dumps(made).encode("utf-8")
    return made


def test_references_of_bit_fields_of_pytables_are_read_as_pytables_does(tmp_path: Path) -> None:
    path = tmp_path / "b.h5"
    flags = np.array([True, False, True] * 34)
    with tables.open_file(path, "w") as file:
        file.create_carray("/", "flags", obj=flags, chunkshape=(10,))
        file.create_table("/", "t", np.array([(True, 3), (False, 4)], [("a", "?"), ("b", "i4")]))
    found = open_with_zarr(references(path), "flags")
    with tables.open_file(path) as file:
        np.testing.assert_array_equal(found.astype(bool), file.root.flags[:])
        np.testing.assert_array_equal(open_with_zarr(references(path), "t")["b"], file.root.t.col("b"))


def test_references_of_bit_fields_of_fewer_bits_than_their_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.h5"
    with h5py.File(path, "w") as file:
        # H5Tset_precision has no method for bit fields: the datatype message says 12 bits from bit 0 on
        encoded = bytearray(h5py.h5t.STD_B16LE.encode())
        encoded[-2:] = (12).to_bytes(2, "little")
        kind = h5py.h5t.decode(bytes(encoded))
        h5py.h5d.create(file.id, b"few", kind, h5py.h5s.create_simple((4,)))
    found = streamh5.read_references(path)
    assert "/few" in found.refused


@pytest.mark.parametrize("what", ["dataset", "group", "attribute", "value"])
def test_references_with_text_that_is_not_utf8_have_a_replacement_character(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "l.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)
        if what == "dataset":
            file[LATIN] = np.arange(4)
        elif what == "group":
            file.create_group(LATIN)["y"] = np.arange(5)
        elif what == "attribute":
            space = h5py.h5s.create(h5py.h5s.SCALAR)
            h5py.h5a.create(file["x"].id, LATIN, h5py.h5t.NATIVE_INT32, space).write(np.array(3, "i4"))
        else:
            file["x"].attrs["u"] = np.bytes_(LATIN)
    streamh5.read_references(path).to_kerchunk(tmp_path / "l.json")
    made = references(path)
    if what == "dataset":
        np.testing.assert_array_equal(open_with_xarray(made)["Temp\ufffdC"], np.arange(4))
    elif what == "group":
        np.testing.assert_array_equal(open_with_zarr(made, "Temp\ufffdC/y"), np.arange(5))
    else:
        names: dict[str, tuple[str, Any]] = {
            "attribute": ("Temp\ufffdC", 3),
            "value": ("u", "Temp\ufffdC"),
        }
        assert open_with_xarray(made)["x"].attrs == dict([names[what]])


def test_references_of_names_that_become_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.h5"
    with h5py.File(path, "w") as file:
        file[b"\xb0"] = np.arange(4)
        file[b"\xb1"] = np.arange(5)
    found = streamh5.read_references(path)
    assert len(found.refused) == 1
    np.testing.assert_array_equal(open_with_xarray(references(path, skip=True))["\ufffd"], np.arange(4))


def test_references_leave_links_of_user_defined_types_out(tmp_path: Path) -> None:
    path = tmp_path / "u.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)
        library = ctypes.CDLL(h5py.h5d.__file__)
        assert library.H5Lregister(ctypes.byref(_LINK_CLASS)) >= 0  # h5py has no method for it
        number, text = ctypes.c_int64, ctypes.c_char_p
        library.H5Lcreate_ud.argtypes = [number, text, ctypes.c_int, text, ctypes.c_size_t, number, number]
        assert library.H5Lcreate_ud(file.id.id, b"u", 187, b"abc", 3, 0, 0) >= 0
    assert set(open_with_xarray(references(path)).variables) == {"x"}


class _LinkClass(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("id", ctypes.c_int),
        ("comment", ctypes.c_char_p),
        *((name, ctypes.c_void_p) for name in ("create", "move", "copy", "traverse", "delete", "query")),
    )


_TRAVERSE = ctypes.CFUNCTYPE(ctypes.c_int64)(lambda: -1)
_LINK_CLASS = _LinkClass(1, 187, b"u", None, None, None, ctypes.cast(_TRAVERSE, ctypes.c_void_p), None, None)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_references_of_groups_in_themselves_end(tmp_path: Path, libver: str) -> None:
    path = tmp_path / "c.h5"
    with h5py.File(path, "w", libver=libver) as file:
        group = file.create_group("g")
        group["up"] = file["/"]
        group["self"] = group
        group["x"] = np.arange(7)
        file["again"] = group["x"]
    made = references(path)
    np.testing.assert_array_equal(open_with_zarr(made, "again"), np.arange(7))
    assert sum(key.endswith(".zarray") for key in made["refs"]) == 1


@pytest.mark.parametrize("maxshape", [(10, None), (None, 12), (None, None)])
def test_references_of_unlimited_dimensions_in_v1_btrees_are_read_by_zarr(
    tmp_path: Path, maxshape: tuple[int | None, ...]
) -> None:
    path = tmp_path / "v1.h5"
    values = np.arange(120).reshape(10, 12)
    with h5py.File(path, "w", libver="earliest") as file:
        file.create_dataset("x", data=values, chunks=(3, 5), maxshape=maxshape, compression="gzip")
    np.testing.assert_array_equal(open_with_zarr(references(path), "x"), values)


def test_references_of_every_changed_bit_are_made_or_end_in_our_error(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for i in range(4):
            file.create_dataset(f"x{i}", data=np.arange(100), chunks=(10,), compression="gzip")
    good, rng = path.read_bytes(), np.random.default_rng(0)
    errors: list[str] = []
    for _ in range(200):
        changed = bytearray(good)
        changed[int(rng.integers(48, len(good)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            references(path, skip=True)
        except StreamH5Error as error:
            errors.append(str(error))
    assert len(errors) > 20
    assert all(str(path) in error for error in errors)


def test_error_of_a_damaged_object_names_it_and_keeps_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["inner/x"] = np.arange(10)
        address = h5py.h5g.get_objinfo(file.id, b"inner/x").objno[0]
    changed = bytearray(path.read_bytes())
    changed[address] = 0xFF
    path.write_bytes(changed)
    with pytest.raises(UnreadableError, match="/inner/x") as caught:
        streamh5.read_references(path)
    assert caught.value.__cause__ is not None


VALUES = {
    "f4": np.float32(1.5),
    "big": np.arange(3, dtype=">i2"),
    "text": "caf\xe9",
    "texts": ["a", "", "bcd"],
    "bytes": np.bytes_(b"abc"),
    "many bytes": np.array([b"a", b"bc"]),
    "flag": np.True_,
    "flags": np.array([True, False]),
    "compound": np.array((1, 2.5), [("a", "i4"), ("b", "f8")])[()],
    "complex": np.complex128(1 + 2j),
    "array": np.arange(6).reshape(2, 3),
    "empty": h5py.Empty("f4"),
    "none": np.zeros(0),
}


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("name", VALUES)
def test_attributes_are_those_that_h5py_reads(tmp_path: Path, name: str, libver: str) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("x", data=np.arange(3)).attrs[name] = VALUES[name]
    made = json.loads(references(path)["refs"]["x/.zattrs"])
    theirs = read_with_h5py(str(path), ["/"], set()).arrays[0]
    assert made[name] == json_attributes(theirs.attributes)[name]


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("chunks", [None, (4,)])
def test_texts_in_references_are_those_that_h5py_reads(
    tmp_path: Path, libver: str, chunks: tuple[int, ...] | None
) -> None:
    path = tmp_path / "t.h5"
    texts = ["", "a", "caf\xe9", "x" * 300, "b"] * 3
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("t", data=texts, chunks=chunks, compression=None if chunks is None else "gzip")
        file.create_dataset("none", shape=(5,), dtype=h5py.string_dtype(), chunks=chunks)
    np.testing.assert_array_equal(open_with_zarr(references(path), "t"), texts)
    np.testing.assert_array_equal(open_with_zarr(references(path), "none"), [""] * 5)


def test_references_of_sparse_chunks_take_room_for_those_that_are_stored(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("x", (10**9, 10**5), "i1", chunks=(10, 10), maxshape=(None, None))
        data[123_456_780:123_456_790, 50:60] = 7
    made = references(path)
    assert [key for key in made["refs"] if key.startswith("x/1")] == ["x/12345678.5"]
    streamh5.read_references(path).to_kerchunk(tmp_path / "s.parquet")
    assert len(list((tmp_path / "s.parquet" / "x").iterdir())) == 2


def test_references_of_many_groups_are_those_of_the_groups(tmp_path: Path) -> None:
    path = tmp_path / "g.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for i in range(3000):
            file.create_group(f"g{i}/inner").attrs["i"] = i
    refs = references(path)["refs"]
    assert json.loads(refs["g5/.zmetadata"])["metadata"].keys() == {
        ".zgroup",
        ".zattrs",
        "inner/.zgroup",
        "inner/.zattrs",
    }
    assert json.loads(refs["g2999/inner/.zattrs"]) == {"i": 2999}


def test_attribute_of_arrays_of_arrays_is_what_h5py_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    element = np.dtype((np.dtype(("i2", (3,))), (2, 4)))
    with streamh5.File(path) as file:
        file.attrs.create("nested", np.arange(48, dtype="i2").reshape(2, 2, 4, 3), dtype=element)
    with h5py.File(path) as file:
        expected = file.attrs["nested"].tolist()
    found = streamh5.read_references(path).to_kerchunk()
    assert found is not None
    attributes = json.loads(found["refs"][".zattrs"])
    assert json.loads(attributes["nested"]) == expected  # array types are text in zarr


@pytest.mark.parametrize("kind", ["other_btree_sizes", "shared_messages"])
def test_what_the_superblock_says_of_sizes_and_shared_messages_counts(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    BUILDERS[kind](path)
    references = streamh5.read_references(path).to_kerchunk(skip=True)
    with h5py.File(path) as file:
        names = [name for name in ("many", "0", "19") if name in file]
        assert names
        for name in names:
            np.testing.assert_array_equal(open_with_zarr(references, name), file[name][...])
