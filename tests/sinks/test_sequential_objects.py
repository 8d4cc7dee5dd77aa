"""File objects that are written from their beginning to their end: pipes, sockets, zip members, remote files."""

from __future__ import annotations

import bz2
import errno
import gc
import gzip
import io
import os
import resource
import socket
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import dask.array as da
import fsspec
import h5py
import numpy as np
import pytest
from fsspec.spec import AbstractBufferedFile

import streamh5
from streamh5 import errors
from streamh5.sinks import sequential_object
from tests.sinks.test_file_objects import DATA, WAYS, dask, stream
from tests.written import GZIP, no_thread_left


class Collected:
    """An object that notes what is written to it, and has nothing but the one method."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: Any) -> Any:
        self.pieces.append(bytes(data))
        return len(data)

    def content(self) -> bytes:
        return b"".join(self.pieces)


class ReturnsNothing(Collected):
    """As response objects of web frameworks do."""

    def write(self, data: Any) -> None:
        super().write(data)


class Raw(Collected, io.RawIOBase):
    """Takes a part of what it is given."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> Any:
        return super().write(data[:1000])


class Remote(AbstractBufferedFile):  # type: ignore[misc] # fsspec has no types
    """What fsspec's files of object stores are: parts are sent when the buffer is full, and at close."""

    def __init__(self) -> None:
        super().__init__(fsspec.filesystem("memory"), "memory://a.h5", "wb", block_size=10_000)

    def _initiate_upload(self) -> None:
        self.parts: list[bytes] = []

    def _upload_chunk(self, final: bool = False) -> bool:
        self.parts.append(self.buffer.getvalue())
        return True

    def content(self) -> bytes:
        self.close()
        return b"".join(self.parts)


@contextmanager
def into_zip(folder: Path) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("first", bytes(1000))
        member = archive.open("a.h5", "w")

        def content() -> bytes:
            member.close()
            return archive.read("a.h5")

        with member:
            yield member, content


@contextmanager
def compressed(module: Any, folder: Path) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    with module.open(folder / "a", "wb") as target:

        def content() -> bytes:
            target.close()
            with module.open(folder / "a") as file:
                found: bytes = file.read()
                return found

        yield target, content


@contextmanager
def drained(target: Any, read: Callable[[int], bytes]) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    """An end of a connection whose other end another thread reads."""
    found: list[bytes] = []

    def drain() -> None:
        while piece := read(1 << 16):
            found.append(piece)

    reader = threading.Thread(target=drain)
    reader.start()

    def content() -> bytes:
        target.close()
        reader.join(60)
        return b"".join(found)

    try:
        yield target, content
    finally:
        target.close()
        reader.join(60)


@contextmanager
def through_pipe(buffering: int) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    reader, writer = os.pipe()
    with open(reader, "rb", 0) as end, drained(open(writer, "wb", buffering), end.read) as given:
        yield given


@contextmanager
def through_socket(buffering: int, timeout: float | None) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    left, right = socket.socketpair()
    with right, left:
        left.settimeout(timeout)
        target = left.makefile("wb", buffering=buffering)
        left.close()  # the file keeps it open
        with drained(target, right.recv) as given:
            yield given


@contextmanager
def into_memory() -> Iterator[tuple[Any, Callable[[], bytes]]]:
    with fsspec.open("memory://sequential/a.h5", "wb") as target:

        def content() -> bytes:
            target.close()
            found: bytes = fsspec.filesystem("memory").cat_file("/sequential/a.h5")
            return found

        yield target, content


@contextmanager
def into(target: Any) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    yield target, target.content


