"""fsspec's memory as an object store, for one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from streamh5.stores import memory


@contextmanager
def empty_memory() -> Iterator[Any]:
    """Yield fsspec's memory, empty; no upload may be left at the end."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    memory._UPLOADS.clear()
    yield system
    system.store.clear()
    left = list(memory._UPLOADS)
    memory._UPLOADS.clear()
    assert not left, "an upload was left"
