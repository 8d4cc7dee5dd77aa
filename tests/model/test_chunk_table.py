"""The chunk table beside a dictionary that does the same slowly."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamh5.errors import LimitError
from streamh5.model import chunk_table
from streamh5.model.chunk_records import chunk_records
from streamh5.model.chunk_table import MAX_DENSE_ROWS, ChunkTable


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 200), min_size=1, max_size=20, unique=True),
            st.booleans(),
            st.integers(0, 9),
        ),
        max_size=20,
    ),
    st.integers(0, 100),
    st.booleans(),
    st.sampled_from([(2**22, 4, 16), (0, 4, 16), (3, 1, 2), (0, 0, 0), (10, 300, 300)]),
    st.booleans(),
)
def test_table_keeps_the_last_of_each_chunk_and_counts(
    calls: list[tuple[list[int], bool, int]],
    n_chunks: int,
    filtered: bool,
    limits: tuple[int, int, int],
    is_asked: bool,
) -> None:
    """Dense, sparse, and from one to the other and back, as small limits make it."""
    names = ("MAX_DENSE_ROWS", "MIN_SPARSENESS", "MAX_SPARSENESS")
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in zip(names, limits, strict=True):
            patch.setattr(chunk_table, name, limit)
        patch.setattr("streamh5.model.chunk_records.MIN_SETTLED", 7)
        check_table(calls, n_chunks, filtered=filtered, is_asked=is_asked)


def check_table(
    calls: list[tuple[list[int], bool, int]], n_chunks: int, *, filtered: bool, is_asked: bool
) -> None:
    table = ChunkTable(n_chunks, 64, filtered=filtered)
    expected: dict[int, tuple[int, int, int]] = {}
    address, n_again, dead = 48, 0, 0
    for numbers, masked, seed in calls:
        sizes = np.random.default_rng(seed).integers(1, 100, len(numbers)).astype(np.uint64)
        sizes = sizes if filtered else np.full(len(numbers), 64, np.uint64)
        masks = np.arange(len(numbers), dtype=np.uint32) if masked and filtered else None
        table.record(chunk_records(np.array(numbers, np.uint64), address, sizes, masks))
        for i, number in enumerate(numbers):
            if number in expected:
                n_again += 1
                dead += expected[number][1]
            expected[number] = (address, int(sizes[i]), 0 if masks is None else int(masks[i]))
            address += int(sizes[i])
        if is_asked:
            assert table.counts.n_written == len(expected)
    stored, written = table.written()
    assert stored.tolist() == sorted(expected)
    assert written.addresses.tolist() == [expected[n][0] for n in sorted(expected)]
    assert table.written(50)[0].tolist() == [n for n in sorted(expected) if n < 50]
    asked = np.arange(250, dtype=np.uint64)
    assert table.are_written(asked).tolist() == [n in expected for n in range(250)]
    columns = table.first(max([n_chunks, *(n + 1 for n in expected)]))
    for number in range(len(columns.addresses)):
        found = (
            int(columns.addresses[number]),
            64 if columns.stored_nbytes is None else int(columns.stored_nbytes[number]),
            0 if columns.filter_masks is None else int(columns.filter_masks[number]),
        )
        assert found == expected.get(number, (0, 0 if filtered else 64, 0))
    counts = table.counts
    assert (counts.n_written, counts.n_rewritten, counts.dead_nbytes) == (
        len(expected),
        n_again,
        dead,
    )
    assert table.counts.stored_nbytes == sum(size for _, size, _ in expected.values())
    tail = {number: expected.pop(number) for number in [*expected] if number >= 60}
    assert sorted(table.forget(60).tolist()) == sorted(address for address, _, _ in tail.values())
    assert (table.counts.n_written, table.written()[0].tolist()) == (len(expected), sorted(expected))
    assert table.counts.dead_nbytes == dead + sum(size for _, size, _ in tail.values())


@pytest.mark.parametrize(("nbytes", "fits"), [(2**32 - 1, True), (2**32, False)])
def test_record_of_4_gib_is_refused(nbytes: int, fits: bool) -> None:
    sizes = np.array([nbytes], np.uint64)
    if fits:
        assert chunk_records(np.zeros(1, np.uint64), 2**40, sizes, None)["stored_nbytes"][0] == nbytes
        return
    with pytest.raises(LimitError, match=f"{nbytes:,}"):
        chunk_records(np.zeros(1, np.uint64), 2**40, sizes, None)


def test_nothing_is_lost_when_threads_ask_while_others_record(monkeypatch: pytest.MonkeyPatch) -> None:
    n_threads, n_records = 4, 200
    table = ChunkTable(MAX_DENSE_ROWS + 1, 400, filtered=True)
    concatenate = np.concatenate

    def slowly(arrays: Any) -> Any:
        joined = concatenate(arrays)
        time.sleep(0)  # lets another thread go on, as a sort of many records does
        return joined

    def record(thread: int) -> int:
        n_found = 0
        for number in range(thread, n_threads * n_records, n_threads):
            own, size = np.array([number], np.uint64), np.array([100], np.uint64)
            table.record(chunk_records(own, 4096 + number, size, None))
            n_found += int(table.are_written(own)[0])
        return n_found

    monkeypatch.setattr(np, "concatenate", slowly)
    monkeypatch.setattr(chunk_table, "MIN_SPARSENESS", 0)  # it stays sparse
    with ThreadPoolExecutor(n_threads) as pool:
        assert list(pool.map(record, range(n_threads))) == [n_records] * n_threads
    assert table.counts.n_written == n_threads * n_records
    np.testing.assert_array_equal(table.written()[0], np.arange(n_threads * n_records))
