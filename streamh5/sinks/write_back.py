"""Write-back that starts while a file is written, so that its fsync has little left to wait for.

Without it the system keeps what was written in memory, up to a fifth of it, until half a minute has passed or the
file is synced: then the disk, which was idle while blocks were computed, gets everything at once.

`sync_file_range` (Linux) only queues the pages; when the queue of the disk is full it waits, and that bounds what is
not yet on the disk. Where the system or the file system does not have it, a thread syncs the file. Both are hints: the
fsync before a file is published is always done.

An error must not get lost. The kernel tells an open file only once that pages could not be written, and keeps them as
if they had been. A call that waits may be told instead of the fsync; so may one that writes, when the file system finds
no room for the pages. Therefore an error of a hint that could mean lost data is that of a failed fsync.
"""

from __future__ import annotations

import ctypes
import errno
import threading
from typing import TYPE_CHECKING, Any

from streamh5.sinks.linux_call import call_of, linux_call

if TYPE_CHECKING:
    from collections.abc import Callable

HINT_NBYTES = 16 << 20
"""Bytes between two hints: few enough for a short fsync at the end, enough for large requests and extents (measured:
tests/benchmarks, frames --hints)."""

MAX_DROPPED_HINTS = 16
"""Hints that are due while the thread syncs the file; at the last one the writer waits for it. So at most 256 MiB are
in memory only."""

_SYNC_FILE_RANGE_WRITE = 2

_IS_MISSING = frozenset({errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EOPNOTSUPP, errno.EPERM})
"""Errors of a system, sandbox or file system without the call."""

_IS_POSTPONED = frozenset({errno.EINTR, errno.EAGAIN, errno.ENOMEM})
"""Errors after which the pages are still to be written."""


# offsets of 64 bits on every machine
_sync_file_range = linux_call("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def sync_file_range(fd: int, offset: int, nbytes: int) -> None:
    """Start to write the pages of a range to the disk, without waiting for them.

    Raises
    ------
    OSError
        As for the system call; ``ENOSYS`` where there is none.
    """
    _sync_file_range(fd, offset, nbytes, _SYNC_FILE_RANGE_WRITE)


class WriteBack:
    """Starts write-back each `HINT_NBYTES` of one file. Thread-safe.

    Parameters
    ----------
    system
        The system calls, by their names in `os`; one for tests may have `sync_file_range`, too.
    """

    def __init__(self, system: Any) -> None:
        self._system = system
        self._sync_file_range = call_of(system, sync_file_range)
        # both reentrant: a signal handler may write
        self._lock = threading.RLock()
        self._hinting = threading.RLock()
        self._waiting = 0, 0, 0  # bytes since the last hint; start and end of the range that they are in
        self._is_missing = False
        self._thread: threading.Thread | None = None
        self._n_dropped = 0
        self._error: OSError | None = None

    def wrote(self, fd: int, address: int, nbytes: int) -> None:
        """Count bytes that were written, and start write-back if it is time.

        Other threads may be writing in the range of a hint: what they write then belongs to a later one.

        Raises
        ------
        OSError
            Data may be lost: the fsync has failed.
        """
        with self._lock:
            n_before, start, stop = self._waiting
            start = min(start, address) if n_before else address
            stop = max(stop, address + nbytes)
            is_due = n_before + nbytes >= HINT_NBYTES
            # one assignment: a write of a signal handler may be forgotten here, but the three stay consistent
            self._waiting = (0, 0, 0) if is_due else (n_before + nbytes, start, stop)
        if is_due:
            with self._hinting:
                self._hint(fd, start, stop - start)

    def sync(self, fsync: Callable[[int], None], fd: int) -> None:
        """Make what was written durable with `fsync`, which may also be ``fdatasync``.

        Raises
        ------
        OSError
            Data may be lost: the call says so, or a hint was told before or meanwhile.
        """
        self.settle()
        fsync(fd)
        self.settle()

    def settle(self) -> None:
        """Wait for the hints that are being given, before the file is closed or anything of it counts as durable.

        Raises
        ------
        OSError
            One was told that data may be lost.
        """
        with self._hinting:
            thread = self._thread
            if thread is not None and thread.ident is not None:
                thread.join()
            if self._error is not None:
                raise self._error

    def _hint(self, fd: int, start: int, nbytes: int) -> None:
        if not self._is_missing:
            try:
                self._sync_file_range(fd, start, nbytes)
            except OSError as error:
                if error.errno in _IS_MISSING:
                    self._is_missing = True
                elif error.errno not in _IS_POSTPONED:
                    self._error = error
                    raise
        if self._is_missing:
            self._sync_in_thread(fd)

    def _sync_in_thread(self, fd: int) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._n_dropped += 1
            if self._n_dropped < MAX_DROPPED_HINTS:
                return
        self.settle()
        self._n_dropped = 0
        self._thread = threading.Thread(
            target=self._sync, args=(fd,), name="streamh5 write-back", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter is about to end
            self._thread = None

    def _sync(self, fd: int) -> None:
        try:
            self._system.fsync(fd)
        except OSError as error:
            self._error = error
