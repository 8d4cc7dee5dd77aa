"""Copies run in the threads of the file, without dask, unless dask is asked for."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import dask
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.dask import copied_blocks, stored_chunks
from streamh5.dask.graph import Write
from streamh5.dask.stored_chunks import ChunkCopy, HollowBlocks
from streamh5.errors import DestinationExistsError
from streamh5.write.pool import Job


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of two datasets, of 25 blocks each."""
    monkeypatch.setattr(stored_chunks, "BLOCK_NBYTES", 1 << 12)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for name in ("x", "y"):
            values = np.arange(100 * 1024, dtype="i2").reshape(100, 1024)
            file.create_dataset(name, data=values, chunks=(2, 1024), compression="gzip")
    return tmp_path / "in.h5"


def convert(source: Path, **options: Any) -> streamh5.Conversion:
    return streamh5.convert(source, source.with_name("out.h5"), copy=True, **options)


def test_blocks_cover_the_array_once() -> None:
    blocks = HollowBlocks((7, 5), (3, 2), np.dtype("f4"))
    covered = np.zeros(blocks.shape, int)
    for origin, shape in blocks.places():
        covered[tuple(slice(o, o + n) for o, n in zip(origin, shape, strict=True))] += 1
    assert (covered == 1).all()
    assert blocks.nbytes == 140
    assert list(HollowBlocks((0, 5), (3, 2), np.dtype("f4")).places()) == []


@pytest.mark.parametrize("scheduler", [None, "threads", "synchronous"])
def test_copy_makes_no_graph_and_shows_its_progress(
    source: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str | None
) -> None:
    monkeypatch.setattr(Write, "compute", lambda *_, **__: pytest.fail("a graph"))
    monkeypatch.delitem(sys.modules, "distributed", raising=False)  # another test may have imported it
    threads: set[int] = set()
    shown: list[tuple[int, int]] = []
    copy = ChunkCopy.__call__

    def noted(self: ChunkCopy, *arguments: Any) -> Any:
        threads.add(threading.get_ident())
        return copy(self, *arguments)

    monkeypatch.setattr(ChunkCopy, "__call__", noted)
    done = convert(source, scheduler=scheduler, progress=lambda *n: shown.append(n))
    assert [one.n_copied for one in done.arrays] == [50, 50]
    assert [n for n, _ in shown] == sorted(n for n, _ in shown)
    assert shown[-1] == (409_600, 409_600)
    assert (threading.get_ident() in threads) == (scheduler == "synchronous")
    with h5py.File(source) as a, h5py.File(source.with_name("out.h5")) as b:
        for name in ("x", "y"):
            np.testing.assert_array_equal(a[name][()], b[name][()])


@pytest.mark.parametrize(("most", "counted"), [(1 << 12, {1 << 11}), (1 << 11, {1 << 12})])
def test_blocks_of_ordinary_size_keep_all_threads_busy_and_larger_ones_count_in_full(
    source: Path, monkeypatch: pytest.MonkeyPatch, most: int, counted: set[int]
) -> None:
    monkeypatch.delitem(sys.modules, "distributed", raising=False)  # another test may have imported it
    monkeypatch.setattr(copied_blocks, "MAX_BLOCK_NBYTES", most)
    monkeypatch.setattr(copied_blocks, "DEFAULT_IN_FLIGHT_NBYTES", 1 << 16)
    monkeypatch.setattr(copied_blocks, "available_cpus", lambda: 16)
    found: set[int] = set()

    def noted(run: Any, nbytes: int, *rest: Any) -> Job:
        found.add(nbytes)
        return Job(run, nbytes, *rest)

    monkeypatch.setattr(copied_blocks, "Job", noted)
    convert(source)
    assert found == counted


@pytest.mark.parametrize("how", [{"scheduler": "sync"}, {"pool": object()}, {"num_workers": 1}])
def test_configured_scheduler_of_dask_is_heeded(
    source: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    monkeypatch.setattr(copied_blocks.CopiedBlocks, "compute", lambda _: pytest.fail("without dask"))
    asked: list[str] = []

    def compute(self: Write, **_: Any) -> Any:
        asked.append(self.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(Write, "compute", compute)
    with dask.config.set(how), pytest.raises(KeyboardInterrupt):
        convert(source)
    assert len(asked) == 1


@pytest.mark.parametrize("scheduler", [None, "synchronous"])
def test_failure_in_a_block_ends_the_write_with_notes_and_leaves_nothing(
    source: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str | None
) -> None:
    copy = ChunkCopy.__call__

    def failing(self: ChunkCopy, writer: Any, origin: Any, shape: Any) -> Any:
        if origin[0]:
            raise OSError("no more")
        return copy(self, writer, origin, shape)

    monkeypatch.setattr(ChunkCopy, "__call__", failing)
    with pytest.raises(OSError, match="no more") as caught:
        convert(source, scheduler=scheduler)
    notes = "\n".join(caught.value.__notes__)
    assert "while writing the block at (" in notes
    assert "while writing /x, /y to " in notes
    assert [path.name for path in source.parent.iterdir()] == ["in.h5"]


def test_destination_that_exists_is_an_error(source: Path) -> None:
    source.with_name("out.h5").write_bytes(b"mine")
    with pytest.raises(DestinationExistsError):
        convert(source)
    assert source.with_name("out.h5").read_bytes() == b"mine"
