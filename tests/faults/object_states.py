"""A write to an object, and what is left of it when its process is killed between two requests."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import fsspec
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.stores import memory
from streamh5.stores.memory import MemoryStore

URL = "memory://bucket/out.h5"
GRID = np.random.default_rng(5).integers(0, 1 << 40, (64, 16_384))
"""8 MiB, in chunks of 128 KiB: eight for each part."""

ROWS = np.arange(3000 * 400, dtype="f8").reshape(3000, 400)


class State(NamedTuple):
    """What is there after a kill: parts of each upload, objects, the journal; blocks computed until then."""

    uploads: dict[tuple[str, str], dict[int, bytes]]
    objects: dict[str, Any]
    tokens: dict[str, tuple[str, str]]
    journal: bytes | None

    @classmethod
    def now(cls, journal: Path) -> State:
        """Return the present state."""
        uploads = {key: dict(parts) for key, parts in memory._UPLOADS.items()}
        log = journal.read_bytes() if journal.exists() else None
        return cls(uploads, dict(fsspec.filesystem("memory").store), dict(memory._TOKENS), log)

    def restore(self, journal: Path) -> None:
        """Make it the present one."""
        changed: list[tuple[Any, dict[Any, Any]]] = [
            (memory._UPLOADS, {key: dict(parts) for key, parts in self.uploads.items()}),
            (memory._TOKENS, self.tokens),
            (fsspec.filesystem("memory").store, self.objects),
        ]
        for held, then in changed:
            held.clear()
            held.update(then)
        journal.unlink(missing_ok=True)
        if self.journal is not None:
            journal.write_bytes(self.journal)


def write_grid(journal: Path, *, resume: bool = True, url: str = URL, **keywords: Any) -> int:
    """Write, or resume, an array; return the number of blocks that were computed."""
    computed: list[None] = []

    def count(block: Any) -> Any:
        if block.size:  # dask tries the function on an empty one
            computed.append(None)
        return block

    x = da.from_array(GRID, chunks=(1, 16_384), name="grid").map_blocks(count, dtype=GRID.dtype)
    streamh5.to_fixed_h5(
        url,
        "/x",
        x,
        mode="w",
        compression=None,
        resume=resume,
        resume_key="grid",
        journal=journal,
        **keywords,
    )
    return len(computed)


def write_rows(journal: Path, *, resume: bool = True, url: str = URL, **keywords: Any) -> int:
    """Write, or resume, a stream with text and a scalar; return the number of rows that were appended."""
    with streamh5.File(url, "w", resume=resume, journal=journal, threads=1, **keywords) as f:
        f.attrs["title"] = "stream"
        rows = f.create_dataset("rows", (None, 400), "f8", chunks=(50, 400), compression=None)
        text = f.create_dataset("text", (60,), h5py.string_dtype(), chunks=(1,), compression=None)
        f.create_dataset("value", (), "i4")[()] = 7
        first = rows.n_appended
        for start in range(first, len(ROWS), 50):
            rows.append(ROWS[start : start + 50])
            i = start // 50
            if not text.is_stored((i,), (1,)):
                text[i] = f"row {start}" * 100
        for i in range(60):
            if not text.is_stored((i,), (1,)):
                text[i] = f"row {50 * i}" * 100
    return len(ROWS) - first


def content(url: str = URL) -> h5py.File:
    """Open the object, as another program reads it."""
    return h5py.File(io.BytesIO(fsspec.filesystem("memory").cat_file(url)), "r")


def check_grid() -> None:
    """The object has the array."""
    with content() as f:
        np.testing.assert_array_equal(f["x"][...], GRID)


def check_rows() -> None:
    """The object has the stream."""
    with content() as f:
        np.testing.assert_array_equal(f["rows"][...], ROWS)
        assert f["text"].asstr()[...].tolist() == [f"row {50 * i}" * 100 for i in range(60)]
        assert f["value"][()] == 7
        assert f.attrs["title"] == "stream"


@contextmanager
def recorded(journal: Path, states: list[State]) -> Iterator[None]:
    """Record the state before and after each request that changes something."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("put", "begin_upload", "send_part", "complete", "abort_upload"):
            patch.setattr(MemoryStore, name, _around(getattr(MemoryStore, name), journal, states))
        yield


def _around(request: Callable[..., Any], journal: Path, states: list[State]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        states.append(State.now(journal))
        result = request(*args, **kwargs)
        states.append(State.now(journal))
        return result

    return call
