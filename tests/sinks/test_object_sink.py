"""One object of an object store as destination: `streamh5.sinks.object_sink`."""

from __future__ import annotations

import gc
import io
import time
from collections.abc import Iterator
from typing import Any

import dask.array as da
import fsspec
import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.sinks import part_sizes
from streamh5.sinks.object_sink import ObjectSink
from streamh5.sinks.part_sizes import PartSizes
from streamh5.stores import memory
from streamh5.stores.base import PartLimits
from streamh5.stores.memory import MemoryStore

URL = "memory://bucket/out.h5"


@pytest.fixture(autouse=True)
def system() -> Iterator[Any]:
    """fsspec's memory, which is one for all tests of a process."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()
    assert not memory._UPLOADS, "an upload was left"


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_sizes, "PART_NBYTES", 1 << 20)


def opened(url: str = URL) -> h5py.File:
    return h5py.File(io.BytesIO(fsspec.filesystem("memory").cat_file(url)), "r")


@pytest.mark.parametrize("compression", ["gzip", None])
def test_dask_array_becomes_an_object_of_parts(compression: Any, small_parts: None) -> None:
    x = da.random.default_rng(1).random((600, 1000), chunks=(50, 1000))
    summary = x.to_fixed_h5(URL, "/x", compression=compression)
    with opened() as f:
        np.testing.assert_array_equal(f["x"][...], x.compute())
    assert summary.path == URL
    assert summary.file_nbytes == fsspec.filesystem("memory").size(URL)


def test_rows_of_unknown_number(small_parts: None) -> None:
    with streamh5.File(URL, "w") as f:
        d = f.create_dataset("a", shape=(None, 1000), dtype="f8", chunks=(10, 1000), compression=None)
        for i in range(57):
            d.append(np.full((7, 1000), i, float))
        f.attrs["late"] = "x" * 2000
    with opened() as f:
        np.testing.assert_array_equal(f["a"][:, 5], np.repeat(np.arange(57.0), 7))
        assert f.attrs["late"] == "x" * 2000


def test_text_of_variable_length_lies_in_the_parts(small_parts: None) -> None:
    words = np.array([f"word {i}" * 40 for i in range(5000)], object)
    with streamh5.File(URL, "w") as f:
        f.create_dataset("t", shape=words.shape, dtype=h5py.string_dtype(), chunks=(500,))[...] = words
    with opened() as f:
        assert list(f["t"].asstr()[...]) == list(words)


@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_object_that_is_there(mode: str, system: Any) -> None:
    system.pipe_file(URL, b"old")
    if mode == "w":
        with streamh5.File(URL, mode) as f:
            f["x"] = [1]
        assert list(opened()["x"]) == [1]
        return
    expected = errors.DestinationExistsError if mode == "x" else errors.SpecError
    with pytest.raises(expected, match="exists"):
        streamh5.File(URL, mode)
    with pytest.raises(expected, match="exists"):
        streamh5.to_fixed_h5(URL, "/x", da.ones(3), mode=mode, compute=False)
    assert system.cat_file(URL) == b"old"


def test_object_that_appears_meanwhile_is_not_replaced(system: Any, small_parts: None) -> None:
    f = streamh5.File(URL, "x")
    d = f.create_dataset("a", shape=(None, 1000), dtype="f8", chunks=(100, 1000), compression=None)
    d.append(np.ones((500, 1000)))
    system.pipe_file(URL, b"another")
    with pytest.raises(errors.DestinationExistsError):
        f.close()
    assert system.cat_file(URL) == b"another"


def drop(handles: list[Any]) -> None:
    handles.clear()
    gc.collect()


@pytest.mark.parametrize("end", ["abort", "error", "drop", "suspend"])
def test_write_that_does_not_end_leaves_nothing(end: str, system: Any, small_parts: None) -> None:
    system.pipe_file(URL, b"old")
    f = streamh5.File(URL, "w")
    d = f.create_dataset("a", shape=(None, 1000), dtype="f8", chunks=(100, 1000), compression=None)
    d.append(np.ones((500, 1000)))
    f.session.sink._sender.wait()  # type: ignore[attr-defined]
    assert memory._UPLOADS
    if end == "abort":
        f.abort()
    elif end == "error":
        with pytest.raises(ZeroDivisionError), f:
            _ = 1 / 0
    elif end == "suspend":  # there is no journal
        f.suspend()
    else:
        handles: list[Any] = [f, d]
        del f, d
        with pytest.warns(streamh5.InterruptedWriteWarning):
            drop(handles)
    assert system.cat_file(URL) == b"old"


def test_part_that_cannot_be_sent_ends_the_write(
    monkeypatch: pytest.MonkeyPatch, system: Any, small_parts: None
) -> None:
    def refuse(self: MemoryStore, upload: str, number: int, content: memoryview) -> Any:
        raise errors.StoreError("no room", reason="refused")

    monkeypatch.setattr(MemoryStore, "send_part", refuse)
    with pytest.raises(errors.SinkError, match=r"part \d.*no room"):
        da.ones((600, 1000), chunks=(50, 1000)).to_fixed_h5(URL, "/x", compression=None)
    assert not system.exists(URL)


def test_upload_that_cannot_be_removed_is_named(monkeypatch: pytest.MonkeyPatch, small_parts: None) -> None:
    def refuse(self: MemoryStore, upload: str) -> None:
        raise errors.StoreError("not now", reason="denied")

    monkeypatch.setattr(MemoryStore, "abort_upload", refuse)
    f = streamh5.File(URL, "w")
    d = f.create_dataset("a", shape=(None, 1000), dtype="f8", chunks=(100, 1000), compression=None)
    d.append(np.ones((500, 1000)))
    f.session.sink._sender.wait()  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError) as caught, f:
        _ = 1 / 0
    ((_, upload),) = memory._UPLOADS
    memory._UPLOADS.clear()
    assert any(upload in note and "abort-upload" in note for note in caught.value.__notes__)


def test_fixed_addresses_are_refused() -> None:
    f = streamh5.File(URL, "w")
    with pytest.raises(errors.SpecError, match="alloc_time"), f:
        f.create_dataset("a", shape=(100,), dtype="f8", chunks=(10,), alloc_time="early")


def test_small_file_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: MemoryStore, token: str) -> str:
        raise AssertionError("an upload has begun")

    monkeypatch.setattr(MemoryStore, "begin_upload", never)
    da.ones((100, 100), chunks=10).to_fixed_h5(URL, "/x")
    assert opened()["x"][5, 5] == 1


@pytest.mark.parametrize("bound", [None, 0, 1 << 20, 100 << 30, 5 << 40, 39 << 40, 41 << 40, 1 << 60])
def test_part_sizes_hold_the_largest_file(bound: int | None) -> None:
    limits = PartLimits()
    sizes = PartSizes(limits, bound)
    is_known = bound is not None and bound < 40 << 40
    assert sizes.max_nbytes >= max(5 << 40, bound if is_known and bound else 0)
    last = sizes.at(sizes.max_nbytes - 1)
    assert (last.number, last.stop) == (limits.max_number, sizes.max_nbytes)
    assert all(limits.min_nbytes <= nbytes <= limits.max_nbytes for _, _, nbytes in sizes.steps)
    for number, start, nbytes in sizes.steps:
        assert sizes.at(start) == (number, start, start + nbytes)
        if start:
            assert sizes.at(start - 1)[::2] == (number - 1, start)
    if is_known and bound is not None:
        assert sizes.at(max(bound, 1) - 1).number <= 0.8 * limits.max_number
    with pytest.raises(errors.LimitError, match="parts do not hold"):
        sizes.at(sizes.max_nbytes)


LIMIT = 6 + 8
"""Parts: six, and what 24 threads that waited together fill."""


@pytest.mark.parametrize("threads", [2, 24])
def test_parts_in_memory_are_few(monkeypatch: pytest.MonkeyPatch, small_parts: None, threads: int) -> None:
    monkeypatch.setattr("streamh5.sinks.part_sender.SENT_NBYTES", 6 << 20)
    most = 0
    send = MemoryStore.send_part

    def counted(self: MemoryStore, upload: str, number: int, content: memoryview) -> Any:
        nonlocal most
        end = time.monotonic() + 0.2  # time enough for the writing threads to fill more, if nobody stops them
        while time.monotonic() < end and len(sink._parts.items()) <= LIMIT:
            time.sleep(0.01)
        most = max(most, len(sink._parts.items()))
        return send(self, upload, number, content)

    monkeypatch.setattr(MemoryStore, "send_part", counted)
    noise = np.random.default_rng(1).random((10, 1000))
    sink = ObjectSink(MemoryStore(URL, {}), overwrite=True)
    with streamh5.File(sink, threads=threads) as f:
        d = f.create_dataset("a", shape=(None, 1000), dtype="f8", chunks=(10, 1000), compression="lzf")
        for _ in range(400):
            d.append(noise)
    assert 1 < most <= LIMIT
