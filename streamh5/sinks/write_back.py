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
import os
import threading
from typing import Any

HINT_NBYTES = 16 << 20
"""Bytes between two hints: few enough for a short fsync at the end, enough for large requests and extents (measured:
tests/benchmarks, frames --hints)."""

_SYNC_FILE_RANGE_WRITE = 2

_IS_MISSING = frozenset({errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EOPNOTSUPP, errno.EPERM})
"""Errors of a system, sandbox or file system without the call."""

_IS_POSTPONED = frozenset({errno.EINTR, errno.EAGAIN, errno.ENOMEM})
"""Errors after which the pages are still to be written."""


def _library_call() -> Any:
    try:
        call = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (OSError, AttributeError):  # not Linux
        return None
    # offsets of 64 bits on every machine; without types ctypes would pass ints
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    call.restype = ctypes.c_int
    return call


_CALL = _library_call()


def sync_file_range(fd: int, offset: int, nbytes: int) -> None:
    """Start to write the pages of a range to the disk, without waiting for them.

    Raises
    ------
    OSError
        As for the system call; ``ENOSYS`` where there is none.
    """
    if _CALL is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _CALL(fd, offset, nbytes, _SYNC_FILE_RANGE_WRITE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class WriteBack:
    """Starts write-back each `HINT_NBYTES` of one file. Thread-safe.

    Parameters
    ----------
    system
        The system calls, by their names in `os`; one that has `sync_file_range`, too, is asked for it.
    """

    def __init__(self, system: Any) -> None:
        self._system = system
        self._sync_file_range = getattr(system, "sync_file_range", sync_file_range)
        self._lock = threading.RLock()  # reentrant: a signal handler may write
        self._nbytes = 0
        self._start, self._stop = 0, 0
        self._is_missing = False
        self._thread: threading.Thread | None = None
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
            self._start = min(self._start, address) if self._nbytes else address
            self._stop = max(self._stop, address + nbytes)
            self._nbytes += nbytes
            if self._nbytes < HINT_NBYTES:
                return
            start, stop = self._start, self._stop
            self._nbytes = self._stop = 0
        if not self._is_missing:
            try:
                self._sync_file_range(fd, start, stop - start)
            except OSError as error:
                if error.errno in _IS_MISSING:
                    self._is_missing = True
                elif error.errno not in _IS_POSTPONED:
                    self._error = error
                    raise
        if self._is_missing:
            self._sync_in_thread(fd)

    def settle(self) -> None:
        """Wait for the thread, before the file is synced or closed.

        Raises
        ------
        OSError
            A hint was told that data may be lost.
        """
        thread = self._thread
        if thread is not None:
            thread.join()
        if self._error is not None:
            raise self._error

    def _sync_in_thread(self, fd: int) -> None:
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self.settle()
            thread = threading.Thread(target=self._sync, args=(fd,), name="streamh5 write-back", daemon=True)
            thread.start()
            self._thread = thread

    def _sync(self, fd: int) -> None:
        try:
            self._system.fsync(fd)
        except OSError as error:
            self._error = error
