"""A file on a local or mounted file system, published by fsync and rename.

Bytes are written to ``OUT.partial`` in the directory of the destination ``OUT``, and a journal that describes them to
``OUT.partial.journal``. At every moment the destination is either the old file or the complete new one::

    write ──▶ OUT.partial            append_log ──▶ OUT.partial.journal
                  │ fsync the data                          │
                  │ rename, or link and unlink              │
              OUT ◀                                         │
                  │ fsync the directory                     │
                  └────────────────────────────────▶ remove the journal

Locks, in the order in which they are taken, each held until the sink is closed:

1. the inode of the replaced file, shared: no writer adds to it meanwhile (`replaced_file`);
2. ``flock`` on the journal, exclusive, released when its process ends: one writer for each name;
3. the inode of the partial file, shared: no writer adds to it under another name (`locks`).

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

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from streamh5.errors import SinkError, SpecError
from streamh5.sinks import files
from streamh5.sinks.destination_path import check_destination, exists_error, real_path
from streamh5.sinks.gated_sink import GatedSink
from streamh5.sinks.journal_file import JournalFile
from streamh5.sinks.leases import LeaseFolder
from streamh5.sinks.locks import lock_inode, open_journal
from streamh5.sinks.replaced_file import ReplacedFile
from streamh5.sinks.working_names import (
    journal_path,
    leases_path,
    partial_path,
    snapshot_path,
    temporary_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.paths import LocalPath
    from streamh5.sinks.base import Buffer


class LocalFileSink(GatedSink):
    """Write a partial file in the directory of `path` and publish it on commit.

    Parameters
    ----------
    path
        Destination. A symbolic link is followed: the file that it points to is replaced.
    overwrite
        Replace an existing file; otherwise one is an error, even if it appears during the write.
    sync
        ``"close"``, ``"batch"`` or ``"none"``, see the module.
    publish_as
        Another name, in the same file system, under which `commit` publishes; `overwrite` then concerns this name.
    system
        The system calls, by their names in `os`; for tests of faults.

    Attributes
    ----------
    partial, journal
        The working names.
    leases
        The folder of the leases, while other processes write, too.

    Raises
    ------
    DestinationExistsError
        The destination exists and `overwrite` is False.
    DestinationMissingError
        Its directory does not exist.
    DestinationBusyError
        Another writer is at work.
    SinkError
        It is not a regular file, its directory cannot be written, or its working name is taken by a file of
        another program.
    """

    def __init__(
        self,
        path: LocalPath,
        *,
        overwrite: bool,
        sync: Sync = "close",
        publish_as: LocalPath | None = None,
        system: Any = os,
    ) -> None:
        check_destination(path if publish_as is None else publish_as, overwrite=overwrite)
        self.path = real_path(path)
        super().__init__(str(self.path))
        self._target = self.path if publish_as is None else real_path(publish_as)
        self.partial = partial_path(self.path)
        self.journal = journal_path(self.partial)
        self.leases = LeaseFolder(leases_path(self.partial))
        self.sync = sync
        self._overwrite = overwrite
        self._system = system
        self._snapshots = {snapshot_path(self.path)}
        self._has_synced_names = False
        with self._failing("the existing file cannot be opened"):
            self._replaced = ReplacedFile(self._target, system)
        try:
            self._open()
        except BaseException:
            self._replaced.close()
            raise

    def _open(self) -> None:
        """Open and lock the journal, then open the partial file."""
        with self._failing(f"{self.journal} cannot be created"):
            journal_fd, is_new_write = open_journal(
                self.journal, self.path, self._replaced.creation_mode, self._system
            )
        self._journal = JournalFile(journal_fd, self._system)
        try:
            with self._failing(f"{self.partial} cannot be created"):
                self._fd, self._is_new = files.open_or_create(
                    self.partial, self._replaced.creation_mode, self._system
                )
            with files.closed_on_error(self._fd, self._system):
                if is_new_write and self.nbytes and not files.has_other_names(self._fd):
                    raise SinkError(
                        f"cannot write {self.path}: {self.partial} is in the way: it has no journal, so it is not of "
                        "an interrupted write; remove or rename it",
                        path=str(self.partial),
                    )
                lock_inode(self._fd, self.partial, is_exclusive=False)
                if self._is_new:
                    self._hand_on()
                with self._failing(f"{self.leases.path} cannot be removed"):
                    self._close_leases()  # those of a writer that died
        except BaseException:
            if is_new_write:
                self._remove((self.journal, journal_fd))
            files.close(journal_fd, self._system)
            raise

    @property
    def journal_facts(self) -> dict[str, Any]:
        """`sync`, name of the destination, inode of the partial file."""
        return {"sync": self.sync, "name": self.path.name, "inode": os.fstat(self._fd).st_ino}

    @property
    def data_path(self) -> Path:
        """The file that receives the bytes."""
        return self.partial

    @property
    def nbytes(self) -> int:
        """Size of the partial file in bytes."""
        return os.fstat(self._fd).st_size

    def read_log(self) -> bytes:
        """Read the journal of an interrupted write; empty if there is none.

        Before anything is written, call `restart` to discard that write or `resume_at` to resume it.
        """
        with self._failing(f"{self.journal} cannot be read"):
            return self._journal.read()

    def has_name(self, path: str | os.PathLike[str]) -> bool:
        """Tell whether the partial file has the name `path`; after a crash between link and unlink it has two names."""
        return files.leads_to(path, self._fd)

    def destination(self, name: str | None) -> Path:
        """Return the destination that a journal names, if its working names are those of this sink."""
        path = self.path if name is None else self.path.with_name(name)
        return path if partial_path(path) == self.partial else self.path

    def restart(self) -> None:
        """Discard an interrupted write, except for snapshots that readers see under other names."""
        with self._failing("the interrupted write cannot be removed"):
            self._cut_journal(0)
            if not self._is_new:
                self._tidy()
                files.remove(self.partial, self._fd, self._system)
                new = files.create(self.partial, self._replaced.creation_mode, self._system)
                old, self._fd = self._fd, new
                self._system.close(old)
                lock_inode(self._fd, self.partial, is_exclusive=False)
                self._hand_on()

    def check_content(self, inode: int | None, is_intact: Callable[[], bool]) -> None:
        """Refuse to write to a partial file with other names, unless it is the one that the journal describes.

        A snapshot is such a name, and so is the destination after a crash during `commit`.

        Parameters
        ----------
        inode
            Inode of the partial file when the journal was last written; None if the journal does not say.
        is_intact
            Tells whether the file holds what the journal claims: it may be a copy.

        Raises
        ------
        SinkError
            It is a file of another program.
        """
        is_same = inode == os.fstat(self._fd).st_ino
        if files.has_other_names(self._fd) and not is_same and not is_intact():
            raise SinkError(
                f"cannot write {self.path}: {self.partial} is not the file of its journal, and has other names (hard "
                "links) whose content would change; copy it to a file of its own of this name, then resume",
                path=str(self.partial),
            )

    def resume_at(self, log_nbytes: int, nbytes: int, entries: bytes, *, is_synced: bool = False) -> None:
        """Cut the journal to its complete entries and the data to what they claim; append `entries`.

        `is_synced`: all parts of the write had ``sync="batch"``, so everything claimed is on the disk.
        """
        with self._failing("it cannot be resumed"):
            self._check_name(self.partial, self._fd)
            self._cut_journal(log_nbytes)
            if nbytes < self.nbytes:
                self._system.ftruncate(self._fd, nbytes)
            self._hand_on()
            if self.sync == "batch" and is_synced:
                self._journal.keep()
            self._journal.add(entries, 0)
            self._journal.flush()

    def read(self, address: int, nbytes: int) -> bytes:
        """Read bytes of this write, or of the interrupted one; fewer than `nbytes` at the end of the file."""
        with self._writing(), self._failing(f"{self.partial} cannot be read"):
            return files.read(self._fd, address, nbytes, self._system)

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Append entries to the journal; the `nbytes` of data that they claim have already been written."""
        with self._writing():
            is_due = self._journal.add(entries, nbytes)
            if self.sync != "batch" or is_due or is_urgent:
                self._flush_log(is_patient=self.sync != "batch" or is_urgent)

    def snapshot(self, path: Path) -> None:
        """Give the partial file a second name, under which readers see what its superblock refers to."""
        with self._writing():
            snapshot = (
                real_path(path.parent) / path.name
            )  # a symbolic link of that name is replaced, not followed
            if snapshot in (self.path, self.partial, self.journal, self._target):
                raise SpecError(f"a snapshot cannot have the name {path}, because the write itself uses it")
            self._flush_log()
            if self.sync != "none":
                self._sync_data()
            with self._failing(f"the snapshot {path} needs a file system with hard links"):
                # the temporary name may exist after a crash
                files.link_over(self.partial, self._fd, temporary_path(snapshot), snapshot, self._system)
            self._snapshots.add(snapshot)

    def suspend(self) -> None:
        """Stop writing, and keep what was written so that it can be resumed."""
        self._end("suspended", self._keep)

    def _keep(self) -> None:
        with suppress(OSError):
            self._close_leases()
        with suppress(OSError):  # what could not be entered in the journal is computed again by a resume
            self._flush_log()

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        files.write(self._fd, address, buffers, self._system)

    def _commit(self, nbytes: int) -> None:
        """Fsync the `nbytes` of the file, rename it to the destination, fsync the directory."""
        self.leases.close()
        self._system.ftruncate(self._fd, nbytes)
        self._replaced.finish(self._fd)
        if self.sync != "none":
            self._sync_data()
        self._publish()
        if self.sync != "none":
            files.sync_names(self._target.parent, self._system)
        # after the sync of the names: a power cut before it must leave the journal, from which to resume
        self._remove((self.journal, self._journal.fd), *((one, self._fd) for one in self._snapshots))
        self._tidy()

    def _drop(self) -> None:
        self._unname()

    def _unname(self) -> None:
        with suppress(OSError):
            self.leases.close()
        # removed before they are closed: the lock is held until no other writer can open the files
        self._remove((self.partial, self._fd), (self.journal, self._journal.fd))
        self._tidy()

    def _tidy(self) -> None:
        """Remove what a crash during `snapshot` may have left."""
        self._remove(*((temporary_path(one), self._fd) for one in self._snapshots))

    def _remove(self, *named: tuple[Path, int]) -> None:
        for path, fd in named:
            with suppress(OSError):  # a failed clean-up must not hide how the write ended
                files.remove(path, fd, self._system)

    def _close(self) -> None:
        files.close(self._fd, self._system)
        files.close(self._journal.fd, self._system)
        self._replaced.close()

    def _close_leases(self) -> None:
        """End the write for all others, and extend the file to the end of their leases, after which a resume begins."""
        end = max((one.stop for one in self.leases.fence()), default=0)
        if end > self.nbytes and not files.has_other_names(self._fd):
            self._system.ftruncate(self._fd, end)
        self.leases.close()  # last: a crash before it leaves the leases to the next writer

    def _hand_on(self) -> None:
        for fd in (self._fd, self._journal.fd):  # the journal shows content, too: attributes, names
            self._replaced.hand_on(fd)

    def _cut_journal(self, nbytes: int) -> None:
        """Cut the journal, or replace it by a copy if it has other names, whose content must not change."""
        old = self._journal
        if not files.has_other_names(old.fd):
            old.cut(nbytes)
            return
        self._check_name(self.journal, old.fd)
        self._journal = old.copy(self.journal, self.path, nbytes, self._replaced.creation_mode)
        self._system.close(old.fd)

    def _flush_log(self, *, is_patient: bool = True) -> None:
        """Write the waiting entries; with ``sync="batch"`` sync first the data, then the journal."""
        is_batch = self.sync == "batch"
        try:
            with self._failing("the journal could not be written"):
                self._journal.flush(self._sync_data if is_batch else None, is_patient=is_patient)
                if (
                    is_batch and not self._has_synced_names
                ):  # the files are new: their names must be durable, too
                    files.sync_names(self._target.parent, self._system)
                    self._has_synced_names = True
        finally:
            if self._journal.is_taken_back:
                self._fail()

    def _sync_data(self) -> None:
        try:
            with self._failing("fsync of the data failed"):
                self._system.fsync(self._fd)
        except SinkError:
            # a second fsync would succeed although the pages are lost: nothing more may be claimed
            self._journal.take_back()
            self._fail()
            raise

    def _publish(self) -> None:
        self._check_name(self.partial, self._fd)
        if self._overwrite:
            files.check_regular(self._target)
            self._system.replace(self.partial, self._target)
        elif not self._link():
            if files.stat_of(self._target) is not None:
                raise exists_error(self._target)
            self._system.replace(self.partial, self._target)
        self._check_name(self._target, self._fd)
        self._remove((self.partial, self._fd))

    def _link(self) -> bool:
        """Link the file to its name, which unlike rename fails if the name exists; False without hard links."""
        try:
            self._system.link(self.partial, self._target)
        except FileExistsError:
            raise exists_error(self._target) from None
        except OSError:
            return False
        if not files.leads_to(self._target, self._fd):  # another file took the working name before the link
            linked = files.stat_of(self._target)
            partial = files.stat_of(self.partial)
            if linked is not None and partial is not None and os.path.samestat(linked, partial):
                self._system.unlink(self._target)
        return True

    def _check_name(self, path: Path, fd: int) -> None:
        files.check_name(path, fd, self.path)
