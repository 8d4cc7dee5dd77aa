"""Files: opened by name, compared with their name before it is used again, written by position.

A name may lead elsewhere a moment after it was looked at: another program writes a file of that name, a cleaner
removes it, a symbolic link was put there beforehand. Therefore a file is opened without following links and checked
once it is open, and its device and inode are compared before its name is used again.

Functions that change something take ``system``: the system calls, by their names in `os`. Tests pass stand-ins that
fail or crash at a chosen call.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from streamh5.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streamh5.sinks.base import Buffer

# O_NONBLOCK: opening a FIFO must not wait for its other end
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

MAX_BUFFERS = os.sysconf("SC_IOV_MAX")
"""Buffers that one vectored write accepts (1024 on Linux and macOS)."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISLNK, "a symbolic link that leads nowhere"),
)


def stat_of(path: Path) -> os.stat_result | None:
    """Return the status of a name without following a link; None if it does not exist."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def leads_to(path: str | os.PathLike[str], fd: int) -> bool:
    """Tell whether a name leads to the open file `fd`."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except (OSError, ValueError):
        return False


def check_name(path: Path, fd: int, destination: Path) -> None:
    """Refuse to continue if a working name no longer leads to the open file `fd`.

    Raises
    ------
    SinkError
        Another program has removed or replaced it.
    """
    if not leads_to(path, fd):
        raise SinkError(
            f"cannot write {destination}: another program has meanwhile removed {path.name} or put another file in "
            "its place; keep two programs from using one name, and write again",
            path=str(path),
        )


def has_other_names(fd: int) -> bool:
    """Tell whether an open file has more than one name (hard links)."""
    return os.fstat(fd).st_nlink > 1


def check_regular(path: Path, fd: int | None = None) -> os.stat_result | None:
    """Return the status of the file `fd`, or of what the name leads to; None where there is nothing.

    Raises
    ------
    SinkError
        It is a directory, a device, a FIFO, a socket or a symbolic link.
    OSError
        The name cannot be looked up.
    """
    status = stat_of(path) if fd is None else os.fstat(fd)
    if status is None or stat.S_ISREG(status.st_mode):
        return status
    kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "a special file")
    hint = "; name a file in it" if stat.S_ISDIR(status.st_mode) else "; choose another name"
    raise SinkError(f"cannot write {path}: it is {kind}, not a regular file{hint}", path=str(path))


def create(path: Path, mode: int, system: Any) -> int:
    """Create a file and open it for reading and writing.

    Raises
    ------
    OSError
        It cannot be created, or the name is taken.
    """
    fd: int = system.open(path, os.O_RDWR | _FLAGS | os.O_CREAT | os.O_EXCL, mode)
    return fd


def open_regular(path: Path, access: int, system: Any) -> int:
    """Open an existing regular file.

    Parameters
    ----------
    access
        ``os.O_RDONLY`` or ``os.O_RDWR``.

    Raises
    ------
    SinkError
        It is not a regular file.
    OSError
        It cannot be opened, or does not exist.
    """
    check_regular(path)  # before it is opened: opening some devices has an effect
    fd: int = system.open(path, access | _FLAGS)
    with closed_on_error(fd, system):
        check_regular(path, fd)
    return fd


def open_or_create(path: Path, mode: int, system: Any) -> tuple[int, bool]:
    """Open a working file for reading and writing, and create it if needed; tell whether it was created.

    A symbolic link of that name is removed: the file that it leads to belongs to another program.

    Parameters
    ----------
    path
        Its name, see `working_names`.
    mode
        Permissions of a new file, before the umask.

    Raises
    ------
    SinkError
        The name exists and is not a regular file.
    OSError
        It cannot be opened.
    """
    while True:
        status = stat_of(path)
        if status is None:
            with suppress(FileExistsError):
                return create(path, mode, system), True
        elif stat.S_ISLNK(status.st_mode):
            with suppress(FileNotFoundError):
                system.unlink(path)
        else:
            try:
                return open_regular(path, os.O_RDWR, system), False
            except OSError as error:
                # otherwise it was replaced meanwhile: look again
                if error.errno not in (errno.ENOENT, errno.ELOOP):
                    raise


def close(fd: int, system: Any) -> None:
    """Close a file, ignoring errors: one that a network file system reports now comes too late to be of use."""
    with suppress(OSError):
        system.close(fd)


@contextmanager
def closed_on_error(fd: int, system: Any) -> Iterator[None]:
    """Close a file that has just been opened if the next steps fail."""
    try:
        yield
    except BaseException:
        close(fd, system)
        raise


def remove(path: Path, fd: int, system: Any) -> None:
    """Remove a name if it still leads to the open file `fd`.

    Raises
    ------
    OSError
        It cannot be removed.
    """
    if leads_to(path, fd):
        with suppress(FileNotFoundError):
            system.unlink(path)


def link_over(path: Path, fd: int, temporary: Path, target: Path, system: Any) -> None:
    """Give the open file `fd` a second name, atomically, in place of the file that has it.

    Raises
    ------
    SinkError
        A name is that of a directory or a device, or leads to another file meanwhile.
    OSError
        The file system has no hard links.
    """
    for name in (temporary, target):
        check_regular(name)
    with suppress(FileNotFoundError):
        system.unlink(temporary)
    check_name(path, fd, target)
    system.link(path, temporary)
    check_name(temporary, fd, target)
    system.replace(temporary, target)
    with suppress(FileNotFoundError):  # rename does nothing if both names lead to one file
        system.unlink(temporary)
    check_name(target, fd, target)


def sync_names(folder: Path, system: Any) -> None:
    """Make the names in a directory durable, if the file system can do that.

    Raises
    ------
    OSError
        The disk reported an error.
    """
    fd = system.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        system.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        system.close(fd)


def write(fd: int, address: int, buffers: Sequence[Buffer], system: Any) -> None:
    """Write all of `buffers`, one after the other, at `address`, in as few calls as possible.

    Raises
    ------
    OSError
        A call failed or made no progress.
    """
    for start in range(0, len(buffers), MAX_BUFFERS):
        group = buffers[start : start + MAX_BUFFERS]
        nbytes = sum(map(len, group))
        n_done = system.pwritev(fd, group, address)
        if n_done < nbytes:
            _write_rest(fd, address, group, n_done, system)
        address += nbytes


def read(fd: int, address: int, nbytes: int, system: Any) -> bytes:
    """Return `nbytes` at `address`; fewer at the end of the file.

    Raises
    ------
    OSError
        A call failed.
    """
    first = cast("bytes", system.pread(fd, nbytes, address))
    if len(first) == nbytes:
        return first
    parts = [first]
    while parts[-1] and (n_done := sum(map(len, parts))) < nbytes:  # more than 2 GiB in one call, or a signal
        parts.append(cast("bytes", system.pread(fd, nbytes - n_done, address + n_done)))
    return b"".join(parts)


def _write_rest(fd: int, address: int, buffers: Sequence[Buffer], n_done: int, system: Any) -> None:
    """Continue after a short write (more than 2 GiB in one call, a signal, a disk that fills up)."""
    position = 0
    for buffer in buffers:
        piece = memoryview(cast("bytes", buffer))
        skip = min(max(n_done - position, 0), len(piece))
        position += len(piece)
        piece = piece[skip:]
        while len(piece):
            n = system.pwrite(fd, piece, address + position - len(piece))
            if n == 0:
                raise OSError(errno.EIO, "a write made no progress")
            piece = piece[n:]
