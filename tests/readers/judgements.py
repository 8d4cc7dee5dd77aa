"""What h5py must find true of a written file beside its values."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from tests.readers.plugins import plugin_folder
from tests.readers.protocol import Values, assert_same_values

N_SINGLE_LOOKUPS = 50
"""``get_chunk_info`` walks the index from its beginning on each call: few of them in a large dataset."""


class ChunkColumns(Protocol):
    """Columns of a chunk table in the row-major order of the grid; address 0: never written."""

    @property
    def addresses(self) -> NDArray[np.uint64]:
        """``(n_chunks,)``."""

    @property
    def stored_nbytes(self) -> NDArray[np.uint32] | None:
        """``(n_chunks,)``; None when every chunk has its raw size."""

    @property
    def filter_masks(self) -> NDArray[np.uint32] | None:
        """``(n_chunks,)``; None when no chunk skipped a filter."""


def assert_chunk_map(path: Path, dataset: str, columns: ChunkColumns) -> None:
    """Assert that h5py finds exactly these chunks: coordinates, address, stored size, filter mask."""
    with h5py.File(path, "r") as file:
        node = file[dataset]
        chunks = np.array(node.chunks)
        grid = tuple(-(-extent // chunk) for extent, chunk in zip(node.shape, node.chunks, strict=True))
        expected = _expected_rows(columns, math.prod(grid), node.dtype.itemsize * math.prod(node.chunks))
        # The row number follows from the offset: a chunk outside the grid, or inside a cell, must not hide.
        found = np.array(_stored_rows(node, chunks, grid), np.uint64).reshape(-1, 4)
        found = found[np.argsort(found[:, 0], kind="stable")]
        np.testing.assert_array_equal(
            found, expected, err_msg=f"(number, address, nbytes, mask) of {dataset}"
        )
        n_stored = node.id.get_num_chunks()
        assert n_stored == len(expected)
        for index in np.unique(np.linspace(0, n_stored - 1, min(n_stored, N_SINGLE_LOOKUPS)).astype(int)):
            one = _row(node.id.get_chunk_info(int(index)), chunks, grid)
            np.testing.assert_array_equal(one, expected[np.searchsorted(expected[:, 0], one[0])])
            again = node.id.get_chunk_info_by_coord(_offset(one[0], chunks, grid))
            np.testing.assert_array_equal(_row(again, chunks, grid), one)


def _expected_rows(columns: ChunkColumns, n_chunks: int, chunk_nbytes: int) -> NDArray[np.uint64]:
    rows = np.zeros((n_chunks, 4), np.uint64)
    rows[:, 0] = np.arange(n_chunks)
    rows[:, 1] = columns.addresses[:n_chunks]
    rows[:, 2] = chunk_nbytes if columns.stored_nbytes is None else columns.stored_nbytes[:n_chunks]
    rows[:, 3] = 0 if columns.filter_masks is None else columns.filter_masks[:n_chunks]
    return np.compress(rows[:, 1] != 0, rows, axis=0)


def _stored_rows(
    node: h5py.Dataset, chunks: NDArray[np.int64], grid: tuple[int, ...]
) -> list[tuple[int, ...]]:
    rows: list[tuple[int, ...]] = []
    node.id.chunk_iter(lambda info: rows.append(_row(info, chunks, grid)))
    return rows


def _row(info: Any, chunks: NDArray[np.int64], grid: tuple[int, ...]) -> tuple[int, ...]:
    number = 0
    for offset, chunk, extent in zip(info.chunk_offset, chunks, grid, strict=True):
        coordinate, rest = divmod(offset, int(chunk))
        assert rest == 0, f"chunk at {info.chunk_offset}: no corner of a cell of {tuple(chunks)}"
        assert coordinate < extent, f"chunk at {info.chunk_offset}: outside the grid {grid}"
        number = number * extent + coordinate
    return number, info.byte_offset, info.size, info.filter_mask


def _offset(number: int, chunks: NDArray[np.int64], grid: tuple[int, ...]) -> tuple[int, ...]:
    coords = np.unravel_index(number, grid)
    return tuple(int(c) * int(n) for c, n in zip(coords, chunks, strict=True))


def assert_survives_change(path: Path, dataset: str, folder: Path) -> tuple[Path, Values]:
    """Open a copy of the file ``r+`` with h5py, change it, and reread what changed and what did not.

    Changed are the last element, an attribute of the dataset and of the root, a hard link, a soft link,
    a new group with a dataset. Returned are the copy (``changed.h5`` in `folder`) and the values that it
    must hold now, for other readers.
    """
    changed = Path(shutil.copyfile(path, folder / "changed.h5"))
    plugin_folder()
    with h5py.File(path, "r") as file:
        before = file[dataset][()]
        attributes = dict(file[dataset].attrs)
    expected = _change(changed, dataset, before)
    with h5py.File(changed, "r") as file:
        for name in (dataset, "added hard link", "added soft link"):
            assert_same_values(np.asarray(file[name][()]), np.asarray(expected), f"{name} after the change")
        assert file.attrs["added"] == "to the root"
        np.testing.assert_array_equal(file["added group/data"][()], np.arange(100))
        found = dict(file[dataset].attrs)
        np.testing.assert_array_equal(found.pop("added"), [1.5, -2.5])
        assert found.keys() == attributes.keys()
        for name, value in attributes.items():
            np.testing.assert_array_equal(found[name], value, err_msg=f"attribute {name} after the change")
    return changed, expected


def _change(path: Path, dataset: str, before: Values) -> Values:
    expected = np.array(before)
    with h5py.File(path, "r+") as file:
        node = file[dataset]
        if expected.size:
            last = tuple(extent - 1 for extent in expected.shape)
            expected[last] = _other(expected[last])
            node[last] = expected[last]
        node.attrs["added"] = [1.5, -2.5]
        file.attrs["added"] = "to the root"
        file["added hard link"] = node
        file["added soft link"] = h5py.SoftLink(node.name)
        file.create_group("added group").create_dataset(
            "data", data=np.arange(100), chunks=(7,), compression="gzip"
        )
    return expected


def _other(value: Any) -> Any:
    """Return a value of the same dtype that differs."""
    if value.dtype.kind == "b":
        return ~value
    return value.dtype.type(1 if value == 0 else 0)
