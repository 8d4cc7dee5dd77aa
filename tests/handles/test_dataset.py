"""Appending, writing regions, direct chunks: what lands in the file, and what is refused."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import streamh5
from streamh5.errors import BlockError, StateError
from tests.readers.judgements import assert_chunk_map
from tests.written import GZIP, assert_every_reader, columns, values

RAW_AND_GZIP = pytest.mark.parametrize("keywords", [{}, GZIP], ids=["raw", "gzip"])


def read(path: Path, name: str = "x") -> NDArray[Any]:
    with h5py.File(path) as file:
        return np.asarray(file[name][()])


@RAW_AND_GZIP
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 8, 20])
@pytest.mark.parametrize("length", [None, 20])
def test_append_of_blocks_of_any_length_lands_in_sequence(
    length: int | None, rows: int, keywords: dict[str, Any], tmp_path: Path
) -> None:
    data = values("<i4", (20, 3, 2))
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (length, 3, 2), "<i4", chunks=(4, 2, 2), **keywords)
        for start in range(0, 20, rows):
            dataset.append(data[start : start + rows])
            assert dataset.n_appended == min(start + rows, 20)
            assert dataset.shape is not None
            assert dataset.shape[0] == (length or min(start + rows, 20))
    assert_every_reader(path, "/x", data)
    assert_chunk_map(path, "/x", columns(file, "/x"))


@RAW_AND_GZIP
@pytest.mark.parametrize("n_rows", [0, 1, 3, 4, 5, 9])
def test_append_one_row_at_a_time_to_an_open_length_ends_where_it_ends(
    n_rows: int, keywords: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = values("u2", (n_rows, 5))
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (None, 5), "u2", chunks=(4, 2), **keywords)
        for row in data:
            dataset.append(row)
    assert_every_reader(path, "/x", data)
    assert_chunk_map(path, "/x", columns(file, "/x"))
    assert file.summary is not None
    assert file.summary.datasets[0].shape == (n_rows, 5)
    assert file.summary.n_missing == 0


def test_append_less_than_a_fixed_length_leaves_the_rest_to_the_fill_value(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (20,), "i4", chunks=(4,), fillvalue=-5, **GZIP)
        dataset.append(np.arange(6))
    np.testing.assert_array_equal(read(path), [*range(6), *[-5] * 14])
    assert file.summary is not None
    assert (file.summary.n_chunks, file.summary.n_missing) == (5, 3)


@pytest.mark.parametrize(
    ("before", "rows", "fits"), [(19, 1, True), (18, 2, True), (19, 2, False), (0, 21, False)]
)
def test_append_to_a_fixed_length_ends_at_its_last_row(
    before: int, rows: int, fits: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (20,), "i4", chunks=(4,))
        dataset.append(np.ones(before, "i2"))
        if fits:
            dataset.append(np.ones(rows, "i2"))
        else:
            with pytest.raises(BlockError, match=r"/x.*\(20,\)"):
                dataset.append(np.ones(rows, "i2"))
        assert dataset.n_appended == (before + rows if fits else before)
    assert read(path).sum() == (before + rows if fits else before)


@pytest.mark.parametrize(
    "block", [np.ones(4), np.ones((2, 4)), np.ones((1, 1, 3)), np.float64(1), np.ones((3, 1))]
)
def test_append_of_another_shape_is_refused_and_changes_nothing(block: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (None, 3), "f8", chunks=(2, 3))
        dataset.append(np.arange(3.0))
        with pytest.raises(BlockError, match="/x"):
            dataset.append(block)
        dataset.append(np.arange(3.0, 6.0))
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), np.arange(6.0).reshape(2, 3))


def test_append_takes_zero_rows(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (None, 3), "f8", chunks=(2, 3))
        dataset.append(np.empty((0, 3)))
    assert read(tmp_path / "a.h5").shape == (0, 3)


@RAW_AND_GZIP
def test_append_copies_so_the_caller_may_change_the_block(keywords: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    frame = np.empty((64, 64), "i4")
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (None, 64, 64), "i4", chunks=(1, 64, 64), **keywords)
        for i in range(50):
            frame[...] = i
            dataset.append(frame)
            frame[...] = -1
    assert read(path).reshape(50, -1).min(axis=1).tolist() == list(range(50))


REGIONS = [
    np.s_[:],
    np.s_[...],
    np.s_[0:4],
    np.s_[4:8, 3:6],
    np.s_[8:10, 6:7],
    np.s_[8:, 6:],
    np.s_[:, 6],
    np.s_[-2:, -1],
    np.s_[..., 0:3],
    np.s_[4:8, ...],
    np.s_[-10:4],
    np.s_[4:8, ..., 0:3],
    np.s_[4:4],
    np.s_[np.int64(4) : np.int64(8)],
]


@RAW_AND_GZIP
@pytest.mark.parametrize("region", REGIONS, ids=str)
def test_region_is_written_as_numpy_does(region: Any, keywords: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    expected = np.full((10, 7), 9, "<i4")
    block = np.arange(expected[region].size, dtype="<i4").reshape(expected[region].shape)
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (10, 7), "<i4", chunks=(4, 3), fillvalue=9, **keywords)
        dataset[region] = block
    expected[region] = block
    np.testing.assert_array_equal(read(path), expected)
    assert_chunk_map(path, "/x", columns(file, "/x"))


@pytest.mark.parametrize("value", [5, np.int16(5), [[5]], np.arange(7), np.arange(4)[:, None], [1] * 7])
def test_region_takes_values_that_broadcast(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    expected = np.zeros((10, 7), "<i4")
    expected[4:8] = value
    with streamh5.File(path) as file:
        file.create_dataset("x", (10, 7), "<i4", chunks=(4, 3))[4:8] = value
    np.testing.assert_array_equal(read(path), expected)


@pytest.mark.parametrize(
    "region",
    [
        np.s_[::2],
        np.s_[::-1],
        np.s_[0:4, 0:3, 0],
        np.s_[..., ...],
        np.s_[[0, 1]],
        np.s_["a"],
        np.s_[None],
        np.s_[0.5:4],
        np.s_[np.array([True] * 10)],
        np.s_[10],
        np.s_[-11],
        np.s_[:, -8],
        np.s_[:, 7],
    ],
    ids=str,
)
def test_region_that_is_no_range_of_elements_is_refused(region: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (10, 7), "<i4", chunks=(4, 3))
        with pytest.raises(BlockError, match="/x"):
            dataset[region] = 1
    assert file.summary is not None
    assert file.summary.n_missing == 9


@pytest.mark.parametrize("value", [np.ones((3, 3)), np.ones((4, 4)), np.ones((2, 4, 3)), np.ones(4)])
def test_region_with_a_value_of_another_shape_is_refused(value: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (10, 7), "f8", chunks=(4, 3))
        with pytest.raises(BlockError, match="does not fit"):
            dataset[0:4, 0:3] = value


def test_region_of_an_open_length_sets_the_length(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (None, 3), "i4", chunks=(2, 3), fillvalue=-1)
        dataset[4:6] = 1
        dataset[0:2, 0:3] = 2
    np.testing.assert_array_equal(read(path)[:, 0], [2, 2, -1, -1, 1, 1])
    assert_chunk_map(path, "/x", columns(file, "/x"))


@pytest.mark.parametrize("region", [np.s_[:], np.s_[4:], np.s_[-2:], np.s_[-1]])
def test_region_of_an_open_length_that_is_relative_to_its_end_is_refused(region: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (None, 3), "i4", chunks=(2, 3))
        with pytest.raises(BlockError, match="/x"):
            dataset[region] = 1


@pytest.mark.parametrize("dtype", ["f8", "c8", "M8[s]", "S3", "U3", "O"])
def test_block_of_a_dtype_with_loss_is_refused(dtype: str, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (4,), "i4", chunks=(2,))
        block = np.zeros(4, dtype)
        with pytest.raises(BlockError, match="/x"):
            dataset[:] = block
        with pytest.raises(BlockError, match="/x"):
            dataset.append(block)
    assert file.summary is not None
    assert file.summary.n_missing == 2


def test_block_of_another_byte_order_is_converted(tmp_path: Path) -> None:
    data = values("<f8", (5,))
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", (5,), ">f8", chunks=(2,))[:] = data
    assert_every_reader(tmp_path / "a.h5", "/x", data.astype(">f8"))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("step", [1, -1, 2])
@RAW_AND_GZIP
def test_block_of_any_memory_layout_is_written_by_its_values(
    order: Any, step: int, keywords: dict[str, Any], tmp_path: Path
) -> None:
    data = np.asarray(values("<i2", (24, 18)), order=order)[::step, ::step]
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", data.shape, "<i2", chunks=(4, 5), **keywords)[...] = data
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), data)


@RAW_AND_GZIP
def test_chunk_written_twice_holds_the_last_and_is_counted(keywords: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (8,), "i4", chunks=(4,), **keywords)
        for i in range(30):
            dataset[0:4] = i
        dataset[:] = [1, 2, 3, 4, 5, 6, 7, 8]
        dataset[4:8] = 42
    np.testing.assert_array_equal(read(path), [1, 2, 3, 4, 42, 42, 42, 42])
    assert_chunk_map(path, "/x", columns(file, "/x"))
    assert file.summary is not None
    found = file.summary.datasets[0]
    assert (found.n_chunks, found.n_missing, found.n_rewritten) == (2, 0, 31)
    with h5py.File(path) as judge:
        assert found.stored_nbytes == judge["x"].id.get_storage_size()


def test_chunk_never_written_reads_as_fill_value_and_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        file.create_dataset("x", (10, 10), "f4", chunks=(3, 3), fillvalue=1.5)[3:6, 3:6] = 7
        file.create_dataset("zero", (5,), "i8", chunks=(2,))
        file.create_dataset("single", (5,), "i8", chunks=(5,), fillvalue=3)
    expected = np.full((10, 10), 1.5, "f4")
    expected[3:6, 3:6] = 7
    assert_every_reader(path, "/x", expected)
    assert_every_reader(path, "/zero", np.zeros(5, "i8"))
    assert_every_reader(path, "/single", np.full(5, 3))
    assert file.summary is not None
    assert [d.n_missing for d in file.summary.datasets] == [15, 3, 1]
    assert file.summary.n_missing == 19
    assert "15 not stored (fill value)" in repr(file.summary)


@pytest.mark.parametrize("mask", [0, 1, 2, 3])
def test_direct_chunk_is_stored_as_given_with_its_mask(mask: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = np.arange(12, dtype="<i4")
    shuffled = data if mask & 1 else np.frombuffer(data.tobytes(), "u1").reshape(12, 4).T
    stored = shuffled.tobytes() if mask & 2 else zlib.compress(shuffled.tobytes())
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (24,), "<i4", chunks=(12,), **GZIP)
        dataset.write_direct_chunk((12,), stored, filter_mask=mask)
        dataset.write_direct_chunk([0], memoryview(stored), mask)
    assert_every_reader(path, "/x", np.tile(data, 2))
    assert_chunk_map(path, "/x", columns(file, "/x"))
    with h5py.File(path) as judge:
        assert judge["x"].id.read_direct_chunk((12,)) == (mask, stored)


def test_direct_chunk_of_numpy_memory_has_its_bytes(tmp_path: Path) -> None:
    data = values(">u2", (3, 4))
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (None, 4), ">u2", chunks=(3, 4))
        dataset.write_direct_chunk((3, 0), data)
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), np.concatenate([np.zeros((3, 4)), data]))


@pytest.mark.parametrize(
    ("offsets", "nbytes", "mask"),
    [
        ((1, 0), 48, 0),
        ((0, 2), 48, 0),
        ((-4, 0), 48, 0),
        ((12, 0), 48, 0),
        ((0, 9), 48, 0),
        ((0,), 48, 0),
        ((0, 0, 0), 48, 0),
        ((0, 0), 47, 0),
        ((0, 0), 49, 0),
        ((0, 0), 0, 0),
        ((0, 0), 48, 1),
        ((0, 0), 48, -1),
        ((0.0, 0), 48, 0),
        ("ab", 48, 0),
        (0, 48, 0),
    ],
)
def test_direct_chunk_that_cannot_be_right_is_refused(
    offsets: Any, nbytes: int, mask: int, tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (10, 7), "<i4", chunks=(4, 3))
        with pytest.raises(BlockError, match="/x"):
            dataset.write_direct_chunk(offsets, bytes(nbytes), mask)
    assert file.summary is not None
    assert file.summary.n_missing == 9


@pytest.mark.parametrize(
    ("nbytes", "mask", "fits"), [(1, 0, True), (47, 3, False), (48, 3, True), (48, 4, False), (0, 0, False)]
)
def test_direct_chunk_of_a_filtered_dataset_may_have_any_size_unless_unfiltered(
    nbytes: int, mask: int, fits: bool, tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (8, 6), "<i4", chunks=(4, 3), **GZIP)
        if fits:
            dataset.write_direct_chunk((0, 0), bytes(nbytes), mask)
        else:
            with pytest.raises(BlockError, match="/x"):
                dataset.write_direct_chunk((0, 0), bytes(nbytes), mask)


@pytest.mark.parametrize("data", ["text", np.arange(24, dtype="<i4")[::2], 5])
def test_direct_chunk_of_no_contiguous_bytes_is_refused(data: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (8, 6), "<i4", chunks=(4, 3))
        with pytest.raises(BlockError, match="/x"):
            dataset.write_direct_chunk((0, 0), data)


def test_direct_chunk_written_after_a_region_is_the_one_that_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for i in range(10):
        with streamh5.File(path, "w") as file:
            dataset = file.create_dataset("x", (100_000,), "<i4", chunks=(50_000,), **GZIP)
            dataset[0:50_000] = np.arange(50_000)
            dataset.write_direct_chunk((0,), np.full(50_000, i, "<i4"), filter_mask=3)
        assert read(path)[:50_000].tolist() == [i] * 50_000


@pytest.mark.parametrize("value", [5, np.int16(5), np.array(5)])
def test_scalar_is_set_by_an_empty_tuple_or_ellipsis(value: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", (), "<i4")[()] = value
        file.create_dataset("y", (), "<i4")[...] = value
    assert_every_reader(tmp_path / "a.h5", "/x", np.array(5, "<i4"))
    assert_every_reader(tmp_path / "a.h5", "/y", np.array(5, "<i4"))


def test_scalar_never_set_reads_as_its_fill_value(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", (), "<i4", fillvalue=7)
    assert_every_reader(tmp_path / "a.h5", "/x", np.array(7, "<i4"))


def test_scalar_and_null_refuse_what_needs_dimensions(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        scalar = file.create_dataset("x", (), "f8")
        null = file.create_dataset("null", dtype="f8")
        for dataset in (scalar, null):
            with pytest.raises(BlockError):
                dataset.append(1)
            with pytest.raises(BlockError):
                dataset.write_direct_chunk((), bytes(8))
            with pytest.raises(BlockError):
                dataset[0:1] = 1
        with pytest.raises(BlockError):
            scalar[()] = [1, 2]
        with pytest.raises(BlockError):
            null[()] = 1


def test_masked_block_is_filled_only_with_a_given_fill_value(tmp_path: Path) -> None:
    block = np.ma.masked_array([1, 2, 3, 4], [False, True, False, False])
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", (4,), "i8", chunks=(2,), fillvalue=-1)
        dataset[:] = block
        other = file.create_dataset("y", (4,), "i8", chunks=(2,))
        with pytest.raises(BlockError, match=r"1 masked.*fillvalue"):
            other[:] = block
        other[:] = np.ma.masked_array([1, 2, 3, 4])
    assert read(tmp_path / "a.h5").tolist() == [1, -1, 3, 4]
    assert read(tmp_path / "a.h5", "y").tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("end", ["close", "abort", "with", "exception"])
def test_every_call_after_the_end_is_refused(end: str, tmp_path: Path) -> None:
    file = streamh5.File(tmp_path / "a.h5")
    dataset = file.create_dataset("x", (4,), "i4", chunks=(2,))
    if end in ("close", "abort"):
        getattr(file, end)()
    elif end == "with":
        with file:
            pass
    else:
        with pytest.raises(ZeroDivisionError), file:
            _ = 1 / 0
    calls: list[Any] = [
        lambda: dataset.append(1),
        lambda: dataset.__setitem__(slice(None), 1),
        lambda: dataset.write_direct_chunk((0,), bytes(8)),
        lambda: dataset.attrs.__setitem__("a", 1),
        lambda: file.attrs.__setitem__("a", 1),
        lambda: file.create_dataset("y", (1,), "i4"),
        lambda: file.create_group("g"),
    ]
    for call in calls:
        with pytest.raises(StateError, match=r"a\.h5"):
            call()
