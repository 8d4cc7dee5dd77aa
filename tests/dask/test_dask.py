"""Dask arrays: argument forms, one pass, schedulers, any blocks, what stays in memory and in the graph."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import dask.base
import h5py
import numpy as np
import pytest
from dask import config
from dask.callbacks import Callback
from dask.delayed import Delayed
from numpy.typing import NDArray

import streamh5
from streamh5.errors import BlockError, DatatypeError, SchedulerError
from tests.deadlock import DEADLOCK_SECONDS
from tests.readers.judgements import assert_chunk_map
from tests.written import assert_every_reader, columns, no_thread_left, traces, values


def read(path: Path, name: str = "x") -> NDArray[Any]:
    with h5py.File(path) as file:
        return np.asarray(file[name][()])


def test_every_argument_form_writes_the_same(tmp_path: Path) -> None:
    data = values("f4", (12, 8))
    x: Any = da.from_array(data, chunks=(4, 8))
    forms: dict[str, Any] = {
        "method": lambda path: x.to_fixed_h5(path, "/x"),
        "method, text path": lambda path: x.to_fixed_h5(str(path), "x"),
        "three": lambda path: streamh5.to_fixed_h5(path, "/x", x),
        "dictionary": lambda path: streamh5.to_fixed_h5(path, {"/x": x}),
        "chunks": lambda path: streamh5.to_fixed_h5(path, "/x", x, chunks=(4, 8)),
        "chunks as list": lambda path: streamh5.to_fixed_h5(path, "/x", x, chunks=[4, 8]),
        "true": lambda path: streamh5.to_fixed_h5(path, "/x", x, chunks=True),
        "delayed": lambda path: x.to_fixed_h5(path, "/x", compute=False).compute(),
    }
    contents = {}
    for name, form in forms.items():
        path = tmp_path / f"{name}.h5"
        summary = form(path)
        assert isinstance(summary, streamh5.WriteSummary), name
        assert summary.path == str(path)
        assert (summary.n_chunks, summary.n_missing, summary.nbytes) == (3, 0, data.nbytes)
        with h5py.File(path) as file:
            assert file["x"].chunks == (4, 8)
            assert (file["x"].compression, file["x"].compression_opts, file["x"].shuffle) == ("gzip", 4, True)
        assert_every_reader(path, "/x", data)
        contents[name] = path.stat().st_size
    assert len(set(contents.values())) == 1


def test_several_arrays_share_one_pass_over_the_graph(tmp_path: Path) -> None:
    calls: list[Any] = []
    lock = threading.Lock()

    def costly(block: NDArray[Any], block_id: Any = None) -> NDArray[Any]:
        with lock:
            calls.append(block_id)
        return block + 1

    shared = da.zeros((40, 8), chunks=(4, 8)).map_blocks(costly, dtype="f8", meta=np.empty((0, 0)))
    arrays = {"/a": shared + 1, "/g/b": shared * 5, "/g/sum": shared.sum(axis=0), "/g/all": shared.sum()}
    streamh5.to_fixed_h5(tmp_path / "a.h5", arrays, attrs={"/a": {"units": "K"}, "/g/all": {"n": 320}})
    assert len(calls) == 10
    np.testing.assert_array_equal(read(tmp_path / "a.h5", "a"), np.full((40, 8), 2.0))
    np.testing.assert_array_equal(read(tmp_path / "a.h5", "g/b"), np.full((40, 8), 5.0))
    np.testing.assert_array_equal(read(tmp_path / "a.h5", "g/sum"), np.full(8, 40.0))
    assert read(tmp_path / "a.h5", "g/all") == 320
    with h5py.File(tmp_path / "a.h5") as file:
        assert dict(file["a"].attrs) == {"units": "K"}
        assert dict(file["g/all"].attrs) == {"n": 320}
        assert dict(file["g/b"].attrs) == {}


def test_delayed_does_nothing_before_it_is_computed_and_shares_work_with_others(tmp_path: Path) -> None:
    calls: list[int] = []

    def costly(block: NDArray[Any]) -> NDArray[Any]:
        calls.append(1)
        return block + 1

    x = da.zeros((8,), chunks=(4,)).map_blocks(costly, dtype="f8", meta=np.empty(0))
    first = x.to_fixed_h5(tmp_path / "a.h5", "/x", compute=False)
    second = (x + 1).to_fixed_h5(tmp_path / "b.h5", "/x", compute=False)
    assert isinstance(first, Delayed)
    assert (traces(tmp_path), calls) == ([], [])
    summaries = dask.base.compute(first, second)
    assert [summary.n_chunks for summary in summaries] == [2, 2]
    assert traces(tmp_path) == ["a.h5", "b.h5"]
    np.testing.assert_array_equal(read(tmp_path / "b.h5"), np.full(8, 2.0))


def test_delayed_computed_again_meets_the_file_of_the_first_time(tmp_path: Path) -> None:
    x = da.arange(8, chunks=4)
    once = x.to_fixed_h5(tmp_path / "a.h5", "/x", compute=False)
    once.compute()
    with pytest.raises(FileExistsError, match="overwrite"):
        once.compute()
    again = x.to_fixed_h5(tmp_path / "a.h5", "/x", compute=False, overwrite=True)
    again.compute()
    again.compute()
    assert traces(tmp_path) == ["a.h5"]
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), np.arange(8))


def test_delayed_that_fails_leaves_nothing_and_can_be_computed_again(tmp_path: Path) -> None:
    is_broken = [True]

    def source(block: NDArray[Any], block_id: Any = None) -> NDArray[Any]:
        if is_broken[0] and block_id == (5,):
            raise ZeroDivisionError("block 5")
        return block + 1

    x = da.zeros((40,), chunks=(4,)).map_blocks(source, dtype="f8", meta=np.empty(0))
    write = x.to_fixed_h5(tmp_path / "a.h5", "/x", compute=False)
    with pytest.raises(ZeroDivisionError):
        write.compute(scheduler="synchronous")
    assert traces(tmp_path) == []
    is_broken[0] = False
    summary = write.compute(scheduler="synchronous")
    assert summary.n_missing == 0
    assert traces(tmp_path) == ["a.h5"]
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), np.ones(40))


@pytest.mark.filterwarnings("ignore::streamh5.FewThreadsWarning")
def test_delayed_keeps_what_it_was_asked_of_the_scheduler(tmp_path: Path) -> None:
    threads = set()

    def source(block: NDArray[Any]) -> NDArray[Any]:
        threads.add(threading.current_thread().name)
        return block

    x = da.zeros((40,), chunks=(1,)).map_blocks(source, dtype="f8", meta=np.empty(0))
    x.to_fixed_h5(tmp_path / "a.h5", "/x", compute=False, scheduler="synchronous").compute()
    assert threads == {threading.current_thread().name}
    threads.clear()
    x.to_fixed_h5(tmp_path / "b.h5", "/x", compute=False, max_memory=(64 << 20) + 50).compute()
    assert len(threads) == 1
    with pytest.raises(SchedulerError, match="processes"):
        x.to_fixed_h5(tmp_path / "c.h5", "/x", compute=False).compute(scheduler="processes")
    assert traces(tmp_path) == ["a.h5", "b.h5"]


def test_delayed_that_fails_and_is_dropped_leaves_nothing(tmp_path: Path) -> None:
    x = da.zeros((40,), chunks=(4,)).map_blocks(
        lambda b: b / 0 if b.size else b, dtype="f8", meta=np.empty(0)
    )

    def run() -> None:
        write = x.to_fixed_h5(tmp_path / "a.h5", "/x", compute=False)
        with pytest.raises(RuntimeWarning):
            write.compute(scheduler="synchronous")

    run()
    gc.collect()
    assert traces(tmp_path) == []


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"scheduler": "threads"},
        {"scheduler": "synchronous"},
        {"scheduler": "sync"},
        {"scheduler": "single-threaded"},
        {"scheduler": "threads", "num_workers": 8},
        {"scheduler": "threads", "num_workers": 1},
        {"optimize_graph": False},
    ],
    ids=str,
)
def test_scheduler_of_this_process_writes(keywords: dict[str, Any], tmp_path: Path) -> None:
    data = values("f4", (100, 30))
    with no_thread_left():
        da.from_array(data, chunks=(7, 11)).to_fixed_h5(tmp_path / "a.h5", "/x", **keywords)
    assert read(tmp_path / "a.h5").tobytes() == data.tobytes()


def test_scheduler_of_the_configuration_is_used(tmp_path: Path) -> None:
    x = da.ones((8,), chunks=(4,))
    with config.set(scheduler="processes"), pytest.raises(SchedulerError, match="threads"):
        x.to_fixed_h5(tmp_path / "a.h5", "/x")
    assert traces(tmp_path) == []
    with config.set(scheduler="synchronous"):
        names: set[str] = set()

        def note(block: NDArray[Any]) -> NDArray[Any]:
            names.add(threading.current_thread().name)
            return block

        x.map_blocks(note, dtype="f8", meta=np.empty(0)).to_fixed_h5(tmp_path / "a.h5", "/x")
        assert names == {threading.current_thread().name}
    with ThreadPoolExecutor(3) as pool:
        x.to_fixed_h5(tmp_path / "b.h5", "/x", pool=pool)
        x.to_fixed_h5(tmp_path / "c.h5", "/x", scheduler=pool)
        with config.set(pool=pool):
            x.to_fixed_h5(tmp_path / "d.h5", "/x")
    for name in "abcd":
        assert read(tmp_path / f"{name}.h5").sum() == 8


PROCESSES = """
import sys
import dask.array as da, streamh5
from pathlib import Path

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    x = da.ones((8,), chunks=(4,))
    write = x.to_fixed_h5(folder / "a.h5", "/x", compute=False)
    try:
        write.compute(scheduler="processes", num_workers=2)
    except Exception as error:
        said = f"{type(error).__module__}.{type(error).__name__}: {error}"
        print(said)
    print(sorted(path.name for path in folder.iterdir()))
    x.to_fixed_h5(folder / "a.h5", "/x")
    print(sorted(path.name for path in folder.iterdir()))
