"""The columns of a manifest are what h5py says of each chunk, and those of the write itself."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import streamh5
from tests.references.test_kerchunk import INDEXES, smooth
from tests.written import columns


@pytest.mark.parametrize("name", [name for name, one in INDEXES.items() if "chunks" in one])
def test_columns_are_what_h5py_says(name: str, tmp_path: Path) -> None:
    keywords = {**INDEXES[name]}
    shape, chunk_shape = keywords.pop("shape"), keywords["chunks"]
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        file.create_dataset("x", data=smooth(shape), **keywords)
    assert file.summary is not None
    manifest = file.summary.manifest(url="s3://b/x.h5")["/x"]
    with h5py.File(path, "r") as read:
        infos = [read["x"].id.get_chunk_info(i) for i in range(read["x"].id.get_num_chunks())]
    expected = {
        tuple(o // c for o, c in zip(info.chunk_offset, chunk_shape, strict=True)): (
            info.byte_offset,
            info.size,
        )
        for info in infos
    }
    rows = zip(
        zip(*(one.tolist() for one in manifest.coords()), strict=True),
        zip(manifest.offsets.tolist(), manifest.lengths.tolist(), strict=True),
        strict=True,
    )
    assert dict(rows) == expected
    assert manifest.paths.tolist() == ["s3://b/x.h5"] * len(infos)
    assert manifest.n_missing == 0
    offsets, lengths = manifest.dense()
    assert {
        coords: (int(offsets[coords]), int(lengths[coords])) for coords in np.ndindex(manifest.grid)
    } == expected


def test_columns_are_not_copied(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "x.h5", "x") as file:
        file.create_dataset("x", data=smooth((40, 40)), chunks=(1, 10), compression="gzip")
    assert file.summary is not None
    manifest = file.summary.manifest()["/x"]
    written = columns(file, "/x")
    assert np.shares_memory(manifest.offsets, written.addresses)
    assert written.stored_nbytes is not None
    assert np.shares_memory(manifest.lengths, written.stored_nbytes)


def test_missing_chunks_are_zero_in_the_dense_columns(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "x.h5", "x") as file:
        dataset = file.create_dataset("x", (3, 4), "u1", chunks=(1, 2))
        dataset[1:2, 2:] = np.ones((1, 2), "u1")
    assert file.summary is not None
    manifest = file.summary.manifest()["/x"]
    assert (len(manifest), manifest.n_missing) == (1, 5)
    assert manifest.dense()[1].tolist() == [[0, 0], [0, 2], [0, 0]]
