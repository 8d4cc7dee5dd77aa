"""What tests break: functions for `Client.run`, which a worker runs, and damage to files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.processes import wait_until
from tests.deadlock import DEADLOCK_SECONDS


def break_calls(names: list[str], number: int) -> None:
    """Let system calls on partial files fail from now on in this process."""
    for name in names:
        setattr(os, name, _failing(getattr(os, name), number))


def _failing(call: Callable[..., Any], number: int) -> Callable[..., Any]:
    def failing(fd: int, *arguments: Any) -> Any:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".partial"):
            raise OSError(number, os.strerror(number))
        return call(fd, *arguments)

    return failing


def break_leases(number: int) -> None:
    """Let this process take no leases from now on."""

    def symlink(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    os.symlink = symlink


def hold_encoded(folder: str, n_before: int) -> None:
    """Let this process wait between the filters of a batch and its write, after `n_before` batches.

    It touches ``FOLDER/held`` then, waits for ``FOLDER/gate``, and touches ``FOLDER/let-go``.
    """
    from streamh5.write.chunk_writer import ChunkWriter

    hold, encode = _Hold(folder, n_before), ChunkWriter.encode

    def encode_and_wait(self: Any, *arguments: Any) -> Any:
        encoded = encode(self, *arguments)
        hold()
        return encoded

    ChunkWriter.encode = encode_and_wait  # type: ignore[method-assign, assignment]


def hold_writes(folder: str, n_before: int) -> None:
    """As `hold_encoded`, but between the last look at the write and the system call."""
    hold, pwritev = _Hold(folder, n_before), os.pwritev

    def wait_and_write(*arguments: Any) -> int:
        hold()
        return pwritev(*arguments)

    os.pwritev = wait_and_write


class _Hold:
    def __init__(self, folder: str, n_before: int) -> None:
        self._folder = Path(folder)
        self._n_left = n_before

    def __call__(self) -> None:
        self._n_left -= 1
        if self._n_left != -1:
            return
        (self._folder / "held").touch()
        deadline = time.monotonic() + DEADLOCK_SECONDS
        while not (self._folder / "gate").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        (self._folder / "let-go").touch()


def leases_of(path: Path, pid: int) -> list[tuple[int, int]]:
    """Return the address ranges that a process took for itself, from the folder beside the partial file."""
    folder = path.with_name(f"{path.name}.partial.leases")
    texts = [os.readlink(link) for link in folder.iterdir() if "." in link.name]
    ranges = [text.split(" ", 2) for text in texts]
    return [(int(start), int(stop)) for start, stop, writer in ranges if writer.split(":")[1] == str(pid)]


def zero(path: Path, ranges: list[tuple[int, int]]) -> int:
    """Overwrite ranges of the partial file with zeros, as far as they exist; return how many bytes were not zero."""
    n_lost = 0
    with path.with_name(f"{path.name}.partial").open("r+b") as file:
        for start, stop in ranges:
            file.seek(start)
            there = file.read(stop - start)
            n_lost += len(there) - there.count(0)
            file.seek(start)
            file.write(bytes(len(there)))
    return n_lost


def wait_for_file(path: Path) -> None:
    wait_until(path.exists, str(path))


def worker_name(dask_worker: Any) -> str:
    """Return the name under which a test started a worker."""
    return str(dask_worker.name)
