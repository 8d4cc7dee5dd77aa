"""Adding to a file in place: new bytes after its end, the superblock last.

The file is public from the beginning: `journaled_sink` says how it gets a new state. Bytes that a crash leaves after
the old end are ignored by readers. The journal says which chunks they are, so that the addition can be resumed; without
it they are overwritten by the next addition, unless other processes may still write them (`leases`).

Locks, in the order in which they are taken, each held until the sink is closed:

1. ``flock`` on the journal of this name, exclusive: a writer that would replace the file takes the same lock.
2. The lock of the inode, exclusive: for writers that use another name of the file (`locks`).
3. ``flock`` on the file itself, shared, as HDF5's readers take it: they may read meanwhile, and no HDF5 library opens
   the file for writing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from streamh5.errors import StateError
from streamh5.sinks import files
from streamh5.sinks.journal_file import JournalFile
from streamh5.sinks.journaled_sink import JournaledSink
from streamh5.sinks.locks import lock_inode, open_journal
from streamh5.sinks.replaced_file import ReplacedFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.paths import LocalPath
    from streamh5.sinks.base import Buffer

_JOURNAL_MODE = 0o600
"""Permissions of a new journal until it has those of the file: it shows content, too."""


class AppendFileSink(JournaledSink):
    """Write after the end of an existing file.

    Parameters
    ----------
    path
        The file. A symbolic link is followed.
    sync
        ``"close"``, ``"batch"`` or ``"none"``, see `journaled_sink`.
    system
        The system calls, by their names in `os`; for tests of faults.

    Attributes
    ----------
    leased_end
        End of the leases of a writer that died: a process that was suspended may still write below it.
    base_address
        Position of address 0, set by the caller: the size of the user block.
    end_of_file
        Where the addition begins, set by `begin_at`. Below it only the superblock is written.

    Raises
    ------
    DestinationBusyError
        Another writer has opened the file, by this name or another one.
    SinkError
        It is not a regular file, or cannot be opened for writing.
    """

    _purpose = "cannot add to"

    def __init__(self, path: LocalPath, *, sync: Sync = "close", system: Any = os) -> None:
        super().__init__(path, sync=sync, system=system, is_public=True)
        self.end_of_file: int | None = None
        with self._failing("opening it failed"):
            journal_fd, _ = open_journal(self.journal, self.path, _JOURNAL_MODE, system)
            self._journal = JournalFile(journal_fd, system)
            try:
                self.leased_end = max((one.stop for one in self.leases.fence()), default=0)
                self._fd = self._open()
            except BaseException:
                self._remove_empty_journal()
                files.close(journal_fd, system)
                raise

    def begin_at(self, end_of_file: int, public_nbytes: int, superblock: bytes) -> None:
        """Say where the addition begins, and what its readers see.

        Parameters
        ----------
        end_of_file
            First address of the addition: after the file, and after leases that others may still write to.
        public_nbytes
            End of file of the superblock.
        superblock
            The superblock as stored; bytes that are never changed may follow.
        """
        self.end_of_file, self._public_nbytes, self._shown = end_of_file, public_nbytes, superblock

    def restart(self) -> None:
        """Discard an interrupted addition: its bytes are overwritten."""
        with self._failing("the interrupted addition cannot be removed"):
            self._cut_journal(0)
            self._hand_on()

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        if address and (self.end_of_file is None or address < self.end_of_file):
            raise StateError(f"{self.path}: byte {address:,} is in the existing part of the file")
        super()._write(address, buffers)

    def _publish(self) -> None:
        raise AssertionError  # it always is

    def _commit(self, nbytes: int) -> None:
        self.leases.fence()
        self._truncate(nbytes)
        self._switch(nbytes)
        self._remove((self.journal, self._journal.fd))
        with suppress(OSError):  # all leases lie before the end of the file now; they do no harm
            self.leases.close()

    def _drop(self) -> None:
        self._unname()
        self._cut_back()

    def _unname(self) -> None:
        with suppress(OSError):
            self.leases.fence()
        self._remove((self.journal, self._journal.fd))

    def _keep(self) -> None:
        with suppress(OSError):
            self.leases.fence()
        super()._keep()
        self._remove_empty_journal()

    def _remove_empty_journal(self) -> None:
        if os.fstat(self._journal.fd).st_size == 0:  # not the journal of an interrupted write
            self._remove((self.journal, self._journal.fd))

    def _open(self) -> int:
        fd = files.open_regular(self.path, os.O_RDWR, self._system)
        with files.closed_on_error(fd, self._system):
            lock_inode(fd, self.path, is_exclusive=True)
            self._fd = fd
            self._lock_as_public()
        return fd

    def _hand_on(self) -> None:
        ReplacedFile.opened(self._fd, self._system).hand_on(self._journal.fd)

    def _replace_journal(self, content: bytes) -> None:
        hand_on = ReplacedFile.opened(self._fd, self._system).hand_on
        self._journal.replace(self.journal, self.path, content, _JOURNAL_MODE, hand_on)
