"""``chunks="auto"``: of a size that reads well, and no larger than what it divides."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamh5.model.chunk_shape import auto_chunks

MIB = 1 << 20


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=5).map(tuple), st.sampled_from([1, 2, 4, 8, 16]))
def test_auto_chunks_are_at_most_8_mib_and_not_tiny(block: tuple[int, ...], itemsize: int) -> None:
    chunks = auto_chunks(block, itemsize)
    nbytes = math.prod(chunks) * itemsize
    assert nbytes <= 8 * MIB
    assert all(1 <= chunk <= max(1, extent) for chunk, extent in zip(chunks, block, strict=True))
    if math.prod(max(1, n) for n in block) * itemsize <= 8 * MIB:
        assert chunks == tuple(max(1, n) for n in block)
    else:
        assert nbytes > 8 * MIB // 14  # the largest factor that is taken is 13


@given(st.lists(st.sampled_from([2**k for k in range(1, 13)]), min_size=1, max_size=3).map(tuple))
def test_auto_chunks_divide_blocks_of_powers_of_two(block: tuple[int, ...]) -> None:
    assert all(extent % chunk == 0 for extent, chunk in zip(block, auto_chunks(block, 8), strict=True))


@pytest.mark.parametrize(("n", "whole"), [(2**20 - 1, True), (2**20, True), (2**20 + 1, False)])
def test_auto_chunks_leave_a_block_of_8_mib_whole(n: int, whole: bool) -> None:
    assert (auto_chunks((n,), 8) == (n,)) == whole
