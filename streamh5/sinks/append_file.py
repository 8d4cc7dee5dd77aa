"""Adding to a file in place: new bytes behind its end, the superblock last.

Until the superblock is written, 48 bytes at once after everything else is on the disk, the file is
what it was: readers see the old end of file and the old root group. What a crash leaves behind the
old end is ignored by readers and overwritten by the next addition::

    chunks, indexes, headers ──▶ fsync ──▶ superblock ──▶ fsync
    behind the old end                     (the switch)

Locks, in the order in which they are taken, each kept until the sink is closed:

1. ``flock`` on the journal of a writer that would replace the file by this name: only one of both may be
   at work. The journal itself is not used: what was there is safe, and an addition is made again.
2. The lock of the inode, exclusive: writers that come by another name of the file (`locks`).
3. ``flock`` on the file itself, shared, as HDF5's readers take it: they may read meanwhile, and no HDF5
   library opens the file for writing.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from streamh5.errors import DestinationBusyError, SinkError, StateError
from streamh5.sinks import files
from streamh5.sinks.destination_path import real_path
from streamh5.sinks.gated_sink import GatedSink
from streamh5.sinks.locks import lock_inode, open_journal
from streamh5.sinks.replaced_file import NEW_FILE_MODE
from streamh5.sinks.working_names import journal_path, partial_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.paths import LocalPath
    from streamh5.sinks.base import Buffer


class AppendFileSink(GatedSink):
    """Write behind the end of an existing file.

    Parameters
    ----------
    path
        The file. A symbolic link is followed.
    sync
        ``"none"`` leaves fsync out.
    system
        The system calls, by their names in `os`; for tests of faults.

    Attributes
    ----------
    end_of_file
        Its end as its superblock says; nothing before it is written but the superblock.

    Raises
    ------
    DestinationBusyError
        Another writer is at work on it, by this name or another one of it.
    SinkError
        It is not a regular file, or cannot be opened for writing.
    """

    _purpose = "cannot add to"

    def __init__(self, path: LocalPath, *, sync: Sync = "close", system: Any = os) -> None:
        self.path = real_path(path)
        super().__init__(str(self.path))
        self.end_of_file: int | None = None
        self._is_synced = sync != "none"
        self._system = system
        self._lock_path = journal_path(partial_path(self.path))
        self._superblock = b""
        self._is_switched = False
        with self._failing("opening it failed"):
            self._lock_fd, _ = open_journal(self._lock_path, self.path, NEW_FILE_MODE, system)
            try:
                self._fd = self._open()
            except BaseException:
                self._unlock()
                raise

    def check_name(self) -> None:
        """Refuse to go on when the name leads to another file by now.

        Raises
        ------
        SinkError
            Another program has replaced or removed it.
        """
        if not files.leads_to(self.path, self._fd):
            raise SinkError(
                f"cannot add to {self.path}: another program has replaced or removed it meanwhile, so the addition "
                "would be lost; nothing was added, add to the present file again",
                path=str(self.path),
            )

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Write behind the old end; the superblock is kept for `_commit`."""
        if address == 0:
            self._superblock = b"".join(bytes(buffer) for buffer in buffers)
        elif self.end_of_file is None or address < self.end_of_file:
            raise StateError(f"{self.path}: byte {address:,} belongs to the file that is added to")
        else:
            files.write(self._fd, address, buffers, self._system)

    def _commit(self, nbytes: int) -> None:
        """Fsync the new bytes, write the superblock, fsync again."""
        self._system.ftruncate(self._fd, nbytes)
        self._fsync()
        self.check_name()
        self._is_switched = True  # before: a write that fails may have been done
        files.write(self._fd, 0, [self._superblock], self._system)
        self._fsync()
        self.check_name()

    def _drop(self) -> None:
        """Cut the new bytes off; once the superblock may be the new one, the bytes that it names stay."""
        if self.end_of_file is not None and not self._is_switched:
            with suppress(OSError):
                self._system.ftruncate(self._fd, self.end_of_file)

    def _open(self) -> int:
        fd = files.open_regular(self.path, os.O_RDWR, self._system)
        with files.closed_on_error(fd, self._system):
            lock_inode(fd, self.path, is_exclusive=True)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                raise DestinationBusyError(
                    f"another program has {self.path} open for writing; close it there", path=str(self.path)
                ) from error
        return fd

    def _fsync(self) -> None:
        if self._is_synced:
            self._system.fsync(self._fd)

    def _unlock(self) -> None:
        if os.fstat(self._lock_fd).st_size == 0:  # not the journal of an interrupted write
            with suppress(OSError):
                files.remove(self._lock_path, self._lock_fd, self._system)
        files.close(self._lock_fd, self._system)

    def _close(self) -> None:
        files.close(self._fd, self._system)
        self._unlock()
