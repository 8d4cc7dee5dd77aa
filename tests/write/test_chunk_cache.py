"""Regions that fill no whole chunk, against the same assignments to an array in memory."""

from __future__ import annotations

import io
import threading
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import streamh5
from streamh5.errors import SinkError
from streamh5.sinks.memory import MemorySink
from streamh5.write.chunk_cache import PartialChunk, union
from tests.deadlock import DEADLOCK_SECONDS

SHAPE = (13, 11)

FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "shuffle": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "early": {"alloc_time": "early"},
    "no empty chunks": {"compression": "gzip", "write_empty_chunks": False},
}


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


def indices(n: int) -> st.SearchStrategy[Any]:
    ends = st.tuples(st.integers(-n, n + 2), st.integers(-n, n + 2))
    return st.one_of(ends.map(lambda one: slice(*one)), st.integers(-n, n - 1), st.just(slice(None)))


regions = st.one_of(
    st.tuples(indices(SHAPE[0]), indices(SHAPE[1])),
    indices(SHAPE[0]),
    st.tuples(st.just(...), indices(SHAPE[1])),
)


@settings(max_examples=80, deadline=None)
@given(
    filters=st.sampled_from(sorted(FILTERS)),
    chunks=st.tuples(st.integers(1, SHAPE[0]), st.integers(1, SHAPE[1])),
    steps=st.lists(st.tuples(regions, st.integers(0, 3)), max_size=25),
    max_memory=st.sampled_from([None, 100, 600, 5000]),
    fillvalue=st.sampled_from([None, 7]),
)
def test_regions_in_any_order_equal_those_of_an_array(
    filters: str, chunks: Any, steps: Any, max_memory: Any, fillvalue: Any
) -> None:
    sink = io.BytesIO()
    expected = np.full(SHAPE, fillvalue or 0, "i4")
    with streamh5.File(sink, "w", max_memory=max_memory, threads=2) as file:
        x = file.create_dataset("x", SHAPE, "i4", chunks=chunks, fillvalue=fillvalue, **FILTERS[filters])
        for i, (region, kind) in enumerate(steps):
            part = expected[region]
            value = 0 if kind == 3 else np.arange(part.size).reshape(part.shape) + 1000 * i
            expected[region] = value
            x[region] = value
    with h5py.File(sink) as found:
        np.testing.assert_array_equal(found["x"][...], expected)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 9),
            st.integers(1, 4),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
        ),
        max_size=12,
    ),
    max_memory=st.sampled_from([None, 100]),
    fillvalue=st.sampled_from([None, "none"]),
)
def test_regions_of_text_keep_what_other_regions_wrote(steps: Any, max_memory: Any, fillvalue: Any) -> None:
    sink = io.BytesIO()
    expected = np.full(10, fillvalue or "", object)
    with streamh5.File(sink, "w", max_memory=max_memory) as file:
        x = file.create_dataset(
            "x", 10, h5py.string_dtype(), chunks=4, compression="gzip", fillvalue=fillvalue
        )
        # libhdf5 needs write intent to read a missing chunk with such a fill value, so each gets an element
        for start, n, text in [(0, 1, "a"), (4, 1, "b"), (9, 1, "c"), *steps]:
            expected[start : start + n] = text
            x[start : start + n] = text
    with h5py.File(sink) as found:
        assert found["x"].asstr()[...].tolist() == expected.tolist()


@pytest.mark.parametrize("max_memory", [None, 1000])
def test_regions_of_records_and_arrays_keep_what_other_regions_wrote(max_memory: Any) -> None:
    records = np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [0, 8], "itemsize": 24})
    dtypes: dict[str, Any] = {"records": records, "arrays": np.dtype(("i2", (3,)))}
    sink = io.BytesIO()
    with streamh5.File(sink, "w", max_memory=max_memory) as file:
        for name, dtype in dtypes.items():
            x = file.create_dataset(name, (40,), dtype, chunks=(7,), compression="gzip")
            for i in [*range(0, 40, 3), *range(1, 40, 3)]:  # every third, so that chunks have gaps
                x[i] = (i, i / 2) if name == "records" else (i, i + 1, i + 2)
    given_rows = [i for i in range(40) if i % 3 < 2]
    with h5py.File(sink) as found:
        for i in range(40):
            value = i if i in given_rows else 0
            assert found["records"][i].tolist() == (value, value / 2)
            assert found["arrays"][i].tolist() == ([i, i + 1, i + 2] if i in given_rows else [0, 0, 0])


