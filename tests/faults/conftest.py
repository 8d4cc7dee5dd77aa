"""Fixtures of the tests of interrupted writes to objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamh5.sinks import part_sizes
from tests.stores.empty_memory import empty_memory


@pytest.fixture
def memory_objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """fsspec's memory, with parts of 1 MiB that are sent one at a time; no upload is left at the end."""
    monkeypatch.setattr(part_sizes, "PART_NBYTES", 1 << 20)
    monkeypatch.setattr("streamh5.sinks.part_sender.N_SENDERS", 1)
    with empty_memory() as system:
        yield system


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return where the journal of a write to an object lies."""
    return tmp_path / "out.journal"
