"""The same write makes the same file, whatever the seed of Python's hashes; and no task that is not needed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
from dask._task_spec import DataNode
from dask.callbacks import Callback
from dask.highlevelgraph import HighLevelGraph
from dask.local import get_sync

import streamh5

PROGRAM = """
import hashlib, sys, tempfile
from pathlib import Path
import dask.array as da, numpy as np, streamh5

def plus(block):
    return block + block.sum()

x = da.arange(2304, chunks=2304).reshape(48, 48).rechunk((4, 4)) + da.arange(48, chunks=4)
arrays = {
    "overlap": da.map_overlap(plus, x, depth=1, boundary=0, dtype="i8", meta=np.empty((0, 0), "i8")),
    "transposed": x + x.T,
    "cumulative": da.cumsum(x, axis=0),
    "other blocks": x.rechunk((6, 3)),
    "mean": x - x.mean(axis=0),
    "two": x,
}
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "x.h5"
    for name, array in arrays.items():
        given = {"/x": array, "/y": x.max(axis=1)} if name == "two" else {"/x": array}
        streamh5.to_fixed_h5(path, given, scheduler="synchronous", overwrite=True)
        print(name, hashlib.sha256(path.read_bytes()).hexdigest())
"""


def test_same_write_makes_the_same_file_for_every_hash_seed() -> None:
    outputs = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(4)
    ]
    printed = [one.communicate()[0] for one in outputs]
    assert [one.returncode for one in outputs] == [0] * 4
    assert len(printed[0].splitlines()) == 6
    assert len(set(printed)) == 1


KINDS: dict[str, tuple[Callable[[da.Array], da.Array], int]] = {
    "one layer": (lambda x: x, 1),
    "fused": (lambda x: (x + 1) * 2, 1),
    "a slice": (lambda x: x[1:], 1),
    "random": (lambda x: x + da.random.default_rng(0).random(x.shape, chunks=x.chunks), 1),
    "mean": (lambda x: x - x.mean(axis=0), 4),  # source, part of the mean, store, collect
}


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_of_a_block_are_few(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made, n_tasks = KINDS[kind]
    sizes: list[int] = []

    def get(graph: Any, keys: Any, **kwargs: Any) -> Any:
        sizes.append(len(graph))
        return get_sync(graph, keys, **kwargs)

    monkeypatch.setattr(dask.local, "get_sync", get)
    monkeypatch.setitem(dask.base.named_schedulers, "synchronous", dask.local.get_sync)
    x = made(da.ones((200, 4), chunks=(1, 4)))
    streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": x}, scheduler="synchronous")
    (size,) = sizes
    assert size <= n_tasks * x.npartitions + (70 if n_tasks > 1 else 0)  # the parts of the mean


@pytest.mark.parametrize("compute", [True, False])
def test_list_that_is_a_task_and_a_name_for_another_one(compute: bool, tmp_path: Path) -> None:
    graph: dict[Any, Any] = {
        ("part", 0): (np.full, 4, 7.0),
        ("part", 1): ("part", 0),  # an alias
        "pair": [("part", 0), ("part", 1)],
        ("made", 0): (np.concatenate, "pair"),
        ("made", 1): ("part", 1),
    }
    array = da.Array(HighLevelGraph({"made": graph}, {"made": set()}), "made", ((8, 4),), "f8")
    made: Any = streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": array}, compute=compute)
    if not compute:
        made.compute()
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][()], np.full(12, 7.0))


class Remembered(Callback):
    """Hands out values by their keys, as `dask.cache.Cache` does (which needs a package of its own)."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}
        super().__init__(start=self.replace, posttask=self.keep)

    def replace(self, graph: Any) -> None:
        for key in set(graph) & set(self.values):
            graph[key] = DataNode(key, self.values[key])

    def keep(self, key: Any, value: Any, graph: Any, state: Any, worker: Any) -> None:
        self.values[key] = value


@pytest.mark.parametrize("length", [30, 4096])
@pytest.mark.parametrize("how", ["callback", "keyword"])
def test_no_value_of_another_window_or_write_is_taken(
    how: str, length: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("streamh5.dask.windows.WINDOW_LENGTH", length)
    remembered = Remembered()
    options: Any = {"cache": remembered.values} if how == "keyword" else {}
    for begin in (0, 1000):
        x = da.arange(begin, begin + 200, chunks=10)
        x = x - x.mean() + x[::-1] * 2
        with remembered if how == "callback" else contextlib.nullcontext():
            summary = streamh5.to_fixed_h5(
                tmp_path / "x.h5", {"/x": x}, overwrite=True, scheduler="synchronous", **options
            )
        assert summary.n_missing == 0
        with h5py.File(tmp_path / "x.h5") as file:
            np.testing.assert_array_equal(file["x"][:], x.compute(scheduler="synchronous"))
    assert remembered.values or how == "keyword"
