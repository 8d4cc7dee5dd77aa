"""The end of a sink, and the writes of other threads: the end waits for those that are in, and lets none in."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamh5.errors import StateError
from streamh5.processes.signals import is_within_a_call, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Gate"]


class Gate:
    """State of a sink: ``open``, ``being committed``, ``failed``, ``committed``, ``aborted`` or ``suspended``.

    Parameters
    ----------
    name
        What a message calls the destination.
    """

    def __init__(self, name: str) -> None:
        self.state = "open"
        self._name = name
        self._writers: set[int] = set()
        self._at_last: Callable[[], None] | None = None
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Count a write.

        Raises
        ------
        StateError
            The sink has come to its end.
        """
        with self._lock:
            if self.state != "open":
                raise StateError(f"{self._name} is {self.state}; nothing more can be written to it")
            self._writers.add(threading.get_ident())
        try:
            yield
        finally:
            with self._lock:
                self._writers.discard(threading.get_ident())
                self._idle.notify_all()
                at_last = None if self._writers else self._at_last
            if at_last is not None:
                self._at_last = None
                at_last()

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Commit, after the last write; what goes wrong makes the sink a failed one.

        Raises
        ------
        StateError
            The sink is not open.
        """
        with self._lock:
            if self.state != "open":
                raise StateError(f"{self._name} is {self.state}; it cannot be committed")
            self.state = "being committed"
            wait_for(self._idle, self._is_idle)
        try:
            yield
        except BaseException:
            self.state = "failed"
            raise
        self.state = "committed"

    def end(self, state: str) -> str | None:
        """Come to another end, after the last write; return the state before, None after an end."""
        with self._lock:
            if self.state in ("committed", "aborted", "suspended"):
                return None
            before, self.state = self.state, state
            if not self._is_inside():  # others may wait for what this thread holds
                wait_for(self._idle, self._is_idle)
        return before

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call `call` when nobody writes any more: a signal handler ends a write in the midst of one of its thread."""
        with self._lock:
            if not self._is_idle() or self._is_inside():
                self._at_last = call
                return
        call()

    def _is_inside(self) -> bool:
        """Whether this thread writes already."""
        return threading.get_ident() in self._writers and is_within_a_call()

    def _is_idle(self) -> bool:
        """Whether no other thread writes; this one cannot go on before the end has come."""
        return self._writers <= {threading.get_ident()}

    def fail(self) -> None:
        """Let nothing more be written."""
        if self.state == "open":
            self.state = "failed"
