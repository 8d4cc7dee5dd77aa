"""Fill values of files of HDF5 whose elements lie in the global heap: chunks that are written in part get them."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from tests.foreign_files import call


class Pair(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("n", ctypes.c_int), ("text", ctypes.c_char_p)]


class Sequence(ctypes.Structure):
    _fields_ = [("n", ctypes.c_size_t), ("items", ctypes.c_void_p)]


ITEMS = (ctypes.c_int * 3)(1, 2, 3)
FILLS: dict[str, tuple[Any, Any]] = {
    "text": (ctypes.c_char_p(b"xyz"), b"xyz"),
    "compound": (Pair(7, b"xyz"), (7, b"xyz")),
    "sequence": (Sequence(3, ctypes.addressof(ITEMS)), [1, 2, 3]),
}
NEW: dict[str, Any] = {"text": b"new", "compound": (1, b"new"), "sequence": [9, 9]}


def make(path: Path, kind: str, chunks: tuple[int, ...] | None) -> None:
    """Create a dataset of ten elements by HDF5's own calls: h5py cannot give it such a fill value."""
    text = h5py.h5t.C_S1.copy()
    text.set_size(h5py.h5t.VARIABLE)
    datatype = text
    if kind == "compound":
        datatype = h5py.h5t.create(h5py.h5t.COMPOUND, ctypes.sizeof(Pair))
        datatype.insert(b"n", 0, h5py.h5t.NATIVE_INT32)
        datatype.insert(b"text", Pair.text.offset, text)
    elif kind == "sequence":
        datatype = h5py.h5t.vlen_create(h5py.h5t.NATIVE_INT32)
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    call(
        "H5Pset_fill_value",
        creation.id,
        ctypes.c_int64(datatype.id),
        ctypes.c_void_p(ctypes.addressof(FILLS[kind][0])),
    )
    space = h5py.h5s.create_simple((10,))
    if chunks is not None:
        creation.set_chunk(chunks)
        space = h5py.h5s.create_simple((10,), (h5py.h5s.UNLIMITED,))
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"d", datatype, space, creation)


def found(path: Path) -> list[Any]:
    """Every element as h5py reads it; for writing, as HDF5 stores a chunk of such fill values when it reads one."""
    with h5py.File(path, "r+") as file:
        return [one.tolist() if hasattr(one, "tolist") else one for one in file["d"][...]]


@pytest.mark.parametrize("chunks", [(4,), None])
@pytest.mark.parametrize("kind", FILLS)
def test_chunk_written_in_part_gets_the_stored_fill_value(
    kind: str, chunks: tuple[int, ...] | None, tmp_path: Path
) -> None:
    path, fill = tmp_path / "a.h5", FILLS[kind][1]
    make(path, kind, chunks)
    assert found(path) == [fill] * 10
    make(path, kind, chunks)
    with streamh5.File(path, "a") as file:
        dataset = file["d"]
        assert isinstance(dataset, streamh5.Dataset)
        block = np.empty(2, dataset.dtype)
        for i in range(2):
            block[i] = NEW[kind]
        dataset[5:7] = block
        if chunks is not None:
            dataset.resize(12, 0)
    n = 10 if chunks is None else 12
    assert found(path) == [fill] * 5 + [NEW[kind]] * 2 + [fill] * (n - 7)


def test_elements_cut_off_get_the_stored_fill_value(tmp_path: Path) -> None:
    path, fill = tmp_path / "a.h5", FILLS["compound"][1]
    make(path, "compound", (4,))
    with h5py.File(path, "r+") as file:
        file["d"][...] = np.array([NEW["compound"]] * 10, file["d"].dtype)
    with streamh5.File(path, "a") as file:
        dataset = file["d"]
        assert isinstance(dataset, streamh5.Dataset)
        dataset.resize(5, 0)
        dataset.resize(9, 0)
    assert found(path) == [NEW["compound"]] * 5 + [fill] * 4
