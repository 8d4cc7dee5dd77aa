"""One positional write of many buffers, whole or not at all."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamh5.sinks.base import Buffer

__all__ = ["write_vectored"]

MAX_BUFFERS = os.sysconf("SC_IOV_MAX")
"""Buffers that one vectored write takes (1024 on Linux and macOS)."""


def write_vectored(system: Any, fd: int, address: int, buffers: Sequence[Buffer]) -> None:
    """Write `buffers`, one after the other, at `address` of the file `fd`.

    Parameters
    ----------
    system
        The system calls ``pwritev`` and ``pwrite``, by their names in `os`.

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
            _write_rest(system, fd, address, group, n_done)
        address += nbytes


def _write_rest(system: Any, fd: int, address: int, buffers: Sequence[Buffer], n_done: int) -> None:
    """Go on after a short write (more than 2 GiB at once, a signal, a disk that fills up)."""
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
