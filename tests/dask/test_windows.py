"""Large writes are computed window by window; what windows share is computed once."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
from dask.delayed import delayed
from dask.highlevelgraph import MaterializedLayer
from dask.local import get_sync

import streamh5
from streamh5.dask import windows
from streamh5.dask.lazy_graph import LazyGraph

Blocks = np.ndarray[Any, Any]


class Source:
    """A block source that counts its calls."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[int, ...]] = Counter()
        self._lock = threading.Lock()

    def array(self, *n_blocks: int) -> da.Array:
        def block(block_id: tuple[int, ...]) -> Blocks:
            with self._lock:
                self.calls[block_id] += 1
            number = np.ravel_multi_index(block_id, n_blocks)
            return np.arange(4.0 ** len(n_blocks)).reshape((4,) * len(n_blocks)) + 1000 * number

        chunks = tuple((4,) * n for n in n_blocks)
        return da.map_blocks(block, chunks=chunks, dtype="f8", meta=np.empty((0,) * len(n_blocks)))


ARRAYS: dict[str, Callable[[da.Array], da.Array]] = {
    "nothing": lambda x: x,
    "fused": lambda x: (x + 1) * 2,
    "mean": lambda x: x - x.mean(),
    "two means": lambda x: (x - x.mean(axis=0)) / (1 + x.std()),
    "halos": lambda x: da.overlap.overlap(x, depth=1, boundary="reflect", allow_rechunk=False)[:-2, :-2],
    "map_overlap": lambda x: da.map_overlap(lambda b: b + b.mean(), x, depth=1, boundary=0.0, dtype="f8"),
    "other blocks": lambda x: x.rechunk((3, 5)),
    "one row of blocks": lambda x: x.rechunk((-1, 3)),
    "a slice": lambda x: x[3:-3, 5:],
    "turned": lambda x: x[:24].T + x[:24],
    "cumulative": lambda x: da.cumsum(x, axis=0),
    "one element": lambda x: x + x[0, 0],
    "delayed": lambda x: da.from_delayed(delayed(np.ones)(3), (3,), "f8").sum() * x,
    "joined": lambda x: da.concatenate([x, x + 1, x - x.max()]),
}


def graph_sizes(sizes: list[int]) -> Callable[..., Any]:
    def get(graph: Any, keys: Any, **kwargs: Any) -> Any:
        sizes.append(len(graph))
        return get_sync(graph, keys, **kwargs)

    return get


