"""System calls of Linux that `os` does not have, from the C library of the process."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Any

LinuxCall = Callable[..., None]


def linux_call(name: str, *argtypes: Any) -> LinuxCall:
    """Return a system call that raises the `OSError` it reports, and ``ENOSYS`` where there is no such call.

    Parameters
    ----------
    name
        Name in the C library; the call returns 0 if it succeeds.
    *argtypes
        Types of `ctypes`. Without them it would pass ints, which are too short for offsets.
    """
    try:
        call = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError):  # not Linux
        return missing_call
    call.argtypes = argtypes
    call.restype = ctypes.c_int

    def checked(*arguments: int) -> None:
        if call(*arguments) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    return checked


def missing_call(*arguments: int) -> None:
    """Fail as a call that the system does not have."""
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def call_of(system: Any, call: LinuxCall) -> LinuxCall:
    """Return the call of this name of a system for tests, and else `call`: `os` may have another one some day."""
    return call if system is os else getattr(system, call.__name__, call)
