"""The one door to the engine: each call is in the tree and in the journal when it returns.

What `close` must not cut in two is one call of a thread (`Lifecycle`). The journal gets the entries of all threads in
the order in which the engine got their calls.
"""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.engine.engine import Engine
from streamh5.errors import SinkError, StateError
from streamh5.recovery.journal import JOURNAL_VERSION, encode_claims, encode_entry, encode_voids
from streamh5.recovery.journal_facts import attribute_facts, datatype_facts, link_facts, spec_facts
from streamh5.recovery.journal_values import elements_facts
from streamh5.recovery.resume import boot_id, front_facts
from streamh5.sinks.base import as_journaled
from streamh5.write.interruption import Leftover
from streamh5.write.lifecycle import Lifecycle
from streamh5.write.place import FilePlace

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from streamh5.arguments.write_options import WriteOptions
    from streamh5.filters import Buffer
    from streamh5.handles.existing_file import ExistingFile
    from streamh5.model.attribute_spec import AttributeSpec
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.reference import Parts
    from streamh5.model.tree import DatasetNode, DatatypeNode, GroupNode, LinkedTarget, Node, Region
    from streamh5.recovery.resume import Recovery
    from streamh5.sinks.base import Sink

try:  # ISA-L's CRC-32 is several times faster than zlib's
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

__all__ = ["JournaledEngine"]


class JournaledEngine:
    """The part of `Session` that changes the file.

    Parameters
    ----------
    sink, options, recovery, existing
        As for `Session`.
    """

    def __init__(
        self,
        sink: Sink,
        options: WriteOptions,
        *,
        recovery: Recovery | None,
        existing: ExistingFile | None,
    ) -> None:
        self.sink = sink
        self._journal = as_journaled(sink)  # None: nothing is claimed, and nothing can be resumed
        self.options = options
        self.leftover = Leftover(sink, "always" if options.resume else options.keep)
        # what decides where the bytes of the front go: a resumed write must have been begun with the same
        layout: dict[str, Any] = {
            "track_order": options.track_order,
            "header_slack": options.header_slack,
            "libver": options.libver,
        }
        self._engine = Engine(**layout)
        self._life = Lifecycle(sink.name)
        self.place = FilePlace(self, sink)
        self._lock = threading.RLock()
        self._begin_lock = threading.RLock()
        self._is_begun = False
        self._n_datasets = 0
        self._recovery = recovery
        if existing is not None:
            self._engine.extend_file(existing.root, existing.end_of_file)
            self._is_begun = True
        if recovery is None:
            if self._journal is not None:
                facts = self._journal.journal_facts
                self._log("H", {"journal": JOURNAL_VERSION, "boot": boot_id(), **facts, **layout})
            return
        recovery.check_options(layout)
        self._n_datasets = recovery.n_datasets
        self._engine.resume(recovery.front, recovery.end)
        self._is_begun = True
        self.leftover.has_values = True

    @property
    def root(self) -> GroupNode:
        """The root group; what is in it is changed by calls of this session only."""
        return self._engine.root

    @property
    def is_mine(self) -> bool:
        """Whether this is the process that writes, not a fork of it."""
        return self._life.is_mine

    @property
    def is_open(self) -> bool:
        """Whether the write is still going on."""
        return self._life.state == "open"

    @property
    def state(self) -> str:
        """``open``, ``being published``, ``closed`` or ``given up``."""
        return self._life.state

    def check_open(self) -> None:
        """Refuse a call after the end: see `Lifecycle.check_open`."""
        self._life.check_open()

    def call(self) -> AbstractContextManager[None]:
        """Make what is done inside one call, for which `close` waits: see `Lifecycle.begin_call`."""
        return self._life.call()

    def create_group(self, path: str, *, track_order: bool) -> GroupNode:
        """Add a group."""
        with self._life.call(), self._lock:
            group = self._engine.create_group(path, track_order=track_order)
            self._log("G", {"path": group.path, "track_order": track_order})
            return group

    def create_datatype(self, datatype: DatatypeNode) -> None:
        """Add a named datatype."""
        with self._life.call(), self._lock:
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
        with self._life.call(), self._lock:
            number = None if self._recovery is None else self._recovery.check_dataset(spec, source)
            node = self._engine.create_dataset(spec)
            if self._recovery is not None and number is not None:
                restored = self._recovery.restore(node)
                if len(restored.lost) and self._journal is not None:
                    self._journal.append_log(encode_voids(restored.lost))
                return node, number, restored.n_rows
            self._log("D", {"number": self._n_datasets, **spec_facts(spec), "source": source})
            self._n_datasets += 1
            return node, self._n_datasets - 1, 0

    def discard_dataset(self, node: DatasetNode) -> None:
        """Take back a dataset whose data did not come."""
        with self._lock:
            self._engine.remove_dataset(node)
            with suppress(StateError, SinkError):  # the write may be over, which is why the data did not come
                self._log("U", {"path": node.path})

    def set_attribute(self, node: Node, attribute: AttributeSpec) -> None:
        """Set an attribute of an object."""
        with self._life.call(), self._lock:
            self._engine.set_attribute(node, attribute)
            if self._journal is not None:
                self._log("A", attribute_facts(node.path, attribute))

    def remove_attribute(self, node: Node, name: str) -> None:
        """Remove an attribute of an object."""
        with self._life.call(), self._lock:
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
        with self._life.call(), self._lock:
            self._engine.set_value(node, node.with_part(region, block))
            self.leftover.has_values = True
            if self._journal is not None:
                self._log("E", {"dataset": number, **elements_facts(node, region)})

    def set_parts(self, number: int, node: DatasetNode, parts: Parts) -> None:
        """Set data without chunks as it stands in the file, with objects and references in between."""
        with self._life.call(), self._lock:
            self._engine.set_parts(node, parts)
            self.leftover.has_values = True
            if self._journal is not None:
                self._log("E", {"dataset": number, **elements_facts(node, ...)})

    def link(self, path: str, target: LinkedTarget) -> None:
        """Add a name for an object, or a soft or external link."""
        with self._life.call(), self._lock:
            self._engine.link(path, target)
            self._log("L", {"path": path, **link_facts(target)})

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
        if self._journal is not None:
            checksums = np.fromiter(map(crc32, buffers), np.uint32, len(buffers))
            nbytes = int(records["stored_nbytes"].sum(dtype=np.uint64))
            self._journal.append_log(encode_claims(number, records, checksums), nbytes)
            self.leftover.count(len(records), nbytes)

    def log_rows(self, number: int, n_rows: int) -> None:
        """Enter that a dataset is appended to (0), or the rows with which it ends, in the journal."""
        self._log("N", {"dataset": number, "n_rows": n_rows})

    def check_resumed(self) -> None:
        """Refuse to go on without a dataset of the interrupted write.

        Raises
        ------
        ResumeError
            One that has chunks was not created again.
        """
        if self._recovery is not None:
            self._recovery.check_complete()

    def _write_metadata(self, pieces: Generator[tuple[int, bytes], None, None]) -> None:
        """Write index and headers, and the superblock last, when a resume would keep what it names.

        Readers may have the file open under the name of a snapshot.
        """
        with closing(pieces):  # which holds the lock of the engine, also where a write fails
            for address, piece in pieces:
                if address == 0:
                    self._log("R", {"end": self._engine.end_of_file}, is_urgent=True)
                self.sink.write(address, [piece])

    def _log(self, kind: str, facts: dict[str, Any], *, is_urgent: bool = False) -> None:
        if self._journal is not None:
            self._journal.append_log(encode_entry(kind, facts), is_urgent=is_urgent)
