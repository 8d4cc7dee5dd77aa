"""Adding to a file in place: new bytes behind its end, the superblock last.

Until the superblock is written, 48 bytes at once after everything else is on the disk, the file is
what it was: readers see the old end of file and the old root group. What a crash leaves behind the
old end is ignored by readers and overwritten by the next addition.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from streamh5.errors import DestinationBusyError, SinkError, StateError
from streamh5.sinks.destination_path import real_path
from streamh5.sinks.gate import Gate
from streamh5.sinks.inode_lock import lock_inode
from streamh5.sinks.journal_file import open_locked
from streamh5.sinks.named_file import leads_to, open_own, refuse_irregular, remove, stat_of
from streamh5.sinks.replaced_file import NEW_FILE_MODE
from streamh5.sinks.vectored_write import write_vectored
from streamh5.sinks.working_names import journal_path, partial_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.paths import LocalPath
    from streamh5.sinks.base import Buffer

__all__ = ["AppendFileSink"]

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class AppendFileSink:
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

    keeps_journal = False

    def __init__(self, path: LocalPath, *, sync: Sync = "close", system: Any = os) -> None:
        self.path = real_path(path)
        self.sync = sync
        self.end_of_file: int | None = None
        self._system = system
        # the lock of a writer that replaces the file: one of both may be at work
        self._lock_path = journal_path(partial_path(self.path))
        self._superblock = b""
        self._is_switched = False
        self._gate = Gate(str(self.path))
        with self._failing("opening it failed"):
            self._lock_fd, _ = open_locked(self._lock_path, self.path, self._open_lock, system)
            try:
                self._fd = self._open()
            except BaseException:
                self._unlock()
                raise

    @property
    def name(self) -> str:
        """What a message calls the destination."""
        return str(self.path)

    @property
    def journal_facts(self) -> dict[str, Any]:
        """Nothing: there is no journal."""
        return {}

    def check_name(self) -> None:
        """Refuse to go on when the name leads to another file by now.

        Raises
        ------
        SinkError
            Another program has replaced or removed it.
        """
        if not leads_to(self.path, self._fd):
            raise SinkError(
                f"cannot add to {self.path}: another program has replaced or removed it meanwhile, so the addition "
                "would be lost; nothing was added, add to the present file again",
                path=str(self.path),
            )

    def has_name(self, path: str | os.PathLike[str]) -> bool:
        """Whether the file has the name `path`."""
        return leads_to(path, self._fd)

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put `buffers` at `address`, behind the old end; the superblock is kept for `commit`."""
        with self._gate.writing():
            if address == 0:
                self._superblock = b"".join(bytes(buffer) for buffer in buffers)
            elif self.end_of_file is None or address < self.end_of_file:
                raise StateError(f"{self.path}: byte {address:,} belongs to the file that is added to")
            else:
                with self._failing(f"writing at byte {address:,} failed"):
                    write_vectored(self._system, self._fd, address, buffers)

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Keep no journal: what was there is safe, and the addition is made again."""

    def snapshot(self, path: Path) -> None:
        """Refuse: a snapshot would be a second name of the file itself."""
        raise SinkError(f"{self.path} is added to in place; a checkpoint of it is not possible")

    def commit(self, nbytes: int) -> None:
        """Fsync the new bytes, write the superblock, fsync again."""
        with self._gate.committing(), self._failing("the addition could not be completed"):
            self._system.ftruncate(self._fd, nbytes)
            self._fsync()
            self.check_name()
            self._is_switched = True
            write_vectored(self._system, self._fd, 0, [self._superblock])
            self._fsync()
            self.check_name()
        self._close()

    def suspend(self) -> None:
        """Give up: there is nothing to resume."""
        self.abort()

    def abort(self) -> None:
        """Cut the new bytes off."""
        if self._gate.end("aborted") is None:
            return
        # once the superblock may be the new one, the bytes that it names stay
        if self.end_of_file is not None and not self._is_switched:
            with suppress(OSError):
                self._system.ftruncate(self._fd, self.end_of_file)
        self._close()

    def _open(self) -> int:
        status = stat_of(self.path)
        if status is not None:
            refuse_irregular(self.path, status)
        fd: int = self._system.open(self.path, _FLAGS)
        try:
            refuse_irregular(self.path, os.fstat(fd))
            if not lock_inode(fd, is_exclusive=True):
                raise DestinationBusyError(
                    f"another writer is at work on {self.path}, maybe by another name of that file; wait for it",
                    path=str(self.path),
                )
            try:
                # as a reader's, which HDF5 takes too: others may read meanwhile, and none of them write
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                raise DestinationBusyError(
                    f"another program has {self.path} open for writing; close it there", path=str(self.path)
                ) from error
        except BaseException:
            with suppress(OSError):
                self._system.close(fd)
            raise
        return fd

    def _fsync(self) -> None:
        if self.sync != "none":
            self._system.fsync(self._fd)

    def _open_lock(self, path: Path) -> tuple[int, bool]:
        return open_own(path, NEW_FILE_MODE, self._system)

    def _unlock(self) -> None:
        if os.fstat(self._lock_fd).st_size == 0:  # not the journal of an interrupted write
            with suppress(OSError):
                remove(self._lock_path, self._lock_fd, self._system)
        with suppress(OSError):
            self._system.close(self._lock_fd)

    def _close(self) -> None:
        with suppress(OSError):
            self._system.close(self._fd)
        self._unlock()

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Say which file it was that an operation failed on."""
        try:
            yield
        except SinkError:
            raise
        except OSError as error:
            failure = SinkError(
                f"cannot add to {self.path}: {what}: {error.strerror or error}", path=str(self.path)
            )
            failure.errno = error.errno
            raise failure from error
