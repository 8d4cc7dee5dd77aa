"""The life of one write: what state it is in, which threads are in a call, and what an end waits for.

::

              close                     commit
    open ───────────────▶ being published ────▶ closed
      │  waits for calls         │
      │  of other threads        │ an error
      └─────────────────▶ given up
        abort, an error

================ =========================================================================
state            what a call gets (`admit`)
================ =========================================================================
open             what it asks for; `StateError` when `close` of another thread waits already
being published  `StateError`; `close` of another thread waits for the summary
closed           `StateError`; `close` the summary
given up         `StateError`; but the thread that gave it up may save the rest
================ =========================================================================

`close` waits for the calls of other threads and refuses those that come later, so each call is in the file
whole or not at all. Locks are reentrant: a signal handler may give the write up (`abort`, `suspend`) in the midst
of any call. Closing it there is refused (`check_may_close`): others may wait for that call, which would wait
for the handler.

Order of locks: the lock of `JournaledEngine` may be held when the one of `Lifecycle` is taken, never the other way
round; nothing is called while that is held. What a fork inherits may be locked for ever, so each entry looks at the
process before it takes a lock.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

from streamh5.errors import StateError
from streamh5.processes.signals import is_within_a_call, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


class Standing(Enum):
    """What a call that is admitted may do."""

    OPEN = "the write goes on"
    SAVING = "the write is over, and this thread saves what it has not stored yet"


class Lifecycle:
    """State of a write, and its calls.

    Threads are counted, not calls: neither a Ctrl-C between a call and its end nor a signal handler that
    closes the file makes `close` wait for ever.

    Parameters
    ----------
    name
        The destination, for messages.
    """

    def __init__(self, name: str) -> None:
        self.state = "open"
        self._name = name
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._callers: set[int] = set()
        self._ender: int | None = None
        self._is_closing = False

    @property
    def is_mine(self) -> bool:
        """Whether this is the process that writes, not a fork of it."""
        return self._process == os.getpid()

    def admit(self) -> Standing:
        """Say what a call of this thread may do; the one check before anything is written.

        Raises
        ------
        StateError
            The file is closed, or was given up after an error, or another process has it open.
        """
        is_open = self.state == "open"
        if not is_open and self._ender != threading.get_ident():
            raise self.over()
        self.check_process()
        return Standing.OPEN if is_open else Standing.SAVING

    def check_process(self) -> None:
        """Refuse a call in a fork of the process that writes.

        Raises
        ------
        StateError
            This is one.
        """
        if not self.is_mine:
            raise StateError(
                f"{self._name} is written by process {self._process}, of which this one ({os.getpid()}) is a fork "
                "without its threads; write there, or give each process a file of its own"
            )

    def check_may_close(self) -> None:
        """Refuse to close the file in a fork, or in the midst of another call of this thread.

        Raises
        ------
        StateError
            This is a fork; or a signal handler, or code that the other call runs, closes it.
        """
        self.check_process()  # before any lock
        if self.is_inside:
            raise StateError(
                f"{self._name} cannot be closed in the midst of another call of this thread, as in a signal handler: "
                "let that come to its end, and close then; or suspend() keeps what is stored"
            )

    def over(self) -> StateError:
        """Error of a call that comes too late, or was cut off."""
        return StateError(f"{self._name} is {self.state}; open a new File to write more")

    @contextmanager
    def call(self) -> Iterator[None]:
        """Make what is done inside one call, or a part of the one that it is in.

        Raises
        ------
        StateError
            See `admit`; or another thread is closing the file.
        """
        is_outermost = threading.get_ident() not in self._callers
        try:
            self._begin_call()
            yield
        finally:  # also after a Ctrl-C in the midst of the beginning
            if is_outermost:
                self._end_call()

    def _begin_call(self) -> None:
        self.admit()  # before the lock, which a thread may have held when the process was forked
        me = threading.get_ident()
        with self._lock:
            if self._is_closing and me not in self._callers and me != self._ender:
                self.admit()
                raise StateError(f"{self._name} is being closed; open a new File to write more")
            self._callers.add(me)

    def _end_call(self) -> None:
        self._callers.discard(threading.get_ident())
        if self._is_closing and self.is_mine:  # a fork has a lock that nobody may ever free
            with self._lock:
                self._changed.notify_all()

    def wait_for_others(self) -> None:
        """Refuse calls from now on, and wait for those of other threads, or for the end of the write."""
        with self._lock:
            self._is_closing = True
            state = self.state
            wait_for(self._changed, lambda: self.state != state or self._callers <= {threading.get_ident()})

    @property
    def is_inside(self) -> bool:
        """Whether this thread is in a call already, so that others may wait for it: as in a signal handler."""
        me = threading.get_ident()
        return (me in self._callers or self._ender == me) and is_within_a_call()

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Let this thread make calls although the file is closed for others."""
        before, self._ender = self._ender, threading.get_ident()
        try:
            yield
        finally:
            self._ender = before

    def leave(self, state: str, *, before: tuple[str, ...] = ("open",)) -> bool:
        """Go to another state when this is one of `before`, and wake who waits for it; tell whether it was."""
        with self._lock:
            if self.state not in before:
                return False
            self.state = state
            self._is_closing = True
            self._changed.notify_all()
            return True