"""


def test_delayed_in_other_processes_is_refused_with_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    error, before, after = done.stdout.splitlines()
    assert "scheduler='threads'" in error
    assert before == "[]"
    assert after == "['a.h5']"


BLOCKS: list[tuple[tuple[int, ...], Any, Any]] = [
    ((12, 8), (4, 8), None),
    ((13, 9), (4, 4), None),
    ((13, 9), ((3, 4, 6), (9,)), None),
    ((13, 9), ((6, 4, 3), (1, 8)), None),
    ((13, 9), ((1,) * 13, (9,)), (5, 3)),
    ((13, 9), (13, 9), (1, 1)),
    ((13, 9), (8, 9), (4, 3)),
    ((13, 9), (6, 9), (4, 9)),
    ((13, 9), (2, 2), (13, 9)),
    ((100,), ((1, 98, 1),), (10,)),
    ((100,), ((50, 0, 50),), (10,)),
    ((100,), ((50, 50, 0),), None),
    ((5, 6, 7), (2, 3, 4), (3, 2, 5)),
    ((5, 6, 7), (5, 6, 7), "auto"),
    ((300,), (7,), "auto"),
]


@pytest.mark.parametrize(("shape", "blocks", "chunks"), BLOCKS, ids=str)
def test_any_blocks_fit_any_chunks(
    shape: tuple[int, ...], blocks: Any, chunks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import streamh5.dask.graph as dask_graph
    import streamh5.handles.file as handles_file
    from streamh5.arguments.write_options import WriteOptions

    files: list[streamh5.File] = []

    def open_file(path: Any, options: WriteOptions) -> streamh5.File:
        files.append(handles_file.open_file(path, options))
        return files[-1]

    monkeypatch.setattr(dask_graph, "open_file", open_file)
    data = values("<f4", shape)
    path = tmp_path / "a.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", streamh5.RealignWarning)
        summary = da.from_array(data, chunks=blocks).to_fixed_h5(path, "/x", chunks=chunks)
    assert read(path).tobytes() == data.tobytes()
    assert (summary.n_missing, summary.datasets[0].n_rewritten) == (0, 0)
    if isinstance(chunks, tuple):
        assert summary.datasets[0].chunks == chunks
    assert_chunk_map(path, "/x", columns(files[0], "/x"))


def test_each_block_is_computed_once_when_blocks_are_realigned(tmp_path: Path) -> None:
    calls: list[Any] = []

    def source(block_info: Any = None) -> NDArray[Any]:
        calls.append(block_info[None]["chunk-location"])
        return np.ones(block_info[None]["chunk-shape"])

    x = da.map_blocks(source, chunks=((5, 7, 3, 9), (4, 4)), dtype="f8", meta=np.empty((0, 0)))
    x.to_fixed_h5(tmp_path / "a.h5", "/x", chunks=(4, 3))
    assert len(calls) == len(set(calls)) == 8
    assert read(tmp_path / "a.h5").sum() == 24 * 8


def test_costly_realignment_warns_with_what_to_do(tmp_path: Path) -> None:
    x = da.ones((1000, 10), chunks=(1, 10))
    with pytest.warns(streamh5.RealignWarning, match=r"/x.*100"):
        x.to_fixed_h5(tmp_path / "a.h5", "/x", chunks=(100, 10))
    assert read(tmp_path / "a.h5").sum() == 10_000


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), ()])
def test_array_without_elements_or_dimensions_is_written(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = da.ones(shape, dtype="i4")
    for n, write in enumerate((x, x + 1, da.stack([x, x]))):
        path = tmp_path / f"{n}.h5"
        summary = write.to_fixed_h5(path, "/x")
        assert summary.n_missing == 0
        assert_every_reader(path, "/x", np.asarray(write.compute()))


def test_default_chunks_are_the_blocks(tmp_path: Path) -> None:
    for blocks, chunks in [((4, 8), (4, 8)), (((4, 4, 1), (8,)), (4, 8)), (((3, 4, 2), (5, 3)), (4, 5))]:
        x = da.ones((sum(blocks[0]) if isinstance(blocks[0], tuple) else 12, 8), chunks=blocks)
        summary = x.to_fixed_h5(tmp_path / "a.h5", "/x", overwrite=True)
        assert summary.datasets[0].chunks == chunks


class Sparse:
    """What sparse arrays are to a writer: no numpy array, but ``todense``."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def todense(self) -> NDArray[Any]:
        return self._array

    def __array__(self, *args: Any, **keywords: Any) -> NDArray[Any]:
        raise RuntimeError("cannot convert a sparse array to dense automatically; use todense")


