"""The map of a file, compared with sets of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamh5.errors import FormatError
from streamh5.reader.file_map import FileMap, Kind

FILE_NBYTES = 60
RANGES = st.tuples(st.integers(0, 49), st.integers(1, 10))


def mapped(structures: list[tuple[int, int]], chunks: list[tuple[int, int]]) -> FileMap:
    file_map = FileMap(FILE_NBYTES)
    for address, nbytes in structures:
        file_map.claim(Kind.HEADER, "/", address, nbytes)
    columns = np.array(chunks, np.uint64).reshape(-1, 2)
    file_map.claim_chunks("/x", columns[:, 0], columns[:, 1])
    return file_map


@given(st.lists(RANGES, max_size=5), st.lists(RANGES, max_size=8))
def test_overlaps_are_those_of_sets_of_bytes(
    structures: list[tuple[int, int]], chunks: list[tuple[int, int]]
) -> None:
    found = mapped(structures, chunks).overlaps(n_pairs=100)
    sets = [set(range(start, start + n)) for start, n in [*structures, *chunks]]
    touched = {i for i, one in enumerate(sets) for j, other in enumerate(sets) if i != j and one & other}
    rows = found.chunk_rows.get("/x", np.empty(0, np.int64)).tolist()
    assert rows == sorted(i - len(structures) for i in touched if i >= len(structures))
    assert (found.n_pairs > 0) == bool(touched)
    assert len(found.pairs) == found.n_pairs
    for first, second in found.pairs:
        assert first.address <= second.address < first.address + first.nbytes


@given(st.sets(st.integers(0, 5), max_size=6), st.sets(st.integers(6, 11), max_size=6), st.integers(1, 90))
def test_coverage_and_totals_sum_up_to_the_file(headers: set[int], chunks: set[int], n_cells: int) -> None:
    file_map = mapped([(5 * i, 3) for i in headers], [(5 * i, 5) for i in chunks])
    covered = file_map.coverage(n_cells)
    assert sum(covered.values()) == pytest.approx(np.full(n_cells, FILE_NBYTES / n_cells))
    totals = {total.kind: total for total in file_map.totals()}
    assert sum(total.nbytes for total in totals.values()) == FILE_NBYTES
    for kind, n, nbytes in ((Kind.HEADER, len(headers), 3), (Kind.DATA, len(chunks), 5)):
        assert covered[kind].sum() == pytest.approx(n * nbytes)
        assert (kind in totals) == (n > 0)
        if n:
            assert (totals[kind].n_extents, totals[kind].nbytes) == (n, n * nbytes)
    used = {b for i in headers for b in range(5 * i, 5 * i + 3)} | {
        b for i in chunks for b in range(5 * i, 5 * i + 5)
    }
    unused = np.flatnonzero(file_map.coverage(FILE_NBYTES)[Kind.UNUSED])  # cells of one byte
    assert unused.tolist() == sorted(set(range(FILE_NBYTES)) - used)


def test_claims_larger_than_the_file_are_refused() -> None:
    file_map = FileMap(100)
    file_map.claim(Kind.HEADER, "/", 0, 60)
    file_map.claim(Kind.HEADER, "/", 60, 40)
    with pytest.raises(FormatError, match="overlap"):
        file_map.claim(Kind.HEADER, "/", 0, 1)
