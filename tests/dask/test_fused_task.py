"""Fused tasks are run without dask's ordering: the same values, each task once, and nothing is held for longer."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import dask.array as da
import dask.order
import h5py
import numpy as np
import pytest
from dask._task_spec import Alias, DataNode, Task, TaskRef

import streamh5
from streamh5.dask import fused_task
from streamh5.dask.fused_task import is_fused, run_fused


def test_each_task_runs_once_in_the_order_of_the_tasks() -> None:
    calls: list[str] = []

    def add(name: str, *values: int) -> int:
        calls.append(name)
        return sum(values)

    inner = {
        "a": DataNode("a", 1),
        "b": Task("b", add, "b", TaskRef("a"), TaskRef("given")),
        "c": Task("c", add, "c", TaskRef("a")),
        "d": Task("d", add, "d", TaskRef("c"), TaskRef("b"), TaskRef("a")),
        "e": Alias("e", "d"),
    }
    assert run_fused(inner, "e", ("given",), 10) == 13
    assert calls == ["b", "c", "d"]


def test_fused_task_inside_of_another_is_run_in_the_same_way() -> None:
    one = Task("a", np.add, TaskRef("x"), 1)
    two = Task("b", np.multiply, TaskRef("a"), 2)
    pair: Any = Task.fuse(one, two, key="b")
    whole: Any = Task.fuse(pair, Task("c", np.negative, TaskRef("b")), key="c")
    assert is_fused(pair)
    assert is_fused(whole)
    assert run_fused(*whole.args[:3], 4) == whole({"x": 4}) == -10


def test_values_are_dropped_when_nothing_needs_them() -> None:
    alive = most = 0

    def make(*_values: Any) -> np.ndarray[Any, Any]:
        nonlocal alive, most
        made = np.zeros(1)
        alive += 1
        most = max(most, alive)
        weakref.finalize(made, drop)
        return made

    def drop() -> None:
        nonlocal alive
        alive -= 1

    inner: dict[Any, Any] = {0: Task(0, make)}
    inner |= {i: Task(i, make, TaskRef(i - 1)) for i in range(1, 20)}
    run_fused(inner, 19, ())
    assert most == 2


def test_blocks_are_not_ordered_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    order = dask.order.order

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return order(*args, **kwargs)

    monkeypatch.setattr(dask.order, "order", counted)
    streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": (da.ones((200, 4), chunks=(1, 4)) + 1) * 2})
    assert calls <= 2  # fused roots at most; the scheduler has imported the function under its own name


@pytest.mark.parametrize(
    ("kind", "expected"), [("stores only", [70]), ("other tasks, too", [32, 32, 6])], ids=["stores", "tasks"]
)
def test_records_enter_the_chunk_table_together(
    kind: str, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamh5.handles.dataset import Dataset

    entered: list[int] = []
    record = Dataset.record

    def counted(self: Dataset, records: Any) -> None:
        entered.append(len(records))
        record(self, records)

    monkeypatch.setattr(Dataset, "record", counted)
    array = da.ones((70, 4), chunks=(1, 4))
    if kind != "stores only":
        array = array - array[0]
    summary = streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": array})
    assert sorted(entered, reverse=True) == expected
    assert summary.n_missing == 0


def test_fused_tasks_of_an_unknown_dask_are_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_task, "_IS_KNOWN", False)
    array = (da.ones((20, 4), chunks=(1, 4)) + 1) * 2
    streamh5.to_fixed_h5(tmp_path / "x.h5", {"/x": array})
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][()], np.full((20, 4), 4.0))
