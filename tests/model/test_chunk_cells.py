"""The cells of a picture of chunks, against a count of one chunk after the other."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamh5.model.chunk_cells import MAX_CELLS, chunk_cells
from streamh5.model.chunk_grid import ChunkGrid


@given(
    st.lists(st.integers(1, 45), min_size=1, max_size=4).filter(lambda counts: math.prod(counts) < 5000),
    st.integers(0, 1000),
)
def test_cells_count_each_chunk_once_in_its_place(counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = ChunkGrid(tuple(2 * n for n in counts), (2,) * len(counts))
    numbers = np.flatnonzero(rng.random(math.prod(counts)) < 0.3)
    sizes = rng.integers(1, 100, len(numbers))
    cells = chunk_cells(grid, numbers, sizes)
    assert cells is not None
    folded = (
        tuple(counts) if len(counts) < 4 else (math.prod(counts[:-2]), *counts[-2:])
    )  # all but the last two dimensions are one axis
    assert cells.counts == folded
    assert cells.n_stored == len(numbers)
    limit = MAX_CELLS[len(folded)]
    for face in cells.faces:
        assert face.n_chunks.sum() == math.prod(counts)
        assert (face.n_stored <= face.n_chunks).all()
        assert face.n_chunks.min() >= 1
        n_stored, nbytes = np.zeros(face.n_chunks.shape, int), np.zeros(face.n_chunks.shape)
        for number, size in zip(numbers, sizes, strict=True):
            coords = np.unravel_index(number, folded)
            place = tuple(
                0 if axis is None else coords[axis] * min(limit, folded[axis]) // folded[axis]
                for axis in (face.row_axis, face.column_axis)
            )
            n_stored[place] += 1
            nbytes[place] += size
        np.testing.assert_array_equal(face.n_stored, n_stored)
        np.testing.assert_array_equal(face.nbytes, nbytes)


def test_grid_without_chunks_has_no_cells() -> None:
    assert chunk_cells(ChunkGrid((0, 3), (1, 3)), np.zeros(0, int), np.zeros(0, int)) is None
