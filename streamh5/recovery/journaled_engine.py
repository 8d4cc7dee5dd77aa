"""The engine together with its journal: one call updates both.

Each method has the arguments of the method of `Engine` of the same name, and encodes the journal entry from them
(`streamh5.recovery.entry_kinds`); without a journal, nothing is encoded. A write has one `JournaledEngine`, which its
`Session` owns.
"""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from streamh5.engine.engine import Engine
from streamh5.errors import SinkError, StateError
from streamh5.recovery import entry_kinds
from streamh5.sinks.base import as_journaled

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from streamh5.arguments.write_options import WriteOptions
    from streamh5.filters import Buffer
    from streamh5.model.attribute_spec import AttributeSpec
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.reference import Parts
    from streamh5.model.tree import DatasetNode, DatatypeNode, GroupNode, LinkedTarget, Node, Region
    from streamh5.recovery.entry_kinds import EntryKind
    from streamh5.recovery.resume import Recovery
    from streamh5.sinks.base import Sink
    from streamh5.write.interruption import Leftover

try:  # ISA-L's CRC-32 is several times faster than zlib's
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

P = ParamSpec("P")


class JournaledEngine:
    """The engine of one write and its journal, which gets an entry for each call, in the same order.

    Thread-safe. `lock` is acquired before the lock of the engine, and held until the entry is in the journal, so
    entries have the order of the calls. The methods that jobs call (`reserve`, `record`, `claim`, `extend`) do not
    need it: entries of chunks may come in any order.

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
        Root group and end of an existing file to add objects to.
    """

    def __init__(
        self,
        sink: Sink,
        options: WriteOptions,
        leftover: Leftover,
        *,
        recovery: Recovery | None = None,
        existing: tuple[GroupNode, int] | None = None,
    ) -> None:
        # reentrant: a signal handler may end the write in the middle of any call
        self.lock = threading.RLock()
        self._begin_lock = threading.RLock()
        self._sink = sink
        self._journal = as_journaled(sink)  # None: nothing is claimed, and nothing can be resumed
        self._leftover = leftover
        self._recovery = recovery
        self._n_datasets = 0
        # these options determine the layout of the front region: a resumed write must have the same
        layout: dict[str, Any] = {
            "track_order": options.track_order,
            "header_slack": options.header_slack,
            "libver": options.libver,
        }
        self._engine = Engine(**layout)
        if existing is not None:
            self._engine.extend_file(*existing)
        self._is_begun = existing is not None or recovery is not None
        if recovery is not None:
            recovery.check_options(layout)
            self._n_datasets = recovery.n_datasets
            self._engine.resume(recovery.front, recovery.end)
            leftover.has_values = True
        elif self._journal is not None:
            self._log(entry_kinds.HEADER, self._journal.journal_facts, layout)

    @property
    def root(self) -> GroupNode:
        """The root group."""
        return self._engine.root

    @property
    def end_of_file(self) -> int:
        """First address after everything reserved so far."""
        return self._engine.end_of_file

    def create_group(self, path: str, *, track_order: bool) -> GroupNode:
        """Add a group."""
        with self.lock:
            group = self._engine.create_group(path, track_order=track_order)
            self._log(entry_kinds.GROUP, group)
            return group

    def create_datatype(self, datatype: DatatypeNode) -> None:
        """Add a named datatype."""
        with self.lock:
            self._engine.create_datatype(datatype)
            self._log(entry_kinds.DATATYPE, datatype)

    def create_dataset(self, spec: DatasetSpec, source: str | None) -> tuple[DatasetNode, int, int]:
        """Add a dataset; one of an interrupted write gets its stored chunks.

        Parameters
        ----------
        spec
            Its plan.
        source
            Identity of the source that it is written from, if any.

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
            The interrupted write has this dataset with another plan.
        """
        with self.lock:
            number = None if self._recovery is None else self._recovery.check_dataset(spec, source)
            node = self._engine.create_dataset(spec)
            if self._recovery is not None and number is not None:
                restored = self._recovery.restore(node)
                if len(restored.lost):
                    self._log(entry_kinds.VOIDS, restored.lost)
                return node, number, restored.n_rows
            number = self._n_datasets
            self._log(entry_kinds.DATASET, number, spec, source)
            self._n_datasets += 1
            return node, number, 0

    def remove_dataset(self, node: DatasetNode) -> None:
        """Remove a dataset whose data could not be written."""
        with self.lock:
            self._engine.remove_dataset(node)
            with suppress(StateError, SinkError):  # the write may have ended, which may be the reason
                self._log(entry_kinds.TAKEN_BACK, node.path)

    def set_attribute(self, node: Node, attribute: AttributeSpec) -> None:
        """Set an attribute of an object."""
        with self.lock:
            self._engine.set_attribute(node, attribute)
            self._log(entry_kinds.ATTRIBUTE, node.path, attribute.name, attribute)

    def remove_attribute(self, node: Node, name: str) -> None:
        """Remove an attribute of an object."""
        with self.lock:
            self._engine.remove_attribute(node, name)
            self._log(entry_kinds.ATTRIBUTE, node.path, name, None)

    def set_value(self, number: int, node: DatasetNode, region: Any, block: NDArray[Any]) -> None:
        """Set data without chunks, or a region of it; the caller allows one thread at a time.

        Parameters
        ----------
        number
            Number of the dataset in the journal.
        node
            The dataset.
        region
            Index in the sense of numpy.
        block
            Array of the stored dtype, or of objects if the value has parts.

        Raises
        ------
        BlockError
            The block does not fit the region, or the region the dataset.
        """
        with self.lock:
            self._engine.set_value(node, node.with_part(region, block))
            self._leftover.has_values = True
            self._log(entry_kinds.ELEMENTS, number, node, region)

    def set_parts(self, number: int, node: DatasetNode, parts: Parts) -> None:
        """Set data without chunks, given as encoded elements with objects and references in between."""
        with self.lock:
            self._engine.set_parts(node, parts)
            self._leftover.has_values = True
            self._log(entry_kinds.ELEMENTS, number, node, ...)

    def link(self, path: str, target: LinkedTarget) -> None:
        """Add a name of an object, or a soft or external link."""
        with self.lock:
            self._engine.link(path, target)
            self._log(entry_kinds.LINK, path, target)

    def record(self, dataset: DatasetNode, records: ChunkRecords) -> None:
        """Enter written chunks in the chunk table of their dataset."""
        self._engine.record(dataset, records)

    def extend(self, dataset: DatasetNode, n_rows: int) -> None:
        """Extend a dataset of unknown length to at least `n_rows`."""
        self._engine.extend(dataset, n_rows)

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

    def allocate(self, dataset: DatasetNode) -> Region:
        """Reserve all chunks of a dataset with an Implicit index, once."""
        self.reserve(0)
        region = self._engine.allocate(dataset)
        self._log(entry_kinds.USED, region.address + region.nbytes, dataset.path, region.address)
        return region

    def claim(self, number: int, records: ChunkRecords, buffers: Sequence[Buffer]) -> None:
        """Enter written chunks in the journal.

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
            self._journal.append_log(entry_kinds.CLAIMS.encode(number, records, checksums), nbytes)
            self._leftover.count(len(records), nbytes)

    def log_rows(self, number: int, n_rows: int) -> None:
        """Enter in the journal that a dataset is appended to (0), or its number of rows at the end."""
        self._log(entry_kinds.ROWS, number, n_rows)

    def check_resumed(self) -> None:
        """Refuse to finish without a dataset of the interrupted write.

        Raises
        ------
        ResumeError
            A dataset that has chunks was not created again.
        """
        if self._recovery is not None:
            self._recovery.check_complete()

    def finish(self) -> None:
        """Write index and headers of the finished file, and the superblock last."""
        self._write_metadata(self._engine.finish())

    def snapshot(self) -> None:
        """Write index and headers for the data stored so far, after its end."""
        self._write_metadata(self._engine.snapshot())

    def _write_metadata(self, pieces: Generator[tuple[int, bytes], None, None]) -> None:
        with closing(pieces):  # release the lock of the engine even if a write fails
            for address, piece in pieces:
                if address == 0 and self._journal is not None:
                    # Readers may have the file open under the name of a snapshot: from here on, a resume must keep
                    # everything that this superblock refers to.
                    self._journal.append_log(
                        entry_kinds.USED.encode(self._engine.end_of_file), is_urgent=True
                    )
                self._sink.write(address, [piece])

    def _log(self, kind: EntryKind[P], *args: P.args, **kwargs: P.kwargs) -> None:
        if self._journal is not None:
            self._journal.append_log(kind.encode(*args, **kwargs))
