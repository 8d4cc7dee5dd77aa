"""Regions, appends and blocks of datasets that other libraries have stored; they read what became of them."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import netCDF4
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

import streamh5
from streamh5.handles.dataset_writer import DatasetWriter
from streamh5.model.chunk_records import ChunkRecords
from streamh5.processes.signals import wait_for
from streamh5.write.chunk_writer import RawChunks
from tests.deadlock import DEADLOCK_SECONDS

FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "lzf": {"compression": "lzf"},
    "shuffle": {"compression": "gzip", "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "scaleoffset": {"scaleoffset": 0},
    "szip": {"compression": "szip"},
}
SHAPE = (13, 11)


def index(n: int) -> st.SearchStrategy[Any]:
    ends = st.tuples(st.integers(-n, n), st.integers(-n, n))
    return st.one_of(ends.map(lambda one: slice(*one)), st.integers(-n, n - 1), st.just(slice(None)))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("region"), st.tuples(index(SHAPE[0]), index(SHAPE[1]))),
        st.tuples(st.just("append"), st.integers(0, 6)),
        st.tuples(st.just("block"), st.tuples(st.integers(0, 9), st.integers(0, 7))),
        st.tuples(st.just("resize"), st.tuples(st.integers(13, 30), st.integers(11, 20))),
        st.tuples(st.just("shrink"), st.just((13, 11))),
        st.tuples(st.just("direct"), st.just(())),
        st.tuples(st.just("reopen"), st.just(())),
    ),
    max_size=12,
)


def apply(x: Any, expected: Any, step: str, argument: Any, value: int) -> Any:
    """Do one step with a dataset and with an array; return the array, which may be another one."""
    match step:
        case "region":
            part = expected[argument]
            expected[argument] = new = np.arange(part.size).reshape(part.shape) % 50 + value
            x[argument] = new
        case "append":
            rows = np.full((argument, expected.shape[1]), value)
            x.append(rows)
            return np.concatenate([expected, rows])
        case "block":
            row, column = argument
            expected[row : row + 4, column : column + 3] = value
            x.record(x.write_block(np.full((4, 3), value), argument))
        case "resize" | "shrink":
            new = np.full(argument, 3)
            rows_kept, columns_kept = (min(a, b) for a, b in zip(argument, expected.shape, strict=True))
            new[:rows_kept, :columns_kept] = expected[:rows_kept, :columns_kept]
            x.resize(argument)
            return new
        case "direct" if x.compression is x.scaleoffset is None and not x.fletcher32:
            rows, columns = x.chunks
            whole = np.full(x.chunks, value, x.dtype)
            expected[:rows, :columns] = whole[: len(expected), : expected.shape[1]]
            x.write_direct_chunk((0, 0), whole.tobytes())
    return expected


@settings(max_examples=60, deadline=None)
@given(
    filters=st.sampled_from(sorted(FILTERS)),
    libver=st.sampled_from(["earliest", "v108", "latest"]),
    dtype=st.sampled_from(["<i4", ">i2"]),
    chunks=st.tuples(st.integers(1, 13), st.integers(1, 11)),
    is_stored=st.booleans(),
    calls=steps,
    max_memory=st.sampled_from([None, 100, 2000]),
)
def test_calls_on_a_stored_dataset_equal_those_on_an_array(
    filters: str, libver: Any, dtype: str, chunks: Any, is_stored: bool, calls: Any, max_memory: Any
) -> None:
    if filters == "szip":  # its blocks have eight elements
        chunks = (chunks[0], max(8, chunks[1]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        expected = np.arange(143).reshape(SHAPE) if is_stored else np.full(SHAPE, 3)
        with h5py.File(path, "w", libver=libver) as file:
            created = file.create_dataset(
                "x", SHAPE, dtype, chunks=chunks, maxshape=(None, 20), fillvalue=3, **FILTERS[filters]
            )
            if is_stored:
                created[...] = expected
        file = streamh5.File(path, "a", max_memory=max_memory)
        x: Any = file["x"]
        for value, (step, argument) in enumerate(calls, start=200):
            if step == "reopen":
                file.close()
                with h5py.File(path) as found:
                    np.testing.assert_array_equal(found["x"][...], expected)
                file = streamh5.File(path, "a", max_memory=max_memory)
                x = file["x"]
            expected = apply(x, expected, step, argument, value)
        file.close()
        with h5py.File(path, "r+") as found:
            np.testing.assert_array_equal(found["x"][...], expected)
            # libhdf5 does not enter that a chunk skips an optional filter if its stored size stays as it was
            if filters != "lzf":
                found["x"][0] = expected[0] = 5
            np.testing.assert_array_equal(found["x"][...], expected)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_text_of_a_stored_dataset_keeps_its_other_elements(libver: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver) as file:
        x = file.create_dataset(
            "x", (10,), h5py.string_dtype(), chunks=(4,), maxshape=(None,), compression="gzip"
        )
        x[...] = [f"old {i}" for i in range(10)]
    with streamh5.File(path, "a") as changed:
        y: Any = changed["x"]
        y[2:5] = ["a", "ä", ""]
        y.append("last")
    with h5py.File(path) as file:
        expected = [f"old {i}" for i in range(10)]
        expected[2:5] = ["a", "ä", ""]
        assert file["x"].asstr()[...].tolist() == [*expected, "last"]


@pytest.mark.parametrize("filters", ["zlib", "none"])
@pytest.mark.parametrize("is_unlimited", [False, True])
def test_variable_of_netcdf_keeps_its_other_elements(
    filters: str, is_unlimited: bool, tmp_path: Path
) -> None:
    path, expected = tmp_path / "x.nc", np.arange(120, dtype="f4").reshape(12, 10)
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None if is_unlimited else 12)
        file.createDimension("x", 10)
        v = file.createVariable("v", "f4", ("time", "x"), zlib=filters == "zlib", chunksizes=(5, 4))
        v[:] = expected
    with streamh5.File(path, "a") as changed:
        y: Any = changed["v"]
        y[3:7, 2] = 1
        y[-1] = 2
        if is_unlimited:
            y.append(np.full(10, 3))
    expected[3:7, 2], expected[-1] = 1, 2
    if is_unlimited:
        expected = np.concatenate([expected, np.full((1, 10), 3, "f4")])
    with netCDF4.Dataset(path) as file:
        np.testing.assert_array_equal(file["v"][:], expected)


@pytest.mark.parametrize("userblock", [0, 1024])
def test_chunk_behind_a_user_block_is_read_back(userblock: int, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file.create_dataset("x", data=np.arange(20), chunks=(8,), compression="gzip")
    with streamh5.File(path, "a") as changed:
        x: Any = changed["x"]
        x[3:5] = -1
    with h5py.File(path) as file:
        assert file["x"][...].tolist() == [0, 1, 2, -1, -1, *range(5, 20)]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_loop_of_resize_and_assignment_writes_each_chunk_once(compression: Any, tmp_path: Path) -> None:
    path, data = tmp_path / "x.h5", np.arange(300).reshape(50, 6)
    with streamh5.File(path) as file:
        x = file.create_dataset("x", (0, 6), "i8", maxshape=(None, 6), chunks=(8, 4), compression=compression)
        for i, row in enumerate(data):
            x.resize(i + 1, axis=0)
            x[i] = row
    assert file.summary is not None
    assert file.summary.datasets[0].n_rewritten == 0
    with streamh5.File(path, "a") as file:
        stored: Any = file["x"]
        for row in data:
            stored.append(row)
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][...], np.concatenate([data, data]))


def enter_block(x: Any, values: NDArray[Any]) -> None:
    x.record(x.write_block(values, (0, 0)))


def enter_part(x: Any, values: NDArray[Any]) -> None:
    x.record_part(x.part_writer().write(values, (0, 0)))


@pytest.fixture
def _held_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the threads of a file write nothing until this thread waits for them."""
    caller, may_write = threading.current_thread(), threading.Event()
    write = DatasetWriter.write

    def write_held(self: DatasetWriter, raw: RawChunks, *, is_partial: bool = False) -> ChunkRecords:
        if threading.current_thread() is not caller:
            assert may_write.wait(DEADLOCK_SECONDS)
        return write(self, raw, is_partial=is_partial)

    def wait_and_let_go(condition: threading.Condition, is_so: Callable[[], object]) -> None:
        if threading.current_thread() is caller and not is_so():
            may_write.set()
        wait_for(condition, is_so)

    monkeypatch.setattr(DatasetWriter, "write", write_held)
    monkeypatch.setattr("streamh5.write.pool.wait_for", wait_and_let_go)


