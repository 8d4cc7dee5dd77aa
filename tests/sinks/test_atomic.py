"""However a write ends, the destination holds the old file or the complete new one, and nothing lies beside it."""

from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import streamh5
from streamh5 import errors
from streamh5.filters import deflate
from streamh5.sinks.local_file import LocalFileSink
from streamh5.sinks.memory import MemorySink
from tests.deadlock import press_ctrl_c
from tests.written import GZIP, no_thread_left, traces

OLD = b"the old file, whatever it was"


class Boom(Exception):
    """What goes wrong in these tests."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    path.write_bytes(OLD)
    return path


def assert_untouched(path: Path, *, is_stream: bool = False) -> None:
    """The old file is as it was; a stream may have left what it had stored, a computed write nothing."""
    kept = [f"{path.name}.partial", f"{path.name}.partial.journal"] if is_stream else []
    assert traces(path.parent) in ([path.name], [path.name, *kept])
    assert path.read_bytes() == OLD


def failing_source(at: int, error: BaseException) -> Any:
    def source(block: NDArray[Any], block_id: Any = None) -> Any:
        if block_id[0] == at:
            raise error
        return block + block_id[0]

    return da.zeros((40, 1000), chunks=(1, 1000)).map_blocks(source, dtype="f8", meta=np.empty((0, 0)))


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
@pytest.mark.parametrize("at", [0, 1, 20, 39])
def test_exception_in_the_source_leaves_the_old_file(at: int, scheduler: str, old: Path) -> None:
    with no_thread_left(), pytest.raises(Boom, match="own words") as caught:
        failing_source(at, Boom("own words")).to_fixed_h5(old, "/x", overwrite=True, scheduler=scheduler)
    assert_untouched(old)
    assert any("/x" in note and "a.h5" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_interrupt_in_the_source_leaves_the_old_file(
    scheduler: str, error: type[BaseException], old: Path
) -> None:
    with no_thread_left(), pytest.raises(error):
        failing_source(7, error()).to_fixed_h5(old, "/x", overwrite=True, scheduler=scheduler)
    assert_untouched(old)


@pytest.mark.parametrize("overwrite", [False, True])
def test_write_after_a_failed_one_is_complete(overwrite: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(Boom):
        failing_source(20, Boom()).to_fixed_h5(path, "/x", overwrite=overwrite)
    assert traces(tmp_path) == []
    failing_source(99, Boom()).to_fixed_h5(path, "/x", overwrite=overwrite)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][:, 0], np.arange(40.0))
    assert traces(tmp_path) == ["a.h5"]


def filling(file: streamh5.File, **keywords: Any) -> None:
    dataset = file.create_dataset("x", (40, 1000), "f8", chunks=(1, 1000), **(keywords or GZIP))
    for i in range(40):
        dataset.append(np.full(1000, i))


def filled(path: Path | LocalFileSink, **keywords: Any) -> None:
    with streamh5.File(path, "w") as file:
        filling(file, **keywords)


WAYS: dict[str, Callable[[Path], None]] = {
    "file": filled,
    "dask": lambda path: failing_source(99, Boom()).to_fixed_h5(path, "/x", overwrite=True),
}


@pytest.mark.parametrize("k", [0, 1, 20, 39])
@pytest.mark.parametrize("how", ["file", "dask"])
def test_exception_in_a_filter_leaves_the_old_file(
    how: str, k: int, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, lock = [0], threading.Lock()

    def encode(chunk: Any) -> bytes:
        with lock:
            calls[0] += 1
            if calls[0] == k + 1:
                raise Boom
        return zlib.compress(bytes(chunk))

    monkeypatch.setattr(deflate, "deflate_encoder", lambda level: encode)
    with no_thread_left(), pytest.raises(Boom):
        WAYS[how](old)
    assert_untouched(old, is_stream=how == "file")


class FaultySystem:
    """The system calls of `os`, of which the k-th of one name fails."""

    def __init__(self, name: str, k: int, error: BaseException) -> None:
        self._name, self._k, self._error = name, k, error
        self._lock = threading.Lock()
        self.n_calls = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name != self._name:
            return real

        def call(*args: Any, **keywords: Any) -> Any:
            with self._lock:
                self.n_calls += 1
                fails = self.n_calls == self._k
            if fails:
                raise self._error
            return real(*args, **keywords)

        return call


FAULTS = [
    *(("pwritev", k) for k in (1, 2, 3, 5, 30, 60, 80)),
    *(("fsync", k) for k in (1, 2)),
    ("ftruncate", 1),
    ("replace", 1),
]


@pytest.mark.parametrize(("name", "k"), FAULTS)
@pytest.mark.parametrize("keywords", [{"shuffle": False}, GZIP], ids=["raw", "gzip"])
def test_fault_of_the_disk_at_any_call_leaves_the_old_file(
    keywords: dict[str, Any], name: str, k: int, old: Path
) -> None:
    system = FaultySystem(name, k, OSError(28, "No space left on device"))
    with no_thread_left(), pytest.raises(errors.SinkError, match=r"a\.h5.*No space left") as caught:
        filled(LocalFileSink(old, overwrite=True, system=system), **keywords)
    if (name, k) == ("fsync", 2):  # of the directory, after the rename: the new file is there, complete
        assert traces(old.parent) == ["a.h5"]
        with h5py.File(old) as found:
            np.testing.assert_array_equal(found["x"][:, 0], np.arange(40.0))
        return
    assert caught.value.errno == 28
    assert system.n_calls >= k
    assert_untouched(old, is_stream=True)


@pytest.mark.parametrize("name", ["pwritev", "fsync", "replace", "ftruncate"])
def test_interrupt_in_any_system_call_leaves_the_old_file(name: str, old: Path) -> None:
    system = FaultySystem(name, 3 if name == "pwritev" else 1, KeyboardInterrupt())
    with no_thread_left(), pytest.raises(KeyboardInterrupt):
        filled(LocalFileSink(old, overwrite=True, system=system))
    assert_untouched(old, is_stream=True)


class ShortSystem:
    """System calls that write less than they are given, as they may."""

    def __init__(self, most: int) -> None:
        self._most = most

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pwritev(self, fd: int, buffers: Any, address: int) -> int:
        piece = b"".join(bytes(b) for b in buffers)[: self._most]
        return os.pwrite(fd, piece, address)

    def pwrite(self, fd: int, piece: Any, address: int) -> int:
        return os.pwrite(fd, bytes(piece)[: self._most], address)


@pytest.mark.parametrize("most", [1, 7, 4096])
def test_short_writes_are_continued(most: int, tmp_path: Path) -> None:
    data = np.arange(2000, dtype="i2").reshape(20, 100)
    path = tmp_path / "a.h5"
    with streamh5.File(LocalFileSink(path, overwrite=False, system=ShortSystem(most))) as file:
        file.create_dataset("x", data=data, chunks=(3, 7))
        file.create_dataset("y", data=data, chunks=(20, 100), **GZIP)
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][()], data)
        np.testing.assert_array_equal(found["y"][()], data)


class FailingSink(MemorySink):
    """A sink whose k-th write fails, or whose commit does."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self._k = k
        self.n_writes = 0
        self.ended = ""

    def write(self, address: int, buffers: Any) -> None:
        self.n_writes += 1
        if self.n_writes == self._k:
            raise Boom
        super().write(address, buffers)

    def commit(self, nbytes: int) -> None:
        if self._k == 0:
            raise Boom
        self.ended = "committed"

    def abort(self) -> None:
        self.ended = "aborted"