class OnGpu:
    """What cupy arrays are to a writer: ``get`` copies to the host, conversion is refused."""

    __cuda_array_interface__: dict[str, Any] = {}  # noqa: RUF012 - cupy's is a property

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def get(self) -> NDArray[Any]:
        return self._array

    def __array__(self, *args: Any, **keywords: Any) -> NDArray[Any]:
        raise TypeError("implicit conversion to a NumPy array is not allowed")


@pytest.mark.parametrize("kind", [Sparse, OnGpu, np.ma.masked_array])
def test_blocks_of_other_kinds_are_converted(kind: Any, tmp_path: Path) -> None:
    data = values("f8", (8, 6))
    x = da.from_array(data, chunks=(4, 6)).map_blocks(kind, dtype="f8", meta=np.empty((0, 0)))
    x.to_fixed_h5(tmp_path / "a.h5", "/x")
    assert read(tmp_path / "a.h5").tobytes() == data.tobytes()


def test_blocks_that_are_masked_need_a_fill_value(tmp_path: Path) -> None:
    data = np.arange(8)
    x = da.ma.masked_equal(da.from_array(data, chunks=4), 5)
    with pytest.raises(BlockError, match=r"/x.*1 masked.*fillvalue"):
        x.to_fixed_h5(tmp_path / "a.h5", "/x")
    assert traces(tmp_path) == []
    x.to_fixed_h5(tmp_path / "a.h5", "/x", fillvalue=-9)
    assert read(tmp_path / "a.h5").tolist() == [0, 1, 2, 3, 4, -9, 6, 7]
    da.ma.masked_equal(da.from_array(data, chunks=4), 99).to_fixed_h5(tmp_path / "b.h5", "/x")
    assert read(tmp_path / "b.h5").tolist() == data.tolist()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda b: b[:-1], "shape"),
        (lambda b: b[None], "shape"),
        (lambda b: b.astype("c16"), "complex128"),
        (lambda b: b.astype("f8"), "float64"),
        (lambda b: "text", "shape"),
        (lambda b: None, "shape"),
        (lambda b: b.astype("U3"), "U3"),
    ],
)
def test_block_that_is_not_what_dask_said_is_refused_with_its_place(
    function: Any, words: str, tmp_path: Path
) -> None:
    x = da.ones((8, 4), dtype="i4", chunks=(4, 4)).map_blocks(
        function, dtype="i4", meta=np.empty((0, 0), "i4")
    )
    with pytest.raises(BlockError, match=words) as caught:
        x.to_fixed_h5(tmp_path / "a.h5", "/x")
    assert "/x" in str(caught.value)
    assert any("a.h5" in note for note in caught.value.__notes__)
    assert traces(tmp_path) == []


