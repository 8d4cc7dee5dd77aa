"""A destination that a person brings: the four members of `Sink` are enough, and what more it has is used."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.arguments.write_options import WriteOptions
from streamh5.conversion.plan import UserBlockSink
from streamh5.recovery.read_journal import decode_journal
from streamh5.sinks.append_file import AppendFileSink
from streamh5.sinks.base import Flushable, Snapshots, as_journaled
from streamh5.sinks.file_object import FileObjectSink
from streamh5.sinks.local_file import LocalFileSink
from streamh5.sinks.memory import MemorySink
from streamh5.sinks.sequential_object import SequentialObjectSink

DATA = np.arange(60, dtype="i4").reshape(12, 5)


class Narrow:
    """All that a sink must have."""

    name = "somewhere"

    def __init__(self) -> None:
        self.image = bytearray()
        self.calls: list[str] = []

    def write(self, address: int, buffers: Sequence[Any]) -> None:
        data = b"".join(bytes(buffer) for buffer in buffers)
        self.image.extend(bytes(max(0, address + len(data) - len(self.image))))
        self.image[address : address + len(data)] = data

    def commit(self, nbytes: int) -> None:
        self.image.extend(bytes(nbytes - len(self.image)))
        self.calls.append("commit")

    def abort(self) -> None:
        self.calls.append("abort")


class WithoutJournal(Narrow):
    """A sink of the time when all had the methods of a journal, and one said whether they did something."""

    keeps_journal = False
    sync = "none"
    journal_facts: ClassVar[dict[str, Any]] = {}

    def has_name(self, path: Any) -> bool:
        raise AssertionError

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        raise AssertionError

    def snapshot(self, path: Path) -> None:
        path.write_bytes(self.image)

    def suspend(self) -> None:
        raise AssertionError


class WithJournal(Narrow):
    def __init__(self) -> None:
        super().__init__()
        self.log = b""

    journal_facts: ClassVar[dict[str, Any]] = {"sync": "close"}

    def has_name(self, path: Any) -> bool:
        return True

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        self.log += entries

    def suspend(self) -> None:
        self.calls.append("suspend")


def fill(sink: Narrow, *, is_cut: bool = False) -> None:
    with streamh5.File(sink, threads=1) as file:
        file.create_dataset("x", data=DATA, chunks=(4, 5), compression="gzip")
        file.attrs["title"] = "own"
        if is_cut:
            raise KeyError


@pytest.mark.parametrize("kind", [Narrow, WithoutJournal, WithJournal])
def test_file_in_a_sink_of_ones_own_is_read_by_h5py(kind: type[Narrow]) -> None:
    sink = kind()
    fill(sink)
    assert sink.calls == ["commit"]
    with h5py.File(io.BytesIO(sink.image)) as found:
        np.testing.assert_array_equal(found["x"][()], DATA)
        assert found.attrs["title"] == "own"


@pytest.mark.parametrize("kind", [Narrow, WithoutJournal])
def test_interrupted_write_to_a_sink_without_journal_is_aborted(kind: type[Narrow]) -> None:
    sink = kind()
    with pytest.raises(KeyError) as caught:
        fill(sink, is_cut=True)
    assert sink.calls == ["abort"]
    assert not getattr(caught.value, "__notes__", [])


def test_interrupted_write_to_a_sink_with_journal_is_suspended(tmp_path: Path) -> None:
    sink = WithJournal()
    sink.name = str(tmp_path / "a.h5")
    (tmp_path / "a.h5.partial").touch()
    with pytest.raises(KeyError):
        fill(sink, is_cut=True)
    assert sink.calls == ["suspend"]
    journal = decode_journal(sink.log)
    assert journal is not None
    assert journal.n_claimed == 3


def test_checkpoint_is_refused_where_the_sink_has_no_snapshots(tmp_path: Path) -> None:
    with streamh5.File(Narrow()) as file:
        file.create_dataset("x", data=DATA)
        with pytest.raises(errors.SinkError, match="checkpoint of somewhere is not possible"):
            file.checkpoint(tmp_path / "seen.h5")
        file["x"].attrs["unit"] = "K"  # the write goes on


def test_checkpoint_of_a_sink_with_snapshots_is_read_by_h5py(tmp_path: Path) -> None:
    with streamh5.File(WithoutJournal()) as file:
        file.create_dataset("x", data=DATA)
        file.checkpoint(tmp_path / "seen.h5")
        with h5py.File(tmp_path / "seen.h5") as found:
            np.testing.assert_array_equal(found["x"][()], DATA)


def test_sinks_of_the_package_are_what_their_table_says(tmp_path: Path) -> None:
    old = tmp_path / "old.h5"
    with h5py.File(old, "w"):
        pass
    sinks = (
        LocalFileSink(tmp_path / "a.h5", overwrite=False),
        AppendFileSink(old),
        FileObjectSink(io.BytesIO(), nbytes=0),
        SequentialObjectSink(io.BytesIO()),
        MemorySink(),
        UserBlockSink(tmp_path / "b.h5", bytes(512), WriteOptions()),
    )
    try:
        assert [as_journaled(sink) is sink for sink in sinks] == [True, True, False, False, False, False]
        assert [isinstance(sink, Snapshots) for sink in sinks] == [True, False, False, False, True, False]
        assert [isinstance(sink, Flushable) for sink in sinks] == [True, True, True, False, True, False]
    finally:
        for sink in sinks:
            sink.abort()
            sink.abort()
            with pytest.raises(errors.StateError):
                sink.write(512, [b"late"])
    assert [path.name for path in tmp_path.iterdir()] == ["old.h5"]
