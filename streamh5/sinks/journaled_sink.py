"""What the sinks of local files share: the journal, the leases, and how a file that readers see gets a new state.

A file is *public* once it has its name: an existing file that is added to (`append_file`), and a new file from its
first `flush` on (`local_file`). A public file is only added to. Its superblock (48 bytes; up to 100 of an old version)
is held back, and written in one call after everything else is on the disk. At every moment readers see the state
before or the one after::

    chunks, indexes, headers ──▶ fsync, also of the journal ──▶ superblock ──▶ fsync
    after the old end                                           (the switch)

Bytes that a crash leaves after the end are ignored by readers. The journal says what they are; its entry B, which is
written before the switch, names the state that is about to be public, so that whoever finds the journal knows which
entries the file already contains.

Within the process: the gate of `GatedSink`, then the journal's lock of its file, then its lock of the waiting
entries; data are never synced under the last, so that other threads can add entries meanwhile.

``sync`` says when entries are appended to the journal:

======== ==================================================================================
"close"  immediately: after a crash of the process everything is there; after a power cut the
         claims are checked against the data by their checksums
"batch"  every `BATCH_SECONDS` or `BATCH_NBYTES`: fsync the data, append the entries, fsync
         the journal: a power cut loses at most the last batch
"none"   immediately, and there is no fsync at commit either
======== ==================================================================================
"""

from __future__ import annotations

import errno
import fcntl
import os
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from streamh5.errors import DestinationBusyError, SinkError
from streamh5.processes.turns import Turns
from streamh5.sinks import files
from streamh5.sinks.destination_path import real_path
from streamh5.sinks.disk_space import DiskSpace
from streamh5.sinks.gated_sink import GatedSink
from streamh5.sinks.journal_file import remove_temporary
from streamh5.sinks.leases import LeaseFolder
from streamh5.sinks.working_names import journal_path, leases_path, partial_path
from streamh5.sinks.write_back import WriteBack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.paths import LocalPath
    from streamh5.sinks.base import Buffer
    from streamh5.sinks.journal_file import JournalFile