class CountTasks(Callback):
    """Tasks of the graph that a scheduler got, and how many it has run."""

    def __init__(self) -> None:
        self.n_tasks = 0
        self.n_run = 0
        super().__init__(start=self._note, posttask=self._count)

    def _note(self, graph: Any) -> None:
        self.n_tasks += len(graph)

    def _count(self, *_: Any) -> None:
        self.n_run += 1


def test_optimisation_of_dask_stays_in_force(tmp_path: Path) -> None:
    x = da.zeros((64, 8), chunks=(1, 8))
    for _ in range(10):
        x = x + 1
    with CountTasks() as fused:
        x.to_fixed_h5(tmp_path / "a.h5", "/x")
    assert fused.n_tasks <= 2 * 64 + 10  # a block: one task for zeros and ten additions, one to store
    with CountTasks() as culled:
        x[:8].to_fixed_h5(tmp_path / "b.h5", "/x")
    assert culled.n_tasks <= 2 * 8 + 10
    delayed = x.to_fixed_h5(tmp_path / "c.h5", "/x", compute=False)
    with CountTasks() as later:
        delayed.compute()
    assert later.n_tasks <= 2 * 64 + 10
    assert read(tmp_path / "c.h5").sum() == 64 * 8 * 10


def test_blocks_are_released_as_they_are_stored(tmp_path: Path) -> None:
    alive, most, lock = 0, 0, threading.Lock()

    def released() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def source(block: NDArray[Any]) -> NDArray[Any]:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        made = np.ones((1, 50_000))
        weakref.finalize(made, released)
        return made

    x = da.zeros((200, 50_000), chunks=(1, 50_000)).map_blocks(source, dtype="f8", meta=np.empty((0, 0)))
    x.to_fixed_h5(tmp_path / "a.h5", "/x", num_workers=4)
    assert 1 <= most <= 12, f"{most} of 200 blocks were alive at once"
    assert alive == 0


