"""What a new file takes from the file that it replaces: permissions, owner, ACL, extended attributes."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from streamh5.sinks import files
from streamh5.sinks.locks import lock_inode

if TYPE_CHECKING:
    from pathlib import Path

NEW_FILE_MODE = 0o666
"""Permissions of a file that does not replace another one, before the umask."""

ACL = "system.posix_acl_access"
"""The extended attribute by which Linux exposes an access control list."""


class ReplacedFile:
    """The existing file at the destination, if any, kept open until the new file has replaced it.

    Parameters
    ----------
    path
        The destination, with symbolic links resolved.
    system
        The system calls, by their names in `os`.

    Raises
    ------
    DestinationBusyError
        Another writer is adding to the file, possibly under another name.
    SinkError
        It is not a regular file.
    OSError
        It cannot be opened.
    """

    def __init__(self, path: Path, system: Any) -> None:
        self._system = system
        self._fd = -1
        self._status = files.check_regular(path)
        if self._status is None:
            return
        try:
            self._fd = files.open_regular(path, os.O_RDONLY, system)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ELOOP):
                raise
            return  # it need not be readable to be replaced, and it may just have been removed
        with files.closed_on_error(self._fd, system):
            self._status = os.fstat(self._fd)
            lock_inode(self._fd, path, is_exclusive=False)

    @classmethod
    def opened(cls, fd: int, system: Any) -> ReplacedFile:
        """Return one for a file that its caller has opened and locked, and closes."""
        self = cls.__new__(cls)
        self._system, self._fd, self._status = system, fd, os.fstat(fd)
        return self

    @property
    def creation_mode(self) -> int:
        """Permissions with which working files are created: only for their owner until `hand_on`."""
        return NEW_FILE_MODE if self._status is None else 0o600

    def hand_on(self, fd: int) -> None:
        """Give a working file owner, group, ACL, extended attributes and permissions, where permitted.

        Its owner can always read and write it, so that an interrupted write can be resumed. If the group cannot be
        kept, the new group gets the permissions of others: no user may see what could not be seen before.
        """
        if self._status is None:
            return
        old, new = self._status, os.fstat(fd)
        has_group = old.st_gid == new.st_gid or self._chown(fd, -1, old.st_gid)
        if old.st_uid != new.st_uid:
            self._chown(fd, old.st_uid, -1)
        self._hand_on_attributes(fd, with_acl=has_group)
        mode = self.mode
        if not has_group:
            mode = (mode & 0o707) | (mode & 0o007) << 3
        self._chmod(fd, mode | 0o600)

    def finish(self, fd: int) -> None:
        """Remove those permissions of the owner that only an unfinished file needs."""
        if self._status is not None and self.mode & 0o600 != 0o600:
            self._chmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) & (self.mode | 0o177))

    @property
    def mode(self) -> int:
        """Permissions of the file, without setuid, setgid and sticky bits."""
        return NEW_FILE_MODE if self._status is None else stat.S_IMODE(self._status.st_mode) & 0o777

    def close(self) -> None:
        """Close the file, which releases the lock on it."""
        if self._fd >= 0:
            files.close(self._fd, self._system)
            self._fd = -1

    def _chown(self, fd: int, uid: int, gid: int) -> bool:
        try:
            self._system.fchown(fd, uid, gid)
        except OSError:
            return False
        return True

    def _chmod(self, fd: int, mode: int) -> None:
        with suppress(OSError):  # some file systems have no permissions; the write need not fail for that
            self._system.fchmod(fd, mode)

    def _hand_on_attributes(self, fd: int, *, with_acl: bool) -> None:
        """Copy the ACL and attributes set by users, but not those of the system and of security tools."""
        if self._fd < 0 or not hasattr(os, "listxattr"):
            return
        with suppress(OSError):  # the file system has no extended attributes
            names = self._system.listxattr(self._fd)
            if ACL not in names and ACL in self._system.listxattr(fd):  # the directory's default ACL
                self._system.removexattr(fd, ACL)
            for name in names:
                if name.startswith("user.") or (name == ACL and with_acl):
                    with suppress(OSError):  # attributes that do not fit or are not permitted are left out
                        self._system.setxattr(fd, name, self._system.getxattr(self._fd, name))
