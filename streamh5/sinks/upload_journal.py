"""The journal of a write to an object: a local file, locked while the write goes on.

An object store shows nothing of an upload, so what is needed to resume a write lies here: which parts the store has
confirmed, and the bytes that no confirmed part has::

    parts that the store has confirmed     their numbers, tags and sizes
    the parts with the front region        their chunks, when they are written: these parts are sent last
    other parts, when a write is ended     what was written to them

The process that is killed loses what it was sending, no more.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from streamh5.errors import SinkError
from streamh5.sinks import files
from streamh5.sinks.destination_path import real_path
from streamh5.sinks.journal_file import JournalFile
from streamh5.sinks.locks import open_journal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.paths import LocalPath
    from streamh5.sinks.base import Buffer
    from streamh5.stores.base import PartReceipt

MODE = 0o600
"""Permissions of a journal: it holds bytes of the object, which may be less public than the directory."""

ENTRY_NBYTES = 1 << 30
"""Most bytes of one entry, whose size is a number of 4 bytes."""


class UploadEntries(NamedTuple):
    """Encoders of the entries about an upload.

    Attributes
    ----------
    upload
        Of the token of the write, the id of the upload (None before it begins), the steps of the part sizes, and
        the uploads that are there when this one is about to begin.
    part
        Of a part that the store has confirmed.
    held
        Of bytes that no confirmed part has, and their address.
    """

    upload: Callable[[str, str | None, Sequence[tuple[int, int, int]], Sequence[str] | None], bytes]
    part: Callable[[PartReceipt], bytes]
    held: Callable[[int, Buffer], bytes]


class UploadJournal:
    """The journal of one write to an object. Thread-safe.

    Parameters
    ----------
    path
        Its name; it is created if it does not exist.
    url
        The object.
    entries
        Encoders of what the sink enters.
    sync
        With ``"batch"`` it is made durable every two seconds.
    magic
        First bytes of every journal.
    system
        The system calls, by their names in `os`.

    Raises
    ------
    DestinationBusyError
        Another write has it.
    SinkError
        It cannot be opened, or is a file of something else.
    """

    def __init__(
        self,
        path: LocalPath,
        url: str,
        *,
        entries: UploadEntries,
        magic: bytes,
        sync: Sync = "close",
        system: Any = os,
    ) -> None:
        self.path = real_path(path)
        self.entries = entries
        self.sync = sync
        self._url = url
        self._system = system
        self._has_synced_name = False
        try:
            fd, self.is_new = open_journal(self.path, url, MODE, system)
            self._file = JournalFile(fd, system)
            with files.closed_on_error(fd, system):
                self.log = self._file.read()
                if self.log[: len(magic)] != magic[: len(self.log)]:
                    raise SinkError(
                        f"cannot write {url}: {self.path} is a file, but not a journal; name another one "
                        "(journal=)",
                        path=str(self.path),
                    )
        except SinkError:
            raise
        except OSError as error:
            raise self._failure("cannot be opened", error) from error

    @property
    def is_taken_back(self) -> bool:
        """Whether an fsync has failed: nothing more may be claimed."""
        return self._file.is_taken_back

    def cut(self, nbytes: int) -> None:
        """Keep the entries of an interrupted write, so many bytes; 0 to begin anew."""
        self.log = b""  # may be large: bytes that are held
        try:
            self._file.cut(nbytes)
            if nbytes:  # a failed fsync must not take back what earlier writes have entered
                self._system.fsync(self._file.fd)
                self._file.keep()
        except SinkError:
            raise
        except OSError as error:
            raise self._failure("cannot be cut", error) from error

    def add(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Append entries; the `nbytes` that they claim have been handed to the sink.

        Raises
        ------
        SinkError
            They cannot be written.
        """
        is_batch = self.sync == "batch"
        is_due = self._file.add(entries, nbytes)
        if not is_batch or is_due or is_urgent:
            self.flush(is_patient=not is_batch or is_urgent)

    def flush(self, *, is_patient: bool = True) -> None:
        """Write the waiting entries."""
        try:
            if self.sync != "batch":
                self._file.flush(is_patient=is_patient)
                return
            self._file.flush(lambda: None, is_patient=is_patient)
            if not self._has_synced_name:
                files.sync_names(self.path.parent, self._system)
                self._has_synced_name = True
        except SinkError:
            raise
        except OSError as error:
            raise self._failure("cannot be written", error) from error

    def hold(self, address: int, content: memoryview) -> None:
        """Enter bytes that no confirmed part has."""
        for start in range(0, len(content), ENTRY_NBYTES):
            piece = content[start : start + ENTRY_NBYTES]
            self.add(self.entries.held(address + start, piece), len(piece))

    def remove(self) -> None:
        """Remove the file, unless its name leads to another one; before `close`, which releases the lock."""
        files.remove(self.path, self._file.fd, self._system)

    def close(self) -> None:
        """Close the file; then another write may open it."""
        self._file.end()  # a part that is confirmed late is not entered any more
        files.close(self._file.fd, self._system)

    def _failure(self, what: str, error: OSError) -> SinkError:
        failure = SinkError(
            f"cannot write {self._url}: its journal {self.path} {what}: {error.strerror or error}",
            path=str(self.path),
        )
        failure.errno = error.errno
        return failure