@pytest.mark.parametrize("shown", [False, True, None])
def test_progress_is_shown_when_asked_for(shown: bool | None, tmp_path: Path, capsys: Any) -> None:
    da.ones((8, 4), chunks=(4, 4)).to_fixed_h5(tmp_path / "a.h5", "/x", progress=shown)
    assert ("100%" in capsys.readouterr().err) == (shown is True)


def test_progress_calls_with_bytes_done_and_in_all(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    x = da.ones((8, 4), dtype="f4", chunks=(2, 4))
    streamh5.to_fixed_h5(
        tmp_path / "a.h5", {"/x": x, "/y": x}, progress=lambda done, total: calls.append((done, total))
    )
    assert calls[-1] == (256, 256)
    assert [done for done, _ in calls] == list(range(32, 257, 32))


def test_attributes_of_one_array_and_of_several(tmp_path: Path) -> None:
    x = da.ones(4, chunks=2)
    x.to_fixed_h5(tmp_path / "a.h5", "/x", attrs={"units": "m", "n": [1, 2]})
    streamh5.to_fixed_h5(tmp_path / "b.h5", {"x": x, "/y": x}, attrs={"x": {"units": "s"}})
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x"].attrs["units"] == "m"
        assert file["x"].attrs["n"].tolist() == [1, 2]
    with h5py.File(tmp_path / "b.h5") as file:
        assert dict(file["x"].attrs) == {"units": "s"}
        assert dict(file["y"].attrs) == {}


def test_compression_none_stores_chunks_as_they_are(tmp_path: Path) -> None:
    data = values("<i2", (10, 6))
    summary = da.from_array(data, chunks=(4, 6)).to_fixed_h5(tmp_path / "a.h5", "/x", compression=None)
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file["x"].compression, file["x"].shuffle) == (None, False)
        assert file["x"].id.read_direct_chunk((4, 0)) == (0, data[4:8].tobytes())
    assert summary.stored_nbytes == 12 * 6 * 2


