"""`convert` of the test files of HDF5 and netCDF-C."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.foreign_conversions import WRONG, results


@pytest.mark.campaign
def test_what_the_tools_copy_is_converted_to_the_same_content_or_refused(
    tmp_path: Path, hdf5_tools: None
) -> None:
    wrong = [f"{one.path}: {one.reason}" for _, one in results(tmp_path) if one.verdict == WRONG]
    assert wrong == []
