"""Calls that write, and the end that waits for them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from streamh5.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Calls"]


class Calls:
    """Which threads are in a call that writes; `close` waits for them and refuses those that come later.

    Threads are counted, not calls: neither a Ctrl-C between a call and its end nor a signal handler that
    closes the file makes `close` wait for ever.

    Parameters
    ----------
    name
        The destination, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._callers: set[int] = set()
        self._is_closing = False

    def begin(self, check_open: Callable[[], None]) -> bool:
        """Begin a call; True when the thread has to call `end`.

        Parameters
        ----------
        check_open
            Refuses a call after the end.

        Raises
        ------
        StateError
            Another thread is closing the file.
        """
        with self._changed:
            if self._is_closing:
                check_open()
                raise StateError(f"{self._name} is being closed; open a new File to write more")
            is_outermost = threading.get_ident() not in self._callers
            self._callers.add(threading.get_ident())
            return is_outermost

    def end(self) -> None:
        """End a call."""
        with self._changed:
            self._callers.discard(threading.get_ident())
            if self._is_closing:
                self._changed.notify_all()

    def wait_for_others(self) -> None:
        """Refuse calls from now on, and wait for those of other threads."""
        with self._changed:
            self._is_closing = True
            self._changed.wait_for(lambda: self._callers <= {threading.get_ident()})
