"""A sample of the mutants, and the campaign: nothing ends but in a result or in an error of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.campaign import run
from tests.fuzz.seeds import make_seeds
from tests.fuzz.targets import TARGETS

N_SAMPLE = 60
N_CAMPAIGN = 100_000


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "seeds"
    make_seeds(folder)
    return folder


@pytest.mark.parametrize("name", TARGETS)
def test_mutants_end_in_a_result_or_in_our_error(seeds: Path, name: str) -> None:
    tally = run(seeds, name, 0, N_SAMPLE)
    assert tally.faults == []
    assert tally.n == N_SAMPLE
    assert tally.n_errors
    assert tally.n_read


@pytest.mark.campaign
@pytest.mark.parametrize("name", TARGETS)
def test_campaign_of_mutants_ends_in_results_or_in_our_errors(seeds: Path, name: str) -> None:
    assert run(seeds, name, 0, -(-N_CAMPAIGN // len(TARGETS))).faults == []
