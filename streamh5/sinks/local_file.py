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

`flush` publishes the present state in the same way. From then on the file is public and is added to; it also has the
locks of an addition (`append_file`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from streamh5.errors import SinkError, SpecError, StateError
from streamh5.sinks import files
from streamh5.sinks.destination_path import check_destination, exists_error, real_path
from streamh5.sinks.journal_file import JournalFile
from streamh5.sinks.journaled_sink import JournaledSink
from streamh5.sinks.locks import lock_inode, open_journal
from streamh5.sinks.replaced_file import ReplacedFile
from streamh5.sinks.working_names import partial_path, snapshot_path, temporary_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.paths import LocalPath


class LocalFileSink(JournaledSink):
    """Write a partial file in the directory of `path` and publish it on commit.

    Parameters
    ----------
    path
        Destination. A symbolic link is followed: the file that it points to is replaced.
    overwrite
        Replace an existing file; otherwise one is an error, even if it appears during the write.
    sync
        ``"close"``, ``"batch"`` or ``"none"``, see `journaled_sink`.
    publish_as
        Another name, in the same file system, under which `commit` publishes; `overwrite` then concerns this name.
    system
        The system calls, by their names in `os`; for tests of faults.

    Attributes
    ----------
    path, partial, journal, leases
        See `JournaledSink`.

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

    base_address = 0  # a new file has no user block

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
        super().__init__(path, sync=sync, system=system, is_public=False)
        self._target = self.path if publish_as is None else real_path(publish_as)
        self._overwrite = overwrite
        self._snapshots = {snapshot_path(self.path)}
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

    def leave(self) -> None:
        """Close without having written: everything is as it was found."""
        if self._is_new:  # an empty file would stand for an interrupted write
            self._remove((self.partial, self._fd))
        self.suspend()

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

    def snapshot(self, path: Path) -> None:
        """Give the partial file a second name, under which readers see what its superblock refers to."""
        if self._is_public:
            raise StateError(
                f"{self.path} was flushed, so readers see it under its own name: call flush again, not checkpoint"
            )
        with self._writing():
            # a symbolic link of that name is replaced, not followed
            snapshot = real_path(path.parent) / path.name
            if snapshot in (self.path, self.partial, self.journal, self._target):
                raise SpecError(f"a snapshot cannot have the name {path}, because the write itself uses it")
            self._flush_log()
            if self.sync != "none":
                self._sync_data()
            with self._failing(f"the snapshot {path} needs a file system with hard links"):
                # the temporary name may exist after a crash
                files.link_over(self.partial, self._fd, temporary_path(snapshot), snapshot, self._system)
            self._snapshots.add(snapshot)

    def _keep(self) -> None:
        with suppress(OSError):
            self._close_leases()
        super()._keep()

    def _commit(self, nbytes: int) -> None:
        """Make the `nbytes` of the file durable and public, and remove the working names."""
        self.leases.fence() if self._is_public else self.leases.close()
        self._truncate(nbytes)
        if self._is_public:
            self._switch(nbytes)
        else:
            self._replaced.finish(self._fd)
            self._become_public()
        with suppress(OSError):
            self.leases.close()
        # after the sync of the names: a power cut before it must leave the journal, from which to resume
        self._remove((self.journal, self._journal.fd), *((one, self._fd) for one in self._snapshots))
        self._remove((self.partial, self._fd))  # left by a flush that failed between link and unlink

    def _lock_as_public(self) -> None:
        lock_inode(self._fd, self.partial, is_exclusive=True)
        super()._lock_as_public()

    def _drop(self) -> None:
        self._unname()
        self._cut_back()

    def _unname(self) -> None:
        with suppress(OSError):
            self.leases.close()
        self._tidy()
        # removed before they are closed: the lock is held until no other writer can open the files
        self._remove((self.partial, self._fd), (self.journal, self._journal.fd))
        if self._is_public:
            self._remove(*((one, self._fd) for one in self._snapshots))

    def _tidy(self) -> None:
        """Remove what a crash during `snapshot` may have left.

        While the partial file has its name: after a crash without it, nothing tells whose file that was.
        """
        self._remove(*((temporary_path(one), self._fd) for one in self._snapshots))

    def _close(self) -> None:
        super()._close()
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

    def _replace_journal(self, content: bytes) -> None:
        mode, hand_on = self._replaced.creation_mode, self._replaced.hand_on
        self._journal.replace(self.journal, self.path, content, mode, hand_on)

    def _publish(self) -> None:
        self._check_name(self.partial, self._fd)
        self._tidy()
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
