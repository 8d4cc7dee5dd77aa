"""Threads that store blocks within a memory budget; closing the pool wakes every waiting thread."""

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
    """One block to store: the function to call, the size in bytes, and the chunks that it writes."""

    run: Callable[[], None]
    nbytes: int
    dataset: object
    box: Box

    def overlaps(self, other: Job) -> bool:
        """Return whether both jobs write a chunk in common."""
        return self.dataset is other.dataset and all(
            a < d and c < b for (a, b), (c, d) in zip(self.box, other.box, strict=True)
        )


class Pool:
    """Threads that run jobs within a byte budget.

    `submit` waits until the job fits the budget, so that the memory in flight is bounded, and until no
    job in flight writes one of its chunks, so that the later call counts. The first failure latches:
    every later `submit` or `wait` raises it. `close` wakes all waiting threads.

    Its locks are reentrant: a signal handler may close the pool in the middle of any call. Its threads are daemons:
    they must not keep a process alive that did not close its file. `ThreadPoolExecutor` offers neither.

    Parameters
    ----------
    n_threads
        Worker threads, at least 1.
    budget_nbytes
        Most raw bytes in flight; a single larger job is allowed.
    closed
        Returns the error for calls after `close`, and for calls that wait at that time.
    taken
        Returns how many bytes of the budget are in use elsewhere.
    """

    def __init__(
        self,
        n_threads: int,
        budget_nbytes: int,
        closed: Callable[[], StateError],
        taken: Callable[[], int] = int,
    ) -> None:
        self._n_threads = n_threads
        self._budget_nbytes = budget_nbytes
        self._closed = closed
        self._taken = taken
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._has_work = threading.Condition(self._lock)
        self._waiting: deque[Job] = deque()
        self._in_flight: list[Job] = []  # jobs that wait for a thread, and jobs that are running
        # Of the jobs in flight, so that a submit costs the same however many small jobs there are. An exception of a
        # signal handler may leave them too high, which only costs a look at each job; they start anew when none is.
        self._in_flight_nbytes = 0
        self._ends: dict[object, int] = {}  # by dataset: no job writes a chunk from this row of chunks on
        self._threads: list[threading.Thread] = []
        self._n_idle = 0
        self._failure: BaseException | None = None
        self._has_failed = False  # a job failed: waiting jobs are not started any more
        self._is_closed = False

    def submit(self, job: Job) -> None:
        """Run `job` in a thread, as soon as the budget allows."""
        with self._lock:
            self._wait_until(lambda: self._failure is not None or self._may_start(job))
            self._raise_failure()
            try:
                self._in_flight_nbytes += job.nbytes
                if job.box:
                    self._ends[job.dataset] = max(job.box[0][1], self._ends.get(job.dataset, 0))
                self._in_flight.append(job)
                self._waiting.append(job)
                if self._n_idle < len(self._waiting) and len(self._threads) < self._n_threads:
                    self._start_thread()
                self._has_work.notify()
            except BaseException as error:  # no thread can be started, or Ctrl-C: no thread will run the job
                self._failure = self._failure or error
                self._drop([job])
                raise

    def wait_for_chunks(self, job: Job) -> None:
        """Wait until no job in flight writes one of the chunks of `job`."""
        with self._lock:
            self._wait_until(lambda: self._has_its_chunks(job))
            self._raise_failure()

    def wait(self) -> None:
        """Wait until every job is done."""
        with self._lock:
            self._wait_until(lambda: not self._in_flight)
            self._raise_failure()

    def drain(self) -> None:
        """Wait until every submitted job is done, without raising their errors."""
        with self._lock:
            wait_for(self._changed, lambda: self._is_closed or not self._in_flight)

    def close(self, *, is_patient: bool = True) -> None:
        """Drop jobs that have not started, wake all waiting threads, and end the pool's threads.

        With `is_patient`, wait for running jobs. A caller that holds a lock which a job may need must not wait.
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
                self._land(job)
        self._changed.notify_all()

    def _may_start(self, job: Job) -> bool:
        nbytes = self._in_flight_nbytes + job.nbytes + self._taken()
        return (not self._in_flight or nbytes <= self._budget_nbytes) and self._has_its_chunks(job)

    def _has_its_chunks(self, job: Job) -> bool:
        """Return whether no job in flight writes one of the chunks of `job`."""
        if job.box and job.box[0][0] >= self._ends.get(job.dataset, 0):
            return True  # it appends
        return not any(job.overlaps(other) for other in self._in_flight)

    def _land(self, job: Job) -> None:
        self._in_flight.remove(job)
        self._in_flight_nbytes -= job.nbytes
        if not self._in_flight:
            self._in_flight_nbytes = 0
            self._ends.clear()

    def _start_thread(self) -> None:
        name = f"streamh5_{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:  # the process has too many threads
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
                    self._land(job)
                    self._changed.notify_all()
            del job  # it refers to its dataset, which would keep the file alive

    def _next(self) -> Job | None:
        """Return the next job; None after `close`."""
        with self._lock:
            self._n_idle += 1
            wait_for(self._has_work, lambda: self._is_closed or self._waiting)
            self._n_idle -= 1
            return self._waiting.popleft() if self._waiting else None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
