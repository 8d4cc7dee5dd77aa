"""Calls of a thread in which a signal handler may run, and raise, at any moment, as it does at Ctrl-C.

``with condition:`` would enter and leave the lock in Python code: an exception between that and the block leaves the
lock held for ever. ``with lock:`` enters and leaves it in one step; so each condition here has a lock of its own name,
and is for waiting and waking alone.

A record of calls may be left behind in the same way. The stack is not: when a handler runs in the midst of a call,
code that is not of this package lies between the two.
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
    """Wait until something is so; whatever ends the wait, the lock of the condition is held again."""
    while not is_so():
        try:
            condition.wait()
        except BaseException:
            if not condition._is_owned():  # type: ignore[attr-defined]
                condition.acquire()
            raise


def first_frame_outside() -> FrameType:
    """Return the frame that called this package, or the outermost one."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame


def is_within_a_call() -> bool:
    """Whether this call interrupts another of this package in its thread, or is made by code that the other runs."""
    frame = first_frame_outside()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename.startswith(_PACKAGE):
            return True
    return False
