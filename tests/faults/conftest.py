"""What was tried is counted, and told at the end."""

from __future__ import annotations

import pytest

from tests.faults import tally


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if tally.COUNTS:
        terminalreporter.section("faults tried")
        for line in tally.lines():
            terminalreporter.write_line(line)
