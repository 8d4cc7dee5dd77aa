"""Fixtures of the tests of interrupted writes to objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from streamh5.sinks import part_sizes
from streamh5.stores import memory


@pytest.fixture
def memory_objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """fsspec's memory, with parts of 1 MiB that are sent one at a time; no upload is left at the end."""
    monkeypatch.setattr(part_sizes, "PART_NBYTES", 1 << 20)
    monkeypatch.setattr("streamh5.sinks.part_sender.N_SENDERS", 1)
    system = fsspec.filesystem("memory")
    system.store.clear()
    memory._UPLOADS.clear()
    yield system
    system.store.clear()
    left = list(memory._UPLOADS)
    memory._UPLOADS.clear()
    assert not left, "an upload was left"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return where the journal of a write to an object lies."""
    return tmp_path / "out.journal"
