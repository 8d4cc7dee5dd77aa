"""The sessions that are open in this process: found by their destination, interrupted when the process ends."""

from __future__ import annotations

import atexit
import gc
import threading
import weakref
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.handles.session import Session

_OPEN: weakref.WeakSet[Session] = weakref.WeakSet()
# Reentrant: the garbage collector may run `__del__` of a session while the lock is held.
_LOCK = threading.RLock()


def enter(session: Session) -> None:
    """Enter a session that has begun."""
    with _LOCK:
        _OPEN.add(session)
    if getattr(session.sink, "needs_threads", False):
        _interrupt_before_threads_end()


def leave(session: Session) -> None:
    """Remove a session that has ended."""
    with _LOCK:
        _OPEN.discard(session)


def open_here(name: str) -> Session | None:
    """Return the write to `name` that is open in this process; None if there is none.

    A write that nothing refers to any more is interrupted first.
    """
    gc.collect()  # runs `__del__` of a dropped session that only a reference cycle keeps alive, such as a traceback's
    with _LOCK:
        sessions = list(_OPEN)
    return next((one for one in sessions if one.sink.name == name and one.is_open and one.is_mine), None)


@atexit.register
def _interrupt_all() -> None:
    """Interrupt the writes that are still open when the process ends."""
    _interrupt(lambda session: True)


@cache
def _interrupt_before_threads_end() -> None:
    """Let writes to object stores be interrupted earlier: while Python still starts threads, as their requests need.

    `concurrent.futures` ends its threads in the same way; the last function that was registered is called first.
    """
    import concurrent.futures.thread  # noqa: F401 - registers its function now

    with suppress(RuntimeError):  # the process is ending
        threading._register_atexit(  # type: ignore[attr-defined] # there is no public name
            _interrupt, lambda session: getattr(session.sink, "needs_threads", False)
        )


def _interrupt(is_meant: Callable[[Session], bool]) -> None:
    with _LOCK:
        sessions = list(_OPEN)
    for session in sessions:
        if is_meant(session):
            session.interrupt(None)
