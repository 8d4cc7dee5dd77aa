"""A cluster for each test, and a destination that already exists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from tests.cluster import work
from tests.cluster.launcher import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers."""
    one = Cluster(tmp_path / "cluster")
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A destination, which is to be replaced, in a folder of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    work.write_old(folder / "out.h5")
    return folder / "out.h5"
