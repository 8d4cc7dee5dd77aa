"""Calls in which a signal handler may run, and raise, at any moment, as it does on Ctrl-C.

``with condition:`` acquires and releases the lock in Python code: an exception between acquiring and the block leaves
the lock held for ever. ``with lock:`` does it in one step of the interpreter. Therefore each condition of this package
has a lock with a name of its own, which is acquired; the condition is only used to wait and to notify.

Whether a call interrupts another one is read from the stack, because an exception could leave a record of the calls
behind in the same way. When a handler runs during a call, code outside this package lies between the two::

    streamh5 ... ──▶ handler of the user ──▶ streamh5 ...
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from types import FrameType

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


def wait_for(condition: threading.Condition, is_so: Callable[[], object]) -> None:
    """Wait until `is_so` returns true; the lock of the condition is held again, even after an exception."""
    while not is_so():
        try:
            condition.wait()
        except BaseException:
            if not condition._is_owned():  # type: ignore[attr-defined] # private, and there is no other way to ask
                condition.acquire()
            raise


def first_frame_outside() -> FrameType:
    """Return the frame that called this package, or the outermost one."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame


def is_within_a_call() -> bool:
    """Return whether a call of this package is already running in this thread, further out on the stack."""
    frame = first_frame_outside()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename.startswith(_PACKAGE):
            return True
    return False