def test_failure_of_every_single_write_of_a_sink_ends_in_abort() -> None:
    def write(sink: FailingSink) -> None:
        with streamh5.File(sink, threads=1) as file:
            filling(file)
            file.create_dataset("scalar", data=5).attrs["text"] = "in the heap"

    whole = FailingSink(-1)
    write(whole)
    assert whole.ended == "committed"
    for k in range(whole.n_writes + 1):
        sink = FailingSink(k)
        with no_thread_left(), pytest.raises(Boom):
            write(sink)
        assert sink.ended == "aborted", k


def test_exception_in_the_with_block_leaves_the_old_file(old: Path) -> None:
    def write() -> None:
        with streamh5.File(old, "w") as file:
            filling(file)
            raise Boom

    with no_thread_left(), pytest.raises(Boom):
        write()
    assert_untouched(old, is_stream=True)


def test_file_that_is_dropped_without_close_leaves_the_old_file(old: Path) -> None:
    def drop() -> None:
        file = streamh5.File(old, "w")
        filling(file)
        file.session.wait()

    drop()
    with pytest.warns(streamh5.InterruptedWriteWarning):
        gc.collect()
    assert_untouched(old, is_stream=True)


def test_error_of_the_first_block_is_raised_by_a_later_call(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deflate, "deflate_encoder", lambda level: lambda chunk: 1 / 0)
    file = streamh5.File(old, "w")
    dataset = file.create_dataset("x", (None, 1000), "f8", chunks=(1, 1000), **GZIP)

    def append() -> None:
        while True:
            dataset.append(np.zeros(1000))

    with pytest.raises(ZeroDivisionError):
        append()
    with pytest.raises(ZeroDivisionError):
        file.close()
    with pytest.raises(errors.StateError):
        file.close()
    assert_untouched(old, is_stream=True)