class JournaledSink(GatedSink):
    """The base of the sinks of local files; a subclass opens the files and says how a new file becomes public.

    Attributes
    ----------
    path
        The destination, with symbolic links resolved.
    partial, journal
        The working names.
    leases
        The folder of the leases, while other processes write, too.
    base_address
        Position of address 0: the size of the user block.
    """

    _fd: int
    _journal: JournalFile

    def __init__(self, path: LocalPath, *, sync: Sync, system: Any, is_public: bool) -> None:
        self.path = real_path(path)
        super().__init__(str(self.path))
        self.partial = partial_path(self.path)
        self.journal = journal_path(self.partial)
        self.leases = LeaseFolder(leases_path(self.partial))
        self.sync = sync
        self._system = system
        self.base_address = 0
        self._target = self.path
        self._is_public = is_public
        self._public_nbytes: int | None = None
        self._superblock = b""
        self._shown = b""
        self._is_switching = False
        self._turns = Turns()
        self._write_back = WriteBack(system)
        self._space = DiskSpace(system)
        self._inode = 0
        self._has_synced_names = is_public

    @abstractmethod
    def _publish(self) -> None:
        """Give a new file its name, `_target`; its data is durable."""

    @abstractmethod
    def _hand_on(self) -> None:
        """Give the working files the permissions of the destination."""

    @abstractmethod
    def _replace_journal(self, content: bytes) -> None:
        """Replace the journal by another file with this content."""

    @property
    def is_public(self) -> bool:
        """Whether the file has its name already: readers see its last state."""
        return self._is_public

    @property
    def data_path(self) -> Path:
        """The file that receives the bytes."""
        return self.path if self._is_public else self.partial

    @property
    def journal_facts(self) -> dict[str, Any]:
        """`sync`, name of the destination, inode of the file that receives the bytes."""
        # closed: before Python 3.12, `isinstance` reads this property, too, at any time
        with suppress(OSError):
            self._inode = os.fstat(self._fd).st_ino
        return {"sync": self.sync, "name": self.path.name, "inode": self._inode}

    @property
    def nbytes(self) -> int:
        """Size in bytes of the file that receives the bytes, without a user block."""
        return os.fstat(self._fd).st_size - self.base_address

    def read_log(self) -> bytes:
        """Read the journal of an interrupted write; empty if there is none."""
        with self._failing(f"{self.journal} cannot be read"):
            return self._journal.read()

    def has_name(self, path: str | os.PathLike[str]) -> bool:
        """Tell whether the file has the name `path`; after a crash between link and unlink it has two names."""
        return files.leads_to(path, self._fd)

    def resume_at(self, log_nbytes: int, nbytes: int, entries: bytes, *, is_synced: bool = False) -> None:
        """Cut the journal to its complete entries and the data to what they claim; append `entries`.

        `is_synced`: all parts of the write had ``sync="batch"``, so everything claimed is on the disk.
        """
        with self._failing("it cannot be resumed"):
            self._check_name(self.data_path, self._fd)
            self._cut_journal(log_nbytes)
            self._truncate(min(nbytes, self.nbytes))  # always: there may be space behind the end
            self._hand_on()
            if self.sync == "batch" and is_synced:
                self._journal.keep()
            self._journal.add(entries, 0)
            self._journal.flush()

    def read(self, address: int, nbytes: int) -> bytes:
        """Read bytes of the file; fewer than `nbytes` at its end."""
        with self._writing(), self._failing(f"{self.data_path} cannot be read"):
            return files.read(self._fd, self.base_address + address, nbytes, self._system)

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Append entries to the journal; the `nbytes` of data that they claim have already been written."""
        with self._writing():
            is_due = self._journal.add(entries, nbytes)
            if self.sync != "batch" or is_due or is_urgent:
                self._flush_log(is_patient=self.sync != "batch" or is_urgent)

    def shorten_log(self, shorten: Callable[[bytes], bytes | None]) -> None:
        """Replace the journal if it is long: see `Shortenable`."""
        # a power cut may leave either file; the old one says which of its entries are in the public file
        with self._writing(), suppress(OSError, DestinationBusyError):
            if self._journal.shorten(shorten, self._replace_journal):
                self._has_synced_names = False

    def flush(self, nbytes: int) -> None:
        """Make the `nbytes` that the superblock refers to durable, and show them to readers; writing continues.

        For one thread at a time; others may write meanwhile.
        """
        with self._writing(), self._failing("its present state could not be published"):
            self._turns.alone(self._grow, nbytes)
            if self._is_public:
                self._switch(nbytes)
                return
            self._lock_as_public()
            try:
                self._become_public()
            finally:
                # A call that fails may have had its effect. Then readers see the file, and its superblock is held back
                # from now on: a repeated flush would overwrite it before what it refers to is durable.
                if files.leads_to(self._target, self._fd):
                    self._is_public, self._public_nbytes, self._shown = True, nbytes, self._superblock

    def suspend(self) -> None:
        """Stop writing, and keep what was written so that it can be resumed."""
        self._end("suspended", self._keep)

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        if address == 0:
            self._superblock = b"".join(bytes(buffer) for buffer in buffers)
        if address or not self._is_public:
            place = self.base_address + address
            nbytes = sum(map(len, buffers))
            self._space.will_write(self._fd, place, nbytes)
            self._turns.shared(files.write, self._fd, place, buffers, self._system)
            if self.sync != "none":
                self._check_durable(self._write_back.wrote, self._fd, place, nbytes)

    def _become_public(self) -> None:
        """Give a new file its name, durably."""
        self._sync_if_wanted()
        self._has_synced_names = False
        self._publish()
        self._sync_names_if_wanted()

    def _switch(self, nbytes: int) -> None:
        """Fsync the new bytes and the journal, write the superblock, fsync again."""
        self._sync_if_wanted()
        self._sync_names_if_wanted()
        # without the entry that names the new state, everything in the journal would be of an unknown state
        if self.sync != "none":
            try:
                self._journal.sync()
            finally:
                if self._journal.is_taken_back:
                    self._fail()
        self.check_name()
        self._check_shown()
        self._is_switching = True  # before the write: one that fails may still have reached the disk
        files.write(self._fd, self.base_address, [self._superblock], self._system)
        self._sync_if_wanted()
        self.check_name()
        self._is_switching = False
        self._public_nbytes, self._shown = nbytes, self._superblock

    def _sync_names_if_wanted(self) -> None:
        if self.sync != "none" and not self._has_synced_names:
            files.sync_names(self._target.parent, self._system)
            self._has_synced_names = True

    def check_name(self) -> None:
        """Refuse to continue if the name of a public file now leads to another file.

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

    def _check_shown(self) -> None:
        """Refuse to continue if the superblock is not the one that readers have been shown.

        HDF5 truncates a file that it creates anew before it tries to lock it (H5F_open), and a program may have been
        told to take no locks.

        Raises
        ------
        SinkError
            Another program has written to the file, or truncated it.
        """
        if self._is_switching:  # repeated after a failure: either superblock may be there
            return
        if files.read(self._fd, self.base_address, len(self._shown), self._system) != self._shown:
            self._public_nbytes = None  # not cut back: what lies behind may be of the other program
            raise SinkError(
                f"cannot add to {self.path}: another program has written to it or truncated it meanwhile, without "
                "heeding its lock; nothing was added",
                path=str(self.path),
            )

    def _cut_back(self) -> None:
        """Cut off what was added to a public file, unless the superblock that refers to it may be written already."""
        end = self._public_nbytes
        if end is None or self._is_switching:
            return
        with suppress(OSError):  # readers ignore the bytes, and the next addition overwrites them
            if end < self.nbytes or self._space.is_requested:
                self._truncate(min(end, self.nbytes))  # it may be the end of leases, beyond the file

    def _grow(self, nbytes: int) -> None:
        """Extend the file to at least `nbytes`, alone: what another thread writes behind them would be cut off."""
        if self.nbytes < nbytes:
            self._truncate(nbytes)

    def _truncate(self, nbytes: int) -> None:
        self._system.ftruncate(self._fd, self.base_address + nbytes)

    def _keep(self) -> None:
        with suppress(OSError):  # what could not be entered in the journal is computed again by a resume
            self._check_durable(self._write_back.settle)
            self._flush_log()
        self._space.free(self._fd, self._system)

    def _lock_as_public(self) -> None:
        """Lock the file as HDF5's readers do: they may read meanwhile, and no HDF5 library opens it for writing."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return  # a file system without locks
            raise DestinationBusyError(
                f"another program has opened {self.data_path} for writing; close it there",
                path=str(self.data_path),
            ) from error

    def _remove(self, *named: tuple[Path, int]) -> None:
        for path, fd in named:
            with suppress(OSError):  # a failed clean-up must not hide how the write ended
                files.remove(path, fd, self._system)

    def _close(self) -> None:
        with suppress(OSError):
            self._write_back.settle()
        files.close(self._fd, self._system)
        files.close(self._journal.fd, self._system)

    def _cut_journal(self, nbytes: int) -> None:
        """Cut the journal, or replace it by a copy if it has other names, whose content must not change."""
        remove_temporary(self.journal, self._system)
        if not files.has_other_names(self._journal.fd):
            self._journal.cut(nbytes)
            return
        self._check_name(self.journal, self._journal.fd)
        self._replace_journal(self._journal.read()[:nbytes] if nbytes else b"")

    def _flush_log(self, *, is_patient: bool = True) -> None:
        """Write the waiting entries; with ``sync="batch"`` sync first the data, then the journal."""
        is_batch = self.sync == "batch"
        try:
            with self._failing("the journal could not be written"):
                self._journal.flush(self._sync_data if is_batch else None, is_patient=is_patient)
                if is_batch and not self._has_synced_names:  # new files: their names must be durable, too
                    files.sync_names(self.path.parent, self._system)
                    self._has_synced_names = True
        finally:
            if self._journal.is_taken_back:
                self._fail()

    def _sync_if_wanted(self) -> None:
        if self.sync != "none":
            self._sync_data()

    def _sync_data(self) -> None:
        self._check_durable(self._write_back.sync, self._system.fsync, self._fd)

    def _check_durable(self, call: Callable[..., None], *arguments: Any) -> None:
        """Make a call that tells whether data were lost."""
        try:
            with self._failing("fsync of the data failed"):
                call(*arguments)
        except SinkError:
            # a second fsync would succeed although the pages are lost: nothing more may be claimed
            self._journal.take_back()
            self._fail()
            raise

    def _check_name(self, path: Path, fd: int) -> None:
        files.check_name(path, fd, self.path)
