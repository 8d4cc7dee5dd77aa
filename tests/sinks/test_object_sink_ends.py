"""How a write to an object ends: at the limits of a part, by signals, in odd threads, with stores that refuse."""

from __future__ import annotations

import gc
import io
import itertools
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import fsspec.asyn
import fsspec.implementations.memory
import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.sinks import part_sender, part_sizes
from streamh5.sinks.object_sink import ObjectSink
from streamh5.stores import attempts, memory
from streamh5.stores.attempts import Attempts
from streamh5.stores.memory import MemoryStore
from streamh5.stores.upload import Upload
from tests.deadlock import DEADLOCK_SECONDS
from tests.stores.empty_memory import empty_memory
from tests.stores.servers import S3Server

URL = "memory://bucket/out.h5"
PART = 1 << 20


@pytest.fixture(autouse=True)
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """fsspec's memory, empty; parts are small, and pauses short."""
    monkeypatch.setattr(part_sizes, "PART_NBYTES", PART)
    monkeypatch.setattr(attempts, "ATTEMPTS", Attempts(first_seconds=0.001, max_seconds=0.001))
    with empty_memory() as system:
        yield system


def patched(monkeypatch: pytest.MonkeyPatch, name: str, before: Callable[[], Any]) -> None:
    """Call `before` before a request of the store."""
    method = getattr(MemoryStore, name)

    def request(self: MemoryStore, *args: Any, **kwargs: Any) -> Any:
        before()
        return method(self, *args, **kwargs)

    monkeypatch.setattr(MemoryStore, name, request)


def refuse(reason: Any) -> Callable[[], Any]:
    def raise_it() -> None:
        raise errors.StoreError(f"is {reason}", reason=reason)

    return raise_it


def begun() -> tuple[streamh5.File, Any]:
    """A write of which three parts have been sent."""
    file = streamh5.File(URL, "w")
    rows = file.create_dataset("a", (None, 1000), "f8", chunks=(100, 1000))
    rows.append(np.ones((500, 1000)))
    return file, rows


@pytest.mark.parametrize("nbytes", [1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 1])
@pytest.mark.parametrize("order", ["up", "down"])
def test_object_of_any_size_has_the_bytes_that_were_written(nbytes: int, order: str, system: Any) -> None:
    content = np.random.default_rng(nbytes).bytes(nbytes)
    for _ in range(5):
        sink = ObjectSink(MemoryStore(URL, {}), overwrite=True)
        cuts = [0, *(one for one in (40, 1000, PART - 7, PART + 5, 2 * PART) if one < nbytes), nbytes]
        pieces = [(start, content[start:stop]) for start, stop in itertools.pairwise(cuts)]
        for start, piece in reversed(pieces) if order == "down" else pieces:
            sink.write(start, [piece])
        sink.commit(nbytes)
        assert system.cat_file(URL) == content
        assert not memory._UPLOADS


def test_file_of_one_part_is_one_request(monkeypatch: pytest.MonkeyPatch, system: Any) -> None:
    patched(monkeypatch, "begin_upload", refuse("refused"))
    sink = ObjectSink(MemoryStore(URL, {}), overwrite=True)
    sink.write(100, [bytes(PART - 100)])
    sink.write(0, [b"x" * 100])
    sink.commit(PART)
    assert system.cat_file(URL) == b"x" * 100 + bytes(PART - 100)


def test_file_without_objects() -> None:
    streamh5.File(URL, "w").close()
    with streamh5.File(URL, "w") as file:
        file.create_dataset("empty", (0, 5), "f8")
    assert fsspec.filesystem("memory").size(URL) > 0


