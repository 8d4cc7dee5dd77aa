"""The engine together with its journal: one call updates both.

A change that is one entry is one line of the class: a method of `Engine` with the kind of the entry, which is encoded
from the same arguments (`streamh5.recovery.entry_kinds`); without a journal, nothing is encoded. A write has one
`JournaledEngine`, which only its `Session` reaches.
"""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from streamh5.engine.engine import Engine
from streamh5.engine.gathered_pieces import MAX_GATHERED_NBYTES, gather_pieces
from streamh5.errors import SinkError, StateError
from streamh5.model.tree import DatasetNode, walk
from streamh5.recovery import entry_kinds
from streamh5.recovery.claimed_chunks import open_edges
from streamh5.recovery.dataset_numbers import DatasetNumbers
from streamh5.recovery.entry_log import EntryLog
from streamh5.recovery.journal import generation_of
from streamh5.recovery.read_journal import after_generation
from streamh5.sinks.base import Shortenable, as_journaled
from streamh5.write.chunk_checksums import checksums_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from streamh5.arguments.write_options import WriteOptions
    from streamh5.filters import Buffer
    from streamh5.model.attribute_spec import AttributeSpec
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.reference import Parts
    from streamh5.model.tree import GroupNode, Node
    from streamh5.recovery.claimed_chunks import ClaimedChunks
    from streamh5.recovery.entry_kinds import EntryKind
    from streamh5.recovery.journal import Generation
    from streamh5.recovery.resume import Recovery
    from streamh5.sinks.base import Flushable, Journaled, Sink
    from streamh5.write.interruption import Leftover

P = ParamSpec("P")
T = TypeVar("T")


