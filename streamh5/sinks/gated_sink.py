"""The state of a sink, its end while other threads write, and its errors: once, for all sinks of this package.

::

    open ──── commit ────▶ being committed ──────▶ committed
     │ ▲                          │
     │ └─ write, append_log,      │ an error
     │    snapshot                ▼
     ├──── an fsync failed ──▶ failed ── abort ──▶ aborted
     │                            └──── suspend ─▶ suspended
     ├──── abort ────────────────────────────────▶ aborted
     └──── suspend ──────────────────────────────▶ suspended      (sinks with a journal)

`commit`, `abort` and `suspend` first leave ``open``, so that no write begins any more, then wait for the
writes of other threads, then act. They cannot wait for a write of their own thread, in whose midst a signal
handler has called them: what they have to do to the files is then done when that write ends.

One lock, held for the state and the set of writers only, never during a system call: a sink may take its own
locks within `_write` (gate first, then the sink's lock, then a journal's).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from streamh5.errors import SinkError, StateError
from streamh5.processes.signals import is_within_a_call, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from streamh5.sinks.base import Buffer

_ENDS = ("committed", "aborted", "suspended")


class GatedSink(ABC):
    """A sink that says how bytes are written, committed and dropped, and leaves the rest to this class.

    Parameters
    ----------
    name
        What a message calls the destination.

    Attributes
    ----------
    state
        ``open``, ``being committed``, ``failed``, ``committed``, ``aborted`` or ``suspended``.
    """

    _purpose = "cannot write"
    """How a message about a failure begins."""

    _failures: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    """What the system raises where a call fails."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = "open"
        self._writers: set[int] = set()
        self._at_last: Callable[[], None] | None = None
        # reentrant, because a signal handler may end the sink while its thread holds it
        self._gate = threading.RLock()
        self._idle = threading.Condition(self._gate)

    @abstractmethod
    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put `buffers`, one after the other, at `address`; other threads write elsewhere meanwhile."""

    @abstractmethod
    def _commit(self, nbytes: int) -> None:
        """Make the file durable, give it its name; nobody writes any more."""

    @abstractmethod
    def _drop(self) -> None:
        """Remove what was written; nobody writes any more. Raise nothing."""

    def _unname(self) -> None:  # noqa: B027 - not every sink has files of its own
        """Remove the names of what was written, where others may still write to it. Raise nothing.

        A signal handler that aborts in the midst of a write leaves nothing behind when it returns, although the last
        of the other threads drops the rest later.
        """

    def _close(self) -> None:  # noqa: B027 - not every sink holds something
        """Release what the sink holds, behind its end, once. Raise nothing."""

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put `buffers`, one after the other, at `address`."""
        with self._writing(), self._failing(f"writing at byte {address:,} failed"):
            self._write(address, buffers)

    def commit(self, nbytes: int) -> None:
        """Make the `nbytes` of the file durable and publish it."""
        with self._gate:
            if self.state != "open":
                raise StateError(f"{self.name} is {self.state}; it cannot be committed")
            self.state = "being committed"
            wait_for(self._idle, self._is_idle)
        try:
            with self._failing("it could not be completed"):
                self._commit(nbytes)
        except BaseException:
            self.state = "failed"
            raise
        self.state = "committed"
        self._close()

    def abort(self) -> None:
        """Remove what was written; the destination stays as it was, where the sink can do that."""
        self._end("aborted", self._drop)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Count a write, for which an end waits.

        Raises
        ------
        StateError
            The sink has come to its end.
        """
        with self._gate:
            if self.state != "open":
                raise StateError(f"{self.name} is {self.state}; nothing more can be written to it")
            self._writers.add(threading.get_ident())
        try:
            yield
        finally:
            with self._gate:
                self._writers.discard(threading.get_ident())
                self._idle.notify_all()
                at_last = None if self._writers else self._at_last
            if at_last is not None:
                self._at_last = None
                at_last()

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Say which destination it was that an operation failed on."""
        try:
            yield
        except SinkError:
            raise
        except self._failures as error:
            reason = getattr(error, "strerror", None) or error
            failure = SinkError(f"{self._purpose} {self.name}: {what}: {reason}", path=self.name)
            failure.errno = getattr(error, "errno", None)
            raise failure from error

    def _fail(self) -> None:
        """Let nothing more be written."""
        if self.state == "open":
            self.state = "failed"

    def _end(self, state: str, settle: Callable[[], None]) -> None:
        """Come to an end other than `commit`, once; when nobody writes any more, call `settle` and `_close`."""

        def at_last() -> None:
            settle()
            self._close()

        with self._gate:
            if self.state in _ENDS:
                return
            self.state = state
            # this thread's own write cannot end before this call, and others may wait for what it holds
            is_inside = threading.get_ident() in self._writers and is_within_a_call()
            if is_inside:
                self._at_last = at_last
            else:
                wait_for(self._idle, self._is_idle)
        if not is_inside:
            at_last()
        elif state == "aborted":
            self._unname()

    def _is_idle(self) -> bool:
        """Whether no other thread writes; this one cannot go on before the end has come."""
        return self._writers <= {threading.get_ident()}
