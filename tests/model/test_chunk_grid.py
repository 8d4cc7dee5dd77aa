"""Chunk numbers, batches and origins, beside numpy's own indexing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamh5.model.chunk_grid import ChunkGrid


@st.composite
def grids(draw: st.DrawFn) -> ChunkGrid:
    axes = draw(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=4))
    return ChunkGrid(tuple(n for n, _ in axes), tuple(c for _, c in axes))


@given(grids(), st.data())
def test_numbers_of_a_box_are_those_of_numpy(grid: ChunkGrid, data: st.DataObject) -> None:
    box = []
    for n in grid.counts:
        start = data.draw(st.integers(0, n))
        box.append((start, data.draw(st.integers(start, n))))
    table = np.arange(np.prod(grid.counts)).reshape(grid.counts)
    expected = table[tuple(slice(a, b) for a, b in box)].ravel()
    np.testing.assert_array_equal(grid.numbers(tuple(box)), expected)


@given(grids(), st.integers(1, 40))
def test_batches_cover_the_box_once_and_in_order(grid: ChunkGrid, n_max: int) -> None:
    batches = list(grid.batches(grid.counts, n_max))
    numbers = np.concatenate([grid.numbers(box) for box in batches])
    np.testing.assert_array_equal(numbers, np.arange(np.prod(grid.counts)))
    assert all(len(grid.numbers(box)) <= n_max for box in batches)


@given(grids())
def test_origin_is_the_first_element_of_each_chunk(grid: ChunkGrid) -> None:
    n_chunks = int(np.prod(grid.counts))
    for number in range(0, n_chunks, n_chunks // 50 + 1):
        coords = np.unravel_index(number, grid.counts)
        assert grid.origin(number) == tuple(int(i) * c for i, c in zip(coords, grid.chunks, strict=True))


@pytest.mark.parametrize(
    ("shape", "chunks", "n_chunks"),
    [((10,), (5,), 2), ((11,), (5,), 3), ((0,), (5,), 0), ((10, 0), (5, 1), 0), ((None, 4), (2, 2), None)],
)
def test_n_chunks_counts_edges(
    shape: tuple[int | None, ...], chunks: tuple[int, ...], n_chunks: int | None
) -> None:
    assert ChunkGrid(shape, chunks).n_chunks == n_chunks
    if n_chunks is None:
        assert ChunkGrid(shape, chunks).with_length(5).n_chunks == 6
