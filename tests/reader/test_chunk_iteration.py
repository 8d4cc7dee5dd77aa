"""Chunks as the HDF5 library lists them, compared with its reports on single chunks."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from streamh5.reader.chunk_iteration import iterate_chunks, tells_coords


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("maxshape", [(4, 6), (None, 6), (4, None), (None, None)])
def test_coords_are_right_where_they_are_said_to_be(
    tmp_path: Path, libver: str, maxshape: tuple[int | None, ...]
) -> None:
    path = tmp_path / "x.h5"
    data = np.arange(24, dtype="<u4").reshape(4, 6)
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("x", data=data, chunks=(2, 2), maxshape=maxshape)
    content = path.read_bytes()
    with h5py.File(path) as file:
        origins, columns = iterate_chunks(file["x"].id)
    wrong = []
    for (row, column), address in zip(origins.tolist(), columns.addresses.tolist(), strict=True):
        stored = np.frombuffer(content, "<u4", 4, address).reshape(2, 2)
        if not np.array_equal(data[row : row + 2, column : column + 2], stored):
            wrong.append((row, column))
    assert len(origins) == 6
    assert not (wrong and tells_coords(maxshape))
    if maxshape == (4, None) and libver == "latest":
        assert wrong, "HDF5 tells right coords now: the caveat of tells_coords is for older libraries only"


def test_dataset_without_stored_chunks_has_no_rows(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for shape in ((4, 6), (0, 6)):
            dataset = file.create_dataset(f"x{shape[0]}", shape, "u1", chunks=(2, 2), maxshape=(None, 6))
            origins, columns = iterate_chunks(dataset.id)
            assert (origins.shape, len(columns.addresses)) == ((0, 2), 0)