class WriteOnly:
    """A sink with the four members of `Sink` and no more."""

    name = "write-only"

    def __init__(self) -> None:
        self.sink = MemorySink()

    def write(self, address: int, buffers: Sequence[Any]) -> None:
        self.sink.write(address, buffers)

    def commit(self, nbytes: int) -> None:
        self.sink.commit(nbytes)

    def abort(self) -> None:
        self.sink.abort()


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("shape", [(100, 50), (None, 50)])
def test_loop_over_rows_writes_each_chunk_once_and_reads_nothing(shape: Any, compression: Any) -> None:
    sink, data = WriteOnly(), np.arange(5000).reshape(100, 50)
    with streamh5.File(sink) as file:
        x = file.create_dataset("x", shape, "i4", chunks=(8, 20), compression=compression)
        for i, row in enumerate(data):
            x[i] = row
    assert file.summary is not None
    (summary,) = file.summary.datasets
    assert (summary.n_rewritten, summary.n_missing) == (0, 0)
    with h5py.File(io.BytesIO(sink.sink.image)) as found:
        np.testing.assert_array_equal(found["x"][...], data)


def write_rows(sink: Any, compression: Any) -> Any:
    """Write rows of eight chunks, of which five fit the room for partial chunks; return the summary."""
    with streamh5.File(sink, "w", max_memory=32_000) as file:
        x = file.create_dataset("x", (8, 800), "i4", chunks=(8, 100), compression=compression)
        for i in range(8):
            x[i] = i
    assert file.summary is not None
    return file.summary.datasets[0]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_sink_that_cannot_be_read_is_refused_when_a_chunk_must_be_read_back(compression: Any) -> None:
    with pytest.raises(SinkError, match=r"write-only cannot be read .* read\(address, nbytes\)"):
        write_rows(WriteOnly(), compression)


def test_file_object_for_writing_only_is_refused_when_a_chunk_must_be_read_back(tmp_path: Path) -> None:
    with (tmp_path / "x.h5").open("wb") as file_object, pytest.raises(SinkError, match=r"with mode 'w\+b'"):
        write_rows(file_object, None)


def test_chunk_that_had_to_go_is_read_back_from_a_file_object_and_from_memory(tmp_path: Path) -> None:
    memory = MemorySink()
    with (tmp_path / "x.h5").open("w+b") as file_object:
        for sink in (file_object, memory):
            summary = write_rows(sink, "gzip")
            assert summary.n_rewritten > 0
    for name in (tmp_path / "x.h5", io.BytesIO(memory.image)):
        with h5py.File(name) as found:
            np.testing.assert_array_equal(found["x"][...], np.repeat(np.arange(8), 800).reshape(8, 800))


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("max_memory", [None, 3000])
def test_threads_on_disjoint_regions_of_the_same_chunks_lose_nothing(
    compression: Any, max_memory: Any, tmp_path: Path
) -> None:
    path, data = tmp_path / "x.h5", np.arange(64 * 60).reshape(64, 60)
    with streamh5.File(path, max_memory=max_memory) as file:
        x = file.create_dataset("x", data.shape, "i4", chunks=(7, 16), compression=compression)

        def write(first: int) -> None:
            for i in range(first, 64, 4):
                x[i, :30] = data[i, :30]
                x[i, 30:] = data[i, 30:]

        threads = [threading.Thread(target=write, args=(i,), daemon=True) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLOCK_SECONDS)
            assert not thread.is_alive()
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][...], data)


def test_whole_chunk_replaces_what_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with streamh5.File(path) as file:
        x = file.create_dataset("x", (8, 8), "i4", chunks=(4, 4), compression="gzip")
        y = file.create_dataset("y", (8, 8), "i4", chunks=(4, 4))
        x[1, :] = 1
        x[0:4, 0:4] = np.full((4, 4), 2)
        y[1, :] = 1
        y.write_direct_chunk((0, 4), np.full((4, 4), 3, "i4").tobytes())
        y.record(y.write_block(np.full((4, 4), 4, "i4"), (0, 0)))
        y[7, 7] = 5
    expected = np.zeros((8, 8), "i4")
    expected[1] = 1
    with h5py.File(path) as found:
        expected[0:4, 0:4] = 2
        np.testing.assert_array_equal(found["x"][...], expected)
        expected[0:4, 0:4], expected[0:4, 4:], expected[7, 7] = 4, 3, 5
        np.testing.assert_array_equal(found["y"][...], expected)


