"""Which blocks an interrupted write has stored: from the coords of its chunks, without a question for each block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamh5
from streamh5.dask.store_task import BlockGrid
from streamh5.handles.dataset_writer import DatasetWriter
from streamh5.model.chunk_grid import ChunkGrid
from streamh5.model.realign import aligned_blocks


@st.composite
def arrays(draw: st.DrawFn) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...], tuple[int, ...]]:
    """Blocks, chunks, and the place of the array in its dataset."""
    rank = draw(st.integers(1, 3))
    blocks = tuple(tuple(draw(st.lists(st.integers(0, 9), min_size=1, max_size=4))) for _ in range(rank))
    chunks = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    origin = tuple(draw(st.integers(0, 9)) for _ in range(rank))
    return aligned_blocks(blocks, chunks, origin), chunks, origin


@given(arrays(), st.integers(0, 2**32))
def test_blocks_with_a_missing_chunk_are_found(array: Any, seed: int) -> None:
    blocks, chunks, origin = array
    stops = tuple(o + sum(extents) for o, extents in zip(origin, blocks, strict=True))
    chunk_grid = ChunkGrid(tuple(stop + 5 for stop in stops), chunks)
    rng = np.random.default_rng(seed)
    stored = np.flatnonzero(rng.random(chunk_grid.n_chunks or 0) < rng.choice([0.3, 0.9, 1]))
    grid = BlockGrid(blocks, origin)
    expected, n_elements = [], 0
    for number, block_id in enumerate(np.ndindex(*map(len, blocks))):
        first, shape = grid.block(block_id)
        needed = chunk_grid.numbers(chunk_grid.covering(first, shape))
        if np.prod(shape) and not set(needed) <= set(stored):
            expected.append(number)
            n_elements += int(np.prod(shape))
    found = grid.incomplete(chunks, chunk_grid.coords_of(stored))
    assert found.tolist() == expected
    assert grid.n_elements(found) == n_elements


@pytest.mark.parametrize("n_blocks", [20, 200])
def test_resume_asks_once_for_all_blocks(
    n_blocks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = True

    def block(part: Any, block_id: tuple[int, ...] = (0,)) -> Any:
        if fails and block_id == (n_blocks - 3,):
            raise KeyboardInterrupt
        computed.append(block_id[0])
        return part + block_id[0]

    def write(progress: Callable[[int, int], object] | None = None) -> None:
        array = da.map_blocks(block, da.zeros(4 * n_blocks, chunks=4), dtype="f8", meta=np.empty(0))
        streamh5.to_fixed_h5(
            tmp_path / "x.h5",
            {"/x": array},
            scheduler="synchronous",
            resume=True,
            resume_key="x",
            progress=progress,
        )

    computed: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        write()
    asked = 0
    are_stored = DatasetWriter.are_stored

    def counted(self: DatasetWriter, numbers: Any) -> Any:
        nonlocal asked
        asked += 1
        return are_stored(self, numbers)

    monkeypatch.setattr(DatasetWriter, "are_stored", counted)
    fails = False
    computed.clear()
    seen: list[tuple[int, int]] = []
    write(lambda *done: seen.append(done))
    assert asked == 1
    assert sorted(computed) == [n_blocks - 3, n_blocks - 2, n_blocks - 1]
    assert seen[0] == ((n_blocks - 3) * 32, n_blocks * 32)
    assert seen[-1] == (n_blocks * 32, n_blocks * 32)
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][()], np.repeat(np.arange(float(n_blocks)), 4))
