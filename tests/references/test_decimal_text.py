"""Lines of text from columns are those that Python formats."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamh5.references.kerchunk import N_ROWS, lines

NUMBERS = st.integers(0, 2**64 - 1) | st.integers(0, 1100)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=0, max_size=40))
def test_lines_of_any_numbers_are_those_of_python(rows: list[tuple[int, int]]) -> None:
    table = np.array(rows, np.uint64).reshape(-1, 2)
    found = b"".join(lines([b"<", table[:, 0], b", ", table[:, 1], b">\n"], len(rows)))
    assert found.decode() == "".join(f"<{a}, {b}>\n" for a, b in rows)


def test_lines_of_several_batches_are_those_of_python() -> None:
    for n in (N_ROWS - 1, N_ROWS, N_ROWS + 1):
        column = np.arange(n, dtype=np.uint32)
        assert b"".join(lines([column, b"\n"], n)).decode() == "".join(f"{i}\n" for i in range(n))
