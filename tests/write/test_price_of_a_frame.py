"""What appending a frame costs: counted in system calls and calls of this package, not in seconds."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from tests.faults.systems import Calls, installed

FRAMES = np.arange(24 * 6 * 10, dtype="u2").reshape(24, 6, 10)
PACKAGE = str(Path(streamh5.__file__).parent)


def write(path: Path, append: Callable[[streamh5.Dataset], Any]) -> None:
    with streamh5.File(path, "w", sync="none") as file:
        append(file.create_dataset("x", (None, 6, 10), "u2", chunks=(1, 6, 10)))


@pytest.mark.parametrize("n_at_once", [1, 8])
def test_a_call_of_append_makes_two_system_calls(tmp_path: Path, n_at_once: int) -> None:
    names: list[str] = []
    system = Calls()

    def append(data: streamh5.Dataset) -> None:
        data.append(FRAMES[:n_at_once])  # the first call lays out the file
        begun = len(system.names)
        for start in range(n_at_once, len(FRAMES), n_at_once):
            data.append(FRAMES[start : start + n_at_once])
        names.extend(system.names[begun:])

    with installed(system):
        write(tmp_path / "x.h5", append)
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][...], FRAMES)
    # the frames, and what the journal claims of them
    assert Counter(names) == {"pwritev": 2 * (len(FRAMES) // n_at_once - 1)}


def test_the_calls_for_a_frame_are_few_and_do_not_grow_with_the_frames(tmp_path: Path) -> None:
    counts: list[int] = []

    def append(data: streamh5.Dataset) -> None:
        for frame in FRAMES:
            counts.append(0)
            sys.setprofile(count)
            data.append(frame)
            sys.setprofile(None)

    def count(frame: FrameType, event: str, _: Any) -> None:
        counts[-1] += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    before = sys.getprofile()
    try:
        write(tmp_path / "x.h5", append)
    finally:
        sys.setprofile(before)
    assert counts[-1] <= counts[4]
    assert counts[-1] <= 170