def test_text_of_unknown_kind_is_written_as_the_error_says(tmp_path: Path) -> None:
    texts = np.array(["a", "bé", "", "long " * 50], object)
    x = da.from_array(texts, chunks=2)
    with pytest.raises(DatatypeError, match=r"/x: an array of dtype object .*StringDType"):
        x.to_fixed_h5(tmp_path / "a.h5", "/x")
    x.astype(np.dtypes.StringDType()).to_fixed_h5(tmp_path / "a.h5", "/x")
    marked = da.from_array(texts.astype(h5py.string_dtype()), chunks=2)
    marked.to_fixed_h5(tmp_path / "b.h5", "/x")
    for name in ("a", "b"):
        with h5py.File(tmp_path / f"{name}.h5") as found:
            assert found["x"].asstr()[...].tolist() == texts.tolist()


def test_array_persisted_on_a_cluster_is_fetched_block_by_block_by_threads(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    keywords = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with distributed.Client(**keywords) as client:
        x = client.persist(da.arange(2400, chunks=100).reshape(40, 60) + 1)
        expected = np.arange(2400).reshape(40, 60) + 1
        x.to_fixed_h5(tmp_path / "a.h5", "/x", scheduler="threads")
        memory = io.BytesIO()
        x.to_fixed_h5(memory, "/x")  # the client is dask's default here, and cannot write to memory
        streamh5.to_fixed_h5(tmp_path / "b.h5", "/x", expected)  # no array of dask's
        with pytest.raises(SchedulerError, match=r"not a path.*scheduler='threads'.*persist"):
            da.ones((4, 4)).to_fixed_h5(io.BytesIO(), "/x")
        failed = client.persist(da.ones(4).map_blocks(lambda block: block / "a", dtype="f8"))
        with pytest.raises(TypeError):
            failed.to_fixed_h5(tmp_path / "f.h5", "/x", scheduler="threads")
    for source in (tmp_path / "a.h5", tmp_path / "b.h5", memory):
        with h5py.File(source) as file:
            assert np.array_equal(file["x"][...], expected)
    assert not (tmp_path / "f.h5").exists()
