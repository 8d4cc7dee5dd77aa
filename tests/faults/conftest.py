"""The long campaigns run only when asked for: ``python -m pytest tests/faults -m campaign``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import tally


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "campaign" in config.option.markexpr:
        return
    folder = Path(__file__).parent
    long = [item for item in items if folder in item.path.parents and item.get_closest_marker("campaign")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if tally.COUNTS:
        terminalreporter.section("faults tried")
        for line in tally.lines():
            terminalreporter.write_line(line)
