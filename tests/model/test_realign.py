"""Blocks and chunks: aligned where possible, nothing lost, nothing doubled."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamh5.model.realign import aligned_blocks, default_chunks, realign_factor

EXTENTS = st.lists(st.integers(0, 40), min_size=1, max_size=12).map(tuple)


@given(st.lists(st.tuples(EXTENTS, st.integers(1, 30)), min_size=1, max_size=4))
def test_aligned_blocks_cover_the_array_and_end_on_chunks(axes: list[tuple[tuple[int, ...], int]]) -> None:
    blocks, chunks = tuple(e for e, _ in axes), tuple(c for _, c in axes)
    aligned = aligned_blocks(blocks, chunks)
    for old, new, chunk in zip(blocks, aligned, chunks, strict=True):
        assert sum(new) == sum(old)
        assert all(extent % chunk == 0 for extent in new[:-1])
        assert all(extent > 0 for extent in new) or sum(old) == 0
    assert aligned_blocks(aligned, chunks) == aligned


@given(EXTENTS, st.integers(1, 30), st.integers(0, 100))
def test_blocks_of_an_array_inside_a_dataset_share_no_chunk(
    blocks: tuple[int, ...], chunk: int, first: int
) -> None:
    (aligned,) = aligned_blocks((blocks,), (chunk,), (first,))
    assert sum(aligned) == sum(blocks)
    bounds = list(accumulate(aligned, initial=first))
    assert all(bound % chunk == 0 for bound in bounds[1:-1])
    assert all(extent > 0 for extent in aligned) or sum(blocks) == 0
    assert aligned_blocks((aligned,), (chunk,), (first,)) == (aligned,)


@given(st.integers(1, 20), st.integers(1, 5), st.integers(1, 8), st.integers(0, 50))
def test_blocks_that_are_aligned_stay_as_they_are(chunk: int, factor: int, n: int, rest: int) -> None:
    extents = (chunk * factor,) * n
    last = rest % (chunk * factor)
    blocks = (extents + ((last,) if last else ()),)
    assert aligned_blocks(blocks, (chunk,)) == blocks
    assert realign_factor(blocks, blocks) == 1


@pytest.mark.parametrize(
    ("old", "new", "factor"),
    [
        (((1,) * 10,), ((5, 5),), 5),
        (((1,) * 10, (2,) * 4), ((5, 5), (8,)), 20),
        (((10,),), ((4, 4, 2),), 1),
        (((5, 5),), ((4, 4, 2),), 2),
        (((5, 0, 5),), ((10,),), 3),
    ],
)
def test_realign_factor_is_the_most_old_blocks_of_a_new_one(old: object, new: object, factor: int) -> None:
    assert realign_factor(old, new) == factor  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("blocks", "chunks"),
    [(((4, 4, 1),), (4,)), (((1, 5, 3), (7,)), (5, 7)), (((0,),), (1,)), (((),), (1,)), ((), ())],
)
def test_default_chunks_are_the_largest_extents(blocks: object, chunks: tuple[int, ...]) -> None:
    assert default_chunks(blocks) == chunks  # type: ignore[arg-type]
