"""Space on the disk that a growing file gets before it is written.

Without it, Linux looks for space page by page while bytes are copied, and again when they are written back. With it,
durable frames of 2 MiB need a quarter less of a processor (tests/benchmarks, frames --space).

The space lies behind the end of the file, so that its size does not change: `fallocate` with ``FALLOC_FL_KEEP_SIZE``.
The truncation at the end of a write frees what is left. It is a hint: where the system or the file system does not have
the call, or the disk is nearly full, files grow as they always do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from contextlib import suppress
from typing import Any

from streamh5.sinks.linux_call import call_of, linux_call, missing_call

FIRST_NBYTES = 4 << 20
"""Bytes that a file gets as it is written: most files of many small ones are smaller."""

SPACE_NBYTES = 16 << 20
"""Bytes that are requested at once; more, up to 256 MiB, is not faster (tests/benchmarks, frames --space)."""

MIN_FREE = 16
"""Requests for which the disk must have room, so that nothing else fails for want of it. The quota of a user is not
looked at: with less left than one request, a write that needs other space may fail that much earlier."""

_KEEP_SIZE = 1


# with offsets of 32 bits, the call of this name takes others
_fallocate = (
    linux_call("fallocate", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if ctypes.sizeof(ctypes.c_long) >= ctypes.sizeof(ctypes.c_int64)
    else missing_call
)


def fallocate(fd: int, offset: int, nbytes: int) -> None:
    """Give a range of a file space on the disk, without a change of its content or size.

    Raises
    ------
    OSError
        As for the system call; ``ENOSYS`` where there is none.
    """
    _fallocate(fd, _KEEP_SIZE, offset, nbytes)


class DiskSpace:
    """Requests space for one file before it is written. Thread-safe.

    Parameters
    ----------
    system
        The system calls, by their names in `os`; one for tests may have `fallocate`, too.

    Attributes
    ----------
    is_requested
        Whether there may be space behind the end of the file.
    """

    def __init__(self, system: Any) -> None:
        self.is_requested = False
        self._fallocate = call_of(system, fallocate)
        self._lock = threading.RLock()  # reentrant: a signal handler may write
        self._stop: int | None = None  # no request for what lies before it
        self._is_missing = False

    def will_write(self, fd: int, address: int, nbytes: int) -> None:
        """Request space for bytes that are about to be written, and for some after them, if it is time."""
        stop = address + nbytes
        if self._is_missing or (self._stop is not None and stop <= self._stop):
            return
        with self._lock:
            if self._stop is None:
                self._stop = address + FIRST_NBYTES
            if stop <= self._stop:
                return
            start = max(address, self._stop)
            nbytes = stop - start + SPACE_NBYTES
            self._stop = start + nbytes  # first: whatever becomes of the request, it is not repeated
            self._request(fd, start, nbytes)

    def _request(self, fd: int, start: int, nbytes: int) -> None:
        try:
            status = os.fstatvfs(fd)
            if status.f_bavail * status.f_frsize < MIN_FREE * nbytes:
                return
            self.is_requested = True  # before the call: one that fails may have had a part of its effect
            self._fallocate(fd, start, nbytes)
        except OSError as error:
            # EINTR: the next request may succeed
            self._is_missing = error.errno != errno.EINTR

    def free(self, fd: int, system: Any) -> None:
        """Free what is left behind the end of the file; nobody may be writing."""
        if self.is_requested:
            self.is_requested = False
            with suppress(OSError):  # the next truncation does it
                system.ftruncate(fd, os.fstat(fd).st_size)
