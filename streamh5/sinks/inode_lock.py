"""Locks on a file itself, whatever the name by which it was opened.

The lock of a working name (`journal_file.open_locked`) does not keep two writers apart that come by two
hard-linked names of one file. These are locks of the open file description (Linux) on one byte far behind
every end, so HDF5's own locks, which other readers take meanwhile, do not see them.

============================================ =========
adds to the file                             exclusive
is about to replace it, or is writing it new shared
============================================ =========
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

__all__ = ["lock_inode"]

_LOCK_BYTE = (1 << 62) - 1
_FLOCK = struct.Struct("@hhqqq")  # struct flock, with the padding behind its process id


def lock_inode(fd: int, *, is_exclusive: bool) -> bool:
    """Lock an open file until it is closed; False where another writer holds it.

    True as well on systems and file systems without such locks: the write goes on unguarded there.
    """
    set_lock, get_lock = (getattr(fcntl, name, None) for name in ("F_OFD_SETLK", "F_OFD_GETLK"))
    if set_lock is None or get_lock is None:
        return True
    kind = fcntl.F_WRLCK if is_exclusive else fcntl.F_RDLCK
    wanted = _FLOCK.pack(kind, os.SEEK_SET, _LOCK_BYTE, 1, 0)
    try:
        fcntl.fcntl(fd, set_lock, wanted)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            return True
        # NFS makes flock a lock of the whole file: a reader's lock is not one of these
        start = _FLOCK.unpack(fcntl.fcntl(fd, get_lock, wanted))[2]
        return bool(start != _LOCK_BYTE)
    return True
