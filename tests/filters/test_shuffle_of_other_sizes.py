"""Shuffle with sizes of elements that no datatype has: the client value of a file may be any number."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.filters import shuffle

VALUES = np.arange(4096, dtype="<u4").reshape(64, 64)
CHUNK_NBYTES = VALUES.nbytes // 2


def file_of_element_size(path: Path, element_nbytes: int) -> None:
    """Let h5py write two shuffled chunks, then change the client value of the filter."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=VALUES, chunks=(32, 64), shuffle=True, compression="gzip")
    content = bytearray(path.read_bytes())
    at = content.index(b"shuffle\0") + len(b"shuffle\0")
    assert int.from_bytes(content[at : at + 4], "little") == 4
    content[at : at + 4] = element_nbytes.to_bytes(4, "little")
    path.write_bytes(content)


# around one element, and two: H5Z__filter_shuffle leaves a chunk of one element as it is
@pytest.mark.parametrize(
    "element_nbytes",
    [1, 3, 100, CHUNK_NBYTES // 2, CHUNK_NBYTES - 1, CHUNK_NBYTES, CHUNK_NBYTES + 1, 2**31, 2**32 - 1],
)
def test_elements_of_any_size_are_read_as_hdf5_reads_them(tmp_path: Path, element_nbytes: int) -> None:
    path, out = tmp_path / "in.h5", tmp_path / "out.h5"
    file_of_element_size(path, element_nbytes)
    with h5py.File(path) as file:
        expected = file["x"][...]
    assert streamh5.verify(path).ok
    streamh5.convert(path, out, chunks={"/x": (64, 16)}, progress=False)
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["x"][...], expected)


def n_lines(function: Callable[..., Any], *arguments: Any) -> int:
    """Count the lines of the module that a call runs."""
    n = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal n
        n += event == "line"
        return trace if frame.f_code.co_filename == shuffle.__file__ else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return n


@pytest.mark.parametrize("element_nbytes", [12, 1000, 40_000, 100_000])
def test_no_python_is_run_for_each_byte_of_an_element(element_nbytes: int) -> None:
    data = np.random.default_rng(0).integers(0, 256, 80_003, np.uint8)
    whole = data.size // element_nbytes * element_nbytes
    expected = data[:whole].reshape(element_nbytes, -1).T.tobytes() + data[whole:].tobytes()
    assert shuffle.ROW.decode is not None
    assert bytes(shuffle.ROW.decode(data.tobytes(), data.size, (element_nbytes,))) == expected
    assert n_lines(shuffle.ROW.decode, data.tobytes(), data.size, (element_nbytes,)) < 50
