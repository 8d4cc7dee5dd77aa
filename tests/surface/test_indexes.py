"""The five chunk indexes and the old one: which a dataset gets, every size, and what h5py makes of it later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import streamh5
from streamh5.format.chunk_index.element import ChunkColumns
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.model.tree import DatasetNode, find
from tests.readers import readers_for
from tests.readers.hdf5_tools import index_address, index_type, repacks
from tests.readers.judgements import assert_chunk_map, assert_survives_change
from tests.readers.protocol import assert_reads
from tests.written import GZIP, assert_every_reader, values

FILTERS = pytest.mark.parametrize(
    "filters", [{}, GZIP, {"fletcher32": True}], ids=["raw", "gzip", "fletcher32"]
)
EXTENSIBLE, BTREE, FIXED = "Extensible Array", "v2 B-tree", "Fixed Array"


@dataclass(frozen=True)
class Case:
    """A dataset, and the index that it must get."""

    index: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    maxshape: Any = None
    alloc_time: str | None = None

    def __str__(self) -> str:
        return f"{self.index}-{self.shape}-{self.maxshape}".replace(" ", "")


CASES = [
    Case("Single Chunk", (3, 4), (3, 4)),
    Case(FIXED, (10, 7), (4, 3)),
    Case(FIXED, (10, 7), (4, 3), (20, 9)),
    Case(FIXED, (3, 4), (3, 4), (6, 4)),
    Case(EXTENSIBLE, (10, 7), (4, 3), (None, 7)),
    Case(EXTENSIBLE, (10, 7), (4, 3), (None, 20)),
    Case(EXTENSIBLE, (10, 7, 3), (4, 3, 2), (None, 7, 5)),
    Case(EXTENSIBLE, (3, 4), (3, 4), (None, 4)),
    Case(BTREE, (10, 7), (4, 3), (10, None)),
    Case(BTREE, (10, 7), (4, 3), (None, None)),
    Case(BTREE, (10, 7, 3), (4, 3, 2), (20, None, 3)),
    Case(BTREE, (10, 7, 3), (4, 3, 2), (None, 9, None)),
    Case(BTREE, (10, 7), (4, 3), True),
]
EARLY = [
    Case("Implicit", (10, 7), (4, 3), None, "early"),
    Case("Implicit", (3, 4), (3, 4), None, "early"),
]


def columns(file: streamh5.File, path: str) -> ChunkColumns:
    """What streamh5 has tracked, in the order of the grid over the present shape."""
    node = find(file.session.root, path)
    assert isinstance(node, DatasetNode)
    box = tuple((0, n) for n in node.grid.present.counts)
    return node.table.first(node.n_numbers).take(node.grid.numbers(box).astype(np.intp))


def grown(data: Any, shape: tuple[int, ...], fill: Any = 0) -> Any:
    """The array in a larger one."""
    larger = np.full(shape, fill, data.dtype)
    larger[tuple(slice(n) for n in data.shape)] = data
    return larger


def larger_shape(case: Case) -> tuple[int, ...]:
    """A larger shape that the maximum allows."""
    bounds = (None,) * len(case.shape) if case.maxshape is True else case.maxshape or case.shape
    return tuple(n * 3 + 1 if most is None else most for n, most in zip(case.shape, bounds, strict=True))


def small(shape: tuple[int, ...], seed: int) -> Any:
    """Compressible values.

    libhdf5 (1.10 to 2.0) leaves the filter mask of a chunk as it was when it writes the chunk again and its
    new size is the old one (``need_insert`` of ``H5D__chunk_file_alloc``): a chunk that skipped gzip and then
    compresses to exactly its raw size is lost in it. Random chunks of 96 bytes do that.
    """
    return np.random.default_rng(seed).integers(-9, 99, shape, "<i4")


@pytest.mark.usefixtures("hdf5_tools")
@FILTERS
@pytest.mark.parametrize("case", CASES, ids=str)
def test_dataset_is_read_by_all_then_resized_and_filled_by_h5py(
    case: Case, filters: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = small(case.shape, seed=1)
    with streamh5.File(path) as file:
        file.create_dataset("x", data=data, chunks=case.chunks, maxshape=case.maxshape, **filters)
    assert index_type(path, "/x") == case.index
    assert_every_reader(path, "/x", data)
    assert_chunk_map(path, "/x", columns(file, "/x"))
    repacks(path)
    assert_survives_change(path, "/x", tmp_path)
    shape = larger_shape(case)
    expected = grown(data, shape)
    with h5py.File(path, "r+") as changed:
        dataset = changed["x"]
        assert dataset.maxshape == (case.shape if case.maxshape is None else h5py_maxshape(case))
        if shape != case.shape:
            dataset.resize(shape)
        np.testing.assert_array_equal(dataset[()], expected)
        new = small(shape, seed=2)
        keep = tuple(slice(n) for n in case.shape)
        new[keep] = data
        dataset[...] = new
    for reader in readers_for("<i4"):
        assert_reads(reader, path, "/x", new)
    repacks(path)
    smaller = tuple(max(1, n // 2) for n in case.shape)
    if shape != case.shape:
        with h5py.File(path, "r+") as changed:
            changed["x"].resize(smaller)
            changed["x"].resize(shape)
        with h5py.File(path) as found:
            cut = new[tuple(slice(n) for n in smaller)]
            np.testing.assert_array_equal(found["x"][()], grown(cut, shape))


@pytest.mark.usefixtures("hdf5_tools")
@FILTERS
@pytest.mark.parametrize("case", CASES, ids=str)
def test_index_is_allocated_with_the_first_chunk_as_by_the_library(
    case: Case, filters: dict[str, Any], tmp_path: Path
) -> None:
    path, theirs = tmp_path / "a.h5", tmp_path / "theirs.h5"
    with streamh5.File(path) as file:
        file.create_dataset("x", case.shape, "i4", chunks=case.chunks, maxshape=case.maxshape, **filters)
    with h5py.File(theirs, "w", libver=("v110", "v110")) as other:
        maxshape = h5py_maxshape(case)
        other.create_dataset("x", case.shape, "i4", chunks=case.chunks, maxshape=maxshape, **filters)
    assert index_address(path, "/x") == index_address(theirs, "/x") == UNDEFINED_ADDRESS
    assert_every_reader(path, "/x", np.zeros(case.shape, "i4"))
    assert_survives_change(path, "/x", tmp_path)
    repacks(path)


def h5py_maxshape(case: Case) -> tuple[int | None, ...]:
    return (None,) * len(case.shape) if case.maxshape is True else case.maxshape


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize("case", EARLY, ids=str)
@pytest.mark.parametrize("written", ["all", "one", "none"])
@pytest.mark.parametrize("fillvalue", [None, -5])
def test_early_dataset_has_all_chunks_in_their_places(
    case: Case, written: str, fillvalue: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = values("<i4", case.shape)
    expected = data if written == "all" else np.full(case.shape, fillvalue or 0, "<i4")
    with streamh5.File(path) as file:
        dataset = file.create_dataset(
            "x", case.shape, "<i4", chunks=case.chunks, alloc_time="early", fillvalue=fillvalue
        )
        if written == "all":
            dataset[...] = data
        elif written == "one":
            corner = tuple(slice(n) for n in case.chunks)
            dataset[corner] = expected[corner] = data[corner]
    assert index_type(path, "/x") == "Implicit"
    assert_every_reader(path, "/x", expected)
    with h5py.File(path) as found:
        stored = [found["x"].id.get_chunk_info(i) for i in range(found["x"].id.get_num_chunks())]
        addresses = [info.byte_offset for info in stored]
        nbytes = int(np.prod(case.chunks)) * 4
        assert addresses == list(range(addresses[0], addresses[0] + nbytes * len(stored), nbytes))
        assert found["x"].id.get_create_plist().get_alloc_time() == h5py.h5d.ALLOC_TIME_EARLY
    assert_survives_change(path, "/x", tmp_path)


N_CHUNKS = [0, 1, 2, 3, 4, 5, 19, 20, 21, 1024, 1025, 5000, 70_000]


@pytest.mark.usefixtures("hdf5_tools")
@FILTERS
@pytest.mark.parametrize("n_chunks", N_CHUNKS)
@pytest.mark.parametrize(
    ("index", "maxshape"), [(EXTENSIBLE, (None,)), (BTREE, (None, None))], ids=["array", "tree"]
)
def test_growing_index_of_each_size_is_read_and_grows(
    index: str, maxshape: Any, n_chunks: int, filters: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    chunks = (2, 3)[: len(maxshape)]
    shape = (n_chunks * 2, 3)[: len(maxshape)]
    data = values("u1", shape, seed=n_chunks)
    with streamh5.File(path) as file:
        file.create_dataset("x", data=data, chunks=chunks, maxshape=maxshape, **filters)
    assert index_type(path, "/x") == index
    if n_chunks <= 5000:
        assert_every_reader(path, "/x", data)
        assert_chunk_map(path, "/x", columns(file, "/x"))
    else:
        assert_part_by_part(path, data)
    with h5py.File(path, "r+") as changed:
        changed["x"].resize(shape[0] + 40, 0)
        changed["x"][shape[0] :] = 7
    with h5py.File(path) as found:
        assert found["x"].shape[0] == shape[0] + 40
        np.testing.assert_array_equal(found["x"][max(0, shape[0] - 10) : shape[0]], data[-10:])
        assert (found["x"][shape[0] :] == 7).all()


def assert_part_by_part(path: Path, data: Any) -> None:
    """Compare beginning and end, and the number of chunks: a whole read takes kilobytes a chunk."""
    with h5py.File(path) as found:
        for part in (np.s_[:3000], np.s_[len(data) // 2 : len(data) // 2 + 3000], np.s_[-3000:]):
            np.testing.assert_array_equal(found["x"][part], data[part])
        assert found["x"].id.get_num_chunks() == -(-len(data) // found["x"].chunks[0])


@pytest.mark.campaign
@FILTERS
@pytest.mark.parametrize("maxshape", [None, (None,), "tree"])
def test_index_of_two_million_chunks_is_read_and_grows(
    maxshape: Any, filters: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    n = 2_000_000
    tree = maxshape == "tree"
    data = np.arange(n * 2, dtype="<u4").view("u1").reshape(n * 8)[: n * 2].copy()
    shape = (n * 2, 1) if tree else (n * 2,)
    with streamh5.File(path) as file:
        file.create_dataset(
            "x",
            data=data.reshape(shape),
            chunks=(2, 1) if tree else (2,),
            maxshape=(None, None) if tree else maxshape,
            **filters,
        )
    assert_part_by_part(path, data.reshape(shape))
    if maxshape is not None:
        with h5py.File(path, "r+") as changed:
            changed["x"].resize(n * 2 + 3000, 0)
            changed["x"][n * 2 :] = 9
        with h5py.File(path) as found:
            assert (found["x"][n * 2 :] == 9).all()
            np.testing.assert_array_equal(found["x"][n : n + 3000], data.reshape(shape)[n : n + 3000])


SPARSE = [(), (0,), (3,), (0, 1023), (1024, 1500), (2999,), (4, 5, 6, 84, 85, 1364, 2388)]


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize("written", SPARSE, ids=str)
@pytest.mark.parametrize("filters", [{}, GZIP], ids=["raw", "gzip"])
@pytest.mark.parametrize("maxshape", [None, (5000,), (None,), (None, None)], ids=str)
def test_missing_chunks_of_each_index_read_as_the_fill_value(
    maxshape: Any, filters: dict[str, Any], written: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    rank = 2 if maxshape == (None, None) else 1
    expected = np.full((3000, 1)[:rank], -7, "<i2")
    with streamh5.File(path) as file:
        dataset = file.create_dataset(
            "x", expected.shape, "<i2", chunks=(1, 1)[:rank], maxshape=maxshape, fillvalue=-7, **filters
        )
        for number in written:
            dataset[number] = number
            expected[number] = number
    assert_every_reader(path, "/x", expected)
    assert_chunk_map(path, "/x", columns(file, "/x"))
    assert_survives_change(path, "/x", tmp_path)
    if maxshape is None:
        return
    with h5py.File(path, "r+") as changed:
        changed["x"].resize(4000, 0)
        changed["x"][3500] = 1
    with h5py.File(path) as found:
        whole = grown(expected, (4000, 1)[:rank], -7)
        whole[3500] = 1
        np.testing.assert_array_equal(found["x"][()], whole)


@pytest.mark.usefixtures("hdf5_tools")
@FILTERS
@pytest.mark.parametrize("n_rows", [0, 1, 4, 9, 4000])
@pytest.mark.parametrize(
    ("maxshape", "index"),
    [
        ((None, 3), EXTENSIBLE),
        ((None, 8), EXTENSIBLE),
        ((None, None), BTREE),
        ((5000, 3), FIXED),
        ((5000, None), BTREE),
    ],
    ids=str,
)
def test_appended_rows_of_unknown_number_can_be_appended_to_by_h5py(
    maxshape: Any, index: str, n_rows: int, filters: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = values("<f4", (n_rows, 3))
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (None, 3), "<f4", chunks=(4, 2), maxshape=maxshape, **filters)
        for start in range(0, n_rows, 700):
            dataset.append(data[start : start + 700])
    assert index_type(path, "/x") == index
    assert_every_reader(path, "/x", data)
    more = values("<f4", (50, 3), seed=9)
    with h5py.File(path, "r+") as changed:
        for row in more:
            changed["x"].resize(len(changed["x"]) + 1, 0)
            changed["x"][-1] = row
    for reader in readers_for("<f4"):
        assert_reads(reader, path, "/x", np.concatenate([data, more]))


@pytest.mark.parametrize("libver", ["v108", "v110"])
@pytest.mark.parametrize("filters", [{}, GZIP], ids=["raw", "gzip"])
@pytest.mark.parametrize("length", [10, None])
def test_dataset_of_fixed_shape_that_h5py_shrinks_keeps_its_values(
    length: int | None, filters: dict[str, Any], libver: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = values("<i4", (10, 10))
    with streamh5.File(path, libver=libver) as file:
        file.create_dataset("x", (length, 10), "<i4", chunks=(3, 3), **filters).append(data)
    with h5py.File(path, "r+") as changed:
        changed["x"].resize((7, 4))
    with h5py.File(path, "r+") as changed:
        assert changed["x"].maxshape == (10, 10)
        np.testing.assert_array_equal(changed["x"][()], data[:7, :4])
        changed["x"].resize((10, 10))
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][()], grown(data[:7, :4], (10, 10)))


@given(draw=st.data())
@settings(max_examples=60)
def test_any_shape_and_maxshape_is_read_and_resized_as_h5pys_own(
    draw: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    rank = draw.draw(st.integers(1, 4))
    shape = draw.draw(st.tuples(*[st.integers(0, 7)] * rank))
    maxshape = tuple(draw.draw(st.sampled_from([None, n, n + 5, 40])) for n in shape)
    chunks = tuple(draw.draw(st.integers(1, max(1, 9 if n is None else n))) for n in maxshape)
    filters = draw.draw(st.sampled_from([{}, GZIP, {"fletcher32": True}]))
    libver = draw.draw(st.sampled_from(["v108", "v110"]))
    later = tuple(draw.draw(st.integers(0, 11 if n is None else n)) for n in maxshape)
    data = values("<u2", shape)
    ours, theirs = folder / "ours.h5", folder / "theirs.h5"
    keywords: dict[str, Any] = {"chunks": chunks, "maxshape": maxshape, **filters}
    with streamh5.File(ours, libver=libver) as file:
        file.create_dataset("x", data=data, **keywords)
    with h5py.File(theirs, "w") as other:
        plain = other.create_dataset("x", shape, "<u2", chunks=True, maxshape=maxshape)
        plain[...] = data
    for path in (ours, theirs):
        with h5py.File(path, "r+") as changed:
            np.testing.assert_array_equal(changed["x"][()], data)
            changed["x"].resize(later)
            if changed["x"].size:
                changed["x"][tuple(n - 1 for n in later)] = 12345
    with h5py.File(ours) as found, h5py.File(theirs) as other:
        assert found["x"].maxshape == other["x"].maxshape
        np.testing.assert_array_equal(found["x"][()], other["x"][()])


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize(("maxshape", "index"), [((None, 8), EXTENSIBLE), ((None, None), BTREE)], ids=str)
def test_dask_array_with_maxshape_can_grow(maxshape: Any, index: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = values("<f8", (30, 8))
    streamh5.to_fixed_h5(path, "/x", da.from_array(data, chunks=(7, 4)), maxshape=maxshape)
    assert index_type(path, "/x") == index
    assert_every_reader(path, "/x", data)
    with h5py.File(path, "r+") as changed:
        changed["x"].resize(100, 0)
        changed["x"][30:] = 1.5
    assert_every_reader(path, "/x", grown(data, (100, 8), 1.5))