@pytest.mark.parametrize("length", [1, 7, 40])
@pytest.mark.parametrize("kind", ARRAYS)
def test_values_are_right_and_every_source_block_is_computed_once(
    kind: str, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ARRAYS[kind](Source().array(9, 6)).compute()
    source = Source()
    array = ARRAYS[kind](source.array(9, 6))
    monkeypatch.setattr(windows, "WINDOW_LENGTH", length)
    streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": array})
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_allclose(file["x"][()], expected)
    assert set(source.calls.values()) == {1}


def test_graphs_are_as_large_as_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WINDOW_LENGTH", 10)
    sizes: list[int] = []
    monkeypatch.setattr(dask.local, "get_sync", graph_sizes(sizes))
    monkeypatch.setitem(dask.base.named_schedulers, "synchronous", dask.local.get_sync)
    x = Source().array(10, 10)
    for array in (
        x,
        x - x.mean(),
        x + x.T,
        x - Source().array(10, 10).mean(),
        da.map_overlap(lambda b: b, x, depth=1, boundary=0.0, dtype="f8"),
    ):
        sizes.clear()
        streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": array}, scheduler="synchronous", mode="w")
        assert len(sizes) >= 10
        # a window of at most 20 tasks, up to four collect and alias tasks each, shared values
        assert max(sizes) <= 90


class Alive:
    """Counts the copies of blocks that exist at the same time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def of(self, array: da.Array) -> da.Array:
        return da.map_blocks(self.copy, array, dtype="f8", meta=np.empty((0,) * array.ndim))

    def copy(self, block: Blocks) -> Blocks:
        copy = block + 0
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(copy, self._drop)
        return copy

    def _drop(self) -> None:
        self.now -= 1


def test_partial_results_of_a_reduction_are_few_and_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOW_LENGTH", 16)
    source, other, alive = Source(), Source(), Alive()
    array = other.array(256) + alive.of(source.array(256)).sum()
    streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": array}, scheduler="synchronous")
    assert set(source.calls.values()) == set(other.calls.values()) == {1}
    assert alive.most < 40
    assert alive.now == 0


TOGETHER: dict[str, Callable[[da.Array], dict[str, da.Array]]] = {
    "transposed": lambda x: {"/x": x, "/y": x.T},
    "sum with the transposed": lambda x: {"/y": x + x.T},
    "reversed and transposed": lambda x: {"/x": x[::-1], "/y": x.T + 1},
    "mean": lambda x: {"/x": x, "/y": x.mean(axis=0)},
    "two means": lambda x: {"/x": x.mean(axis=1), "/y": x.mean(axis=0)},
    "statistics": lambda x: {"/x": x, "/y": x.mean(axis=0), "/z": x.std(axis=0), "/max": x.max()[None]},
    "cumulative": lambda x: {"/x": x, "/y": da.cumsum(x, axis=0)},
}


@pytest.mark.parametrize("kind", TOGETHER)
def test_arrays_that_need_the_same_blocks_in_other_orders_keep_few_of_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOW_LENGTH", 40)
    source, alive = Source(), Alive()
    arrays = TOGETHER[kind](alive.of(source.array(24, 24)))
    streamh5.to_fixed_h5(tmp_path / "x.h5", arrays, scheduler="synchronous")
    assert set(source.calls.values()) == {1}
    assert alive.most < 10
    with h5py.File(tmp_path / "x.h5") as file:
        for path, array in TOGETHER[kind](Source().array(24, 24)).items():
            np.testing.assert_allclose(file[path][()], array.compute())


def test_pieces_of_one_value_wait_until_they_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOW_LENGTH", 16)
    alive, value = Alive(), delayed(np.arange)(800.0)
    pieces = [delayed(alive.copy)(value[i : i + 4]) for i in range(0, 800, 4)]
    array = da.concatenate([da.from_delayed(one, (4,), "f8") for one in pieces])
    other = Source().array(201)[4:]  # tasks of their own, which are taken up one by one
    streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": array + other}, scheduler="synchronous")
    assert alive.most < 10
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][()], np.arange(800.0) + other.compute())


def test_stores_that_need_no_other_task_are_the_whole_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOW_LENGTH", 10)
    sizes: list[int] = []
    monkeypatch.setattr(dask.local, "get_sync", graph_sizes(sizes))
    monkeypatch.setitem(dask.base.named_schedulers, "synchronous", dask.local.get_sync)
    array = (Source().array(95) + 1) * 2
    streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": array}, scheduler="synchronous")
    assert sizes == [10] * 9 + [5]
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][()], array.compute())


def test_layers_of_joined_arrays_are_not_searched_for_each_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOW_LENGTH", 10)
    looked_up = 0

    class Counted(dict[Any, Any]):
        def __contains__(self, key: object) -> bool:
            nonlocal looked_up
            looked_up += 1
            return super().__contains__(key)

    made = LazyGraph.__init__

    def counted(self: LazyGraph, graph: Any) -> None:
        for layer in graph.layers.values():
            if isinstance(layer, MaterializedLayer):
                layer.mapping = Counted(layer.mapping)
        made(self, graph)

    monkeypatch.setattr(LazyGraph, "__init__", counted)
    pieces = [da.from_delayed(delayed(np.full)(3, i), (3,), "f8") for i in range(60)]
    streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": da.concatenate(pieces)}, scheduler="synchronous")
    assert looked_up <= 10 * len(pieces)
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][()], np.repeat(np.arange(60.0), 3))


def test_arrays_that_share_sources_advance_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WINDOW_LENGTH", 12)
    source = Source()
    x = source.array(60)
    seen: list[tuple[str, int]] = []

    def noted(block: Blocks, name: str, block_id: tuple[int, ...] = ()) -> Blocks:
        seen.append((name, block_id[0]))
        return block

    arrays = {f"/{name}": da.map_blocks(noted, x, name, dtype="f8", meta=np.empty(0)) for name in "abc"}
    streamh5.to_fixed_h5(tmp_path / "x.h5", arrays, scheduler="synchronous")
    assert set(source.calls.values()) == {1}
    positions = [i for _, i in seen]
    assert max(abs(a - b) for a, b in itertools.pairwise(positions)) <= 12
    with h5py.File(tmp_path / "x.h5") as file:
        for name in "abc":
            np.testing.assert_array_equal(file[name][()], x.compute())


@pytest.mark.parametrize("kind", ["nothing", "fused"])
def test_files_are_equal_for_every_length(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = set()
    for length in (1, 32, 64, 4096):
        monkeypatch.setattr(windows, "WINDOW_LENGTH", length)
        array = ARRAYS[kind](Source().array(12, 10))
        path = tmp_path / f"{length}.h5"
        streamh5.to_fixed_h5(path, {"/x": array}, scheduler="synchronous")
        files.add(path.read_bytes())
    assert len(files) == 1


@pytest.mark.parametrize("has_needs", [False, True], ids=["stores only", "handed-on values"])
def test_error_in_a_later_window_names_its_block(
    has_needs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOW_LENGTH", 10)

    def fail(block: Blocks, block_id: tuple[int, ...] = ()) -> Blocks:
        if block_id == (71,):
            raise RuntimeError("mine")
        return block

    array = da.map_blocks(fail, Source().array(100), dtype="f8", meta=np.empty(0))
    if has_needs:
        array = array - array[:1] * 0
    with pytest.raises(RuntimeError, match=r"^mine") as caught:
        streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": array})
    note = "while computing block (71,) of fail-" if has_needs else "while writing the block at (284,) of /x"
    assert caught.value.__notes__[0].startswith(note)
    assert not (tmp_path / "x.h5").exists()


def calls_of_a_resumed_write(
    path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[da.Array], da.Array]
) -> Counter[tuple[int, ...]]:
    """Interrupt a write of 100 blocks at the 56th, resume it, and return which blocks were computed again."""
    monkeypatch.setattr(windows, "WINDOW_LENGTH", 10)
    is_interrupted = True

    def stop(block: Blocks, block_id: tuple[int, ...] = ()) -> Blocks:
        if is_interrupted and block_id == (55,):
            raise KeyboardInterrupt
        return block

    def write(source: Source) -> None:
        array = made(da.map_blocks(stop, source.array(100), dtype="f8", meta=np.empty(0)))
        streamh5.to_fixed_h5(path, {"/x": array}, scheduler="synchronous", resume=True, resume_key="x")

    first, second = Source(), Source()
    with pytest.raises(KeyboardInterrupt):
        write(first)
    is_interrupted = False
    write(second)
    return second.calls


def test_resumed_write_computes_the_windows_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of_a_resumed_write(tmp_path / "x.h5", monkeypatch, lambda x: x)
    assert sorted(calls) == [(i,) for i in range(55, 100)]
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][()], Source().array(100).compute())


def test_resumed_write_with_handed_on_values_computes_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of_a_resumed_write(tmp_path / "x.h5", monkeypatch, lambda x: x - x[:1])
    assert len(calls) < 70
    assert {(0,), *((i,) for i in range(56, 100))} <= set(calls)
    expected = Source().array(100).compute()
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][()], expected - expected[0])


def test_values_of_earlier_windows_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WINDOW_LENGTH", 10)
    alive: set[int] = set()

    def block(part: Blocks, block_id: tuple[int, ...] = ()) -> Blocks:
        (number,) = block_id
        made = part + number
        alive.add(number)
        weakref.finalize(made, alive.discard, number)
        return made

    x = da.map_blocks(block, da.zeros(400, chunks=4), dtype="f8", meta=np.empty(0))
    made_windows = windows.Windows.__iter__
    too_many = []

    def watched(parts: windows.Windows) -> Iterator[windows.Window]:
        for part in made_windows(parts):
            yield part
            del part
            gc.collect()
            too_many.append(len(alive) - len(parts._values))

    monkeypatch.setattr(windows.Windows, "__iter__", watched)
    streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": x - x.mean()}, scheduler="synchronous")
    assert len(too_many) > 10
    assert max(too_many) <= 0


@pytest.mark.parametrize("optimize_graph", [True, False])
def test_keywords_reach_each_window(
    optimize_graph: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOW_LENGTH", 10)
    x = Source().array(100)
    threads = set()

    def note(block: Blocks) -> Blocks:
        threads.add(threading.get_ident())
        return block

    array = da.map_blocks(note, x - x.mean(), dtype="f8", meta=np.empty(0))
    streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": array}, num_workers=1, optimize_graph=optimize_graph)
    assert len(threads) == 1
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_allclose(file["x"][()], (x - x.mean()).compute())
