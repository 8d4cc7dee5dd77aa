"""Files that are opened by their names, and whether a name still leads to the file that was opened.

A name is looked at once and may lead elsewhere a moment later: another program writes a file of that
name, a cleaner removes it, a symbolic link was put there beforehand. So a file is opened without following
links, it is looked at once it is open, and before its name is used again device and inode are compared.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from streamh5.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "close",
    "closed_on_error",
    "create_file",
    "has_other_names",
    "leads_to",
    "open_own",
    "refuse_irregular",
    "remove",
    "stat_of",
    "sync_names",
]

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISLNK, "a symbolic link that leads nowhere"),
)


def stat_of(path: Path) -> os.stat_result | None:
    """Return the status of what a name leads to, a link not followed; None where there is nothing."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def leads_to(path: str | os.PathLike[str], fd: int) -> bool:
    """Tell whether a name leads to an open file."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except (OSError, ValueError):
        return False


def has_other_names(fd: int) -> bool:
    """Tell whether an open file has more than one name (hard links)."""
    return os.fstat(fd).st_nlink > 1


def refuse_irregular(path: Path, status: os.stat_result) -> None:
    """Refuse what is not a regular file.

    Raises
    ------
    SinkError
        It is a directory, a device, a FIFO, a socket or a symbolic link.
    """
    if stat.S_ISREG(status.st_mode):
        return
    kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "a special file")
    hint = "; name a file in it" if stat.S_ISDIR(status.st_mode) else "; choose another name"
    raise SinkError(f"cannot write {path}: it is {kind}, not a regular file{hint}", path=str(path))


def create_file(path: Path, mode: int, system: Any) -> int:
    """Create a file that nobody has made before, and open it for reading and writing.

    Raises
    ------
    OSError
        It cannot be created, or there is one.
    """
    fd: int = system.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, mode)
    return fd


def open_own(path: Path, mode: int, system: Any) -> tuple[int, bool]:
    """Open a working file, which is created where there is none; tell whether it was created.

    A symbolic link of that name is removed: what it leads to belongs to somebody else.

    Parameters
    ----------
    path
        Its name, see `working_names`.
    mode
        Permissions of a new file, before the umask.
    system
        The system calls, by their names in `os`.

    Raises
    ------
    SinkError
        It is there and is not a regular file.
    OSError
        It cannot be opened.
    """
    while True:
        status = stat_of(path)
        if status is None:
            with suppress(FileExistsError):
                return create_file(path, mode, system), True
        elif stat.S_ISLNK(status.st_mode):
            with suppress(FileNotFoundError):
                system.unlink(path)
        else:
            refuse_irregular(path, status)  # before it is opened, which some devices notice
            try:
                fd: int = system.open(path, _FLAGS)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP):  # it was replaced meanwhile: look again
                    continue
                raise
            with closed_on_error(fd, system):
                refuse_irregular(path, os.fstat(fd))
            return fd, False


def close(fd: int, system: Any) -> None:
    """Close a file; an error of it, as a network file system may report, comes too late to be of use."""
    with suppress(OSError):
        system.close(fd)


@contextmanager
def closed_on_error(fd: int, system: Any) -> Iterator[None]:
    """Close a file that was opened, when what is done next with it fails."""
    try:
        yield
    except BaseException:
        close(fd, system)
        raise


def remove(path: Path, fd: int, system: Any) -> None:
    """Remove a name, if it still leads to the open file `fd`.

    Raises
    ------
    OSError
        It cannot be removed.
    """
    if leads_to(path, fd):
        with suppress(FileNotFoundError):
            system.unlink(path)


def sync_names(folder: Path, system: Any) -> None:
    """Make the names in a directory durable, where the file system can do that.

    Raises
    ------
    OSError
        The disk did not take them.
    """
    fd = system.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        system.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        system.close(fd)
