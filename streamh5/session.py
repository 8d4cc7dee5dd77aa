"""One write from begin to end: engine, pool and sink, and the ways in which it ends."""

from __future__ import annotations

import os
import threading
import time
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.system import CPU_COUNT

from streamh5.calls import Calls
from streamh5.engine import Engine
from streamh5.errors import DestinationExistsError, SpecError, StateError
from streamh5.journal import JOURNAL_VERSION, encode_claims, encode_entry, encode_voids
from streamh5.journal_facts import attribute_facts, datatype_facts, link_facts, spec_facts
from streamh5.journal_values import elements_facts
from streamh5.pipeline import Pool
from streamh5.recovery import boot_id, front_facts
from streamh5.summary import summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from streamh5.existing_file import ExistingFile
    from streamh5.filters import Buffer
    from streamh5.pipeline import Job
    from streamh5.plan.attribute_spec import AttributeSpec
    from streamh5.plan.chunk_records import ChunkRecords
    from streamh5.plan.dataset_spec import DatasetSpec
    from streamh5.plan.reference import Parts
    from streamh5.plan.tree import DatasetNode, DatatypeNode, GroupNode, LinkedTarget, Node, Region
    from streamh5.recovery import Recovery
    from streamh5.sinks.base import Sink
    from streamh5.summary import WriteSummary

