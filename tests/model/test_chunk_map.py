"""Chunk maps beside numpy's own indexing: places, the present shape, and what an index or a library tells."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamh5.format.chunk_index.element import ChunkColumns
from streamh5.model.chunk_grid import ChunkGrid
from streamh5.model.chunk_map import ChunkMap


@st.composite
def maps(draw: st.DrawFn) -> ChunkMap:
    """Some chunks of a grid over a maximum shape; the address of a chunk is its number there, and 1000 more."""
    axes = draw(
        st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=3)
    )
    shape = tuple(n for n, _, _ in axes)
    grid = ChunkGrid(shape, tuple(c for _, c, _ in axes), tuple(n + more for n, _, more in axes))
    n_numbers = int(np.prod(grid.counts))
    numbers = draw(st.lists(st.integers(0, n_numbers - 1), unique=True, max_size=30)) if n_numbers else []
    column = np.array(numbers, np.int64)
    return ChunkMap.of(grid, column, ChunkColumns(column.astype(np.uint64) + np.uint64(1000)), 8)


@given(maps())
def test_coords_are_those_of_numpy(chunks: ChunkMap) -> None:
    places = list(itertools.product(*map(range, chunks.grid.counts)))
    expected = [places[number] for number in chunks.numbers]
    assert [tuple(coords) for coords in chunks.coords().tolist()] == expected
    assert [chunks.coords_at(row) for row in range(len(chunks))] == expected
    assert [tuple(one) for one in chunks.origins().tolist()] == [
        chunks.origin_at(row) for row in range(len(chunks))
    ]


@given(maps())
def test_present_chunks_are_those_whose_origin_is_in_the_shape(chunks: ChunkMap) -> None:
    shape = np.array([n or 0 for n in chunks.grid.shape])
    is_inside = (chunks.origins() < shape).all(axis=1)
    np.testing.assert_array_equal(chunks.is_present(), is_inside)
    present = chunks.present()
    np.testing.assert_array_equal(present.addresses, chunks.addresses[is_inside])
    np.testing.assert_array_equal(present.origins(), chunks.origins()[is_inside])
    assert present.grid.counts == chunks.grid.present.counts
    assert (present.stored_nbytes == 8).all()
    assert not present.filter_masks.any()


@given(maps())
def test_map_of_origins_leaves_out_chunks_outside_of_the_grid(chunks: ChunkMap) -> None:
    columns = ChunkColumns(
        chunks.addresses, np.full(len(chunks), 8, np.uint64), np.ones(len(chunks), np.uint32)
    )
    found = ChunkMap.at(chunks.grid.present, chunks.origins().astype(np.uint64), columns)
    np.testing.assert_array_equal(found.numbers, chunks.present().numbers)
    np.testing.assert_array_equal(found.addresses, chunks.present().addresses)
    assert (found.filter_masks == 1).all()
