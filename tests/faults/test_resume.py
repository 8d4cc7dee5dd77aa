"""Resume: what is there is not done again, what differs is named, what is missing is computed."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import BlockError, InterruptedWriteError, ResumeError, SinkError
from tests.faults.systems import Calls, Crash, failing, half, installed
from tests.faults.tally import tried

Index = tuple[int, ...]


class Source:
    """A dask array of 4 x 3 blocks that counts its calls, and fails at one of them."""

    def __init__(self) -> None:
        self.calls: Counter[Index] = Counter()
        self.fails_at: Index | None = None
        self.error: BaseException = RuntimeError("source")
        self._lock = threading.Lock()

    def block(self, block: np.ndarray[Any, Any], block_id: Index = (0, 0)) -> np.ndarray[Any, Any]:
        with self._lock:
            self.calls[block_id] += 1
        if block_id == self.fails_at:
            raise self.error
        return block + 10 * block_id[0] + block_id[1]

    @property
    def array(self) -> Any:  # mypy knows nothing of the method that streamh5 adds
        return self.named("the-source")

    def named(self, name: str) -> Any:
        return da.ones((38, 29), chunks=10).map_blocks(
            self.block, dtype="f8", name=name, meta=np.empty((0, 0))
        )

    @property
    def values(self) -> np.ndarray[Any, Any]:
        i, j = np.indices((38, 29)) // 10
        return np.asarray(1.0 + 10 * i + j)


BLOCKS = [(i, j) for i in range(4) for j in range(3)]


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
@pytest.mark.parametrize("at", BLOCKS)
def test_error_in_any_block_is_raised_and_the_rest_is_not_computed_again(
    tmp_path: Path, at: Index, scheduler: str
) -> None:
    path, source = tmp_path / "out.h5", Source()
    source.fails_at = at
    pool = ThreadPoolExecutor(2)
    with dask.config.set(pool=pool), pytest.raises(RuntimeError, match="source"):
        source.array.to_fixed_h5(path, "/x", resume=True, scheduler=scheduler)
    pool.shutdown()  # waits for tasks that dask leaves running
    assert not path.exists()
    first = dict(source.calls)
    source.calls.clear()
    source.fails_at = None
    stored = n_stored(path, source)
    source.calls.clear()
    source.array.to_fixed_h5(path, "/x", resume=True, scheduler=scheduler)
    assert sum(source.calls.values()) == len(BLOCKS) - stored
    assert set(source.calls.values()) <= {1}
    assert scheduler == "threads" or len(first) + len(source.calls) == len(BLOCKS) + 1
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][...], source.values)
    tried("error in the source")


def n_stored(path: Path, source: Source) -> int:
    """Chunks that the interrupted write has."""
    if not Path(f"{path}.partial").exists():
        return 0
    error: Exception | None = None
    try:
        streamh5.File(path, "x").abort()
    except InterruptedWriteError as interrupted:
        error = interrupted
        return int(str(interrupted.facts["n_chunks"]))
    assert error is None
    return 0


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError("no room"), KeyboardInterrupt()])
def test_worker_that_dies_ends_the_write_and_it_is_resumed(tmp_path: Path, error: BaseException) -> None:
    path, source = tmp_path / "out.h5", Source()
    source.fails_at, source.error = (2, 1), error
    with pytest.raises(type(error)):
        source.array.to_fixed_h5(path, "/x", resume=True, scheduler="synchronous")
    source.fails_at = None
    source.array.to_fixed_h5(path, "/x", resume=True)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][...], source.values)
    tried("worker dies")


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError("no room")])
def test_thread_of_the_file_that_dies_is_an_error_at_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    from streamh5.filters.chain import FilterChain

    whole = FilterChain.encode_rows
    n = iter(range(100))

    def dying(self: FilterChain, rows: Any) -> Any:
        if next(n) == 3:
            raise error
        return whole(self, rows)

    path = tmp_path / "out.h5"

    def write() -> None:
        with streamh5.File(path, resume=True, threads=2) as file:
            x = file.create_dataset("x", (None, 10), "i4", chunks=(1, 10), compression="gzip")
            for i in range(x.n_appended, 20):
                x.append(np.full(10, i, "i4"))

    with monkeypatch.context() as patch:
        patch.setattr(FilterChain, "encode_rows", dying)
        with pytest.raises(type(error)):
            write()
    write()
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][:, 0], np.arange(20))
    tried("worker dies")


def test_thread_that_cannot_be_started_is_an_error_and_not_a_wait_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    file = streamh5.File(tmp_path / "out.h5")
    x = file.create_dataset("x", (4, 10), "i4", chunks=(1, 10), compression="gzip")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            x[0] = np.zeros(10, "i4")
    with pytest.raises(RuntimeError, match="new thread"):
        file.close()
    assert not list(tmp_path.iterdir())
    tried("worker dies")


def test_write_killed_at_its_close_computes_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamh5.sinks.local_file import LocalFileSink

    path, source = tmp_path / "out.h5", Source()

    def full(self: LocalFileSink, nbytes: int) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSink, "commit", full)
        with pytest.raises(OSError, match="no room"):
            source.array.to_fixed_h5(path, "/x", resume=True)
    source.calls.clear()
    source.array.to_fixed_h5(path, "/x", resume=True)
    assert not source.calls
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][...], source.values)


def interrupted(path: Path, **keywords: Any) -> Source:
    source = Source()
    source.fails_at = (3, 2)
    with pytest.raises(RuntimeError, match="source"):
        source.array.to_fixed_h5(path, "/x", resume=True, scheduler="synchronous", **keywords)
    source.fails_at = None
    return source


@pytest.mark.parametrize(
    ("what", "array", "keywords"),
    [
        ("dtype", lambda x: x.astype("f4"), {}),
        ("shape", lambda x: x[:30], {}),
        ("chunks", lambda x: x, {"chunks": (5, 10)}),
        ("filters", lambda x: x, {"compression": None}),
        ("filters", lambda x: x, {"compression_opts": 9}),
        ("filters", lambda x: x, {"shuffle": False}),
        ("filters", lambda x: x, {"fletcher32": True}),
        ("fillvalue", lambda x: x, {"fillvalue": 7}),
        ("track_order", lambda x: x, {"track_order": True}),
        ("source", lambda x: x + 1, {}),
        ("source", lambda x: x, {"resume_key": "another"}),
        ("libver", lambda x: x, {"libver": "v200"}),
        ("maxshape", lambda x: x, {"maxshape": (None, 29)}),
    ],
)
def test_resume_of_another_write_names_what_differs(
    tmp_path: Path, what: str, array: Any, keywords: dict[str, Any]
) -> None:
    path = tmp_path / "out.h5"
    source = interrupted(path)
    with pytest.raises(ResumeError, match=f"{what} was") as caught:
        array(source.array).to_fixed_h5(path, "/x", resume=True, **keywords)
    assert what in caught.value.facts["differing"]  # type: ignore[operator]
    source.calls.clear()
    source.array.to_fixed_h5(path, "/x", resume=True)  # nothing is lost by the mistake
    assert sum(source.calls.values()) == 1
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][...], source.values)
    tried("resume of another write")


def test_resume_from_another_source_says_what_can_still_be_done(tmp_path: Path) -> None:
    """However long the tokens and the paths are, and although no key was given to the interrupted write."""
    path = tmp_path / ("d" * 200) / "out.h5"
    path.parent.mkdir()
    source, dataset = Source(), "/" + "x" * 100
    source.fails_at = (3, 2)
    first, second = (source.named(f"random_sample-{digit * 32}") for digit in "12")
    with pytest.raises(RuntimeError):
        first.to_fixed_h5(path, dataset, resume=True, scheduler="synchronous")
    with pytest.raises(ResumeError) as caught:
        second.to_fixed_h5(path, dataset, resume=True, scheduler="synchronous")
    message, notes = str(caught.value), "".join(caught.value.__notes__)
    assert len(message) <= 300
    assert "/out.h5 is a different one: for /x" in message
    assert re.search(r", source was 'random_.{1,12}111' and is 'random_.{1,12}222'\. Salvage it ", message)
    assert (
        "(streamh5 salvage), or start again: mode 'w' (overwrite=True), no resume; and a resume_key="
        in message
    )
    assert "continue with resume=True and the original source, or turn it into a file" in notes
    with pytest.raises(ResumeError, match=r"dtype was .*\. Repeat the original call, or start again"):
        second.astype("f4").to_fixed_h5(path, dataset, resume=True, scheduler="synchronous")


def test_resume_without_a_dataset_that_is_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    source = interrupted(path)
    with pytest.raises(ResumeError, match="/x with 11 chunks"):
        source.array.to_fixed_h5(path, "/y", resume=True)
    source.calls.clear()
    source.array.to_fixed_h5(path, "/x", resume=True)
    assert sum(source.calls.values()) == 1
    with h5py.File(path) as file:
        assert list(file) == ["x"]
    tried("resume of another write")


def test_resume_key_stands_in_for_a_token_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    source = interrupted(path, resume_key="run 7")
    renamed = source.named("another-name")
    source.calls.clear()
    renamed.to_fixed_h5(path, "/x", resume=True, resume_key="run 7")
    assert sum(source.calls.values()) == 1


def test_interrupted_write_is_neither_resumed_nor_dropped_unasked(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    source = interrupted(path)
    with pytest.raises(InterruptedWriteError, match="11 chunks"):
        source.array.to_fixed_h5(path, "/x")
    source.calls.clear()
    with pytest.warns(streamh5.InterruptedWriteWarning, match="drops 11 chunks"):
        source.array.to_fixed_h5(path, "/x", overwrite=True)
    assert sum(source.calls.values()) == len(BLOCKS)


def end(file: streamh5.File, *, is_closed: bool) -> None:
    """Close the file, or give it up when its threads are done."""
    if is_closed:
        file.close()
    else:
        file.session.wait()
        file.suspend()


STREAM: dict[str, Any] = {"shape": (None, 4), "dtype": "i4", "chunks": (4, 4)}


def append(path: Path, stop: int, *, is_closed: bool, first: int | None = None, **keywords: Any) -> int:
    """Take the stream up and append rows up to `stop`; return where it was taken up."""
    file = streamh5.File(path, resume=True, threads=1)
    rows = file.create_dataset("rows", **{**STREAM, **keywords})
    start = rows.n_appended
    for i in range(start, stop):
        rows.append(np.full(4, i + 1 if first is None else first, "i4"))
    end(file, is_closed=is_closed)
    return start


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_stream_goes_on_after_its_last_whole_chunk(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "out.h5"
    assert append(path, 10, is_closed=False, compression=compression) == 0
    assert append(path, 11, is_closed=False, compression=compression) == 8
    assert append(path, 11, is_closed=False, compression=compression) == 8
    assert append(path, 12, is_closed=False, compression=compression) == 8
    assert append(path, 13, is_closed=True, compression=compression) == 12
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["rows"][:, 0], np.arange(13) + 1)


@pytest.mark.parametrize("shape", [(None, 4), (10, 4), (12, 4)])
def test_stream_that_failed_at_its_close_goes_on_without_padding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int | None, int]
) -> None:
    from streamh5.sinks.local_file import LocalFileSink

    def full(self: LocalFileSink, nbytes: int) -> None:
        raise OSError("no room")

    path = tmp_path / "out.h5"
    for _ in range(2):  # a second time: the padded chunk of the first is still in the file
        with monkeypatch.context() as patch:
            patch.setattr(LocalFileSink, "commit", full)
            with pytest.raises(OSError, match="no room"):
                append(path, 10, is_closed=True, shape=shape)
        assert append(path, 9, is_closed=False, shape=shape) == 8
    assert append(path, 10, is_closed=True, shape=shape) == 8
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["rows"][:10, 0], np.arange(10) + 1)
        assert len(file["rows"]) == (shape[0] or 10)


def test_chunks_behind_a_gap_do_not_come_back_when_the_gap_is_filled(tmp_path: Path) -> None:
    """A live source does not repeat itself: rows of an earlier run must not follow on new ones."""
    path = tmp_path / "out.h5"
    file = streamh5.File(path, resume=True, threads=1)
    rows = file.create_dataset("rows", **STREAM)
    rows.append(np.full((4, 4), 1, "i4"))
    for i in (3, 2, 1):  # threads finish out of order; the one of chunk 1 was killed
        if i > 1:
            rows.record(rows.write_block(np.full((4, 4), 1, "i4"), (4 * i, 0)))
    file.suspend()
    assert append(path, 8, is_closed=False, first=2) == 4
    assert append(path, 9, is_closed=True, first=3) == 8
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["rows"][:, 0], [1] * 4 + [2] * 4 + [3])


def test_checkpoint_right_after_a_resume_shows_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    append(path, 10, is_closed=False)
    with streamh5.File(path, resume=True) as file:
        file.create_dataset("rows", **STREAM)
        with h5py.File(file.checkpoint()) as read:
            np.testing.assert_array_equal(read["rows"][:, 0], np.arange(8) + 1)


def test_is_stored_is_refused_outside_the_dataset(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "out.h5") as file:
        grid = file.create_dataset("grid", (20, 20), "i4", chunks=(10, 10))
        grid[0:10, 0:10] = np.ones((10, 10), "i4")
        assert grid.is_stored((0, 0), (10, 10))
        assert not grid.is_stored((0, 0), (10, 20))
        for origin, shape in (((0, 20), (10, 10)), ((-10, 0), (10, 10)), ((0, 0), (10, 30)), ((0,), (10,))):
            with pytest.raises(BlockError):
                grid.is_stored(origin, shape)
        rows = file.create_dataset("rows", (None, 4), "i4", chunks=(1, 4))
        assert not rows.is_stored((10**6, 0), (1, 4))
        grid[...] = np.ones((20, 20), "i4")


def test_implicit_index_finds_its_chunks_again(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    values = np.arange(40).reshape(10, 4)
    for stop in (4, 7, 10):
        file = streamh5.File(path, resume=True)
        x = file.create_dataset("x", (10, 4), "i8", chunks=(1, 4), alloc_time="early")
        for i in range(stop):
            if not x.is_stored((i, 0), (1, 4)):
                assert i >= {4: 0, 7: 4, 10: 7}[stop]
                x[i] = values[i]
        file.close() if stop == 10 else file.suspend()
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["x"][...], values)


def test_strings_of_an_interrupted_write_are_there_after_it(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    texts = np.array([[f"text {i}-{j}" for j in range(3)] for i in range(6)], object)
    for stop in (3, 6):
        file = streamh5.File(path, resume=True)
        x = file.create_dataset("x", (6, 3), h5py.string_dtype(), chunks=(1, 3))
        for i in range(stop):
            if not x.is_stored((i, 0), (1, 3)):
                assert stop == 3 or i >= 3
                x[i] = texts[i]
        file.close() if stop == 6 else file.suspend()
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["x"].asstr()[...], texts)


@pytest.mark.parametrize("blocks", [(1, 1), (2, 3), (4, 1)])
def test_regions_are_written_where_they_are_missing(tmp_path: Path, blocks: tuple[int, int]) -> None:
    path = tmp_path / "out.h5"
    values = np.arange(40 * 30, dtype="i4").reshape(40, 30)
    regions = [(i, j) for i in range(0, 4, blocks[0]) for j in range(0, 3, blocks[1])]
    n_first = len(regions) // 2
    n_written = 0
    for is_last in (False, True):
        file = streamh5.File(path, resume=True, threads=2)
        x = file.create_dataset("x", (40, 30), "i4", chunks=(10, 10), compression="gzip")
        for n, (i, j) in enumerate(regions):
            shape = (10 * blocks[0], 10 * blocks[1])
            if (is_last or n < n_first) and not x.is_stored((10 * i, 10 * j), shape):
                region = (slice(10 * i, 10 * i + shape[0]), slice(10 * j, 10 * j + shape[1]))
                x[region] = values[region]
                n_written += 1
        end(file, is_closed=is_last)
    assert n_written == len(regions)
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["x"][...], values)


def test_entries_that_could_not_be_written_once_are_written_later(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    journal_inodes: list[int] = []

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "pwritev" and journal_inodes and os.fstat(arguments[0]).st_ino == journal_inodes[0]:
            journal_inodes.clear()
            raise OSError(errno.ENOSPC, "no room for a moment")

    with installed(Calls(before)):
        file = streamh5.File(path, resume=True, sync="batch")
        rows = file.create_dataset("rows", **STREAM)
        rows.append(np.full((4, 4), 1, "i4"))
        journal_inodes.append(Path(f"{path}.partial.journal").stat().st_ino)
        with pytest.raises(SinkError):
            file.checkpoint()
        rows.append(np.full((4, 4), 2, "i4"))
        file.suspend()
    assert append(path, 9, is_closed=True) == 8
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["rows"][:, 0], [1] * 4 + [2] * 4 + [9])


def test_chunk_half_rewritten_in_its_place_is_not_taken_for_stored(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    early: dict[str, Any] = {"shape": (2, 100), "dtype": "i4", "chunks": (1, 100), "alloc_time": "early"}
    is_armed = is_dead = False

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal is_dead
        if is_dead:
            raise OSError(errno.EIO, "the process is dead")
        if is_armed and name == "pwritev":
            is_dead = True
            half(name, arguments)
            raise Crash

    calls = Calls(before)
    with installed(calls):
        file = streamh5.File(path, resume=True)
        x = file.create_dataset("x", **early)
        x[...] = np.full((2, 100), 1, "i4")
        is_armed = True
        with pytest.raises(Crash):
            x[0] = np.full(100, 2, "i4")
        file.suspend()
    calls.bury()
    with streamh5.File(path, resume=True) as file:
        x = file.create_dataset("x", **early)
        assert not x.is_stored((0, 0), (1, 100))
        assert x.is_stored((1, 0), (1, 100))
        x[0] = np.full(100, 2, "i4")
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["x"][...], np.repeat([[2], [1]], 100, axis=1))


@pytest.mark.parametrize(("first", "is_kept"), [("close", False), ("none", False), ("batch", True)])
def test_failed_fsync_takes_back_claims_of_an_earlier_part_that_was_not_synced(
    tmp_path: Path, first: Any, is_kept: bool
) -> None:
    path = tmp_path / "out.h5"
    spec: dict[str, Any] = {"shape": (4, 100), "dtype": "i4", "chunks": (1, 100)}
    file = streamh5.File(path, resume=True, sync=first, threads=1)
    file.create_dataset("x", **spec)[0:2] = np.ones((2, 100), "i4")
    file.suspend()
    calls = failing(0, errno.EIO, names=("fsync",), is_lasting=True)
    with installed(calls):
        file = streamh5.File(path, resume=True, sync="batch", threads=1)
        x = file.create_dataset("x", **spec)
        x[2:4] = np.ones((2, 100), "i4")
        with pytest.raises(SinkError, match="fsync"):
            file.close()
    calls.bury()
    with streamh5.File(path, resume=True) as file:
        x = file.create_dataset("x", **spec)
        assert x.is_stored((0, 0), (2, 100)) == is_kept
        x[0:4] = np.ones((4, 100), "i4")
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["x"][...], np.ones((4, 100)))