try:  # ISA-L's CRC-32 is several times faster than zlib's
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

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
    recovery
        An interrupted write that is taken up.
    keep
        On a failure, keep what is written so that it can be resumed.
    libver
        Oldest library that is to read the file.
    existing
        A file that is added to.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        track_order: bool = False,
        header_slack: int = 0,
        n_threads: int | None = None,
        max_memory: int | None = None,
        recovery: Recovery | None = None,
        keep: bool = False,
        libver: str = "v110",
        existing: ExistingFile | None = None,
    ) -> None:
        if n_threads is not None and n_threads < 1:
            raise SpecError(f"threads must be at least 1, not {n_threads}", n_threads=n_threads)
        self.sink = sink
        self._engine = Engine(track_order=track_order, header_slack=header_slack, libver=libver)
        self.summary: WriteSummary | None = None
        self._n_threads = n_threads or CPU_COUNT
        self._max_memory = max_memory or DEFAULT_IN_FLIGHT_NBYTES
        self._pool: Pool | None = None
        self._is_begun = False
        self._state = "open"
        self._lock = threading.RLock()
        self._begin_lock = threading.Lock()
        self._calls = Calls(sink.name)
        self._before_close: list[Callable[[], None]] = []
        self._started = time.perf_counter()
        self._n_datasets = 0
        self._give_up = sink.suspend if keep else sink.abort
        self._process = os.getpid()
        # a session that is dropped without close ends as one that failed
        self._finalizer = weakref.finalize(self, _give_up_in, self._process, self._give_up)
        self._recovery = recovery
        if existing is not None:
            self._engine.extend_file(existing.root, existing.end_of_file)
            self._is_begun = True
        options = {"track_order": track_order, "header_slack": header_slack, "libver": libver}
        if recovery is None:
            self._log("H", {"journal": JOURNAL_VERSION, "boot": boot_id(), **sink.journal_facts, **options})
            return
        recovery.check_options(options)
        self._n_datasets = len(recovery.numbers)
        self._engine.resume(recovery.front, recovery.end)
        self._is_begun = True

    @property
    def root(self) -> GroupNode:
        """The root group; what is in it is changed by calls of this session only."""
        return self._engine.root

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
            The file is closed, or was given up after an error, or another process has it open.
        """
        if self._state != "open":
            raise StateError(f"{self.sink.name} is {self._state}; open a new File to write more")
        if self._process != os.getpid():
            raise StateError(
                f"{self.sink.name} is written by process {self._process}, of which this one ({os.getpid()}) is a fork "
                "without its threads; write there, or give each process a file of its own"
            )

    def begin_call(self) -> bool:
        """Begin a call that writes: see `Calls.begin`."""
        self.check_open()  # before the lock, which a thread may have held when the process was forked
        return self._calls.begin(self.check_open)

    def end_call(self) -> None:
        """End a call that writes."""
        self._calls.end()

    def create_group(self, path: str, *, track_order: bool) -> GroupNode:
        """Add a group."""
        self.check_open()
        group = self._engine.create_group(path, track_order=track_order)
        self._log("G", {"path": group.path, "track_order": track_order})
        return group

    def create_datatype(self, datatype: DatatypeNode) -> None:
        """Add a named datatype."""
        self.check_open()
        self._engine.create_datatype(datatype)
        self._log("T", datatype_facts(datatype))

    def create_dataset(self, spec: DatasetSpec, source: str | None) -> tuple[DatasetNode, int, int]:
        """Add a dataset; one of an interrupted write with the chunks that it has.

        Parameters
        ----------
        spec
            Its plan.
        source
            Identity of what it is written from; None where there is none.

        Returns
        -------
        DatasetNode
            The dataset.
        int
            Its number in the journal, for `claim`.
        int
            Rows that were appended before.

        Raises
        ------
        ResumeError
            The interrupted write has it with another plan.
        """
        self.check_open()
        with self._lock:
            number = None if self._recovery is None else self._recovery.check_dataset(spec, source)
            node = self._engine.create_dataset(spec)
            if self._recovery is not None and number is not None:
                restored = self._recovery.restore(node)
                if len(restored.lost):
                    self.sink.append_log(encode_voids(restored.lost))
                return node, number, restored.n_rows
            self._log("D", {"number": self._n_datasets, **spec_facts(spec), "source": source})
            self._n_datasets += 1
            return node, self._n_datasets - 1, 0

    def set_attribute(self, node: Node, attribute: AttributeSpec) -> None:
        """Set an attribute of an object."""
        self.check_open()
        self._engine.set_attribute(node, attribute)
        if self.sink.keeps_journal:
            self._log("A", attribute_facts(node.path, attribute))

    def remove_attribute(self, node: Node, name: str) -> None:
        """Remove an attribute of an object."""
        self.check_open()
        self._engine.remove_attribute(node, name)
        self._log("A", {"path": node.path, "name": name, "datatype": None})

    def set_value(self, number: int, node: DatasetNode, region: Any, block: NDArray[Any]) -> None:
        """Set data without chunks, or a region of it; the caller sees to it that one thread at a time does.

        Parameters
        ----------
        number
            Number of the dataset in the journal.
        node
            The dataset.
        region
            What numpy indexes with.
        block
            As it is stored, or as objects where the value has parts.

        Raises
        ------
        BlockError
            The block does not fit the region, or the region the dataset.
        """
        self.check_open()
        value = node.with_part(region, block)
        self._engine.set_value(node, value)
        if self.sink.keeps_journal:
            self._log("E", {"dataset": number, **elements_facts(node, region)})

    def set_parts(self, number: int, node: DatasetNode, parts: Parts) -> None:
        """Set data without chunks as it stands in the file, with objects and references in between."""
        self.check_open()
        self._engine.set_parts(node, parts)
        if self.sink.keeps_journal:
            self._log("E", {"dataset": number, **elements_facts(node, ...)})

    def record(self, dataset: DatasetNode, records: ChunkRecords) -> None:
        """Enter chunks that have been written in the table of their dataset."""
        self._engine.record(dataset, records)

    def extend(self, dataset: DatasetNode, n_rows: int) -> None:
        """Let a dataset whose leading extent is open have at least `n_rows`."""
        self._engine.extend(dataset, n_rows)

    def reserve(self, nbytes: int) -> int:
        """Reserve `nbytes` for stored chunks and return their address."""
        if not self._is_begun:
            with self._begin_lock:
                if not self._is_begun:
                    self._engine.begin()
                    self._log("F", front_facts(self._engine.front))
                    self._is_begun = True
        return self._engine.reserve(nbytes)

    def allocate(self, dataset: DatasetNode) -> Region:
        """Reserve all chunks of a dataset with an Implicit index, once."""
        self.reserve(0)
        region = self._engine.allocate(dataset)
        self._log(
            "R", {"end": region.address + region.nbytes, "path": dataset.path, "address": region.address}
        )
        return region

    def link(self, path: str, target: LinkedTarget) -> None:
        """Add a name for an object, or a soft or external link."""
        self.check_open()
        self._engine.link(path, target)
        self._log("L", {"path": path, **link_facts(target)})

    def claim(self, number: int, records: ChunkRecords, buffers: Sequence[Buffer]) -> None:
        """Enter chunks that have been written in the journal.

        Parameters
        ----------
        number
            Number of the dataset in the journal.
        records
            ``(n,)`` of `RECORD`.
        buffers
            Their stored bytes, one buffer each.
        """
        if self.sink.keeps_journal:
            checksums = np.fromiter(map(crc32, buffers), np.uint32, len(buffers))
            nbytes = int(records["stored_nbytes"].sum(dtype=np.uint64))
            self.sink.append_log(encode_claims(number, records, checksums), nbytes)

    def log_rows(self, number: int, n_rows: int) -> None:
        """Enter that a dataset is appended to (0), or the rows with which it ends, in the journal."""
        self._log("N", {"dataset": number, "n_rows": n_rows})

    def checkpoint(self, path: Path) -> None:
        """Write index and headers of what is there behind it, and let readers see it at `path`."""
        self.check_open()
        self.wait()
        with self._lock:
            self._write_metadata(self._engine.snapshot())
            self.sink.snapshot(path)

    def _write_metadata(self, pieces: Iterator[tuple[int, bytes]]) -> None:
        """Write index and headers, and the superblock last, when a resume would keep what it names.

        Readers may have the file open under the name of a snapshot.
        """
        for address, piece in pieces:
            if address == 0:
                self._log("R", {"end": self._engine.end_of_file}, is_urgent=True)
            self.sink.write(address, [piece])

    def check_resumed(self) -> None:
        """Refuse to go on without a dataset of the interrupted write.

        Raises
        ------
        ResumeError
            One that has chunks was not created again.
        """
        if self._recovery is not None:
            self._recovery.check_complete()

    def before_close(self, call: Callable[[], None]) -> None:
        """Call `call` when the file is closed, before its chunks are counted."""
        self._before_close.append(call)

    def submit(self, job: Job) -> None:
        """Run a job in the pool, within the memory budget."""
        self.check_open()
        # the front region holds what is known now, whichever thread comes first to write
        self.reserve(0)
        with self._lock:
            self.check_open()  # another thread may have closed the file meanwhile
            if self._pool is None:
                self._pool = Pool(self._n_threads, self._max_memory)
            pool = self._pool
        pool.submit(job)

    def run(self, job: Job) -> None:
        """Run a job in the calling thread, after those in flight that write one of its chunks."""
        self.check_open()
        if self._pool is not None:
            self._pool.wait_for_chunks(job)
        job.run()

    def wait(self) -> None:
        """Wait until every submitted job is done; raise what went wrong in one."""
        if self._pool is not None:
            self._pool.wait()

    def close(self) -> WriteSummary:
        """Finish the file and publish it.

        A failure on the way gives the write up (`abort`) and is raised.
        """
        if self.summary is None:
            self.check_open()  # as in `begin_call`
            try:
                self._calls.wait_for_others()
            except BaseException:
                self.abort()
                raise
        with self._lock:
            if self.summary is not None:
                return self.summary
            self.check_open()
            try:
                for call in self._before_close:
                    call()
                self.wait()
                self.check_resumed()
                self._write_metadata(self._engine.finish())
                summary = self._summarize()
                self.sink.commit(self._engine.end_of_file)
            except DestinationExistsError as error:
                # somebody made a file of that name meanwhile; the data is all there
                self._give_up = self.sink.suspend
                self.abort()
                error.add_note("what is written is kept: move that file away and call again with resume=True")
                raise
            except BaseException:
                self.abort()
                raise
            self._state = "closed"
            self._end()
            self.summary = replace(summary, seconds=time.perf_counter() - self._started)
            return self.summary

    def abort(self) -> None:
        """Give the write up: nothing is published, the destination stays as it was.

        In a fork of the process that writes, nothing happens: the write is the other's.
        """
        if self._state == "open":
            self._state = "given up"
            if self._process != os.getpid():
                self._finalizer.detach()
                return
            # the sink first: it waits for writes in progress and refuses later ones
            self._give_up()
            self._end()

    def _log(self, kind: str, facts: dict[str, Any], *, is_urgent: bool = False) -> None:
        if self.sink.keeps_journal:
            self.sink.append_log(encode_entry(kind, facts), is_urgent=is_urgent)

    def _end(self) -> None:
        self._finalizer.detach()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _summarize(self) -> WriteSummary:
        return summarize(
            self.sink.name,
            self._engine.root,
            file_nbytes=self._engine.end_of_file,
            seconds=time.perf_counter() - self._started,
        )

    def __reduce__(self) -> Any:
        raise StateError(
            f"the write to {self.sink.name} lives in this process; use the threaded or the synchronous scheduler"
        )


def _give_up_in(process: int, give_up: Callable[[], None]) -> None:
    """Give a write up, but not from a fork of the process that writes."""
    if process == os.getpid():
        give_up()
