"""Parts that are sent by threads, a few at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from streamh5.errors import StateError
from streamh5.processes.signals import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.stores.base import PartReceipt
    from streamh5.stores.upload import Upload

SENT_NBYTES = 96 << 20
"""Full parts in memory, being sent or waiting for it: six of the usual size, beside those that are being filled. While
more than that is in memory, full or not, no more is written."""

N_SENDERS = 4
"""Parts sent at a time: one connection does not fill the line to most stores (tests/benchmarks, object store)."""


class PartSender:
    """Sends parts of an upload in threads. Thread-safe.

    Parameters
    ----------
    upload
        The upload.
    confirmed
        Called, by the thread that has sent it, for each part that the store has.

    Attributes
    ----------
    receipts
        What the store has, by number.
    numbers
        The parts that were given to `send`.
    """

    def __init__(self, upload: Upload, confirmed: Callable[[PartReceipt], None]) -> None:
        self.receipts: dict[int, PartReceipt] = {}
        self.numbers: set[int] = set()
        self._confirmed = confirmed
        self._upload = upload
        self._threads: ThreadPoolExecutor | None = None
        self._idents: set[int] = set()
        self._on_their_way: dict[
            int, int
        ] = {}  # bytes of the parts that are being sent or wait for it, by number
        self._error: BaseException | None = None
        # reentrant: a signal handler may end the write while its thread holds it
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    def send(self, number: int, content: memoryview) -> None:
        """Send a part; wait while too many are on their way.

        Raises
        ------
        SinkError
            An earlier part could not be sent.
        StateError
            The upload was given up.
        """
        with self._lock:
            wait_for(self._changed, lambda: self._error or self._has_room(len(content)))
            self.check()
            self._on_their_way[number] = len(content)
            self.numbers.add(number)
            try:
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(N_SENDERS, thread_name_prefix="streamh5-upload")
                self._threads.submit(self._send, number, content)
            except BaseException:  # no thread could be started, or a Ctrl-C: nobody must wait for this part
                self._on_their_way.pop(number, None)
                self._changed.notify_all()
                raise

    def wait_for_room(self, filled_nbytes: Callable[[], int]) -> None:
        """Wait while parts are on their way and `filled_nbytes`, of all parts in memory, is above the limit.

        Raises
        ------
        SinkError, StateError
            See `send`.
        """
        with self._lock:
            wait_for(
                self._changed,
                # of parts so large that two are above the limit, a third may be filled
                lambda: (
                    self._error
                    or len(self._on_their_way) < 2
                    or filled_nbytes() <= max(SENT_NBYTES, 2 * max(self._on_their_way.values()))
                ),
            )
            self.check()

    def _has_room(self, nbytes: int) -> bool:
        # of large parts two: one is sent while another is filled
        return len(self._on_their_way) < 2 or sum(self._on_their_way.values()) + nbytes <= SENT_NBYTES

    def check(self) -> None:
        """Raise the error of a part that could not be sent."""
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Wait until all parts have been sent.

        Raises
        ------
        SinkError, StateError
            See `send`.
        """
        with self._lock:
            wait_for(self._changed, lambda: self._error or not self._on_their_way)
            self.check()

    def give_up(self) -> None:
        """Send nothing more, and let those who wait go; parts that are on their way are not interrupted."""
        with self._lock:
            if self._error is None:
                self._error = StateError(f"the write to {self._upload.store.url} has ended")
            self._changed.notify_all()
        self._upload.stop_waiting()

    def close(self) -> None:
        """End the threads, after the parts that are on their way; may be called again."""
        threads = self._threads
        if threads is not None:
            threads.shutdown(wait=not self.is_caller, cancel_futures=True)

    @property
    def is_caller(self) -> bool:
        """Whether one of the threads calls, in which the garbage collector may have ended a dropped write."""
        return threading.get_ident() in self._idents

    def _send(self, number: int, content: memoryview) -> None:
        self._idents.add(threading.get_ident())
        receipt, failure = None, None
        try:
            # not a part whose `send` has failed after it was queued
            if self._error is None and number in self._on_their_way:
                receipt = self._upload.send(number, content)
                self._confirmed(receipt)
        except BaseException as error:  # noqa: BLE001 - raised in the threads that write
            failure = error
        with self._lock:
            if receipt is not None:
                self.receipts[number] = receipt
            self._error = self._error or failure
            self._on_their_way.pop(number, None)
            self._changed.notify_all()
