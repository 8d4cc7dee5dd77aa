"""The states of a sink, how it ends while other threads write, and its errors, for all sinks of this package.

::

    open ──── commit ────▶ being committed ──────▶ committed
     │ ▲                          │
     │ └─ write, append_log,      │ an error
     │    snapshot                ▼
     ├──── an fsync failed ──▶ failed ── abort ──▶ aborted
     │                            └──── suspend ─▶ suspended
     ├──── abort ────────────────────────────────▶ aborted
     └──── suspend ──────────────────────────────▶ suspended      (sinks with a journal)

`commit`, `abort` and `suspend` first leave ``open``, so that no further write begins, then wait for the writes of
other threads, then act. They cannot wait for a write of their own thread, which a signal handler that calls them has
interrupted: in that case they act on the files when that write ends.

The gate is one lock for the state and the set of writers. It is never held during a system call, so a sink may take
its own locks in `_write` (order: the gate, the sink's lock, the journal's locks).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from streamh5.errors import SinkError, StateError
from streamh5.processes.signals import is_within_a_call, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamh5.sinks.base import Buffer

_ENDS = ("committed", "aborted", "suspended")


class GatedSink(ABC):
    """A base class: a subclass defines how bytes are written, committed and dropped.

    Parameters
    ----------
    name
        The destination's name in messages.

    Attributes
    ----------
    state
        ``open``, ``being committed``, ``failed``, ``committed``, ``aborted`` or ``suspended``.
    """

    _purpose = "cannot write"
    """First words of a message about a failure."""

    _failures: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    """Exceptions of a failed call, which become a `SinkError`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = "open"
        self._writers: set[int] = set()
        self._at_last: Callable[[], None] | None = None
        # reentrant: a signal handler may end the sink while its thread holds the lock
        self._gate = threading.RLock()
        self._idle = threading.Condition(self._gate)

    @abstractmethod
    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Write `buffers`, one after the other, at `address`, while other threads write elsewhere."""

    @abstractmethod
    def _commit(self, nbytes: int) -> None:
        """Make the file durable and give it its name. No thread is writing."""

    @abstractmethod
    def _drop(self) -> None:
        """Remove what was written. No thread is writing. Must not raise."""

    def _unname(self) -> None:  # noqa: B027 - not every sink has files of its own
        """Remove the names of what was written, while other threads may still write to it. Must not raise.

        A signal handler that aborts during a write leaves no files when it returns, although the last of the threads
        drops the rest only later.
        """

    def _close(self) -> None:  # noqa: B027 - not every sink holds something
        """Release the sink's resources after its end. Called once; must not raise."""

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Write `buffers`, one after the other, at `address`."""
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
        """Remove what was written; the destination is unchanged, if the sink can guarantee that."""
        self._end("aborted", self._drop)

    def _writing(self) -> _Writing:
        """Return a context that registers a write of this thread, for which `commit`, `abort` and `suspend` wait.

        Raises
        ------
        StateError
            On entry: the sink is no longer open.
        """
        return _Writing(self)

    def _failing(self, what: str) -> _Failing:
        """Return a context that turns an error of the system into a `SinkError` that names the destination."""
        return _Failing(self, what)

    def failure(self, what: str, error: BaseException) -> SinkError | None:
        """Return the error that stands for one of the system; None for any other."""
        if isinstance(error, SinkError) or not isinstance(error, self._failures):
            return None
        reason = getattr(error, "strerror", None) or error
        failure = SinkError(f"{self._purpose} {self.name}: {what}: {reason}", path=self.name)
        failure.errno = getattr(error, "errno", None)
        return failure

    def _fail(self) -> None:
        """Refuse further writes."""
        if self.state == "open":
            self.state = "failed"

    def _end(self, state: str, settle: Callable[[], None]) -> None:
        """Enter a final state other than ``committed``, once; when no thread writes, call `settle` and `_close`."""

        def at_last() -> None:
            settle()
            self._close()

        with self._gate:
            if self.state in _ENDS:
                return
            self.state = state
            # this thread's own write cannot end before this call, and other threads may wait for locks that it holds
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
        """Tell whether no other thread is writing; this one is in `_end` or `commit`."""
        return self._writers <= {threading.get_ident()}


class _Writing:
    """The context of `GatedSink._writing`."""

    __slots__ = ("_sink",)

    def __init__(self, sink: GatedSink) -> None:
        self._sink = sink

    def __enter__(self) -> None:
        sink = self._sink
        try:
            with sink._gate:
                if sink.state != "open":
                    raise StateError(f"{sink.name} is {sink.state}; nothing more can be written to it")
                sink._writers.add(threading.get_ident())
        except StateError:
            raise
        except BaseException:  # a Ctrl-C: after it nothing interrupts until the block begins
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        sink = self._sink
        # before the gate, as a Ctrl-C may come while this waits for it
        sink._writers.discard(threading.get_ident())
        with sink._gate:
            if sink.state == "open":
                return  # nobody waits
            sink._idle.notify_all()
            at_last = None if sink._writers else sink._at_last
        if at_last is not None:
            sink._at_last = None
            at_last()


class _Failing:
    """The context of `GatedSink._failing`."""

    __slots__ = ("_sink", "_what")

    def __init__(self, sink: GatedSink, what: str) -> None:
        self._sink = sink
        self._what = what

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            failure = self._sink.failure(self._what, error)
            if failure is not None:
                raise failure from error