@pytest.mark.usefixtures("_held_threads")
@pytest.mark.parametrize("enter", [enter_block, enter_part])
@pytest.mark.parametrize("region", [np.s_[:4], np.s_[:6], np.s_[:3]], ids=["whole", "more", "partial"])
def test_block_or_part_after_a_region_whose_chunk_is_still_in_a_thread_counts(
    enter: Callable[[Any, NDArray[Any]], None], region: slice, tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "x.h5", "w") as file:
        x = file.create_dataset("x", (8, 4), chunks=(4, 4), compression="gzip")
        x[region] = 1
        enter(x, np.full((4, 4), 2))
        assert x.is_stored((0, 0), (4, 4))
    with h5py.File(tmp_path / "x.h5") as found:
        assert (found["x"][:4] == 2).all()
        assert (found["x"][4:6] == int(region.stop == 6)).all()


@pytest.mark.usefixtures("_held_threads")
@pytest.mark.parametrize("enter", [enter_block, enter_part])
def test_block_or_part_after_a_region_is_what_an_interrupted_write_keeps(
    enter: Callable[[Any, NDArray[Any]], None], tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    with suppress(KeyboardInterrupt), streamh5.File(path, "w", keep="always") as file:
        x = file.create_dataset("x", (4, 4), chunks=(4, 4), compression="gzip")
        x[:] = 1
        enter(x, np.full((4, 4), 2))
        raise KeyboardInterrupt
    streamh5.salvage(path, output=tmp_path / "salvaged.h5")
    with h5py.File(tmp_path / "salvaged.h5") as found:
        assert (found["x"][...] == 2).all()


@pytest.mark.usefixtures("_held_threads")
def test_part_that_is_empty_after_a_region_leaves_the_fill_value(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "x.h5", "w") as file:
        x = file.create_dataset("x", (8, 4), chunks=(4, 4), compression="gzip", write_empty_chunks=False)
        x[:] = 1
        enter_part(x, np.zeros((4, 4)))
    with h5py.File(tmp_path / "x.h5") as found:
        assert (found["x"][:4] == 0).all()
        assert (found["x"][4:] == 1).all()
