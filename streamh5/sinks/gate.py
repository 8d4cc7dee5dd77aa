"""The end of a sink, and the writes of other threads: the end waits for those that are in, and lets none in."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamh5.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self._n_writing = 0
        self._idle = threading.Condition()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Count a write.

        Raises
        ------
        StateError
            The sink has come to its end.
        """
        with self._idle:
            if self.state != "open":
                raise StateError(f"{self._name} is {self.state}; nothing more can be written to it")
            self._n_writing += 1
        try:
            yield
        finally:
            with self._idle:
                self._n_writing -= 1
                self._idle.notify_all()

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Commit, after the last write; what goes wrong makes the sink a failed one.

        Raises
        ------
        StateError
            The sink is not open.
        """
        with self._idle:
            if self.state != "open":
                raise StateError(f"{self._name} is {self.state}; it cannot be committed")
            self.state = "being committed"
            self._idle.wait_for(lambda: self._n_writing == 0)
        try:
            yield
        except BaseException:
            self.state = "failed"
            raise
        self.state = "committed"

    def end(self, state: str) -> str | None:
        """Come to another end, after the last write; return the state before, None after an end."""
        with self._idle:
            if self.state in ("committed", "aborted", "suspended"):
                return None
            before, self.state = self.state, state
            self._idle.wait_for(lambda: self._n_writing == 0)
        return before

    def fail(self) -> None:
        """Let nothing more be written."""
        if self.state == "open":
            self.state = "failed"