def _journaled(
    change: Callable[Concatenate[Engine, P], T], kind: EntryKind[P]
) -> Callable[Concatenate[JournaledEngine, P], T]:
    """Make a change of the tree and its journal entry one call; both have the same arguments."""

    @wraps(change)
    def call(self: JournaledEngine, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.lock:
            result = change(self._engine, *args, **kwargs)
            self._log(kind, *args, **kwargs)
            return result

    return call


class JournaledEngine:
    """The engine of one write and its journal, which gets an entry for each call, in the same order.

    Thread-safe. `lock` is acquired before the lock of the engine, and held until the entry is in the journal, so
    entries have the order of the calls. Jobs (`reserve`, `record`, `claim`, `extend`) do not need it.

    Parameters
    ----------
    sink
        Where the bytes go; it may have a journal.
    options
        How the file is written.
    leftover
        Counts the data that an interruption would leave.
    recovery
        An interrupted write to resume.
    existing
        Tree, end, superblock and size of the pages of an existing file to change.
    """

    def __init__(
        self,
        sink: Sink,
        options: WriteOptions,
        leftover: Leftover,
        *,
        recovery: Recovery | None = None,
        existing: tuple[GroupNode, int, bytes, int] | None = None,
    ) -> None:
        # reentrant: a signal handler may end the write in the middle of any call
        self.lock = threading.RLock()
        self._begin_lock = threading.RLock()
        self._sink = sink
        self._journal = as_journaled(sink)  # None: nothing is claimed, and nothing can be resumed
        self._entries = EntryLog(self._journal)
        self._log = self._entries.enter
        self._leftover = leftover
        self._recovery = recovery
        self._claimed: dict[DatasetNode, ClaimedChunks] = {}
        # these options determine the layout of the front region: a resumed write must have the same
        self._layout: dict[str, Any] = {
            "track_order": options.track_order,
            "header_slack": options.header_slack,
            "libver": options.libver,
            "page": options.page,
        }
        self._engine = engine = Engine(**self._layout)
        # calls without an entry
        self.object_of, self.record, self.find_chunks = engine.object_of, engine.record, engine.find_chunks
        self.extend, self.max_nbytes, self.front_end = engine.extend, engine.max_nbytes, engine.front_end
        if existing is not None:
            engine.extend_file(*existing)
        self.root = engine.root
        self._is_begun = existing is not None or recovery is not None
        self._numbers = DatasetNumbers(self._entries, 0 if recovery is None else recovery.n_datasets)
        self.log_rows, self.all_rows_logged = self._numbers.log_rows, self._numbers.all_rows_logged
        if recovery is not None:
            leftover.has_values = True
            if existing is None:
                recovery.check_options(self._layout)
                self._engine.resume(recovery.front, recovery.end, recovery.free)
        elif self._journal is not None:
            base = None if existing is None else generation_of(existing[2])
            self._log(entry_kinds.HEADER, self._journal.journal_facts, self._layout | options.origin, base)

    @property
    def end_of_file(self) -> int:
        """First address after everything reserved so far."""
        return self._engine.end_of_file

    create_group = _journaled(Engine.create_group, entry_kinds.GROUP)
    create_datatype = _journaled(Engine.create_datatype, entry_kinds.DATATYPE)
    set_attribute = _journaled(Engine.set_attribute, entry_kinds.ATTRIBUTE)
    remove_attribute = _journaled(Engine.remove_attribute, entry_kinds.NO_ATTRIBUTE)
    link = _journaled(Engine.link, entry_kinds.LINK)
    remove = _journaled(Engine.remove, entry_kinds.REMOVED)
    move = _journaled(Engine.move, entry_kinds.MOVED)

    def create_dataset(
        self, spec: DatasetSpec, source: str | None, value: NDArray[Any] | None = None
    ) -> tuple[DatasetNode, int]:
        """Add a dataset; one of an interrupted write gets its stored chunks. Also return the rows appended before.

        With an Implicit index, all its chunks get their addresses. `source` is the identity of the source that it is
        written from, if any; `value` its data, if it has no chunks.

        Raises
        ------
        ResumeError
            The interrupted write has this dataset with another plan.
        """
        with self.lock:
            number = None if self._recovery is None else self._recovery.check_dataset(spec, source)
            node, n_rows = self._engine.create_dataset(spec, value), 0
            try:
                if self._recovery is not None and number is not None:
                    self._numbers.restore(node, number)
                    n_rows, lost = self._recovery.restore(node)
                    if len(lost):
                        self._log(entry_kinds.VOIDS, lost)
                    self._reopen(node, number)
                    if node in self._claimed:
                        n_rows = max(n_rows, self._claimed[node].n_rows or 0)
                    if value is not None:
                        self._log(entry_kinds.ELEMENTS, number, node, ...)
                else:
                    self._numbers.add(node, source, has_value=value is not None)
                self._leftover.has_values |= value is not None
                if spec.is_early:
                    self._allocate(node)
            except BaseException:
                if number is None or self._recovery is None:
                    self.remove_dataset(node)
                elif value is not None:  # the journal keeps the earlier one until there is a new one
                    self._engine.remove_dataset(node)
                    self._recovery.give_back(number)
                raise
            return node, n_rows

    def set_attributes(self, node: Node, attributes: Sequence[AttributeSpec]) -> None:
        """Set attributes of an object, and enter many with one write; if one is refused, those before it are set."""
        with self.lock:
            gathered = bytearray()
            try:
                for one in attributes:
                    entry = self._entries.encoded(entry_kinds.ATTRIBUTE.encode, node, one)
                    self._engine.set_attribute(node, one)
                    gathered += entry
                    if len(gathered) >= MAX_GATHERED_NBYTES:
                        self._entries.append_all(gathered)
            finally:
                self._entries.append_all(gathered)

    def open_dataset(self, node: DatasetNode) -> None:
        """Give a dataset of the public file the chunks that the interrupted addition has stored of it."""
        with self.lock:
            self._reopen(node, None)

    def _reopen(self, node: DatasetNode, number: int | None) -> None:
        claimed = None if self._recovery is None else self._recovery.reopen(node, number)
        if claimed is None:
            return
        if claimed.n_rows is not None and claimed.n_rows > (node.shape or (0,))[0]:
            self._engine.resize(node, (claimed.n_rows, *(node.shape or ())[1:]), claimed.maxshape)
            claimed.drop_outside(node)
        self._engine.record(node, claimed.take(node))
        self._claimed[node] = claimed

    def remove_dataset(self, node: DatasetNode) -> None:
        """Remove a dataset whose data could not be written."""
        with self.lock:
            self._engine.remove_dataset(node)
            with suppress(StateError, SinkError):  # the write may have ended, which may be the reason
                self._numbers.take_back(node)

    def resize(
        self,
        node: DatasetNode,
        shape: tuple[int, ...],
        maxshape: tuple[int | None, ...] | None,
        *,
        is_appended: bool = False,
    ) -> None:
        """Change the shape of a dataset that has chunks: see `Engine.resize`.

        With `is_appended` it grows by the rows that follow, whose chunks tell the journal how far.
        """
        with self.lock:
            old_shape, old = node.shape or (), node.grid.counts[1:]
            if self._recovery is not None:
                open_edges(node, shape)
            self._engine.resize(node, shape, maxshape)
            is_cut = any(n < m for n, m in zip(shape, old_shape, strict=True))
            claimed = self._claimed.get(node)
            if is_cut or node.grid.counts[1:] != old:
                node.number = None  # its chunks have other numbers now
            if not is_appended or 0 in shape[1:]:  # rows without elements have no chunks
                self._numbers.log_shape(node, is_cut=is_cut)
            if is_cut:
                self._numbers.of(node)  # now, because the entry says what was cut off
            if claimed is not None:
                claimed.drop_outside(node) if is_cut else self._engine.record(node, claimed.take(node))

    def make_chunked(self, node: DatasetNode, chunks: tuple[int, ...]) -> None:
        """Give a dataset without chunks an empty chunk table: see `Engine.make_chunked`."""
        with self.lock:
            self._engine.make_chunked(node, chunks)
            node.number = None

    def set_value(self, node: DatasetNode, region: Any, block: NDArray[Any]) -> None:
        """Set data without chunks, or a region of it; the caller allows one thread at a time.

        Raises
        ------
        BlockError
            The block does not fit the region, or the region the dataset.
        """
        with self.lock:
            self._engine.set_value(node, node.with_part(region, block))
            self._leftover.has_values = True
            self._log(entry_kinds.ELEMENTS, self._numbers.of(node), node, region)

    def set_parts(self, node: DatasetNode, parts: Parts) -> None:
        """Set data without chunks, given as encoded elements with objects and references in between."""
        with self.lock:
            self._engine.set_parts(node, parts)
            self._leftover.has_values = True
            self._log(entry_kinds.ELEMENTS, self._numbers.of(node), node, ...)

    def reserve(self, nbytes: int) -> int:
        """Reserve `nbytes` for stored chunks and return their address; the first call lays out the front region."""
        if not self._is_begun:
            # A lock of its own: a job may reserve while a thread that holds `lock` waits for that job. The flag is set
            # last, so that nobody gets an address before the journal says where the front region ends.
            with self._begin_lock:
                if not self._is_begun:
                    self._engine.begin()
                    self._log(entry_kinds.FRONT, self._engine.front)
                    self._is_begun = True
        return self._engine.reserve(nbytes)

    def _allocate(self, dataset: DatasetNode) -> None:
        """Reserve all chunks of a dataset with an Implicit index, unless the interrupted write has done so."""
        self.reserve(0)
        region = self._engine.allocate(dataset)
        self._log(entry_kinds.USED, region.address + region.nbytes, self._numbers.of(dataset), region.address)

    def claim(
        self, node: DatasetNode, records: ChunkRecords, buffers: Sequence[Buffer], *, is_partial: bool = False
    ) -> None:
        """Enter written chunks, ``(n,)`` of `RECORD`, in the journal; `buffers` are their stored bytes."""
        if self._journal is not None:
            self.claim_part(node, records, checksums_of(buffers), is_partial=is_partial)

    def claim_part(
        self,
        node: DatasetNode,
        records: ChunkRecords,
        checksums: NDArray[np.uint32],
        *,
        is_partial: bool = False,
    ) -> None:
        """Enter chunks in the journal that another process has written, with the CRC-32 of each."""
        if self._journal is not None and len(records):
            nbytes = int(records["stored_nbytes"].sum(dtype=np.uint64))
            kind = entry_kinds.PARTIAL_CLAIMS if is_partial else entry_kinds.CLAIMS
            self._journal.append_log(kind.encode(self._numbers.of(node), records, checksums), nbytes)
            self._leftover.count(len(records), nbytes)

    def void(self, addresses: NDArray[np.uint64]) -> None:
        """Enter in the journal that the chunks claimed at these addresses were lost."""
        self._log(entry_kinds.VOIDS, addresses)

    def share(self, begin: Callable[[int], Callable[[int], tuple[int, int]]]) -> None:
        """Let other processes write: addresses come from leases from now on.

        A resume then checks every claim: what other machines have written may be lost although this one runs on.

        Parameters
        ----------
        begin
            Called with the address where the leases begin; returns what takes a lease for this process.
        """
        with self.lock:
            self.reserve(0)
            if self._journal is not None:
                self._log(entry_kinds.SESSION, {**self._journal.journal_facts, "boot": None})
            self._engine.share(begin)

    def unshare(self, end: int, free: Iterable[tuple[int, int]]) -> int:
        """Continue alone at `end`, after all leases; index and headers use the `free` ranges before it."""
        with self.lock:
            own_rest = self._engine.unshare(end, free)
            self._log(entry_kinds.USED, self._engine.end_of_file)
            return own_rest

    @property
    def free_nbytes(self) -> int:
        """Bytes before the end of the file that leases have left unused."""
        return self._engine.free_nbytes

    def check_resumed(self) -> None:
        """Refuse to finish without a dataset of the interrupted write.

        Raises
        ------
        ResumeError
            A dataset that has chunks was not created again.
        """
        if self._recovery is not None:
            self._recovery.check_complete()

    def finish(self) -> int:
        """Write index and headers of the finished file, the superblock last; return `Engine.unused_nbytes`."""
        self._write_metadata(self._engine.finish(), self._public_entry(is_last=True))
        return self._engine.unused_nbytes

    def snapshot(self) -> None:
        """Write index and headers for the data stored so far, after its end."""
        # from here on, a resume must keep everything that readers see under the name of the snapshot
        self._write_metadata(
            self._engine.snapshot(), lambda _: entry_kinds.USED.encode(self._engine.end_of_file)
        )

    def flush(self, sink: Flushable) -> None:
        """Publish the data stored so far; what follows is an addition to it."""
        with self.lock:
            self.reserve(0)
            former = self._numbers.identities(n for n in walk(self.root) if isinstance(n, DatasetNode))
            self._write_metadata(self._engine.flush(), self._public_entry(is_last=False))
            # before the switch, which may fail although it happened: in both cases later claims count
            self._numbers.begin_generation(former)
            sink.flush(self._engine.end_of_file)
            self._numbers.settle()
            if isinstance(sink, Shortenable):
                sink.shorten_log(lambda log: after_generation(log, partial(self._header, sink)))

    def _header(self, sink: Journaled, base: Generation | None, n_datasets: int) -> bytes:
        return entry_kinds.HEADER.encode(sink.journal_facts, self._layout, base, n_datasets)

    def _write_metadata(
        self, pieces: Generator[tuple[int, bytes], None, None], entry: Callable[[bytes], bytes]
    ) -> None:
        """Write index and headers, and before the superblock its journal entry."""
        with closing(pieces):  # release the lock of the engine even if a write fails
            for address, buffers in gather_pieces(pieces):
                if address == 0 and self._journal is not None:
                    self._journal.append_log(entry(buffers[0]), is_urgent=True)
                self._sink.write(address, buffers)
                del buffers  # data of a contiguous dataset is large: freed before the next is encoded

    def _public_entry(self, *, is_last: bool) -> Callable[[bytes], bytes]:
        return lambda block: entry_kinds.PUBLIC.encode(generation_of(block), is_last=is_last)
