"""In which order dask computes the blocks of a write, and what it holds meanwhile."""

from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5


class Source:
    """A block source that counts its calls and the blocks that are alive."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def array(self, n_blocks: int) -> da.Array:
        def block(block_id: tuple[int, ...]) -> np.ndarray[Any, Any]:
            self.calls.append(block_id)
            return np.full((1, 8, 8), block_id[0], "f4")

        return da.map_blocks(
            block, chunks=((1,) * n_blocks, (8,), (8,)), dtype="f4", meta=np.empty((0, 0, 0), "f4")
        )


@pytest.mark.parametrize("n_blocks", [1, 31, 32, 33, 200])
def test_blocks_of_one_array_are_computed_in_their_order(tmp_path: Path, n_blocks: int) -> None:
    source = Source()
    source.array(n_blocks).to_fixed_h5(tmp_path / "x.h5", "/x", scheduler="synchronous")  # type: ignore[attr-defined]
    assert [block_id[0] for block_id in source.calls] == list(range(n_blocks))


def test_chunks_lie_in_the_file_in_the_order_of_the_array(tmp_path: Path) -> None:
    Source().array(100).to_fixed_h5(tmp_path / "x.h5", "/x", scheduler="synchronous")  # type: ignore[attr-defined]
    with h5py.File(tmp_path / "x.h5") as file:
        offsets = [file["x"].id.get_chunk_info(i).byte_offset for i in range(100)]
    assert offsets == sorted(offsets)


def test_blocks_that_arrays_share_are_computed_once_and_not_held(tmp_path: Path) -> None:
    source = Source()
    x = source.array(100)
    tracked: list[weakref.ref[np.ndarray[Any, Any]]] = []
    most_alive = 0

    def track(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        nonlocal most_alive
        copy = block.copy()
        tracked.append(weakref.ref(copy))
        most_alive = max(most_alive, sum(one() is not None for one in tracked))
        return copy

    shared = da.map_blocks(track, x, dtype="f4", meta=np.empty((0, 0, 0), "f4"))

    def plus(block: np.ndarray[Any, Any], n: int) -> np.ndarray[Any, Any]:
        return block + n

    arrays = {
        f"/x{n}": da.map_blocks(plus, shared, n, dtype="f4", meta=np.empty((0, 0, 0), "f4")) for n in range(3)
    }
    streamh5.to_fixed_h5(tmp_path / "x.h5", arrays, scheduler="synchronous")
    assert max(Counter(source.calls).values()) == 1
    assert len(tracked) == 100
    assert most_alive <= 3
