"""The journal file of a local write: entries wait their turn, and are written in their order."""

from __future__ import annotations

import os
import secrets
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from streamh5.sinks import files
from streamh5.sinks.locks import lock_journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BATCH_SECONDS = 2.0
BATCH_NBYTES = 512 << 20
"""A batch of ``sync="batch"``: often enough to lose little, seldom enough not to wait for the disk
all the time (tests/benchmarks, row "sync")."""

READ_NBYTES = 16 << 20


class JournalFile:
    """Append entries to an open file.

    Thread-safe.

    Parameters
    ----------
    fd
        The file, open for reading and writing.
    system
        The system calls, by their names in `os`.

    Attributes
    ----------
    nbytes
        End of the entries that are written.
    is_taken_back
        An fsync has failed: what was not synced before has been cut off, and nothing more is written.
    """

    def __init__(self, fd: int, system: Any) -> None:
        self.fd = fd
        self.nbytes = 0
        self.is_taken_back = False
        self._system = system
        self._safe_nbytes = 0
        self._waiting: list[bytes] = []
        self._waiting_nbytes = 0
        self._last_flush = time.monotonic()
        # reentrant: a signal handler may end the write in the midst of a call
        self._lock = threading.RLock()  # for the entries that wait
        self._flushing = threading.RLock()  # for the file
        self._is_flushing = False

    def read(self) -> bytes:
        """Read what an interrupted write has left."""
        parts = []
        self.nbytes = 0
        while part := self._system.pread(self.fd, READ_NBYTES, self.nbytes):
            parts.append(part)
            self.nbytes += len(part)
        return b"".join(parts)

    def cut(self, nbytes: int) -> None:
        """Cut the file; nothing behind the cut comes back, not even after a power cut."""
        if nbytes < os.fstat(self.fd).st_size:
            self._system.ftruncate(self.fd, nbytes)
            self._system.fsync(self.fd)
        self.nbytes = nbytes

    def copy(self, path: Path, destination: Path, nbytes: int, mode: int) -> JournalFile:
        """Put a copy of the first `nbytes` in the place of this file, open and locked.

        Raises
        ------
        OSError
            It cannot be written; this file is still there then.
        """
        content = self.read()[:nbytes] if nbytes else b""
        temporary = path.with_name(f".{secrets.token_hex(8)}.streamh5")
        fd = files.create(temporary, mode, self._system)
        with files.closed_on_error(fd, self._system):
            try:
                lock_journal(fd, path, destination)  # before anybody can find it
                files.write(fd, 0, [content], self._system)
                self._system.fsync(fd)
                self._system.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    files.remove(temporary, fd, self._system)
                raise
        copy = JournalFile(fd, self._system)
        copy.nbytes = nbytes
        return copy

    def keep(self) -> None:
        """Take what is there for synced: a failed fsync is not to cut it off."""
        self._safe_nbytes = self.nbytes

    def add(self, entries: bytes, nbytes: int) -> bool:
        """Let entries that claim `nbytes` wait for `flush`; tell whether a batch is full."""
        with self._lock:
            self._waiting.append(entries)
            self._waiting_nbytes += nbytes
            age = time.monotonic() - self._last_flush
            return age >= BATCH_SECONDS or self._waiting_nbytes >= BATCH_NBYTES

    def flush(self, sync_data: Callable[[], None] | None = None, *, is_patient: bool = True) -> None:
        """Write the entries that wait.

        Parameters
        ----------
        sync_data
            Called before: makes the data durable that the entries claim. The entries are made durable
            then too. None: no sync.
        is_patient
            False: leave it to another thread that is at it.
        """
        if self._is_flushing and not is_patient:
            return
        with self._flushing:
            try:
                self._is_flushing = True
                if not self.is_taken_back:
                    self._flush(sync_data)
            finally:
                self._is_flushing = False

    def take_back(self) -> None:
        """Cut off every entry that was not synced, and write no other.

        After a failed fsync the system may have dropped what it could not write, and it says so only
        once: what such an entry claims may not be there.
        """
        self.is_taken_back = True
        with suppress(OSError):
            self._system.ftruncate(self.fd, self._safe_nbytes)

    def _flush(self, sync_data: Callable[[], None] | None) -> None:
        with self._lock:
            waiting, nbytes = self._waiting, self._waiting_nbytes
            self._waiting, self._waiting_nbytes = [], 0
            self._last_flush = time.monotonic()
        entries = b"".join(waiting)
        try:
            if sync_data is not None:
                sync_data()
            if entries:
                files.write(self.fd, self.nbytes, [entries], self._system)
        except BaseException:
            # later entries make no sense without these: they wait for the next try
            with self._lock:
                self._waiting[:0] = waiting
                self._waiting_nbytes += nbytes
            raise
        self.nbytes += len(entries)
        if sync_data is not None:
            try:
                self._system.fsync(self.fd)
            except OSError:
                self.take_back()
                raise
            self._safe_nbytes = self.nbytes
