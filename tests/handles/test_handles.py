"""The handles of a file that is being written, as somebody who knows h5py reaches for them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from tests.deadlock import DEADLOCK_SECONDS


def new_file(path: Path) -> Any:
    """Return a file whose items are used as h5py's are, without a look at their class."""
    return streamh5.File(path)


def fill(file: Any) -> None:
    x = file.create_dataset("a/x", (10, 3), ">f4", chunks=(4, 3), compression="gzip", fillvalue=1.5)
    x.attrs.create("pair", [1, 2], dtype="i2")
    x.attrs.create("square", np.arange(4), shape=(2, 2))
    x.attrs.create("one", 3)
    x.attrs.modify("one", 4)
    file.create_dataset("a/growing", (0, 4), "u1", chunks=(2, 2), maxshape=(None, 8), compression="lzf")
    file.create_dataset("s", data=3)
    file.create_dataset("null", data=h5py.Empty("f8"))
    file.create_group("a/b")


def test_handles_say_what_those_of_h5py_say(tmp_path: Path) -> None:
    with new_file(tmp_path / "a.h5") as ours, h5py.File(tmp_path / "b.h5", "w") as theirs:
        fill(ours)
        fill(theirs)
        for path in ("a/x", "a/growing", "s", "null"):
            for name in ("name", "shape", "maxshape", "dtype", "ndim", "size", "chunks", "compression"):
                said = getattr(ours[path], name)
                assert said == getattr(theirs[path], name) or (path, name) == ("null", "maxshape"), (
                    path,
                    name,
                )
        for path in ("a/x", "a/growing", "s"):
            assert ours[path].nbytes == theirs[path].nbytes
            assert ours[path].fillvalue == theirs[path].fillvalue
        assert len(ours["a/x"]) == len(theirs["a/x"])
        with pytest.raises(TypeError, match="no length"):
            len(ours["s"])
        for group in ("/", "a", "a/b"):
            assert sorted(ours[group]) == list(theirs[group])
            assert sorted(ours[group].keys()) == sorted(theirs[group].keys())
            assert sorted(one.name for one in ours[group].values()) == [
                one.name for one in theirs[group].values()
            ]
            assert {name: one.name for name, one in ours[group].items()} == {
                name: one.name for name, one in theirs[group].items()
            }
            assert ours[group].parent.name == theirs[group].parent.name
            assert ours[group].file is ours
        assert ours.get("nothing") is None
        assert ours.get("nothing", 3) == 3
        assert ours["a/b"] == ours["/a"]["b"] == ours["a"].create_group("c").parent["b"]
        assert len({ours["a/b"], ours["a/b"], ours["a"], ours["/"], ours}) == 3
        assert 3 not in ours
        assert all(map(bool, (ours, ours["a/b"], ours["a/growing"])))
    assert not any(map(bool, (ours, ours["a/b"], ours["a/growing"])))
    with h5py.File(tmp_path / "a.h5") as ours, h5py.File(tmp_path / "b.h5") as theirs:
        for name, value in theirs["a/x"].attrs.items():
            np.testing.assert_array_equal(ours["a/x"].attrs[name], value)
            assert ours["a/x"].attrs[name].dtype == value.dtype
        assert ours["null"][()] == theirs["null"][()]


def test_reading_says_what_to_do(tmp_path: Path) -> None:
    with new_file(tmp_path / "a.h5") as file:
        fill(file)
        x = file["a/x"]
        for read in (lambda: x[0], lambda: x[...], lambda: list(x), lambda: np.asarray(x)):
            with pytest.raises(errors.StateError, match="read it with h5py"):
                read()
        with pytest.raises(KeyError, match="/a/none"):
            del file["a"]["none"]
        file["link"] = streamh5.ExternalLink("other.h5", "/a")
        with pytest.raises(KeyError, match="/link in the file, or it is in another file"):
            file["link"]


@pytest.mark.parametrize(
    ("data", "shape", "dtype"),
    [([1, 300], None, "u1"), ([1.5], None, "i4"), ([1, 2], (3,), None), (3, None, "nonsense")],
)
def test_attribute_that_is_not_of_that_shape_or_dtype_is_refused(
    data: Any, shape: Any, dtype: Any, tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(errors.AttributeValueError, match="attribute 'a' of /"):
            file.attrs.create("a", data, shape, dtype)
        assert len(file.attrs) == 0


def test_append_while_another_thread_closes_is_in_the_file_or_refused(tmp_path: Path) -> None:
    row = np.random.default_rng(0).integers(1, 99, 1 << 13, "i4")
    for i in range(5):
        path = tmp_path / f"{i}.h5"
        file = streamh5.File(path, threads=2, max_memory=1 << 17)
        x = file.create_dataset("x", (None, len(row)), "i4", chunks=(1, len(row)), compression="gzip")
        n_taken = [0] * 4
        refusals: list[str] = []

        def append(thread: int, x: Any = x, n_taken: Any = n_taken, refusals: Any = refusals) -> None:
            try:
                while True:
                    x.append(row)
                    n_taken[thread] += 1
            except errors.StateError as error:
                refusals.append(str(error))

        threads = [threading.Thread(target=append, args=(thread,)) for thread in range(len(n_taken))]
        for thread in threads:
            thread.start()
        while min(n_taken) < 2:
            time.sleep(0.001)
        summary = file.close()
        for thread in threads:
            thread.join()
        assert len(refusals) == len(threads)
        assert summary.n_missing == 0
        with h5py.File(path) as found:
            assert len(found["x"]) == sum(n_taken)
            assert (found["x"][...] == row).all()


def test_file_can_be_closed_after_an_interrupt_anywhere_in_an_append(tmp_path: Path) -> None:
    code = """
import random, signal, sys
import numpy as np, streamh5

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
row = np.ones((1, 2), "f4")
for i in range(150):
    file = streamh5.File(f"{sys.argv[1]}/{i}.h5", sync="none")
    x = file.create_dataset("x", (None, 2), "f4", chunks=(100_000, 2))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.002 * random.random())
        while True:
            x.append(row)
    except KeyboardInterrupt:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    file.close()
"""
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=DEADLOCK_SECONDS)


def test_file_can_be_closed_by_a_signal_handler_within_a_call(tmp_path: Path) -> None:
    class Closing:
        def __array__(self, *_: Any, **__: Any) -> Any:
            file.close()
            return np.ones((1, 2))

    with streamh5.File(tmp_path / "a.h5") as file:
        x = file.create_dataset("x", (None, 2), "f8", chunks=(1, 2))
        x.append(np.zeros((1, 2)))
        with pytest.raises(errors.StateError, match=r"closed|finished"):
            x.append(Closing())
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"][...].tolist() == [[0, 0]]


@pytest.mark.parametrize("dtype", ["f4", "S3", "M8[ns]", "V5", [("a", "i4"), ("b", "f8")]], ids=str)
def test_fill_value_that_nobody_gave_is_zero_bytes(dtype: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        fill = file.create_dataset("x", (3,), dtype, chunks=(2,)).fillvalue
    assert np.asarray(fill, dtype).tobytes() == bytes(np.dtype(dtype).itemsize)


def test_items_and_values_leave_out_what_has_no_handle(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file["soft"] = streamh5.SoftLink("/nothing")
        file.create_dataset("x", data=1)
        assert list(file) == ["soft", "x"]
        assert [(name, one.name) for name, one in file.items()] == [("x", "/x")]
        assert [one.name for one in file.values()] == ["/x"]
