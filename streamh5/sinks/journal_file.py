"""The journal file of a local write: entries are collected and written in order."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from streamh5.sinks import files
from streamh5.sinks.locks import lock_journal
from streamh5.sinks.working_names import temporary_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BATCH_SECONDS = 2.0
SYNCED_NBYTES = 512 << 20
"""Limits of a batch of ``sync="batch"``: short enough to lose little, long enough not to wait for the disk all the
time (measured: tests/benchmarks, row "sync")."""

MIN_SHORTENED_NBYTES = 1 << 20
"""Size from which a journal is replaced by a shorter one at `flush`: the claims of 37,000 chunks. That takes an fsync
and a rename, so it is not done at every flush."""

READ_NBYTES = 16 << 20
"""Bytes read in one call; one ``pread`` returns at most 2 GiB, and a journal may be larger."""


def remove_temporary(path: Path, system: Any) -> None:
    """Remove what a crash in `JournalFile.replace` has left of a journal; the caller has locked the journal.

    Raises
    ------
    SinkError
        That name is a directory or a device.
    OSError
        It cannot be removed.
    """
    temporary = temporary_path(path)
    if files.check_regular(temporary) is not None:
        system.unlink(temporary)


class JournalFile:
    """Append entries to an open file. Thread-safe.

    Parameters
    ----------
    fd
        The file, open for reading and writing.
    system
        The system calls, by their names in `os`.

    Attributes
    ----------
    nbytes
        End of the entries that have been written.
    is_taken_back
        No more entries are written: an fsync has failed, and those that were not synced before have been cut off; or
        the file is about to be closed.
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
        # Order: `_flushing`, then `_lock`. Data are synced under the first only, so that other threads can add
        # entries meanwhile. Reentrant: a signal handler may end the write during a call.
        self._lock = threading.RLock()  # for the waiting entries
        self._flushing = threading.RLock()  # for the file
        self._is_flushing = False

    def read(self) -> bytes:
        """Read the journal of an interrupted write."""
        parts = []
        self.nbytes = 0
        while part := self._system.pread(self.fd, READ_NBYTES, self.nbytes):
            parts.append(part)
            self.nbytes += len(part)
        return b"".join(parts)

    def cut(self, nbytes: int) -> None:
        """Cut the file durably: nothing after the cut comes back, not even after a power cut."""
        if nbytes < os.fstat(self.fd).st_size:
            self._system.ftruncate(self.fd, nbytes)
            self._system.fsync(self.fd)
        self.nbytes = nbytes

    def replace(
        self, path: Path, destination: Path, content: bytes, mode: int, hand_on: Callable[[int], None]
    ) -> None:
        """Continue in another file with `content`, which replaces this one and is locked.

        Parameters
        ----------
        path, destination
            Its name, and that of the file of the write.
        content
            Complete entries.
        mode, hand_on
            Permissions of the new file, and what gives it those of the destination before it has its name.

        Raises
        ------
        OSError
            It cannot be written; this file is unchanged.
        """
        temporary = temporary_path(path)
        remove_temporary(path, self._system)
        fd = files.create(temporary, mode, self._system)
        try:
            lock_journal(fd, path, destination)  # before it has a name that another writer looks for
            hand_on(fd)
            files.write(fd, 0, [content], self._system)
            self._system.fsync(fd)
            self._system.replace(temporary, path)
            self._continue_in(fd, len(content))
        except BaseException as error:
            # It may have had its effect, also if this is a Ctrl-C. Entries must then go to the file that has the name.
            if files.leads_to(path, fd):
                self._continue_in(fd, len(content))
                if isinstance(error, OSError):
                    return
            else:
                with suppress(OSError):  # the first error is the one to report
                    files.remove(temporary, fd, self._system)
                files.close(fd, self._system)
            raise

    def _continue_in(self, fd: int, nbytes: int) -> None:
        if self.fd != fd:
            self._safe_nbytes = 0
            old, self.fd, self.nbytes = self.fd, fd, nbytes  # without a call in between, so in one step
            files.close(old, self._system)

    def shorten(self, shorten: Callable[[bytes], bytes | None], replace: Callable[[bytes], None]) -> bool:
        """Continue in a shorter file, while other threads add entries; tell whether that was done.

        Parameters
        ----------
        shorten
            Returns the new contents for the present ones; None to keep them.
        replace
            Calls `replace` with the new contents.
        """
        with self._flushing:
            nbytes = self.nbytes
            if self.is_taken_back or nbytes < MIN_SHORTENED_NBYTES:
                return False
            content = shorten(files.read(self.fd, 0, nbytes, self._system))
            if content is None or len(content) > nbytes // 2:
                return False
            is_safe = self._safe_nbytes == nbytes
            replace(content)
            if is_safe:
                self.keep()
            return True

    def keep(self) -> None:
        """Mark the present content as synced, so that a failed fsync does not cut it off."""
        self._safe_nbytes = self.nbytes

    def add(self, entries: bytes, nbytes: int) -> bool:
        """Queue entries that claim `nbytes` of data for `flush`; tell whether a batch is full."""
        with self._lock:
            self._waiting.append(entries)
            self._waiting_nbytes += nbytes
            age = time.monotonic() - self._last_flush
            return age >= BATCH_SECONDS or self._waiting_nbytes >= SYNCED_NBYTES

    def flush(self, sync_data: Callable[[], None] | None = None, *, is_patient: bool = True) -> None:
        """Write the waiting entries.

        Parameters
        ----------
        sync_data
            Called first, to make the data durable that the entries claim; the entries are then synced, too.
            None for no sync.
        is_patient
            False to return at once if another thread is flushing.
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

    def sync(self) -> None:
        """Make the entries durable that have been written.

        Raises
        ------
        OSError
            They may be lost; the file has been cut.
        """
        with self._flushing:
            if self._safe_nbytes < self.nbytes:
                try:
                    self._system.fsync(self.fd)
                except OSError:
                    self.take_back()
                    raise

    def take_back(self) -> None:
        """Cut off all entries that were not synced, and write no more.

        After a failed fsync the system may have dropped the pages that it could not write, and it reports that only
        once: the data that such an entry claims may be lost.
        """
        with self._flushing:  # otherwise a thread that is writing entries would put them back
            self.is_taken_back = True
            with suppress(OSError):
                self._system.ftruncate(self.fd, self._safe_nbytes)

    def end(self) -> None:
        """Write no more, before the file is closed: its number may then be that of another file."""
        with self._flushing:
            self.is_taken_back = True

    def _flush(self, sync_data: Callable[[], None] | None) -> None:
        waiting: list[bytes] = []
        nbytes = 0
        try:
            with self._lock:
                self._last_flush = time.monotonic()
                waiting, self._waiting = self._waiting, []
                nbytes, self._waiting_nbytes = self._waiting_nbytes, 0
            entries = b"".join(waiting)
            end = self.nbytes + len(entries)
            if sync_data is not None:
                sync_data()
            if entries:
                files.write(self.fd, self.nbytes, [entries], self._system)
            self.nbytes = end  # last: a Ctrl-C comes before it, or after the entries are in the file
        except BaseException:
            # later entries depend on these, so they go back to the front of the queue
            with self._lock:
                self._waiting[:0] = waiting
                self._waiting_nbytes += nbytes
            raise
        if sync_data is not None:
            try:
                self._system.fsync(self.fd)
            except OSError:
                self.take_back()
                raise
            self._safe_nbytes = self.nbytes
