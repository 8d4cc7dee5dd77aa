"""Adding to a file in place: new bytes after its end, the superblock last.

The superblock (48 bytes) is written in one call, after everything else is on the disk. Until then the file is
unchanged for readers: they see the old end of file and the old root group. Bytes that a crash leaves after the old end
are ignored by readers and overwritten by the next addition, unless other processes may still write them (`leases`)::

    chunks, indexes, headers ──▶ fsync ──▶ superblock ──▶ fsync
    after the old end                      (the switch)

Locks, in the order in which they are taken, each held until the sink is closed:

1. ``flock`` on the journal of this name, exclusive: a writer that would replace the file takes the same lock. Nothing
   is written to the journal: the old content is safe, and an interrupted addition is simply repeated.
2. The lock of the inode, exclusive: for writers that use another name of the file (`locks`).
3. ``flock`` on the file itself, shared, as HDF5's readers take it: they may read meanwhile, and no HDF5 library opens
   the file for writing.
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
from streamh5.sinks.leases import LeaseFolder
from streamh5.sinks.locks import lock_inode, open_journal
from streamh5.sinks.replaced_file import NEW_FILE_MODE
from streamh5.sinks.working_names import journal_path, leases_path, partial_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.paths import LocalPath
    from streamh5.sinks.base import Buffer


class AppendFileSink(GatedSink):
    """Write after the end of an existing file.

    Parameters
    ----------
    path
        The file. A symbolic link is followed.
    sync
        ``"none"`` omits fsync.
    system
        The system calls, by their names in `os`; for tests of faults.

    Attributes
    ----------
    leases
        The folder of the leases, while other processes write, too.
    leased_end
        End of the leases of a writer that died: a process that was suspended may still write below it.
    base_address
        Position of address 0, set by the caller: the size of the user block.
    end_of_file
        Where the addition begins, set by the caller: the end of file of the superblock, or `leased_end` if that
        is further. Below it only the superblock is written.

    Raises
    ------
    DestinationBusyError
        Another writer has opened the file, by this name or another one.
    SinkError
        It is not a regular file, or cannot be opened for writing.
    """

    _purpose = "cannot add to"

    def __init__(self, path: LocalPath, *, sync: Sync = "close", system: Any = os) -> None:
        self.path = real_path(path)
        super().__init__(str(self.path))
        self.end_of_file: int | None = None
        self.base_address = 0
        self._is_synced = sync != "none"
        self._system = system
        self._lock_path = journal_path(partial_path(self.path))
        self.leases = LeaseFolder(leases_path(partial_path(self.path)))
        self._superblock = b""
        self._is_switched = False
        with self._failing("opening it failed"):
            self._lock_fd, _ = open_journal(self._lock_path, self.path, NEW_FILE_MODE, system)
            try:
                self.leased_end = max((one.stop for one in self.leases.fence()), default=0)
                self._fd = self._open()
            except BaseException:
                self._unlock()
                raise

    @property
    def data_path(self) -> Path:
        """The file that receives the bytes."""
        return self.path

    def check_name(self) -> None:
        """Refuse to continue if the name now leads to another file.

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

    def read(self, address: int, nbytes: int) -> bytes:
        """Read bytes of the existing file, or of the addition; fewer than `nbytes` at the end of the file."""
        with self._writing(), self._failing("it cannot be read"):
            return files.read(self._fd, self.base_address + address, nbytes, self._system)

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Write after the old end; keep the superblock for `_commit`."""
        if address == 0:
            self._superblock = b"".join(bytes(buffer) for buffer in buffers)
        elif self.end_of_file is None or address < self.end_of_file:
            raise StateError(f"{self.path}: byte {address:,} is in the existing part of the file")
        else:
            files.write(self._fd, self.base_address + address, buffers, self._system)

    def _commit(self, nbytes: int) -> None:
        """Fsync the new bytes, write the superblock, fsync again."""
        self.leases.fence()
        self._system.ftruncate(self._fd, self.base_address + nbytes)
        self._fsync()
        self.check_name()
        self._is_switched = True  # before the write: one that fails may still have reached the disk
        files.write(self._fd, self.base_address, [self._superblock], self._system)
        self._fsync()
        self.check_name()
        with suppress(OSError):  # all leases lie before the end of the file now; they do no harm
            self.leases.close()

    def _drop(self) -> None:
        """Cut off the new bytes, unless the superblock that refers to them may already be written."""
        self._unname()
        if self.end_of_file is not None and not self._is_switched:
            with suppress(OSError):  # readers ignore the bytes, and the next addition overwrites them
                end = self.base_address + self.end_of_file
                if end < os.fstat(self._fd).st_size:  # it may be the end of leases, beyond the file
                    self._system.ftruncate(self._fd, end)

    def _unname(self) -> None:
        with suppress(OSError):
            self.leases.fence()

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
                    f"another program has opened {self.path} for writing; close it there", path=str(self.path)
                ) from error
        return fd

    def _fsync(self) -> None:
        if self._is_synced:
            self._system.fsync(self._fd)

    def _unlock(self) -> None:
        if os.fstat(self._lock_fd).st_size == 0:  # not the journal of an interrupted write
            with suppress(OSError):  # an empty journal that remains does no harm
                files.remove(self._lock_path, self._lock_fd, self._system)
        files.close(self._lock_fd, self._system)

    def _close(self) -> None:
        files.close(self._fd, self._system)
        self._unlock()
