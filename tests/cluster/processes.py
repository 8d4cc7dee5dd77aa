"""Processes that are to be killed: each is a fork of one that has everything loaded, so it starts in a moment.

multiprocessing's fork server is that process; it has no threads of Python's. What a process prints goes to a log,
which an error shows.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import multiprocessing.process
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.deadlock import DEADLOCK_SECONDS

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.cluster.programs"])


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until something is true, but not forever."""
    deadline = time.monotonic() + DEADLOCK_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.005)


def _run(log: str, program: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    sys.stdout = sys.stderr = os.fdopen(fd, "w", buffering=1)
    faulthandler.register(signal.SIGUSR1)
    program(*arguments)


class Running:
    """A process that runs a program of `tests.cluster.programs`.

    Parameters
    ----------
    log
        Where its output goes.
    program
        The function; it can be pickled, like its arguments.
    """

    def __init__(self, log: Path, program: Callable[..., None], *arguments: Any) -> None:
        self.log = log
        self._process: multiprocessing.process.BaseProcess = CONTEXT.Process(
            target=_run, args=(str(log), program, arguments), name=log.stem
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it may end at this moment, and the fork server takes note of it
            if self.is_alive:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """``kill -9``, whatever state it is in; and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.join()

    def children(self) -> list[psutil.Process]:
        """Return its child processes, such as the worker of a nanny."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def join(self) -> None:
        """Wait for its end. One that does not end shows where it is, and fails the test."""
        self._process.join(DEADLOCK_SECONDS)
        if self._process.is_alive():
            self.signal(signal.SIGUSR1)
            time.sleep(1)
            self.signal(signal.SIGKILL)
            raise AssertionError(f"{self.log.name} hangs:\n{self.output[-20_000:]}")


def is_gone(pid: int) -> bool:
    """Return whether a process, of whichever parent, has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"
