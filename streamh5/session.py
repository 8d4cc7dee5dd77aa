"""One write from begin to end: engine, pool and sink, and the ways in which it ends."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from dask.system import CPU_COUNT

from streamh5.engine import Engine
from streamh5.errors import SpecError, StateError
from streamh5.pipeline import Pool
from streamh5.plan.tree import DatasetNode, walk
from streamh5.summary import summarize

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.pipeline import Job
    from streamh5.sinks.base import Sink
    from streamh5.summary import WriteSummary

__all__ = ["DEFAULT_IN_FLIGHT_NBYTES", "Session"]

DEFAULT_IN_FLIGHT_NBYTES = 64 << 20
"""Raw bytes of blocks that wait for a thread or are in one."""


class Session:
    """Everything that the handles of one file share.

    Parameters
    ----------
    sink
        Where the bytes go.
    track_order
        Creation order of the root group.
    header_slack
        See `Engine`.
    n_threads
        Threads for blocks that are handed over; None for one each core.
    max_memory
        Raw bytes of blocks in flight.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        track_order: bool = False,
        header_slack: int = 0,
        n_threads: int | None = None,
        max_memory: int | None = None,
    ) -> None:
        if n_threads is not None and n_threads < 1:
            raise SpecError(f"threads must be at least 1, not {n_threads}", n_threads=n_threads)
        if max_memory is not None and max_memory < 1:
            raise SpecError(
                f"max_memory must be a number of bytes, at least 1, not {max_memory}", max_memory=max_memory
            )
        self.sink = sink
        self.engine = Engine(track_order=track_order, header_slack=header_slack)
        self.summary: WriteSummary | None = None
        self._n_threads = n_threads or CPU_COUNT
        self._max_memory = max_memory or DEFAULT_IN_FLIGHT_NBYTES
        self._pool: Pool | None = None
        self._state = "open"
        self._lock = threading.RLock()
        self._before_close: list[Callable[[], None]] = []
        self._started = time.perf_counter()
        # a session that is dropped without close leaves no partial file behind
        self._finalizer = weakref.finalize(self, sink.abort)

    @property
    def is_open(self) -> bool:
        """Whether the write is still going on."""
        return self._state == "open"

    @property
    def state(self) -> str:
        """``open``, ``closed`` or ``given up``."""
        return self._state

    def check_open(self) -> None:
        """Refuse a call after the end.

        Raises
        ------
        StateError
            The file is closed, or was given up after an error.
        """
        if self._state != "open":
            raise StateError(f"{self.sink.name} is {self._state}; open a new File to write more")

    def before_close(self, call: Callable[[], None]) -> None:
        """Call `call` when the file is closed, before its chunks are counted."""
        self._before_close.append(call)

    def submit(self, job: Job) -> None:
        """Run a job in the pool, within the memory budget."""
        self.check_open()
        with self._lock:
            if self._pool is None:
                self._pool = Pool(self._n_threads, self._max_memory)
        self._pool.submit(job)

    def run(self, job: Job) -> None:
        """Run a job in the calling thread."""
        self.check_open()
        job.run()

    def wait(self) -> None:
        """Wait until every submitted job is done; raise what went wrong in one."""
        if self._pool is not None:
            self._pool.wait()

    def close(self) -> WriteSummary:
        """Finish the file and publish it.

        A failure on the way gives the write up (`abort`) and is raised.
        """
        with self._lock:
            if self.summary is not None:
                return self.summary
            self.check_open()
            try:
                for call in self._before_close:
                    call()
                self.wait()
                for address, piece in self.engine.finish():
                    self.sink.write(address, [piece])
                self.sink.commit(self.engine.end_of_file)
            except BaseException:
                self.abort()
                raise
            self._state = "closed"
            self._end()
            self.summary = self._summarize()
            return self.summary

    def abort(self) -> None:
        """Give the write up: nothing is published, the destination stays as it was."""
        if self._state == "open":
            self._state = "given up"
            # the sink first: it waits for writes in progress and refuses later ones
            self.sink.abort()
            self._end()

    def _end(self) -> None:
        self._finalizer.detach()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _summarize(self) -> WriteSummary:
        datasets = [node for node in walk(self.engine.root) if isinstance(node, DatasetNode)]
        return summarize(
            self.sink.name,
            datasets,
            file_nbytes=self.engine.end_of_file,
            seconds=time.perf_counter() - self._started,
        )

    def __reduce__(self) -> Any:
        raise StateError(
            f"the write to {self.sink.name} lives in this process; use the threaded or the synchronous scheduler"
        )
