"""Calls that write chunks of a dataset, and calls that change its shape, which gives its chunks other numbers."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamh5.processes.signals import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


class ShapeLock:
    """Shared by the threads that write chunks; a thread that changes the shape has it alone.

    A thread that has it may take it again in either way: calls are made of others, and a signal handler may call in the
    middle of one.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._sharing: set[int] = set()
        self._owner: int | None = None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Let the shape stay as it is."""
        me = threading.get_ident()
        if me == self._owner or me in self._sharing:
            yield
            return
        try:
            with self._lock:
                wait_for(self._changed, lambda: self._owner is None)
                self._sharing.add(me)
            yield
        finally:  # also after a Ctrl-C before the body
            with self._lock:
                self._sharing.discard(me)
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait for the calls of other threads, and let them wait."""
        me = threading.get_ident()
        if me == self._owner:
            yield
            return
        try:
            with self._lock:
                wait_for(self._changed, lambda: self._owner is None)
                self._owner = me
                wait_for(self._changed, lambda: self._sharing <= {me})
            yield
        finally:
            with self._lock:
                if self._owner == me:
                    self._owner = None
                self._changed.notify_all()
