"""Threads that store blocks within a budget of memory, and an end that leaves nobody waiting."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.processes.signals import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.errors import StateError
    from streamh5.model.chunk_grid import Box


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One block to store: what to call, how large it is, which chunks it writes."""

    run: Callable[[], None]
    nbytes: int
    dataset: object
    box: Box

    def overlaps(self, other: Job) -> bool:
        """Whether both write one of the same chunks."""
        return self.dataset is other.dataset and all(
            a < d and c < b for (a, b), (c, d) in zip(self.box, other.box, strict=True)
        )


class Pool:
    """Threads that run jobs within a byte budget.

    A job that does not fit the budget makes `submit` wait until earlier ones are done, so what is
    in flight is bounded whoever is faster; so does a job that writes a chunk which one in flight
    writes too: the later call counts. The first failure latches: every later `submit` or `wait`
    raises it. `close` wakes all who wait.

    Its locks are reentrant: a signal handler may close it in the midst of any call. That, and threads that do
    not keep a process alive which has not closed its file, is why this is no `ThreadPoolExecutor`.

    Parameters
    ----------
    n_threads
        Worker threads, at least 1.
    budget_nbytes
        Most raw bytes in flight; one job always may.
    closed
        Makes the error for calls after `close`, and for those that wait then.
    """

    def __init__(self, n_threads: int, budget_nbytes: int, closed: Callable[[], StateError]) -> None:
        self._n_threads = n_threads
        self._budget_nbytes = budget_nbytes
        self._closed = closed
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._has_work = threading.Condition(self._lock)
        self._waiting: deque[Job] = deque()
        self._in_flight: list[Job] = []  # those that wait for a thread, and those that one runs
        self._threads: list[threading.Thread] = []
        self._n_idle = 0
        self._failure: BaseException | None = None
        self._has_failed = False  # in a job: those that wait are not begun any more
        self._is_closed = False

    def submit(self, job: Job) -> None:
        """Run `job` in a thread, as soon as the budget allows."""
        with self._lock:
            self._wait_until(lambda: self._failure is not None or self._may_start(job))
            self._raise_failure()
            try:
                self._in_flight.append(job)
                self._waiting.append(job)
                if self._n_idle < len(self._waiting) and len(self._threads) < self._n_threads:
                    self._start_thread()
                self._has_work.notify()
            except BaseException as error:  # no thread can be started, or Ctrl-C: nobody will take the job
                self._failure = self._failure or error
                self._drop([job])
                raise

    def wait_for_chunks(self, job: Job) -> None:
        """Wait until no job in flight writes a chunk that `job` writes too."""
        with self._lock:
            self._wait_until(lambda: not any(job.overlaps(other) for other in self._in_flight))
            self._raise_failure()

    def wait(self) -> None:
        """Wait until every job is done."""
        with self._lock:
            self._wait_until(lambda: not self._in_flight)
            self._raise_failure()

    def drain(self) -> None:
        """Let the threads finish what was submitted, whatever goes wrong in it."""
        with self._lock:
            wait_for(self._changed, lambda: self._is_closed or not self._in_flight)

    def close(self, *, is_patient: bool = True) -> None:
        """Drop jobs that have not begun, wake everybody who waits, end the threads.

        `is_patient`: wait for jobs that run; one may want a lock that a thread holds which is not patient.
        """
        with self._lock:
            self._is_closed = True
            self._drop(list(self._waiting))
            self._has_work.notify_all()
            threads = list(self._threads)
        for thread in threads:
            if is_patient and thread is not threading.current_thread() and thread.is_alive():
                thread.join()

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        wait_for(self._changed, lambda: self._is_closed or is_so())
        if self._is_closed:
            raise self._closed()

    def _drop(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job in self._waiting:
                self._waiting.remove(job)
            if job in self._in_flight:
                self._in_flight.remove(job)
        self._changed.notify_all()

    def _may_start(self, job: Job) -> bool:
        nbytes = sum(other.nbytes for other in self._in_flight)
        fits = not self._in_flight or nbytes + job.nbytes <= self._budget_nbytes
        return fits and not any(job.overlaps(other) for other in self._in_flight)

    def _start_thread(self) -> None:
        name = f"streamh5_{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:  # there are too many
            self._threads.remove(thread)
            raise

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                if not self._has_failed:
                    job.run()
            except BaseException as error:  # noqa: BLE001 - kept for the caller's thread, which raises it
                with self._lock:
                    self._failure, self._has_failed = self._failure or error, True
            finally:
                with self._lock:
                    self._in_flight.remove(job)
                    self._changed.notify_all()
            del job  # which keeps its dataset, and so the file

    def _next(self) -> Job | None:
        """Return the next job; None at the end."""
        with self._lock:
            self._n_idle += 1
            wait_for(self._has_work, lambda: self._is_closed or self._waiting)
            self._n_idle -= 1
            return self._waiting.popleft() if self._waiting else None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
