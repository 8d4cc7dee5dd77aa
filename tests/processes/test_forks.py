"""A fork of the process that writes has the handles, and must not do anything with the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.deadlock import DEADLOCK_SECONDS

SCRIPT = """
import gc, os, signal, sys
import streamh5

path, what, seconds = sys.argv[1:]
file = streamh5.File(path)
x = file.create_dataset("x", (100,), "i4", chunks=10, compression="gzip")
x[:50] = 1
child = os.fork()
if child == 0:
    signal.alarm(int(seconds))  # ends a fork that hangs
    if what == "sys.exit":
        sys.exit()  # runs the finalizers of the interpreter
    try:
        match what:
            case "abort":
                file.abort()
            case "drop":
                del file, x
                gc.collect()
            case "close":
                file.close()
            case "write":
                x[50:] = 7
            case "leave":
                with file:
                    raise RuntimeError("in the fork")
    except (streamh5.errors.StateError, RuntimeError) as error:
        print(type(error).__name__, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
x[50:] = 2
file.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
@pytest.mark.parametrize(
    ("what", "printed"),
    [
        ("sys.exit", ""),
        ("abort", ""),
        ("drop", ""),
        ("close", "StateError"),
        ("write", "StateError"),
        ("leave", "RuntimeError"),
    ],
)
def test_fork_leaves_the_write_alone(what: str, printed: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path), what, str(DEADLOCK_SECONDS)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=2 * DEADLOCK_SECONDS, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == printed
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][...], np.repeat([1, 2], 50))
