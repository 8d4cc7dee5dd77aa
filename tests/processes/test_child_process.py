"""Work in a child process: its death, its errors, its memory and its results, as the parent sees them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.cli.main import main
from streamh5.errors import DestinationExistsError, SourceError, SpecError, UnreadableError
from streamh5.processes import child_process
from streamh5.processes.child_process import call_in_child


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        scale = file.create_dataset("time", data=np.arange(10.0))
        scale.make_scale("time")
        data = file.create_dataset("x", data=np.arange(60).reshape(10, 6), chunks=(4, 6), compression="gzip")
        data.dims[0].attach_scale(scale)
        file["text"] = ["a", "b\xe9", ""]
        file["x"].attrs["units"] = "m"
    return path


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGKILL])
def test_child_that_dies_is_the_error_that_was_asked_for(number: signal.Signals) -> None:
    with pytest.raises(UnreadableError, match=f"ended by {number.name}"):
        call_in_child(signal.raise_signal, number, died=lambda how: UnreadableError(f"ended by {how}"))


def test_error_of_a_child_comes_with_facts_and_cause(tmp_path: Path, path: Path) -> None:
    out = tmp_path / "out.h5"
    out.write_bytes(b"")
    with pytest.raises(DestinationExistsError, match="exists") as caught:
        streamh5.convert(path, out, safe=True)
    with pytest.raises(DestinationExistsError) as here:
        streamh5.convert(path, out)
    assert str(caught.value) == str(here.value)
    assert caught.value.facts == here.value.facts


def test_memory_of_a_child_is_bounded() -> None:
    with pytest.raises(MemoryError):
        call_in_child(bytes, 2 << 30, died=SourceError, max_nbytes=1 << 30)


def test_call_that_never_comes_back_is_the_death_of_the_child() -> None:
    with pytest.raises(UnreadableError, match="SIGPROF, for a call that did not return"):
        call_in_child(pow, 3, 10**12, died=UnreadableError, max_seconds=2.0)


@pytest.mark.parametrize("n_processors", [1, 2, 16, 256])
def test_threads_that_use_every_processor_do_not_set_the_alarm_off(
    n_processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed: list[float] = []

    def sleep(seconds: float) -> None:
        # while this thread sleeps, each processor runs one that needs no lock of the interpreter
        assert armed[-1] > 2 * n_processors * seconds
        if len(armed) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "cpu_count", lambda: n_processors)
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(signal, "setitimer", lambda _, seconds: armed.append(seconds))
    with pytest.raises(KeyboardInterrupt):
        child_process._end_when_stuck(60.0)
    assert armed == [60.0] * 3


def test_argument_that_cannot_be_sent_is_refused(tmp_path: Path, path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be sent"):
        streamh5.convert(path, tmp_path / "out.h5", compression=lambda: None, safe=True)


def test_references_in_a_child_are_those_without(path: Path) -> None:
    assert (
        streamh5.read_references(path, safe=True).to_kerchunk()
        == streamh5.read_references(path).to_kerchunk()
    )


def test_convert_in_a_child_writes_what_h5py_reads(tmp_path: Path, path: Path) -> None:
    reported: list[tuple[int, int]] = []
    out = tmp_path / "out.h5"
    done = streamh5.convert(path, out, safe=True, progress=lambda *numbers: reported.append(numbers))
    assert reported
    assert reported[-1][0] == reported[-1][1]
    assert {one.path for one in done.summary.datasets} == {"/time", "/x", "/text"}
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["x"][:], np.arange(60).reshape(10, 6))
        assert file["x"].attrs["units"] == "m"
    assert "x/0.0" in (done.summary.to_kerchunk() or {})["refs"]


def test_command_line_takes_safe(tmp_path: Path, path: Path) -> None:
    out = tmp_path / "out.h5"
    assert main(["convert", "--safe", str(path), str(out)]) == 0
    assert main(["verify", "--safe", str(out)]) == 0
    assert main(["references", "--safe", str(path), "--output", str(tmp_path / "x.json")]) == 0
    assert main(["convert", "--safe", str(tmp_path / "missing"), str(out)]) == 2
