"""Objects of ``memory://`` for the tests: from a local file and back, and their requests noted."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from streamh5.stores.memory import MemoryStore


def new_url(name: str = "out.h5") -> str:
    """Return the URL of an object that no other test uses."""
    return f"memory://{uuid.uuid4().hex}/{name}"


def as_object(path: Path) -> str:
    """Return the URL of an object with the content of a file."""
    url = new_url(path.name)
    MemoryFileSystem().pipe_file(url, path.read_bytes())
    return url


def objects_at(url: str) -> dict[str, bytes]:
    """Return the object of a URL, and those below it, by name."""
    name = MemoryFileSystem._strip_protocol(url)
    return {key: found.getvalue() for key, found in MemoryFileSystem.store.items() if key.startswith(name)}


def noted_ranges(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that will hold start and stop of each request that reads from ``memory://``."""
    ranges: list[tuple[int, int]] = []
    read_start, read = MemoryStore.read_start, MemoryStore.read

    def noted_start(self: MemoryStore, nbytes: int) -> object:
        ranges.append((0, nbytes))
        return read_start(self, nbytes)

    def noted_read(self: MemoryStore, start: int, stop: int, version: str | None = None) -> bytes:
        ranges.append((start, stop))
        return read(self, start, stop, version)

    monkeypatch.setattr(MemoryStore, "read_start", noted_start)
    monkeypatch.setattr(MemoryStore, "read", noted_read)
    return ranges
