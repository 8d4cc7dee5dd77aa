"""A file on a local or mounted file system, published by fsync and rename.

Bytes go to ``OUT.partial`` beside the destination ``OUT``. The order at commit is: fsync the data,
give the file its name, fsync the directory. At every moment the destination is the old file or the
complete new one. A lock on the partial file (``flock``, which dies with its process) keeps a second
writer away; a partial file that nobody holds is a left-over and is taken over.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from streamh5.errors import (
    DestinationBusyError,
    DestinationExistsError,
    DestinationMissingError,
    SinkError,
    StateError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamh5.sinks.base import Buffer

__all__ = ["PARTIAL_SUFFIX", "LocalFileSink", "check_destination"]

PARTIAL_SUFFIX = ".partial"

MAX_BUFFERS = os.sysconf("SC_IOV_MAX")
"""Buffers that one vectored write takes (1024 on Linux and macOS)."""


class LocalFileSink:
    """Write a partial file beside `path` and publish it on commit.

    Parameters
    ----------
    path
        Destination. A symbolic link is followed: the file that it points at is replaced.
    overwrite
        Replace an existing file; otherwise it is an error, also when it appears meanwhile.

    Raises
    ------
    DestinationExistsError
        The destination exists and `overwrite` is False.
    DestinationMissingError
        Its directory does not exist.
    DestinationBusyError
        Another writer holds the partial file.
    SinkError
        It is a directory, or its directory cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool) -> None:
        self.path = Path(os.path.realpath(path))
        self.partial = self.path.with_name(self.path.name + PARTIAL_SUFFIX)
        self.overwrite = overwrite
        check_destination(self.path, overwrite=overwrite)
        self._fd = self._open_partial()
        self._state = "open"
        self._n_writing = 0
        self._idle = threading.Condition()

    @property
    def name(self) -> str:
        """What a message calls the destination."""
        return str(self.path)

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put `buffers`, one after the other, at `address`."""
        with self._writing() as fd:
            _write_vectored(fd, address, buffers)

    def commit(self, nbytes: int) -> None:
        """Fsync the `nbytes` of the file, rename it to the destination, fsync the directory."""
        self._close_to("committing")
        try:
            os.ftruncate(self._fd, nbytes)
            os.fsync(self._fd)
            self._publish()
            _fsync_directory(self.path.parent)
        except BaseException:
            self._state = "failed"
            raise
        self._state = "committed"
        os.close(self._fd)

    def abort(self) -> None:
        """Remove the partial file; the destination stays as it was."""
        with self._idle:
            if self._state in ("committed", "aborted"):
                return
            self._state = "aborted"
            self._idle.wait_for(lambda: self._n_writing == 0)
        # unlink before close: the lock is held until nobody can find the file
        with suppress(OSError):
            self.partial.unlink()
        with suppress(OSError):
            os.close(self._fd)

    def _open_partial(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        while True:
            try:
                fd = os.open(self.partial, flags, 0o666)
            except OSError as error:
                raise SinkError(
                    f"cannot write {self.path}: {self.partial} cannot be created: {error.strerror}; "
                    "choose a directory that you may write to",
                    path=str(self.path),
                ) from error
            try:
                if self._take(fd):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _take(self, fd: int) -> bool:
        """Lock the partial file; False when its last owner removed it before we had the lock."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise DestinationBusyError(
                    f"another writer is at work on {self.path} (it holds {self.partial}); "
                    "wait for it or choose another name",
                    path=str(self.path),
                ) from error
            # a file system without locks: go on unguarded (docs/reliability.md)
        try:
            named = os.stat(self.partial)
        except FileNotFoundError:
            return False
        if not os.path.samestat(named, os.fstat(fd)):
            return False
        os.ftruncate(fd, 0)
        if self.path.exists():
            with suppress(OSError):  # keep the permissions of the file that is replaced
                os.fchmod(fd, stat.S_IMODE(self.path.stat().st_mode))
        return True

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

    def _close_to(self, state: str) -> None:
        with self._idle:
            if self._state != "open":
                raise StateError(f"{self.path} is {self._state}; it cannot be committed")
            self._state = state
            self._idle.wait_for(lambda: self._n_writing == 0)

    def _publish(self) -> None:
        if self.overwrite:
            os.replace(self.partial, self.path)
            return
        try:
            os.link(self.partial, self.path)  # unlike rename, link fails when the name exists
        except FileExistsError:
            raise _exists(self.path) from None
        except OSError:  # no hard links here
            if self.path.exists():
                raise _exists(self.path) from None
            os.replace(self.partial, self.path)
        else:
            self.partial.unlink()


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


def _write_vectored(fd: int, address: int, buffers: Sequence[Buffer]) -> None:
    for start in range(0, len(buffers), MAX_BUFFERS):
        group = buffers[start : start + MAX_BUFFERS]
        nbytes = sum(map(len, group))
        n_done = os.pwritev(fd, cast("Sequence[bytes]", group), address)
        if n_done < nbytes:
            _write_rest(fd, address, group, n_done)
        address += nbytes


def _write_rest(fd: int, address: int, buffers: Sequence[Buffer], n_done: int) -> None:
    """Go on after a short write (more than 2 GiB at once, a signal, a disk that fills up)."""
    position = 0
    for buffer in buffers:
        piece = memoryview(cast("bytes", buffer))
        skip = min(max(n_done - position, 0), len(piece))
        position += len(piece)
        piece = piece[skip:]
        while len(piece):
            n = os.pwrite(fd, piece, address + position - len(piece))
            if n == 0:
                raise SinkError("a write to the file made no progress", address=address)
            piece = piece[n:]


def _fsync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
