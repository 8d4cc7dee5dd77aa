"""Locks that keep two writers of one file apart: of a name, and of the file itself whatever its name.

========================================= ========================== =========================
writer                                    journal of the name        inode
========================================= ========================== =========================
adds to the file (`append_file`)          ``flock``, exclusive       of the file, exclusive
replaces the file (`local_file`)          ``flock``, exclusive       of the old file, shared;
                                                                     of the new file, shared
========================================= ========================== =========================

The lock of a name does not keep apart two writers that open one file by two hard-linked names; the lock of the
inode does. It is a lock of the open file description (Linux) on one byte far beyond any end of file, so that it does
not interfere with HDF5's own locks, which readers take meanwhile.

On a system or file system without such locks a write continues unguarded (docs/reliability.md).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING, Any

from streamh5.errors import DestinationBusyError
from streamh5.sinks import files

if TYPE_CHECKING:
    from pathlib import Path

_LOCK_BYTE = (1 << 62) - 1
"""The byte that is locked: beyond the end of any file, so that no lock of HDF5 or of another program covers it."""
_FLOCK = struct.Struct("@hhqqq")  # struct flock, with the padding after its process id


def open_journal(path: Path, destination: Path | str, mode: int, system: Any) -> tuple[int, bool]:
    """Open a journal and lock it, and tell whether it is new.

    The lock is released when the last process that has the journal open closes it or ends.

    Parameters
    ----------
    path, destination
        The journal, and the file of which it allows one writer.
    mode
        Permissions of a new journal, before the umask.
    system
        The system calls, by their names in `os`.

    Raises
    ------
    DestinationBusyError
        Another writer has locked it.
    """
    while True:
        fd, is_new = files.open_or_create(path, mode, system)
        with files.closed_on_error(fd, system):
            lock_journal(fd, path, destination)
        if files.leads_to(path, fd):
            return fd, is_new
        files.close(fd, system)  # its owner removed it between opening and locking: open the present one


def lock_journal(fd: int, path: Path, destination: Path | str) -> None:
    """Lock an open journal until it is closed.

    Raises
    ------
    DestinationBusyError
        Another writer has locked it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise DestinationBusyError(
                f"another writer is at work on {destination} (it has locked {path}); "
                "wait for it or choose another name",
                path=str(destination),
                journal=str(path),
            ) from error


def lock_inode(fd: int, path: Path, *, is_exclusive: bool) -> None:
    """Lock an open file until it is closed, whatever the name by which it was opened.

    Parameters
    ----------
    path
        The name by which it was opened, for the message.
    is_exclusive
        True to add to the file; False to replace it, or to write it from its beginning.

    Raises
    ------
    DestinationBusyError
        Another writer has locked it.
    """
    set_lock, get_lock = (getattr(fcntl, name, None) for name in ("F_OFD_SETLK", "F_OFD_GETLK"))
    if set_lock is None or get_lock is None:
        return
    wanted = _FLOCK.pack(fcntl.F_WRLCK if is_exclusive else fcntl.F_RDLCK, os.SEEK_SET, _LOCK_BYTE, 1, 0)
    try:
        fcntl.fcntl(fd, set_lock, wanted)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            return
        # NFS turns flock into a lock of the whole file: such a lock of a reader is not one of these
        if _FLOCK.unpack(fcntl.fcntl(fd, get_lock, wanted))[2] == _LOCK_BYTE:
            raise DestinationBusyError(
                f"another writer is {'at work on' if is_exclusive else 'adding to'} {path}, maybe by another name of "
                "that file; wait for it or choose another name",
                path=str(path),
            ) from None
