"""System calls that fail: stand-ins for `os` which `LocalFileSink` takes as ``system``.

Each calls the real one, so the files on the disk are what the process would have left.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from streamh5.sinks.append_file import AppendFileSink
from streamh5.sinks.disk_space import fallocate
from streamh5.sinks.local_file import LocalFileSink
from streamh5.sinks.write_back import sync_file_range

WRITES = ("pwrite", "pwritev")

NOT_IN_OS = {"sync_file_range": sync_file_range, "fallocate": fallocate}


class Crash(BaseException):
    """The process ends here: nothing after it has an effect."""


class Calls:
    """`os`, with a counter of its calls that change something, and a hook at each.

    Parameters
    ----------
    before
        Called with the number of the call, its name and its arguments before it is done; may raise, or
        return a function to be called instead.
    after
        Called with the number, the name and the arguments when it is done, or has failed.
    """

    READS = frozenset({"pread"})

    def __init__(
        self,
        before: Callable[[int, str, tuple[Any, ...]], Callable[..., Any] | None] | None = None,
        after: Callable[[int, str, tuple[Any, ...]], None] | None = None,
    ) -> None:
        self.n = 0
        self.names: list[str] = []
        self.fds: set[int] = set()
        self._before = before
        self._after = after
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        real = NOT_IN_OS.get(name) or getattr(os, name)
        return real if name in self.READS else partial(self._call, name, real)

    def _call(self, name: str, real: Callable[..., Any], *arguments: Any) -> Any:
        with self._lock:
            number, self.n = self.n, self.n + 1
            self.names.append(name)
            instead = self._before(number, name, arguments) if self._before else None
            try:
                result = (instead or real)(*arguments)
            except OSError:
                if self._after:
                    self._after(number, name, arguments)
                raise
            if name == "open":
                self.fds.add(result)
            elif name == "close":
                self.fds.discard(arguments[0])
            if self._after:
                self._after(number, name, arguments)
            return result

    def bury(self) -> None:
        """Close what a crashed process has left open, as its end does: locks go with it."""
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


def half(name: str, arguments: tuple[Any, ...]) -> None:
    """Do the first half of a write."""
    fd, data, address = arguments
    whole = b"".join(bytes(piece) for piece in data) if name == "pwritev" else bytes(data)
    os.pwrite(fd, whole[: len(whole) // 2], address)


def crashing(at: int, how: str) -> Calls:
    """Crash at call number `at`: ``before`` it, ``after`` it, or ``torn`` in the middle of a write."""
    is_dead = False

    def dead(*_: Any) -> Any:
        raise OSError(errno.EIO, "the process is dead")

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
        nonlocal is_dead
        if is_dead:
            return dead
        if number == at and (how != "after" or name == "close"):
            is_dead = True
            if how == "torn" and name in WRITES:
                half(name, arguments)
            raise Crash
        return None

    def after(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal is_dead
        if number == at and how == "after":
            is_dead = True
            raise Crash

    return Calls(before, after)


def failing(at: int, code: int, *, names: tuple[str, ...] = (), is_lasting: bool = False) -> Calls:
    """Fail with an error at call number `at` of those named (all by default), or from it on."""
    n = 0

    def before(number: int, name: str, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
        nonlocal n
        if names and name not in names:
            return None
        n += 1
        if n - 1 == at or (is_lasting and n - 1 > at):
            raise OSError(code, os.strerror(code))
        return None

    return Calls(before)


def short(most: int) -> Calls:
    """Write at most `most` bytes a call."""

    def fewer(fd: int, data: Any, address: int) -> int:
        pieces = data if isinstance(data, (list, tuple)) else [data]
        whole = b"".join(bytes(piece) for piece in pieces)
        return os.pwrite(fd, whole[:most], address)

    return Calls(lambda number, name, arguments: fewer if name in WRITES else None)


@contextmanager
def installed(system: Any) -> Iterator[None]:
    """Let every file that is opened for writing meanwhile use `system`."""
    sink = partial(LocalFileSink, system=system)
    addition = partial(AppendFileSink, system=system)
    with (
        patch("streamh5.handles.destination.LocalFileSink", sink),
        patch("streamh5.recovery.salvage.LocalFileSink", sink),
        patch("streamh5.handles.destination.AppendFileSink", addition),
        patch("streamh5.recovery.salvage.AppendFileSink", addition),
    ):
        yield


def copy_folder(folder: Path, to: Path) -> Path:
    """Copy a folder of files; two names of one file stay so."""
    to.mkdir()
    inodes: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        inode = path.stat().st_ino
        if inode in inodes:
            os.link(inodes[inode], to / path.name)
        else:
            inodes[inode] = to / path.name
            inodes[inode].write_bytes(path.read_bytes())
    return to