@settings(max_examples=40, deadline=None)
@given(
    compression=st.sampled_from([None, "gzip"]),
    blocks=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 6), st.booleans()), max_size=10),
)
def test_blocks_that_end_inside_chunks_keep_their_other_elements(compression: Any, blocks: Any) -> None:
    sink, expected = io.BytesIO(), np.zeros((14, 5), "i4")
    with streamh5.File(sink, "w") as file:
        x = file.create_dataset("x", expected.shape, "i4", chunks=(4, 3), compression=compression)
        for i, (start, n, is_region) in enumerate(blocks, start=1):
            stop = min(start + n, 14)
            expected[start:stop, 1:] = i
            if is_region:
                x[start:stop, 1:] = i
            else:
                x.record(x.write_block(np.full((stop - start, 4), i), (start, 1)))
    with h5py.File(sink) as found:
        np.testing.assert_array_equal(found["x"][...], expected)


@settings(max_examples=100)
@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(1, 6), st.integers(1, 5)), max_size=8
    )
)
def test_partial_chunk_knows_which_of_its_elements_are_set(boxes: Any) -> None:
    chunk = PartialChunk((0, 0), (7, 6), (6, 5), np.dtype("i4"))
    expected = np.full((7, 6), -1)
    for i, (a, b, m, n) in enumerate(boxes):
        region = slice(a, min(a + m, 6)), slice(b, min(b + n, 5))
        expected[region] = i
        chunk.put(region, np.full(expected[region].shape, i))
        assert chunk.is_complete == (expected[:6, :5] >= 0).all()
        if chunk.box is not None:
            is_set = np.zeros((7, 6), bool)
            is_set[tuple(slice(*one) for one in chunk.box)] = True
            np.testing.assert_array_equal(is_set, expected >= 0)
    copy = chunk.copy()
    copy.fill(lambda shape: np.full(shape, -1))
    np.testing.assert_array_equal(copy.elements, expected)
    chunk.merge(np.full((7, 6), -2, "i4"))
    np.testing.assert_array_equal(chunk.elements, np.where(expected < 0, -2, expected))


def test_union_of_boxes_is_a_box_or_none() -> None:
    assert union(((0, 2), (0, 3)), ((2, 3), (0, 3))) == ((0, 3), (0, 3))
    assert union(((0, 2), (0, 3)), ((3, 4), (0, 3))) is None
    assert union(((0, 2), (0, 3)), ((0, 1), (1, 2))) == ((0, 2), (0, 3))
    assert union(((0, 1), (1, 2)), ((0, 2), (0, 3))) == ((0, 2), (0, 3))
    assert union(((0, 2), (0, 3)), ((1, 3), (1, 4))) is None


@pytest.mark.parametrize("mode", ["w", "a"])
def test_chunks_that_wait_are_dropped_with_their_dataset(mode: str, tmp_path: Path) -> None:
    path, n = tmp_path / "a.h5", 1 << 20
    keywords: dict[str, Any] = {"maxshape": (None,), "chunks": (n,)}
    if mode == "a":
        with streamh5.File(path, "w") as file:
            file.create_dataset("old", (n,), "u1", **keywords)
    with streamh5.File(path, mode, max_memory=3 * n) as file:
        old = file["old"] if mode == "a" else file.create_dataset("old", (n,), "u1", **keywords)
        assert isinstance(old, streamh5.Dataset)
        tracemalloc.start()
        try:
            old[: n // 2] = 1
            held = tracemalloc.get_traced_memory()[0]
            del file["old"]
            assert tracemalloc.get_traced_memory()[0] < held - n // 2
        finally:
            tracemalloc.stop()
        new = file.create_dataset("new", (n,), "u1", **keywords)
        new[: n // 2] = 2  # there is no room for two chunks
        new[n // 2 :] = 3
    assert path.stat().st_size < 1.1 * n, "the chunk of the deleted dataset was written"
    with h5py.File(path) as found:
        assert list(found) == ["new"]
        assert np.array_equal(found["new"], np.repeat([2, 3], n // 2))
