"""One write from beginning to end: its engine, pool and sink, and the ways in which it can end."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from streamh5.errors import DestinationExistsError, SinkError, StateError
from streamh5.handles import open_sessions
from streamh5.handles.sharing import Sharing
from streamh5.model.tree import DatasetNode, walk
from streamh5.processes.cpus import available_cpus
from streamh5.processes.turns import Turns
from streamh5.recovery.journaled_engine import JournaledEngine
from streamh5.sinks.base import Flushable, Snapshots, as_journaled, read_stored
from streamh5.write.chunk_cache import ChunkCache
from streamh5.write.interruption import Leftover
from streamh5.write.lifecycle import Lifecycle, Standing
from streamh5.write.place import Place
from streamh5.write.pool import Pool
from streamh5.write.summarize import summarize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamh5.arguments.write_options import WriteOptions
    from streamh5.handles.file import File
    from streamh5.model.tree import GroupNode
    from streamh5.reader.existing_file import ExistingFile
    from streamh5.recovery.resume import Recovery
    from streamh5.sinks.base import Sink
    from streamh5.write.pool import Job
    from streamh5.write.summary import WriteSummary

DEFAULT_IN_FLIGHT_NBYTES = 64 << 20
"""Raw bytes of blocks that wait for a thread or are being processed by one."""


class Flush(Protocol):
    """Stores the rows that a dataset has not stored yet."""

    def __call__(self, *, is_interrupted: bool) -> None:
        """Store the rest; with `is_interrupted` only the rows that the caller gave."""


P = ParamSpec("P")
T = TypeVar("T")


def _verb(
    method: Callable[Concatenate[JournaledEngine, P], T],
) -> Callable[Concatenate[Session, P], T]:
    """Make a method of the engine one call of the session, for which `close` waits."""

    @wraps(method)
    def verb(self: Session, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._life.call():
            return method(self._engine, *args, **kwargs)

    return verb


class Session:
    """Everything that the handles of one file share: the engine, the threads and the end of the write.

    ::

        handles ─▶ verbs of the session ─▶ JournaledEngine ─▶ Engine      the tree and the addresses
                     │ life: may this thread call?      └───▶ journal     of the sink
                     └ jobs ─▶ Pool ─▶ ChunkWriter ─▶ place ─▶ engine.reserve, sink.write

    Parameters
    ----------
    sink
        Where the bytes go.
    options
        How the file is written; with mode ``"a"`` `libver` is that of the existing file.
    recovery
        An interrupted write to resume.
    existing
        An existing file to add objects to.
    """

    _is_whole = False

    def __init__(
        self,
        sink: Sink,
        options: WriteOptions,
        *,
        recovery: Recovery | None = None,
        existing: ExistingFile | None = None,
    ) -> None:
        self.sink = sink
        self.options = options
        self.summary: WriteSummary | None = None
        self.leftover = Leftover(sink, "always" if options.resume else options.keep)
        self._life = Lifecycle(sink.name)
        # a context whose body counts as one call, for which `close` waits; and a check that the write has not ended
        self.call, self.check_open = self._life.call, self._life.admit
        engine = JournaledEngine(
            sink,
            options,
            self.leftover,
            recovery=recovery,
            existing=None if existing is None else existing.base,
        )
        self._engine = engine
        self.place = Place(engine.reserve, sink.write)
        if hasattr(sink, "bound") and hasattr(
            sink, "front_end"
        ):  # an object is cut into parts, which are limited
            sink.bound, sink.front_end = engine.max_nbytes, engine.front_end
        # Jobs make these calls, and `close` waits for jobs: they must not be calls that the end of the write refuses.
        self.extend, self.record = engine.extend, engine.record
        self.claim, self.claim_part, self.log_rows = engine.claim, engine.claim_part, engine.log_rows
        self.object_of, self.find_chunks = engine.object_of, engine.find_chunks
        self.read = partial(read_stored, sink)
        self.begins_at = 0 if existing is None else existing.public_end
        self.sharing = Sharing(sink, engine, options.sync)
        self._max_memory = options.max_memory or DEFAULT_IN_FLIGHT_NBYTES
        self.partial_chunks = ChunkCache(options.max_memory)
        self._pool: Pool | None = None
        # So that two first jobs do not start two pools, and the end of the write misses none. Reentrant: a signal
        # handler may end the write in `submit`.
        self._pool_lock = threading.RLock()
        self._flushes: dict[DatasetNode, Flush] = {}
        self.appends = Turns()  # alone: what readers see, or it would have rows without chunks
        # the `File`, once datasets refer to it, until the write ends: later only the garbage collector would free it
        self.file: File | None = None
        self._existing = existing
        self._is_whole = True
        open_sessions.enter(self)

    create_group = _verb(JournaledEngine.create_group)
    create_datatype = _verb(JournaledEngine.create_datatype)
    create_dataset = _verb(JournaledEngine.create_dataset)
    open_dataset = _verb(JournaledEngine.open_dataset)
    set_attribute = _verb(JournaledEngine.set_attribute)
    set_attributes = _verb(JournaledEngine.set_attributes)
    remove_attribute = _verb(JournaledEngine.remove_attribute)
    set_value = _verb(JournaledEngine.set_value)
    set_parts = _verb(JournaledEngine.set_parts)
    link = _verb(JournaledEngine.link)
    remove = _verb(JournaledEngine.remove)
    move = _verb(JournaledEngine.move)
    resize = _verb(JournaledEngine.resize)
    make_chunked = _verb(JournaledEngine.make_chunked)
    check_resumed = _verb(JournaledEngine.check_resumed)
    void = _verb(JournaledEngine.void)

    @property
    def root(self) -> GroupNode:
        """The root group; only calls of this session change its contents."""
        return self._engine.root

    @property
    def is_open(self) -> bool:
        """Whether the write has not ended yet."""
        return self._life.state == "open"

    @property
    def state(self) -> str:
        """``open``, ``being published``, ``closed`` or ``given up``."""
        return self._life.state

    @property
    def is_mine(self) -> bool:
        """Whether this is the process that writes, not a fork of it."""
        return self._life.is_mine

    def discard_dataset(self, node: DatasetNode) -> None:
        """Remove a dataset whose data could not be written, even if the write has ended, which may be the reason."""
        self._flushes.pop(node, None)
        self._engine.remove_dataset(node)

    def publish(self, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call `flush` or `checkpoint` while nobody appends: readers would see rows that are not stored yet."""
        if self._life.is_inside:
            raise StateError(f"a signal handler cannot flush {self.sink.name} in the middle of a call")
        # a call first: a signal handler that ends the write meanwhile must not wait for those who append
        with self.call():
            self.appends.alone(call, *args, **kwargs)

    def checkpoint(self, path: Path) -> None:
        """Write index and headers for the data stored so far, and show readers the file at `path`."""
        sink = self.sink
        what = f"a checkpoint of {sink.name} is not possible"
        if self.sharing.token is not None:
            raise StateError(f"{what} while other processes write to it (part_writer)")
        if not isinstance(sink, Snapshots):
            raise SinkError(
                f"{what}: only a new local file can be shown to readers before it is complete; of a file that is added "
                "to (mode 'a'), use flush"
            )
        self.partial_chunks.keep_written()
        self.wait()
        with self._engine.lock:
            self._engine.snapshot()
            sink.snapshot(path)

    def flush(self) -> None:
        """Publish the data stored so far; writing continues."""
        sink = self.sink
        if self.sharing.token is not None:
            raise StateError(f"{sink.name} cannot be flushed while other processes write (part_writer)")
        if not isinstance(sink, Flushable):
            raise SinkError(f"{sink.name} cannot be flushed: it is shown to readers when it is complete")
        datasets = (one for one in walk(self.root) if isinstance(one, DatasetNode))
        early = [one.path for one in datasets if one.chunk_region is not None]
        if early:
            raise StateError(
                f"{sink.name} cannot be flushed: the chunks of {early[0]} are overwritten in place "
                "(alloc_time='early'), and readers of a flushed state would see that; create it without"
            )
        with self._engine.all_rows_logged():
            self.partial_chunks.keep_written()
            self.wait()
            self._engine.flush(sink)

    def before_close(self, node: DatasetNode, flush: Flush) -> None:
        """Call `flush` when the file is closed, before its chunks are counted, or when the write is interrupted.

        Its ``is_interrupted`` says that only the rows of the caller are to be written.
        """
        self._flushes[node] = flush

    def forget(self, node: DatasetNode) -> None:
        """Do not flush a dataset that was deleted."""
        self._flushes.pop(node, None)

    def submit(self, job: Job) -> None:
        """Run a job in the pool, within the memory budget."""
        if self._life.admit() is Standing.SAVING:
            job.run()  # the threads have ended
            return
        # lay out the front region here, with the objects that exist now: which job runs first must not matter
        self._engine.reserve(0)
        with self._pool_lock:
            self._life.admit()  # another thread may have ended the write meanwhile: no pool after its end
            if self._pool is None:
                n_threads = self.options.threads or available_cpus()
                taken = int if self.options.max_memory is None else self.partial_chunks.held.within_limit
                self._pool = Pool(n_threads, self._max_memory, self._life.over, taken)
        self._pool.submit(job)

    def run(self, job: Job) -> None:
        """Run a job in the calling thread, after the jobs in flight that write one of its chunks."""
        if self._life.admit() is Standing.OPEN and self._pool is not None:
            self._pool.wait_for_chunks(job)
        job.run()

    def wait(self) -> None:
        """Wait until every submitted job is done; raise the error of one that failed."""
        if self._pool is not None:
            self._pool.wait()

    def close(self) -> WriteSummary:
        """Finish the file and publish it; every thread that closes it gets the same summary.

        A failure interrupts the write (`interrupt`) and is raised.
        """
        if self.summary is None:
            self._life.check_may_close()
            try:
                self._life.wait_for_others()
            except BaseException as error:
                self.interrupt(error)
                raise
        with self._engine.lock:
            if self.summary is None:
                self._finish()
            return cast("WriteSummary", self.summary)

    def _finish(self) -> None:
        if self._life.state != "open":
            raise self._life.over()
        try:
            with self._life.ending():
                for flush in list(self._flushes.values()):
                    flush(is_interrupted=False)
                self.wait()
                self._engine.check_resumed()
                self.sharing.end()
                unused_nbytes = self._engine.finish()
                summary = summarize(
                    self.sink.name,
                    self._engine.root,
                    file_nbytes=self._engine.end_of_file,
                    seconds=self.leftover.seconds,
                    shared=self.sharing.figures(),
                    unused_nbytes=unused_nbytes,
                )
                if not self._life.leave("being published"):
                    raise self._life.over()
                self.sink.commit(self._engine.end_of_file)
        except DestinationExistsError as error:
            self.leftover.keep = "always"  # a file of that name was made meanwhile; all data is stored
            self.interrupt(error, before=("being published",))
            if self.leftover.kept:
                error.add_note("move the existing file away first")
            raise
        except BaseException as error:
            self.interrupt(error, before=("open", "being published"))
            raise
        self.summary = replace(summary, seconds=self.leftover.seconds)
        self._life.leave("closed", before=("being published",))
        self._end()

    def interrupt(self, error: BaseException | None, *, before: tuple[str, ...] = ("open",)) -> None:
        """End a write that cannot continue: keep what is worth keeping, and tell the user where it is.

        Pending rows that do not fill a whole chunk are stored, too, where that is still possible.

        Parameters
        ----------
        error
            The error that ended the write, which gets a note; None when the file was not closed.
        before
            States in which the write is interrupted; in any other state nothing happens.
        """
        if not self._life.is_mine or not self._life.leave("given up", before=before):
            return
        try:
            if self.leftover.is_worth_it:
                self._save_rest()
        finally:
            kept = self.leftover.kept  # after saving the rest: the first chunk may have been in flight
            journal = as_journaled(self.sink)
            if kept and journal is not None:
                journal.suspend()
            else:
                self.sink.abort()
            self._end()
        self.leftover.tell(error, kept or getattr(self.sink, "remains", ""))

    def _save_rest(self) -> None:
        """Let calls and jobs finish, and store the pending rows.

        Nothing is saved in a signal handler in the middle of a call: other threads may wait for that call.
        """
        if self._life.is_inside:
            return
        self._life.wait_for_others()
        if self._pool is not None:
            self._pool.drain()
        with self._life.ending():
            for flush in list(self._flushes.values()):
                with suppress(Exception):  # a dataset that cannot be stored must not cost the others
                    flush(is_interrupted=True)

    def abort(self) -> None:
        """Abort the write and drop the stored data: the destination stays unchanged.

        Threads that wait in a call get a `StateError`. In a fork of the writing process nothing happens:
        the write belongs to the parent.
        """
        if self._life.leave("given up") and self._life.is_mine:
            self._end()
            self.sink.abort()
            if remains := getattr(self.sink, "remains", ""):
                self.leftover.tell(None, remains)

    def suspend(self) -> None:
        """End the write and keep the stored data, so that the write can be resumed."""
        self.leftover.keep = "always"
        self.leftover.is_told = True
        self.interrupt(None)

    def _end(self) -> None:
        open_sessions.leave(self)
        with self._pool_lock:
            pool = self._pool
        if pool is not None:
            pool.close(is_patient=not self._life.is_inside)
        if self._existing is not None:
            self._existing.close()
        # Datasets refer to the session. Breaking this cycle frees the session with its last handle; otherwise the
        # garbage collector would run `__del__` at some later time, where Python drops a KeyboardInterrupt.
        self._flushes.clear()
        self.file = None
        self.partial_chunks.clear()

    def __del__(self) -> None:
        # The session was dropped without a close. A Ctrl-C during this call is printed and dropped by Python, as in
        # every `__del__`, and cannot be raised later: sent again from here, it would arrive before `__del__` returns.
        # The data is kept all the same. A `with` block does not depend on `__del__`: it gets the KeyboardInterrupt.
        if self._is_whole:  # not if `__init__` failed
            if hasattr(self.sink, "is_collected"):
                self.sink.is_collected = True
            self.interrupt(None)

    def __reduce__(self) -> Any:
        raise StateError(
            f"the write to {self.sink.name} cannot leave this process; use the threaded or the synchronous scheduler"
        )
