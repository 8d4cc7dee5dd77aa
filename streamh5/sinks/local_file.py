"""A file on a local or mounted file system, published by fsync and rename.

Bytes go to ``OUT.partial`` beside the destination ``OUT``, and a journal of what they are to
``OUT.partial.journal``. The order at commit is: fsync the data, give the file its name, fsync the
directory, remove the journal. At every moment the destination is the old file or the complete new
one. A lock on the journal (``flock``, which dies with its process) keeps a second writer away.

``sync`` says what an entry of the journal waits for:

======== ==================================================================================
"close"  nothing: after a crash of the process all is there; after a power cut the claims are
         checked against the data by their checksums
"batch"  every `BATCH_SECONDS` or `BATCH_NBYTES`: fdatasync the data, then append the entries,
         then fdatasync the journal: a power cut loses the last batch at most
"none"   nothing, and no fsync at commit either
======== ==================================================================================
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from streamh5.errors import (
    DestinationExistsError,
    DestinationMissingError,
    SinkError,
    SpecError,
    StateError,
)
from streamh5.sinks.journal_file import JournalFile, open_locked
from streamh5.sinks.vectored_write import write_vectored

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamh5.sinks.base import Buffer

__all__ = [
    "JOURNAL_SUFFIX",
    "PARTIAL_SUFFIX",
    "SYNC_MODES",
    "LocalFileSink",
    "Sync",
    "check_destination",
    "check_path",
    "check_sync",
]

PARTIAL_SUFFIX = ".partial"
JOURNAL_SUFFIX = ".journal"
SNAPSHOT_SUFFIX = ".snapshot"

Sync = Literal["close", "batch", "none"]
SYNC_MODES: tuple[Sync, ...] = ("close", "batch", "none")


class LocalFileSink:
    """Write a partial file beside `path` and publish it on commit.

    Parameters
    ----------
    path
        Destination. A symbolic link is followed: the file that it points at is replaced.
    overwrite
        Replace an existing file; otherwise it is an error, also when it appears meanwhile.
    sync
        See above.
    publish_as
        Another name in the same file system under which `commit` publishes; `overwrite` is about it.
    system
        The system calls, by their names in `os`; for tests of faults.

    Attributes
    ----------
    log
        Journal of an interrupted write that is there; empty when there is none. Call `restart` to
        drop it or `resume_at` to go on with it, before anything is written.

    Raises
    ------
    DestinationExistsError
        The destination exists and `overwrite` is False.
    DestinationMissingError
        Its directory does not exist.
    DestinationBusyError
        Another writer is at work.
    SinkError
        It is a directory, or its directory cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool,
        sync: Sync = "close",
        publish_as: str | os.PathLike[str] | None = None,
        system: Any = os,
    ) -> None:
        check_sync(sync)
        check_destination(path if publish_as is None else publish_as, overwrite=overwrite)
        self.path = Path(os.path.realpath(path))
        self._target = self.path if publish_as is None else Path(os.path.realpath(publish_as))
        self.partial = self.path.with_name(self.path.name + PARTIAL_SUFFIX)
        self.journal = self.partial.with_name(self.partial.name + JOURNAL_SUFFIX)
        self.sync = sync
        self._overwrite = overwrite
        self._system = system
        self._state = "open"
        self._n_writing = 0
        self._idle = threading.Condition()
        self._snapshots = {self.path.with_name(self.path.name + SNAPSHOT_SUFFIX)}
        self._has_synced_names = False
        journal_fd = open_locked(self.journal, self.path, self._open, system)
        self._journal = JournalFile(journal_fd, system)
        try:
            with self._failing(f"{self.journal} cannot be read"):
                self.log = self._journal.read()
            self._fd = self._open(self.partial)
        except BaseException:
            with suppress(OSError):
                self._system.close(journal_fd)
            raise

    keeps_journal = True

    @property
    def name(self) -> str:
        """What a message calls the destination."""
        return str(self.path)

    @property
    def nbytes(self) -> int:
        """Size of the partial file."""
        return os.fstat(self._fd).st_size

    def is_published_as(self, path: str | os.PathLike[str]) -> bool:
        """Whether the partial file has the name `path` too: a crash came between link and unlink."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._fd))
        except (OSError, ValueError):
            return False

    def restart(self) -> None:
        """Drop what an interrupted write has left, but not what readers see of it under other names."""
        with self._failing("what an interrupted write has left cannot be removed"):
            self._journal.cut(0)
            if self.nbytes:
                self._system.unlink(self.partial)
                old, self._fd = self._fd, self._open(self.partial)
                self._system.close(old)
        self.log = b""
        if self.path.exists():
            with suppress(OSError):  # keep the permissions of the file that is replaced
                self._system.fchmod(self._fd, stat.S_IMODE(self.path.stat().st_mode))

    def resume_at(self, log_nbytes: int, nbytes: int, entries: bytes, *, is_synced: bool = False) -> None:
        """Cut the journal to its whole entries and the data to what they claim; go on with `entries`.

        `is_synced`: each part of the write had ``sync="batch"``, so that what is claimed is on the disk.
        """
        with self._failing("it cannot be taken up"):
            self._journal.cut(log_nbytes)
            if nbytes < self.nbytes:
                self._system.ftruncate(self._fd, nbytes)
            if self.sync == "batch" and is_synced:
                self._journal.keep()
            self._journal.add(entries, 0)
            self._journal.flush()
        self.log = b""

    def read(self, address: int, nbytes: int) -> bytes:
        """Read back bytes of an interrupted write; fewer at the end of the file."""
        with self._failing(f"{self.partial} cannot be read"):
            return cast("bytes", self._system.pread(self._fd, nbytes, address))

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put `buffers`, one after the other, at `address`."""
        with self._writing() as fd:
            try:
                write_vectored(self._system, fd, address, buffers)
            except OSError as error:
                raise self._failed(f"writing at byte {address:,} failed", error) from error

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Append entries to the journal; the `nbytes` of data that they claim have been written before."""
        with self._writing():
            is_due = self._journal.add(entries, nbytes)
            if self.sync != "batch" or is_due or is_urgent:
                self._flush_log(is_patient=self.sync != "batch" or is_urgent)

    def snapshot(self, path: Path) -> None:
        """Give the partial file a second name, under which readers see what its superblock names."""
        with self._writing():
            if os.path.realpath(path) in map(str, (self.path, self.partial, self.journal, self._target)):
                raise SpecError(f"a snapshot cannot have the name {path}, which the write itself uses")
            self._flush_log()
            if self.sync != "none":
                self._sync_data()
            temporary = _temporary(path)  # may be left from a crash
            with self._failing(f"the snapshot {path} needs a file system with hard links"):
                with suppress(FileNotFoundError):
                    self._system.unlink(temporary)
                self._system.link(self.partial, temporary)
                self._system.replace(temporary, path)
                with suppress(FileNotFoundError):  # rename does nothing between two names of one file
                    self._system.unlink(temporary)
            self._snapshots.add(path)

    def commit(self, nbytes: int) -> None:
        """Fsync the `nbytes` of the file, rename it to the destination, fsync the directory."""
        self._leave("being committed")
        try:
            self._system.ftruncate(self._fd, nbytes)
            if self.sync != "none":
                self._sync_data()
            self._publish()
            if self.sync != "none":
                self._fsync_directory()
        except OSError as error:
            self._state = "failed"
            raise self._failed("it could not be published", error) from error
        except BaseException:
            self._state = "failed"
            raise
        self._state = "committed"
        with suppress(OSError):
            self._system.unlink(self.journal)
        for snapshot in filter(self.is_published_as, self._snapshots):
            with suppress(OSError):
                self._system.unlink(snapshot)
        self._tidy()
        self._close()

    def suspend(self) -> None:
        """Stop, and keep what is written, to be resumed."""
        if self._end("suspended"):
            with suppress(OSError):
                self._flush_log()
            self._close()

    def abort(self) -> None:
        """Remove what was written; the destination stays as it was."""
        if self._end("aborted"):
            # unlink before close: the lock is held until nobody can find the files
            for path in (self.partial, self.journal):
                with suppress(OSError):
                    self._system.unlink(path)
            self._tidy()
            self._close()

    def _tidy(self) -> None:
        """Remove what a crash within `snapshot` can have left."""
        for temporary in map(_temporary, self._snapshots):
            with suppress(OSError):
                self._system.unlink(temporary)

    def _end(self, state: str) -> bool:
        with self._idle:
            if self._state in ("committed", "aborted", "suspended"):
                return False
            self._state = state
            self._idle.wait_for(lambda: self._n_writing == 0)
        return True

    def _leave(self, state: str) -> None:
        with self._idle:
            if self._state != "open":
                raise StateError(f"{self.path} is {self._state}; it cannot be committed")
            self._state = state
            self._idle.wait_for(lambda: self._n_writing == 0)

    @contextmanager
    def _writing(self) -> Iterator[int]:
        with self._idle:
            if self._state != "open":
                raise StateError(f"{self.path} is {self._state}; nothing more can be written to it")
            self._n_writing += 1
        try:
            yield self._fd
        finally:
            with self._idle:
                self._n_writing -= 1
                self._idle.notify_all()

    def _close(self) -> None:
        for fd in (self._fd, self._journal.fd):
            with suppress(OSError):
                self._system.close(fd)

    def _open(self, path: Path) -> int:
        try:
            return cast("int", self._system.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
        except OSError as error:
            raise self._failed(f"{path} cannot be created", error) from error

    def _flush_log(self, *, is_patient: bool = True) -> None:
        """Write the entries that wait; with ``sync="batch"`` data first, and each synced."""
        is_batch = self.sync == "batch"
        try:
            with self._failing("the journal could not be written"):
                self._journal.flush(self._sync_data if is_batch else None, is_patient=is_patient)
                if is_batch and not self._has_synced_names:  # the files are new: their names have to last too
                    self._fsync_directory()
                    self._has_synced_names = True
        finally:
            if self._journal.is_taken_back and self._state == "open":
                self._state = "failed"

    def _sync_data(self) -> None:
        try:
            self._system.fsync(self._fd)
        except OSError as error:
            self._journal.take_back()
            self._state = "failed"
            raise self._failed("the disk did not take the data (fsync)", error) from error

    def _publish(self) -> None:
        if self._overwrite:
            self._system.replace(self.partial, self._target)
            return
        try:
            self._system.link(self.partial, self._target)  # unlike rename, link fails when the name exists
        except FileExistsError:
            raise _exists(self._target) from None
        except OSError:  # no hard links here
            if self._target.exists():
                raise _exists(self._target) from None
            self._system.replace(self.partial, self._target)
        else:
            self._system.unlink(self.partial)

    def _fsync_directory(self) -> None:
        fd = self._system.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._system.fsync(fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot do that
                raise
        finally:
            self._system.close(fd)

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Say which destination it was that an operation failed on."""
        try:
            yield
        except SinkError:
            raise
        except OSError as error:
            raise self._failed(what, error) from error

    def _failed(self, what: str, error: OSError) -> SinkError:
        if isinstance(error, SinkError):
            return error
        failure = SinkError(
            f"cannot write {self.path}: {what}: {error.strerror or error}", path=str(self.path)
        )
        failure.errno = error.errno
        return failure