@pytest.mark.parametrize("where", ["send_part", "put of another", "loop of fsspec"])
def test_dropped_write_is_collected_wherever_that_happens(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_ended, is_dropped, has_collected = threading.Event(), threading.Event(), threading.Event()
    remove = ObjectSink._remove

    def noted(self: ObjectSink) -> None:
        remove(self)
        has_ended.set()

    def collect() -> None:
        if is_dropped.wait(60):
            gc.collect()
            has_collected.set()

    monkeypatch.setattr(ObjectSink, "_remove", noted)
    gc.collect()
    gc.disable()  # only one place collects
    try:
        if where == "send_part":
            patched(monkeypatch, "send_part", collect)
        handles: list[Any] = [*begun()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", streamh5.InterruptedWriteWarning)  # in another thread
            handles.clear()
            is_dropped.set()
            if where == "put of another":
                system = fsspec.implementations.memory.MemoryFileSystem
                monkeypatch.setattr(system, "pipe_file", lambda *_, **__: collect())
                other = threading.Thread(
                    target=MemoryStore("memory://bucket/b", {}).put,
                    args=(memoryview(b""),),
                    kwargs={"token": "", "if_absent": False},
                    daemon=True,
                )
                other.start()
            elif where == "loop of fsspec":
                fsspec.asyn.get_loop().call_soon_threadsafe(collect)
            assert has_ended.wait(60)
            assert has_collected.wait(60)
    finally:
        gc.enable()
    assert not memory._UPLOADS


def test_upload_that_stays_however_often_it_is_aborted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "abort_upload", lambda self, upload: None)
    file, _ = begun()
    with pytest.raises(ZeroDivisionError) as caught, file:
        _ = 1 / 0
    ((_, upload),) = memory._UPLOADS
    memory._UPLOADS.clear()
    assert any(upload in note for note in caught.value.__notes__)


@pytest.mark.parametrize("reason", ["denied", "refused"])
def test_write_needs_no_permission_to_list(reason: str, monkeypatch: pytest.MonkeyPatch, system: Any) -> None:
    for name in ("list_uploads", "list_parts"):
        patched(monkeypatch, name, refuse(reason))
    file, _ = begun()
    file.close()
    assert system.size(URL) > 4_000_000
    file, _ = begun()
    file.abort()


def test_second_interruption_while_parts_are_waited_for_removes_the_upload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, _ = begun()
    close = part_sender.PartSender.close

    def interrupted(self: part_sender.PartSender) -> None:
        close(self)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(part_sender.PartSender, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.abort()
    monkeypatch.undo()


def test_size_is_asked_for_without_a_lock_of_the_sink() -> None:
    sink = ObjectSink(MemoryStore(URL, {}), overwrite=True)

    def bound() -> int:
        if threading.current_thread() is threading.main_thread():
            other = threading.Thread(target=sink.write, args=(5000, [b"y"]), daemon=True)
            other.start()
            other.join(60)
            assert not other.is_alive()
        return 10_000

    sink.bound = bound
    sink.write(0, [b"x"])
    sink.commit(5001)


def test_waiting_upload_can_be_stopped_by_a_handler_at_any_moment() -> None:
    upload = Upload(MemoryStore(URL, {}), token="t", if_absent=False)
    n_stopped = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal n_stopped
        if "streamh5" in frame.f_code.co_filename or frame.f_code.co_filename == threading.__file__:
            sys.settrace(None)
            n_stopped += 1
            thread = threading.Thread(
                target=upload.stop_waiting, daemon=True
            )  # as a handler, which cannot wait
            thread.start()
            thread.join(5)
            assert not thread.is_alive()
            sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(errors.StateError):
            upload._wait(0.01)
    finally:
        sys.settrace(before)
    assert n_stopped


_EXIT = """
import sys, warnings
import numpy as np, streamh5
warnings.simplefilter("ignore")
file = streamh5.File(URL, "w", storage_options=OPTIONS)
rows = file.create_dataset("a", (None, 1 << 20), "u1", chunks=(1, 1 << 20))
for _ in range(34):
    rows.append(np.ones((1, 1 << 20), "u1"))
END
"""


@pytest.mark.parametrize("end", ["", "1 / 0"])
def test_process_that_ends_with_an_open_file_removes_the_upload(end: str, s3_server: S3Server) -> None:
    url = s3_server.url()
    # a name, which is looked up in a thread: Python starts none at the end of a process
    options = s3_server.options(endpoint_url=f"http://localhost:{s3_server.port}")
    code = _EXIT.replace("URL", repr(url)).replace("OPTIONS", repr(options)).replace("END", end)
    subprocess.run([sys.executable, "-c", code], timeout=120, check=False, stderr=subprocess.DEVNULL)
    from streamh5.stores.open_store import open_store

    store = open_store(url, s3_server.options())
    assert store.list_uploads() == []
    assert store.head() is None


def test_fork_of_a_process_that_writes_changes_nothing(s3_server: S3Server) -> None:
    url, options = s3_server.url(), s3_server.options()
    code = (
        _EXIT.replace("URL", repr(url))
        .replace("OPTIONS", repr(options))
        .replace(
            "END",
            "import os\nif os.fork() == 0:\n    sys.exit(0)\nassert os.wait()[1] == 0\n"
            'rows.append(np.ones((34, 1 << 20), "u1"))\nfile.close()\n',
        )
    )
    ended = subprocess.run([sys.executable, "-c", code], timeout=120, check=False, env=os.environ)
    assert ended.returncode == 0
    from streamh5.stores.open_store import open_store

    store = open_store(url, options)
    found = store.head()
    assert found is not None
    assert found.nbytes > 68 << 20
    assert store.list_uploads() == []


def write_four_rows(dataset: Any) -> None:
    for i in range(4):
        dataset[i : i + 1] = np.full((1, 1 << 17), i + 1.0)


@pytest.mark.parametrize(
    "error", [RuntimeError("can't start new thread"), MemoryError(), KeyboardInterrupt()]
)
def test_part_that_could_not_be_handed_over_is_sent_later(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, left = ThreadPoolExecutor.submit, [error]

    def failing(self: ThreadPoolExecutor, *args: Any) -> Any:
        if left:
            raise left.pop()
        return submit(self, *args)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", failing)
    f = streamh5.File(URL, "w")
    d = f.create_dataset("x", shape=(None, 1 << 17), dtype="f8", chunks=(1, 1 << 17), compression=None)
    with pytest.raises(type(error)):
        write_four_rows(d)
    assert not left
    write_four_rows(d)
    closing = threading.Thread(target=f.close)
    closing.start()
    closing.join(DEADLOCK_SECONDS)
    assert not closing.is_alive()
    with h5py.File(io.BytesIO(fsspec.filesystem("memory").cat_file(URL))) as there:
        assert there["x"][:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_no_part_is_made_of_zeros_that_was_handed_over() -> None:
    sink = ObjectSink(MemoryStore(URL, {}), overwrite=True)
    sink.write(0, [np.ones(3 * PART, np.uint8)])
    sink._sender.wait()
    del sink._sender.receipts[2]
    with pytest.raises(errors.StateError, match="part 2"):
        sink.commit(3 * PART)
    sink.abort()