def test_second_writer_of_one_destination_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    first = streamh5.File(path)
    dataset = first.create_dataset("x", (4,), "i4", chunks=(2,))
    dataset[0:2] = 1
    before = traces(tmp_path)
    for mode in ("x", "w"):
        with pytest.raises(errors.DestinationBusyError, match=r"open in this process since \d\d:.*abort"):
            streamh5.File(path, mode)
    with pytest.raises(errors.DestinationBusyError):
        streamh5.to_fixed_h5(path, "/x", da.ones(4, chunks=2))
    assert traces(tmp_path) == before
    dataset[2:4] = 2
    first.close()
    assert traces(tmp_path) == ["a.h5"]
    with h5py.File(path) as file:
        assert file["x"][()].tolist() == [1, 1, 2, 2]


def test_writers_in_many_threads_have_one_winner_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    n_busy, problems = [0], []

    def write(value: int) -> None:
        for _ in range(20):
            try:
                with streamh5.File(path, "w") as file:
                    file.create_dataset("x", data=np.full(64, value), chunks=(8,))
            except errors.DestinationBusyError:
                n_busy[0] += 1
            except BaseException as error:
                problems.append(error)
                raise

    threads = [threading.Thread(target=write, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert traces(tmp_path) == ["a.h5"]
    with h5py.File(path) as file:
        assert len(set(file["x"][()].tolist())) == 1


def test_file_that_appears_meanwhile_is_not_replaced_and_the_write_can_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    file = streamh5.File(path, "x")
    filling(file)
    path.write_bytes(OLD)
    with no_thread_left(), pytest.raises(errors.DestinationExistsError, match="overwrite") as caught:
        file.close()
    assert path.read_bytes() == OLD
    assert any("resume=True" in note for note in caught.value.__notes__)
    path.unlink()
    with streamh5.File(path, resume=True) as again:
        dataset = again.create_dataset("x", (40, 1000), "f8", chunks=(1, 1000), **GZIP)
        assert dataset.n_appended == 40
    assert traces(tmp_path) == ["a.h5"]
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][:, 0], np.arange(40.0))