def _temporary(snapshot: Path) -> Path:
    return snapshot.with_name(f".{snapshot.name}.streamh5")


def check_sync(sync: str) -> None:
    """Refuse a durability that there is not.

    Raises
    ------
    SpecError
        Not one of `SYNC_MODES`.
    """
    if sync not in SYNC_MODES:
        raise SpecError(f"sync must be one of {', '.join(map(repr, SYNC_MODES))}, not {sync!r}", sync=sync)


def check_path(path: object) -> None:
    """Refuse what is neither a path nor a `Sink`.

    Raises
    ------
    SpecError
        Another type, or a NUL character in a path.
    """
    is_path = isinstance(path, (str, os.PathLike))
    if not is_path and not hasattr(path, "commit"):
        raise SpecError(f"a destination must be a path (str or PathLike) or a Sink, not {path!r:.80}")
    if is_path and "\0" in str(path):
        raise SpecError(f"the path {path!r:.80} contains a NUL character, which no file name may")


def check_destination(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse a destination that cannot be written, before any work.

    Raises
    ------
    SinkError
        See `LocalFileSink`.
    """
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise DestinationMissingError(
            f"cannot write {path}: the directory {path.parent} does not exist; create it first",
            path=str(path),
        )
    if path.is_dir():
        raise SinkError(f"cannot write {path}: it is a directory; name a file in it", path=str(path))
    if path.exists() and not overwrite:
        raise _exists(path)
    if not os.access(path.parent, os.W_OK):
        raise SinkError(f"cannot write {path}: no permission to write in {path.parent}", path=str(path))


def _exists(path: Path) -> DestinationExistsError:
    return DestinationExistsError(
        f"{path} exists; pass overwrite=True (File: mode 'w') to replace it, or choose another name",
        path=str(path),
    )
