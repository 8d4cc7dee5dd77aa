"""``Turns``: calls of many threads at the same time, or of one thread alone, in the order in which they came.

Who has a turn is not a record, which an exception of a signal handler could leave behind: each call holds a lock of
its own, acquired and released by ``with`` in one step of the interpreter (`streamh5.processes.signals`). Whoever has to
wait acquires the locks of the calls before it. For the same reason a call is a function that is passed: a context
manager that is written in Python can be interrupted between its own code and the block.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class Turn:
    """One call: its lock is held until it is over."""

    __slots__ = ("is_alone", "lock")

    def __init__(self, *, is_alone: bool) -> None:
        self.is_alone = is_alone
        self.lock = threading.RLock()

    @property
    def is_of_this_thread(self) -> bool:
        """Whether this thread is in the call."""
        return bool(self.lock._is_owned())  # type: ignore[attr-defined] # private; there is no other way to ask


class Turns:
    """Lets calls share, or be alone.

    Calls within a call are part of it, whether it shares or not. Calls take turns in their order: a condition would
    wake a thread too late against another one that calls in a loop, and would keep it waiting for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may call
        self._last: dict[int, Turn] = {}  # by thread, in the order of the calls; most of them are over

    def shared(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function while others may share."""
        return self._take(Turn(is_alone=False), call, *args, **kwargs)

    def alone(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function while no other thread is in a call."""
        return self._take(Turn(is_alone=True), call, *args, **kwargs)

    def _take(self, turn: Turn, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with turn.lock:
            self._wait(turn)
            return call(*args, **kwargs)

    def _wait(self, turn: Turn) -> None:
        me = threading.get_ident()
        with self._lock:
            mine = self._last.get(me)
            if mine is not None and mine.is_of_this_thread:
                return
            self._last.pop(me, None)
            before = [one for one in self._last.values() if turn.is_alone or one.is_alone]
            self._last[me] = turn
        for one in before:
            with one.lock:
                pass