OBJECTS: dict[str, Callable[[Path], Any]] = {
    "zip": into_zip,
    "gzip": lambda folder: compressed(gzip, folder),
    "bz2": lambda folder: compressed(bz2, folder),
    "pipe": lambda _: through_pipe(-1),
    "unbuffered pipe": lambda _: through_pipe(0),
    "socket": lambda _: through_socket(-1, None),
    "unbuffered socket": lambda _: through_socket(0, None),
    "socket with a timeout": lambda _: through_socket(0, 60.0),
    "fsspec": lambda _: into(Remote()),
    "fsspec memory": lambda _: into_memory(),
    "only write": lambda _: into(Collected()),
    "write returns nothing": lambda _: into(ReturnsNothing()),
    "short writes": lambda _: into(Raw()),
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Temporary files are made in a folder of the test, and none has a name or stays open."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert [*folder.iterdir()] == []
    assert [one for one in open_files() if str(folder / "#") in one] == []


def open_files() -> list[str]:
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(os.readlink(one))
    return found


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("how", WAYS)
def test_sequential_object_receives_what_h5py_reads(
    how: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequential_object, "COPIED_NBYTES", 3000)
    with OBJECTS[kind](tmp_path) as (target, content), no_thread_left():
        WAYS[how](target)
        with h5py.File(io.BytesIO(content())) as read:
            np.testing.assert_array_equal(read["x"][...], DATA)


@pytest.mark.parametrize("block_nbytes", [1, 7, 3344, 3345, 1 << 20])
def test_sequential_object_has_the_bytes_of_a_file_in_blocks(
    block_nbytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequential_object, "COPIED_NBYTES", block_nbytes)
    target = Collected()
    for one in (target, tmp_path / "a.h5"):
        with streamh5.File(one, threads=1) as file:  # type: ignore[arg-type]
            file.create_dataset("x", data=DATA[:3, :10])
            file.create_dataset("late", (1000, 1000), "f8", chunks=(10, 10))
    expected = (tmp_path / "a.h5").read_bytes()
    assert target.content() == expected
    assert max(map(len, target.pieces)) == min(block_nbytes, len(expected))
    assert len(target.pieces) == -(-len(expected) // block_nbytes)


def test_copy_of_a_large_file_is_cut_into_blocks() -> None:
    target = Collected()
    with streamh5.File(target) as file:  # type: ignore[arg-type]
        file.create_dataset("x", data=np.zeros(3 << 20))
    assert [len(piece) for piece in target.pieces[:-1]] == [sequential_object.COPIED_NBYTES] * 6


def test_space_that_nothing_was_written_to_is_zeros() -> None:
    target = Collected()
    with streamh5.File(target) as file:  # type: ignore[arg-type]
        file.create_dataset("x", (1000, 1000), "f8", chunks=(100, 100), alloc_time="early")
    with h5py.File(io.BytesIO(target.content())) as read:
        assert not read["x"][...].any()


def test_file_begins_where_the_object_stands() -> None:
    target = Remote()
    target.write(b"before")
    dask(target)
    content = target.content()
    assert content.startswith(b"before")
    with h5py.File(io.BytesIO(content[len(b"before") :])) as read:
        np.testing.assert_array_equal(read["x"][...], DATA)


@pytest.mark.parametrize("how", ["exception", "abort", "dropped", "dask"])
def test_nothing_is_written_to_the_object_after_a_failure(how: str) -> None:
    target: Any = Collected()
    if how == "dask":
        bad = da.zeros((4, 4), chunks=(1, 4)).map_blocks(
            lambda block: 1 / 0 if block.size else block, meta=DATA
        )
        with pytest.raises(ZeroDivisionError):
            streamh5.to_fixed_h5(target, "/x", bad)
    elif how == "exception":
        with pytest.raises(errors.BlockError), streamh5.File(target) as file:
            file.create_dataset("x", data=DATA)[0:1] = object()
    else:
        file = streamh5.File(target)
        file.create_dataset("x", data=DATA, chunks=(1, 100))
        if how == "abort":
            file.abort()
        else:
            del file
            with pytest.warns(streamh5.InterruptedWriteWarning):
                gc.collect()
    assert target.pieces == []


def test_temporary_file_has_no_name_while_it_is_written(own_folder: Path) -> None:
    with streamh5.File(Collected()) as file:  # type: ignore[arg-type]
        file.create_dataset("x", data=DATA, chunks=(1, 100))
        assert [*own_folder.iterdir()] == []
        assert len([one for one in open_files() if str(own_folder / "#") in one]) == 1


class Failing(Collected):
    """Answers with `answer` from a call on."""

    def __init__(self, answer: Any, n_good: int = 0, at: str = "write") -> None:
        super().__init__()
        self.answer, self.n_good, self.at = answer, n_good, at

    def _answer(self) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def write(self, data: Any) -> Any:
        if self.at == "write" and len(self.pieces) == self.n_good:
            return self._answer()
        return super().write(data)

    def flush(self) -> None:
        if self.at == "flush":
            self._answer()


class FailingRaw(Failing, io.RawIOBase):
    def writable(self) -> bool:
        return True


ANSWERS: dict[str, tuple[Callable[[], Collected], str]] = {
    "error": (lambda: Failing(OSError(errno.ENOSPC, "disk of the object")), "disk of the object"),
    "later": (
        lambda: Failing(BrokenPipeError(errno.EPIPE, "Broken pipe"), 2),
        "after 6,000 of .* Broken pipe",
    ),
    "another error": (lambda: Failing(RuntimeError("connection lost")), "connection lost"),
    "no text": (lambda: Failing(TimeoutError()), "TimeoutError"),
    "flush": (lambda: Failing(OSError(errno.EIO, "late"), at="flush"), "late"),
    "zero": (lambda: Failing(0), "returned 0"),
    "too much": (lambda: Failing(1 << 40), "returned 1099511627776"),
    "negative": (lambda: Failing(-1), "returned -1"),
    "text": (lambda: Failing("all"), "returned 'all'"),
    "would block": (lambda: FailingRaw(None), "returned None"),
    "long": (lambda: Failing(RuntimeError("x" * 5000)), "xxx"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_failure_of_the_object_is_ours_and_names_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential_object, "COPIED_NBYTES", 3000)
    make, text = ANSWERS[kind]
    target: Any = make()
    with pytest.raises(errors.SinkError, match=text) as caught:
        stream(target, "w")
    assert f"<{type(target).__name__}>" in str(caught.value)
    assert "TMPDIR" not in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_interruption_of_the_copy_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt):
        stream(Failing(KeyboardInterrupt()))


def test_abort_in_the_middle_of_the_copy_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential_object, "COPIED_NBYTES", 3000)

    class Aborting(Collected):
        def write(self, data: Any) -> Any:
            if len(self.pieces) == 1:
                sink.abort()  # as a signal handler does
            return super().write(data)

    target: Any = Aborting()
    sink = sequential_object.SequentialObjectSink(target)
    sink.write(0, [bytes(10_000)])
    with pytest.raises(errors.StateError, match="after 6,000 of 10,000 bytes"):
        sink.commit(10_000)
    assert len(target.pieces) == 2
    sink.abort()


def test_full_disk_of_the_temporary_file_says_where_and_what_to_do(own_folder: Path) -> None:
    target: Any = Collected()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(errors.SinkError, match="TMPDIR") as caught, streamh5.File(target) as file:
            file.create_dataset("x", data=DATA, chunks=(8, 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(own_folder)[:80] in str(caught.value)
    assert caught.value.errno == errno.EFBIG
    assert len(str(caught.value)) <= 300
    assert target.pieces == []


def test_missing_folder_for_temporary_files_is_found_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(errors.SinkError, match="TMPDIR"):
        streamh5.File(Collected())  # type: ignore[arg-type]


def test_chunks_that_receive_more_elements_are_read_back() -> None:
    target: Any = Collected()
    values = np.arange(1000 * 1000, dtype="f8").reshape(1000, 1000)
    with streamh5.File(target, max_memory=1 << 20) as file:
        x = file.create_dataset("x", (1000, 1000), "f8", chunks=(100, 100), **GZIP)
        for start in range(0, 1000, 50):
            x[:, start : start + 50] = values[:, start : start + 50]
    assert file.summary is not None
    assert file.summary.datasets[0].n_rewritten > 0  # they were stored in part, and read
    with h5py.File(io.BytesIO(target.content())) as read:
        np.testing.assert_array_equal(read["x"][...], values)


def test_sequential_object_has_one_state(tmp_path: Path) -> None:
    with streamh5.File(Collected(), "a") as file:  # type: ignore[arg-type]
        with pytest.raises(errors.SinkError, match="flushed"):
            file.flush()
        with pytest.raises(errors.SinkError, match="checkpoint"):
            file.checkpoint(tmp_path / "snapshot.h5")
    calls: list[Callable[[Any], Any]] = [
        lambda target: streamh5.File(target, "r+"),
        lambda target: streamh5.File(target, resume=True),
        lambda target: streamh5.File(target, references=tmp_path / "a.json"),
    ]
    for call in calls:
        with pytest.raises(errors.SpecError):
            call(Collected())


def test_object_is_left_open_and_not_asked_before_the_end(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.h5", "b.h5"):
            with closing(archive.open(name, "w")) as member:
                write: Any = streamh5.to_fixed_h5(member, "/x", da.from_array(DATA), compute=False)
                write.compute()
                assert not member.closed
                member.write(b"after")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, h5py.File(io.BytesIO(archive.read("b.h5"))) as read:
        np.testing.assert_array_equal(read["x"][...], DATA)
