"""Fixtures of all tests: the readers that judge, one parameter each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.faults import tally
from tests.readers import READERS, Reader
from tests.readers.hdf5_tools import missing_tools
from tests.readers.plugins import plugin_folder
from tests.readers.strict_tools import STRICT_TOOLS, missing_strict_tools
from tests.stores.azurite import AzuriteServer, azurite_server, missing_azurite
from tests.stores.gcs_mock import GCSMock, gcs_mock
from tests.stores.radosgw import missing_radosgw, radosgw_server
from tests.stores.servers import S3Server, missing_moto, moto_server
from tests.surface import old_hdf5

plugin_folder()

# A slow or busy machine fails no test. In CI the examples are the same each time, as hypothesis has it.
settings.register_profile(
    "streamh5",
    settings.default,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("streamh5")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long campaigns out unless they are asked for: ``python -m pytest -m campaign``."""
    if "campaign" in config.option.markexpr:
        return
    campaigns = [item for item in items if item.get_closest_marker("campaign")]
    config.hook.pytest_deselected(items=campaigns)
    items[:] = [item for item in items if not item.get_closest_marker("campaign")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how many faults were tried."""
    if tally.COUNTS:
        terminalreporter.section("faults tried")
        for line in tally.lines():
            terminalreporter.write_line(line)


def pytest_report_header() -> list[str]:
    """Say which readers are missing: tests that ask every reader that is here do not skip for them."""
    reasons = [
        *(one.missing() for one in READERS),
        missing_tools(),
        missing_strict_tools(),
        old_hdf5.missing(),
    ]
    return [f"reader missing: {reason}" for reason in reasons if reason] or ["readers: all are here"]


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


@pytest.fixture
def strict_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the tools of the strict HDF5 before those of the distribution; skip the test where they are missing."""
    reason = missing_strict_tools()
    if reason is not None:
        pytest.skip(f"reader missing: {reason}")
    monkeypatch.setenv("PATH", f"{STRICT_TOOLS}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """moto's S3 server, one for all tests; where it is missing they skip and say so."""
    reason = missing_moto()
    if reason is not None:
        pytest.skip(f"server missing: {reason}")
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def radosgw() -> Iterator[S3Server]:
    """Ceph's S3 server, one for all tests; where it is missing they skip and say so."""
    reason = missing_radosgw()
    if reason is not None:
        pytest.skip(f"server missing: {reason}")
    with radosgw_server() as server:
        yield server


@pytest.fixture(scope="session")
def azurite() -> Iterator[AzuriteServer]:
    """Azurite, one for all tests; where it is missing they skip and say so."""
    reason = missing_azurite()
    if reason is not None:
        pytest.skip(f"server missing: {reason}")
    with azurite_server() as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[GCSMock]:
    """Return a mock of Google Cloud Storage, one for all tests; where gcsfs is missing they skip and say so."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed")
    with gcs_mock() as mock:
        yield mock
