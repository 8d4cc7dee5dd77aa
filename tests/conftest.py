"""Fixtures of all tests: the readers that judge, one parameter each."""

from __future__ import annotations

import pytest

from tests.readers import READERS, Reader
from tests.readers.hdf5_tools import missing_tools
from tests.readers.plugins import plugin_folder

plugin_folder()


@pytest.fixture(params=READERS, ids=lambda reader: reader.name.replace(" ", "-"))
def reader(request: pytest.FixtureRequest) -> Reader:
    """Every reader in turn; one that is not installed skips the test and says so."""
    one: Reader = request.param
    reason = one.missing()
    if reason is not None:
        pytest.skip(f"reader missing: {reason}")
    return one


@pytest.fixture
def hdf5_tools() -> None:
    """Skip the test, and say which tool is missing, unless all of hdf5-tools are installed."""
    reason = missing_tools()
    if reason is not None:
        pytest.skip(f"reader missing: {reason}")
