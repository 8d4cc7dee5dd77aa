"""``Lifecycle``: the state of one write, the threads that are in a call, and what its end waits for.

::

              close                     commit
    open ───────────────▶ being published ────▶ closed
      │  waits for calls         │
      │  of other threads        │ an error
      └─────────────────▶ given up
        abort, an error

================ =========================================================================
state            effect of a call (`admit`)
================ =========================================================================
open             it is executed; `StateError` if another thread waits in `close` already
being published  `StateError`; `close` of another thread waits for the summary
closed           `StateError`; `close` returns the summary
given up         `StateError`; but the thread that ended the write may save pending rows
================ =========================================================================

`close` waits for the calls of other threads and refuses later ones, so each call is in the file completely or not
at all. Locks are reentrant: a signal handler may end the write (`abort`, `suspend`) in the middle of any call. It
must not close it (`check_may_close`): `close` would wait for threads that may wait for the interrupted call.

Order of locks: the lock of `JournaledEngine` may be held when the one of `Lifecycle` is acquired, never the other way
round; nothing else is called while the latter is held. A lock that a fork inherits may be locked forever, so each
entry point checks the process before it acquires a lock.
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
    """What an admitted call may do."""

    OPEN = "the write is open"
    SAVING = "the write has ended, and this thread saves pending rows"


class Lifecycle:
    """State of a write, and its calls.

    Threads are counted, not calls: otherwise a Ctrl-C between a call and its end, or a signal handler that
    closes the file, could make `close` wait forever.

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
        """Return what a call of this thread may do; the only check before anything is written.

        Raises
        ------
        StateError
            The write has ended, or belongs to another process.
        """
        is_open = self.state == "open"
        if not is_open and self._ender != threading.get_ident():
            raise self.over()
        if self._process != os.getpid():
            self.check_process()
        return Standing.OPEN if is_open else Standing.SAVING

    def check_process(self) -> None:
        """Refuse a call in a fork of the process that writes.

        Raises
        ------
        StateError
            This process is a fork.
        """
        if not self.is_mine:
            raise StateError(
                f"{self._name} is written by process {self._process}, of which this one ({os.getpid()}) is a fork "
                "without its threads; write there, or give each process a file of its own"
            )

    def check_may_close(self) -> None:
        """Refuse to close the file in a fork, or in the middle of another call of this thread.

        Raises
        ------
        StateError
            This process is a fork, or a signal handler or code inside another call closes the file.
        """
        self.check_process()  # before any lock
        if self.is_inside:
            raise StateError(
                f"{self._name} cannot be closed in the middle of another call of this thread, as in a signal handler: "
                "close it after that call, or call suspend(), which keeps what is stored"
            )

    def over(self) -> StateError:
        """Return the error of a call after the end of the write, or one that the end cut off."""
        return StateError(f"{self._name} is {self.state}; open a new File to write more")

    def call(self) -> Call:
        """Return a context whose body is one call, or part of the call that this thread is in.

        Raises
        ------
        StateError
            On entry: see `admit`; or another thread is closing the file.
        """
        return Call(self)

    def wait_for_others(self) -> None:
        """Refuse new calls, and wait for the calls of other threads or for the end of the write."""
        with self._lock:
            self._is_closing = True
            state = self.state
            wait_for(self._changed, lambda: self.state != state or self._callers <= {threading.get_ident()})

    @property
    def is_inside(self) -> bool:
        """Whether this thread is in a call already, as in a signal handler; other threads may wait for that call."""
        me = threading.get_ident()
        return (me in self._callers or self._ender == me) and is_within_a_call()

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Let this thread make calls although other threads cannot any more."""
        before, self._ender = self._ender, threading.get_ident()
        try:
            yield
        finally:
            self._ender = before

    def leave(self, state: str, *, before: tuple[str, ...] = ("open",)) -> bool:
        """Change the state if it is one of `before`, and wake waiting threads; return whether it changed."""
        with self._lock:
            if self.state not in before:
                return False
            self.state = state
            self._is_closing = True
            self._changed.notify_all()
            return True


class Call:
    """The context of `Lifecycle.call`. Not a generator, because a dataset is created within several."""

    __slots__ = ("_is_outermost", "_life")

    def __init__(self, life: Lifecycle) -> None:
        self._life = life

    def __enter__(self) -> None:
        life, me = self._life, threading.get_ident()
        self._is_outermost = me not in life._callers
        try:
            life.admit()  # before the lock, which another thread may have held at the time of a fork
            with life._lock:
                if life._is_closing and self._is_outermost and me != life._ender:
                    life.admit()
                    raise StateError(f"{life._name} is being closed; open a new File to write more")
                life._callers.add(me)
        except BaseException:  # also a Ctrl-C: after it nothing interrupts until the block begins
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self._is_outermost:
            life = self._life
            life._callers.discard(threading.get_ident())
            if life._is_closing and life.is_mine:  # in a fork, the lock may be locked forever
                with life._lock:
                    life._changed.notify_all()
