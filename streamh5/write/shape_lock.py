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
    middle of one. Threads that want it alone take turns in the order of their calls, and before later ones that share
    it: a condition wakes a thread too late against one that calls in a loop, which would keep it for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._sharing: set[int] = set()
        self._owner: int | None = None
        self._queue: list[int] = []

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Let the shape stay as it is."""
        me = threading.get_ident()
        if me == self._owner or me in self._sharing:
            yield
            return
        try:
            with self._lock:
                wait_for(self._changed, lambda: self._owner is None and self._queue[:1] in ([], [me]))
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
                self._queue.append(me)
                wait_for(self._changed, lambda: self._owner is None and self._queue[0] == me)
                self._owner = me
                wait_for(self._changed, lambda: self._sharing <= {me})
            yield
        finally:
            with self._lock:
                if me in self._queue:  # not after a Ctrl-C before it had its place
                    self._queue.remove(me)
                if self._owner == me:
                    self._owner = None
                self._changed.notify_all()