def test_file_that_appears_meanwhile_is_not_replaced_by_dask(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"

    def source(block: NDArray[Any]) -> NDArray[Any]:
        path.write_bytes(OLD)
        return block

    x = da.ones((8,), chunks=(4,)).map_blocks(source, dtype="f8", meta=np.empty(0))
    with pytest.raises(errors.DestinationExistsError):
        streamh5.to_fixed_h5(path, "/x", x)
    assert path.read_bytes() == OLD


def test_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "target.h5"
    target.write_bytes(OLD)
    link = tmp_path / "a.h5"
    link.symlink_to(target)
    with pytest.raises(errors.DestinationExistsError):
        streamh5.File(link, "x")
    with streamh5.File(link, "w") as file:
        filling(file)
    assert link.is_symlink()
    assert traces(tmp_path / "real") == ["target.h5"]
    with h5py.File(target) as found:
        assert found["x"].shape == (40, 1000)


def test_symbolic_link_to_nowhere_makes_its_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "a.h5"
    link.symlink_to(tmp_path / "real" / "target.h5")
    streamh5.to_fixed_h5(link, "/x", da.ones(4, chunks=2))
    assert link.is_symlink()
    assert traces(tmp_path / "real") == ["target.h5"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_permissions_of_the_replaced_file_are_kept(mode: int, old: Path) -> None:
    old.chmod(mode)
    with streamh5.File(old, "w") as file:
        filling(file)
    assert stat.S_IMODE(old.stat().st_mode) == mode


def test_new_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with streamh5.File(tmp_path / "a.h5"):
            pass
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.h5").stat().st_mode) == 0o640


def test_reader_of_the_old_file_sees_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        file.create_dataset("x", data=np.full(1000, 1), chunks=(10,))
    with h5py.File(path) as reader:
        with streamh5.File(path, "w") as file:
            file.create_dataset("x", data=np.full(1000, 2), chunks=(10,))
        assert reader["x"][()].tolist() == [1] * 1000
    with h5py.File(path) as reader:
        assert reader["x"][()].tolist() == [2] * 1000


def test_destination_is_invisible_until_close(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        filling(file)
        file.session.wait()
        assert not path.exists()
    assert path.exists()


@pytest.mark.parametrize("finish", ["close", "abort"])
def test_end_twice_is_harmless(finish: str, tmp_path: Path) -> None:
    file = streamh5.File(tmp_path / "a.h5")
    filling(file)
    first = getattr(file, finish)()
    assert getattr(file, finish)() is first
    file.abort()
    assert traces(tmp_path) == (["a.h5"] if finish == "close" else [])


CTRL_C = """
import signal, sys, threading, time
import dask.array as da, numpy as np, streamh5

interrupted = threading.Event()

def interrupt(*arguments):
    if not interrupted.is_set():
        interrupted.set()
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupt)

def slow(block, block_id=None):
    if block_id == (30,):
        print("working", flush=True)
    if block_id >= (30,):
        time.sleep(3600) if threading.current_thread() is threading.main_thread() else interrupted.wait()
    return block

def dask(path):
    x = da.zeros(50_000, chunks=100).map_blocks(slow, dtype="f8", meta=np.empty(0))
    x.to_fixed_h5(path, "/x", overwrite=True)

def stream(path):
    with streamh5.File(path, "w") as f:
        d = f.create_dataset("x", (None, 100), "f8", chunks=(1, 100), compression="gzip")
        for i in range(100_000):
            d.append(slow(np.zeros(100), (i,)))

{"dask": dask, "stream": stream}[sys.argv[1]](sys.argv[2])
"""


@pytest.mark.parametrize("how", ["dask", "stream"])
def test_ctrl_c_leaves_the_old_file_and_ends_the_process(how: str, old: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, how, str(old)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    assert "a.h5.partial" in traces(old.parent)
    _, said = press_ctrl_c(process)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said
    assert_untouched(old, is_stream=how == "stream")


@pytest.mark.filterwarnings("ignore::streamh5.InterruptedWriteWarning")  # there may be chunks
def test_killed_process_leaves_the_old_file_and_the_next_write_replaces_it(old: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, "stream", str(old)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.kill()
    process.communicate()
    assert old.read_bytes() == OLD
    with streamh5.File(old, "w") as file:
        filling(file)
    assert traces(old.parent) == ["a.h5"]
    with h5py.File(old) as found:
        np.testing.assert_array_equal(found["x"][:, 0], np.arange(40.0))


def test_late_worker_cannot_write_after_the_end(tmp_path: Path) -> None:
    sink = LocalFileSink(tmp_path / "a.h5", overwrite=False)
    sink.restart()
    sink.write(0, [b"12345678"])
    ends: list[Callable[[], None]] = [lambda: sink.commit(8), sink.abort]
    ends[0]()
    for _ in range(2):
        with pytest.raises(errors.StateError):
            sink.write(0, [b"late"])
        with pytest.raises(errors.StateError):
            sink.commit(8)
        ends[1]()
    assert (tmp_path / "a.h5").read_bytes() == b"12345678"
