"""A sample of the simulation of many workers: no address is given out twice, and little of the file is unused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.scale import check, simulate


@pytest.mark.parametrize(("n_workers", "n_blocks", "n_chunks"), [(20, 2000, 1), (20, 1000, 8), (2, 300, 1)])
def test_simulated_write_loses_nothing_and_leaves_two_percent_unused_at_most(
    n_workers: int, n_blocks: int, n_chunks: int, tmp_path: Path
) -> None:
    outcome = simulate(tmp_path, n_workers=n_workers, n_blocks=n_blocks, n_chunks=n_chunks)
    check(outcome, n_blocks * n_chunks)
    shared = outcome.summary.shared
    assert shared is not None
    assert shared.n_writers == n_workers
    assert shared.rewritten_nbytes == 0
    ends = outcome.records["address"] + outcome.records["stored_nbytes"]
    assert shared.unused_nbytes <= 0.02 * int(ends.max())
