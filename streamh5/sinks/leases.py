"""Leases: address ranges that several processes take for themselves, with no message between them.

While a write is shared, a folder beside the partial file has one symbolic link for each lease::

    OUT.partial.leases/
        TOKEN   ─▶ "2048"                                   the write, and the address where its leases begin
        TOKEN.0 ─▶ "2048 1050624 node07:4711:8c1f02d4"      start, stop and writer of the first lease
        TOKEN.1 ─▶ "1050624 2099200 node09:1234:11ab93e0"   the next lease starts where the one before it stops
        TOKEN.2 ─▶ ...

``symlink`` makes a name together with its text, atomically, and fails if the name exists: also on NFS and Lustre, and
without file locks. So no address is ever given out twice, whatever dies or wakes up at which moment. A process that
wakes up so late that the folder is that of the next write makes a link that this one does not read.

Closing the folder ends the write for all other processes: it is renamed first, so no lease can be taken from then on,
and who looks the token up before a write no longer finds it. The folder is closed before a file is published, dropped
or kept, and by the next writer of the same name if the owner died. After an addition to an existing file that was
aborted, the renamed folder is kept: a process that was suspended in a write call may still write to its leases, so the
next addition begins behind them.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from streamh5.errors import SinkError, StateError

if TYPE_CHECKING:
    from pathlib import Path

MAX_LEASE_NBYTES = 256 << 20
"""Largest lease, unless more is needed at once."""

SHARE = 64
"""A lease is at most this part of what was given out before, for each writer. Half of the last lease of a writer is
unused on average, so that all writers together leave 0.8 % of the file unused (tests/benchmarks, scale)."""

MIN_RESERVATIONS = 32
"""A lease has room for so many reservations or for one, because half of a reservation is unused at its end on average.
Blocks are stored with one reservation each, so large blocks, which are few, have leases that fit exactly."""

N_QUICK_ATTEMPTS = 3
MAX_PAUSE_SECONDS = 0.02
"""After a few lost races for a number, a writer pauses for a random time, so that a thousand writers that begin at the
same moment do not all try again at once (tests/benchmarks, scale)."""


class Lease(NamedTuple):
    """A range of addresses, and the process that has it."""

    start: int
    stop: int
    writer: str


class LeaseFolder:
    """The folder of the leases of one write, in the process that owns the write.

    Parameters
    ----------
    path
        The folder; it exists only while the write is shared.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._closing = path.with_name(f"{path.name}.old")

    def open(self, token: str, base: int) -> None:
        """Make the folder.

        Parameters
        ----------
        token
            Name that only this write has.
        base
            Address where the leases begin.

        Raises
        ------
        OSError
            The file system has no symbolic links, or the folder cannot be made.
        """
        self.close()
        self.path.mkdir()
        (self.path / token).symlink_to(str(base))

    def fence(self) -> list[Lease]:
        """End the write for all other processes, but keep what says which addresses they may be writing to.

        Returns
        -------
        list of Lease
            Those of the last write; its base is one without a writer.
        """
        if self.path.exists():
            _removed(self._closing)  # of an earlier write, which lie below those of this one
            self.path.rename(self._closing)
        with suppress(FileNotFoundError):
            return [_lease(self._closing / name) for name in os.listdir(self._closing)]
        return []

    def close(self) -> list[Lease]:
        """End the write for all other processes, and remove its folder; return the leases that were given out.

        A folder that a dead writer has left is closed in the same way.
        """
        leases = _removed(self._closing)  # of a writer that died while closing
        with suppress(FileNotFoundError):
            self.path.rename(self._closing)
        return leases + _removed(self._closing)


def _removed(folder: Path) -> list[Lease]:
    """Remove a renamed folder and return its leases.

    A process that looked the folder up before it was renamed may still add a lease; the removal then fails, and the
    folder is read again. Once it is removed nothing can be added.
    """
    leases: list[Lease] = []
    while True:
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return leases
        for name in names:
            path = folder / name
            with suppress(FileNotFoundError):
                if "." in name:
                    leases.append(read_lease(path))
                path.unlink()
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise
        else:
            return leases


def _lease(path: Path) -> Lease:
    """Read the link of a lease, or that of the token, which is the base."""
    if "." in path.name:
        return read_lease(path)
    base = int(os.readlink(path))
    return Lease(base, base, "")


