"""The graph of a write for a cluster: small blocks become one task, which holds one of them at a time."""

from __future__ import annotations

import pickle
import weakref
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from dask.local import get_sync

from streamh5.dask.graph import Target
from streamh5.dask.store_task import BlockGrid, Stored, StoreTask
from streamh5.dask.stored_chunks import CopyCounts
from streamh5.dask.stored_collection import Collecting, StoredCollection
from streamh5.model.dataset_spec import DatasetSpec


class Counter:
    """Makes blocks, and counts how many exist at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.made: list[int] = []

    def __call__(self, block_id: tuple[int, ...]) -> np.ndarray[Any, Any]:
        block = np.full((1, 512, 512), block_id[0], "f4")
        self.made.append(block_id[0])
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(block, self.drop)
        return block

    def drop(self) -> None:
        self.now -= 1


class FakeStore(StoreTask):
    """Stores nothing, and fails for one block."""

    __slots__ = ()

    def __call__(
        self, block: Any, copy: Any = None, stored: Any = None, block_id: Any = None
    ) -> list[Stored]:
        if block_id == (13, 0, 0):
            raise RuntimeError("mine")
        assert (block == block_id[0]).all()
        return [Stored(self.path, [block_id], None, CopyCounts())]


def array(n_blocks: int, make: Any) -> Any:
    chunks = ((1,) * n_blocks, (512,), (512,))
    return da.map_blocks(make, chunks=chunks, dtype="f4", meta=np.empty((0, 0, 0), "f4"))


def graph_of(x: Any, *, n_threads: int, first: int = 0) -> tuple[dict[Any, Any], list[Any]]:
    spec = DatasetSpec("/x", x.shape, x.dtype, chunks=x.chunksize)
    blocks = list(np.ndindex(*x.numblocks))[first:]
    targets, stores = [Target(spec, x)], {"/x": FakeStore("/x", None, BlockGrid(x.chunks))}
    collecting = Collecting.in_messages(targets, {"/x": blocks}, n_threads=n_threads)
    one = StoredCollection("t", stores, targets, {}, collecting)
    keys = one.__dask_keys__()
    return dict(one.__dask_optimize__(one.__dask_graph__(), keys)), keys


def test_small_blocks_are_one_task_that_holds_one_of_them_at_a_time() -> None:
    counter = Counter()
    graph, keys = graph_of(array(528, counter), n_threads=1, first=14)
    assert len(graph) == len(keys) == 17  # of 32 MiB and less
    get_sync(graph, keys)
    assert counter.made == list(range(14, 528))
    assert counter.most == 1


def test_blocks_of_an_array_inside_a_dataset_are_counted_from_the_dataset() -> None:
    grid = BlockGrid(((3, 4, 4), (5, 5)), (17, 40))
    for one in (grid, pickle.loads(pickle.dumps(grid))):
        assert [one.block((i, 1)) for i in range(3)] == [
            ((17, 45), (3, 5)),
            ((20, 45), (4, 5)),
            ((24, 45), (4, 5)),
        ]


def test_threads_get_sixteen_tasks_each() -> None:
    graph, keys = graph_of(array(256, Counter()), n_threads=4)
    assert len(graph) == len(keys) == 64


def test_large_blocks_remain_tasks_of_their_own() -> None:
    x: Any = da.zeros((64, 4096, 4096), chunks=(1, 4096, 4096), dtype="f4")
    graph, keys = graph_of(x, n_threads=1)
    assert len(graph) == len(keys) == 64


def test_blocks_that_need_other_tasks_are_not_joined() -> None:
    x = array(256, Counter())
    graph, keys = graph_of(x - x.mean(axis=0), n_threads=1)
    assert len(keys) == 16
    assert len(graph) > 256


def test_blocks_that_read_from_one_store_are_joined(tmp_path: Path) -> None:
    stored = zarr.create_array(tmp_path / "a.zarr", shape=(256, 512, 512), chunks=(1, 512, 512), dtype="f4")
    graph, keys = graph_of(da.from_zarr(stored), n_threads=1)
    assert len(keys) == 16
    assert len(graph) == 16 + 1


def test_error_in_a_joined_task_names_its_block() -> None:
    graph, keys = graph_of(array(256, Counter()), n_threads=1)
    with pytest.raises(RuntimeError, match="mine") as caught:
        get_sync(graph, keys)
    (note,) = caught.value.__notes__
    assert note.startswith("while writing the block at (13, 0, 0) of /x")
