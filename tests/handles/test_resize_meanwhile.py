"""Datasets whose shape changes: while threads write them, and with elements in the global heap."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import DatatypeError, StateError
from tests.deadlock import DEADLOCK_SECONDS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "filters", [{}, {"compression": "gzip", "compression_opts": 1}], ids=["plain", "gzip"]
)
def test_threads_write_while_another_changes_the_numbers_of_chunks(filters: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with ThreadPoolExecutor(2) as threads, streamh5.File(path, "w", threads=3) as file:
        dataset = file.create_dataset("d", (128, 64), "i4", maxshape=(None, None), chunks=(4, 4), **filters)

        def write(first: int) -> None:
            for row in range(first, 128, 8):
                dataset[row : row + 4, :64] = row

        writes = [threads.submit(write, first) for first in (0, 4)]
        for n in range(68, 260, 4):
            dataset.resize(n, 1)  # each chunk gets another number
        for one in writes:
            one.result(DEADLOCK_SECONDS)
    with h5py.File(path) as file:
        assert np.array_equal(file["d"][:, :64], np.broadcast_to(np.arange(128)[:, None] // 4 * 4, (128, 64)))
        assert not file["d"][:, 64:].any()


@pytest.mark.parametrize("kind", ["text", "sequence", "array"])
def test_elements_cut_off_become_null_or_the_fill_value(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    dtype: Any = {
        "text": h5py.string_dtype(),
        "sequence": h5py.vlen_dtype("i4"),
        "array": np.dtype(("i4", (2,))),
    }[kind]
    with streamh5.File(path, "w") as file:
        dataset = file.create_dataset("d", (10,), dtype, maxshape=(None,), chunks=(4,))
        if kind == "array":
            dataset[...] = np.arange(20, dtype="i4").reshape(10, 2)
        else:
            values = np.empty(10, object)
            values[:] = ["x"] * 10 if kind == "text" else [[1, 2]] * 10
            dataset[...] = values
    with streamh5.File(path, "a") as file:
        found = file["d"]
        assert isinstance(found, streamh5.Dataset)
        found.resize((6,))
        found.resize((12,))
    with h5py.File(path) as file:
        kept, new = file["d"][:6], file["d"][6:]
        assert all(len(one) for one in kept)
        assert not new.any() if kind == "array" else not any(len(one) for one in new)


def test_rows_that_cannot_be_encoded_do_not_change_the_shape(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("d", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(4,))
        dataset.append(["a"])
        with pytest.raises(DatatypeError, match="NUL"):
            dataset.append(["b\0c"])
        assert dataset.shape == (1,)


@pytest.mark.parametrize(
    ("new", "maxshape"),
    [((8, 12), None), ((4, 8), None), ((8, 12), (None, 12))],
    ids=["wide", "cut", "fixed"],
)
def test_records_of_a_block_from_before_a_resize_are_refused(
    new: tuple[int, int], maxshape: Any, tmp_path: Path
) -> None:
    path, block = tmp_path / "a.h5", np.arange(64, dtype="i4").reshape(8, 8)
    with streamh5.File(path, "w") as file:
        dataset = file.create_dataset("d", (8, 8), "i4", maxshape=(None, None), chunks=(4, 4))
        entered, late = dataset.write_block(block[:4], (0, 0)), dataset.write_block(block[4:], (4, 0))
        dataset.record(entered)
        dataset.resize(new, maxshape=maxshape)
        with pytest.raises(
            StateError, match=r"/d: 2 chunks were written before .* resized to .*write them again"
        ):
            dataset.record(late)
        dataset.resize((8, 8))
        dataset.record(dataset.write_block(block[4:], (4, 0)))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["d"], block)


def test_records_of_a_block_count_while_only_rows_are_added(tmp_path: Path) -> None:
    path, block = tmp_path / "a.h5", np.arange(64, dtype="i4").reshape(8, 8)
    with streamh5.File(path, "w") as file:
        dataset = file.create_dataset("d", (8, 8), "i4", maxshape=(None, 8), chunks=(4, 4))
        records = dataset.write_block(block, (0, 0))
        dataset.resize(20, 0)
        dataset.record(records)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["d"][:8], block)
        assert file["d"].shape == (20, 8)


def test_threads_write_blocks_while_another_changes_the_numbers_of_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with ThreadPoolExecutor(2) as threads, streamh5.File(path, "w", threads=1) as file:
        dataset = file.create_dataset("d", (128, 64), "i4", maxshape=(None, None), chunks=(4, 4))

        def write(first: int) -> None:
            for row in range(first, 128, 8):
                while True:
                    records = dataset.write_block(np.full((4, 64), row, "i4"), (row, 0))
                    try:
                        dataset.record(records)
                        break
                    except StateError:  # resized in between
                        continue

        writes = [threads.submit(write, first) for first in (0, 4)]
        for n in range(68, 260, 4):
            dataset.resize(n, 1)
        for one in writes:
            one.result(DEADLOCK_SECONDS)
    with h5py.File(path) as file:
        assert np.array_equal(file["d"][:, :64], np.broadcast_to(np.arange(128)[:, None] // 4 * 4, (128, 64)))
        assert not file["d"][:, 64:].any()


def test_dataset_of_part_writers_is_not_renumbered(tmp_path: Path) -> None:
    path, block = tmp_path / "a.h5", np.arange(64, dtype="i4").reshape(8, 8)
    with streamh5.File(path, "w") as file:
        dataset = file.create_dataset("d", (8, 8), "i4", maxshape=(None, None), chunks=(4, 4))
        part = dataset.part_writer()
        with pytest.raises(
            StateError, match=r"/d: \(8, 8\) cannot become \(8, 12\) while other processes write"
        ):
            dataset.resize(12, 1)
        with pytest.raises(
            StateError, match=r"/d: \(8, 8\) cannot become \(4, 8\) while other processes write"
        ):
            dataset.resize(4, 0)
        dataset.resize(12, 0)
        dataset.record_part(part.write(block, (0, 0)))
    with h5py.File(path) as file:
        assert file["d"].shape == (12, 8)
        np.testing.assert_array_equal(file["d"][:8], block)