def read_lease(path: Path | str) -> Lease:
    """Read the link of a lease.

    Raises
    ------
    OSError
        There is no such link.
    SinkError
        It is not the link of a lease.
    """
    text = os.readlink(path)
    start, _, rest = text.partition(" ")
    stop, _, writer = rest.partition(" ")
    if not (start.isdecimal() and stop.isdecimal()):
        raise SinkError(f"{path} leads to {text!r}, which is not a lease; remove the folder", path=str(path))
    return Lease(int(start), int(stop), writer)


class LeaseTaker:
    """Takes leases for one process; the caller allows one thread at a time.

    Parameters
    ----------
    folder
        The folder, as this process sees it.
    token
        Its token.
    writer
        Name of this process; no other has the same.
    n_writers
        Number of processes that are known to write at the same time; there may be more later.
    name
        The destination, for messages.

    Raises
    ------
    StateError
        The write has ended, or this process does not see its folder.
    """

    def __init__(self, folder: str, token: str, *, writer: str, n_writers: int, name: str) -> None:
        self._folder = folder
        self._token = f"{folder}/{token}"  # and the beginning of the names of its leases
        self._writer = writer
        self._n_writers = max(1, n_writers)
        self._name = name
        self._number = 0
        self._last: int | None = None
        self._base = self._start = int(self._read(self._token))

    def check_open(self) -> None:
        """Refuse to continue after the end of the write.

        Raises
        ------
        StateError
            The folder is gone, or is that of another write.
        """
        try:
            os.lstat(self._token)
        except (FileNotFoundError, NotADirectoryError):
            raise self._over() from None

    def take(self, nbytes: int) -> tuple[int, int]:
        """Take a lease of at least `nbytes`; return its start and stop.

        Raises
        ------
        StateError
            The write has ended.
        OSError
            The link cannot be made.
        SinkError
            Another program has put something else in the folder.
        """
        for attempt in itertools.count(1):
            self.check_open()
            start, stop = self._start, self._start + self._size(nbytes)
            path = f"{self._token}.{self._number}"
            try:
                os.symlink(f"{start} {stop} {self._writer}", path)
            except FileExistsError:
                # a network file system may repeat a request whose answer was lost, and then refuse the repetition
                if self._read(path) != f"{start} {stop} {self._writer}":
                    self._look_ahead()
                    if attempt > N_QUICK_ATTEMPTS:
                        time.sleep(random.uniform(0, min(attempt / 1000, MAX_PAUSE_SECONDS)))
                    continue
            except FileNotFoundError:
                raise self._over() from None
            self._last, self._number, self._start = self._number, self._number + 1, stop
            return start, stop
        raise AssertionError  # `count` does not end

    def _size(self, nbytes: int) -> int:
        """Return the size of the next lease."""
        # what others took since the last lease of this process says how many they are
        n_others = 0 if self._last is None else self._number - self._last - 1
        share = (self._start - self._base) // (SHARE * max(self._n_writers, n_others + 1))
        wanted = min(share, MAX_LEASE_NBYTES)
        return wanted if wanted >= MIN_RESERVATIONS * nbytes else nbytes

    def _look_ahead(self) -> None:
        """Find the first number that is not taken, in a few steps however many were taken meanwhile.

        Numbers are taken without gaps, because each process takes only the number after one that exists.
        """
        taken, step = self._number, 1
        while os.path.lexists(f"{self._token}.{taken + step}"):
            taken, step = taken + step, step * 2
        free = taken + step
        while free - taken > 1:
            middle = (taken + free) // 2
            taken, free = (middle, free) if os.path.lexists(f"{self._token}.{middle}") else (taken, middle)
        try:
            self._number, self._start = free, read_lease(f"{self._token}.{taken}").stop
        except (FileNotFoundError, NotADirectoryError):
            raise self._over() from None

    def _read(self, path: str) -> str:
        try:
            return os.readlink(path)
        except (FileNotFoundError, NotADirectoryError):
            raise self._over() from None

    def _over(self) -> StateError:
        return StateError(
            f"the write to {self._name} has ended, and nothing more can be written to it; or this process does not "
            f"see its folder {self._folder}"
        )
