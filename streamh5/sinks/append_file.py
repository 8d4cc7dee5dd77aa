"""Adding to a file in place: new bytes behind its end, the superblock last.

Until the superblock is written, 48 bytes at once after everything else is on the disk, the file is
what it was: readers see the old end of file and the old root group. What a crash leaves behind the
old end is ignored by readers and overwritten by the next addition.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from streamh5.errors import DestinationBusyError, SinkError, StateError
from streamh5.sinks.journal_file import open_locked
from streamh5.sinks.local_file import JOURNAL_SUFFIX, PARTIAL_SUFFIX, Sync
from streamh5.sinks.vectored_write import write_vectored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamh5.sinks.base import Buffer

__all__ = ["AppendFileSink"]


class AppendFileSink:
    """Write behind the end of an existing file.

    Parameters
    ----------
    path
        The file.
    end_of_file
        Its end as its superblock says; nothing before it is written but the superblock.
    sync
        ``"none"`` leaves fsync out.

    Raises
    ------
    DestinationBusyError
        Another writer is at work on it.
    SinkError
        It cannot be opened for writing.
    """

    keeps_journal = False

    def __init__(self, path: str | os.PathLike[str], *, sync: Sync = "close") -> None:
        self.path = Path(os.path.realpath(path))
        self.sync = sync
        self.end_of_file: int | None = None
        # the lock of a writer that replaces the file: one of both may be at work
        self._lock_path = Path(f"{self.path}{PARTIAL_SUFFIX}{JOURNAL_SUFFIX}")
        self._superblock = b""
        self._state = "open"
        self._n_writing = 0
        self._idle = threading.Condition()
        self._lock_fd = open_locked(self._lock_path, self.path, self._open, os)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            self._unlock()
            raise SinkError(f"cannot add to {self.path}: {error.strerror}", path=str(self.path)) from error
        try:
            # as a reader's, which HDF5 takes too: others may read meanwhile, and none of them write
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            self._close()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise SinkError(f"cannot lock {self.path}: {error.strerror}", path=str(self.path)) from error
            raise DestinationBusyError(
                f"another program has {self.path} open for writing; close it there", path=str(self.path)
            ) from error

    @property
    def name(self) -> str:
        """What a message calls the destination."""
        return str(self.path)

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put `buffers` at `address`, behind the old end; the superblock is kept for `commit`."""
        with self._idle:
            if self._state != "open":
                raise StateError(f"{self.path} is {self._state}; nothing more can be written to it")
            self._n_writing += 1
        try:
            if address == 0:
                self._superblock = b"".join(bytes(buffer) for buffer in buffers)
            elif self.end_of_file is None or address < self.end_of_file:
                raise StateError(f"{self.path}: byte {address:,} belongs to the file that is added to")
            else:
                write_vectored(os, self._fd, address, buffers)
        finally:
            with self._idle:
                self._n_writing -= 1
                self._idle.notify_all()

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Keep no journal: what was there is safe, and the addition is made again."""

    def snapshot(self, path: Path) -> None:
        """Refuse: a snapshot would be a second name of the file itself."""
        raise SinkError(f"{self.path} is added to in place; a checkpoint of it is not possible")

    def commit(self, nbytes: int) -> None:
        """Fsync the new bytes, write the superblock, fsync again."""
        self._leave("being committed")
        try:
            os.ftruncate(self._fd, nbytes)
            self._fsync()
            write_vectored(os, self._fd, 0, [self._superblock])
            self._fsync()
        except BaseException:
            self._state = "failed"
            raise
        self._state = "committed"
        self._close()

    def suspend(self) -> None:
        """Give up: there is nothing to resume."""
        self.abort()

    def abort(self) -> None:
        """Cut the new bytes off."""
        with self._idle:
            if self._state in ("committed", "aborted"):
                return
            # after a failure in commit the superblock may be the new one: leave the bytes that it names
            is_failed = self._state == "failed"
            self._state = "aborted"
            self._idle.wait_for(lambda: self._n_writing == 0)
        if self.end_of_file is not None and not is_failed:
            with suppress(OSError):
                os.ftruncate(self._fd, self.end_of_file)
        self._close()

    def _leave(self, state: str) -> None:
        with self._idle:
            if self._state != "open":
                raise StateError(f"{self.path} is {self._state}; it cannot be committed")
            self._state = state
            self._idle.wait_for(lambda: self._n_writing == 0)

    def _fsync(self) -> None:
        if self.sync != "none":
            os.fsync(self._fd)

    def _open(self, path: Path) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise SinkError(f"cannot add to {self.path}: {error.strerror}", path=str(self.path)) from error

    def _unlock(self) -> None:
        with suppress(OSError):
            if os.fstat(self._lock_fd).st_size == 0:  # not the journal of an interrupted write
                self._lock_path.unlink()
        os.close(self._lock_fd)

    def _close(self) -> None:
        with suppress(OSError):
            os.close(self._fd)
        self._unlock()
